"""`callsheet costs` from its arguments to its exit status."""

import csv
import io
import json
from decimal import Decimal
from pathlib import Path

import pytest
from click.testing import CliRunner

from callsheet.actors import Usage
from callsheet.actors.ledger.book import Book, CallOutcome
from callsheet.actors.ledger.entries import Amount, CostLabel, Payer, is_simulated
from callsheet.actors.ledger.file import LedgerFile
from callsheet.cli import main
from callsheet.costs.report import default_ledger, read_costs

NOON = 1_795_694_400.0  # 2026-11-26 12:00 UTC


def heading(call, *, model="gpt-5", post="Ships", day="2026-11-26"):
    return CostLabel(call, post, "team", model, day, "live")


def amount(usd, usual="0"):
    usual_usd = Decimal(usual) or None
    return Amount.of(Usage(1000, 500, 200), None if usd is None else Decimal(usd), usual_usd)


@pytest.fixture
def ledger(tmp_path):
    """Three calls paid, one perhaps billed, one untold, one without a price, one under way."""
    path = tmp_path / "ledger.sqlite3"
    store, book = LedgerFile(path, NOON), Book()
    ends = {
        "a": CallOutcome(amount("0.0105", "0.014"), 0),
        "b": CallOutcome(amount("1234.5"), 1),
        "c": CallOutcome(None, 1),
        "d": CallOutcome(amount(None), 0),
        "refunded": CallOutcome(None, 0),
        "e": None,
        "f": CallOutcome(None, 0, is_unknown=True),
    }
    headings = {
        "a": heading("a", day="2026-11-25"),
        "b": heading("b", model="gpt-5.6", post=""),
        "d": heading("d", model="new", post="[bold]\x1b[31mred"),
    }
    done = []
    for key, outcome in ends.items():
        line = Payer(headings.get(key, heading(key)), amount("0.25"))
        done.append(book.reserve(key, [line], NOON))
        if outcome is not None:
            done.append(book.settle(key, outcome, NOON))
    store.begin()
    store.commit(done)
    yield path
    store.close(NOON)


def run(*args, **more):
    result = CliRunner().invoke(main, ["costs", *map(str, args)], **more)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def test_a_table_shows_what_was_spent_and_what_is_not_certain(ledger):
    result = run("--ledger", ledger, env={"COLUMNS": "100"})
    assert result.exit_code == 0
    lines = {line.split()[0]: line for line in result.stdout.splitlines() if line.strip()}
    assert lines["gpt-5"].split() == ["gpt-5", "4", "1,000", "500", "$0.0105", "$0.0035", "$0.2500",
                                      "$0.2500", "$0.2500", "-"]  # fmt: skip
    assert lines["gpt-5.6"].split()[-6:] == ["$1,234.50", "-", "-", "$0.2500", "-", "-"]
    assert lines["new"].split()[-6:] == ["unknown", "-", "-", "-", "-", "1"]
    assert lines["total"].split()[1] == "6"
    assert "unknown: at most, for responses whose tokens or price are not known." in result.stdout
    assert "the sums of dollars leave out their 1,500 tokens" in result.stdout
    assert "saved: against the usual tier" in result.stdout


def test_what_others_named_is_shown_and_does_nothing(ledger):
    result = run("--ledger", ledger, "--by", "post")
    assert "[bold]red" in result.stdout
    assert "\x1b" not in result.stdout


def test_json_has_every_digit(ledger):
    result = run("--ledger", ledger, "--by", "call", "--format", "json")
    found = json.loads(result.stdout)
    assert [row["call"] for row in found["rows"]] == ["a", "b", "c", "d", "e", "f"]
    assert found["total"]["spent_usd"] == "1234.5105"
    assert found["total"]["saved_usd"] == "0.0035"
    assert found["total"]["unknown_usd"] == "0.25"
    assert found["total"]["maybe_billed_usd"] == "0.5"
    assert found["total"]["reserved_usd"] == "0.25"
    assert found["total"]["spent_unpriced_tokens"] == 1500
    assert (found["by"], found["since"], found["ledger"]) == ("call", None, str(ledger))


def test_csv_adds_up_to_the_same_by_anything(ledger):
    for by in ("model", "tenant", "post", "day", "route", "call"):
        result = run("--ledger", ledger, "--by", by, "--format", "csv")
        rows = list(csv.DictReader(io.StringIO(result.stdout)))
        assert by in rows[0]
        assert sum(Decimal(row["spent_usd"]) for row in rows) == Decimal("1234.5105")
        assert sum(int(row["calls"]) for row in rows) == 6
        assert sum(int(row["spent_output_tokens"]) for row in rows) == 1500


def test_days_bound_what_is_shown(ledger):
    args = ("--ledger", ledger, "--format", "json", "--by", "day")
    one = json.loads(run(*args, "--until", "2026-11-25").stdout)
    assert [row["day"] for row in one["rows"]] == ["2026-11-25"]
    other = json.loads(run(*args, "--since", "2026-11-26").stdout)
    assert [row["day"] for row in other["rows"]] == ["2026-11-26"]
    none = run("--ledger", ledger, "--since", "2027-01-01")
    assert none.exit_code == 0
    assert "total" in none.stdout


