"""`callsheet keys` from its arguments to its exit status."""

import json
import os
import shlex

import click
import pytest
from callsheet_process import run_callsheet
from click.testing import CliRunner

from callsheet.cli import key_options, main
from callsheet.cli import keys as command
from callsheet.gateway.keys import KeyFile

NOW = 1_795_694_400.0  # 2026-11-26 12:00 UTC


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    for module in (command, key_options):
        monkeypatch.setattr(module, "wall_clock", lambda: NOW)
    monkeypatch.setattr(command, "default_key_store", lambda: tmp_path / "data" / "keys.sqlite3")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("CALLSHEET_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def keys(line, *more):
    result = CliRunner().invoke(main, ["keys", *shlex.split(line), *map(str, more)])
    assert "Traceback" not in result.output
    return result


def refused(line, *more):
    result = keys(line, *more)
    assert (result.exit_code, result.stdout) == (2, "")
    return result.stderr


def test_only_the_key_is_printed_to_stdout(folder):
    result = keys("create team-a --budget 25/day")
    assert result.exit_code == 0
    secret = result.stdout.removesuffix("\n")
    with KeyFile(folder / "data" / "keys.sqlite3") as store:
        assert store.known.find(secret).budgets == ("25/day",)
    assert secret not in result.stderr
    assert "it cannot be shown again. It never expires." in result.stderr
    assert f'[keys] store = "{folder}/data/keys.sqlite3"' in result.stderr


def test_every_option_of_a_key():
    result = keys(
        "create team-a --lane batch --weight 2 --rpm 60 --tpm 1e5 --in-flight 5 --budget 25/day "
        '--budget 500 --models "gpt-5*, o4-mini" --models claude-* --allow cache,join '
        "--expires 30d --json"
    )
    found = json.loads(result.stdout)
    assert found["secret"].startswith(found["key"]["prefix"][:7])
    assert found["key"] | {"id": "", "prefix": ""} == {
        "id": "",
        "state": "valid",
        "name": "team-a",
        "lane": "batch",
        "weight": 2.0,
        "rpm": 60.0,
        "tpm": 1e5,
        "in_flight": 5,
        "models": ["gpt-5*", "o4-mini", "claude-*"],
        "budgets": ["25/day", "500"],
        "allow": ["cache", "join"],
        "is_admin": False,
        "prefix": "",
        "created_at": "2026-11-26T12:00:00+00:00",
        "expires_at": "2026-12-26T12:00:00+00:00",
        "revoked_at": None,
    }
    assert result.stderr == ""


@pytest.mark.parametrize(
    ("expires", "at"),
    [
        ("60s", "2026-11-26T12:01"),
        ("90m", "2026-11-26T13:30"),
        ("12 h", "2026-11-27T00:00"),
        ("8w", "2027-01-21T12:00"),
        ("2027-01-31", "2027-01-31T00:00"),
        ("2027-01-31T12:00+01:00", "2027-01-31T11:00"),
    ],
)
def test_when_a_key_ends(expires, at):
    result = keys("create a --json --expires", expires)
    assert json.loads(result.stdout)["key"]["expires_at"] == f"{at}:00+00:00"


def test_the_list_has_the_columns_that_matter():
    keys("create team-a --weight 2 --models gpt-5*")
    keys("create team-b --rpm 600 --expires 30d")
    keys("create gone")
    keys("revoke gone")
    lines = keys("list").stdout.splitlines()
    assert lines[1].split() == ["name", "id", "key", "weight", "limits", "models", "ends"]
    shown = {line.split()[0]: line for line in lines[3:5]}
    assert "gpt-5*" in shown["team-a"]
    assert "600 rpm" in shown["team-b"]
    assert "gone" not in keys("list").stdout
    assert "revoked" in keys("list --all").stdout
    rows = json.loads(keys("list --all --json").stdout)["keys"]
    assert sorted((row["name"], row["state"]) for row in rows) == [
        ("gone", "revoked"),
        ("team-a", "valid"),
        ("team-b", "valid"),
    ]
    assert "secret" not in rows[0]
    assert "hash" not in rows[0]


def test_a_replaced_key_gives_its_terms_to_the_new_one():
    first = json.loads(keys("create team-a --rpm 5 --budget 1/day --json").stdout)["key"]
    result = keys("create team-a --replace --rpm 9 --grace 2h")
    assert f"Its former key {first['id']} ({first['prefix']}) is valid until" in result.stderr
    assert "2026-11-26 14:00 UTC" in result.stderr
    rows = json.loads(keys("list --json").stdout)["keys"]
    assert [(row["rpm"], row["budgets"]) for row in rows] == [(9.0, ["1/day"])] * 2


def test_a_replaced_key_may_end_at_once():
    keys("create team-a")
    keys("create team-a --replace --grace 0")
    assert len(json.loads(keys("list --json").stdout)["keys"]) == 1


def test_revoking_reports_each_key_and_goes_on_after_one_that_is_unknown():
    keys("create team-a")
    keys("create team-b")
    result = keys("revoke team-a team-x team-b")
    assert result.exit_code == 2
    assert [line.split()[3] for line in result.stdout.splitlines()] == ["team-a", "team-b"]
    assert "no key 'team-x'" in result.stderr
    assert keys("list").stderr.startswith("No key of ")


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("create 'a b'", "a name must have"),
        ("create a --budget 1,5/day", "write US dollars and a period"),
        ("create a --budget 1/day --budget 2/day", "at most one budget a day"),
        ("create a --weight nan", "not a finite number"),
        ("create a --rpm 0", "--rpm"),
        ("create a --in-flight 0", "--in-flight"),
        ("create a --allow caches", "allow knows cache"),
        ("create a --models ,", "at least one pattern"),
        ("create a --expires 0", "would have expired before its first call"),
        ("create a --expires 1y", "no span such as 12h or 30d"),
        ("create a --expires 999999w", "no span"),
        ("create a --expires 2020-01-01", "2020-01-01 00:00 UTC has passed"),
        ("create a --lane cs-secret", "a name cannot begin with cs-"),
        ("create a --replace", "callsheet keys create NAME"),
        ("list", "the file does not exist; create a first key"),
        ("revoke a", "the file does not exist"),
        ("revoke", "Missing argument"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line_and_leaves_no_file(folder, line, text):
    assert text in refused(line)
    assert not (folder / "data").exists()


def test_a_store_that_cannot_be_used_is_named_with_the_option(folder):
    (folder / "keys").write_text("no database, but a text of more than a hundred bytes " * 3)
    for line in ("create a", "list", "revoke a"):
        assert "move the file away, or give another --store" in refused(
            line, "--store", folder / "keys"
        )


FILE = """
endpoint = "a"
endpoints.a = { provider = "groq", api_key_env = "NOT_SET" }
gateway.listen = ["0.0.0.0:4000"]
models."gpt-*" = "a"
keys = { store = "team.sqlite3", allow = ["cache"] }
"""


def test_the_settings_file_of_the_gateway_names_the_store(folder, monkeypatch):
    (folder / "callsheet.toml").write_text(FILE)
    assert keys("create a --config callsheet.toml").exit_code == 0
    assert (folder / "team.sqlite3").exists()
    assert keys("create b --config callsheet.toml --store other").exit_code == 0
    assert (folder / "other").exists()
    monkeypatch.setenv("CALLSHEET_CONFIG", "callsheet.toml")
    assert [row["name"] for row in json.loads(keys("list --json").stdout)["keys"]] == ["a"]
    monkeypatch.setenv("CALLSHEET_KEYS_STORE", str(folder / "other"))
    assert [row["name"] for row in json.loads(keys("list --json").stdout)["keys"]] == ["b"]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("keys.stor = 'x'", "--config: callsheet.toml: keys.stor: is unknown; did you mean store?"),
        ("limits.rpm = 5", "it names no key store; add [keys] store, or give --store"),
        ("keys", "--config: callsheet.toml: "),
        (None, "--config: callsheet.toml: "),
    ],
)
def test_a_settings_file_that_cannot_be_used_is_named(folder, text, error):
    if text is not None:
        (folder / "callsheet.toml").write_text(text)
    for line in ("create a", "list", "revoke a"):
        assert error in refused(f"{line} --config callsheet.toml")


