"""Settings from a TOML file: what they come to, and what is said of those that cannot be used."""

import json
import os
from decimal import Decimal
from pathlib import Path

import attrs
import pytest

from callsheet import load_settings
from callsheet.actors import (
    Budget,
    CachePolicy,
    HedgePolicy,
    Lane,
    LedgerPolicy,
    Limits,
    Rate,
    RetryPolicy,
    Timeouts,
    TroupeSettings,
)
from callsheet.config import ConfigError, read_config
from callsheet.config.endpoints import EndpointTable
from callsheet.config.settings import SECTIONS

KEY, OTHER_KEY = "sk-first-0123456789", "sk-ant-other-0123456789"
ENVIRON = {"OPENAI_API_KEY": KEY, "ANTHROPIC_API_KEY": OTHER_KEY, "TEAM_KEY": "sk-team-0123456789"}
NOT_IN_FILES = {
    "metrics",
    *("endpoint", "member_limits", "fallbacks"),  # [endpoints]
    *("strategies", "routes", "stages", "observer", "transport", "client"),  # objects of a program
}


def two(first, second, chosen=("a", "b")):
    """Return the text of a file with two endpoints, as a pool unless one is chosen."""
    tables = [
        f"[endpoints.{name}]\nprovider = 'openai'\n{text}"
        for name, text in (("a", first), ("b", second))
    ]
    return "\n".join((f"endpoint = {json.dumps(chosen)}", *tables))


@pytest.fixture
def load(tmp_path):
    """Loads a settings file with a text."""

    def loaded(text, environ=ENVIRON):
        file = tmp_path / "callsheet.toml"
        file.write_text(text, encoding="utf-8")
        return load_settings(file, environ=environ)

    return loaded


@pytest.fixture
def refused(tmp_path, load):
    """Returns what is said of a file that cannot be used, after the name of the file."""

    def said(text, environ=ENVIRON):
        with pytest.raises(ConfigError) as caught:
            load(text, environ)
        source, name, problem = str(caught.value).partition(f"{tmp_path}/callsheet.toml: ")
        assert (source, bool(name)) == ("", True), caught.value
        assert KEY not in problem
        return problem

    return said


# --------------------------------------------------------------------------------- what holds


def test_every_setting_is_in_files_or_is_an_object_of_a_program():
    assert SECTIONS.keys() | NOT_IN_FILES == attrs.fields_dict(TroupeSettings).keys()
    assert not SECTIONS.keys() & NOT_IN_FILES


def test_an_empty_file_has_the_defaults_and_the_endpoint_of_the_environment(load):
    assert load("") == TroupeSettings(endpoint=load("").endpoint)
    assert load("").endpoint.base_url == "https://api.openai.com/v1"
    assert load("").endpoint.api_key == KEY


def test_sections_are_read(load, tmp_path):
    settings = load(
        """
        prompt_caching = "auto"
        max_waiting_calls = 50
        cache = true
        breaker = false
        hedging = { quantile = 0.9 }

        [limits]
        rpm = 500
        tpm = 2_000_000
        rates = [{ dimension = "usd", amount = 2.5, per_s = 3600 }]
        models = { "gpt-4o*" = { rpm = 5 } }
        lanes.team = { weight = 2 }

        [ledger]
        path = "books/ledger.sqlite3"
        budgets = [{ usd = 0.1, period = "day" }, { usd = "25" }]

        [retry]
        max_attempts = 2

        [timeouts]
        connect_s = 5
        """
    )
    assert settings.prompt_caching == "auto"
    assert settings.max_waiting_calls == 50
    assert (settings.cache, settings.breaker) == (CachePolicy(), None)
    assert settings.hedging == HedgePolicy(quantile=0.9)
    assert settings.limits == Limits(
        rpm=500,
        tpm=2_000_000,
        rates=[Rate("usd", 2.5, 3600)],
        models={"gpt-4o*": Limits(rpm=5)},
        lanes={"team": Lane(weight=2)},
    )
    assert settings.ledger == LedgerPolicy(
        budgets=[Budget(Decimal("0.1"), period="day"), Budget(25)],
        path=tmp_path / "books/ledger.sqlite3",
    )
    assert settings.retry == RetryPolicy(max_attempts=2)
    assert settings.timeouts == Timeouts(connect_s=5)


def test_files_that_are_named_are_relative_to_the_file(load, tmp_path):
    (tmp_path / "prices.json").write_text(
        '{"models": {"mine": {"input": 1, "output": 2}}}', encoding="utf-8"
    )
    (tmp_path / "post.toml").write_text(
        'name = "p"\n[[steps]]\nname = "one"\nprompt = "{{ topic }}"\n', encoding="utf-8"
    )
    settings = load('prices = "prices.json"\nrecipe = "post.toml"')
    assert settings.prices.price("mine") is not None
    assert settings.prices.price("gpt-4o") is not None, "the published prices are there as well"
    assert settings.recipe.name == "p"


