"""`callsheet prices`, the table that it updates, and the remark on an old table."""

import csv
import io
import json
from datetime import UTC, datetime

import attrs
import pytest
from click.testing import CliRunner

from callsheet.actors import PriceError, default_prices
from callsheet.cli import main, options
from callsheet.costs.price_table import current_prices, price_rows, remark_on_age, update_table
from callsheet.endpoints import choose_endpoint

PRICES = default_prices()


@pytest.fixture(autouse=True)
def table(tmp_path, monkeypatch):
    """The table that --update writes."""
    path = tmp_path / "data" / "prices.json"
    monkeypatch.setenv("CALLSHEET_PRICES", str(path))
    return path


def run(*args):
    return CliRunner().invoke(main, ["prices", *args])


def table_of(tmp_path, as_of, **models):
    file = tmp_path / f"{as_of}.json"
    rows = models or {"openai:gpt-9": {"input": 1, "output": 2}}
    file.write_text(json.dumps({"as_of": as_of, "models": rows}))
    return file


def aged(days):
    day = datetime.fromisoformat(PRICES.as_of).replace(tzinfo=UTC).timestamp()
    return attrs.evolve(PRICES, clock=lambda: day + days * 86_400)


# ------------------------------------------------------------------------------ what is shown


def test_the_prices_of_a_model_are_shown_by_tier_and_size():
    result = run("gpt-5.6-sol", "--provider", "openai", "--format", "csv")
    assert result.exit_code == 0
    rows = {row["tier"]: row for row in csv.DictReader(io.StringIO(result.stdout))}
    assert rows[""]["input"] == "4"
    assert rows["above 272,000"]["output"] == "30"
    assert rows["batch, above 272,000"]["cached"] == "0.4"
    assert rows["priority"]["cache_write"] == "10"


def test_later_prices_peak_hours_and_shutdowns_are_shown():
    assert "from 2027-01-01" in run("gemini-3.8-flash", "--format", "csv").stdout
    assert (
        "01:00-04:00 and 06:00-10:00 UTC, Mon-Fri" in run("deepseek-flash", "--format=csv").stdout
    )
    assert "shut down 2026-10-23" in run("gpt-3.5-turbo", "--format", "csv").stdout


def test_a_whole_name_precedes_a_part_of_names():
    assert {row.model for row in price_rows(PRICES, "gpt-4o", "openai")} == {"openai:gpt-4o"}
    assert {row.model for row in price_rows(PRICES, "gpt-4o-2024-08-06", "openai")} == {
        "openai:gpt-4o"
    }
    assert len({row.model for row in price_rows(PRICES, "gpt-4", "openai")}) == 1
    assert len({row.model for row in price_rows(PRICES, "luna", "openai")}) > 1


def test_brackets_of_a_name_are_printed(tmp_path, monkeypatch):
    own = '{"models": {"mine[/pro]": {"input": 1.25, "output": 2}}}'
    (tmp_path / "prices.json").write_text(own, encoding="utf-8")
    (tmp_path / "callsheet.toml").write_text("prices = 'prices.json'", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert "mine[/pro]" in run("mine", "--config", "callsheet.toml").stdout


def test_all_prices_are_shown_without_a_name():
    found = json.loads(run("--format", "json").stdout)
    assert found["as_of"] == PRICES.as_of
    assert len({row["model"] for row in found["prices"]}) > 1000


def test_the_table_names_its_date_and_source():
    result = run("claude-sonnet-5")
    assert "anthropic:claude-sonnet-5" in result.stdout.replace("\n", "")
    assert f"as of {PRICES.as_of}" in result.stdout


def test_a_model_without_a_price_is_an_error():
    result = run("my-[model]", "--provider", "groq")
    assert result.exit_code == 1
    assert result.stderr.endswith("No price is known for my-[model] at groq.\n")


# ------------------------------------------------------------------------------- a newer table


def test_a_newer_table_is_used_from_then_on(tmp_path, table):
    assert current_prices() is PRICES
    result = run("--update", str(table_of(tmp_path, "2099-01-31")))
    assert (result.exit_code, result.stdout) == (0, "The prices are now of 2099-01-31 (1 names).\n")
    assert current_prices().price("gpt-9").output == 2
    assert run("gpt-9", "--format", "csv").exit_code == 0
    assert [path.name for path in table.parent.iterdir()] == ["prices.json"]


@pytest.mark.parametrize(
    ("as_of", "what"),
    [("2020-01-01", "is of 2020-01-01; the table in use is of"), ("soon", "as_of")],
)
def test_a_table_that_is_not_newer_is_refused(tmp_path, table, as_of, what):
    result = run("--update", str(table_of(tmp_path, as_of)))
    assert result.exit_code == 2
    assert what in result.stderr
    assert not table.exists()


def test_a_table_that_is_invalid_is_refused(tmp_path, table):
    file = table_of(tmp_path, "2099-01-31", m={"input": -1, "output": 1})
    result = run("--update", str(file))
    assert result.exit_code == 2
    assert "model m, field input" in result.stderr
    assert not table.exists()


def test_a_release_newer_than_the_updated_table_is_used(tmp_path, table):
    table.parent.mkdir()
    table.write_text(table_of(tmp_path, "2020-01-01").read_text())
    assert current_prices() is PRICES


def test_a_damaged_table_stops_a_run_and_says_what_to_do(tmp_path, table):  # L14
    table.parent.mkdir()
    table.write_text("{")
    with pytest.raises(PriceError, match="remove the file, or replace it with callsheet prices"):
        current_prices()
    assert run("gpt-4o").exit_code == 2
    update_table(table_of(tmp_path, "2099-01-31"))
    assert current_prices().as_of == "2099-01-31"


# ------------------------------------------------------------------------- no table, an old table


def test_a_variable_that_names_no_file_is_mentioned(monkeypatch, capsys, table):
    words = f"CALLSHEET_PRICES names {table}, which does not exist"
    found = run("gpt-4o")
    assert (found.exit_code, words in found.stderr) == (0, True)
    options.chosen_prices(None, choose_endpoint(provider="builtin"))
    assert capsys.readouterr().err == ""
    options.chosen_prices(
        None, choose_endpoint(provider="groq", environ={"GROQ_API_KEY": "k" * 20})
    )
    assert words in capsys.readouterr().err
    monkeypatch.delenv("CALLSHEET_PRICES")
    assert run("gpt-4o").stderr == ""


def test_a_table_older_than_60_days_is_mentioned():
    assert remark_on_age(aged(60)) is None
    assert f"The prices are of {PRICES.as_of}, 61 days ago." in remark_on_age(aged(61))


def test_a_run_mentions_it_once_unless_its_provider_is_built_in(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(options, "current_prices", lambda: aged(90))
    mine = table_of(tmp_path, "2099-01-31")  # a file of the user's own makes no table newer
    groq = choose_endpoint(provider="groq", environ={"GROQ_API_KEY": "k" * 20})
    assert options.chosen_prices(str(mine), groq).vendor == "groq"
    assert capsys.readouterr().err.count("90 days ago") == 1
    options.chosen_prices(None, choose_endpoint(environ={}))
    assert capsys.readouterr().err == ""
