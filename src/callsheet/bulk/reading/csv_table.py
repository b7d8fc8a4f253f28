"""Read CSV as spreadsheets, pandas, R and databases write it, one record at a time."""

import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import BinaryIO

import attrs

from ..row import unique_names
from .errors import BadLine, InputError
from .text import lines, not_utf8, shown

_DELIMITERS = ",;\t|"
TABBED = (".tsv", ".tab")
"""Ends of names of files whose delimiter is a tab."""

_SPACED = re.compile(r'"[^"]*"(?: "[^"]*")+\s*')  # how R separates names by a space
_SAMPLE_BYTES = 64 * 1024
_SAMPLE_RECORDS = 50
_ROW_NAMES = (0, 1)  # the first number of the rows of pandas, and of R
_BLANK = " \r\n"
_BOM = b"\xef\xbb\xbf"


@attrs.frozen
class CsvDialect:
    """How the fields of a CSV file are separated.

    Args:
        delimiter: the character between fields.
        is_stated: True if the first line states it, as in `sep=;` of Excel.
        has_row_names: True if the records, but not the header, begin with the number of the row,
            as R's `write.table` writes them.
    """

    delimiter: str
    is_stated: bool = False
    has_row_names: bool = False


def dialect_of(head: bytes, delimiter: str | None, suffix: str) -> CsvDialect:
    """Find the delimiter: the one that divides the header and most records into as many fields.

    Args:
        head: the beginning of the file in UTF-8; a last record that is cut is not counted.
        delimiter: the delimiter, if it is known.
        suffix: the end of the file's name; a tab is the first choice for `.tsv`.
    """
    sample = head[:_SAMPLE_BYTES].removeprefix(_BOM).lstrip(_BLANK.encode())
    first, _, rest = sample.partition(b"\n")
    first = first.strip()
    is_stated = len(first) == len("sep=;") and first.lower().startswith(b"sep=")
    if is_stated:
        sample = rest
        delimiter = delimiter or first[-1:].decode(errors="replace")
    if len(head) > _SAMPLE_BYTES:
        sample = sample[: sample.rfind(b"\n") + 1]
    text = sample.decode(errors="replace").splitlines(keepends=True)
    if delimiter is not None:
        return CsvDialect(delimiter, is_stated, has_row_names=_fit(text, delimiter)[2])
    preferred = "\t" if suffix in TABBED else ","
    spaces = " " if text and _SPACED.fullmatch(text[0]) else ""
    found = {it: _fit(text, it) for it in (preferred, *_DELIMITERS, *spaces)}
    best = max(found, key=lambda it: found[it][:2])  # the first one of equals
    return CsvDialect(best, is_stated, found[best][2])


def _fit(text: list[str], delimiter: str) -> tuple[float, int, bool]:
    """Return the share of records as long as the header, its length, and if they have row names."""
    records: list[list[str]] = []
    try:
        for record in csv.reader(text, delimiter=delimiter):
            if any(record):
                records.append(record)
            if len(records) > _SAMPLE_RECORDS:
                break
    except csv.Error:
        pass  # what was read so far
    header, rows = (records[0], records[1:]) if records else ([], [])
    columns = len(header)
    if len(rows) > 1:
        rows.pop()  # it may be cut
    if rows and _has_row_names(rows, columns):
        return 1.0, columns + 1, True
    if columns <= 1:
        return 0.0, columns, False
    fits = sum(len(row) == columns for row in rows)
    return (fits / len(rows) if rows else 1.0), columns, False


def _has_row_names(rows: list[list[str]], columns: int) -> bool:
    return any(
        all(
            len(row) == columns + 1 and row[0] == str(number)
            for number, row in enumerate(rows, first)
        )
        for first in _ROW_NAMES
    )


