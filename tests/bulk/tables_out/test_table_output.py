"""OUTPUT as a table: the columns of the input, then those of the answers, a record for each row."""

import csv
import json

import attrs
import pytest
from bulk_rows import row, stage

from callsheet.bulk.answer_schema import schema_class
from callsheet.bulk.errors import BulkStopped
from callsheet.bulk.row import BadRow
from callsheet.bulk.settings import Paths
from callsheet.bulk.tables.table_file import CsvRecords

SUFFIXES = pytest.mark.parametrize("suffix", [".csv", ".parquet", ".xlsx"])
MEASURED = ["cost_usd", "input_tokens", "output_tokens", "error"]
NASTY = 'say "hi", a;b\nand\r\n=1+1\tü 😀 '


def given(number, columns=None, **more):
    columns = {"id": f"r-{number}", "note": f"n{number}"} if columns is None else columns
    return attrs.evolve(row(number, **more), columns=columns)


def bad(number):
    return BadRow(number=number, reason="the prompt is empty", columns={"id": "", "note": None})


def records(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def grown(output):
    """Return the rows of the file that grows, as lists."""
    if output.suffix == ".csv":
        with output.open(encoding="utf-8", newline="") as file:
            return list(csv.reader(file))
    return [json.loads(line) for line in Paths(output).rows.read_bytes().splitlines()]


async def test_a_record_has_the_input_the_answer_and_what_it_took(tmp_path, autojump_clock):
    output = tmp_path / "out.csv"
    async with stage() as provider:
        results = await provider.run([given(1), bad(2), given(3)], output)
    first, second, third = records(output)
    assert list(first) == ["id", "note", "text", *MEASURED]
    assert [one["note"] for one in (first, second, third)] == ["n1", "", "n3"]
    assert first["text"] == results[0].response.text
    assert float(first["cost_usd"]) == float(results[0].response.cost_usd)
    assert int(first["output_tokens"]) == results[0].response.usage.output_tokens
    assert (first["error"], second["text"]) == ("", "")
    assert second["error"] == "BadRow: the prompt is empty"


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (2.4e-05, "0.000024"),
        (-3e-07, "-0.0000003"),
        (1e-300, "1e-300"),
        (1e22, "1e+22"),
        (0.0, "0.0"),
    ],
)
def test_small_amounts_are_written_as_decimals(number, text):
    assert CsvRecords(",").record([number]) == f"{text}\n".encode()


async def test_fields_of_a_schema_are_columns(tmp_path, autojump_clock):
    output = tmp_path / "out.csv"
    returns = schema_class("label: good|bad, tags: list of text")
    async with stage() as provider:
        await provider.run([given(n, returns=returns, max_tokens=None) for n in (1, 2)], output)
    for record in records(output):
        assert list(record) == ["id", "note", "label", "tags", *MEASURED]
        assert record["label"] in ("good", "bad")
        assert isinstance(json.loads(record["tags"]), list)


async def test_an_answer_that_is_not_valid_twice_is_an_error_that_was_paid_for(
    tmp_path, autojump_clock
):
    output = tmp_path / "out.csv"
    schema = {"x": {"type": "number", "minimum": 1, "maximum": 0}}
    returns = schema_class(json.dumps({"type": "object", "properties": schema}))
    async with stage() as provider:
        await provider.run([given(1, returns=returns, max_tokens=None)], output)
    (record,) = records(output)
    assert record["x"] == ""
    assert record["error"].startswith("ResultNotValid: ")
    assert float(record["cost_usd"]) > 0


async def test_a_name_that_is_taken_gets_a_prefix(tmp_path, autojump_clock):
    output = tmp_path / "out.csv"
    columns = {"text": "a", "answer_text": "b", "error": "c"}
    async with stage() as provider:
        await provider.run([given(1, columns)], output)
    (record,) = records(output)
    assert list(record)[:3] == ["text", "answer_text", "error"]
    assert list(record)[3:] == ["answer_answer_text", *MEASURED[:3], "answer_error"]
    assert [record["text"], record["answer_text"], record["error"]] == ["a", "b", "c"]


@SUFFIXES
@pytest.mark.parametrize("ordered", [True, False])
async def test_a_table_is_the_same_after_an_interrupted_run(
    tmp_path, autojump_clock, suffix, ordered
):
    """L7: the answers are from the store; rows that failed are sent again."""
    output = tmp_path / f"out{suffix}"
    rows = [given(n, {"id": str(n), "note": f"{n}{NASTY}"}) for n in range(1, 9)]
    async with stage() as provider:
        broken = [*rows[:2], bad(3), *rows[3:6]]
        await provider.run(broken, output, ordered=ordered)
        assert len(grown(output)) == 7
        torn = output if suffix == ".csv" else Paths(output).rows
        with torn.open("ab") as file:
            file.write(b'7,"half\na record\n')
        await provider.run(rows, output, ordered=ordered)
        assert provider.requests == len(rows)
    found = grown(output)
    key = found[0].index("id")
    assert sorted(record[key] for record in found[1:]) == [str(n) for n in range(1, 9)]
    if ordered:
        assert [record[key] for record in found[1:]] == [str(n) for n in range(1, 9)]
    assert {record[-1] for record in found[1:]} <= {None, ""}
    assert found[1][1] == f"{found[1][0]}{NASTY}"