def test_the_endpoint_has_its_own_limits_and_fallbacks(load):
    settings = load(
        """
        limits = { rpm = 10, in_flight = 7 }

        [endpoints.main]
        provider = "openai"
        api_key_env = "TEAM_KEY"
        limits = { rpm = 5000 }
        headers = { x-team = "one" }
        headers_env = { x-secret = "ANTHROPIC_API_KEY" }
        fallback = "spare"

        [endpoints.spare]
        provider = "anthropic"
        model = "claude-haiku-4-5"
        """
    )
    endpoint, (spare,) = settings.endpoint, settings.fallbacks
    assert endpoint.api_key == ENVIRON["TEAM_KEY"]
    assert endpoint.headers == {"x-team": "one", "x-secret": OTHER_KEY}
    assert OTHER_KEY not in repr(endpoint)
    assert "x-secret" in endpoint.secret_names
    assert settings.limits == Limits(rpm=5000, in_flight=7)
    assert (spare.endpoint.vendor.name, spare.model) == ("anthropic", "claude-haiku-4-5")
    assert spare.endpoint.api_key == OTHER_KEY


def test_several_endpoints_are_a_pool(load):
    settings = load(
        """
        endpoint = ["one", "two"]
        endpoints.one = { provider = "openai", api_key_env = "TEAM_KEY", limits = { rpm = 5 } }
        endpoints.two = { provider = "openai", weight = 2, key_name = "second" }
        endpoints.three = { provider = "anthropic" }
        """
    )
    assert [one.key_name for one in settings.endpoint.members] == ["one", "second"]
    assert [one.weight for one in settings.endpoint.members] == [1, 2]
    assert settings.member_limits == {"one": Limits(rpm=5)}
    assert settings.fallbacks == ()


def test_any_member_of_a_pool_names_its_fallback(load):
    text = two("", "fallback = 'c'") + "\n[endpoints.c]\nprovider = 'anthropic'"
    assert [one.endpoint.vendor.name for one in load(text).fallbacks] == ["anthropic"]


def test_a_socket_is_relative_to_the_file_as_other_paths_are(load, tmp_path):
    text = "endpoints.a = { provider = 'vllm', uds = 'server.sock' }"
    assert load(text).endpoint.uds == f"{tmp_path}/server.sock"


@pytest.mark.parametrize("choice", ["", 'endpoint = "main"'])
def test_the_main_endpoint_is_the_usual_one(load, choice):
    tables = 'endpoints.a = { provider = "groq" }\nendpoints.main = { provider = "openai" }'
    assert load(f"{choice}\n{tables}").endpoint.vendor.name == "openai"


def test_an_endpoint_without_a_provider_has_that_of_its_address(load):
    settings = load('endpoints.mine = { base_url = "http://127.0.0.1:8080/v1" }')
    assert settings.endpoint.vendor.name == "compatible"
    assert settings.endpoint.base_url == "http://127.0.0.1:8080/v1"


