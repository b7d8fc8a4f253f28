"""The members of a pool of endpoints: their limits, and which one serves a call. Pure (R14)."""

from collections.abc import Callable, Collection, Iterable, Sequence
from math import inf
from typing import final

import attrs

from ..pool_health import PoolHealth
from .core import Limiter
from .lane_queue import Waiting
from .limits import Impossible, Limits, PermitRequest, QueuedCall, TooLate
from .scope import Reservation
from .scope_table import BucketSource
from .spread import PoolMember, Spread


@attrs.frozen(eq=False)
class MovableRenewal:
    """A call in flight that waits for one more attempt.

    Args:
        call: what waits, and what it needs.
        reservation: what it has taken so far, and of which member.
        not_before: when other members than those in `moves` may serve it, in seconds.
        moves: the members that may serve it at once; None keeps it at its member.
        was_sent: whether the last attempt was sent; otherwise its reservation is refunded.
    """

    call: QueuedCall
    reservation: Reservation
    not_before: float
    moves: Collection[str] | None
    was_sent: bool


@final
class PoolMembers:
    """The limits of each member of a pool, and the choice of the member that serves a call.

    A call goes to a member that can serve it now, chosen by `Spread` if there are several. A member
    on probation gets one call, which tries whether it works again.

    Args:
        members: the members of the pool.
        health: which of them are left out.
        limits: the limits of each member without limits of its own.
        now: the current time, in seconds of a monotonic clock.
        source_of: returns where other processes share the limits of a member, by its name; None
            without sharing.

    Attributes:
        health: which members are left out.
        limiters: the limits of each member, without calls that wait.
    """

    def __init__(
        self,
        members: Sequence[PoolMember],
        health: PoolHealth,
        limits: Limits,
        now: float,
        source_of: Callable[[str], BucketSource] | None = None,
    ) -> None:
        self.health = health
        self.limiters: dict[str, Limiter[Waiting]] = {
            one.name: Limiter(
                one.limits or limits, now, one.name, source_of(one.name) if source_of else None
            )
            for one in members
        }
        self._follow = [one.name for one in members if one.limits is None]  # `change`
        self._spread = Spread({one.name: one.weight for one in members})
        self._probes: dict[str, Reservation] = {}  # {member on probation: the call that tries it}

    def __repr__(self) -> str:
        return f"<PoolMembers {', '.join(self.limiters)}, {self.in_flight} in flight>"

    @property
    def in_flight(self) -> int:
        """Number of calls that were admitted and have not ended."""
        return sum(one.in_flight for one in self.limiters.values())

    @property
    def mean_s(self) -> float:
        """The mean duration of a call in flight, in seconds."""
        means = [one.mean_s for one in self.limiters.values() if one.mean_s]
        return sum(means) / len(means) if means else 0.0

    def of(self, reservation: Reservation) -> Limiter[Waiting]:
        """Return the limits of the member that has admitted a call."""
        return self.limiters[reservation.member]

    def change(self, limits: Limits, now: float) -> None:
        """Replace the limits of all members without limits of their own."""
        for name in self._follow:
            self.limiters[name].change(limits, now)

    def copy(self, now: float) -> "PoolMembers":
        """Return an independent copy, to simulate with; the health stays as it is."""
        other = PoolMembers((), self.health, Limits(), now)
        other.limiters = {name: one.copy(now) for name, one in self.limiters.items()}
        other._spread = self._spread.copy()
        other._probes = dict(self._probes)
        other._follow = self._follow
        return other

    # ---------------------------------------------------------------- which member

    def check(self, request: PermitRequest, now: float) -> None:
        """Check that a member can admit a call.

        Raises:
            Impossible: it exceeds a limit of each member.
            TooLate: no member could admit it before its deadline.
        """
        names, back_at = self.health.may_serve(request.model, now)
        if not names and request.deadline < back_at < inf:
            wait_s = back_at - now
            raise TooLate(f"all members of the pool fail; one is tried in {wait_s:.1f} s", wait_s)
        late: TooLate | None = None
        impossible: Impossible | None = None
        for one in self.limiters.values():
            try:
                one.check(request, now)
            except TooLate as error:
                late = error
            except Impossible as error:
                impossible = error
            else:
                return
        reason = late or impossible
        if reason is not None:
            raise reason

    def size(self, request: PermitRequest, now: float) -> float:
        """Return the size of a call for fair queueing: the smallest at any member."""
        return min(one.size(request, now) for one in self.limiters.values())

    def choose(
        self, request: PermitRequest, now: float, blocked: Iterable[str] = ()
    ) -> tuple[str | None, float]:
        """Return the member that serves a call now; or None, and when one may do."""
        names, at = self.health.may_serve(request.model, now)
        ready: list[str] = []
        for name in names:
            if name in blocked or not self._is_free(name, request.model):
                continue
            ready_at = self._ready_at(name, request, now)
            if ready_at <= now:
                ready.append(name)
            at = min(at, ready_at)
        return (self._spread.choose(ready), now) if ready else (None, at)

    def choose_again(self, renewal: MovableRenewal, now: float) -> tuple[str | None, float]:
        """Return the member that serves a renewal now; or None, and when one may do."""
        request, own = renewal.call.request, renewal.reservation.member
        names, at = self.health.may_serve(request.model, now)
        ready: list[str] = []
        for name in (own,) if renewal.moves is None else names:
            if not self._is_free(name, request.model):
                continue
            if name == own:
                ready_at = self.limiters[name].ready_at(request, now, is_renewal=True)
            else:
                ready_at = self._ready_at(name, request, now)
            if not renewal.moves or name not in renewal.moves:
                ready_at = max(renewal.not_before, ready_at)
            if ready_at <= now:
                ready.append(name)
            at = min(at, ready_at)
        return (self._spread.choose(ready), now) if ready else (None, at)

    def _ready_at(self, name: str, request: PermitRequest, now: float) -> float:
        """Return when a member can admit a call; infinity if only another one can ever do."""
        ready_at = self.limiters[name].ready_at(request, now)
        if ready_at <= now and not self._can_admit(name, request, now):
            others = (other for other in self.limiters if other != name)
            if any(self._can_admit(other, request, now) for other in others):
                return inf
        return ready_at

    def _can_admit(self, name: str, request: PermitRequest, now: float) -> bool:
        try:
            self.limiters[name].check(attrs.evolve(request, deadline=inf), now)
        except Impossible:
            return False
        return True

    def _is_free(self, name: str, model: str) -> bool:
        """Whether no call is trying a member that is on probation."""
        return name not in self._probes or not self.health.is_on_probation(name, model)

    def obstacle(self, request: PermitRequest, now: float) -> str:
        """Return what delays the next call of a model at the member that can serve it first."""
        names, _ = self.health.may_serve(request.model, now)
        if not names:
            return "a member of the pool that works"
        first = min(names, key=lambda name: self.limiters[name].ready_at(request, now))
        if not self._is_free(first, request.model):
            return f"a call that tries whether {first} works again"
        return f"{self.limiters[first].obstacle(request, now)} of {first}"

    # ---------------------------------------------------------------- calls in flight

    def admit(self, name: str, request: PermitRequest, now: float) -> Reservation:
        """Let a call take what it needs of the limits of a member."""
        reservation = self.limiters[name].admit(request, now)
        return self._given(name, request.model, reservation)

    def renew(self, name: str, renewal: MovableRenewal, now: float) -> Reservation:
        """Let one more attempt take what it needs; it leaves its member if that is another one."""
        request, old = renewal.call.request, renewal.reservation
        if name == old.member or not self.limiters[old.member].owns(old):
            reservation = self.limiters[name].renew(request, now)
        else:
            if renewal.was_sent:
                self.limiters[old.member].leave(old)
            else:
                self.limiters[old.member].release(old, now, happened=False)
            reservation = self.limiters[name].admit(request, now)
        reservation.is_first = False
        return self._given(name, request.model, reservation)

    def _given(self, name: str, model: str, reservation: Reservation) -> Reservation:
        reservation.model = model
        self._spread.take(name)
        if self.health.is_on_probation(name, model):
            self._probes[name] = reservation
        return reservation

    def end_probe(self, reservation: Reservation) -> None:
        """Record that an attempt has ended, in case it was one that tried its member."""
        probe = self._probes.get(reservation.member)
        if probe is not None and probe.since == reservation.since:  # it may be a copy
            del self._probes[reservation.member]

    def succeeded(self, reservation: Reservation, seconds: float, now: float) -> None:
        """Record a call that the provider did not refuse; see `Limiter.succeeded`."""
        self.of(reservation).succeeded(reservation, seconds, now)
        if seconds > 0:  # otherwise it was not measured
            self._spread.answered(reservation.member, seconds)
