"""Rows that have ended, with the lines to write, and the order in which they are written."""

from collections.abc import Mapping
from typing import final

import attrs

from ...actors import Response
from ..progress import RowEnded
from ..row import chars_of
from .lines import read_answer


@attrs.frozen
class RowOutcome:
    """A row that has ended and is to be written to disk.

    Args:
        place: the index of the row in the input, from 0.
        line: the line for OUTPUT, or for the errors file.
        event: the event for the observers.
        key: the key to store the response by; None if it is stored already, or is an error.
        columns: the values of the input, if OUTPUT is a table.
    """

    place: int
    line: bytes
    event: RowEnded
    key: bytes | None = None
    columns: Mapping[str, object] | None = attrs.field(default=None, repr=False)

    @property
    def size(self) -> int:
        """The size of the line and of the columns, in bytes or characters."""
        return len(self.line) + chars_of(self.columns)

    @property
    def is_answer(self) -> bool:
        """Whether the line is for OUTPUT."""
        return self.event.error is None


@final
@attrs.frozen
class Result:
    """The result of a row; it is on disk.

    Args:
        event: the end of the row, with attempts, tokens and cost.
        line: the line that was written, without its line end.
    """

    event: RowEnded
    line: bytes = attrs.field(repr=False)

    @property
    def number(self) -> int:
        """The number of the row in the input, from 1."""
        return self.event.number

    @property
    def custom_id(self) -> str:
        """The custom id of the row."""
        return self.event.custom_id

    @property
    def error(self) -> str | None:
        """The kind of error, such as "RateLimited"; None for a response."""
        return self.event.error

    @property
    def message(self) -> str:
        """The text of the error; "" for a response."""
        return self.event.message

    @property
    def response(self) -> Response:
        """The response, read from the line.

        Raises:
            ValueError: the row failed.
        """
        if self.error is not None:
            raise ValueError(f"{self.custom_id} has no response: {self.message}")
        return read_answer(self.line)


@final
class ReorderWindow:
    """The rows that were read and not written, in the order of the input. Pure (R14).

    Args:
        rows: the maximum number of rows.
        size: the maximum of bytes of lines that wait for an earlier row.
        ordered: True to release rows in the order of the input, False in the order of their end.
    """

    def __init__(self, rows: int, size: int, *, ordered: bool) -> None:
        self.rows = rows
        self._size = size
        self._ordered = ordered
        self._waiting: dict[int, RowOutcome] = {}  # {place: a row that waits for an earlier one}
        self._bytes = 0
        self._read = 0
        self._left = 0  # released rows; if ordered, the place of the next row to release

    def __repr__(self) -> str:
        return (
            f"<ReorderWindow {self._read - self._left} of {self.rows} rows, {self.waiting} waiting>"
        )

    @property
    def waiting(self) -> int:
        """The number of rows that have ended and wait for an earlier one."""
        return len(self._waiting)

    @property
    def room(self) -> int:
        """The number of rows that may be read now."""
        if self._bytes >= self._size:
            return 0
        return self.rows - (self._read - self._left)

    def read(self, rows: int) -> None:
        """Record that rows were read."""
        self._read += rows

    def put(self, ended: RowOutcome) -> None:
        """Add a row that has ended; its place is below the number of rows read."""
        self._waiting[ended.place] = ended
        self._bytes += ended.size

    def take(self) -> list[RowOutcome]:
        """Remove and return the rows that may be written now."""
        found: list[RowOutcome] = []
        if not self._ordered:
            found = list(self._waiting.values())
            self._waiting.clear()
            self._bytes = 0
            self._left += len(found)
            return found
        while (ended := self._waiting.pop(self._left, None)) is not None:
            found.append(ended)
            self._bytes -= ended.size
            self._left += 1
        return found

    def give_up(self) -> list[RowOutcome]:
        """Remove and return all waiting rows in order; the rows before them will not end."""
        found = [self._waiting[place] for place in sorted(self._waiting)]
        self._waiting.clear()
        self._bytes = 0
        return found
