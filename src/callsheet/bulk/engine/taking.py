"""Take rows from the input: as many as are available, without a long wait."""

import time
from collections.abc import Callable, Iterator, Sequence

import attrs

from ..row import BadRow, Row
from .size import size_of

_PATIENCE_S = 0.02
_MOST_CHARS = 4 * 1024**2


@attrs.frozen
class Taken:
    """Rows that were read.

    Args:
        rows: the rows, in order.
        is_end: True if the input has ended.
        error: the error that stopped the reading, if any.
    """

    rows: Sequence[Row | BadRow]
    is_end: bool = False
    error: Exception | None = None


def take(
    rows: Iterator[Row | BadRow], most: int, clock: Callable[[], float] = time.monotonic
) -> Taken:
    """Return the next rows, fewer if they are large or slow to arrive. Blocks.

    Args:
        rows: the rows of the input.
        most: the maximum number of rows.
        clock: returns the time in seconds.
    """
    found: list[Row | BadRow] = []
    chars = 0
    until = clock() + _PATIENCE_S
    try:
        for row in rows:
            found.append(row)
            chars += size_of(row.request) if isinstance(row, Row) else len(row.text)
            if len(found) >= most or chars >= _MOST_CHARS or clock() >= until:
                return Taken(found)
    except Exception as error:  # noqa: BLE001  # rows read before the error are kept
        return Taken(found, is_end=False, error=error)
    return Taken(found, is_end=True)