# ---------------------------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("limits.rpm = -5", "limits.rpm: must be above 0, got -5"),
        ("limits.rpm = 'fast'", "limits.rpm: must be a number, got 'fast'"),
        ("limits.rpm = true", "limits.rpm: must be a number, got true"),
        ("limits.rpm = inf", "limits.rpm: must be a number, got Infinity"),
        ("limits.in_flight = 2.5", "limits.in_flight: must be a whole number, got 2.5"),
        ("limits.learn = 1", "limits.learn: must be true or false, got 1"),
        ("limits.rates = 3", "limits.rates: must be an array, got 3"),
        ("limits.rates = [{amount = 3}]", "limits.rates[1].dimension: is missing; add it"),
        ('limits.models."a b".rpm = 0', 'limits.models."a b".rpm: must be above 0, got 0'),
        ("prompt_caching = 'of'", "prompt_caching: must be one of off, order, auto, got 'of'"),
        ("max_waiting_calls = 0", "max_waiting_calls: must be at least 1, got 0"),
        ("cache = 'yes'", "cache: must be a table, true or false, got 'yes'"),
        ("retry = true", "retry: must be a table, got true"),
        ("ledger.budgets = [{usd = -1}]", "ledger.budgets[1].usd: must be US dollars"),
        ("hedging.min_calls = 600", "hedging.min_calls: is 600, but window keeps only 500"),
        ("limits.rpn = 5", "limits.rpn: is unknown; did you mean rpm? (known: rpm, tpm, in_fl"),
        ("limit.rpm = 5", "limit: is unknown; did you mean limits? (known: endpoint, endpoints"),
        ("LIMITS.rpm = 5", "LIMITS: is unknown; did you mean limits? (known: "),
        ("ledger.on_unwritten = 'x'", "ledger.on_unwritten: is unknown"),
        (
            "metrics = true",
            "metrics: cannot be in a file; a program sets it: attrs.evolve(load_settings(",
        ),
        (
            "[limits.models]\ngpt-5.4-nano = { rpm = 5 }",
            'limits.models.gpt-5.4-nano: is unknown; a name with a dot needs quotes: "gpt-5.4-',
        ),
        (
            "[endpoints.gpt-5.4]\nprovider = 'openai'",
            'endpoints.gpt-5.4: is unknown; a name with a dot needs quotes: "gpt-5.4"',
        ),
        ("limits.models.gpt.burst = {}", "limits.models.gpt.burst: is unknown; did you mean"),
        ("timeouts.send_s = 2026-11-29", "timeouts.send_s: must be a number, got 2026-11-29"),
        (
            "endpoints.a.provider = 'builtin'",
            "endpoints.a.provider: the built-in provider has no address that a file could name; ",
        ),
        ("batches.dialect = 'latin'", "batches"),
        ("rpm =", "is not TOML: "),
        (
            "limits.models.gpt-* = {}",
            (
                "is not TOML: Expected '=' after a key in a key/value pair (at line 1, column 19); "
                "names of other characters than letters, digits, _ and - need quotes"
            ),
        ),
        ("rpm = 1" + "0" * 5000, "has a number of too many digits"),
        ("prices = 'none.json'", "prices: "),
        ("recipe = 'none.toml'", "recipe: /"),
        ("endpoint = 'main'", "endpoint: there is no table [endpoints.NAME]"),
        ("[endpoint.main]", "endpoint: must be the name of an endpoint; the table of one is [end"),
        ("endpoints = 3", "endpoints: must be a table, got 3"),
        ("endpoints.a = {}", "endpoints.a: needs a provider or a base_url"),
        ("endpoints.a.provider = 'opnai'", "endpoints.a.provider: must be one of openai, "),
        ("endpoints.a.base_url = 'nonsense'", "endpoints.a.base_url: must look like https://"),
        (
            "endpoints.a = {provider = 'openai', weight = 0}",
            "endpoints.a.weight: must be above 0.0, got 0",
        ),
        (
            "endpoints.a = {provider = 'openai', uds = '/x', proxy = 'http://p'}",
            "endpoints.a: uds and proxy exclude each other",
        ),
        (
            "endpoints.a.provider = 'azure'",
            "endpoints.a: Azure OpenAI has no default URL; give base_url or set AZURE_OPENAI_E",
        ),
        (
            "endpoints.a.provider = 'groq'",
            "endpoints.a: Groq needs an API key; set GROQ_API_KEY",
        ),
        (
            "endpoints.a = {provider = 'groq', api_key_env = 'NOPE'}",
            "endpoints.a.api_key_env: the variable NOPE is not set",
        ),
        (
            "endpoints.a = {provider = 'groq', api_key_env = '${TEAM_KEY}'}",
            "endpoints.a.api_key_env: must be the name of a variable, such as TEAM_KEY, got '${T",
        ),
        (
            "endpoints.a = {provider = 'openai', headers_env = {x-team = ''}}",
            "endpoints.a.headers_env.x-team: must be the name of a variable, such as TEAM_KEY, got",
        ),
        (
            two("fallback = 'b'", "model = ''", chosen="a"),
            "endpoints.b.model: must be the name of a model",
        ),
        (
            two("fallback = 'c'", "fallback = 'd'"),
            "endpoints.b.fallback: must be 'c', as for a, because a pool has one fallback",
        ),
        (two("", "fallback = 'a'"), "endpoints.b.fallback: 'a' comes twice in this chain"),
        (
            "endpoints.a = {provider = 'openai', limits = {rpm = 0}}",
            "endpoints.a.limits.rpm: must be above 0, got 0",
        ),
        (
            "endpoints.a = {provider = 'openai', limit = {rpm = 1}}",
            "endpoints.a.limit: is unknown; did you mean limits?",
        ),
        (
            "endpoints.a = {provider = 'openai', fallback = 'b'}",
            "endpoints.a.fallback: must name one of a, got 'b'",
        ),
        (
            "endpoints.a = {provider = 'openai', fallback = 'a'}",
            "endpoints.a.fallback: 'a' comes twice in this chain",
        ),
        (
            "endpoints = {a = {provider = 'openai'}, b = {provider = 'openai'}}",
            "endpoint: is missing; name one of a, b, or several as a pool",
        ),
        (
            "endpoint = ['a', 'a']\nendpoints = {a = {provider = 'openai'}}",
            "endpoint: each key_name in a pool must be unique",
        ),
    ],
)
def test_what_cannot_be_used_is_refused_by_file_and_field(refused, text, problem):
    assert refused(text).startswith(problem)


