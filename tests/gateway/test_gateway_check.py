"""What is checked of a gateway before it starts, and what changes when its file is read again."""

import socket

import attrs
import pytest
from valkey_server import valkey_server

from callsheet.actors import MemoryStores
from callsheet.gateway import TlsFiles, read_gateway
from callsheet.gateway.check import check_gateway
from callsheet.gateway.keys import KeyFile, KeyTerms
from callsheet.gateway.reload import SettingsChange, change_of

ENVIRON = {"OPENAI_API_KEY": "sk-first-0123456789", "ANTHROPIC_API_KEY": "sk-ant-other-0123456789"}
FILE = """
[endpoints.main]
provider = "openai"
limits = { rpm = 5000, tpm = 2_000_000 }
fallback = "spare"

[endpoints.spare]
provider = "anthropic"
model = "claude-haiku-4-5"

[models]
"gpt-5-nano" = "main"
"my-own" = "main"
"claude-*" = "anthropic"

[gateway]
listen = "127.0.0.1:0"
"""


@pytest.fixture
def read(tmp_path):
    """Reads the settings of a gateway from the text of a file."""

    def of(text=FILE, **more):
        file = tmp_path / "callsheet.toml"
        file.write_text(text, encoding="utf-8")
        return read_gateway(file, ENVIRON, **{"ledger": tmp_path / "ledger.sqlite3"} | more)

    return of


async def found(settings):
    """Return {(part, name): (state, text)}, of the first of the same name."""
    parts = reversed(await check_gateway(settings))
    return {(one.part, one.name): (one.state, one.text) for one in parts}


async def test_each_part_is_named(read, tmp_path):
    parts = await found(read())
    assert parts["listen", "127.0.0.1:0"] == ("ok", "this machine only")
    state, text = parts["endpoint", "main"]
    assert state == "ok"
    assert text == (
        "OpenAI at https://api.openai.com/v1; 5,000 requests/min, 2,000,000 tokens/min, 100 in "
        "flight; then Anthropic at https://api.anthropic.com/v1"
    )
    assert parts["model", "gpt-5-nano"] == ("ok", "to main")
    state, text = parts["model", "my-own"]
    assert state == "note"
    assert "its price is not known" in text
    assert parts["model", "claude-*"] == ("ok", "to anthropic")
    assert parts["keys", ""][0] == parts["admin key", ""][0] == "ok"
    ledger = str(tmp_path / "ledger.sqlite3")
    assert parts["ledger", ledger] == ("ok", "no budget of all calls")
    assert not any(tmp_path.glob("ledger*"))  # nothing is created
    assert "0123456789" not in str(parts)  # L8


async def test_endpoints_that_a_provider_counts_together_are_named(read):
    same = '[endpoints.same]\nprovider = "openai"\napi = "responses"\n'
    settings = read(FILE.replace('"my-own" = "main"', '"my-own" = "same"') + same)
    notes = [(one.name, one.text) for one in await check_gateway(settings) if one.state == "note"]
    assert ("same", "has the host and the key of main: give each its part of the limits") in notes
    text = "calls that it cannot serve go to anthropic without a turn at the limits there"
    assert ("main", text) in notes
    assert not any(name == "anthropic" for name, _ in notes)


async def test_a_taken_address_may_be_that_of_the_gateway_that_runs(read):
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        state, text = (await found(read(listen=[taken])))["listen", taken]
    assert state == "note"
    assert "another program listens there" in text


async def test_an_address_for_other_machines_without_tls_has_a_remark(read, tmp_path):
    parts = await found(read(listen=["0.0.0.0:0"], keys=tmp_path / "keys.sqlite3"))
    assert parts["listen", "0.0.0.0:0"] == (
        "note",
        "other machines can connect, without TLS: keys and prompts are not encrypted on the way",
    )


async def test_a_certificate_that_cannot_be_used_is_an_error(read, tmp_path):
    files = TlsFiles(tmp_path / "cert.pem", tmp_path / "key.pem")
    parts = await found(attrs.evolve(read(), tls=files))
    assert parts["tls", str(files.certificate)][0] == "error"
    assert "cannot read the certificate" in parts["tls", str(files.certificate)][1]


async def test_keys_on_a_server_that_is_away_are_read_later(read):
    stores = MemoryStores()
    stores.records("keys").is_away = True
    parts = await found(attrs.evolve(read(), keys="shared", shared=stores))
    (part,) = [part for name, part in parts.items() if name[0] == "keys"]
    assert part[0] == "note"
    assert "no call is accepted before the keys are read" in part[1]


