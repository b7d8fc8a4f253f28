"""`callsheet run` with a table as OUTPUT, through real sockets."""

import csv
import signal
import time
import zipfile

import pytest
from bulk_processes import begun, finish, run_here
from provider_process import provider_process

from callsheet.bulk.settings import Paths

TEMPLATE = ("--model", "gpt-5.4-nano", "--template", "Label: {{ review }}", "--system", "Label it.")
SCHEMA = ("--schema", "label: positive|negative|neutral")


def write_reviews(path, count):
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["review", "stars"])
        table.writerows((f'It is "{n}",\nsaid {n}.', n % 5) for n in range(count))


def labels(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.sockets
@pytest.mark.parametrize("order", [(), pytest.param(("--unordered",), marks=pytest.mark.slow)])
def test_a_table_continues_after_a_kill(start, stats, tmp_path, order):
    """L7: no record is lost or half, and what was paid for is not paid for again."""
    source, output = tmp_path / "reviews.csv", tmp_path / "labels.csv"
    write_reviews(source, 120)
    with provider_process("--time-scale", "0.1") as base_url:
        more = ("--base-url", base_url, "--max-concurrency", 5, *TEMPLATE, *SCHEMA, *order)
        for _ in range(3):
            process = start(source, output, *more)
            assert begun(process, base_url, stats, stats(base_url)["requests"])
            time.sleep(0.3)
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.wait()
        finish(start(source, output, *more))
        assert stats(base_url)["requests"] <= 120 + 3 * 5
    found = labels(output)
    assert sorted(int(record["review"].split()[-1][:-1]) for record in found) == list(range(120))
    if not order:
        assert [int(record["stars"]) for record in found] == [n % 5 for n in range(120)]
    assert {record["label"] for record in found} <= {"positive", "negative", "neutral"}
    assert {record["error"] for record in found} == {""}


@pytest.mark.sockets
def test_a_workbook_is_complete_at_the_end(quick_provider, tmp_path):
    source, output = tmp_path / "reviews.csv", tmp_path / "labels.xlsx"
    write_reviews(source, 3)
    run_here(source, output, "--base-url", quick_provider, *TEMPLATE, *SCHEMA, "--no-keep")
    with zipfile.ZipFile(output) as book:
        assert book.read("xl/worksheets/sheet1.xml").count(b"<row>") == 4
    assert not Paths(output).rows.exists()
    assert not Paths(output).store.exists()


@pytest.mark.parametrize("name", ["labels.csv.gz", "labels.xls"])
def test_a_format_that_is_not_written_is_refused(tmp_path, name):
    told = run_here(tmp_path / "in.csv", tmp_path / name, *TEMPLATE, status=2)
    assert "is not written; name it .jsonl, .csv, .tsv, .parquet or .xlsx" in " ".join(told.split())


def test_what_was_found_out_stands_before_the_error_of_an_input(tmp_path):
    source = tmp_path / "in.csv"
    source.write_text("id;name\n1;a\n2;b\n")
    for name in ("labels.csv", "labels.xlsx"):
        told = run_here(source, tmp_path / name, *TEMPLATE, status=2)
        assert "separated by" in told.split("Error:")[0]


def test_an_input_that_is_too_large_for_a_workbook_is_refused_at_once(tmp_path):
    source, output = tmp_path / "long.csv", tmp_path / "labels.xlsx"
    with source.open("w") as file:
        file.write("review,note\n" + "a,b\n" * 5 + f"a,{'x' * 40_000}\n")
    told = run_here(source, output, "--provider", "builtin", *TEMPLATE, status=2)
    assert 'row 6: "note" has 40,000 characters, and a cell of .xlsx holds 32,767' in told
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.sockets
def test_an_input_without_rows_is_a_table_with_names(quick_provider, tmp_path):
    source, output = tmp_path / "none.csv", tmp_path / "labels.csv"
    source.write_text("review\n")
    run_here(source, output, "--base-url", quick_provider, *TEMPLATE, *SCHEMA)
    names = ["custom_id", "label", "cost_usd", "input_tokens", "output_tokens", "error"]
    assert output.read_text() == ",".join(names) + "\n"


@pytest.mark.sockets
@pytest.mark.parametrize("name", ["labels.csv", "labels.tsv", "labels.xlsx", "labels.parquet"])
def test_a_column_without_a_name_stays_so_and_a_second_one_gets_a_number(
    quick_provider, tmp_path, name
):
    source, output = tmp_path / "reviews.csv", tmp_path / name
    source.write_text(",review,n,n,\n0,Good.,1,2,x\n1,Bad.,3,4,y\n")
    for _ in range(2):  # the second time, nothing is sent
        run_here(source, output, "--base-url", quick_provider, *TEMPLATE, *SCHEMA)
        columns, rows = read_table(output)
        unnamed = ["Unnamed: 0", "Unnamed: 4"] if name.endswith("parquet") else ["", ""]
        assert columns[:6] == [unnamed[0], "review", "n", "n.1", unnamed[1], "label"]
        assert [row[:5] for row in rows] == [
            ["0", "Good.", "1", "2", "x"],
            ["1", "Bad.", "3", "4", "y"],
        ]


def read_table(path):
    """Return the header and the rows, as other programs read them."""
    if path.suffix == ".parquet":
        table = pytest.importorskip("pyarrow.parquet").read_table(path)
        return table.column_names, [list(row.values()) for row in table.to_pylist()]
    if path.suffix == ".xlsx":
        cells = pytest.importorskip("openpyxl").load_workbook(path).active.values
        header, *rows = [list(row) for row in cells]
        return [name or "" for name in header], [[*map(str, row[:5])] for row in rows]
    with path.open(newline="") as file:
        header, *rows = csv.reader(file, delimiter="\t" if path.suffix == ".tsv" else ",")
        return header, rows


@pytest.mark.sockets
def test_pandas_reads_its_index_back(quick_provider, tmp_path):
    pandas = pytest.importorskip("pandas")
    source, output = tmp_path / "reviews.csv", tmp_path / "labels.csv"
    frame = pandas.DataFrame({"review": ["Good.", "Bad."]}, index=[7, 9])
    frame.to_csv(source)
    run_here(source, output, "--base-url", quick_provider, *TEMPLATE, *SCHEMA)
    assert list(pandas.read_csv(output, index_col=0).index) == [7, 9]
    renamed = pandas.read_csv(output)
    renamed.to_csv(source, index=False)  # now the name is one
    run_here(source, tmp_path / "again.csv", "--base-url", quick_provider, *TEMPLATE, *SCHEMA)
    assert (tmp_path / "again.csv").read_text().startswith("Unnamed: 0,review,")
