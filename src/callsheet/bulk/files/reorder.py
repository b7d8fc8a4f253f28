"""Puts rows back into the order of the input, within bounds. Pure (R14)."""

from typing import final

from .outcome import RowOutcome

__all__ = [
    "ReorderWindow",
]


@final
class ReorderWindow:
    """Rows that were read and are not written.

    Args:
        rows: as many as there may be.
        size: bytes of lines that may wait for an earlier row.
        ordered: they leave in the order of the input; else as they end.
    """

    def __init__(self, rows: int, size: int, *, ordered: bool) -> None:
        self.rows = rows
        self._size = size
        self._ordered = ordered
        self._waiting: dict[int, RowOutcome] = {}  # {place: a row that waits for an earlier one}
        self._bytes = 0
        self._read = 0
        self._left = 0  # rows; if ordered, the place of the next one to leave

    def __repr__(self) -> str:
        return (
            f"<ReorderWindow {self._read - self._left} of {self.rows} rows, {self.waiting} waiting>"
        )

    @property
    def waiting(self) -> int:
        """Rows that have ended and wait for an earlier one."""
        return len(self._waiting)

    @property
    def room(self) -> int:
        """How many rows may be read."""
        if self._bytes >= self._size:
            return 0
        return self.rows - (self._read - self._left)

    def read(self, rows: int) -> None:
        """So many were read."""
        self._read += rows

    def put(self, ended: RowOutcome) -> None:
        """A row has ended, whose place is less than what was read."""
        self._waiting[ended.place] = ended
        self._bytes += len(ended.line)

    def take(self) -> list[RowOutcome]:
        """Those whose turn it is."""
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
        """All that still wait, in their order; those they wait for will not end."""
        found = [self._waiting[place] for place in sorted(self._waiting)]
        self._waiting.clear()
        self._bytes = 0
        return found
