"""`callsheet export`: the results of a run as another table, at any time."""

import csv
import json
import zipfile

import attrs
import pytest
from bulk_rows import MODEL, row, stage
from click.testing import CliRunner

from callsheet.actors import Choice, Request, Response, ToolCall, Usage
from callsheet.bulk.errors import BulkRefused
from callsheet.bulk.row import BadRow
from callsheet.bulk.settings import Paths
from callsheet.bulk.tables.export import export
from callsheet.bulk.tables.shape import MEASURED, TableTooLarge, answer_of
from callsheet.bulk.tables.table_file import write_table
from callsheet.bulk.tables.whole_files import write_parquet, write_workbook
from callsheet.cli import main

parquet = pytest.importorskip("pyarrow.parquet")

ROWS = [
    attrs.evolve(row(n), columns={"id": f"00{n}", "n": n, "share": n / 2, "note": 'a,"b"\n=c'})
    for n in (1, 2, 3)
]
BAD = BadRow(number=4, reason="the prompt is empty", custom_id="r-4", columns={"id": "004"})


def read(path):
    return parquet.read_table(path).to_pylist()


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".xlsx"])
async def test_every_table_of_a_run_is_written_as_another_one(tmp_path, autojump_clock, suffix):
    output, new = tmp_path / f"out{suffix}", tmp_path / "new.parquet"
    async with stage() as provider:
        results = await provider.run([*ROWS, BAD], output)
    assert export(output, new) == 4
    first, *_, last = read(new)
    assert (first["id"], first["n"], first["share"]) == ("001", 1, 0.5)
    assert first["note"] == 'a,"b"\n=c'
    assert first["text"] == results[0].response.text
    assert float(first["cost_usd"]) == float(results[0].response.cost_usd)
    assert (last["error"], last["n"]) == ("BadRow: the prompt is empty", None)


def test_columns_of_numbers_in_csv_are_numbers_also_small_ones_and_prices(tmp_path):
    output, new = tmp_path / "out.csv", tmp_path / "new.parquet"
    names = ["small", "price", "power", "code", "long", "mixed"]
    rows = [
        ["0.00000885", "12.50", "-1e-7", "007", "12345678901234567890.5", "1"],
        ["0", "3.00", "", "12", "1.5", "one"],
    ]
    with output.open("w", newline="") as file:
        csv.writer(file).writerows([[*names, *MEASURED], *([*it, "", "", "", ""] for it in rows)])
    assert export(output, new) == 2
    first, second = read(new)
    assert [first[it] for it in names[:3]] == [0.00000885, 12.5, -1e-7]
    assert [second[it] for it in names[:3]] == [0, 3, None]
    assert [first[it] for it in names[3:]] == rows[0][3:]


async def test_json_lines_are_a_table_of_ids_texts_and_errors(tmp_path, autojump_clock):
    output, new = tmp_path / "out.jsonl", tmp_path / "new.csv"
    async with stage() as provider:
        results = await provider.run([row(1), BAD, row(3)], output)
    assert export(Paths(output).store, new) == 3
    with new.open(newline="") as file:
        found = list(csv.DictReader(file))
    assert [one["custom_id"] for one in found] == ["r-1", "r-3", "r-4"]
    assert found[1]["text"] == results[2].response.text
    assert found[2]["error"] == "BadRow: the prompt is empty"


async def test_vectors_and_several_texts_of_json_lines_are_in_the_table(tmp_path, autojump_clock):
    output, again = tmp_path / "out.jsonl", tmp_path / "again.csv"
    vectors = Request(task="embedding", model="text-embedding-3-small", inputs=("a",), dimensions=2)
    several = attrs.evolve(Request.of("Hi", model=MODEL, max_tokens=5), n=2)
    rows = [("v", vectors), ("n", several)]
    async with stage() as provider:
        results = await provider.run(rows, output)
        await provider.run(rows, again)
    export(output, tmp_path / "new.csv")
    with (tmp_path / "new.csv").open(newline="") as one, again.open(newline="") as other:
        exported, written = list(csv.DictReader(one)), list(csv.DictReader(other))
    assert [it["text"] for it in exported] == [it["text"] for it in written]
    assert json.loads(exported[0]["text"]) == pytest.approx(results[0].response.embeddings[0])
    assert json.loads(exported[1]["text"]) == [it.text for it in results[1].response.choices]


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        ([Choice("Hi")], "Hi"),
        ([Choice("", refusal="I cannot help with that.")], "I cannot help with that."),
        (
            [Choice("", tool_calls=(ToolCall("look", '{"at": 1}', "c1"),))],
            [{"name": "look", "arguments": '{"at": 1}'}],
        ),
        ([Choice("a"), Choice("", refusal="No.")], ["a", "No."]),
        ([Choice("")], ""),
    ],
)
def test_a_response_without_a_text_is_its_refusal_or_its_calls_of_tools(choices, said):
    response = Response(
        text=choices[0].text,
        model=MODEL,
        finish_reason="stop",
        usage=Usage(),
        cost_usd=None,
        choices=tuple(choices),
    )
    assert answer_of(response) == said


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
async def test_half_a_record_of_a_run_that_goes_on_is_left_out(tmp_path, autojump_clock, suffix):
    output = tmp_path / f"out{suffix}"
    async with stage() as provider, provider.open(ROWS, output, ordered=False) as run:
        await run.wait()
        growing = output if suffix == ".csv" else Paths(output).rows
        with growing.open("ab") as file:
            file.write(b'["half' if suffix == ".parquet" else b'4,"half\n')
        before = growing.read_bytes()
        assert export(output, tmp_path / "new.xlsx") == 3
        assert growing.read_bytes() == before
        growing.write_bytes(before.rpartition(b"[" if suffix == ".parquet" else b"4,")[0])


