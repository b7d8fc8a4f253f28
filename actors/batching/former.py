"""When a batch goes: by weight, by time, or because nobody else seems to come. Pure (R14).

How long waiting for one more pays, learned from who came and how long calls take. Pure (R14).
"""

from collections.abc import Sequence
from math import inf
from typing import Generic, Literal, TypeVar, final

import attrs
from attrs.validators import ge

from ..vendors import BatchLimits, BatchWeight, Full

__all__ = [
    "LEAST_S",
    "Batch",
    "BatchFormer",
    "BatchWindow",
    "Batching",
    "Reason",
]


LEAST_S = 0.0002
"""Seconds that are always waited: what is asked for at the same moment comes in within them."""

_GAIN = 0.5  # of one observation: a single silence says that a burst is over
_PATIENCE = 3.0  # gaps; of arrivals at random, 95 % come within three mean gaps (1 - exp(-3))
_SHARE = 0.1  # of the time that a call takes anyway, a wait adds at most so much
_REMEMBERED = 2.0  # waits


@final
class BatchWindow:
    """Says how long a batch is kept open for others.

    While others come quickly, the next one is worth waiting for, up to a tenth of the time that
    the call takes anyway. When nobody would come in that time, nobody is waited for.

    Args:
        max_wait_s: the longest that anybody may wait, in seconds.
    """

    def __init__(self, max_wait_s: float) -> None:
        self._max_wait_s = max_wait_s
        self._last: float | None = None  # when somebody came
        self._gap_s = inf
        self._service_s: float | None = None

    def arrived(self, now: float, longest_s: float) -> None:
        """Somebody came.

        Args:
            now: when, in seconds of a clock that does not go back.
            longest_s: how long he may wait. A longer silence says no more than that nobody comes.
        """
        if self._last is not None:
            gap_s = min(now - self._last, _REMEMBERED * max(longest_s, LEAST_S))
            known = self._gap_s
            self._gap_s = gap_s if known == inf else known + _GAIN * (gap_s - known)
        self._last = now

    def served(self, seconds: float) -> None:
        """A call took so long."""
        known = self._service_s
        self._service_s = seconds if known is None else known + _GAIN * (seconds - known)

    @property
    def longest_s(self) -> float:
        """How long the first of a batch waits at most, in seconds."""
        if self._service_s is None:
            return self._max_wait_s
        return min(self._max_wait_s, _SHARE * self._service_s)

    def linger_s(self, longest_s: float) -> float:
        """How long after somebody came the next one is waited for, in seconds.

        Args:
            longest_s: how long the first may wait.
        """
        # Whoever may wait longer than others loses nothing by it, even if nobody comes.
        least_s = min(longest_s, LEAST_S if longest_s <= self._max_wait_s else self._max_wait_s)
        if self._gap_s >= longest_s:
            return least_s
        return min(longest_s, max(least_s, _PATIENCE * self._gap_s))


T = TypeVar("T")

_CROWDED = 10.0  # times as long as for those who may come, one waits for those who are at the door

Reason = Full | Literal["time", "quiet", "drain"]
"""Why a batch went: it was full, its first member had waited as long as it may, nobody else
seemed to come, or nothing more will come."""


@attrs.frozen(kw_only=True)
class Batching(BatchLimits):
    """When to send what is gathered for one call.

    Only what can share a call waits for others; everything else goes at once.

    Args:
        max_size: members of a batch at most; None for what the provider takes.
        max_tokens: tokens of their prompts at most; None for what the provider takes.
        max_bytes: bytes of their prompts at most; None for what the provider takes.
        max_wait_s: the longest that a request without a deadline waits for others to come, in
            seconds. How long it pays is found out, and nobody is waited for when nobody comes. 0
            gathers what is asked for at the same moment. While others stand at the door, because
            they come faster than they are taken in, it is ten times as long.
        patient_share: the share of its time that a request with a deadline may wait for others.

    Raises:
        ValueError, TypeError: a value is out of its range; the message names it.
    """

    max_wait_s: float = attrs.field(default=0.1, validator=ge(0))
    patient_share: float = attrs.field(default=0.01, validator=ge(0))

    def patience_s(self, deadline: float | None) -> float | None:
        """How long a request may wait for others, in seconds; None for as long as it pays.

        Args:
            deadline: the request's.
        """
        if deadline is None:
            return None
        return max(self.max_wait_s, self.patient_share * deadline)


