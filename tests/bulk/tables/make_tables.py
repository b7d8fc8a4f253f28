"""Write the small tables of this folder as pandas, polars, R, Excel and Google Sheets write them.

The files are kept, so that the tests need none of these programs. To write them again:

    uv run --with pandas --with polars --with xlsxwriter tests/bulk/tables/make_tables.py

What R, Excel and Google Sheets write is written byte by byte, as their versions of 2025 do.
"""

# ruff: noqa: RUF001  # letters of other scripts are what is tested

import json
from datetime import date
from pathlib import Path

import openpyxl
import pandas as pd
import polars as pl

HERE = Path(__file__).parent
TEXTS = ["Très bien, déjà vu", 'Not "good"', "Two\nlines"]
STARS = [5, 1, 3]
FRAME = pd.DataFrame({"text": TEXTS, "stars": STARS})
POLARS = pl.DataFrame({"text": TEXTS, "stars": STARS})
CHAT = [[{"role": "user", "content": text}] for text in TEXTS]


def with_pandas():
    def to_csv(name, frame=FRAME, **options):
        frame.to_csv(HERE / name, **options)

    to_csv("pandas.csv")
    to_csv("pandas_no_index.csv", index=False)
    to_csv("pandas_named_index.csv", index_label="n")
    to_csv("pandas_semicolon.csv", sep=";", decimal=",")
    to_csv("pandas_pipe.csv", sep="|", index=False)
    to_csv("pandas_tab.tsv", sep="\t")
    to_csv("pandas_tab.csv", sep="\t", index=False)
    to_csv("pandas_utf8_sig.csv", encoding="utf-8-sig")
    to_csv("pandas_utf16.csv", encoding="utf-16")
    to_csv("pandas_cp1252.csv", encoding="cp1252")
    to_csv("pandas_quote_all.csv", quoting=1)
    to_csv("pandas_crlf.csv", lineterminator="\r\n")
    for packing, suffix in (("gzip", "gz"), ("zstd", "zst"), ("xz", "xz"), ("bz2", "bz2")):
        to_csv(f"pandas_{packing}.csv.{suffix}", compression=packing)
    to_csv("pandas_zip.csv.zip", compression={"method": "zip", "archive_name": "pandas.csv"})
    nested = FRAME.set_index([pd.Index(["a", "a", "b"]), pd.Index([1, 2, 3])])
    to_csv("pandas_two_indexes.csv", nested)
    ids = FRAME.assign(id=[7, None, 9])
    to_csv("pandas_float_ids.csv", ids, index=False)
    ids.to_parquet(HERE / "pandas_float_ids.parquet")
    FRAME.to_json(HERE / "pandas.jsonl", orient="records", lines=True)
    FRAME.to_json(HERE / "pandas_records.json", orient="records")
    FRAME.to_json(HERE / "pandas_indented.json", orient="records", indent=2)
    FRAME.to_json(HERE / "pandas_columns.json")
    FRAME.to_json(HERE / "pandas_split.json", orient="split")
    FRAME.to_json(HERE / "pandas_table.json", orient="table")
    FRAME.to_parquet(HERE / "pandas.parquet")
    FRAME.set_index("stars").to_parquet(HERE / "pandas_index.parquet")
    FRAME.to_parquet(HERE / "pandas_gzip.parquet", compression="gzip")
    pd.DataFrame({"messages": CHAT}).to_parquet(HERE / "pandas_messages.parquet")
    meta = pd.DataFrame({"meta": [{"title": text, "tags": ["a"]} for text in TEXTS]})
    meta.to_parquet(HERE / "pandas_nested.parquet")
    numbers = pd.DataFrame({"prompt": [1.0, 2.5, None]})
    numbers.to_parquet(HERE / "pandas_numbers.parquet")
    FRAME.to_excel(HERE / "pandas.xlsx")
    FRAME.to_excel(HERE / "pandas_no_index.xlsx", index=False, sheet_name="reviews")
    with pd.ExcelWriter(HERE / "pandas_two_sheets.xlsx") as book:
        pd.DataFrame({"note": ["x"]}).to_excel(book, sheet_name="notes")
        FRAME.to_excel(book, sheet_name="reviews")


def with_polars():
    POLARS.write_csv(HERE / "polars.csv")
    POLARS.write_csv(HERE / "polars_semicolon.csv", separator=";", include_bom=True)
    POLARS.write_ndjson(HERE / "polars.ndjson")
    POLARS.write_json(HERE / "polars.json")
    POLARS.write_parquet(HERE / "polars.parquet")
    pl.DataFrame({"messages": CHAT}).write_parquet(HERE / "polars_messages.parquet")
    kinds = pl.DataFrame({"text": TEXTS, "day": [date(2026, 1, 2)] * 3})
    kinds.with_columns(pl.col("text").cast(pl.Categorical)).write_parquet(
        HERE / "polars_kinds.parquet"
    )
    POLARS.write_excel(HERE / "polars.xlsx")


def write(name, text, encoding="utf-8"):
    (HERE / name).write_bytes(text.encode(encoding))


def quoted(text):
    return '"' + text.replace('"', '""') + '"'