def test_a_key_may_open_the_page_of_the_gateway():
    created = keys("create ann --admin --json")
    assert json.loads(created.stdout)["key"]["is_admin"]
    replaced = keys("create ann --replace --json")
    assert json.loads(replaced.stdout)["key"]["is_admin"]
    keys("create bob")
    assert " admin" in keys("list").stdout


@pytest.mark.parametrize("words", ["none", "cache", ""])
def test_what_a_key_allows(words):
    result = keys("create a --json --allow", words)
    assert json.loads(result.stdout)["key"]["allow"] == [
        word for word in [words] if word == "cache"
    ]


@pytest.mark.parametrize("name", ["create", "list", "revoke"])
def test_every_option_has_a_help_text_in_a_section(name):
    text = keys(f"{name} --help").stdout
    assert "\nOptions:" not in text
    group = main.get_command(click.Context(main), "keys")
    found = group.get_command(click.Context(group), name)
    for parameter in found.params:
        if isinstance(parameter, click.Option):
            assert parameter.help.endswith(".")
            assert max(parameter.opts, key=len) in text
    for example in found.examples:
        first, second, *arguments = shlex.split(example)
        assert (first, second) == ("keys", name)
        found.make_context(name, arguments)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only Linux has it")  # noqa: PTH110
def test_a_key_that_could_not_be_printed_is_revoked(tmp_path):
    store = tmp_path / "keys.sqlite3"
    with open("/dev/full", "w") as full:  # noqa: PTH123
        found = run_callsheet("keys", "create", "a", "--store", store, stdout=full)
    assert found.returncode == 1
    assert "cannot write the output: No space left on device" in found.stderr
    with KeyFile(store) as opened:
        assert opened.known.valid() == ()
        assert len(opened.all()) == 1
