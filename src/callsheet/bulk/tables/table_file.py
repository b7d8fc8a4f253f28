"""The files of a table: one that grows with the run, and OUTPUT if it is written whole.

CSV grows itself, record by record, as a file of JSON Lines does. Parquet and workbooks cannot: they
are written from `OUTPUT.callsheet-rows`, which grows in the same way, and has a list of cells on
each line. The run store could not take its place: it has neither rows that failed, nor the columns
of the input, nor their order.

Texts are written as they are, also those that begin with "=", which a spreadsheet reads as a
formula when it opens CSV: a program that reads the file gets what the model wrote. A workbook has
such texts as texts.
"""

import csv
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import cast, final

import orjson

from ...actors import Json, Response
from ..files.lines import RowOutcome, read_answer
from ..files.lines_file import new_beside, records
from ..files.store import StoredResponses
from ..settings import Paths
from .shape import TableCell, TableLimits, TableShape, plain
from .whole_files import (
    PARQUET_LIMITS,
    WORKBOOK_LIMITS,
    TableRows,
    check_parquet,
    write_parquet,
    write_workbook,
)

_LEAST_DECIMAL = 1e-15  # smaller fractions are written with an exponent
DELIMITERS = {".csv": ",", ".tsv": "\t"}
_LIMITS = {
    **{suffix: TableLimits(suffix) for suffix in DELIMITERS},
    **dict.fromkeys((".parquet", ".pq"), PARQUET_LIMITS),
    ".xlsx": WORKBOOK_LIMITS,
}
_LONGEST = 2**31 - 1  # characters of a field


@final
class TableFormat:
    """A table as the format of OUTPUT (see `RowFormat`).

    Args:
        output: the path of OUTPUT.
        returns: the class of the answers, if there are no rows.

    Attributes:
        shape: the columns of the table.
        is_quoted: True if a record can contain line ends in quotes, as in CSV.

    Raises:
        BulkRefused: a library is missing.
    """

    def __init__(self, output: Path, returns: type[object] | None = None) -> None:
        self._suffix = suffix_of(output)
        self.shape = TableShape(_LIMITS[self._suffix], returns=returns)
        self.is_quoted = self._suffix in DELIMITERS
        self._delimiter = DELIMITERS.get(self._suffix, ",")
        self._record: Callable[[Sequence[object]], bytes] = json_line
        if self.is_quoted:
            self._record = CsvRecords(self._delimiter).record
        if _LIMITS[self._suffix] is PARQUET_LIMITS:
            check_parquet(output.name)

    def head(self) -> bytes:
        """Return the record of the names of the columns."""
        return self._record(self.shape.columns)

    def lines(self, rows: Sequence[RowOutcome]) -> list[bytes]:
        """Return the record of each row, also of those that failed."""
        values = self.shape.values
        return [self._record(values(row.columns, row.event, _response(row))) for row in rows]

    def is_failure(self, line: bytes) -> bool:
        """Return whether a record is that of a row that failed, or cannot be read.

        The last cell of a row that failed is "kind: message".
        """
        if not self.is_quoted:
            try:
                return ": " in str(cells_of(line)[-1])
            except (ValueError, IndexError):
                return True
        try:
            return ": " in next(csv_fields([line], self._delimiter))[-1]
        except (ValueError, IndexError, StopIteration):
            return True

    def count_missing(self, paths: Paths, store: StoredResponses) -> int:
        """Return by how many the responses in the table are more than those in the store.

        A record of a table has no key.

        Raises:
            OSError, StorageError: a file cannot be read.
        """
        with self.growing(paths).open("rb") as lines:
            whole = records(lines) if self.is_quoted else filter(_is_whole, lines)
            count = sum(not self.is_failure(line) for line in whole)
        return max(0, count - 1 - store.responses)  # without the names of the columns

    def growing(self, paths: Paths) -> Path:
        """Return the file that grows with the run."""
        return paths.output if self.is_quoted else paths.rows

    def complete(self, paths: Paths) -> None:
        """Write OUTPUT, if it is not the file that grows.

        Raises:
            OSError: the file cannot be written.
        """
        if self.is_quoted:
            return
        columns, rows = read_rows_file(paths.rows)
        if columns:  # there are none if no row was read
            write_table(paths.output, columns, rows)


def _is_whole(line: bytes) -> bool:
    return line.endswith(b"\n")


def _response(row: RowOutcome) -> Response | None:
    return read_answer(row.line) if row.is_answer else None


