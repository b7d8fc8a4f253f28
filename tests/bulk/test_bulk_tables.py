"""Small tables as pandas, polars, R, Excel and Google Sheets write them, and what each gives.

`tables/make_tables.py` has written the files.
"""
# ruff: noqa: RUF001  # letters of other scripts are what is tested

from pathlib import Path

import pytest

from callsheet.bulk.reading import InputError, ReadSettings, count_rows, open_rows
from callsheet.bulk.row import Row

TABLES = Path(__file__).parent / "tables"

TEXTS = ["Très bien, déjà vu", 'Not "good"', "Two\nlines"]
TEXT = {"template": "{{ text }}"}
MAC_TEXTS = ["Très bien et déjà vu", "C'était prêt à l'arrivée"]

# The settings and the prompts by file.
PROMPTS = {
    "pandas.csv": (TEXT, TEXTS),
    "pandas.jsonl": (TEXT, TEXTS),
    "pandas.parquet": (TEXT, TEXTS),
    "pandas.xlsx": (TEXT, TEXTS),
    "pandas_bz2.csv.bz2": (TEXT, TEXTS),
    "pandas_columns.json": (TEXT, TEXTS),
    "pandas_cp1252.csv": (TEXT, TEXTS),
    "pandas_crlf.csv": (TEXT, TEXTS),
    "pandas_float_ids.csv": (TEXT, TEXTS),
    "pandas_float_ids.parquet": (TEXT, TEXTS),
    "pandas_gzip.csv.gz": (TEXT, TEXTS),
    "pandas_gzip.parquet": (TEXT, TEXTS),
    "pandas_indented.json": (TEXT, TEXTS),
    "pandas_index.parquet": ({"template": "{{ stars }}"}, ["5", "1", "3"]),
    "pandas_messages.parquet": ({}, TEXTS),
    "pandas_named_index.csv": ({"template": "{{ n }}"}, ["0", "1", "2"]),
    "pandas_nested.parquet": ({"template": "{{ meta.title }}"}, TEXTS),
    "pandas_no_index.csv": (TEXT, TEXTS),
    "pandas_no_index.xlsx": (TEXT, TEXTS),
    "pandas_numbers.parquet": ({}, ["1.0", "2.5", None]),
    "pandas_pipe.csv": (TEXT, TEXTS),
    "pandas_quote_all.csv": (TEXT, TEXTS),
    "pandas_records.json": (TEXT, TEXTS),
    "pandas_semicolon.csv": (TEXT, TEXTS),
    "pandas_split.json": (TEXT, TEXTS),
    "pandas_tab.csv": (TEXT, TEXTS),
    "pandas_tab.tsv": (TEXT, TEXTS),
    "pandas_table.json": (TEXT, TEXTS),
    "pandas_two_indexes.csv": (TEXT, TEXTS),
    "pandas_two_sheets.xlsx": ({**TEXT, "sheet": "reviews"}, TEXTS),
    "pandas_utf16.csv": (TEXT, TEXTS),
    "pandas_utf8_sig.csv": (TEXT, TEXTS),
    "pandas_xz.csv.xz": (TEXT, TEXTS),
    "pandas_zip.csv.zip": (TEXT, TEXTS),
    "pandas_zstd.csv.zst": (TEXT, TEXTS),
    "polars.csv": (TEXT, TEXTS),
    "polars.json": (TEXT, TEXTS),
    "polars.ndjson": (TEXT, TEXTS),
    "polars.parquet": (TEXT, TEXTS),
    "polars.xlsx": (TEXT, TEXTS),
    "polars_kinds.parquet": (
        {"template": "{{ day }} {{ text }}"},
        [f"2026-01-02 {it}" for it in TEXTS],
    ),
    "polars_messages.parquet": ({}, TEXTS),
    "polars_semicolon.csv": (TEXT, TEXTS),
    "r_jsonlite.json": (TEXT, TEXTS),
    "r_readr.csv": (TEXT, TEXTS),
    "r_readr_na.csv": (TEXT, ["Good", "NA"]),
    "r_write_csv.csv": (TEXT, TEXTS),
    "r_write_csv2.csv": (TEXT, TEXTS),
    "r_write_table.tsv": (TEXT, ["One text", "Another, longer"]),
    "r_write_table.txt": (TEXT, ["One text", "Another, longer"]),
    "excel.csv": (TEXT, TEXTS),
    "excel.xlsx": ({"template": "{{ text }} {{ day }}"}, ["Good 2026-01-02", "7"]),
    "excel_chinese.csv": (
        {"template": "{{ 评论 }}"},
        ["非常好的产品，快递很快，推荐购买。质量不错，还会再来。"],
    ),
    "excel_empty_cells.csv": (TEXT, ["Good", "Bad"]),
    "excel_german.csv": (TEXT, TEXTS),
    "excel_hidden.xlsx": (TEXT, ["Of the second sheet"]),
    "excel_japanese.csv": (
        {"fields": {"prompt": "本文"}},
        ["とても良い商品です。配送も早かったです。"],
    ),
    "excel_macintosh.csv": (TEXT, MAC_TEXTS),
    "excel_msdos.csv": (TEXT, MAC_TEXTS),
    "excel_polish.csv": (
        {"template": "{{ opinia }}"},
        ["Bardzo dobry produkt, szybka wysyłka. Świetna jakość!"],
    ),
    "excel_russian.csv": (
        {"template": '{{ row["отзыв"] }}'},
        ["Отличный товар, быстрая доставка."],
    ),
    "excel_sep.csv": (TEXT, TEXTS),
    "excel_unicode_text.txt": (TEXT, TEXTS),
    "excel_utf8.csv": (TEXT, TEXTS),
    "sheets.csv": (TEXT, TEXTS),
    "sheets.tsv": (TEXT, ["Very good, déjà", 'Not "good"']),
    "sheets_empty_rows.csv": (TEXT, ["Good"]),
    "sheets_repeated_name.xlsx": ({"template": "{{ stars }}"}, ["5"]),
    "alpaca.json": ({"template": "{{ instruction }} {{ input }}"}, ["Sing"]),
    "sharegpt.json": ({"template": "{{ conversations[0].value }}"}, ["Hi"]),
    "hugging_face_viewer.json": (TEXT, ["Good"]),
    "langfuse.json": ({"fields": {"messages": "input"}}, TEXTS[:1]),
    "langfuse.csv": ({"fields": {"messages": "input"}}, TEXTS[:1]),
}

