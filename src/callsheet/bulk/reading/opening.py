"""Opens an input as rows, and counts them."""

import stat
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from ..row import BadRow, Row
from .csv_table import CsvTable
from .errors import InputError
from .jsonl import jsonl_rows
from .lines import BadLine, lines
from .parquet_table import open_parquet, parquet_columns, parquet_records, parquet_size
from .rows import RowReader, table_rows
from .settings import Form, ReadSettings
from .source import STDIN, Source, open_source

__all__ = ["count_rows", "open_rows"]

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
    """Open an input for as long as the block runs, and read its rows one by one.

    Memory does not grow with the input: what finds ids that are there twice is in a temporary file.
    What is no request is a `BadRow`; nothing is raised for it.

    Args:
        source: the path of a file, or "-" for standard input.
        settings: how it is read, and what its rows are asked with.

    Raises:
        InputError: nothing of it can be read. The iterator raises `InputChanged` when the file is
            no longer what it was; rows that it has given are as they were.
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
                opened.check(is_end=True)  # it was opened a second time
                reader.columns.check(parquet_columns(file), opened.name)
                records = parquet_records(file, reader.columns.needed(), opened.check)
                yield table_rows(records, reader)


def count_rows(source: str | Path, settings: ReadSettings | None = None) -> int | None:
    """How many rows an input has, bad ones included, without reading what they say.

    None for standard input and other pipes, which can be read only once.

    Args:
        source: the path of a file, or "-" for standard input.
        settings: how it is read.

    Raises:
        InputError: nothing of it can be read.
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
        return False  # opening it says what is wrong
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _count_records(opened: Source, settings: ReadSettings) -> int:
    """A record ends with a line up to whose end the quotes are even."""
    records, is_quoted = 0, False
    for _, line in lines(opened.stream, settings.max_line_bytes):
        odd = line.has_odd_quotes if isinstance(line, BadLine) else bool(line.count(b'"') % 2)
        is_quoted ^= odd
        if not is_quoted and (odd or isinstance(line, BadLine) or line.strip(_BLANK)):
            records += 1
    return max(0, records - 1)


def _form(opened: Source, settings: ReadSettings) -> Form:
    """What an input is: as it is said, by its first bytes, by its name, by how it begins."""
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
        raise InputError("Parquet is read from its end; give a file rather than standard input")
    if opened.is_gzip:
        raise InputError(f"{opened.name} is Parquet in gzip; unpack it first, as with gunzip")
    return opened.path
