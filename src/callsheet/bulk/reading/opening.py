"""Open an input as rows, and count its rows."""

import stat
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from ..row import BadRow, Row
from .csv_table import CsvTable
from .errors import InputError
from .lines import BadLine, lines
from .parquet_table import open_parquet, parquet_columns, parquet_records, parquet_size
from .rows import RowReader, jsonl_rows, table_rows
from .settings import Form, ReadSettings
from .source import STDIN, Source, open_source

_SUFFIXES: dict[str, Form] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
}
_PARQUET = b"PAR1"
_BLANK = b" \r\n"
_BEFORE_OBJECT = b"\xef\xbb\xbf \t\r\n"


@contextmanager
def open_rows(source: str | Path, settings: ReadSettings) -> Generator[Iterator[Row | BadRow]]:
    """Open an input while the block runs, and yield its rows one by one.

    Memory does not grow with the input: ids are compared in a temporary file. A record that is not
    a valid request becomes a `BadRow`, not an exception.

    Args:
        source: the path of a file, or "-" for standard input.
        settings: how to read the input, and the defaults of its requests.

    Raises:
        InputError: the input cannot be read. The iterator raises `InputChanged` if the file
            changes; rows that it yielded before are valid.
    """
    reader = RowReader(settings)
    with open_source(source) as opened, closing(reader.identities):
        form = _form(opened, settings)
        if form == "jsonl":
            yield jsonl_rows(opened.stream, settings, reader)
        elif form == "csv":
            table = _csv(opened, settings)
            if table.columns:
                reader.columns.check(table.columns, opened.name)
            yield table_rows(table.records(), reader)
        else:
            with open_parquet(_parquet_path(opened)) as file:
                opened.check(is_end=True)  # the file was opened a second time
                reader.columns.check(parquet_columns(file), opened.name)
                records = parquet_records(file, reader.columns.needed(), opened.check)
                yield table_rows(records, reader)


def count_rows(source: str | Path, settings: ReadSettings | None = None) -> int | None:
    """Count the rows of an input, bad ones included, without parsing them.

    Returns None for standard input and other pipes, which can be read only once.

    Args:
        source: the path of a file, or "-" for standard input.
        settings: how to read the input.

    Raises:
        InputError: the input cannot be read.
    """
    settings = settings or ReadSettings()
    if str(source) == STDIN or _is_pipe(Path(source)):
        return None
    with open_source(source) as opened:
        form = _form(opened, settings)
        if form == "parquet":
            with open_parquet(_parquet_path(opened)) as file:
                return parquet_size(file)
        if form == "csv":
            return _count_records(opened, settings)
        found = lines(opened.stream, settings.max_line_bytes)
        return sum(isinstance(line, BadLine) or bool(line.strip()) for _, line in found)


def _is_pipe(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return False  # opening it raises the error
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _count_records(opened: Source, settings: ReadSettings) -> int:
    """Count CSV records: a record ends with a line up to which the number of quotes is even."""
    records, is_quoted = 0, False
    for _, line in lines(opened.stream, settings.max_line_bytes):
        odd = line.has_odd_quotes if isinstance(line, BadLine) else bool(line.count(b'"') % 2)
        is_quoted ^= odd
        if not is_quoted and (odd or isinstance(line, BadLine) or line.strip(_BLANK)):
            records += 1
    return max(0, records - 1)


def _form(opened: Source, settings: ReadSettings) -> Form:
    """Return the format of an input: as set, by its first bytes, by its name, or by its content."""
    if settings.form != "auto":
        return settings.form
    if opened.head.startswith(_PARQUET):
        return "parquet"
    suffixes = [] if opened.path is None else [suffix.lower() for suffix in opened.path.suffixes]
    if suffixes and suffixes[-1] in (".gz", ".gzip"):
        suffixes.pop()
    if suffixes and suffixes[-1] in _SUFFIXES:
        return _SUFFIXES[suffixes[-1]]
    begin = opened.head.lstrip(_BEFORE_OBJECT)
    return "jsonl" if not begin or begin[:1] in (b"{", b"[") else "csv"


def _csv(opened: Source, settings: ReadSettings) -> CsvTable:
    delimiter = settings.delimiter
    if delimiter is None:
        is_tabbed = opened.path is not None and ".tsv" in opened.path.suffixes
        delimiter = "\t" if is_tabbed else ","
    return CsvTable(opened.stream, opened.name, delimiter, settings.max_line_bytes)


def _parquet_path(opened: Source) -> Path:
    if opened.path is None:
        raise InputError("Parquet cannot be read from standard input; give the path of a file")
    if opened.is_gzip:
        raise InputError(
            f"{opened.name} is gzipped Parquet; unpack it first, for example with gunzip"
        )
    return opened.path
