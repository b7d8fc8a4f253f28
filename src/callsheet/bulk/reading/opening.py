"""Open an input as rows, count its rows, and look at the first of them before they are taken."""

import stat
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from itertools import chain
from pathlib import Path
from typing import Self, final

from ..row import BadRow, Row
from .binary_tables import (
    OLE,
    XlsxTable,
    old_workbook,
    open_parquet,
    open_xlsx,
    parquet_columns,
    parquet_records,
    parquet_size,
)
from .bodies import ignore_remark
from .csv_table import TABBED, CsvDialect, CsvTable, count_records, dialect_of
from .errors import BadLine, InputError
from .json_values import json_values
from .rows import RowReader, json_rows, table_rows
from .settings import Form, ReadSettings
from .source import STDIN, ZIP, FileState, Source, open_source
from .text import UTF_8

Remark = Callable[[str], None]

_SUFFIXES: dict[str, Form] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".tab": "csv",
    ".psv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".xlsx": "xlsx",
    ".xlsm": "xlsx",
}
_PACKED = (".gz", ".gzip", ".zst", ".zstd", ".xz", ".bz2")
_PARQUET = b"PAR1"
# What a file is that begins with these bytes, and what to do with it.
_OTHER_KINDS = (
    (b"ARROW1", "an Arrow file; write it as Parquet"),
    (b"FEA1", "a Feather file; write it as Parquet"),
    (b"ORC", "an ORC file; write it as Parquet"),
    (b"Obj\x01", "an Avro file; write it as Parquet"),
    (b"SQLite format 3\0", "an SQLite database; write a table of it as CSV"),
    (b"\x89HDF", "an HDF5 file; write a table of it as Parquet"),
    (b"\x80\x04\x95", "a pickle of Python; write it as CSV or Parquet"),
    (b"\x80\x05\x95", "a pickle of Python; write it as CSV or Parquet"),
    (b"%PDF-", "a PDF; give its texts as CSV or JSON Lines"),
    (b"Rar!", "a RAR archive; unpack it"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive; unpack it"),
    (b"\x04\x22\x4d\x18", "packed with LZ4; unpack it"),
    (
        b"version https://git-lfs",
        "a pointer of Git LFS and not the file; fetch it with git lfs pull",
    ),
    (b"<!DOCTYPE html", "a web page and not a table; perhaps its download needs a login"),
    (b"<!doctype html", "a web page and not a table; perhaps its download needs a login"),
    (b"<table", "the table of a web page; save it as CSV"),
    (b"<html", "a web page and not a table; perhaps its download needs a login"),
)
_TAR, _TAR_AT = b"ustar", 257
_BEFORE_OBJECT = b"\xef\xbb\xbf \t\r\n"
_SHEETS_SHOWN = 5
_LOOKED_AT = 10  # rows at the beginning, of which one must be right


@contextmanager
def open_rows(
    source: str | Path,
    settings: ReadSettings,
    on_remark: Remark = ignore_remark,
    *,
    state: FileState | None = None,
) -> Generator[Iterator[Row | BadRow]]:
    """Open an input while the block runs, and yield its rows one by one.

    Memory does not grow with the input: ids are compared in a temporary file. A record that is not
    a valid request becomes a `BadRow`, not an exception.

    Args:
        source: the path of a file, or "-" for standard input.
        settings: how to read the input, and the defaults of its requests.
        on_remark: called with a sentence for what was found out about the input, such as its
            encoding.
        state: what the file was when it was read before; it is read as it was then.

    Raises:
        InputError: the input cannot be read, has not only grown since it had that state, or is of
            another kind than it should be: its first rows all lack the same. The iterator raises
            `InputChanged` if the file changes; rows that it yielded before are valid.
    """
    with ExitStack() as stack:
        opened = stack.enter_context(open_source(source, state))
        reader = stack.enter_context(closing(RowReader(settings, on_remark)))
        read = {"parquet": _parquet_rows, "xlsx": _xlsx_rows}.get(
            form := _form_of_bytes(opened, settings)
        )
        if read is not None:
            rows = read(opened, settings, reader, stack, on_remark)
        else:
            rows = _text_rows(opened, form, settings, reader, on_remark)
        yield chain(_fitting(rows, reader, opened.name), _remarked_growth(opened, on_remark))


def _parquet_rows(
    opened: Source, _: ReadSettings, reader: RowReader, stack: ExitStack, __: Remark
) -> Iterator[Row | BadRow]:
    seekable = stack.enter_context(opened.seekable())
    file = stack.enter_context(open_parquet(seekable, opened.name))
    opened.check(is_end=True)  # the file was opened a second time
    reader.columns.check(parquet_columns(file), opened.name)
    return table_rows(parquet_records(file, reader.columns.needed(), opened.check), reader)


def _xlsx_rows(
    opened: Source,
    settings: ReadSettings,
    reader: RowReader,
    stack: ExitStack,
    on_remark: Remark,
) -> Iterator[Row | BadRow]:
    seekable = stack.enter_context(opened.seekable())
    sheet = stack.enter_context(open_xlsx(seekable, opened.name, settings.sheet))
    opened.check(is_end=True)  # the file was opened a second time
    if sheet.others:
        others = ", ".join(f'"{it}"' for it in sheet.others[:_SHEETS_SHOWN])
        more = len(sheet.others) - _SHEETS_SHOWN
        others += f" and {more} more" if more > 0 else ""
        on_remark(
            f'The sheet "{sheet.title}" of {opened.name} is read; --sheet takes another: {others}.'
        )
    if settings.carries_columns:
        sheet.name_all()
    return _rows_of(sheet, reader, opened.name)


def _text_rows(
    opened: Source, form: Form, settings: ReadSettings, reader: RowReader, on_remark: Remark
) -> Iterator[Row | BadRow]:
    text, encoding = opened.as_text(settings.encoding)
    if encoding != UTF_8 and settings.encoding is None:
        on_remark(f"{text.name} is read as {_usual_name(encoding)}; --encoding sets another.")
    if _form_of_text(text, form) == "csv":
        return _csv_rows(text, settings, reader, on_remark)
    values = json_values(text.stream, text.head, settings.max_line_bytes)
    return json_rows(values, settings, reader)


def _csv_rows(
    text: Source, settings: ReadSettings, reader: RowReader, on_remark: Remark
) -> Iterator[Row | BadRow]:
    dialect = _dialect(text, settings)
    table = CsvTable(text.stream, text.name, dialect, settings.max_line_bytes)
    usual = "\t" if _suffix(text) in TABBED else ","
    if table.columns and settings.delimiter is None and dialect.delimiter != usual:
        shown = {"\t": "a tab", " ": "a space"}.get(dialect.delimiter, f'"{dialect.delimiter}"')
        on_remark(f"The fields of {text.name} are separated by {shown}; --delimiter sets another.")
    if settings.carries_columns:
        table.name_all()
    return _rows_of(table, reader, text.name)


def _rows_of(table: CsvTable | XlsxTable, reader: RowReader, name: str) -> Iterator[Row | BadRow]:
    """Return the rows of a table whose columns are checked."""
    if not table.columns:
        return iter(())
    records = table.records()
    first = next(records, None)
    record = None if first is None or isinstance(first[1], BadLine) else first[1]
    try:
        reader.columns.check(table.columns, name, record)
    except InputError as error:
        if not _may_have_title(table):
            raise
        fault, _, _ = str(error).partition("; ")
        remedy = "if that is a title, remove the rows above the names of the columns"
        raise InputError(f"{fault}; {remedy}") from None
    return table_rows(chain(() if first is None else (first,), records), reader)


def _may_have_title(table: CsvTable | XlsxTable) -> bool:
    """Return whether the first row has one cell and the next one more, as below a title."""
    below = [cell for cell in table.latest if cell not in (None, "")]
    return sum(map(bool, table.columns)) == 1 < len(below)


def _fitting(rows: Iterator[Row | BadRow], reader: RowReader, name: str) -> Iterator[Row | BadRow]:
    """Return the rows of an input, if one of the first ones is right.

    Raises:
        InputError: the same is wrong with all of them, so that it is wrong with the input.
    """
    looked: list[Row | BadRow] = []
    for row in rows:
        looked.append(row)
        if isinstance(row, Row) or reader.misfits < len(looked):
            return chain(looked, rows)
        if len(looked) == _LOOKED_AT:
            break
    if not looked:
        return iter(())
    first = looked[0]
    reason = first.reason if isinstance(first, BadRow) else ""
    rows_said = "its only row is" if len(looked) == 1 else f"its first {len(looked)} rows are"
    raise InputError(f"{name}: {rows_said} not valid; row {first.number}: {reason}")


def _remarked_growth(opened: Source, on_remark: Remark) -> Iterator[Row | BadRow]:
    """Yield no row, but remark at the end of the rows that there may be more."""
    if opened.file is not None and opened.file.has_grown:
        on_remark(f"{opened.name} grew while it was read; run again for the rows that were added.")
    yield from ()


def count_rows(
    source: str | Path, settings: ReadSettings | None = None, state: FileState | None = None
) -> int | None:
    """Count the rows of an input, bad ones included, without parsing them.

    Returns None for standard input and other pipes, which can be read only once, and for a large
    workbook.

    Args:
        source: the path of a file, or "-" for standard input.
        settings: how to read the input.
        state: as for `open_rows`.

    Raises:
        InputError: the input cannot be read.
    """
    settings = settings or ReadSettings()
    if str(source) == STDIN or not is_file(source):
        return None
    with ExitStack() as stack:
        opened = stack.enter_context(open_source(source, state))
        form = _form_of_bytes(opened, settings)
        if form in ("parquet", "xlsx"):
            seekable = stack.enter_context(opened.seekable())
            if form == "parquet":
                return parquet_size(stack.enter_context(open_parquet(seekable, opened.name)))
            return stack.enter_context(open_xlsx(seekable, opened.name, settings.sheet)).count()
        text, _ = opened.as_text(settings.encoding)
        if _form_of_text(text, form) == "csv":
            return count_records(text.stream, _dialect(text, settings), settings.max_line_bytes)
        return sum(1 for _ in json_values(text.stream, text.head, settings.max_line_bytes))


def is_file(source: str | Path) -> bool:
    """Return whether a source is a file or a folder, and not a pipe or a device.

    Args:
        source: the path of the source, or "-" for standard input.
    """
    if str(source) == STDIN:
        return False
    try:
        mode = Path(source).stat().st_mode
    except (OSError, ValueError):
        return True  # opening it raises the error
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode)