def as_r():
    """R quotes texts and names, and not numbers; `write.csv2` and `write.table` have no comma."""
    rows = list(zip(TEXTS, STARS, strict=True))
    header = '"","text","stars"\n'
    body = "".join(f'"{n}",{quoted(text)},{stars}\n' for n, (text, stars) in enumerate(rows, 1))
    write("r_write_csv.csv", header + body)
    header = '"";"text";"stars"\n'
    body = "".join(f'"{n}";{quoted(text)};{stars}\n' for n, (text, stars) in enumerate(rows, 1))
    write("r_write_csv2.csv", header + body, "latin-1")
    plain = [("One text", 5), ("Another, longer", 1)]
    for name, tab in (("r_write_table.txt", " "), ("r_write_table.tsv", "\t")):
        lines = [f'"{n}"{tab}"{text}"{tab}{stars}' for n, (text, stars) in enumerate(plain, 1)]
        write(name, "\n".join([f'"text"{tab}"stars"', *lines]) + "\n")
    body = "".join(f"{quoted(text)},{stars}\n" for text, stars in rows)
    write("r_readr.csv", "text,stars\n" + body)
    write("r_readr_na.csv", "text,stars\nGood,5\nNA,NA\n")
    write("r_jsonlite.json", json.dumps(FRAME.to_dict("records"), indent=2, ensure_ascii=False))


def as_excel():
    """Excel quotes where it must, ends lines with CR LF, and takes delimiter and encoding from
    the country of Windows.
    """
    rows = list(zip(TEXTS, STARS, strict=True))

    def lines(delimiter, end="\r\n"):
        body = [f"{quoted(text)}{delimiter}{stars}" for text, stars in rows]
        return end.join([f"text{delimiter}stars", *body]) + end

    write("excel.csv", lines(","), "cp1252")
    write("excel_german.csv", lines(";"), "cp1252")
    write("excel_utf8.csv", "\ufeff" + lines(";"))
    write("excel_unicode_text.txt", "\ufeff" + lines("\t"), "utf-16-le")
    mac = "text,stars\rTrès bien et déjà vu,5\rC'était prêt à l'arrivée,1\r"
    write("excel_macintosh.csv", mac, "mac_roman")
    write("excel_msdos.csv", mac.replace("\r", "\r\n"), "cp850")
    write("excel_sep.csv", "sep=;\r\n" + lines(";"), "cp1252")
    empty = "text,stars,,\r\nGood,5,,\r\n,,,\r\nBad,1,,\r\n,,,\r\n,,,\r\n"
    write("excel_empty_cells.csv", empty)
    polish = "opinia;gwiazdki\r\nBardzo dobry produkt, szybka wysyłka. Świetna jakość!;5\r\n"
    write("excel_polish.csv", polish, "cp1250")
    write("excel_russian.csv", "отзыв;оценка\r\nОтличный товар, быстрая доставка.;5\r\n", "cp1251")
    write(
        "excel_japanese.csv", "本文,点\r\nとても良い商品です。配送も早かったです。,5\r\n", "cp932"
    )
    write(
        "excel_chinese.csv",
        "评论,分\r\n非常好的产品，快递很快，推荐购买。质量不错，还会再来。,5\r\n",
        "gbk",
    )
    (HERE / "excel_old.xls").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504))
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "Tabelle1"
    for row in [[], [None, "text", "stars", "day", None], [1, "Good", 5, date(2026, 1, 2)]]:
        sheet.append(row)
    sheet.append([])
    sheet.append([2, 7, None, None, "a note beside the table"])
    book.create_sheet("Tabelle2").append(["text"])
    book["Tabelle2"].append(["Of the second sheet"])
    book.save(HERE / "excel.xlsx")
    book["Tabelle1"].sheet_state = "hidden"
    book.active = 1
    book.save(HERE / "excel_hidden.xlsx")


def as_google_sheets():
    """Google Sheets writes UTF-8 with CR LF, and none after the last row."""
    rows = [f"{quoted(text)},{stars}" for text, stars in zip(TEXTS, STARS, strict=True)]
    write("sheets.csv", "\r\n".join(["text,stars", *rows]))
    write("sheets_empty_rows.csv", "text,stars,\r\nGood,5,\r\n,,\r\n,,")
    write("sheets.tsv", 'text\tstars\r\nVery good, déjà\t5\r\nNot "good"\t1')
    book = openpyxl.Workbook()
    book.active.title = "Sheet1"
    book.active.append(["text", "stars", "text"])
    book.active.append(["Good", 5.0, "again"])
    book.save(HERE / "sheets_repeated_name.xlsx")


def as_exports():
    """Rows of data sets and of tools that log calls, as they are downloaded."""
    write(
        "alpaca.json", json.dumps([{"instruction": "Sing", "input": "", "output": "La"}], indent=4)
    )
    turns = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Ho"}]
    write("sharegpt.json", json.dumps([{"id": "a", "conversations": turns}], indent=2))
    rows = [{"row_idx": 0, "row": {"text": "Good", "label": 1}, "truncated_cells": []}]
    write("hugging_face_viewer.json", json.dumps({"features": [], "rows": rows}))
    item = {"id": "i", "input": CHAT[0], "expectedOutput": None, "datasetName": "d"}
    write("langfuse.json", json.dumps([item]))
    header = "id,timestamp,name,input,output,traceId\n"
    write("langfuse.csv", header + f"i,2026,x,{quoted(json.dumps(CHAT[0]))},y,t\n")


if __name__ == "__main__":
    with_pandas()
    with_polars()
    as_r()
    as_excel()
    as_google_sheets()
    as_exports()