# The settings and a part of the error by file.
REFUSED = {
    "excel_old.xls": (TEXT, "a workbook of Excel before 2007, or has a password; save it as .xlsx"),
    "pandas.csv": ({}, "it has text, stars; set a template, such as --template '{{ text }}'"),
    "pandas.xlsx": ({}, "it has text, stars; set a template, such as --template '{{ text }}'"),
    "pandas_two_sheets.xlsx": ({"sheet": "x"}, "has no sheet 'x', it has notes, reviews"),
    "sheets_repeated_name.xlsx": (TEXT, 'has two columns "text"; rename one of them'),
    "alpaca.json": ({}, "it looks like Alpaca; give --template '{{ instruction }} {{ input }}'"),
    "sharegpt.json": (
        {},
        "ShareGPT; its first question is --template '{{ conversations[0].value }}'",
    ),
    "langfuse.json": ({}, "it looks like an export of Langfuse; give --map messages=input"),
    "langfuse.csv": ({}, "it looks like an export of Langfuse; give --map messages=input"),
}

REMARKS = {
    "pandas_semicolon.csv": ['The fields of pandas_semicolon.csv are separated by ";"'],
    "pandas_tab.csv": ["The fields of pandas_tab.csv are separated by a tab"],
    "r_write_table.txt": ["The fields of r_write_table.txt are separated by a space"],
    "pandas_cp1252.csv": ["pandas_cp1252.csv is read as windows-1252"],
    "excel_german.csv": [
        "excel_german.csv is read as windows-1252",
        'The fields of excel_german.csv are separated by ";"',
    ],
    "excel_macintosh.csv": ["excel_macintosh.csv is read as mac-roman"],
    "excel_japanese.csv": ["excel_japanese.csv is read as shift-jis"],
    "excel_utf8.csv": ['The fields of excel_utf8.csv are separated by ";"'],
}

NEEDS = {".parquet": "pyarrow", ".xlsx": "openpyxl", ".zst": "backports.zstd"}


@pytest.fixture
def table():
    def path_of(name):
        path = TABLES / name
        if library := NEEDS.get(path.suffix):
            pytest.importorskip(library)
        return path

    return path_of


@pytest.mark.parametrize(("name", "settings", "wanted"), [(n, *it) for n, it in PROMPTS.items()])
def test_a_table_gives_its_prompts(table, name, settings, wanted):
    path = table(name)
    settings, remarks = ReadSettings(model="m", **settings), []
    with open_rows(path, settings, remarks.append) as rows:
        found = list(rows)
    prompts = [it.request.messages[0].content if isinstance(it, Row) else None for it in found]
    assert prompts == wanted
    assert count_rows(path, settings) == len(wanted)
    said = [remark.replace(str(path), name).partition("; --")[0] for remark in remarks]
    if name in REMARKS:
        assert said == REMARKS[name]


@pytest.mark.parametrize(("name", "settings", "reason"), [(n, *it) for n, it in REFUSED.items()])
def test_a_table_that_cannot_be_run_is_refused_at_the_start(table, name, settings, reason):
    with (
        pytest.raises(InputError) as caught,
        open_rows(table(name), ReadSettings(model="m", **settings)),
    ):
        pass
    assert reason in str(caught.value)


def test_ids_of_pandas_are_whole_numbers(table):
    with open_rows(table("pandas_float_ids.parquet"), ReadSettings(model="m", **TEXT)) as rows:
        assert [row.custom_id for row in rows] == ["7", "row-2", "9"]


def test_every_table_is_listed():
    names = {path.name for path in TABLES.iterdir() if path.suffix != ".py" and path.is_file()}
    assert names == PROMPTS.keys() | REFUSED.keys()
    assert len(names) >= 60