@pytest.mark.parametrize(
    ("text", "field"),
    [
        (f"endpoints.a = {{provider = 'openai', api_key = '{KEY}'}}", "endpoints.a.api_key"),
        ("endpoints.a = {provider = 'vllm', api_key = 'x'}", "endpoints.a.api_key"),
        (f"endpoints.a.headers.x-team = '{KEY}'", "endpoints.a.headers.x-team"),
        ("endpoints.a.headers.Authorization = 'x'", "endpoints.a.headers.Authorization"),
        ("endpoints.a.headers.Cookie = 'session=x'", "endpoints.a.headers.Cookie"),
        ("endpoints.a.headers.X-Team-Token = 'x'", "endpoints.a.headers.X-Team-Token"),
        (f"endpoints.a.query.k = ['{KEY}']", "endpoints.a.query.k[1]"),
        ("endpoints.a.proxy = 'http://me:hunter2@proxy'", "endpoints.a.proxy"),
    ],
)
def test_a_key_in_the_file_is_refused_and_not_repeated(refused, text, field):
    said = refused(text)
    assert said.startswith(f"{field}: looks like a key, which does not belong in a file")
    assert 'api_key_env = "VARIABLE"' in said
    assert "hunter2" not in said


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nothing\.toml: the file does not exist"):
        load_settings(tmp_path / "nothing.toml", environ=ENVIRON)
    with pytest.raises(ConfigError, match="cannot be read: "):
        load_settings(tmp_path, environ=ENVIRON)
    (tmp_path / "latin.toml").write_bytes(b"a = '\xe9'")
    with pytest.raises(ConfigError, match=r"is not UTF-8 \(byte 5\)"):
        load_settings(tmp_path / "latin.toml", environ=ENVIRON)
    (tmp_path / "deep.toml").write_text("a = " + "[" * 5000 + "]" * 5000, encoding="utf-8")
    with pytest.raises(ConfigError, match="is n"):
        load_settings(tmp_path / "deep.toml", environ=ENVIRON)


def test_without_any_endpoint_it_is_said_what_to_do():
    with pytest.raises(ConfigError, match=r"no endpoint is configured; add \[endpoints.main\]"):
        load_settings(environ={})
    assert issubclass(ConfigError, ValueError)


def test_the_process_has_the_environment_by_default(monkeypatch, tmp_path):
    for name in set(os.environ) - {"PATH", "HOME"}:
        if name.startswith(("OPENAI", "CALLSHEET")):
            monkeypatch.delenv(name)
    (tmp_path / "mine.toml").write_text("limits.rpm = 3", encoding="utf-8")
    monkeypatch.setenv("CALLSHEET_CONFIG", str(tmp_path / "mine.toml"))
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert load_settings().limits.rpm == 3
    assert read_config().source == str(tmp_path / "mine.toml")
    assert Path(read_config().source).is_file()


# ------------------------------------------------------------------------------ the document

DOCUMENT = (Path(__file__).parents[2] / "docs" / "settings.md").read_text(encoding="utf-8")


def test_each_section_and_each_member_of_an_endpoint_is_documented():
    names = [*SECTIONS, *attrs.fields_dict(EndpointTable)]
    assert [
        name for name in names if f"`{name}`" not in DOCUMENT and f"[{name}]" not in DOCUMENT
    ] == []


def test_the_file_of_the_document_is_one(load):
    text = DOCUMENT.partition("```toml\n")[2].partition("```")[0]
    settings = load(text, ENVIRON | {"TEAM_OPENAI_KEY": KEY})
    assert (settings.limits.rpm, settings.limits.in_flight) == (5000, 200)
    assert [one.model for one in settings.fallbacks] == ["claude-haiku-4-5"]


def test_the_errors_of_the_document_are_what_is_said(refused):
    said = [
        refused("limits.rpm = -5"),
        refused("limits.rpn = 5").partition(" (known: rpm, tpm, in_flight,")[0],
        refused("endpoints.main = {provider = 'openai', api_key_env = 'TEAM_OPENAI_KEY'}"),
    ]
    assert [line for line in said if f"    callsheet.toml: {line}" not in DOCUMENT] == []
