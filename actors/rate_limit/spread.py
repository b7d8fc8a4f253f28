"""The members of a pool, and how calls are spread over those that could serve them. Pure (R14)."""

from collections.abc import Iterable, Mapping, Sequence
from typing import final

import attrs

from .limits import Limits

_GAIN = 0.1  # weight of one response in the mean latency
_SLOWEST = 8.0  # times the fastest member: a slow one still gets calls, which show if it recovers


@attrs.frozen(kw_only=True)
class PoolMember:
    """One member of a pool, as its limiter sees it.

    Args:
        name: the name of its key, which is unique in the pool.
        weight: its part of the calls, relative to the other members.
        limits: limits of its own; None for those of all members.
    """

    name: str
    weight: float = 1.0
    limits: Limits | None = None


@attrs.define
class _Share:
    """The part of one member.

    Args:
        weight: relative to the other members.
        tag: the virtual time up to which it has had its part.
        latency_s: the mean time until its responses begin, in seconds; None before the first one.
    """

    weight: float
    tag: float = 0.0
    latency_s: float | None = None


@final
class Spread:
    """Gives each member calls in proportion to its weight, and fewer to a slow one.

    Start-time fair queueing (Goyal, Vin and Cheng, 1996): each call moves its member ahead in a
    virtual time, by more the smaller the weight, and the member that is furthest behind is next. A
    member that could serve no calls for a while does not catch up on them.

    Args:
        weights: by member, in the order in which equal members are chosen.
    """

    def __init__(self, weights: Mapping[str, float]) -> None:
        self._shares = {name: _Share(weight) for name, weight in weights.items()}
        self._virtual = 0.0

    def choose(self, members: Sequence[str]) -> str:
        """Return the member that is next.

        Args:
            members: those that can serve a call now; at least one.
        """
        if len(members) == 1:
            return members[0]
        return min(members, key=lambda name: max(self._shares[name].tag, self._virtual))

    def take(self, member: str) -> None:
        """Record a call to a member."""
        share = self._shares[member]
        start = max(share.tag, self._virtual)
        self._virtual = start
        share.tag = start + self._slowness(share) / share.weight

    def answered(self, member: str, seconds: float) -> None:
        """Record how long the response of a member took to begin, in seconds."""
        share = self._shares[member]
        if share.latency_s is None:
            share.latency_s = seconds
        else:
            share.latency_s += _GAIN * (seconds - share.latency_s)

    def copy(self) -> "Spread":
        """Return an independent copy."""
        other = Spread({})
        other._shares = {name: attrs.evolve(share) for name, share in self._shares.items()}
        other._virtual = self._virtual
        return other

    def latencies(self) -> Iterable[tuple[str, float | None]]:
        """Return the mean time until responses begin, in seconds, by member."""
        return ((name, share.latency_s) for name, share in self._shares.items())

    def _slowness(self, share: _Share) -> float:
        """Return how much slower than the fastest member this one is."""
        known = [one.latency_s for one in self._shares.values() if one.latency_s]
        if share.latency_s is None or not known:
            return 1.0
        return min(_SLOWEST, max(1.0, share.latency_s / min(known)))