class CsvTable:
    """The records of a CSV file; quoted fields may contain line ends.

    Args:
        stream: the bytes of the file, in UTF-8.
        name: the name of the input, for error texts.
        dialect: how fields are separated.
        max_bytes: the maximum size of a record in bytes.

    Attributes:
        columns: the names of the columns; "" for one that has none.
        latest: the fields of the latest record, also of one with too many or too few.

    Raises:
        InputError: the header line is missing or invalid.
    """

    def __init__(self, stream: BinaryIO, name: str, dialect: CsvDialect, max_bytes: int) -> None:
        # The module's limit applies to the whole process, and is too low for long prompts.
        csv.field_size_limit(max(csv.field_size_limit(), max_bytes))
        self._texts = _Texts(stream, max_bytes)
        self._reader = csv.reader(self._texts, delimiter=dialect.delimiter, strict=True)
        if dialect.is_stated:
            self._next()
        self.columns = self._header(name)
        self.latest: Sequence[object] = ()
        if self.columns and dialect.has_row_names:
            self.columns.insert(0, "")
        times = Counter(self.columns)
        # A column that cannot be named is no part of a record.
        self._named = {at: it for at, it in enumerate(self.columns) if it and times[it] == 1}

    def _header(self, name: str) -> list[str]:
        columns = self._next()
        if isinstance(columns, BadLine):
            raise InputError(f"the header line of {name} is invalid: {columns.reason}")
        return [column.strip() for column in columns or ()]

    def name_all(self) -> None:
        """Make every column a part of the records, also one without a name of its own."""
        self._named = dict(enumerate(unique_names(self.columns)))

    def records(self) -> Iterator[tuple[int, dict[str, object] | BadLine]]:
        """Yield each record as (number from 1, {column: field}); empty ones are skipped."""
        number, width = 0, len(self.columns)
        names = tuple(self._named.values())
        is_named = len(names) == width
        while (fields := self._next()) is not None:
            number += 1
            if isinstance(fields, BadLine):
                yield number, fields
                continue
            self.latest = fields
            if len(fields) > width and not any(fields[width:]):
                del fields[width:]  # a spreadsheet's empty cells
            if len(fields) != width:
                yield number, self._misfit(len(fields))
            elif is_named:
                yield number, dict(zip(names, fields, strict=True))
            else:
                yield number, {name: fields[at] for at, name in self._named.items()}

    def _misfit(self, count: int) -> BadLine:
        reason = f"the number of fields is {count}, but of columns {len(self.columns)}"
        return BadLine(f"{reason}; {self._place()}", self._texts.begun, is_misfit=True)

    def _next(self) -> list[str] | BadLine | None:
        """Return the fields of the next record, or why it is bad; None at the end."""
        fields: list[str] | None = []
        while fields is not None and self._is_blank(fields):
            self._texts.begin()
            try:
                fields = next(self._reader, None)
            except csv.Error as error:
                reason = (
                    self._texts.wrong or f"the record is not valid CSV: {error}; {self._place()}"
                )
                return BadLine(reason, self._texts.begun, is_misfit=True)
            if self._texts.wrong is not None:
                return BadLine(self._texts.wrong, self._texts.begun, is_misfit=True)
        return fields

    def _is_blank(self, fields: list[str]) -> bool:
        """Return whether the record is an empty line or row, as opposed to one empty field."""
        if len(fields) == 1:
            return not (fields[0] + self._texts.begun).strip()
        return not any(fields)

    def _place(self) -> str:
        return f"see line {self._reader.line_num}"


def count_records(stream: BinaryIO, dialect: CsvDialect, max_bytes: int) -> int:
    """Count CSV records: a record ends with a line up to which the number of quotes is even.

    Args:
        stream: the bytes of the file, in UTF-8.
        dialect: how fields are separated.
        max_bytes: the maximum size of a record in bytes.
    """
    records, is_quoted = 0, False
    blank = (_BLANK + dialect.delimiter).encode()
    for _, line in lines(stream, max_bytes):
        odd = line.has_odd_quotes if isinstance(line, BadLine) else bool(line.count(b'"') % 2)
        is_quoted ^= odd
        if not is_quoted and (odd or isinstance(line, BadLine) or line.strip(blank)):
            records += 1
    return max(0, records - 1 - dialect.is_stated)


class _Texts:
    """Passes lines to the CSV reader, which can continue after a bad line."""

    def __init__(self, stream: BinaryIO, max_bytes: int) -> None:
        self._lines = lines(stream, max_bytes)
        self._max_bytes = max_bytes
        self.begin()

    def begin(self) -> None:
        """Start a record."""
        self.begun = ""  # the first characters of the record
        self.wrong: str | None = None  # what is wrong with its lines
        self._size = 0

    def __iter__(self) -> "_Texts":
        return self

    def __next__(self) -> str:
        number, line = next(self._lines)
        if isinstance(line, BadLine):
            self.wrong = self.wrong or f"{line.reason} (line {number})"
            self.begun = self.begun or line.text
            return '"\n' if line.has_odd_quotes else " \n"  # keeps the state of the quotes
        self.begun = self.begun or shown(line)
        self._size += len(line)
        if self._size > self._max_bytes:
            raise csv.Error(f"a quote stays open for more than {self._max_bytes:,} bytes")
        if wrong := not_utf8(line):
            self.wrong = self.wrong or f"{wrong} (line {number})"
        return line.decode(errors="replace")
