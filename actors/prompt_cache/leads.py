"""Calls that write beginnings of prompts, and those that wait for them. Pure (R14)."""

from collections.abc import Hashable
from math import inf
from typing import Generic, TypeVar

import attrs

T = TypeVar("T", bound=Hashable)

_MOST_WAIT_S = 15.0  # for the first token of a long prompt
_MOST_WAITS_S = 45.0  # of one call, for one leader after another
LEAST_WAIT_S = 1.0  # a first token rarely takes less
_WAIT_SHARE = 0.25  # of the time until the deadline
_WAITS_SHARE = 0.5  # of that time, for one leader after another
_LEAST_LEFT_S = 0.001  # of these waits; less is a rounding error


def patience_s(left_s: float) -> float:
    """Return how many seconds a call may wait for the response to another one to begin.

    Args:
        left_s: seconds until the deadline of the call.
    """
    share = _WAIT_SHARE * left_s
    return min(_MOST_WAIT_S, share) if share >= LEAST_WAIT_S else 0.0


def waits_s(left_s: float) -> float:
    """Return how many seconds a call may wait for one leader after another.

    Args:
        left_s: seconds until the deadline of the call.
    """
    return min(_MOST_WAITS_S, _WAITS_SHARE * left_s)


@attrs.frozen
class Beginning:
    """A beginning of a prompt, with the cache that it is in.

    Args:
        key: a hash of the beginning, and of what tells this cache from others.
        tokens: how many tokens it has.
    """

    key: bytes = attrs.field(repr=False)
    tokens: int


@attrs.frozen(kw_only=True)
class CacheWish:
    """What a call could read from the provider's cache, and what it would write.

    Args:
        readable: the beginnings that it could read, ascending.
        written: the beginnings that can be read later if it is sent, ascending.
        life_s: seconds after its last use for which the provider keeps a beginning.
        lane: the lane of the call.
        least: tokens that following a leader must save.
    """

    readable: tuple[Beginning, ...]
    written: tuple[Beginning, ...]
    life_s: float
    lane: str = ""
    least: int = 1

    def at_key(self, key: str, other: str) -> "CacheWish":
        """Return the same beginnings in the cache to which another key leads.

        Args:
            key: the key of the call.
            other: the other key.
        """
        old, new = key.encode(), other.encode()
        readable, written = (
            tuple([Beginning(it.key.replace(old, new), it.tokens) for it in one])
            for one in (self.readable, self.written)
        )
        return attrs.evolve(self, readable=readable, written=written)


@attrs.define(eq=False)
class Lead(Generic[T]):
    """A call that writes beginnings, of which other calls may wait for one.

    Attributes:
        written: what it writes that was cold.
        wish: the wish of the call.
        lost_before: how many leaders have failed in a row before it.
        is_sent: whether it is under way to the provider, and not held back by a limit.
        followers: the calls that wait for it, in the order in which they came.
        is_over: whether what it writes is warm, or the call has ended without that.
    """

    written: tuple[Beginning, ...]
    wish: CacheWish
    lost_before: int = 0
    is_sent: bool = False
    followers: "dict[T, HeldCall[T]]" = attrs.field(factory=dict[T, "HeldCall[T]"], repr=False)
    is_over: bool = False


@attrs.define(eq=False)
class HeldCall(Generic[T]):
    """A call that waits for a leader.

    Attributes:
        call: what the caller of this module knows it by.
        wish: what it could read and would write.
        deadline: when its response is due, in seconds on Trio's clock.
        lead: the leader that it follows.
        left_s: how many seconds it may still wait for leaders that are sent.
        until: when it waits no more for this leader, in seconds; infinity until a leader of its own
            lane is sent.
        since: since when it waits for a leader that is sent, in seconds; None if its leader is not.
    """

    call: T
    wish: CacheWish
    deadline: float
    lead: Lead[T]
    left_s: float
    until: float = inf
    since: float | None = None

    def stop(self, now: float) -> None:
        """Count the wait for a leader that was sent."""
        if self.since is not None:
            self.left_s -= now - self.since
            self.since = None

    def is_over(self, now: float) -> bool:
        """Return whether it can wait for no further leader."""
        return self.left_s < _LEAST_LEFT_S or not patience_s(self.deadline - now)


@attrs.frozen
class SentCall(Generic[T]):
    """A call that is to be sent now.

    Args:
        call: what the caller of this module knows it by.
        lead: what it leads; None if it writes nothing that was cold.
        is_warm: whether it can read a beginning.
    """

    call: T
    lead: Lead[T] | None
    is_warm: bool
