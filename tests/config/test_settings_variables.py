"""Settings from CALLSHEET_ variables, and which source overrides which."""

from pathlib import Path

import attrs
import pytest

from callsheet import load_settings
from callsheet.actors import CachePolicy, HedgePolicy, LedgerPolicy, Limits
from callsheet.config import ConfigError, read_variables
from callsheet.config.settings import SECTIONS
from callsheet.config.variables import variables_of

IS_FOR_FILES = "is a setting that only a file can have (CALLSHEET_CONFIG names one)"
KEY = {"OPENAI_API_KEY": "sk-first-0123456789"}


def load(path=None, **variables):
    environ = KEY | {f"CALLSHEET_{name}": value for name, value in variables.items()}
    return load_settings(path, environ=environ)


@pytest.fixture
def file(tmp_path):
    def write(text):
        path = tmp_path / "callsheet.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_variables_alone_are_settings():
    settings = load(
        LIMITS_RPM="500",
        LIMITS_BURST_S="0.5",
        PROMPT_CACHING="off",
        MAX_WAITING_CALLS="7",
        CACHE_TTL_S="60",
        HEDGING="true",
        BREAKER="off",
        STREAMING="no",
        LEDGER="~/books.sqlite3",
        PRICES="ignored here",
        DEBUG="1",
    )
    assert settings.limits == Limits(rpm=500, burst_s=0.5)
    assert (settings.prompt_caching, settings.max_waiting_calls) == ("off", 7)
    assert settings.cache == CachePolicy(ttl_s=60)
    assert (settings.hedging, settings.breaker) == (HedgePolicy(), None)
    assert settings.streaming is False
    assert settings.ledger.path == Path.home() / "books.sqlite3"


def test_a_variable_overrides_the_file_and_an_argument_overrides_both(file):
    path = file("limits = { rpm = 1, tpm = 2 }\nhedging = false\ncache = true")
    settings = load(path, LIMITS_RPM="500", HEDGING_QUANTILE="0.9", CACHE="false")
    assert settings.limits == Limits(rpm=500, tpm=2)
    assert settings.hedging == HedgePolicy(quantile=0.9)
    assert settings.cache is None
    assert attrs.evolve(settings, limits=Limits(rpm=9)).limits.rpm == 9


def test_a_variable_overrides_the_limits_of_an_endpoint_as_well(file):
    path = file("endpoints.main = { provider = 'openai', limits = { rpm = 1, tpm = 2 } }")
    assert load(path, LIMITS_RPM="500").limits == Limits(rpm=500, tpm=2)


def test_a_variable_chooses_the_endpoint(file):
    path = file("endpoints.a.provider = 'openai'\nendpoints.b.base_url = 'http://b/v1'")
    assert load(path, ENDPOINT="b").endpoint.base_url == "http://b/v1"


def test_a_variable_that_is_empty_counts_as_unset():
    assert load(LIMITS_RPM=" ").limits == Limits()


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("LIMITS_RPM", "abc", "must be a number, got 'abc'"),
        ("LIMITS_RPM", "-1", "must be above 0, got -1"),
        ("LIMITS_RPM", "nan", "must be a number, got NaN"),
        ("LIMITS_IN_FLIGHT", "1.5", "must be a whole number, got 1.5"),
        ("HEDGING", "maybe", "must be true or false, got 'maybe'"),
        ("PROMPT_CACHING", "of", "must be one of off, order, auto, got 'of'"),
        ("LIMIT_RPM", "5", "is unknown; did you mean CALLSHEET_LIMITS_RPM?"),
        ("LIMITS_RPN", "5", "is unknown; did you mean CALLSHEET_LIMITS_RPM?"),
        ("CONFG", "x", "is unknown; did you mean CALLSHEET_CONFIG?"),
        ("ENDPOINT", "b", "there is no table [endpoints.NAME]"),
        ("CONFIG", "no.toml", "no.toml: the file does not exist; check the path"),
        ("MAX_WAITING_CALLS", "0", "must be at least 1, got 0"),
        ("RPM", "5", "is unknown; did you mean CALLSHEET_LIMITS_RPM?"),
        ("LEDGER_PATH", "x", "is unknown; did you mean CALLSHEET_LEDGER?"),
        ("RETRY_OFTEN", "5", "is unknown; the section [retry] has no such setting"),
        ("LEDGER_BUDGETS", "25", IS_FOR_FILES),
        ("LIMITS_MODELS", "x", IS_FOR_FILES),
        ("ENDPOINTS_MAIN_PROVIDER", "openai", IS_FOR_FILES),
    ],
)
def test_what_cannot_be_used_is_refused_by_the_variable(name, value, problem):
    with pytest.raises(ConfigError) as caught:
        load(**{name: value})
    assert str(caught.value) == f"CALLSHEET_{name}: {problem}"


def test_a_variable_of_a_program_is_its_own():
    assert load(TEAM_KEY="sk-team", SOMETHING_ELSE="x", PATH="/bin").limits == Limits()


def test_the_variable_of_the_ledger_is_its_switch_as_well(file):
    path = file("ledger.path = 'books.sqlite3'")
    assert load(path, LEDGER="false").ledger is None
    assert load(path, LEDGER="Off").ledger is None
    assert load(LEDGER="true").ledger == LedgerPolicy()
    assert load(path, LEDGER="other.sqlite3").ledger.path == Path("other.sqlite3").absolute()


def test_each_variable_is_of_one_setting():
    names = variables_of(SECTIONS)
    assert len({one.path for one in names.values()}) == len(names) > 80


# ------------------------------------------------------------------------ files of variables


def test_a_file_of_variables_is_read_and_the_environment_overrides_it(tmp_path):
    path = tmp_path / ".env"
    path.write_text(
        "# a comment\nexport A=1\nB='two words' # why\nC=${A}-${D}-${NONE}\nD=old\nEMPTY=\n",
        encoding="utf-8",
    )
    found = read_variables(path, {"D": "new"})
    assert found == {"A": "1", "B": "two words", "C": "1-new-", "EMPTY": ""}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"A=1\nthis is none\n", "line 2: must be NAME=value"),
        (b"sk-only-a-key\n", "line 1: must be NAME=value"),
        (b"A='1\n", "line 1: must be NAME=value"),
        (b"A=\xff\n", "is not UTF-8; save it as UTF-8"),
        (None, "cannot be read: "),
    ],
)
def test_a_file_of_variables_that_cannot_be_read_is_refused(tmp_path, content, problem):
    path = tmp_path / ".env"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read_variables(path, {})
    assert str(caught.value).startswith(f"{path}: {problem}")
