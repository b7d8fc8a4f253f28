"""Restore the order of the input, within bounds. Pure (R14)."""

from typing import final

from .outcome import RowOutcome


@final
class ReorderWindow:
    """The rows that were read and not written.

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
        self._bytes += len(ended.line)

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
            self._bytes -= len(ended.line)
            self._left += 1
        return found

    def give_up(self) -> list[RowOutcome]:
        """Remove and return all waiting rows in order; the rows before them will not end."""
        found = [self._waiting[place] for place in sorted(self._waiting)]
        self._waiting.clear()
        self._bytes = 0
        return found
