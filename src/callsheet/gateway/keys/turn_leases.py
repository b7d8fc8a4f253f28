"""The limits of keys over all replicas of a gateway: what this one leases of them. Pure (R14).

The limits of a key are a scope in the store, which has the name of its tenant: each replica leases
what its calls in line take, and places in flight. `LeaseExchange` asks when this says so.
"""

from collections.abc import Callable, Iterator
from functools import partial
from math import ceil, inf
from typing import final

from ...actors import (
    Bucket,
    Correction,
    Dimension,
    LaneDemand,
    LeaseAsk,
    LeasedBucket,
    LeasedLimits,
    LimitAsk,
    LimitGrant,
    PlacesAsk,
    Rate,
)
from .turns import TurnLine

_HEARTBEAT_S = 3.0  # after 10 s without a question, a replica counts as ended
_RETRY_S, _MOST_RETRY_S = 0.02, 0.25  # until a lease is asked for again that was not granted
_AGAIN_S = 0.2  # so long, a lease or a place may be unused
_CORRECTED_S = 0.5  # within which a correction is reported
_MARGIN_S = 0.05  # before the end of a lease, at which the next one is asked for
_WORTH_S = 0.02  # seconds of a limit; less is not worth an exchange of its own
_SPARE_PLACES = 0.25  # of those in use, which are asked for besides
_EPSILON = 1e-9
_MINUTE_S = 60.0


