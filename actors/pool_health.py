"""Which members of a pool of endpoints are left out, and until when. Pure (R14).

The stage that sends calls reports members that refuse and members that fail. The stages that choose
a member read it: the limiter, and the sender itself when a call moves on.
"""

from collections.abc import Callable, Iterable, Sequence
from math import inf
from typing import final

import attrs

_FIRST_S = 60.0  # out after the first refusal; doubles while the member goes on refusing
_LONGEST_S = 3600.0
_MAX_ABSENCES = 10_000  # pairs of member and model


@attrs.define
class _Absence:
    """Why a member is left out.

    Args:
        until: when it may be tried again.
        waits: whether calls wait for it if no other member can serve them.
        refusals: how often it has refused in a row, which decides how long it is out.
    """

    until: float
    waits: bool
    refusals: int = 0


@final
class PoolHealth:
    """The health of the members of one pool, for all models or for one.

    A member is out until an instant; then it is on probation, until a call shows that it works. It
    outlives the incarnations of the actors that share it.

    Args:
        members: the names of the members, in their order.

    Attributes:
        listener: is called when a member works again, for calls that wait for one.
    """

    def __init__(self, members: Iterable[str]) -> None:
        self._members = tuple(members)
        self._absences: dict[tuple[str, str], _Absence] = {}  # {(member, model or ""): ...}
        self.listener: Callable[[], None] = _ignore

    def __repr__(self) -> str:
        return f"<PoolHealth of {len(self._members)}, {len(self._absences)} left out>"

    def refused(self, member: str, model: str, now: float) -> bool:
        """Leave out a member that refuses, such as one with a wrong key.

        If no member is left, calls are sent as if none had been left out, and report the refusal.

        Args:
            member: the name of its key.
            model: the model that it refuses; "" for all.
            now: the current time, in seconds.

        Returns:
            Whether it was not left out before.
        """
        absence = self._absences.get((member, model))
        if absence is not None and absence.until > now:
            return False  # a call that was in flight already
        refusals = 1 if absence is None else absence.refusals + 1
        out_s = min(_LONGEST_S, _FIRST_S * 2.0 ** min(refusals - 1, 60))
        self._set(member, model, _Absence(now + out_s, waits=False, refusals=refusals))
        return absence is None

    def failed(self, member: str, until: float) -> bool:
        """Leave out a member that fails. If no other member is left, calls wait for it.

        Args:
            member: the name of its key.
            until: when it may be tried again; infinity leaves that as it is.

        Returns:
            Whether it was not left out before.
        """
        if until == inf:
            return False
        absence = self._absences.get((member, ""))
        refusals = 0 if absence is None else absence.refusals
        self._set(member, "", _Absence(until, waits=True, refusals=refusals))
        return absence is None

    def works(self, member: str, model: str) -> bool:
        """Record that a member has answered; return whether it was left out before.

        Args:
            member: the name of its key.
            model: the model that has answered.
        """
        if not self._absences:
            return False
        found = [self._absences.pop((member, name), None) for name in ("", model)]
        was_out = any(absence is not None for absence in found)
        if was_out:
            self.listener()
        return was_out

    def is_on_probation(self, member: str, model: str) -> bool:
        """Whether a member has been left out, and has not answered since."""
        return bool(self._absences) and bool(self._of(member, model))

    def is_well(self, member: str, model: str, now: float) -> bool:
        """Whether a member may be given calls: it was not left out, or may be tried again."""
        return all(absence.until <= now for absence in self._of(member, model))

    def others(self, member: str, model: str, now: float) -> Sequence[str]:
        """Return the other members that may be given calls."""
        return [name for name in self._members if name != member and self.is_well(name, model, now)]

    def may_serve(self, model: str, now: float) -> tuple[Sequence[str], float]:
        """Return the members that may be given calls now, and when there may be more.

        If none is well, calls wait for one that failed. If all refuse, they are sent to any.
        """
        if not self._absences:
            return self._members, inf
        well: list[str] = []
        at, waits = inf, False
        for member in self._members:
            absences = self._of(member, model)
            until = max((absence.until for absence in absences), default=now)
            if until <= now:
                well.append(member)
            else:
                at = min(at, until)
                waits |= all(absence.waits or absence.until <= now for absence in absences)
        return (well, at) if well or waits else (self._members, inf)

    def _of(self, member: str, model: str) -> list[_Absence]:
        found = (self._absences.get((member, name)) for name in dict.fromkeys(("", model)))
        return [absence for absence in found if absence is not None]

    def _set(self, member: str, model: str, absence: _Absence) -> None:
        self._absences.pop((member, model), None)
        if len(self._absences) >= _MAX_ABSENCES:
            del self._absences[next(iter(self._absences))]
        self._absences[member, model] = absence


def _ignore() -> None:
    """Do nothing."""
