"""Read Parquet and sheets of Excel, some records at a time.

Parquet needs pyarrow, and a workbook openpyxl: optional extras.
"""

import importlib
import os
import sys
import warnings
import zipfile
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from datetime import datetime, time
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

from ...actors import how_to_install
from ..row import unique_names
from .errors import BadLine, InputError
from .identity import USUAL_IDS

# ------------------------------------------------------------------------------------------ Parquet

_RECORDS_AT_A_TIME = 64  # few, because prompts may be long
_BATCHES_TO_TIDY = 256
_BUFFER_BYTES = 1024 * 1024  # per column; the default buffers a whole row group

_POOL = "ARROW_DEFAULT_MEMORY_POOL"

ParquetFile = Any  # pyarrow has no type annotations
RecordBatch = Any


def open_parquet(source: Path | BinaryIO, name: str) -> AbstractContextManager[ParquetFile]:
    """Open a Parquet file.

    Args:
        source: the path of the file, or the file.
        name: its name, for error texts.

    Raises:
        InputError: the file is not Parquet, or the extra is not installed.
    """
    try:
        library = parquet_library()
    except ImportError:
        how = how_to_install("tables")
        raise InputError(f"{name} is Parquet, which needs PyArrow; {how}") from None
    try:
        file = library.ParquetFile(source, buffer_size=_BUFFER_BYTES, pre_buffer=False)
    except (OSError, ValueError) as error:  # pyarrow's errors are one of these
        reason = str(error).partition("\n")[0]
        raise InputError(f"{name} cannot be read as Parquet: {reason}") from None
    return cast("AbstractContextManager[ParquetFile]", file)


def parquet_library() -> Any:  # noqa: ANN401  # pyarrow has no type annotations
    """Import pyarrow's module for Parquet, so that it keeps little memory.

    Raises:
        ImportError: pyarrow is not installed.
    """
    is_set = "pyarrow" in sys.modules or _POOL in os.environ
    if not is_set:
        # Arrow's own pools keep some 20 MB. The variable is read only while pyarrow is imported.
        os.environ[_POOL] = "system"
    try:
        return importlib.import_module("pyarrow.parquet")
    finally:
        if not is_set:
            del os.environ[_POOL]


def parquet_columns(file: ParquetFile) -> list[str]:
    """Return the names of the columns."""
    return list(file.schema_arrow.names)


def parquet_size(file: ParquetFile) -> int:
    """Return the number of records."""
    return int(file.metadata.num_rows)


class Check(Protocol):
    """See `SteadyFile.check`."""

    def __call__(self, *, is_end: bool) -> None:
        """Raise `InputChanged` if the file has changed."""
        ...


def parquet_records(
    file: ParquetFile, needed: frozenset[str] | None, check: Check
) -> Iterator[tuple[int, dict[str, object] | BadLine]]:
    """Yield each record as (number from 1, {column: value}).

    Args:
        file: the open file.
        needed: the columns to read, besides the usual ids; None for all.
        check: called after each piece was read, before its records are yielded.
    """
    names = parquet_columns(file)
    wanted = None
    if needed is not None and not any(
        "." in name for name in names
    ):  # pyarrow reads a dot as a nested column
        wanted = [name for name in names if name in needed or name in USUAL_IDS]
    number = 0
    pool = importlib.import_module("pyarrow").default_memory_pool()
    try:
        for at, batch in enumerate(
            file.iter_batches(batch_size=_RECORDS_AT_A_TIME, columns=wanted, use_threads=False)
        ):
            check(is_end=False)
            if at % _BATCHES_TO_TIDY == 0:
                pool.release_unused()  # memory freed between the pieces of columns
            for record in _records(batch):
                number += 1
                yield number, record
        check(is_end=True)
    except (OSError, ValueError, RuntimeError, MemoryError) as error:
        check(is_end=False)  # a change of the file explains the error
        reason = str(error).partition("\n")[0]
        yield number + 1, BadLine(f"the input cannot be read beyond this record: {reason}")


def _records(batch: RecordBatch) -> Iterator[dict[str, object] | BadLine]:
    try:
        yield from _listed(batch)
    except UnicodeDecodeError:  # find the bad record by reading each alone
        for at in range(batch.num_rows):
            try:
                yield from _listed(batch.slice(at, 1))
            except UnicodeDecodeError as error:
                yield BadLine(f"a text in the record is not UTF-8: {error.reason}")


def _listed(batch: RecordBatch) -> list[dict[str, object]]:
    """Return records of Python's own types; those of pandas depend on what is installed."""
    arrow = importlib.import_module("pyarrow")
    for at, field in enumerate(batch.schema):
        for kind in ("timestamp", "duration"):
            if getattr(arrow.types, f"is_{kind}")(field.type) and field.type.unit == "ns":
                zone = {"tz": field.type.tz} if kind == "timestamp" else {}
                whole = batch.column(at).cast(getattr(arrow, kind)("us", **zone), safe=False)
                batch = batch.set_column(at, field.name, whole)
    return cast("list[dict[str, object]]", batch.to_pylist(maps_as_pydicts="lossy"))


# -------------------------------------------------------------------------------------------- Excel

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
        latest: the cells of the latest record.
        title: the name of the sheet.
        others: the names of the other visible sheets, unless this one was asked for.
    """

    def __init__(self, sheet: Any, name: str) -> None:  # noqa: ANN401  # openpyxl has no types
        self.title: str = sheet.title
        self.others: list[str] = []
        self._size: int | None = sheet.max_row
        self.latest: Sequence[object] = ()
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
                self.latest = cells
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
        sheet: the name of the sheet; None for the first visible one with cells.

    Raises:
        InputError: the file is no workbook, has no such sheet, or the extra is not installed.
    """
    _check_kind(source, name)
    try:
        library: Any = importlib.import_module("openpyxl")
    except ImportError:
        how = how_to_install("tables")
        raise InputError(f"{name} is a workbook, which needs openpyxl; {how}") from None
    # It warns of styles and of rules for input that it does not keep.
    warnings.filterwarnings("ignore", category=UserWarning, module=r"openpyxl\.")
    try:
        book = library.load_workbook(source, read_only=True, data_only=True, keep_links=False)
    except Exception as error:  # noqa: BLE001  # see `XlsxTable`
        raise _unreadable(name, error) from None
    with closing(book), closing(_table(book, name, sheet)) as table:
        yield table


def _table(book: Any, name: str, wanted: str | None) -> XlsxTable:  # noqa: ANN401  # see `XlsxTable`
    """Return the sheet that is wanted, or the first visible one that has cells."""
    sheets = {sheet.title: sheet for sheet in book.worksheets}
    if wanted is not None:
        if wanted not in sheets:
            raise InputError(f"{name} has no sheet {wanted!r}, it has {', '.join(sheets)}")
        return XlsxTable(sheets[wanted], name)
    shown = [sheet for sheet in sheets.values() if sheet.sheet_state == "visible"]
    shown = shown or list(sheets.values())
    if not shown:
        raise InputError(f"{name} has no sheet with cells")
    for sheet in shown:
        table = XlsxTable(sheet, name)
        if table.columns:
            table.others = [it.title for it in shown if it is not sheet]
            return table
        table.close()
    return XlsxTable(shown[0], name)


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
