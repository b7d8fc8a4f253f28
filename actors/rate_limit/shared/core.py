"""Limits that processes share: who may use how much, and when. Pure (R14).

A store calls `ask` for one question after another. `lease.lua` does the same on a server, with the
same operations in the same order.

- A lease is debited when it is granted, and used later: see `shared_bucket`. Over any t seconds,
  all processes together use at most depth + rate (t + `UNUSED_S`) of a limit.
- A process with the part p of a scope leases at most p max(rate W, what is there / 2) of each limit
  at a time, but enough for its first call. The window W is 0.2 s, and up to 2 s where a process
  needs that for one call. It has at most twice p W in line; so asking often gains nothing.
- p is the part of W that is filled by its lanes, each by its part of the lane: see `division`.
- A process that has not asked for 10 s is dead: its demand and its places are free. What it leased
  stays used.
- The last lease of each process is kept for 2 minutes: the same number gets it again, without what
  it would have had to give back by then.
- Time is that of the store, made monotonic: if its clock jumps back, time stands still until the
  next question, and goes on from there.
- A state that was lost (an asker knows another epoch) begins with empty limits, not full ones.
"""

from collections import OrderedDict
from collections.abc import Iterator
from heapq import heappop, heappush
from math import inf
from typing import final

from .division import Claim, PlacesDivision, ScopeDemand
from .exchange import (
    UNUSED_S,
    Lease,
    LeaseAsk,
    LimitAsk,
    LimitGrant,
    PlacesAsk,
    SharedRefusal,
)
from .shared_bucket import SharedBucket
from .sharing_worker import DatedRefusal, FreedPlaces, SharingWorker, scopes_of

WINDOW_S = 0.2
MOST_WINDOW_S = 2.0
ALIVE_S = 10.0
"""Seconds for which a process counts after a question."""

REMEMBERED_S = 120.0
"""Seconds for which its last lease is kept after it."""

_REFUSALS = 32
_REFUSAL_S = 60.0
_IDLE_S = 60.0  # a limit that was full for so long is forgotten
_LOST_S = 10.0  # after a loss of state, for which new limits begin empty
_LEAST_PART = 0.1  # of what a process had if all were equal


