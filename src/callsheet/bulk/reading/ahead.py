"""Look at the first rows of a pipe without waiting for more than it has."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Self, final

from ..row import BadRow, Row


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
