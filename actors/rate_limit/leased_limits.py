"""What one process has of limits that several share. It outlives the limiter (R2). Pure (R14)."""

from collections.abc import Iterable, Iterator
from math import inf
from typing import final

import attrs

from .leased_bucket import LeasedBucket
from .limits import Rate
from .scope import LimitScope
from .shared import UNUSED_S, Correction, LimitAsk, LimitGrant, SharedRate

_MOST_BUCKETS = 1024  # beyond it, those of which nothing is leased or to be reported are forgotten


@attrs.define(eq=False)
class AskedLeases:
    """A question that was asked, and what its repetition needs.

    Args:
        ask: the question that was asked.
        at: the time that its spans are measured from.
        reports_use: whether it reports what was used while the limits were divided.
    """

    ask: LimitAsk
    at: float
    reports_use: bool = False

    def again(self, now: float) -> LimitAsk:
        """Return the same question, asked at another time.

        Args:
            now: the current time, in seconds.
        """
        ask, passed = self.ask, now - self.at
        if passed <= 0:
            return ask
        return attrs.evolve(
            ask,
            corrections=tuple(
                attrs.evolve(one, age_s=one.age_s + passed) for one in ask.corrections
            ),
            lanes=tuple(attrs.evolve(one, age_s=one.age_s + passed) for one in ask.lanes),
            refusals=tuple(
                attrs.evolve(one, age_s=one.age_s + passed, pause_s=max(0.0, one.pause_s - passed))
                for one in ask.refusals
            ),
            rates=tuple(
                attrs.evolve(
                    one,
                    full_s=max(0.0, one.full_s - passed),
                    least_full_s=max(0.0, one.least_full_s - passed),
                )
                for one in ask.rates
            ),
        )


@attrs.define
class _TakenSoFar:
    """How fast a limit is used here, as an average over about half a second."""

    takes: int
    taken: float
    at: float
    calls_per_s: float = 0.0
    per_s: float = 0.0


_AVERAGED_S = 0.5
_REJOIN_S = 2.0  # within which all processes have asked a store that is back
_WINDOW_S = 0.2  # of its limits that is leased at a time, of all processes together