@pytest.mark.parametrize(
    ("args", "status", "said"),
    [
        (["--since", "2026-11-26", "--until", "2026-11-25"], 2, "no day is left"),
        (["--since", "yesterday"], 2, "does not match the format"),
        (["--by", "colour"], 2, "is not one of"),
        (["--ledger", "none.sqlite3"], 2, "Error: there is no ledger at none.sqlite3"),
        (["--ledger", "text"], 2, "another program wrote it; move the file away"),
        (["--ledger", "."], 2, "is a directory"),
    ],
)
def test_a_ledger_that_cannot_be_shown_is_reported_on_one_line(
    tmp_path, monkeypatch, args, status, said
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text").write_text("Hello " * 1000)
    result = run(*args)
    assert result.exit_code == status
    assert said in result.stderr
    assert "Traceback" not in result.output
    assert not (tmp_path / "none.sqlite3").exists()


def test_the_usual_ledger_is_the_environments_or_the_users(ledger, monkeypatch):
    assert default_ledger({}).name == "ledger.sqlite3"
    assert default_ledger({"CALLSHEET_LEDGER": "~/mine"}) == Path.home() / "mine"
    monkeypatch.setenv("CALLSHEET_LEDGER", str(ledger))
    assert json.loads(run("--format", "json").stdout)["ledger"] == str(ledger)


def test_an_empty_ledger_is_one(tmp_path):
    LedgerFile(tmp_path / "ledger.sqlite3", NOON).close(NOON)
    assert read_costs(tmp_path / "ledger.sqlite3").rows == ()
    assert run("--ledger", tmp_path / "ledger.sqlite3").exit_code == 0


# ---------------------------------------------------------------- simulated, and narrow terminals


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("127.0.0.1:8080", True),
        ("127.8.9.1", True),
        ("[::1]:4000 key 2", True),
        ("::1", False),  # a host with colons is in brackets
        ("localhost:11434", True),
        ("api.localhost", True),
        ("api.openai.com key 2", False),
        ("0.0.0.0:8000", True),
        ("[::]:8000", True),
        ("[::ffff:127.0.0.1]:8000", True),
        ("[::ffff:10.0.0.7]:8000", False),
        ("10.0.0.7:8000", False),
        ("localhost.example", False),
        ("127.0.0.1.example", False),
        ("", False),
        ("[", False),
    ],
)
def test_what_is_on_this_machine_is_simulated(endpoint, expected):
    assert is_simulated(endpoint) is expected


@pytest.fixture
def mixed(tmp_path):
    """Calls that were paid, and calls to servers on this machine, with the largest figures."""
    path = tmp_path / "ledger.sqlite3"
    store, book, done = LedgerFile(path, NOON), Book(), []
    for number, endpoint in enumerate(["api.openai.com", "127.0.0.1:8080", "localhost:4000"]):
        label = CostLabel(
            f"c{number}", "", "team", "a-model-with-a-long-name-2026-11-26", "2026-11-26", "live",
            endpoint,
        )  # fmt: skip
        usage = Usage(123_456_789, 98_765_432, 12_345_678)
        bound = Amount.of(usage, Decimal("98765.4321"))
        for key, outcome in (
            (f"{number}-paid", CallOutcome(bound, 1)),
            (f"{number}-unpriced", CallOutcome(Amount.of(usage, None), 0)),
            (f"{number}-untold", CallOutcome(None, 0, is_unknown=True)),
            (f"{number}-open", None),
        ):
            done.append(book.reserve(key, [Payer(label, bound)], NOON))
            if outcome is not None:
                done.append(book.settle(key, outcome, NOON))
    store.begin()
    store.commit(done)
    yield path
    store.close(NOON)


def test_simulated_work_is_told_from_paid(mixed):
    found = json.loads(run("--ledger", mixed, "--format", "json", "--by", "endpoint").stdout)
    assert [row["endpoint"] for row in found["rows"]] == ["api.openai.com"]
    assert [row["endpoint"] for row in found["simulated_rows"]] == [
        "127.0.0.1:8080",
        "localhost:4000",
    ]
    assert (found["total"]["calls"], found["simulated_total"]["calls"]) == (4, 8)
    assert found["total"]["spent_usd"] == "98765.4321"
    for by in ("model", "tenant", "post", "day", "route", "endpoint", "call"):
        rows = list(
            csv.DictReader(
                io.StringIO(run("--ledger", mixed, "--format", "csv", "--by", by).stdout)
            )
        )
        spent = {"no": Decimal(0), "yes": Decimal(0)}
        for row in rows:
            spent[row["simulated"]] += Decimal(row["spent_usd"])
        assert spent == {"no": Decimal("98765.4321"), "yes": 2 * Decimal("98765.4321")}


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("by", ["model", "endpoint", "call"])
def test_the_table_fits_and_cuts_no_figure(mixed, columns, by):
    result = run("--ledger", mixed, "--by", by, env={"COLUMNS": str(columns)})
    assert max(map(len, result.stdout.splitlines())) <= columns
    assert "…" not in result.stdout
    for figure in ("$98,765", "$197,531", "247M", "494M", "198M"):
        assert figure in result.stdout
    lines = [line.split() for line in result.stdout.splitlines() if line.strip()]
    totals = {line[0]: line[1] for line in lines if line[0] in ("total", "simulated")}
    assert totals == {"total": "4", "simulated": "8"}
    assert "not paid" in result.stdout


def test_a_note_says_how_much_of_the_prompts_the_provider_had_in_its_cache(ledger):
    result = CliRunner().invoke(main, ["costs", "--ledger", str(ledger)])
    assert "tokens in: 600 of 3,000 are from the provider's cache." in result.stdout