@final
class SharedLimits:
    """The state of the limits of one endpoint.

    Attributes:
        news: grows when processes that wait should ask again.
    """

    def __init__(self) -> None:
        self.news = 0
        self._epoch = ""
        self._offset = 0.0  # from the clock of the store to the time below
        self._now = 0.0
        self._lost_at = -inf
        self._tidied_at = 0.0
        self._limits: dict[str, SharedBucket] = {}
        self._demands: dict[str, ScopeDemand] = {}
        self._places: dict[str, PlacesDivision] = {}
        self._live: OrderedDict[str, SharingWorker] = (
            OrderedDict()
        )  # the one that asked last is last
        self._dead: dict[str, SharingWorker] = {}
        self._graves: list[tuple[float, str]] = []  # a heap: (when a dead one is forgotten, name)
        self._refusals: list[DatedRefusal] = []
        self._seen = 0

    def __repr__(self) -> str:
        return f"<SharedLimits of {len(self._live)} processes, {len(self._limits)} limits>"

    def ask(self, ask: LimitAsk, now: float, epoch: str) -> LimitGrant:
        """Answer one question.

        Args:
            ask: the question, which may be a repeated one.
            now: the time of the store, in seconds.
            epoch: identifies the state, if it begins with this question.
        """
        if not self._epoch:
            self._epoch, self._offset = epoch, -now
        now = self._time(now)
        self._bury(now)
        worker = self._live.get(ask.worker) or self._dead.get(ask.worker)
        if worker is not None and ask.number <= worker.number:
            return self._grant(ask, worker, now)  # as it is by now
        self._set_limits(ask, now)
        freed = self._correct(ask, worker, now)
        self._refuse(ask, now)
        worker = self._replace(ask, worker, now)
        if ask.leaves:
            self._die(ask.worker)
            self._hint(freed)
            return self._grant(ask, worker, now)
        asks = {lease.scope: lease for lease in ask.leases}
        for scope in worker.scopes:
            self._divide(worker, scope, asks.get(scope), freed, now)
        for places in ask.places:
            self._take_places(worker, places, now)
        self._hint(freed)
        return self._grant(ask, worker, now)

    def _time(self, now: float) -> float:
        """Return the time, which never goes back."""
        time = now + self._offset
        if time < self._now:
            self._offset += self._now - time
            time = self._now
        self._now = time
        return time

    # ---------------------------------------------------------------- processes

    def _bury(self, now: float) -> None:
        """Free what processes held that are dead, and forget those that were dead for long."""
        while self._live:
            name, worker = next(iter(self._live.items()))
            if worker.at + ALIVE_S > now:
                break
            self._die(name)
        while self._graves and self._graves[0][0] <= now:
            _, name = heappop(self._graves)
            if name in self._dead and self._dead[name].at + REMEMBERED_S <= now:
                del self._dead[name]

    def _die(self, name: str) -> None:
        worker = self._live.pop(name)
        self._dead[name] = worker
        heappush(self._graves, (worker.at + REMEMBERED_S, name))
        self._withdraw(name, worker)
        self._forget_unused(worker.scopes)
        worker.die()
        for scope in list(self._places):
            places = self._places[scope]
            self.news += places.leave(name)
            if not places.claims:
                del self._places[scope]

    def _withdraw(self, name: str, worker: SharingWorker) -> None:
        """Remove the demand of a process from the totals."""
        for claim in worker.claims:
            self._demands[claim.scope].remove(name, claim)
        for scope in worker.scopes:
            self._demands[scope].users -= 1

    def _forget_unused(self, scopes: list[str]) -> None:
        for scope in scopes:
            demand = self._demands.get(scope)
            if demand is not None:
                demand.tidy()
                if demand.users <= 0:
                    del self._demands[scope]

    def _replace(self, ask: LimitAsk, old: SharingWorker | None, now: float) -> SharingWorker:
        """Replace what is known of a process by what it says now."""
        worker, before = SharingWorker(ask.worker, ask.number, now), list[str]()
        if old is not None:
            if old.live:
                self._withdraw(ask.worker, old)
                before = old.scopes
            worker.line = old.line
        self._dead.pop(ask.worker, None)
        self._live[ask.worker] = worker
        self._live.move_to_end(ask.worker)
        for scope in scopes_of(ask):
            self._demands.setdefault(scope, ScopeDemand()).users += 1
            worker.scopes.append(scope)
        for lane in ask.lanes:
            claim = self._demands[lane.scope].add(ask.worker, lane, now)
            worker.claims.append(claim)
        self._forget_unused([*before, *worker.scopes])
        return worker

    # ---------------------------------------------------------------- limits

    def _set_limits(self, ask: LimitAsk, now: float) -> None:
        is_lost = bool(ask.epoch) and ask.epoch != self._epoch
        if is_lost:
            self._lost_at = now
        for rate in ask.rates:
            bucket = self._limits.get(rate.limit)
            if bucket is None:
                is_empty = now - self._lost_at < _LOST_S
                full_at = now + rate.depth / rate.rate if is_empty else now
                bucket = SharedBucket(rate.rate, rate.depth, full_at, now)
                self._limits[rate.limit] = bucket
            else:
                bucket.set(rate.rate, rate.depth, now)
            if is_lost:
                bucket.fill_later(now + rate.full_s, now)
            if rate.least_full_s > 0.0:
                bucket.fill_later(now + rate.least_full_s, now)
        if now - self._tidied_at > _IDLE_S:
            self._tidied_at = now
            self._limits = {
                name: bucket
                for name, bucket in self._limits.items()
                if max(bucket.touched, bucket.full_at) > now - _IDLE_S
            }

    def _correct(self, ask: LimitAsk, worker: SharingWorker | None, now: float) -> FreedPlaces:
        """Apply what was used other than leased."""
        freed = FreedPlaces()
        for correction in ask.corrections:
            bucket = self._limits.get(correction.limit)
            if bucket is None:
                continue
            left = -correction.amount
            if correction.unused and left > 0.0:
                gone, told, held = bucket.leave_line(ask.worker, left, now)
                left -= gone
                if gone > 0.0:
                    freed.places[correction.limit] = (told, held)
                if worker is not None:
                    worker.line = {}
            if left > 0.0:
                bucket.give_back(left, now - correction.age_s, now)
                freed.refunds.add(correction.limit)
            if left < 0.0:
                bucket.take(-left, now)
        return freed

    def _hint(self, freed: FreedPlaces) -> None:
        """Let those in line ask again, if what was given back lets them be earlier."""
        for name in {*freed.refunds, *freed.limits, *freed.places}:
            self.news += self._limits[name].lets_wait(at_once=name in freed.refunds)

    def _divide(
        self,
        worker: SharingWorker,
        scope: str,
        ask: LeaseAsk | None,
        freed: FreedPlaces,
        now: float,
    ) -> None:
        """Lease what a process may have of a scope, and note the part that is due to it."""
        demand = self._demands[scope]
        claims = [claim for claim in worker.claims if claim.scope == scope]
        waits = any(claim.ticks > 0.0 for claim in claims)
        window_s = demand.window(WINDOW_S, MOST_WINDOW_S)
        part = _part(demand, claims, window_s) if waits else 1.0 / demand.users
        if ask is not None and part > 0.0:
            demand.note_need(worker.name, self._need(ask, part, now), now)
            wider_s = demand.window(WINDOW_S, MOST_WINDOW_S)
            if wider_s != window_s:
                window_s = wider_s
                part = _part(demand, claims, window_s) if waits else part
            if part > 0.0:
                self._lease(worker, ask, part, window_s, freed, now)
        worker.parts[scope] = part if part > 0.0 else _LEAST_PART / demand.users
        worker.windows[scope] = part * window_s

    def _need(self, ask: LeaseAsk, part: float, now: float) -> float:
        """Return the window in which a process would get one call."""
        need_s = 0.0
        for name in ask.amounts:
            bucket, first = self._limits.get(name), ask.first.get(name, 0.0)
            if bucket is not None and first > part * (bucket.depth - bucket.used(now)) / 2.0:
                need_s = max(need_s, first / (bucket.rate * part))
        return need_s

    def _lease(  # noqa: PLR0917  # all are needed
        self,
        worker: SharingWorker,
        ask: LeaseAsk,
        part: float,
        window_s: float,
        freed: FreedPlaces,
        now: float,
    ) -> None:
        lead_s, waiting_s = part * window_s, worker.in_line_s(ask.scope, now)
        may_be_first = waiting_s <= lead_s
        portion = self._portion(ask, part, window_s, 2.0 - waiting_s / lead_s, now)
        if not may_be_first:
            for name, amount in ask.amounts.items():
                if portion * amount < ask.first.get(name, 0.0):
                    portion = 0.0
        for name, amount in ask.amounts.items():
            held = freed.places.get(name, (inf, 0.0))[1]
            if held >= ask.first.get(name, 0.0) and held > 0.0 < amount:  # as much has its place
                portion = min(portion, held / amount)
        last, length_s = now, 0.0
        for name, amount in ask.amounts.items():
            bucket, first = self._limits.get(name), ask.first.get(name, 0.0)
            leased = max(first, portion * amount) if may_be_first else portion * amount
            if bucket is None or leased <= 0.0:
                continue
            place = freed.places.pop(name, (inf, 0.0))
            at_once = bucket.lease(worker.name, leased, first, now, place)
            if bucket.gains(leased, first, at_once, place, now):
                freed.limits.add(name)
            worker.leases.append(Lease(ask.scope, name, leased, at_once, bucket.rate))
            until = now + (bucket.needed(leased, first) - at_once) / bucket.rate
            if until > last:
                last, length_s = until, leased / bucket.rate
        if last > now:
            worker.stand_in_line(ask.scope, last, length_s)

    def _portion(
        self, ask: LeaseAsk, part: float, window_s: float, leads: float, now: float
    ) -> float:
        """Return which part of what it asks for a process may have, before its first call."""
        portion = 1.0
        for name, amount in ask.amounts.items():
            bucket = self._limits.get(name)
            if bucket is not None and amount > 0.0:
                there = (bucket.depth - bucket.used(now)) / 2.0
                room = part * max(bucket.rate * window_s, there) * min(1.0, leads)
                portion = min(portion, max(0.0, room / amount))
        return portion

    def _take_places(self, worker: SharingWorker, ask: PlacesAsk, now: float) -> None:
        weight, demand = 0.0, self._demands[ask.scope]
        for claim in worker.claims:
            if claim.scope == ask.scope and claim.ticks > 0.0:
                weight += claim.weight * claim.ticks / demand.lanes[claim.key].ticks
        places = self._places.setdefault(ask.scope, PlacesDivision())
        given, news = places.ask(worker.name, ask, weight, now)
        worker.places[ask.scope] = given
        self.news += news

    # ---------------------------------------------------------------- refusals and grants

    def _refuse(self, ask: LimitAsk, now: float) -> None:
        for refusal in ask.refusals:
            self._seen += 1
            self.news += 1
            self._refusals.append(
                DatedRefusal(
                    self._seen,
                    ask.worker,
                    refusal.scope,
                    refusal.why,
                    now + refusal.pause_s,
                    now - refusal.age_s,
                    now,
                )
            )
        self._refusals = [
            one for one in self._refusals[-_REFUSALS:] if max(one.at, one.until) > now - _REFUSAL_S
        ]

    def _grant(self, ask: LimitAsk, worker: SharingWorker, now: float) -> LimitGrant:
        """Return the last grant of a process, by now; a question before it gets no lease."""
        passed, is_last = now - worker.at, ask.number == worker.number
        since = ask.seen if ask.epoch == self._epoch else 0
        weights: dict[tuple[str, str], float] = {}
        for claim in worker.claims if is_last else ():
            demand = self._demands[claim.scope]
            total = demand.lanes[claim.key].ticks
            own = claim.ticks / total if claim.ticks > 0.0 else 1.0 / demand.users
            weights[claim.scope, claim.lane] = claim.weight * own
        return LimitGrant(
            epoch=self._epoch,
            workers=len(self._live),
            leases=tuple(_later(worker.leases, passed)) if is_last else (),
            full={
                rate.limit: max(0.0, self._limits[rate.limit].full_at - now)
                for rate in ask.rates
                if rate.limit in self._limits
            },
            parts=dict(worker.parts),
            windows=dict(worker.windows),
            weights=weights,
            places=dict(worker.places),
            refusals=tuple(
                SharedRefusal(one.scope, one.why, max(0.0, one.until - now), now - one.sent_at)
                for one in self._refusals
                if one.number > since and one.worker != ask.worker
            ),
            seen=self._seen,
        )


def _part(demand: ScopeDemand, claims: list[Claim], window_s: float) -> float:
    """Return which part of a window is filled by the lanes of a process."""
    filled, total = demand.fill(window_s)
    share = 0.0
    for claim in claims:
        if claim.ticks > 0.0:
            share += filled.get(claim.key, 0.0) * claim.ticks / demand.lanes[claim.key].ticks
    return min(1.0, share / total) if total > 0.0 else 0.0


def _later(leases: list[Lease], passed: float) -> Iterator[Lease]:
    """Yield leases as they are some seconds after the grant, without what is forfeited by then."""
    for one in leases:
        late = 0.0
        if passed > UNUSED_S:
            late = max(0.0, one.at_once + one.rate * (passed - UNUSED_S))
        if late < one.amount:
            at_once = one.at_once + one.rate * passed - late
            yield Lease(one.scope, one.limit, one.amount - late, at_once, one.rate)
