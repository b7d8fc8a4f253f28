"""`--config` and `--env-file`: what a file sets, and what overrides it."""

import json

import httpx
import pytest
from click.testing import CliRunner

from callsheet.cli import main
from callsheet.cli.compose import job as compose_job
from callsheet.cli.run import job as run_job
from callsheet.costs import default_ledger

KEY = "sk-config-0123456789"
CALLSHEET = (
    *("CALLSHEET_LIMITS_RPM", "CALLSHEET_LIMITS_RPN", "CALLSHEET_CONFIG"),
    "CALLSHEET_LEDGER",  # the tests have a ledger of their own
)


@pytest.fixture(autouse=True)
def no_variables_stay(monkeypatch):
    """Restore the variables that `--env-file` sets in this process."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "TEAM_KEY", *CALLSHEET):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@pytest.fixture
def seen(monkeypatch):
    """The settings of the troupes that commands open, which they do not."""
    found = []

    class Seen(Exception):
        pass

    def open_troupe(settings, **more):
        found.append(settings)
        raise Seen

    def bulk(rows, output, settings, *arguments, **more):
        found.append(settings)
        raise Seen

    monkeypatch.setattr(compose_job, "open_troupe", open_troupe)
    monkeypatch.setattr(run_job, "bulk", bulk)
    return found


@pytest.fixture
def settings_of(seen, tmp_path, monkeypatch):
    """Returns the settings that a command makes of a file and of options."""

    def made(command, text, *options):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "callsheet.toml").write_text(text, encoding="utf-8")
        (tmp_path / "in.csv").write_text("text\nTea\n", encoding="utf-8")
        named = ("--config", "callsheet.toml") if text else ()
        arguments = {"compose": ("Tea",), "run": ("in.csv", "out.jsonl", "--template", "{{text}}")}
        line = [command, *arguments[command], *named, *options]
        result = CliRunner().invoke(main, line)
        assert len(seen) == 1, result.output
        return seen.pop()

    return made


both = pytest.mark.parametrize("command", ["compose", "run"])
FILE = """
endpoints.main = { base_url = "http://127.0.0.1:1/v1", fallback = "spare" }
endpoints.spare = { base_url = "http://127.0.0.1:2/v1" }
prompt_caching = "off"
retry.max_attempts = 2
hedging = true
ledger = { path = "books.sqlite3", budgets = [{ usd = 5 }] }
[limits]
rpm = 500
in_flight = 7
models = { "gpt-4o*" = { rpm = 5 } }
[timeouts]
connect_s = 3
send_s = 50
"""


@both
def test_a_file_sets_what_no_option_says(settings_of, command, tmp_path):
    settings = settings_of(command, FILE)
    assert settings.endpoint.base_url == "http://127.0.0.1:1/v1"
    assert [one.endpoint.base_url for one in settings.fallbacks] == ["http://127.0.0.1:2/v1"]
    limits, timeouts = settings.limits, settings.timeouts
    assert (limits.rpm, limits.in_flight, limits.models["gpt-4o*"].rpm) == (500, 7, 5)
    assert (timeouts.connect_s, timeouts.send_s, timeouts.first_byte_s) == (3, 50, 600)
    assert (settings.prompt_caching, settings.retry.max_attempts) == ("off", 2)
    assert settings.hedging is not None
    assert settings.ledger.path == tmp_path / "books.sqlite3"
    assert [budget.usd for budget in settings.ledger.budgets] == [5]
    assert settings.ledger.on_unwritten is not None


@both
def test_options_override_variables_and_these_the_file(settings_of, command, monkeypatch):
    monkeypatch.setenv("CALLSHEET_LIMITS_RPM", "400")
    monkeypatch.setenv("CALLSHEET_LIMITS_TPM", "1000")
    monkeypatch.setenv("CALLSHEET_RETRY_MAX_ATTEMPTS", "4")
    options = ("--tpm", "9", "--timeout", "20", "--prompt-caching", "auto")
    settings = settings_of(command, FILE, *options)
    assert (settings.limits.rpm, settings.limits.tpm, settings.limits.in_flight) == (400, 9, 7)
    assert (settings.timeouts.send_s, settings.timeouts.first_byte_s) == (20, 20)
    assert (settings.prompt_caching, settings.retry.max_attempts) == ("auto", 4)


@both
def test_another_provider_has_neither_the_endpoint_nor_its_fallbacks(settings_of, command):
    settings = settings_of(command, FILE, "--base-url", "http://127.0.0.1:3/v1")
    assert settings.endpoint.base_url == "http://127.0.0.1:3/v1"
    assert settings.fallbacks == ()
    assert settings.retry.max_attempts == 2


@both
def test_another_provider_needs_no_key_of_the_file(settings_of, command):
    text = "endpoints.main = { provider = 'groq', api_key_env = 'TEAM_KEY' }\nlimits.rpm = 3"
    settings = settings_of(command, text, "--base-url", "http://127.0.0.1:3/v1")
    assert (settings.endpoint.base_url, settings.limits.rpm) == ("http://127.0.0.1:3/v1", 3)


@both
def test_files_that_the_file_names_are_read(settings_of, command, tmp_path):
    (tmp_path / "prices.json").write_text('{"models": {"mine": {"input": 1, "output": 2}}}')
    (tmp_path / "post.toml").write_text('name = "p"\n[[steps]]\nname = "a"\nprompt = "Hi"\n')
    text = "prices = 'prices.json'\nrecipe = 'post.toml'\nendpoints.a.base_url = 'http://a/v1'"
    settings = settings_of(command, text)
    assert settings.prices.price("mine") is not None
    assert (settings.recipe and settings.recipe.name) == ("p" if command == "compose" else None)


def test_costs_shows_the_ledger_of_the_file_and_needs_no_key(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = "ledger.path = 'books.sqlite3'\nendpoints.a = { provider = 'groq', api_key_env = 'NO' }"
    (tmp_path / "callsheet.toml").write_text(text, encoding="utf-8")
    result = CliRunner().invoke(main, ["costs", "--config", "callsheet.toml"])
    assert result.exit_code == 2
    assert str(tmp_path / "books.sqlite3") in result.stderr, "it is the one that is not there"


def test_prices_shows_the_prices_of_the_file_and_needs_no_key(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = '{"models": {"mine": {"input": 1.25, "output": 2}}}'
    (tmp_path / "prices.json").write_text(own, encoding="utf-8")
    text = "prices = 'prices.json'\nendpoints.a = { provider = 'groq', api_key_env = 'NO' }"
    (tmp_path / "callsheet.toml").write_text(text, encoding="utf-8")
    line = ["prices", "mine", "--config", "callsheet.toml", "--format", "csv"]
    result = CliRunner().invoke(main, line)
    assert result.exit_code == 0, result.output
    assert "mine,,1.25,,,,2," in result.stdout


def test_top_looks_at_the_socket_of_the_file_unless_it_is_given_another(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "callsheet.toml").write_text("inspect = 'a.sock'", encoding="utf-8")
    line = ("top", "--config", "callsheet.toml", "--json")
    assert f"no socket at {tmp_path}/a.sock" in refused(*line)
    assert "no socket at b.sock" in refused(*line, "b.sock")
    monkeypatch.setenv("CALLSHEET_INSPECT", "c.sock")
    assert f"no socket at {tmp_path}/c.sock" in refused("top", "--json")
    monkeypatch.delenv("CALLSHEET_INSPECT")
    assert refused("top", "--json").startswith("PATH is missing: ")


def test_top_without_a_socket_looks_at_the_shared_server(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    server = "redis://:pass-1@127.0.0.1:1"
    words = "the shared server redis://127.0.0.1:1/0 cannot be used"
    monkeypatch.setenv("CALLSHEET_SHARED_URL", server)
    assert words in (text := refused("top", "--json"))
    assert "pass-1" not in text
    monkeypatch.delenv("CALLSHEET_SHARED_URL")
    monkeypatch.setenv("TEAM_SERVER", server)
    text = "[shared]\nurl_env = 'TEAM_SERVER'"
    (tmp_path / "callsheet.toml").write_text(text, encoding="utf-8")
    assert words in refused("top", "--config", "callsheet.toml", "--json")


@both
def test_a_file_turns_the_ledger_off_unless_an_option_names_one(settings_of, command, tmp_path):
    text = "ledger = false\nendpoints.main.base_url = 'http://127.0.0.1:1/v1'"
    assert settings_of(command, text).ledger is None
    assert settings_of(command, text, "--ledger", "b.sqlite3").ledger.path.name == "b.sqlite3"


@both
def test_a_variable_turns_the_ledger_off(settings_of, command, monkeypatch, tmp_path):
    monkeypatch.setenv("CALLSHEET_LEDGER", "false")
    text = "ledger.path = 'b.sqlite3'\nendpoints.main.base_url = 'http://127.0.0.1:1/v1'"
    assert settings_of(command, text).ledger is None
    assert default_ledger().name == "ledger.sqlite3"


@both
def test_an_option_holds_for_each_member_of_a_pool(settings_of, command):
    tables = "".join(
        f"endpoints.{name} = {{base_url = 'http://{name}/v1', limits = {{rpm = 9, tpm = 5}}}}\n"
        for name in "ab"
    )
    settings = settings_of(command, f"endpoint = ['a', 'b']\n{tables}", "--rpm", "3")
    found = {name: (one.rpm, one.tpm) for name, one in settings.member_limits.items()}
    assert found == {"a": (3, 5), "b": (3, 5)}


def test_an_option_names_another_inspection_socket(settings_of, tmp_path):
    text = "inspect = 'a.sock'\nendpoints.main.base_url = 'http://127.0.0.1:1/v1'"
    assert settings_of("run", text).inspect == tmp_path / "a.sock"
    assert settings_of("run", text, "--inspect", "b.sock").inspect.name == "b.sock"


def test_an_option_turns_the_cache_of_a_run_on(settings_of):
    text = "cache = false\nendpoints.main.base_url = 'http://127.0.0.1:1/v1'"
    assert settings_of("run", text).cache is None
    assert settings_of("run", text, "--cacheable").cache.path is None


@both
def test_headers_are_added_to_the_endpoint_of_the_file(settings_of, command):
    settings = settings_of(command, FILE, "--header", "x-team=one")
    assert settings.endpoint.headers["x-team"] == "one"
    assert len(settings.fallbacks) == 1


@both
def test_a_variable_names_the_file(settings_of, command, monkeypatch, tmp_path):
    (tmp_path / "other.toml").write_text("limits.rpm = 3", encoding="utf-8")
    monkeypatch.setenv("CALLSHEET_CONFIG", str(tmp_path / "other.toml"))
    assert settings_of(command, "", "--provider", "builtin").limits.rpm == 3


@both
def test_a_file_of_variables_has_keys_and_settings(settings_of, command, monkeypatch, tmp_path):
    (tmp_path / ".env").write_text(f"TEAM_KEY={KEY}\nCALLSHEET_LIMITS_RPM=30\n", encoding="utf-8")
    text = "endpoints.main = { provider = 'openai', api_key_env = 'TEAM_KEY' }"
    settings = settings_of(command, text, "--env-file", ".env")
    assert settings.endpoint.api_key == KEY
    assert settings.limits.rpm == 30


def refused(*arguments):
    result = CliRunner().invoke(main, list(arguments))
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    return result.stderr.splitlines()[-1].removeprefix("Error: ")


@pytest.mark.parametrize("line", [("compose", "Tea"), ("run", "in.csv", "out.jsonl")])
def test_a_file_that_cannot_be_used_is_refused(tmp_path, line, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.toml").write_text("limits.rpm = -1", encoding="utf-8")
    (tmp_path / "bad.env").write_text("none", encoding="utf-8")
    said = "--config: bad.toml: limits.rpm: must be above 0, got -1"
    assert refused(*line, "--config", "bad.toml") == said
    assert (
        refused(*line, "--config", "no.toml")
        == "--config: no.toml: the file does not exist; check the path"
    )
    said = "--env-file: bad.env: line 1: must be NAME=value"
    assert refused(*line, "--env-file", "bad.env") == said
    (tmp_path / "typo.env").write_text("CALLSHEET_LIMITS_RPN=5\n", encoding="utf-8")
    said = "CALLSHEET_LIMITS_RPN: is unknown; did you mean CALLSHEET_LIMITS_RPM?"
    assert refused(*line, "--env-file", "typo.env") == f"--env-file: typo.env: {said}"
    monkeypatch.delenv("CALLSHEET_LIMITS_RPN")
    (tmp_path / "named.env").write_text("CALLSHEET_CONFIG=no.toml\n", encoding="utf-8")
    said = "CALLSHEET_CONFIG: no.toml: the file does not exist; check the path"
    assert refused(*line, "--env-file", "named.env") == f"--env-file: named.env: {said}"
    monkeypatch.delenv("CALLSHEET_CONFIG")
    monkeypatch.setenv("CALLSHEET_LIMITS_RPM", "x")
    assert refused(*line) == "CALLSHEET_LIMITS_RPM: must be a number, got 'x'"


def test_the_refusal_of_a_run_is_also_in_its_summary(tmp_path):
    result = CliRunner().invoke(main, ["run", "a", "b", "--config", "no.toml", "--json"])
    assert (
        json.loads(result.stdout)["message"]
        == "--config: no.toml: the file does not exist; check the path"
    )


def test_help_is_shown_whatever_the_file_has(monkeypatch):
    monkeypatch.setenv("CALLSHEET_CONFIG", "no.toml")
    for name in ("compose", "run"):
        result = CliRunner().invoke(main, [name, "--help"])
        assert result.exit_code == 0
        assert "--config FILE" in result.stdout


@pytest.mark.sockets
def test_a_run_with_a_file_is_a_whole_run(provider, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CALLSHEET_LEDGER", str(tmp_path / "books.sqlite3"))
    (tmp_path / "callsheet.toml").write_text(
        f"endpoints.main.base_url = '{provider}'\nlimits.in_flight = 2", encoding="utf-8"
    )
    (tmp_path / "in.csv").write_text("text\nTea\nSoup\n", encoding="utf-8")
    line = ["run", "in.csv", "out.jsonl", "--template", "{{ text }}", "--model", "gpt-5.4-nano"]
    result = CliRunner().invoke(main, [*line, "--config", "callsheet.toml"])
    assert result.exit_code == 0, result.output
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 2
    assert httpx.get(f"{provider.removesuffix('/v1')}/callsheet/stats", trust_env=False).is_success
    result = CliRunner().invoke(main, ["compose", "Tea", "--config", "callsheet.toml"])
    assert result.exit_code == 0, result.output
    assert "(callsheet.toml: endpoints.main)" in result.stderr