def suffix_of(path: Path) -> str:
    """Return the end of the name of a file in small letters."""
    return path.suffix.lower()


def is_table(path: Path) -> bool:
    """Return whether the name of a file is that of a table."""
    return suffix_of(path) in _LIMITS


def limits_of(path: Path) -> TableLimits:
    """Return what a table of a name can hold."""
    return _LIMITS[suffix_of(path)]


def read_rows_file(path: Path) -> tuple[list[str], TableRows]:
    """Return the columns and the rows of a file of lists, without half a line at its end.

    Args:
        path: the path of the file, `OUTPUT.callsheet-rows`.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not such a file.
    """

    def lines() -> Iterator[list[TableCell]]:
        with path.open("rb") as file:
            yield from (cells_of(line) for line in file if line.endswith(b"\n"))

    columns = next(lines(), list[TableCell]())

    def rows() -> Iterator[Sequence[TableCell]]:
        found = lines()
        next(found, None)
        return found

    return [str(name) for name in columns], rows


def write_table(path: Path, columns: Sequence[str], rows: TableRows) -> None:
    """Write a table, in the format of its name; a file of that name is replaced in one step.

    Args:
        path: the file to write.
        columns: the names of the columns.
        rows: returns the rows.

    Raises:
        OSError: the file cannot be written; one of that name is unchanged.
    """
    new = new_beside(path)
    suffix = suffix_of(path)
    write: Callable[[], None] = partial(write_parquet, new, columns, rows)
    if suffix in DELIMITERS:
        write = partial(_write_csv, new, columns, rows, DELIMITERS[suffix])
    elif suffix == ".xlsx":
        write = partial(_write_workbook, new, columns, rows)
    try:
        write()
        with new.open("rb+") as file:
            os.fsync(file.fileno())
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


def _write_csv(path: Path, columns: Sequence[str], rows: TableRows, delimiter: str) -> None:
    record = CsvRecords(delimiter).record
    with path.open("wb") as file:
        file.write(record(columns))
        file.writelines(map(record, rows()))


def _write_workbook(path: Path, columns: Sequence[str], rows: TableRows) -> None:
    write_workbook(path, columns, rows())


@final
class CsvRecords:
    """Writes records of CSV in UTF-8 (RFC 4180, with a line feed at the end).

    Args:
        delimiter: the character between fields.
    """

    def __init__(self, delimiter: str) -> None:
        self._buffer = io.StringIO()
        # A field with a carriage return is only quoted if it is in the line terminator.
        self._writer = csv.writer(self._buffer, delimiter=delimiter, lineterminator="\r\n")

    def record(self, values: Sequence[object]) -> bytes:
        """Return a record with its line end."""
        self._writer.writerow([_csv_cell(plain(value)) for value in values])
        text = self._buffer.getvalue()
        self._buffer.seek(0)
        self._buffer.truncate()
        return text[:-2].encode(errors="replace") + b"\n"


def _csv_cell(value: object) -> object:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and _LEAST_DECIMAL < abs(value) < 1:
        return f"{Decimal(repr(value)):f}"  # 0.00002 rather than 2e-05
    return value


def csv_fields(lines: Iterable[bytes], delimiter: str) -> Iterator[list[str]]:
    """Yield the fields of each record.

    Args:
        lines: whole records of CSV.
        delimiter: the character between fields.

    Raises:
        ValueError: a record is not valid CSV.
    """
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST))  # it applies to the process
    texts = (line.decode(errors="replace") for line in lines)
    try:
        yield from csv.reader(texts, delimiter=delimiter)
    except csv.Error as error:
        raise ValueError(f"a record is not valid CSV: {error}") from None


def json_line(values: Sequence[object]) -> bytes:
    """Return a line with a list of the values; a lone surrogate becomes "?"."""
    cells: list[Json] = list(map(plain, values))
    try:
        return orjson.dumps(cells, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:  # a lone surrogate, or an integer beyond 64 bits
        return json.dumps(cells, ensure_ascii=False).encode(errors="replace") + b"\n"


def cells_of(line: bytes) -> list[TableCell]:
    """Return the cells in a line of `json_line`.

    Raises:
        ValueError: the line is not a list.
    """
    found: object = orjson.loads(line)
    if not isinstance(found, list):
        raise ValueError("the line is not a list")  # noqa: TRY004  # it is a value in a file
    return cast("list[TableCell]", found)