@attrs.frozen
class Batch(Generic[T]):
    """What goes together.

    Args:
        members: in the order they came, at least one.
        reason: why it goes.
        waited_s: how long its first member has waited.
        weight: what it comes to.
    """

    members: tuple[T, ...]
    reason: Reason
    waited_s: float
    weight: BatchWeight


@attrs.frozen
class _Waiting(Generic[T]):
    member: T
    came: float
    expires: float
    weight: BatchWeight


class BatchFormer(Generic[T]):
    """Gathers members one by one and says when they make a batch.

    The clock of a batch starts with its first member, not with the batch before it, so a lone
    request is never sent late, or early, by chance.

    Args:
        bounds: what a batch may come to; hard, but for a single member that is heavier.
        window: how long waiting pays.
    """

    def __init__(self, bounds: BatchLimits, window: BatchWindow) -> None:
        self._bounds = bounds
        self._window = window
        self._waiting: dict[int, _Waiting[T]] = {}  # {id of the member: ...}, in order
        self._weight = BatchWeight()
        self._expires = inf  # when the first has waited long enough
        self._crowded_until = inf  # the same, while others stand at the door
        self._quiet = inf  # when nobody else seems to come
        self._heard_nobody = False
        self._look_at = -inf  # not before that

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def due_at(self) -> float:
        """When to ask for the next batch, if it does not fill before; infinity if it is empty."""
        return max(self._look_at, min(self._expires, self._quiet)) if self._waiting else inf

    def add(
        self,
        member: T,
        now: float,
        weight: BatchWeight = BatchWeight(1),  # noqa: B008  # it is immutable
        patience_s: float | None = None,
    ) -> None:
        """One more came.

        Args:
            member: who.
            now: when, in seconds of any clock that does not go back.
            weight: what it comes to; by default one of something without tokens.
            patience_s: how long it may wait; None for as long as it pays.
        """
        window = self._window
        longest_s = window.longest_s if patience_s is None else patience_s
        window.arrived(now, longest_s)
        self._waiting[id(member)] = _Waiting(member, now, now + longest_s, weight)
        if len(self._waiting) == 1:
            self._crowded_until = now + _CROWDED * longest_s
        self._weight = self._weight.plus(weight)
        self._expires = min(self._expires, now + longest_s)
        self._quiet = now + window.linger_s(longest_s)
        self._heard_nobody = False

    def discard(self, member: T) -> None:
        """One has left; the others are not concerned (L5)."""
        left = self._waiting.get(id(member))
        if left is not None:
            self._remove((left,))

    def take(
        self, now: float, *, draining: bool = False, has_mail: bool = False
    ) -> Batch[T] | None:
        """The batch that goes at `now`, or None if none does yet.

        Args:
            now: in seconds of the same clock.
            draining: nothing more will come.
            has_mail: somebody has come who was not looked at yet.
        """
        if not self._waiting:
            return None
        reason = self._reason(now, draining=draining, has_mail=has_mail)
        if reason is None:
            return None
        taken, weight = self._fill()
        self._remove(taken)
        members = tuple(one.member for one in taken)
        return Batch(members, reason, now - taken[0].came, weight)

    def _reason(self, now: float, *, draining: bool, has_mail: bool) -> Reason | None:
        full = self._bounds.full(self._weight)
        if full is not None:
            return full
        if has_mail:
            self._look_at = now + LEAST_S
        if now >= self._expires and not (has_mail and now < self._crowded_until):
            return "time"
        if draining:
            return "drain"
        if now < self._quiet:
            return None
        if self._heard_nobody and not has_mail:
            return "quiet"
        # A busy process may hear late of who has come: so it listens once more.
        self._heard_nobody = not has_mail
        self._quiet = now + LEAST_S
        return None

    def _fill(self) -> tuple[list[_Waiting[T]], BatchWeight]:
        """Whoever fits, the first to come first; nobody is passed over for ever."""
        waiting = iter(self._waiting.values())
        taken = [next(waiting)]
        weight = taken[0].weight
        for one in waiting:
            more = weight.plus(one.weight)
            if self._bounds.has_room(more):
                taken.append(one)
                weight = more
        return taken, weight

    def _remove(self, gone: Sequence[_Waiting[T]]) -> None:
        for one in gone:
            del self._waiting[id(one.member)]
            self._weight = self._weight.minus(one.weight)
        if any(one.expires <= self._expires for one in gone):
            self._expires = min((one.expires for one in self._waiting.values()), default=inf)
        first = next(iter(self._waiting.values()), None)
        if first is not None:
            self._crowded_until = first.came + _CROWDED * (first.expires - first.came)