async def test_equal_records_of_an_unordered_table_all_stay(tmp_path, autojump_clock):
    output = tmp_path / "out.csv"
    rows = [
        given(n, {"note": "same"}, prompt="Same?", custom_id=f"x{n}", seed=1) for n in (1, 2, 3)
    ]
    rows = [attrs.evolve(one, key=one.key[:-1] + bytes([at])) for at, one in enumerate(rows)]
    async with stage() as provider:
        for _ in range(3):
            await provider.run(rows, output, ordered=False)
            assert len(records(output)) == 3
        assert provider.requests == 3


async def test_another_schema_writes_the_table_anew(tmp_path, autojump_clock):
    output = tmp_path / "out.csv"
    for ordered in (True, False):
        async with stage() as provider:
            await provider.run([given(1), given(2)], output, ordered=ordered)
            returns = schema_class("label: good|bad")
            rows = [given(n, returns=returns, prompt=f"L{n}", max_tokens=None) for n in (1, 2)]
            await provider.run(rows, output, ordered=ordered, pay_for_changes=True)
        assert [list(it) for it in records(output)] == [["id", "note", "label", *MEASURED]] * 2


@SUFFIXES
async def test_no_rows_are_a_table_with_names(tmp_path, autojump_clock, suffix):
    output = tmp_path / f"out{suffix}"
    async with stage() as provider:
        await provider.run([], output)
    assert grown(output) == [["custom_id", "text", *MEASURED]]
    assert output.stat().st_size


async def test_rows_without_columns_have_their_id(tmp_path, autojump_clock):
    output = tmp_path / "out.csv"
    async with stage() as provider:
        await provider.run([row(1)], output)
    assert records(output)[0]["custom_id"] == "r-1"


async def test_a_record_that_cannot_be_read_adds_no_column(tmp_path, autojump_clock):
    output = tmp_path / "out.csv"
    async with stage() as provider:
        rows = [BadRow(number=1, reason="it has 3 fields; see line 2"), given(2)]
        await provider.run(rows, output)
    first, second = records(output)
    assert list(first) == ["id", "note", "text", *MEASURED]
    assert (first["id"], first["error"]) == ("", "BadRow: it has 3 fields; see line 2")
    assert second["text"]


async def test_a_member_that_no_column_has_is_an_error_before_it_is_paid_for(
    tmp_path, autojump_clock
):
    output = tmp_path / "out.csv"
    rows = [given(n) for n in range(1, 101)]
    rows.append(given(101, {"id": "x", "note": "y", "late": "z"}))
    async with stage() as provider:
        results = await provider.run(rows, output)
        assert provider.requests == 100
    assert 'it has a "late", which none of the first 100 rows has' in results[-1].message


async def test_what_a_workbook_cannot_hold_is_not_sent(tmp_path, autojump_clock):
    async with stage() as provider:
        long = given(1, {"note": "x" * 32_768})
        results = await provider.run([long], tmp_path / "long.xlsx")
        assert "32,768 characters, and a cell of .xlsx holds 32,767" in results[0].message
        async with provider.open([given(1, dict.fromkeys(map(str, range(16_380))))],
                                 tmp_path / "wide.xlsx") as run:  # fmt: skip
            with pytest.raises(Exception, match=r"\.xlsx holds 16,384 columns"):
                await run.wait()
        assert provider.requests == 0


@SUFFIXES
async def test_a_table_that_callsheet_did_not_write_is_left_alone(tmp_path, autojump_clock, suffix):
    output = tmp_path / f"out{suffix}"
    output.write_bytes(b"mine")
    async with stage() as provider:
        with pytest.raises(Exception, match="Callsheet did not write that file"):
            await provider.run([given(1)], output)
    assert output.read_bytes() == b"mine"


@SUFFIXES
async def test_a_store_that_lacks_answers_of_the_table_is_refused(tmp_path, autojump_clock, suffix):
    output = tmp_path / f"out{suffix}"
    async with stage() as provider:
        await provider.run([given(1)], output)
        store = Paths(output).store.read_bytes()
        await provider.run([given(1), given(2)], output)
        Paths(output).store.write_bytes(store)
        with pytest.raises(Exception, match=r"1 responses of out.* are not in it"):
            await provider.run([given(1), given(2)], output)


@SUFFIXES
@pytest.mark.parametrize("ordered", [True, False])
async def test_a_run_that_reads_no_row_changes_no_table(tmp_path, autojump_clock, suffix, ordered):
    output = tmp_path / f"out{suffix}"

    def broken():
        raise OSError("gone")
        yield

    async with stage() as provider:
        with pytest.raises(BulkStopped, match="gone"):
            await provider.run(broken(), output, ordered=ordered)
        assert not output.exists() or not output.stat().st_size
        await provider.run([given(1), given(2)], output, ordered=ordered)
        before = grown(output)
        with pytest.raises(BulkStopped, match="gone"):
            await provider.run(broken(), output, ordered=ordered)
    assert grown(output) == before
    assert output.stat().st_size