@final
class TurnLeases:
    """Keeps the leases of the limits that tenants have of their own.

    Args:
        leased: what this replica has leased; it outlives the exchange.

    Attributes:
        leased: what this replica has leased.
        poke: called when a question may be due earlier than was known.
    """

    def __init__(self, leased: LeasedLimits) -> None:
        self.leased = leased
        self.poke: Callable[[], None] = lambda: None
        self._lines: dict[str, TurnLine] = {}  # those with calls, or which had some just now
        self._is_used = False
        self._has_news = False
        self._retry_at: dict[str, float] = {}  # {tenant: when to ask for a lease again}
        self._wanted: dict[str, int] = {}  # {tenant: the places that were asked for}

    def __repr__(self) -> str:
        return f"<TurnLeases {len(self._lines)} tenants, {self.leased!r}>"

    # ---------------------------------------------------------------- what happens here

    def maker(self, tenant: str) -> Callable[[Dimension, float, float, float], Bucket]:
        """Return what makes the buckets of a tenant, of which all replicas have a part.

        Args:
            tenant: the name of the tenant.
        """
        return partial(self._bucket, tenant)

    def _bucket(
        self, tenant: str, dimension: Dimension, rate: float, depth: float, now: float
    ) -> Bucket:
        limit = Rate(dimension, rate * _MINUTE_S)
        return self.leased.bucket(tenant, limit, rate, depth, now)

    def use(self) -> None:
        """Ask from now on: some key has a limit of its own."""
        if not self._is_used:
            self._is_used = True
            self.poke()

    def touch(self, tenant: str, line: TurnLine) -> None:
        """Record that calls of a tenant have come, had their turns or ended.

        Args:
            tenant: the name of the tenant.
            line: the calls of this tenant.
        """
        self._is_used = True
        self._lines[tenant] = line
        self.poke()

    def attach(self, tenant: str, line: TurnLine) -> None:
        """Apply the places in flight that were granted to a line, which may be new.

        Args:
            tenant: the name of the tenant.
            line: the calls of this tenant.
        """
        line.most = self.leased.most(tenant, line.set_most)

    def forget(self, tenant: str) -> None:
        """Forget a tenant, whose keys have ended.

        Args:
            tenant: the name of the tenant.
        """
        for of_tenants in (self._lines, self._retry_at, self._wanted, self.leased.places):
            of_tenants.pop(tenant, None)

    def wake(self) -> None:
        """Let the first call of each tenant look for its turn: a grant has come."""
        for line in self._lines.values():
            line.wake()

    def heard(self, *, is_hint: bool) -> None:
        """Record that another replica may have given something back.

        Args:
            is_hint: whether there is a hint; otherwise the time came to look after places.
        """
        lines = self._lines.values()
        waits = any(line.waiting and (is_hint or line.in_flight >= line.most) for line in lines)
        self._has_news = self._has_news or waits

    # ---------------------------------------------------------------- when to ask

    def due_at(self, now: float) -> float:
        """Return when the next question is to be asked; `now` or earlier if it is due.

        Args:
            now: the current time.
        """
        leased = self.leased
        if not self._is_used:
            return inf
        if leased.asked is not None or not leased.epoch or self._has_news:
            return now
        at = leased.asked_at + _HEARTBEAT_S
        if at <= now or leased.is_divided:
            return at
        for tenant, line in self._lines.items():
            at = min(at, self._line_due_at(tenant, line, now))
        return min(at, self._rest_due_at())

    def _line_due_at(self, tenant: str, line: TurnLine, now: float) -> float:
        """Return when a line needs more of its limits, or less places."""
        needed = line.in_flight + line.waiting
        if line.waiting and line.in_flight >= line.most < line.set_most:
            return now if self._wanted.get(tenant, 0) < needed else inf
        if line.waiting and line.in_flight < line.most:
            if self._short(line, now):
                return max(now, self._retry_at.get(tenant, -inf))
            if line.waiting > 1 and self._more(line, now):
                ends_at = min(bucket.ends_at for bucket, _ in line.leased())
                return max(ends_at - _MARGIN_S, self.leased.asked_at + _RETRY_S)
        if line.set_most < inf and line.most > _with_spare(needed):
            return self.leased.asked_at + _AGAIN_S
        return inf

    def _rest_due_at(self) -> float:
        """Return when corrections are to be reported, and unused leases returned."""
        at = inf
        for bucket in self.leased.active:
            worth = _WORTH_S * bucket.rate
            if bucket.owed > worth or bucket.refunded > worth:
                at = min(at, self.leased.asked_at + _CORRECTED_S)
            elif bucket.is_active:
                at = min(at, max(bucket.idle_since, self.leased.asked_at) + _AGAIN_S)
        return at

    def _short(self, line: TurnLine, now: float) -> dict[LeasedBucket, float]:
        """Return how much of each limit the first call needs beyond what is leased."""
        found: dict[LeasedBucket, float] = {}
        first = line.first
        cost = (0.0, 0.0) if first is None else (1.0, first.tokens)
        for bucket, at in line.leased():
            needs = cost[at]
            short = needs - bucket.leased(now)
            if short > _EPSILON * needs:
                found[bucket] = short
        return found

    def _missing_s(self, line: TurnLine, now: float) -> float:
        """Return how long the limits take to refill what the first call needs besides."""
        short = self._short(line, now).items()
        return max((amount / bucket.rate for bucket, amount in short), default=0.0)

    def _more(self, line: TurnLine, now: float) -> dict[str, float]:
        """Return how much of each limit all calls in line need beyond what is leased."""
        found: dict[str, float] = {}
        for bucket, at in line.leased():
            more = line.wanted[at] - bucket.leased(now)
            if more > _EPSILON * line.wanted[at]:
                found[bucket.name] = more
        return found

    # ---------------------------------------------------------------- what to ask

    def ask(self, now: float) -> LimitAsk | None:
        """Return the question to ask: the last one again if it has no answer.

        Args:
            now: the current time.
        """
        leased = self.leased
        if leased.asked is not None:
            return leased.asked.again(now)
        leases: list[LeaseAsk] = []
        lanes: list[LaneDemand] = []
        places: list[PlacesAsk] = []
        for tenant, line in [*self._lines.items()]:
            needed = line.in_flight + line.waiting
            lease = self._lease(tenant, line, now)
            if lease is not None:
                leases.append(lease)
            if line.set_most < inf:
                self._wanted[tenant] = _with_spare(needed)
                asked = PlacesAsk(tenant, line.set_most, line.in_flight, self._wanted[tenant])
                places.append(asked)
                # The store may give the places beyond these away before the answer is here.
                line.most = min(line.most, line.in_flight)
            lanes += _lanes(tenant, line, now)
            if not needed and not any(bucket.is_active for bucket, _ in line.leased()):
                del self._lines[tenant]
                if line.set_most < inf:  # from now on, other replicas have its places
                    self.leased.places[tenant] = 0
                    self.attach(tenant, line)
        self._has_news = False
        corrections = tuple(self._corrections(now))
        named = {name for lease in leases for name in lease.amounts}
        named |= {one.limit for one in corrections}
        reports_use = leased.is_divided
        rates = [one for one in leased.buckets if reports_use or one.name in named]
        ask = LimitAsk(
            worker=leased.worker,
            number=leased.number + 1,
            epoch=leased.epoch,
            seen=leased.seen,
            rates=leased.rates(rates, now),
            leases=tuple(leases),
            corrections=corrections,
            lanes=tuple(lanes),
            places=tuple(places),
        )
        return leased.record(ask, reports_use=reports_use, now=now)

    def _lease(self, tenant: str, line: TurnLine, now: float) -> LeaseAsk | None:
        """Return what the calls of a tenant need now; None if they need nothing."""
        if not line.waiting or line.in_flight >= line.most:
            return None
        first = {bucket.name: short for bucket, short in self._short(line, now).items()}
        amounts = self._more(line, now)
        if not amounts or (not first and not self._ends_soon(line, now)):
            return None
        part = min(1.0, (line.most - line.in_flight) / line.waiting)  # that can be in flight
        amounts = {name: max(first.get(name, 0.0), part * some) for name, some in amounts.items()}
        return LeaseAsk(tenant, amounts, first)

    def _ends_soon(self, line: TurnLine, now: float) -> bool:
        return any(bucket.ends_at - 2 * _MARGIN_S <= now for bucket, _ in line.leased())

    def _corrections(self, now: float) -> Iterator[Correction]:
        """Yield what was used other than leased; return what is leased and not used."""
        active = self.leased.active
        for bucket in list(active):
            if now >= bucket.idle_since + _AGAIN_S:
                line = self._lines.get(bucket.scope)
                needs = 0.0 if line is None or not line.waiting else inf
                bucket.surrender(needs, now)
            yield from bucket.corrections(now)
            if not bucket.is_active:
                active.discard(bucket)

    # ---------------------------------------------------------------- what is granted

    def granted(self, grant: LimitGrant, now: float) -> None:
        """Apply the answer to the last question.

        Args:
            grant: what the store has answered.
            now: the current time.
        """
        asked = self.leased.apply(grant, now)
        if asked is None:
            return
        self._retry_at.clear()
        for lease in asked.ask.leases:
            line = self._lines.get(lease.scope)
            missing_s = 0.0 if line is None else self._missing_s(line, now)
            if missing_s > 0:
                retry_s = min(_MOST_RETRY_S, max(_RETRY_S, missing_s / 4))
                self._retry_at[lease.scope] = now + retry_s
        self._attach_all()

    def divide(self, phase: float, now: float) -> None:
        """Go on without the store: with a part of each limit, as many as there were replicas.

        Args:
            phase: a random number from 0 to 1; see `LeasedBucket.divide`.
            now: the current time.
        """
        # The buckets of keys hold a minute: one that begins empty, and later by so much of that as
        # `phase` says, would let nothing through for long.
        if self.leased.divide(phase / _MINUTE_S, now):
            self._attach_all()

    def leave(self, now: float) -> LimitAsk:
        """Return the last question, with which this replica ends.

        Args:
            now: the current time.
        """
        return self.leased.leaving(now)

    def _attach_all(self) -> None:
        for tenant, line in self._lines.items():
            self.attach(tenant, line)


def _lanes(tenant: str, line: TurnLine, now: float) -> Iterator[LaneDemand]:
    first = line.first
    if first is None:
        return
    seconds = max((line.wanted[at] / bucket.rate for bucket, at in line.leased()), default=0.0)
    yield LaneDemand(tenant, "", 1.0, seconds, max(0.0, now - first.came))


def _with_spare(needed: int) -> int:
    return needed + ceil(_SPARE_PLACES * needed)
