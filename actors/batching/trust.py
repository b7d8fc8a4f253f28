"""Whether answers out of a combined call are what the members would have got alone. Pure (R14)."""

import json
from typing import final

import attrs

from ..messages import Response

__all__ = ["Trust", "TrustStatistics", "say_the_same"]

_LEAST_CHECKS = 5  # fewer say nothing
_REMEMBERED = 50  # checks; a share of the latest ones, so that a change shows


@attrs.frozen
class TrustStatistics:
    """What checks have found for members with one key.

    Args:
        checks: members that were asked both ways.
        agreed: those whose two answers were the same.
        answered: members whose combined call had an answer for them.
        missed: members whose combined call had none.
        is_trusted: they are still sent together.
    """

    checks: int
    agreed: int
    answered: int
    missed: int
    is_trusted: bool


@final
class Trust:
    """Counts checks, and ends the trust when too few agree, or too many answers are missing.

    Args:
        least: the share that must agree, and of members that must be answered.
    """

    def __init__(self, least: float) -> None:
        self._least = least
        self._latest: list[bool] = []
        self._checks = self._agreed = self._answered = self._missed = 0
        self.is_trusted = True

    def check(self, *, agrees: bool) -> None:
        """A member was asked both ways."""
        self._checks += 1
        self._agreed += agrees
        self._latest = [*self._latest[1 - _REMEMBERED :], agrees]
        if len(self._latest) >= _LEAST_CHECKS:
            share = sum(self._latest) / len(self._latest)
            self.is_trusted = self.is_trusted and share >= self._least

    def count(self, answered: int, missed: int) -> None:
        """A combined call had answers for some of its members."""
        self._answered += answered
        self._missed += missed
        total = self._answered + self._missed
        if total >= _REMEMBERED and self._answered < self._least * total:
            self.is_trusted = False

    def statistics(self) -> TrustStatistics:
        """What was found."""
        return TrustStatistics(
            self._checks, self._agreed, self._answered, self._missed, self.is_trusted
        )


def say_the_same(one: Response, other: Response) -> bool:
    """Whether two answers are the same, but for case and white space, or as JSON."""
    return _plain(one.text) == _plain(other.text)


def _plain(text: str) -> object:
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError):
        value = text
    return " ".join(value.split()).casefold() if isinstance(value, str) else value
