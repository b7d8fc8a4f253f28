"""Takes rows from the input: as many as there are at once, and never long for none."""

import time
from collections.abc import Callable, Iterator, Sequence

import attrs

from ..row import BadRow, Row
from .size import size_of

__all__ = [
    "Taken",
    "take",
]


_PATIENCE_S = 0.02
_MOST_CHARS = 4 * 1024**2


@attrs.frozen
class Taken:
    """What was read.

    Args:
        rows: in their order.
        is_end: there are no more.
        error: why there are no more, if that is not the end of the input.
    """

    rows: Sequence[Row | BadRow]
    is_end: bool = False
    error: Exception | None = None


def take(
    rows: Iterator[Row | BadRow], most: int, clock: Callable[[], float] = time.monotonic
) -> Taken:
    """The next rows; fewer than wanted if they are long, or long in coming. It blocks.

    Args:
        rows: the input's.
        most: how many.
        clock: seconds.
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
    except Exception as error:  # noqa: BLE001  # whatever reading fails with, the rest is kept
        return Taken(found, is_end=False, error=error)
    return Taken(found, is_end=True)
