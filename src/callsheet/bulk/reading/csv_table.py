"""Read CSV with a header line, one record at a time."""

import csv
from collections.abc import Iterator
from typing import BinaryIO

from .errors import InputError
from .lines import BadLine, lines, not_utf8, shown


class CsvTable:
    """The records of a CSV file; quoted fields may contain line ends.

    Args:
        stream: the bytes of the file.
        name: the name of the input, for error texts.
        delimiter: the character between fields.
        max_bytes: the maximum size of a record in bytes.

    Raises:
        InputError: the header line is missing or invalid.
    """

    def __init__(self, stream: BinaryIO, name: str, delimiter: str, max_bytes: int) -> None:
        # The module's limit applies to the whole process, and is too low for long prompts.
        csv.field_size_limit(max(csv.field_size_limit(), max_bytes))
        self._texts = _Texts(stream, max_bytes)
        self._reader = csv.reader(self._texts, delimiter=delimiter, strict=True)
        self.columns = self._header(name)

    def _header(self, name: str) -> list[str]:
        columns = self._next()
        if isinstance(columns, BadLine):
            raise InputError(f"the header line of {name} is invalid: {columns.reason}")
        named = [column.strip() for column in columns or ()]
        if not all(named):
            raise InputError(f"column {named.index('') + 1} of {name} has no name")
        for column in named:
            if named.count(column) > 1:
                raise InputError(f'{name} has two columns "{column}"; rename one of them')
        return named

    def records(self) -> Iterator[tuple[int, dict[str, object] | BadLine]]:
        """Yield each record as (number from 1, {column: field}); empty lines are skipped."""
        number = 0
        while (fields := self._next()) is not None:
            number += 1
            if isinstance(fields, BadLine):
                yield number, fields
            elif len(fields) != len(self.columns):
                reason = (
                    f"the number of fields is {len(fields)}, but of columns {len(self.columns)}"
                )
                yield number, BadLine(f"{reason}; {self._place()}", self._texts.begun)
            else:
                yield number, dict(zip(self.columns, fields, strict=True))

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
                return BadLine(reason, self._texts.begun)
            if self._texts.wrong is not None:
                return BadLine(self._texts.wrong, self._texts.begun)
        return fields

    def _is_blank(self, fields: list[str]) -> bool:
        """Return whether the record is an empty line, as opposed to one empty field."""
        return not fields or (len(fields) == 1 and not (fields[0] + self._texts.begun).strip())

    def _place(self) -> str:
        return f"see line {self._reader.line_num}"


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
