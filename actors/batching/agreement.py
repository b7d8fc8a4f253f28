"""Whether combined calls give the responses that single calls give. Pure (R14)."""

import json
from collections.abc import Hashable, Iterator
from typing import final

import attrs

from ..responses import Response

_LEAST_CHECKS = 5  # fewer are not significant
_REMEMBERED = 50  # only the latest checks count, so that a change of the model shows


@attrs.frozen
class AgreementStatistics:
    """Results of the checks of one group's combined calls.

    Args:
        checks: number of members that were sent both combined and alone.
        agreed: number of checks with two equal responses.
        answered: number of members that had a response in their combined call.
        missed: number of members that had none.
        is_trusted: whether the group still sends combined calls.
    """

    checks: int
    agreed: int
    answered: int
    missed: int
    is_trusted: bool


@final
class Agreement:
    """Counts checks; trust ends when too few agree, or too many members have no response.

    Args:
        least: the least share, 0 to 1, of checks that agree and of members with a response.

    Attributes:
        is_trusted: whether combined calls may still be sent; once False, it stays False.
    """

    def __init__(self, least: float) -> None:
        self._least = least
        self._latest: list[bool] = []
        self._checks = self._agreed = self._answered = self._missed = 0
        self.is_trusted = True

    def check(self, *, agrees: bool) -> None:
        """Record whether a member's two responses agree."""
        self._checks += 1
        self._agreed += agrees
        self._latest = [*self._latest[1 - _REMEMBERED :], agrees]
        if len(self._latest) >= _LEAST_CHECKS:
            share = sum(self._latest) / len(self._latest)
            self.is_trusted = self.is_trusted and share >= self._least

    def count(self, answered: int, missed: int) -> None:
        """Record how many members of a combined call had a response, and how many had none."""
        self._answered += answered
        self._missed += missed
        total = self._answered + self._missed
        if total >= _REMEMBERED and self._answered < self._least * total:
            self.is_trusted = False

    def statistics(self) -> AgreementStatistics:
        """Return the counters."""
        return AgreementStatistics(
            self._checks, self._agreed, self._answered, self._missed, self.is_trusted
        )


AgreementKey = tuple[int, Hashable]


@final
class Agreements:
    """Remembers the agreement of each group of requests, so that distrust outlives the group.

    Requests of every lane, with and without a deadline, have one agreement if they may share a
    call otherwise. The one that was used longest ago is forgotten first, trusted ones before
    others.
    """

    def __init__(self) -> None:
        self._by_key: dict[AgreementKey, Agreement] = {}  # the most recently used is the last

    def __iter__(self) -> Iterator[tuple[AgreementKey, Agreement]]:
        return iter(tuple(self._by_key.items()))

    def of(self, key: AgreementKey, least: float) -> Agreement:
        """Return the agreement with a key, and create it for the first request.

        Args:
            key: index of the strategy, and what it requires the requests to have in common.
            least: as for `Agreement`.
        """
        found = self._by_key.pop(key, None)
        if found is None:
            found = Agreement(least)
            if len(self._by_key) >= _MAX_AGREEMENTS:
                del self._by_key[self._oldest()]
        self._by_key[key] = found
        return found

    def _oldest(self) -> AgreementKey:
        trusted = (key for key, it in self._by_key.items() if it.is_trusted)
        return next(trusted, None) or next(iter(self._by_key))


_MAX_AGREEMENTS = 4000


def answers_agree(one: Response, other: Response) -> bool:
    """Return whether two responses are equal as JSON, or as text without case and white space."""
    first, second = _canonical(one.text), _canonical(other.text)
    if first is not None and second is not None:
        return first == second
    return _plain(one.text) == _plain(other.text)


def _canonical(text: str) -> str | None:
    """Return JSON in one way of writing it; None for a text, also for one in quotation marks.

    Python's own comparison takes `true` for 1, and NaN for unequal to itself.
    """
    try:
        value: object = json.loads(text, parse_float=_number, parse_constant=_no_json)
        return None if isinstance(value, str) else json.dumps(value, sort_keys=True)
    except (ValueError, RecursionError):
        return None


def _number(text: str) -> float:
    """Return a whole number as an integer, so that 1.0 is written as 1 is."""
    number = float(text)
    return int(number) if number.is_integer() else number


def _no_json(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _plain(text: str) -> str:
    """Return a text, or the text of a JSON string, without case, with single spaces."""
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError):
        value = text
    return " ".join((value if isinstance(value, str) else text).split()).casefold()
