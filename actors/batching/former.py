"""Collects the members of a batch, and decides when the batch is sent. Pure (R14).

A batch is sent when it is full, when its first member has waited long enough, or when no further
member is expected. How long waiting pays is learned from the arrivals and the duration of calls.
"""

from collections.abc import Sequence
from math import inf
from typing import Generic, Literal, TypeVar, final

import attrs

from ..validation import ge
from ..vendors import BatchLimits, BatchWeight, Full

_LEAST_S = 0.0002
"""Seconds that a batch always waits: requests made at the same moment arrive within this time."""

_GAIN = 0.5  # weight of one observation: a single long gap means that a burst is over
_PATIENCE = 3.0  # mean gaps; 95 % of random arrivals come within three of them (1 - exp(-3))
_SHARE = 0.1  # the longest wait, as a share of the duration of a call
_REMEMBERED = 2.0  # the longest gap that counts, in longest waits


@final
class BatchWindow:
    """Decides how long a batch waits for further members.

    While members arrive quickly, a batch waits for the next one, up to a tenth of the duration of
    a call. If no member is expected in that time, the batch does not wait.

    Args:
        max_wait_s: the longest wait of a member, in seconds.
    """

    def __init__(self, max_wait_s: float) -> None:
        self._max_wait_s = max_wait_s
        self._last: float | None = None  # time of the latest arrival
        self._gap_s = inf
        self._service_s: float | None = None

    def arrived(self, now: float, longest_s: float) -> None:
        """Record the arrival of a member.

        Args:
            now: the current time, in seconds of a monotonic clock.
            longest_s: how long the member may wait, in seconds. The length of a gap beyond twice
                that does not matter.
        """
        if self._last is not None:
            gap_s = min(now - self._last, _REMEMBERED * max(longest_s, _LEAST_S))
            known = self._gap_s
            self._gap_s = gap_s if known == inf else known + _GAIN * (gap_s - known)
        self._last = now

    def served(self, seconds: float) -> None:
        """Record the duration of a call, in seconds."""
        known = self._service_s
        self._service_s = seconds if known is None else known + _GAIN * (seconds - known)

    @property
    def longest_s(self) -> float:
        """The longest wait of the first member of a batch, in seconds."""
        if self._service_s is None:
            return self._max_wait_s
        return min(self._max_wait_s, _SHARE * self._service_s)

    def linger_s(self, longest_s: float) -> float:
        """Return how long a batch waits after an arrival for the next one, in seconds.

        Args:
            longest_s: how long the first member may wait, in seconds.
        """
        # A member with more patience than `max_wait_s` loses nothing by waiting that long.
        least_s = min(longest_s, _LEAST_S if longest_s <= self._max_wait_s else self._max_wait_s)
        if self._gap_s >= longest_s:
            return least_s
        return min(longest_s, max(least_s, _PATIENCE * self._gap_s))


T = TypeVar("T")

_CROWDED = 10.0  # longest waits; how long a batch waits for messages already in the mailbox

Reason = Full | Literal["time", "quiet", "drain"]
"""Why a batch was sent: it was full ("size", "tokens", "bytes"), its first member had waited long
enough ("time"), no further member was expected ("quiet"), or the batcher drains ("drain")."""


@attrs.frozen(kw_only=True)
class Batching(BatchLimits):
    """When a batch is sent.

    Only requests that can share a call wait for others; every other request is sent at once.

    Args:
        max_size: the most members of a batch; None for the provider's limit.
        max_tokens: the most prompt tokens of a batch; None for the provider's limit.
        max_bytes: the most prompt bytes of a batch; None for the provider's limit.
        max_wait_s: the longest time that a request without a deadline waits for others, in
            seconds. The actual wait is learned from the arrivals, and is near 0 when no other
            request is expected. 0 combines only requests that are made at the same moment. While
            requests arrive faster than the batcher reads them, the limit is ten times as long.
        patient_share: how long a request with a deadline may wait for others, as a share of its
            deadline: 0.01 is one hundredth. It may always wait `max_wait_s`.

    Raises:
        ValueError: a value is out of its range; the message names it.
        TypeError: a value has the wrong type; the message names it.
    """

    max_wait_s: float = attrs.field(default=0.1, validator=ge(0))
    patient_share: float = attrs.field(default=0.01, validator=ge(0))

    def patience_s(self, deadline: float | None) -> float | None:
        """Return how long a request may wait for others, in seconds; None for as long as it pays.

        Args:
            deadline: deadline of the request, in seconds; None if it has none.
        """
        if deadline is None:
            return None
        return max(self.max_wait_s, self.patient_share * deadline)


@attrs.frozen
class Batch(Generic[T]):
    """Members that are sent together.

    Args:
        members: in the order of their arrival, at least one.
        reason: why the batch is sent now.
        waited_s: how long its first member has waited, in seconds.
        weight: total weight of the members.
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
    """Collects members one by one, and decides when they are sent as a batch.

    The wait of a batch starts with its first member, not with the batch before it, so that the
    wait of a single request does not depend on earlier ones.

    Args:
        bounds: limits of a batch. Only a single member that exceeds them is sent anyway.
        window: how long a batch waits for further members.
    """

    def __init__(self, bounds: BatchLimits, window: BatchWindow) -> None:
        self._bounds = bounds
        self._window = window
        self._waiting: dict[int, _Waiting[T]] = {}  # {id of the member: ...}, in order
        self._weight = BatchWeight()
        self._expires = inf  # when the first member has waited long enough
        self._crowded_until = inf  # the same, while the mailbox has messages
        self._quiet = inf  # from when on no further member is expected
        self._mailbox_was_empty = False
        self._look_at = -inf  # earliest time of the next check

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def due_at(self) -> float:
        """When `take` may return a batch that does not fill before; infinity without members."""
        return max(self._look_at, min(self._expires, self._quiet)) if self._waiting else inf

    def add(
        self,
        member: T,
        now: float,
        weight: BatchWeight = BatchWeight(1),  # noqa: B008  # it is immutable
        patience_s: float | None = None,
    ) -> None:
        """Add a member.

        Args:
            member: what waits to be sent.
            now: the current time, in seconds of a monotonic clock.
            weight: its weight; by default one member without tokens.
            patience_s: how long it may wait, in seconds; None for as long as it pays.
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
        self._mailbox_was_empty = False

    def discard(self, member: T) -> None:
        """Remove a member; the others are not affected (L5)."""
        left = self._waiting.get(id(member))
        if left is not None:
            self._remove((left,))

    def take(
        self, now: float, *, draining: bool = False, has_mail: bool = False
    ) -> Batch[T] | None:
        """Return the batch that is due, with its members removed; None if no batch is due.

        Args:
            now: the current time, in seconds of the same clock.
            draining: no further member will arrive.
            has_mail: the mailbox has messages that may be further members.
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
            self._look_at = now + _LEAST_S
        if now >= self._expires and not (has_mail and now < self._crowded_until):
            return "time"
        if draining:
            return "drain"
        if now < self._quiet:
            return None
        if self._mailbox_was_empty and not has_mail:
            return "quiet"
        # A busy process may receive a message late: so the mailbox must be empty twice.
        self._mailbox_was_empty = not has_mail
        self._quiet = now + _LEAST_S
        return None

    def _fill(self) -> tuple[list[_Waiting[T]], BatchWeight]:
        """Choose members that fit, in the order of arrival; the first is always chosen."""
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
