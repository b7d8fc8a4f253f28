"""Read a sheet of an Excel workbook, a row at a time. It needs openpyxl, an optional extra."""

import importlib
import warnings
import zipfile
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from datetime import datetime, time
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from ...wording import how_to_install
from ..row import unique_names
from .errors import BadLine, InputError

OLE = b"\xd0\xcf\x11\xe0"
"""How a workbook of Excel before 2007, or with a password, begins."""

_COUNTED_ROWS = 100_000  # counting more would take longer than a run should take to start
_MIDNIGHT = time()
_NOT_EXCEL = {
    "content.xml": "an OpenDocument file",
    "Index/Document.iwa": "a file of Numbers",
    "xl/workbook.bin": "a binary workbook (.xlsb)",
}
"""{a file in an archive: what the archive is}"""


class XlsxTable:
    """The records of a sheet: its first row that is not empty has the names of the columns.

    Args:
        sheet: the sheet of openpyxl.
        name: the name of the input, for error texts.

    Attributes:
        columns: the names of the columns; "" for one that has none.
    """

    def __init__(self, sheet: Any, name: str) -> None:  # noqa: ANN401  # openpyxl has no types
        self._size: int | None = sheet.max_row
        self._rows = _rows(sheet)
        try:
            header = next(self._rows, ())
        except Exception as error:  # noqa: BLE001  # openpyxl raises whatever a damaged part makes it
            raise _unreadable(name, error) from None
        self.columns = ["" if cell is None else str(cell).strip() for cell in header]
        while self.columns and not self.columns[-1]:
            self.columns.pop()
        times = Counter(self.columns)
        self._named = {at: it for at, it in enumerate(self.columns) if it and times[it] == 1}

    def name_all(self) -> None:
        """Make every column a part of the records, also one without a name of its own."""
        self._named = dict(enumerate(unique_names(self.columns)))

    def records(self) -> Iterator[tuple[int, dict[str, object] | BadLine]]:
        """Yield each record as (number from 1, {column: value}); empty rows are skipped."""
        number, width = 0, len(self.columns)
        try:
            for cells in self._rows:
                number += 1
                row = (*cells, *(None,) * (width - len(cells)))
                yield number, {name: row[at] for at, name in self._named.items()}
        except Exception as error:  # noqa: BLE001  # see `__init__`
            reason = _reason(error)
            yield number + 1, BadLine(f"the input cannot be read beyond this record: {reason}")

    def count(self) -> int | None:
        """Return the number of records; None if counting them would take too long."""
        if (self._size or 0) > _COUNTED_ROWS:
            return None
        count = sum(1 for _ in islice(self.records(), _COUNTED_ROWS + 1))
        return count if count <= _COUNTED_ROWS else None

    def close(self) -> None:
        """Close the sheet."""
        self._rows.close()


@contextmanager
def open_xlsx(source: Path | BinaryIO, name: str, sheet: str | None) -> Generator[XlsxTable]:
    """Open a sheet of a workbook while the block runs.

    Args:
        source: the path of the file, or the file.
        name: its name, for error texts.
        sheet: the name of the sheet; None for the first one.

    Raises:
        InputError: the file is no workbook, has no such sheet, or the extra is not installed.
    """
    _check_kind(source, name)
    try:
        library: Any = importlib.import_module("openpyxl")
    except ImportError:
        how = how_to_install("openpyxl", "xlsx")
        raise InputError(f"{name} is a workbook, which needs openpyxl; {how}") from None
    # It warns of styles and of rules for input that it does not keep.
    warnings.filterwarnings("ignore", category=UserWarning, module=r"openpyxl\.")
    try:
        book = library.load_workbook(source, read_only=True, data_only=True, keep_links=False)
    except Exception as error:  # noqa: BLE001  # see `XlsxTable`
        raise _unreadable(name, error) from None
    with closing(book), closing(XlsxTable(_sheet(book, name, sheet), name)) as table:
        yield table


def _sheet(book: Any, name: str, wanted: str | None) -> Any:  # noqa: ANN401  # see `XlsxTable`
    sheets = {sheet.title: sheet for sheet in book.worksheets}
    if wanted is None:
        shown = [sheet for sheet in sheets.values() if sheet.sheet_state == "visible"]
        if not (shown or sheets):
            raise InputError(f"{name} has no sheet with cells")
        return (shown or list(sheets.values()))[0]
    if wanted not in sheets:
        raise InputError(f"{name} has no sheet {wanted!r}, it has {', '.join(sheets)}")
    return sheets[wanted]


def _check_kind(source: Path | BinaryIO, name: str) -> None:
    try:
        with zipfile.ZipFile(source) as archive:
            files = archive.namelist()
    except (OSError, zipfile.BadZipFile) as error:
        raise _unreadable(name, error) from None
    if "xl/workbook.xml" in files:
        return
    for file, kind in _NOT_EXCEL.items():
        if file in files:
            raise InputError(f"{name} is {kind}; save it as .xlsx or as CSV")
    inside = ", ".join(files[:3]) or "no file"
    raise InputError(f"{name} is a zip archive with {inside}; unpack it and give one of the files")


def old_workbook(name: str) -> InputError:
    """Return the error of a workbook that openpyxl does not read.

    Args:
        name: the name of the input.
    """
    why = "is a workbook of Excel before 2007, or has a password"
    return InputError(f"{name} {why}; save it as .xlsx without one")


def _rows(sheet: Any) -> Generator[tuple[object, ...]]:  # noqa: ANN401  # see `XlsxTable`
    """Yield the values of rows that are not empty."""
    sheet.reset_dimensions()  # some programs write wrong ones
    for cells in sheet.iter_rows(values_only=True):
        if any(cell is not None and cell != "" for cell in cells):
            yield tuple(map(_plain, cells))


def _plain(cell: object) -> object:
    """Return a day that Excel keeps as its midnight as a day."""
    return cell.date() if isinstance(cell, datetime) and cell.time() == _MIDNIGHT else cell


def _unreadable(name: str, error: Exception) -> InputError:
    return InputError(
        f"{name} cannot be read as a workbook: {_reason(error)}; open and save it again"
    )


def _reason(error: Exception) -> str:
    return (str(error) or type(error).__name__).partition("\n")[0]
