"""Write tables that cannot grow: as a workbook (.xlsx), or as Parquet with the library PyArrow.

Both are written some rows at a time, so that memory does not grow with them. A workbook has the
parts that ECMA-376 requires, and one sheet. A text is a text in it, also one that begins with "=":
it is never a formula.
"""

import importlib
import math
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, Any
from xml.sax.saxutils import escape

from ...actors import how_to_install
from ..errors import BulkRefused
from ..reading.binary_tables import parquet_library
from ..row import unique_names
from .shape import TableCell, TableLimits

WORKBOOK_LIMITS = TableLimits(".xlsx", rows=1_048_575, columns=16_384, cell_chars=32_767)
"""The limits of Excel, with a row for the header."""
PARQUET_LIMITS = TableLimits(".parquet")

TableRows = Callable[[], Iterator[Sequence[TableCell]]]
"""Returns the rows of a table, from the first one."""

_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_XML = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_CONTENT = "application/vnd.openxmlformats-officedocument.spreadsheetml"
_PARTS = {
    "[Content_Types].xml": (
        '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
        '<Default Extension="rels"'
        ' ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{_CONTENT}.sheet.main+xml"/>'
        f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{_CONTENT}.worksheet+xml"/>'
        "</Types>"
    ),
    "_rels/.rels": (
        '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
        f'<Relationship Id="rId1" Type="{_RELATIONS}/officeDocument" Target="xl/workbook.xml"/>'
        "</Relationships>"
    ),
    "xl/workbook.xml": (
        f'<workbook xmlns="{_MAIN}" xmlns:r="{_RELATIONS}"><sheets>'
        '<sheet name="Sheet1" sheetId="1" r:id="rId1"/></sheets></workbook>'
    ),
    "xl/_rels/workbook.xml.rels": (
        '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
        f'<Relationship Id="rId1" Type="{_RELATIONS}/worksheet" Target="worksheets/sheet1.xml"/>'
        "</Relationships>"
    ),
}
# XML 1.0 has no such characters; Excel writes them, and a text that looks like one, in this way.
_UNWRITABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]|_(?=x[0-9A-Fa-f]{4}_)")
_SURROGATES = re.compile("[\ud800-\udfff]")
_MOST_DIGITS = 15  # of a number in Excel; a longer one is written as text
_ROWS_AT_A_TIME = 1_000  # of Parquet
_INT64 = 2**63
_CUT = "cut to 32,767 characters; export to .csv or .parquet for the whole text"


def write_workbook(path: Path, columns: Sequence[str], rows: Iterable[Sequence[TableCell]]) -> None:
    """Write a workbook.

    A text that is too long for a cell is cut, and the last column, that of errors, says so.

    Args:
        path: the file to write.
        columns: the names of the columns.
        rows: the cells of each row.

    Raises:
        OSError: the file cannot be written.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, text in _PARTS.items():
            archive.writestr(name, _XML + text)
        # A sheet of a million rows may have more than 2 GiB before it is packed.
        with archive.open("xl/worksheets/sheet1.xml", "w", force_zip64=True) as sheet:
            sheet.write(f'{_XML}<worksheet xmlns="{_MAIN}"><sheetData>'.encode())
            _write_row(sheet, columns)
            for row in rows:
                _write_row(sheet, _noted(row))
            sheet.write(b"</sheetData></worksheet>")


def _noted(row: Sequence[TableCell]) -> Sequence[TableCell]:
    most = WORKBOOK_LIMITS.cell_chars or 0
    if any(isinstance(cell, str) and len(cell) > most for cell in row):
        return [*row[:-1], row[-1] or _CUT]
    return row


def _write_row(sheet: IO[bytes], cells: Sequence[TableCell]) -> None:
    sheet.write(f"<row>{''.join(map(_cell, cells))}</row>".encode())


def _cell(value: TableCell) -> str:
    if value is None:
        return "<c/>"
    if isinstance(value, bool):
        return f'<c t="b"><v>{int(value)}</v></c>'
    if isinstance(value, float) and math.isfinite(value):
        return f"<c><v>{value!r}</v></c>"
    if isinstance(value, int) and len(str(abs(value))) <= _MOST_DIGITS:
        return f"<c><v>{value}</v></c>"
    text = _SURROGATES.sub("?", str(value)[: WORKBOOK_LIMITS.cell_chars])
    text = _UNWRITABLE.sub(lambda found: f"_x{ord(found[0]):04X}_", text)
    text = escape(text, {"\r": "&#13;"})
    return f'<c t="inlineStr"><is><t xml:space="preserve">{text}</t></is></c>'


def check_parquet(name: str) -> None:
    """Check that Parquet can be written.

    Args:
        name: the name of the file.

    Raises:
        BulkRefused: PyArrow is not installed.
    """
    try:
        parquet_library()
    except ImportError:
        how = how_to_install("tables")
        raise BulkRefused(f"{name} is Parquet, which needs PyArrow", how) from None


def write_parquet(path: Path, columns: Sequence[str], rows: TableRows) -> None:
    """Write a Parquet file.

    The rows are read twice, because the type of a column is known after the last one: integer,
    number, truth value, or text, to which other values are converted if they are mixed.

    Args:
        path: the file to write.
        columns: the names of the columns; those without one are named as by pandas.
        rows: returns the rows.

    Raises:
        OSError: the file cannot be written.
    """
    arrow: Any = importlib.import_module("pyarrow")
    parquet = parquet_library()
    kinds = _kinds(len(columns), rows())
    types = {int: arrow.int64(), float: arrow.float64(), bool: arrow.bool_(), str: arrow.string()}
    schema = arrow.schema(
        [
            arrow.field(name, types[kind])
            for name, kind in zip(unique_names(columns), kinds, strict=True)
        ]
    )
    with parquet.ParquetWriter(path, schema) as writer:
        left = iter(rows())
        while some := list(islice(left, _ROWS_AT_A_TIME)):
            arrays = [
                arrow.array([_as(row[at], kind) for row in some], types[kind])
                for at, kind in enumerate(kinds)
            ]
            writer.write_table(arrow.Table.from_arrays(arrays, schema=schema))


_Kind = type[str] | type[int] | type[float] | type[bool]


def _kinds(width: int, rows: Iterable[Sequence[TableCell]]) -> list[_Kind]:
    """Return the type of each column; that of one without values is text."""
    found: list[set[_Kind]] = [set() for _ in range(width)]
    for row in rows:
        for seen, cell in zip(found, row, strict=True):
            if cell is not None:
                seen.add(_kind(cell))
    return [_joined(seen) for seen in found]


def _kind(cell: str | float | bool) -> _Kind:  # noqa: FBT001  # a value of a table
    kind: _Kind = type(cell)
    return str if kind is int and not -_INT64 <= cell < _INT64 else kind  # type: ignore[operator]  # an int


def _joined(seen: set[_Kind]) -> _Kind:
    if seen == {int, float}:
        return float
    return seen.pop() if len(seen) == 1 else str


def _as(cell: TableCell, kind: _Kind) -> TableCell:
    if cell is None:
        return None
    if kind is str and isinstance(cell, bool):
        return str(cell).lower()
    return kind(cell)