def test_a_text_in_a_workbook_is_never_a_formula(tmp_path):
    path = tmp_path / "new.xlsx"
    write_workbook(path, ["a", "error"], [["=1+1", None], ["a\r\n<b>\x00", None], [True, None]])
    with zipfile.ZipFile(path) as book:
        sheet = book.read("xl/worksheets/sheet1.xml").decode()
    assert ">=1+1</t>" in sheet
    assert "<f>" not in sheet
    assert "a&#13;\n&lt;b&gt;_x0000_" in sheet
    assert '<c t="b"><v>1</v></c>' in sheet


def test_a_text_that_is_too_long_for_a_workbook_is_cut_and_said_to_be(tmp_path):
    path = tmp_path / "new.xlsx"
    write_workbook(path, ["a", "error"], [["x" * 40_000, None]])
    with zipfile.ZipFile(path) as book:
        sheet = book.read("xl/worksheets/sheet1.xml").decode()
    assert f">{'x' * 32_767}<" in sheet
    assert "cut to 32,767 characters" in sheet


def test_the_types_of_parquet_follow_from_all_rows(tmp_path):
    path = tmp_path / "new.parquet"
    rows = [
        [1, 1, True, None, 1, 2**70],
        [None, 0.5, None, None, "x", 1],
        [3, 2, False, None, None, 2],
    ]
    write_parquet(path, list("abcdef"), lambda: rows)
    assert [str(field.type) for field in parquet.read_schema(path)] == [
        "int64", "double", "bool", "string", "string", "string",
    ]  # fmt: skip
    assert [one["e"] for one in read(path)] == ["1", "x", None]


def test_a_table_that_cannot_be_written_leaves_the_old_one(tmp_path):
    path = tmp_path / "new.csv"
    path.write_text("old")

    def rows():
        yield ["a"]
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        write_table(path, ["x"], rows)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_does_not_fit_or_would_be_lost_is_refused(tmp_path, monkeypatch):
    source, there = tmp_path / "out.csv", tmp_path / "there.csv"
    columns = [f"c{n}" for n in range(16_381)]
    source.write_text(",".join([*columns, *MEASURED]) + "\n")
    there.write_text("mine")
    with pytest.raises(TableTooLarge, match="holds 16,384 columns, and these are 16,385"):
        export(source, tmp_path / "new.xlsx")
    for target, reason in {
        there: "there.csv exists; choose another name, or add --overwrite",
        tmp_path / "new.txt": "is no table; name it .csv",
    }.items():
        with pytest.raises(BulkRefused, match=reason):
            export(source, target)
    with pytest.raises(BulkRefused, match="is the OUTPUT of the run"):
        export(source, source, overwrite=True)
    with pytest.raises(BulkRefused, match="there is no file"):
        export(tmp_path / "none.csv", tmp_path / "new.csv")
    assert there.read_text() == "mine"


def test_the_command_says_what_it_has_written(tmp_path):
    source, new = tmp_path / "out.csv.callsheet-rows", tmp_path / "new.csv"
    source.write_text(json.dumps(["a", "error"]) + "\n" + json.dumps(["x", None]) + "\n")
    result = CliRunner().invoke(main, ["export", str(source), str(new)])
    assert (result.exit_code, result.stderr) == (0, f"1 row in {new}\n")
    assert new.read_text() == "a,error\nx,\n"
    result = CliRunner().invoke(main, ["export", str(source), str(new)])
    assert result.exit_code == 2
    assert "exists; choose another name" in result.stderr


def test_a_table_without_answers_is_refused(tmp_path):
    """The INPUT of the run, for example, would be copied as if it were labelled."""
    given, new = tmp_path / "reviews.csv", tmp_path / "new.xlsx"
    for header in ("id,text", "", "cost_usd,input_tokens,output_tokens,error,note"):
        given.write_text(f"{header}\n")
        with pytest.raises(BulkRefused, match="it has no answers; give the OUTPUT of a run"):
            export(given, new)
        assert not new.exists()