async def test_a_server_that_keeps_nothing_is_an_error_for_budgets_alone(read, tmp_path):
    budgets = f"{FILE}[ledger]\nbudgets = [{{ usd = 200, period = 'day' }}]\n"
    keys = tmp_path / "keys.sqlite3"
    with KeyFile(keys, create=True) as store:
        store.create(KeyTerms(name="team", budgets=("5/day",)))
    with valkey_server() as server:
        for text, more, state in (
            (FILE, {}, "ok"),
            (budgets, {}, "error"),
            (FILE, {"keys": keys}, "error"),
        ):
            parts = await found(read(text, shared=server.url, **more))
            (part,) = [part for name, part in parts.items() if name[0] == "shared"]
            assert part[0] == state
            assert ("set appendonly yes" in part[1]) == (state == "error")


async def test_keys_are_counted_and_checked_with_the_models_and_the_ledger(read, tmp_path):
    path = tmp_path / "keys.sqlite3"
    settings = read(FILE.replace('"claude-*" = "anthropic"', ""), keys=path)
    create = f"callsheet keys create NAME --store {path}"
    missing = await found(settings)
    assert missing["keys", str(path)][0] == "error"
    assert create in missing["keys", str(path)][1]
    with KeyFile(path, create=True) as store:
        assert (await found(settings))["keys", str(path)] == (
            "note",
            f"0 valid keys, so no call is accepted: {create}",
        )
        store.create(KeyTerms(name="team-a", budgets=("25/day",)))
        store.create(KeyTerms(name="team-b", models=("gemini-*",)))
        store.create(KeyTerms(name="team-c", models=("gpt5", "fas")))
    with_pattern = await found(read(FILE, keys=path))
    assert ("key", "team-b") not in with_pattern
    assert "it may use gpt5, fas, and no such model is served" in with_pattern["key", "team-c"][1]
    parts = await found(settings)
    assert parts["keys", str(path)] == ("ok", "3 valid keys")
    assert ("key", "team-a") not in parts
    assert "no such model is served" in parts["key", "team-b"][1]
    free = {name: attrs.evolve(one, ledger=None) for name, one in settings.troupes.items()}
    parts = await found(attrs.evolve(settings, troupes=free))
    assert parts["key", "team-a"] == (
        "error",
        "the key team-a has a budget, which needs the ledger; remove ledger = false",
    )
    assert parts["ledger", ""][0] == "note"


@pytest.mark.parametrize("damaged", ["keys", "ledger"])
async def test_a_damaged_file_is_an_error(read, tmp_path, damaged):
    path = tmp_path / "damaged.sqlite3"
    path.write_text("something else")
    parts = await found(read(**{damaged: path}))
    assert parts[damaged, str(path)][0] == "error"
    assert path.read_text() == "something else"  # L14


async def test_what_is_allowed_and_not_there_has_a_remark(read):
    allows = f"{FILE}[keys]\nallow = ['cache']\n"
    parts = await found(read(allows))
    text = 'has "cache", but there is no section [cache], so no response is stored'
    assert parts["allow", ""] == ("note", text)
    assert ("allow", "") not in await found(read(f"cache = true\n{allows}"))


async def test_a_short_admin_key_is_an_error(read):
    parts = await found(attrs.evolve(read(), admin_key="admin"))
    assert parts["admin key", ""][0] == "error"


# ------------------------------------------------------------------------------------- reload


def test_a_file_that_is_read_again_changes_nothing(read, tmp_path):
    assert change_of(read(), read()) == SettingsChange()
    assert change_of(read(), read()).text == ""
    (tmp_path / "prices.json").write_text('{"models": {"my-own": {"input": 1, "output": 2}}}')
    whole = (
        f"prices = 'prices.json'\n{FILE}\n[cache]\n[batches]\n[hedging]\n[throttle]\n"
        "[limits]\nmodels = { 'gpt-5*' = { rpm = 5 } }\n"
        "[ledger]\nbudgets = [{ usd = 5, period = 'day' }]\n"
    )
    assert change_of(read(whole), read(whole)) == SettingsChange()


def test_a_change_says_what_becomes_of_each_troupe(read):
    old = read()
    new = read(
        FILE.replace("rpm = 5000", "rpm = 10").replace('"claude-*" = "anthropic"', '"x" = "spare"')
    )
    change = change_of(old, new)
    assert change == SettingsChange(
        started=("spare",), ended=("anthropic",), limited=("main",), others=("models",)
    )
    assert change.text == "started spare; ended anthropic; new limits of main; new: models"


def test_what_is_more_than_a_limit_begins_a_troupe_anew(read):
    old = read()
    for new in (
        read(FILE + "\n[retry]\nmax_attempts = 9\n"),
        read(FILE.replace("rpm = 5000", "rpm = 5000, in_flight = 5000")),
    ):
        assert "main" in change_of(old, new).recast


def test_what_counts_at_the_next_start_only_is_named(read):
    new = read(FILE.replace("127.0.0.1:0", "127.0.0.1:1"))
    assert change_of(read(), new).needs_restart == ("gateway.listen",)
    assert change_of(read(), new).text == "after a restart: gateway.listen"
