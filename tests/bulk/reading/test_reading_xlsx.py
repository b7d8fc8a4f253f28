"""Workbooks: what is read of them, and what is refused with a remedy."""

import io
import sys
import zipfile
from datetime import date, datetime

import pytest

from callsheet.bulk.reading import InputError, ReadSettings, count_rows, open_rows
from callsheet.bulk.row import BadRow

openpyxl = pytest.importorskip("openpyxl")


@pytest.fixture
def put(tmp_path):
    def write(*rows, name="book.xlsx"):
        book = openpyxl.Workbook(write_only=True)
        sheet = book.create_sheet("First")
        for row in rows:
            sheet.append(row)
        path = tmp_path / name
        book.save(path)
        return path

    return write


def read(source, **settings):
    with open_rows(source, ReadSettings(**{"model": "m"} | settings)) as rows:
        return list(rows)


def prompts(rows):
    return [row.request.messages[-1].content for row in rows]


def test_cells_are_texts_numbers_and_days(put):
    rows = [["a", 1, 2.5, True, date(2026, 1, 2), datetime(2026, 1, 2, 3, 4)]]  # noqa: DTZ001  # cells have no zone
    path = put(["text", "n", "x", "yes", "day", "time"], *rows)
    template = "{{ text }} {{ n }} {{ x }} {{ yes }} {{ day }} {{ time }}"
    assert prompts(read(path, template=template)) == ["a 1 2.5 true 2026-01-02 2026-01-02 03:04:00"]
    assert prompts(read(path, fields={"prompt": "day"})) == ["2026-01-02"]


def test_empty_rows_and_columns_are_skipped(put):
    path = put(
        [], ["", None], [None, "id", "prompt"], ["x", 7.0, "Hi"], [None, None], [None, 8, "Ho"]
    )
    rows = read(path)
    assert prompts(rows) == ["Hi", "Ho"]
    assert [(row.number, row.custom_id) for row in rows] == [(1, "7"), (2, "8")]
    assert count_rows(path) == 2


@pytest.mark.parametrize("carries", [False, True])
@pytest.mark.parametrize("end", [",,", ""])
def test_a_title_above_the_names_of_the_columns_is_to_be_removed(put, tmp_path, end, carries):
    csv = tmp_path / "titled.csv"
    csv.write_text(f"Report{end}\n\nid,text,score\n1,Hi,3\n2,Ho,4\n")
    for path in (csv, put(["Report"], [], ["id", "text", "score"], [1, "Hi", 3])):
        with pytest.raises(InputError, match="has Report; if that is a title, remove the rows"):
            read(path, template="{{ text }}", carries_columns=carries)


def test_a_table_of_one_column_has_no_title(put):
    with pytest.raises(InputError, match="it has txt; write txt"):
        read(put(["txt"], ["Hi"]), template="{{ text }}")


def test_a_row_may_end_before_its_last_column_or_go_on_beyond_it(put):
    path = put(["prompt", "note"], ["Hi"], ["Ho", "x", "a remark beside the table"])
    assert prompts(read(path, template="{{ prompt }}{{ note }}")) == ["Hi", "Hox"]


def test_an_empty_workbook_has_no_rows(put):
    assert read(put()) == read(put(["prompt"])) == []


def test_a_sheet_without_cells_is_passed_over(tmp_path):
    book = openpyxl.Workbook()
    book.create_sheet("Data").append(["prompt"])
    book["Data"].append(["Hi"])
    path = tmp_path / "data.xlsx"
    book.save(path)
    assert prompts(read(path)) == ["Hi"]
    assert count_rows(path) == 1
    assert read(path, sheet="Sheet") == []


def test_a_workbook_may_come_from_a_pipe(put, monkeypatch):
    content = put(["prompt"], ["Hi"]).read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert prompts(read("-")) == ["Hi"]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (["a.csv", "b.csv"], "is a zip archive with a.csv, b.csv; unpack it and give one of"),
        (["mimetype", "content.xml"], "is an OpenDocument file; save it as .xlsx or as CSV"),
        (["Index/Document.iwa", "x"], "is a file of Numbers; save it"),
        (["xl/workbook.bin", "x"], "is a binary workbook"),
        (["xl/workbook.xml", "x"], "cannot be read as a workbook: .*; open and save it again"),
        ([], "is a zip archive with no file"),
    ],
)
def test_other_archives_are_refused_by_what_they_are(tmp_path, files, said):
    path = tmp_path / "book.xlsx"
    with zipfile.ZipFile(path, "w") as archive:
        for name in files:
            archive.writestr(name, "x")
    if not files:
        path = tmp_path / "empty.xlsx"
        path.write_bytes(b"PK\x05\x06" + bytes(18))
    for ask in (read, count_rows):
        with pytest.raises(InputError, match=said) as caught:
            ask(path)
        assert "\n" not in str(caught.value)


def test_a_file_that_is_only_called_xlsx_is_refused(tmp_path):
    path = tmp_path / "book.xlsx"
    path.write_text("prompt\nHi\n")
    with pytest.raises(InputError, match="cannot be read as a workbook"):
        read(path)


def test_a_damaged_workbook_is_an_error_or_ends_with_a_bad_row(put):
    path = put(["prompt"], *[[f"text {n} {hash(n) * 7919}"] for n in range(2000)])
    content = path.read_bytes()
    with pytest.raises(InputError, match=r"cannot (be )?read"):
        path.write_bytes(content[:-30])
        read(path)
    at = content.index(b"xl/worksheets/sheet1.xml") + 2000
    path.write_bytes(content[:at] + b"\xff" * 50 + content[at + 50 :])
    try:
        *_, last = read(path)
    except InputError:
        return
    assert isinstance(last, BadRow)
    assert "cannot be read beyond this record" in last.reason


def test_a_workbook_without_the_extra_is_an_error_with_the_remedy(put, monkeypatch):
    path = put(["prompt"], ["Hi"])
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(InputError, match="needs openpyxl; install the extra 'tables'"):
        read(path)


@pytest.mark.parametrize("name", ["reviews.csv.zip", "archive.zip"])
def test_the_only_file_of_an_archive_is_read(tmp_path, name, monkeypatch):
    path = tmp_path / name
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("folder/", "")
        archive.writestr("folder/reviews.csv", "id;prompt\na;Très bien\n".encode("cp1252"))
        archive.writestr("__MACOSX/folder/._reviews.csv", "x")
    assert prompts(read(path)) == ["Très bien"]
    assert count_rows(path) == 1
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(path.read_bytes())))
    assert prompts(read("-")) == ["Très bien"]


def test_a_sheet_that_was_not_asked_for_is_named_with_the_others(tmp_path):
    book = openpyxl.Workbook()
    book.active.title = "Notes"
    book.active.append(["note"])
    book.create_sheet("Reviews 2026").append(["text"])
    book["Reviews 2026"].append(["Hi"])
    book.create_sheet("Old").sheet_state = "hidden"
    book.save(path := tmp_path / "book.xlsx")
    remarks = []
    with (
        pytest.raises(InputError, match='has no column "text"'),
        open_rows(path, ReadSettings(model="m", template="{{ text }}"), remarks.append),
    ):
        pass
    assert remarks == [
        f'The sheet "Notes" of {path} is read; --sheet takes another: "Reviews 2026".'
    ]
    settings = ReadSettings(model="m", template="{{ text }}", sheet="Reviews 2026")
    with open_rows(path, settings, remarks.append) as rows:
        assert prompts(rows) == ["Hi"]
    assert len(remarks) == 1
