"""Whether combined calls give the responses that single calls give. Pure (R14)."""

import json
from collections.abc import Hashable, Iterator
from random import Random
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


_HALVED_AFTER = 5  # checks without a disagreement until the share of checks is halved
_LEAST_SHARE = 0.1  # of the share at first


@final
class CheckPlan:
    """Chooses the members of combined calls that are sent alone as well.

    The first members are checked at `share`. As long as no check disagrees, checks become rarer:
    after n of them their share is ``share * 5 / (5 + n)``, but at least a tenth of `share`. So N
    members have about ``sqrt(10 * share * N + 25) - 5`` checks: at 2 percent 9 of 800 and 40 of
    10,000. A disagreement restores `share` at once. If all of n checks agree, fewer than 3 / n of
    the other members differ, with a confidence of 95 percent (the rule of three: 0.05 ** (1 / n)).

    Until a check has agreed, the last member of each call is among those that are checked: if a
    model has left out a member or invented one, the responses to all later members are wrong.

    Args:
        share: the share of members, 0 to 1, that are checked at first. 1 checks all, always, and
            0 none.

    Attributes:
        has_agreed: whether a check has agreed since the last one that disagreed.
    """

    def __init__(self, share: float) -> None:
        self._share = share
        self._begun = 0  # checks since the last one that disagreed
        self._left = self._place = 0  # members that are left of a stretch, and at the check in it
        self.has_agreed = False

    @property
    def share(self) -> float:
        """The share of the next members that are checked."""
        if self._share >= 1:
            return self._share
        return self._share * max(_LEAST_SHARE, _HALVED_AFTER / (_HALVED_AFTER + self._begun))

    @property
    def must_check_last(self) -> bool:
        """Whether the last member of the next call is checked, before any response is used."""
        return self._share > 0 and not self.has_agreed

    def share_of(self, members: int) -> float:
        """Return the share of the members of the next call that are checked.

        Args:
            members: the number of members of the call.
        """
        return max(self.share, 1 / members) if self.must_check_last else self.share

    def choose(self, members: int, chance: Random) -> list[int]:
        """Return the positions of the members to check, one at random in each stretch.

        Args:
            members: the number of members of the next combined call.
            chance: the random source (R13).
        """
        found = [at for at in range(members if self._share else 0) if self._is_next(chance)]
        if self.must_check_last and members - 1 not in found:
            if found:
                found.pop()
            else:  # this check is that of the stretch
                self._begun += 1
                self._left = 0
            found.append(members - 1)
        return found

    def _is_next(self, chance: Random) -> bool:
        if not self._left:
            self._left = round(1 / self.share)
            self._place = chance.randint(1, self._left)
        is_chosen = self._left == self._place
        self._left -= 1
        self._begun += is_chosen
        return is_chosen

    def without_result(self) -> None:
        """Record that a check could not be compared."""
        self._begun = max(0, self._begun - 1)

    def agreed(self) -> None:
        """Record that a check agreed."""
        self.has_agreed = True

    def disagreed(self) -> None:
        """Record that a check disagreed."""
        self._begun = self._left = 0
        self.has_agreed = False


@final
class Agreement:
    """Counts checks; trust ends when too few agree, or too many members have no response.

    Args:
        least: the least share, 0 to 1, of checks that agree and of members with a response.
        check_share: the share of members, 0 to 1, that are checked at first.

    Attributes:
        is_trusted: whether combined calls may still be sent; once False, it stays False.
        checks: chooses the members that are checked.
    """

    def __init__(self, least: float, check_share: float = 0.0) -> None:
        self.checks = CheckPlan(check_share)
        self._least = least
        self._latest: list[bool] = []
        self._compared = self._agreed = self._answered = self._missed = 0
        self.is_trusted = True

    def check(self, *, agrees: bool) -> None:
        """Record whether a member's two responses agree."""
        if agrees:
            self.checks.agreed()
        else:
            self.checks.disagreed()
        self._compared += 1
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
            self._compared, self._agreed, self._answered, self._missed, self.is_trusted
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

    def of(self, key: AgreementKey, least: float, check_share: float = 0.0) -> Agreement:
        """Return the agreement with a key, and create it for the first request.

        Args:
            key: index of the strategy, and what it requires the requests to have in common.
            least: as for `Agreement`.
            check_share: as for `Agreement`.
        """
        found = self._by_key.pop(key, None)
        if found is None:
            found = Agreement(least, check_share)
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
