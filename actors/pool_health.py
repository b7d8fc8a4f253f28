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
_MAX_REFUSALS = 10_000  # pairs of member and model


@attrs.define
class _Refusal:
    """A member refuses a model, or all.

    Args:
        until: when it may be tried again.
        times: how often it has refused in a row, which decides how long it is out.
    """

    until: float
    times: int


@final
class PoolHealth:
    """The health of the members of one pool, for all models or for one.

    A member is out until an instant; then it is on probation, until a call shows that it works. It
    outlives the incarnations of the actors that share it.

    Args:
        members: the names of the members, in their order.
        waits: whether calls wait for a member that fails while no other one is well; otherwise they
            are sent, for the sender to move them on to another endpoint.

    Attributes:
        listener: is called when a member works again, for calls that wait for one.
    """

    def __init__(self, members: Iterable[str], *, waits: bool = True) -> None:
        self._members = tuple(members)
        self._waits = waits
        self._refusals: dict[tuple[str, str], _Refusal] = {}  # {(member, model or ""): ...}
        self._outages: dict[str, float] = {}  # {member: when it may be tried again}
        self.listener: Callable[[], None] = _ignore

    def __repr__(self) -> str:
        refusals, outages = len(self._refusals), len(self._outages)
        return f"<PoolHealth of {len(self._members)}, {refusals} refusals, {outages} outages>"

    def refused(self, member: str, model: str, now: float) -> bool:
        """Leave out a member that refuses, such as one with a wrong key.

        If no member is left, calls are sent as if none had been left out, and report the refusal.

        Args:
            member: the name of the key.
            model: the model that it refuses; "" for all.
            now: the current time, in seconds.

        Returns:
            Whether it was not left out before.
        """
        refusal = self._refusals.pop((member, model), None)
        if refusal is None:
            if len(self._refusals) >= _MAX_REFUSALS:
                del self._refusals[next(iter(self._refusals))]
            refusal = _Refusal(now, 0)
        self._refusals[member, model] = refusal
        if refusal.until <= now:  # otherwise the call was in flight already
            refusal.until = now + min(_LONGEST_S, _FIRST_S * 2.0 ** min(refusal.times, 60))
            refusal.times += 1
            return refusal.times == 1
        return False

    def answered(self, member: str, model: str) -> bool:
        """Record that a member does not refuse; return whether it was left out as one that does.

        Args:
            member: the name of the key.
            model: the model that has answered.
        """
        if not self._refusals:
            return False
        found = [self._refusals.pop((member, name), None) for name in ("", model)]
        has_refused = any(refusal is not None for refusal in found)
        if has_refused:
            self.listener()
        return has_refused

    def failed(self, member: str, until: float) -> None:
        """Leave out a member that fails.

        Args:
            member: the name of the key.
            until: when it may be tried again, in seconds; infinity leaves that as it is.
        """
        if until < inf:
            self._outages[member] = until

    def recovered(self, member: str) -> None:
        """Take up a member that failed.

        Args:
            member: the name of the key.
        """
        if self._outages.pop(member, None) is not None:
            self.listener()

    # ---------------------------------------------------------------- which members

    def is_on_probation(self, member: str, model: str) -> bool:
        """Whether a member has been left out, and has not been taken up since."""
        return self._out_until(member, model) > -inf

    def is_well(self, member: str, model: str, now: float) -> bool:
        """Whether a member may be given calls: it was not left out, or may be tried again."""
        return self._out_until(member, model) <= now

    def others(self, member: str, model: str, now: float) -> list[str]:
        """Return the other members that may be given calls."""
        return [name for name in self._members if name != member and self.is_well(name, model, now)]

    def may_serve(self, model: str, now: float) -> tuple[Sequence[str], float]:
        """Return the members that may be given calls now, and when there may be more.

        If none is well, calls wait for one that failed. If all refuse, they are sent to any.
        """
        if not (self._refusals or self._outages):
            return self._members, inf
        out = {name: self._out_until(name, model) for name in self._members}
        well = [name for name, until in out.items() if until <= now]
        is_waited_for = self._waits and any(
            self._refused_until(name, model) <= now for name in self._members
        )
        if not well and not is_waited_for:
            return self._members, inf
        return well, min((until for until in out.values() if until > now), default=inf)

    def _out_until(self, member: str, model: str) -> float:
        """Return until when a member is left out; -infinity if it is not."""
        if not (self._refusals or self._outages):
            return -inf
        return max(self._refused_until(member, model), self._outages.get(member, -inf))

    def _refused_until(self, member: str, model: str) -> float:
        found = (self._refusals.get((member, name)) for name in ("", model))
        return max((refusal.until for refusal in found if refusal is not None), default=-inf)


def _ignore() -> None:
    """Do nothing."""
