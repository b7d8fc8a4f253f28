"""A limit that several processes share, of which this one has leased a part. Pure (R14).

A lease says how much may be used, and from when: t seconds after it arrived, min(A, a + r t). The
shared bucket has been debited for all of it already. Therefore calls are admitted as they would be
from a `Bucket`, as long as something is leased; beyond that, at no known time.

What is leased and not used loses its value when the shared bucket fills: the provider's bucket,
which was not debited, would be full before. So no more than is missing from the shared bucket at
that time remains of it. This is known in two ways, and the longer one holds: by what the store has
reported; and by the leases of this process alone, as if it were the only one.
"""

from collections import deque
from collections.abc import Iterator
from math import inf
from typing import final

import attrs

from .bucket import Bucket
from .shared import UNUSED_S, Correction
from .waits import Flow

_EPSILON = 1e-9  # seconds, or of an amount
_LATE_S = UNUSED_S  # by which a lease may be used late without a loss, on a busy machine
_MAX_LEASES = 8  # beyond it, those that are usable already become one


@attrs.define(eq=False)
class _Curve:
    """What is left of one lease: at time t, min(amount, rate (t - zero_at)) may be used.

    Args:
        amount: how much is left of it.
        zero_at: the time from which it may be used.
        rate: how much more may be used a second.
        since: when it was leased.
    """

    amount: float
    zero_at: float
    rate: float
    since: float

    @property
    def ends_at(self) -> float:
        """The time at which all of it may be used."""
        return self.zero_at + self.amount / self.rate