def _form_of_bytes(opened: Source, settings: ReadSettings) -> Form:
    """Return the format as it is set, or by the first bytes or the name; else "auto".

    Raises:
        InputError: the input is of a kind that cannot be read.
    """
    if settings.form != "auto":
        return settings.form
    if opened.head.startswith(_PARQUET):
        return "parquet"
    if opened.head.startswith(ZIP):
        return "xlsx"
    if opened.head.startswith(OLE):
        raise old_workbook(opened.name)
    if opened.head.startswith(_TAR, _TAR_AT):
        raise InputError(f"{opened.name} is a tar archive; unpack it and give one of the files")
    for start, kind in _OTHER_KINDS:
        if opened.head.startswith(start):
            raise InputError(f"{opened.name} is {kind}")
    suffix = _suffix(opened)
    return _SUFFIXES.get(suffix, "auto")


def _form_of_text(text: Source, form: Form) -> Form:
    """Return the format of a text: as it is known, or by its beginning."""
    if form != "auto":
        return form
    begin = text.head.lstrip(_BEFORE_OBJECT)
    return "jsonl" if not begin or begin[:1] in (b"{", b"[") else "csv"


def _suffix(opened: Source) -> str:
    """Return the end of the name in small letters, without that of a packed file."""
    path = Path(opened.inner) if opened.inner else opened.path
    suffixes = [] if path is None else [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in _PACKED:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def _dialect(text: Source, settings: ReadSettings) -> CsvDialect:
    return dialect_of(text.head, settings.delimiter, _suffix(text))


def _usual_name(encoding: str) -> str:
    """Return the name of an encoding as other programs show it."""
    if encoding.startswith("cp125"):
        return f"windows-{encoding[2:]}"
    return {"cp932": "shift-jis", "mac_roman": "mac-roman"}.get(encoding, encoding)


@final
class RowsAhead(Iterator[Row | BadRow]):
    """The rows of an input, of which the first can be looked at before they are taken.

    Args:
        rows: the rows of the input.
    """

    def __init__(self, rows: Iterator[Row | BadRow]) -> None:
        self._rows = rows
        self._ready: deque[Row | BadRow] = deque()
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None

    def look(
        self, most: int, patience_s: float, clock: Callable[[], float] = time.monotonic
    ) -> list[Row | BadRow]:
        """Return the first rows, fewer if the input ends or does not deliver them in time.

        A thread goes on reading the row that was waited for; `__next__` waits for it.

        Args:
            most: the maximum number of rows.
            patience_s: how long to wait for them in all, in seconds.
            clock: returns the time in seconds.

        Raises:
            InputError: the input cannot be read.
        """
        until = clock() + patience_s
        reader = threading.Thread(target=self._read, args=(most, until, clock), daemon=True)
        self._thread = reader
        reader.start()
        reader.join(max(0.0, until - clock()))
        return list(self._ready)

    def _read(self, most: int, until: float, clock: Callable[[], float]) -> None:
        try:
            for row in self._rows:
                self._ready.append(row)
                if len(self._ready) >= most or clock() >= until:
                    return
        except BaseException as error:  # noqa: BLE001  # raised where the row is taken
            self._error = error

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Row | BadRow:
        """Return the next row."""
        if not self._ready and self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._ready:
            return self._ready.popleft()
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        return next(self._rows)