@final
class LeasedLimits:
    """The leases of one process, and what it knows of the others.

    Args:
        worker: the name of the process, which no other one has.

    Attributes:
        worker: the name of the process.
        number: the number of the last question.
        epoch: the epoch of the last grant; "" before the first one.
        seen: the number of refusals that the last grant knew.
        processes: the number of processes, by the last grant; 0 before the first one.
        exchanges: the number of grants.
        asked_at: when the last question was asked.
        asked: the last question, while it has no answer; None otherwise.
        active: the buckets of which something is leased or to be reported; a bucket adds itself.
        parts: the part of the limits of a scope that is due to this process, {scope: part}.
        windows: seconds of the limits of a scope that are leased at a time, {scope: seconds}.
        places: the most calls in flight here, {scope: number}.
        pauses: until when the provider refuses calls of a scope, by reports of other processes.
        is_divided: whether the store is away, and the limits are divided by the processes.
        is_away: whether the store does not answer.
    """

    def __init__(self, worker: str) -> None:
        self.worker = worker
        self.number = 0
        self.epoch = ""
        self.seen = 0
        self.processes = 0
        self.exchanges = 0
        self.asked_at = -inf
        self.asked: AskedLeases | None = None
        self.active: set[LeasedBucket] = set()
        self.parts: dict[str, float] = {}
        self.windows: dict[str, float] = {}
        self.places: dict[str, int] = {}
        self.pauses: dict[str, float] = {}
        self.is_divided = False
        self.is_away = False
        self._buckets: dict[str, LeasedBucket] = {}
        self._uses: dict[str, _TakenSoFar] = {}
        self._divided_by, self._kept_places = 1, dict[str, int]()
        self._rejoined_at, self._is_rejoining = -inf, False

    def __repr__(self) -> str:
        return f"<LeasedLimits {self.worker}, one of {self.processes} processes>"

    @property
    def buckets(self) -> Iterator[LeasedBucket]:
        """The buckets of all limits."""
        return iter(self._buckets.values())

    def find(self, limit: str) -> LeasedBucket | None:
        """Return the bucket of a limit.

        Args:
            limit: the name of the limit.
        """
        return self._buckets.get(limit)

    def bucket(
        self, scope: str, limit: Rate, rate: float, depth: float, now: float
    ) -> LeasedBucket:
        """Return the bucket of a limit, with what is leased of it.

        The processes together keep to the depth, although each may use a lease `UNUSED_S` late: the
        provider's bucket may be full meanwhile, while the store counts on its refill. So the store
        has a smaller depth: by as much, but at least half of it.

        Args:
            scope: the name of the scope, with that of the member.
            limit: the limit, as it is set.
            rate: how much it refills a second.
            depth: how much it holds.
            now: the current time, in seconds.
        """
        depth = max(depth / 2, depth - UNUSED_S * rate)
        name = f"{scope} {limit.dimension}/{limit.per_s:g}".lstrip()
        found = self._buckets.get(name)
        if found is None:
            if len(self._buckets) >= _MOST_BUCKETS:
                self._forget_unused()
            found = self._buckets[name] = LeasedBucket(name, rate, depth, now, self.active)
            found.scope = scope
            found.processes = max(1, self.processes)
            if self.is_divided:
                found.divide(0.0, now)
        elif (found.rate, found.depth) != (rate, depth):
            found.set(rate, depth, now)
        return found

    def adopt(self, bucket: LeasedBucket) -> None:
        """Know a bucket of which something is leased, also if it was forgotten.

        Args:
            bucket: the bucket of a limit.
        """
        self._buckets.setdefault(bucket.name, bucket)

    def _forget_unused(self) -> None:
        self._buckets = {one.name: one for one in self._buckets.values() if one in self.active}
        self._uses = {name: use for name, use in self._uses.items() if name in self._buckets}

    def note_use(self, bucket: LeasedBucket, now: float) -> None:
        """Take into account what was taken of a limit since the last exchange.

        Args:
            bucket: the bucket of the limit.
            now: the current time, in seconds.
        """
        use = self._uses.get(bucket.name)
        if use is None:
            self._uses[bucket.name] = _TakenSoFar(bucket.takes, bucket.taken, now)
            return
        passed = now - use.at
        if passed <= 0:
            return
        gain = passed / (passed + _AVERAGED_S)
        use.calls_per_s += gain * ((bucket.takes - use.takes) / passed - use.calls_per_s)
        use.per_s += gain * ((bucket.taken - use.taken) / passed - use.per_s)
        use.takes, use.taken, use.at = bucket.takes, bucket.taken, now

    def expected(self, bucket: LeasedBucket, within_s: float) -> tuple[float, float]:
        """Return how many calls will come, and what they will take, if it goes on as before.

        Args:
            bucket: the bucket of a limit.
            within_s: for how many seconds.
        """
        use = self._uses.get(bucket.name)
        return (0.0, 0.0) if use is None else (use.calls_per_s * within_s, use.per_s * within_s)

    # ---------------------------------------------------------------- questions and grants

    def record(self, ask: LimitAsk, *, reports_use: bool, now: float) -> LimitAsk:
        """Take a question as asked; `asked` repeats it until there is an answer.

        Args:
            ask: the question, with the next number.
            reports_use: whether it reports what was used while the limits were divided.
            now: the current time, in seconds.
        """
        self.number = ask.number
        self.asked = AskedLeases(ask, now, reports_use)
        self.asked_at = now
        return ask

    def rates(self, buckets: Iterable[LeasedBucket], now: float) -> tuple[SharedRate, ...]:
        """Return limits as a question states them.

        Args:
            buckets: the buckets of the limits.
            now: the current time, in seconds.
        """
        return tuple(
            SharedRate(one.name, one.rate, one.depth, full_s, full_s if one.is_divided else 0.0)
            for one in buckets
            for full_s in (one.full_s(now),)
        )

    def leaving(self, now: float) -> LimitAsk:
        """Return the last question, with which the process ends.

        Args:
            now: the current time, in seconds.
        """
        corrections: list[Correction] = []
        named = list(self.active)
        for bucket in named:
            bucket.surrender(0.0, now)
            corrections += bucket.corrections(now)
        self.number += 1
        return LimitAsk(
            worker=self.worker,
            number=self.number,
            epoch=self.epoch,
            seen=self.seen,
            rates=self.rates(named, now),
            corrections=tuple(corrections),
            leaves=True,
        )

    def apply(self, grant: LimitGrant, now: float) -> AskedLeases | None:
        """Apply the answer to the last question.

        Args:
            grant: the answer to the last question.
            now: the current time, in seconds.

        Returns:
            The question; None if none was asked.
        """
        asked, self.asked = self.asked, None
        if asked is None:
            return None
        self.exchanges += 1
        self.epoch, self.seen = grant.epoch, grant.seen
        if self.is_divided and asked.reports_use:
            self.is_divided, self._rejoined_at = False, now
            for bucket in self.buckets:
                bucket.rejoin()
        self.processes = grant.workers
        self._is_rejoining = now < self._rejoined_at + _REJOIN_S
        self.parts |= grant.parts
        self.windows |= grant.windows
        self.places |= grant.places
        for lease in grant.leases:
            known = self.find(lease.limit)
            if known is not None:
                known.lease(lease.amount, lease.at_once, lease.rate, now)
                if self.is_divided:  # it was asked for before
                    known.surrender(0.0, now)
        for name, full_s in grant.full.items():
            known = self.find(name)
            if known is not None:
                known.report_full(full_s, now)
        for bucket in self.buckets:
            bucket.processes = max(1, grant.workers)
            bucket.part = self.part(bucket.scope)
        return asked

    def part(self, scope: str) -> float:
        """Return the part of the limits of a scope that is due to this process, by estimate.

        Args:
            scope: the name of the scope, with that of the member.
        """
        known = self.parts.get(scope)
        return 1.0 / max(1, self.processes) if known is None else known

    def room(self, bucket: LeasedBucket, scope: str, now: float) -> float:
        """Return how much of a limit is leased at a time, by estimate.

        Args:
            bucket: the bucket of the limit.
            scope: the scope that the lease is for.
            now: the current time.
        """
        part = self.part(scope)
        window_s = self.windows.get(scope, _WINDOW_S * part)
        return max(window_s * bucket.rate, part * bucket.spare(now) / 2)

    def divide(self, phase: float, now: float) -> bool:
        """Go on without the store, with a part of each limit: as many as there were processes.

        Args:
            phase: a random number from 0 to 1; see `LeasedBucket.divide`.
            now: the current time, in seconds.

        Returns:
            Whether it did: their number must be known, and it must not be so already.
        """
        if not self.processes or self.is_divided:
            return False
        self.is_divided = True
        self.parts.clear()
        self._divided_by, self._kept_places = self.processes, dict(self.places)
        for one in () if self.asked is None else self.asked.ask.places:
            # The store may have heard that the others are free, and have given them away.
            self._kept_places[one.scope] = min(self.places.get(one.scope, 0), one.held)
        for bucket in self.buckets:
            bucket.part = 1.0 / self.processes
            bucket.divide(phase, now)
        return True

    # ---------------------------------------------------------------- places

    def most(self, scope: str, most: float) -> float:
        """Return how many calls may be in flight here.

        Args:
            scope: the name of the scope, with that of the member; "" for all calls.
            most: how many may be in flight in all processes.
        """
        if most == inf:
            return inf
        given = min(most, self.places.get(scope, 0))
        if not (self.is_divided or self._is_rejoining):
            return given
        # Of fewer places than processes, each has those that it was given: no other one has them.
        kept = most // self._divided_by or min(most, self._kept_places.get(scope, 0))
        return kept if self.is_divided else min(given, kept)

    def likely_most(self, most: float, given: float) -> float:
        """Return how many calls may be in flight here when the processes have what they need.

        Args:
            most: how many may be in flight in all processes.
            given: how many may be in flight here at present.
        """
        return most if most == inf else max(1.0, most // max(1, self.processes), given)


@final
@attrs.frozen
class MemberLimits:
    """The leased limits of one endpoint: a `BucketSource`.

    Args:
        leased: what this process has leased.
        member: the member of a pool; "" without a pool.
    """

    leased: LeasedLimits
    member: str = ""

    def key(self, scope: str) -> str:
        """Return the name of a scope in the store, which is unique among all members.

        Args:
            scope: the model or group of models; "" for all.
        """
        return f"{self.member}/{scope}" if self.member else scope

    def bucket(
        self, scope: str, limit: Rate, rate: float, depth: float, now: float
    ) -> LeasedBucket:
        """See `BucketSource`."""
        return self.leased.bucket(self.key(scope), limit, rate, depth, now)

    def attach(self, scope: LimitScope) -> None:
        """See `BucketSource`."""
        key, leased = self.key(scope.name), self.leased
        scope.most = leased.most(key, scope.set_most)
        scope.likely_most = leased.likely_most(scope.set_most, scope.most)
        scope.parked_until = max(scope.parked_until, leased.pauses.get(key, -inf))
        scope.reported.part = leased.part(key)