@final
class LeasedBucket(Bucket):
    """A `Bucket` that several processes share. It holds what this one has leased.

    While the store is away it may be divided: then it is a bucket of its own, with a part of the
    rate.

    Args:
        name: the name of the limit, which is the same in each process.
        rate: how much the shared bucket refills a second; more than 0.
        depth: how much it holds; more than 0.
        now: the current time, in seconds. Nothing is leased.
        active: it adds itself to this set when something is leased, taken or to be reported.

    Attributes:
        name: the name of the limit.
        scope: the name of its scope; "" for all calls.
        part: the part of the limit that is due to this process, from 0 to 1, by estimate.
        processes: the number of processes that use it.
        takes: the number of debits so far.
        taken: the sum of them.
        taken_at: the time of the latest one.
    """

    __slots__ = (
        "_active",
        "_curves",
        "_divided",
        "_owed",
        "_own_full_at",
        "_refunds",
        "_unused",
        "name",
        "processes",
        "scope",
        "taken",
        "taken_at",
        "takes",
    )

    def __init__(
        self,
        name: str,
        rate: float,
        depth: float,
        now: float,
        active: "set[LeasedBucket] | None" = None,
    ) -> None:
        super().__init__(rate, depth, now)  # `_full_at` is what the store has reported
        self._active: set[LeasedBucket] = set() if active is None else active
        self.name = name
        self.scope = ""
        self.processes = 1
        self.takes = 0
        self.taken = 0.0
        self.taken_at = now
        self._curves: deque[_Curve] = deque()
        self._own_full_at = now  # when it would be full if this process were the only one
        self._owed = 0.0  # used, and neither leased nor reported
        # Both (since, amount), not reported: what was taken and refunded, or leased and not taken.
        self._refunds: list[tuple[float, float]] = []
        self._unused: list[tuple[float, float]] = []
        self._divided: Bucket | None = None

    def __repr__(self) -> str:
        return f"<LeasedBucket {self.name}: {sum(one.amount for one in self._curves):g} leased>"

    # ---------------------------------------------------------------- as a bucket

    def used(self, now: float) -> float:
        """Return what is missing from the shared bucket, without what is leased here."""
        if self._divided is not None:
            return self._divided.used(now)
        return max(0.0, self._missing(now) - self.leased(now))

    def ready_at(self, amount: float, now: float) -> float:
        """Return when `amount` is allowed; infinity if too little is leased."""
        if self._divided is not None:
            return self._divided.ready_at(amount, now)
        if amount <= 0:
            return now
        if self.leased(now) < amount * (1 - _EPSILON):
            return inf
        need, at = min(amount, self.depth), now
        for curve in self._curves:
            if need <= curve.amount:
                at = max(at, curve.zero_at + need / curve.rate)
                break
            at = max(at, curve.ends_at)
            need -= curve.amount
        return at if at > now + _EPSILON else now

    def flow(self, index: int, now: float) -> Flow:
        """Return what it lets through from now on, by estimate: the part of this process."""
        if self._divided is not None:
            return self._divided.flow(index, now)
        return Flow(index, self._room(now), self.depth, self.rate * self.part)

    def copy(self, now: float) -> Bucket:
        """Return a bucket that does by estimate what this one will do, to simulate with."""
        if self._divided is not None:
            return self._divided.copy(now)
        other = Bucket(self.rate * self.part, self.depth, now)
        other.set_used(self.depth - self._room(now), now)
        return other

    def take(self, amount: float, now: float) -> None:
        """Debit an amount, even if so much is not leased."""
        if amount <= 0:
            return
        self._active.add(self)
        self.takes += 1
        self.taken += amount
        self.taken_at = now
        if self._divided is not None:
            self._divided.take(amount, now)
            return
        rest, curves = amount, self._curves
        while rest > _EPSILON * amount:
            if not curves:
                self._owed += rest
                return
            curve = curves[0]
            used = min(rest, curve.amount)
            rest -= used
            curve.amount -= used
            curve.zero_at += used / curve.rate
            if curve.amount <= _EPSILON * amount:
                curves.popleft()

    def give_back(self, amount: float, since: float, now: float) -> None:
        """Refund an amount that was debited at `since`, with the next exchange."""
        if self._divided is not None:
            self._divided.give_back(amount, since, now)
        elif amount > 0:
            self._refunds.append((since, amount))
            self._active.add(self)

    def set(self, rate: float, depth: float, now: float) -> None:
        """Change rate and depth; what is missing stays missing."""
        missing, own = self._missing(now), max(0.0, (self._own_full_at - now) * self.rate)
        self.rate, self.depth = rate, depth
        self._full_at, self._own_full_at = now + missing / rate, now + own / rate
        if self._divided is not None:
            self._divided.set(rate / self.processes, self._divided_depth, now)

    def set_used(self, used: float, now: float) -> None:
        """Set what is missing from the shared bucket, as far as it is known here."""
        self._full_at = now + used / self.rate

    # ---------------------------------------------------------------- leases

    def leased(self, now: float) -> float:
        """Return how much is leased and not used; some of it may be usable later only."""
        curves = self._curves
        if not curves:
            return 0.0
        total = sum(curve.amount for curve in curves)
        excess = total - max(0.0, self._full_at + _LATE_S - now) * self.rate
        if excess <= _EPSILON * total:
            return total
        total -= excess
        while excess > 0 and curves:  # what may be used last
            lost = min(excess, curves[-1].amount)
            excess -= lost
            curves[-1].amount -= lost
            if curves[-1].amount <= 0:
                curves.pop()
        return total if curves else 0.0

    def is_losing(self, now: float) -> bool:
        """Return whether what is leased gets less, because the shared bucket is full.

        Args:
            now: the current time.
        """
        lasts_s = max(0.0, self._full_at + _LATE_S - now)
        return 0.0 < self.leased(now) >= lasts_s * self.rate * (1 - _EPSILON)

    @property
    def ends_at(self) -> float:
        """The time at which all that is leased may be used; -infinity if nothing is."""
        return max((curve.ends_at for curve in self._curves), default=-inf)

    @property
    def begins_at(self) -> float:
        """The time before which nothing of what is leased may be used; -infinity if nothing is."""
        return self._curves[0].zero_at if self._curves else -inf

    @property
    def idle_since(self) -> float:
        """The time since which nothing was taken that could have been."""
        return max(self.taken_at, self.ends_at)

    @property
    def is_divided(self) -> bool:
        """Whether it is a bucket of its own at present."""
        return self._divided is not None

    def lease(self, amount: float, at_once: float, rate: float, now: float) -> None:
        """Add a lease that arrives now; the arguments are those of `Lease`.

        Args:
            amount: how much is leased.
            at_once: how much of it can be used now; negative before its turn.
            rate: how much more can be used a second.
            now: the current time.
        """
        if amount <= 0:
            return
        self._active.add(self)
        self._own_full_at = max(self._own_full_at, now) + amount / self.rate
        self._full_at = max(self._full_at, self._own_full_at)
        self._curves.append(_Curve(amount, now - at_once / rate, rate, now))
        if len(self._curves) > _MAX_LEASES:
            self._merge()

    def _merge(self) -> None:
        """Make one lease of two, which may be used no earlier than each of them."""
        first, second = self._curves.popleft(), self._curves.popleft()
        amount, rate = first.amount + second.amount, min(first.rate, second.rate)
        ends_at = max(first.ends_at, second.ends_at)
        merged = _Curve(amount, ends_at - amount / rate, rate, min(first.since, second.since))
        merged.zero_at = max(merged.zero_at, first.zero_at)
        self._curves.appendleft(merged)

    def report_full(self, full_s: float, now: float) -> None:
        """Apply what the store reports: seconds until the shared bucket is full.

        Args:
            full_s: seconds until then.
            now: the current time.
        """
        self._full_at = max(now + full_s, self._own_full_at)

    def full_s(self, now: float) -> float:
        """Return the seconds until the shared bucket is full, as far as it is known here.

        Args:
            now: the current time.
        """
        if self._divided is not None:
            return self._divided.used(now) / self._divided.rate
        return max(0.0, self._full_at - now)

    def surrender(self, keep: float, now: float) -> None:
        """Return what is leased beyond an amount, with the next exchange.

        Args:
            keep: how much is not returned.
            now: the current time.
        """
        excess = self.leased(now) - keep
        while excess > 0 and self._curves:
            curve = self._curves[-1]
            given = min(excess, curve.amount)
            self._unused.append((curve.since, given))
            excess -= given
            curve.amount -= given
            if curve.amount <= 0:
                self._curves.pop()

    @property
    def owed(self) -> float:
        """How much was used beyond the leases, and is not reported."""
        return self._owed

    @property
    def refunded(self) -> float:
        """How much was refunded, and is not reported."""
        return sum(amount for _, amount in self._refunds)

    @property
    def is_active(self) -> bool:
        """Whether something is leased, or to be reported."""
        return bool(self._curves or self._owed or self._refunds or self._unused)

    def corrections(self, now: float) -> Iterator[Correction]:
        """Yield what is to be reported, and take it as reported.

        Args:
            now: the current time.
        """
        for refunds, unused in ((self._unused, True), (self._refunds, False)):
            if refunds:
                amount = sum(amount for _, amount in refunds)
                age_s = now - min(since for since, _ in refunds)
                yield Correction(self.name, -amount, age_s, unused)
                self._own_full_at = max(now, self._own_full_at - amount / self.rate)
                refunds.clear()
        if self._owed:
            yield Correction(self.name, self._owed)
            self._own_full_at = max(self._own_full_at, now) + self._owed / self.rate
            self._owed = 0.0

    # ---------------------------------------------------------------- without the store

    def divide(self, phase: float, now: float) -> None:
        """Become a bucket of its own, which begins empty: as many of them as processes.

        Args:
            phase: a number from 0 to 1 that differs between the processes: so much later, in times
                of filling the bucket, it begins, so that they do not all send at one instant.
            now: the current time.
        """
        self._curves.clear()
        own = Bucket(self.rate / self.processes, self._divided_depth, now)
        own.set_used((1.0 + phase) * own.depth, now)
        self._divided = own

    def rejoin(self) -> None:
        """Become a part of the shared bucket again, which was told what was used meanwhile."""
        self._divided = None

    @property
    def _divided_depth(self) -> float:
        depth = self.depth / self.processes
        return max(1.0, depth) if self.depth >= 1 else depth

    # ----------------------------------------------------------------

    def spare(self, now: float) -> float:
        """Return how much of the shared bucket is not leased by any process, as far as known.

        Args:
            now: the current time.
        """
        return max(0.0, self.depth - self._missing(now))

    def _missing(self, now: float) -> float:
        return max(0.0, (self._full_at - now) * self.rate)

    def _room(self, now: float) -> float:
        """Return what can be used here now: leases, and by estimate the part of the rest."""
        rest = self.depth - self._missing(now)
        return min(self.depth, self.leased(now) + self.part * rest)
