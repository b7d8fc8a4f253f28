"""Answers as they are put together: each in its place, none twice, none missing (L5)."""

from collections.abc import Iterable
from typing import TypeVar

from ..messages import Choice, Json
from .format import BrokeOff, Malformed

__all__ = ["Collector", "checked_index", "in_order"]

T = TypeVar("T")


def in_order(numbered: Iterable[tuple[Json, T]], expected: int) -> tuple[T, ...]:
    """Items in the order of their numbers.

    Args:
        numbered: each item after its number; None stands for its position.
        expected: how many there must be.

    Raises:
        Malformed: a number is missing, there twice or not one of theirs.
    """
    found: dict[int, T] = {}
    for position, (number, item) in enumerate(numbered):
        place = checked_index(position if number is None else number, expected)
        if place in found:
            raise Malformed(f"the answer has two of index {place}")
        found[place] = item
    if len(found) != expected:
        raise Malformed(f"{expected} answers were asked for, and {len(found)} came")
    return tuple(found[place] for place in range(expected))


def checked_index(number: Json, expected: int) -> int:
    """A number that is the index of one of the answers.

    Raises:
        Malformed: it is not.
    """
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < expected:
        raise Malformed(
            f"the answer has an index {number!r:.40}, and {expected} answers were asked for"
        )
    return number


class Collector:
    """The answers of one stream, piece by piece.

    Args:
        expected: how many there will be.
    """

    def __init__(self, expected: int) -> None:
        self._pieces: list[list[str]] = [[] for _ in range(expected)]
        self._reasons: list[str | None] = [None] * expected

    def place(self, number: Json) -> int:
        """Which answer an index in an event means; None stands for the first.

        Raises:
            Malformed: none of them.
        """
        # The usual case costs one comparison: this is done for every token.
        return 0 if number == 0 or number is None else checked_index(number, len(self._pieces))

    def add(self, place: int, text: str) -> None:
        """An answer goes on."""
        self._pieces[place].append(text)

    def finish(self, place: int, reason: str) -> None:
        """An answer has ended; what ended it first, counts."""
        self._reasons[place] = self._reasons[place] or reason

    @property
    def is_finished(self) -> bool:
        """Whether every answer has ended."""
        return None not in self._reasons

    def choices(self) -> tuple[Choice, ...]:
        """The answers, whole.

        Raises:
            BrokeOff: one of them has not ended.
        """
        missing = self._reasons.count(None)
        if missing:
            raise BrokeOff(
                f"the stream ended before the answer was finished ({missing} of "
                f"{len(self._reasons)} without a finish reason)"
            )
        return tuple(
            Choice("".join(pieces), reason)
            for pieces, reason in zip(self._pieces, self._reasons, strict=True)
        )
