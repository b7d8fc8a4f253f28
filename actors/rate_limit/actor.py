"""The rate limiter: admits calls as fast as the limits allow."""

from collections.abc import Sequence
from functools import partial
from math import inf
from typing import Any, cast

import attrs
import trio

from ...runtime import Actor, Message, Outcome, Ref, ReplySlot, Timer, defers, handles
from ..calls import CallContext, Complete, Stream
from ..errors import DeadlineTooShort, RequestTooLarge
from ..events import CallEvent, CallStage, Observer, ignore, stages_of
from ..messages import Request
from ..permit import Throttled
from ..pool_health import PoolHealth
from ..responses import Response, Usage
from ..vendors import PriceBook
from .core import Limiter
from .estimator import Estimate, EstimatorStatistics, TokenEstimator
from .explanation import Explanation, LimiterSnapshot
from .lane_queue import Waiting
from .lease_exchange import LeaseExchange, SharedLimiting
from .lease_keeper import LeaseKeeper
from .leased_limits import MemberLimits
from .limits import Impossible, Limits, PermitRequest, TooLate
from .patience import PatientCalls
from .pending import CallersLanes, PendingCall, WaitingRenewal
from .permits import CallPermit, HeaderFilter, InFlightCall, ParkCalls, RenewPermit, ReportLimits
from .pool import Limiting, PoolLimiter
from .scope import Reservation
from .shares import GetShares, LimiterShares, shares_of
from .simulation import Grant
from .spread import PoolMember
from .turns import GetTurns, Turns, turns_of


@attrs.frozen
class LimiterStatistics:
    """The state of a `RateLimiterActor`.

    Args:
        limiter: every limit, the calls that wait, and when the next one can be admitted.
        estimators: how accurate the token estimates are, by model.
    """

    limiter: LimiterSnapshot
    estimators: dict[str, EstimatorStatistics]


@attrs.frozen
class GetLimiterStatistics(Message[LimiterStatistics]):
    """Ask a `RateLimiterActor` for its state."""


@attrs.frozen
class Explain(Message[Explanation]):
    """Ask how long a call would wait, and for what, if it arrived now. Nothing is sent.

    Args:
        request: the request of the call.
        lane: the lane that it would wait in.
    """

    request: Request
    lane: str = ""


@attrs.frozen
class ChangeLimits(Message[None]):
    """Replace the limits; they apply to calls that wait already, too.

    Args:
        limits: the new limits. If they allow more calls in flight than the request stage was
            spawned for, the others wait in its mailbox.
    """

    limits: Limits


@attrs.frozen
class _Wake(Message[None]):
    """A call may be admitted now."""


class RateLimiterActor(Actor):
    """Lets calls wait until the limits allow them; it never polls (L4).

    A call is admitted when every limit allows it: those in `Limits`, those that the provider
    reports, and the number of calls in flight. Its tokens and cost are estimated and reserved, and
    corrected when they are known (L3). It counts as in flight until its reply slot is settled, so
    that a cancellation or a crash in a later stage cannot lose a permit. A call in flight that
    retries is admitted again before calls that wait. A call that several callers wait for has a
    place in the lane of each of them, and is admitted by the first that has its turn.

    Spawn it with a `max_deferred`: so many calls wait here, the next ones in the mailbox, and
    after them the callers.

    Args:
        to: the next stage.
        limits: the limits; by default `Limits()`.
        observer: receives an event for each call that is queued, and one when it is admitted.
        prices: prices of models, for limits in USD.
        members: the members of a pool of endpoints, each with limits of its own; empty for a single
            endpoint.
        health: which members are left out; by default none is.
        shared: where other processes share the limits; None shares them with none.
    """

    def __init__(
        self,
        to: Ref,
        limits: Limits | None = None,
        observer: Observer = ignore,
        prices: PriceBook | None = None,
        *,
        members: Sequence[PoolMember] = (),
        health: PoolHealth | None = None,
        shared: SharedLimiting | None = None,
    ) -> None:
        self._to = to
        self._limits = limits or Limits()
        self._own = [member.limits for member in members if member.limits is not None]
        now = trio.current_time()
        self._limiter: Limiting[PendingCall | WaitingRenewal]
        source_of = None if shared is None else partial(MemberLimits, shared.leased)
        if members:
            health = health or PoolHealth(member.name for member in members)
            health.listener = self._may_advance
            self._limiter = PoolLimiter(members, health, self._limits, now, source_of)
        else:
            source = None if source_of is None else source_of("")
            self._limiter = Limiter(self._limits, now, source=source)
        self._shared = shared
        self._exchange: LeaseExchange | None = None
        self._keeper: LeaseKeeper | None = None
        self._is_draining = self._has_stopped = False
        self._estimator = TokenEstimator()
        self._observer = observer
        self._observed = stages_of(observer)
        self._prices = prices
        self._filter = HeaderFilter(self._learns)
        self._counts_usd = self._has_usd()
        self._lanes = CallersLanes(self._limiter, self._callers_changed)
        self._patient = PatientCalls(self._limiter, shared)
        # The calls in flight: {call: (call as it waited, when it was admitted)}
        self._sent: dict[InFlightCall, tuple[PendingCall, float]] = {}
        self._ended = 0  # calls that were in flight
        self._timer: Timer | None = None
        self._wake_at = 0.0

    async def started(self) -> None:
        """Open the store of shared limits, and begin to ask it.

        Raises:
            StorageError: the store must not be used. One that is away is asked again.
        """
        shared = self._shared
        if shared is None:
            return
        await self.enter_async_context(shared.store.open())
        limiter = cast("Limiting[Waiting]", self._limiter)
        keeper = LeaseKeeper(shared.leased, limiter, trio.current_time())
        self._keeper = keeper
        self._exchange = LeaseExchange(shared, keeper, self.random, self._may_advance)
        self.nursery.start_soon(self._exchange.run)
        self.nursery.start_soon(self._exchange.listen)

    async def draining(self) -> None:
        """Record that this process ends, rather than restarts this actor."""
        self._is_draining = True

    async def stopped(self) -> None:
        """Return what is leased, if this process ends."""
        exchange, self._exchange, self._has_stopped = self._exchange, None, True
        if exchange is not None and self._is_draining:
            await exchange.leave()

    @defers(Complete)
    async def admit(self, message: Complete, slot: ReplySlot[Response]) -> None:
        """Forward a call when the limits allow it."""
        await self._admit(message, slot)

    @defers(Stream)
    async def admit_stream(self, message: Stream, slot: ReplySlot[None]) -> None:
        """Forward a streamed call when the limits allow it."""
        await self._admit(message, slot)

    async def _admit(self, message: Complete | Stream, slot: ReplySlot[Any]) -> None:
        request, now = message.request, trio.current_time()
        estimate = self._estimator.estimate(request)
        context = message.context
        lane, asked_at = context.lane, context.asked_at
        wanted = self._permit_request(request, estimate, context, slot.deadline)
        since = now if asked_at is None else min(asked_at, now)
        call = PendingCall(message, slot, estimate, since, lane, turn_by=since + context.patience_s)
        try:
            patience_ends = call.patience_ends
            if not self._is_blocked and patience_ends >= now:
                reservation = self._limiter.try_admit(wanted, now)
                if reservation is not None:
                    self._observe("queued", message)
                    await self._send(call, reservation)
                    return
            if patience_ends < inf:
                self._patient.check(call, wanted, now)
                if slot.done:
                    return
            is_new = self._lanes.push(call, wanted, now)
            if patience_ends < inf:
                self._watch_patience(call, wanted)
        except Impossible as error:
            slot.fail(RequestTooLarge(str(error)))
            return
        except TooLate as error:
            slot.fail(DeadlineTooShort(f"nothing was sent: {error}"))
            return
        self._observe("queued", message)
        slot.on_settled(self._wait_settled)
        if self._exchange is not None and self._keeper is not None:
            self._keeper.pushed()
            self._exchange.poke()
        if is_new:
            await self._advance()

    def _watch_patience(self, call: PendingCall, wanted: PermitRequest) -> None:
        self._patient.watch(call, wanted)
        self._wake_by(call.patience_ends)

    def _callers_changed(self, call: PendingCall, wanted: PermitRequest) -> None:
        if call.patience_ends < inf:
            self._watch_patience(call, wanted)
        self._wake_by(trio.current_time())

    def _wait_settled(self, slot: ReplySlot[Any]) -> None:
        """Check for the next call when one that may have waited was cancelled or expired."""
        if slot.outcome in (Outcome.CANCELLED, Outcome.EXPIRED):
            self._limiter.left()
            if self._limiter.waiting:
                self._wake_by(trio.current_time())

    def _permit_request(
        self, request: Request, estimate: Estimate, context: CallContext, deadline: float
    ) -> PermitRequest:
        usd = 0.0
        if self._prices is not None and self._counts_usd:
            tokens = Usage(estimate.input_tokens, estimate.output_tokens)
            usd = float(self._prices.cost(request.model, tokens) or 0.0)
        cost = self._limits.cost(request, estimate, usd)
        return PermitRequest(request.model, cost, context.lane, deadline, context.came)

    @defers(RenewPermit, urgent=True)
    async def renew(self, message: RenewPermit, slot: ReplySlot[None]) -> None:
        """Reply when a call in flight may send one more attempt."""
        now, call = trio.current_time(), message.call
        cost = call.reservation.cost
        if message.throttled is not None:
            self._throttled(call, message.throttled, message.delay)
        again, limiter = attrs.evolve(call.reservation, cost=cost), self._limiter
        renewal, not_before = WaitingRenewal(slot, call), now + message.delay
        if isinstance(limiter, PoolLimiter):
            moves, was_sent = message.moves, call.is_sent
            limiter.push_renewal(renewal, again, not_before, moves=moves, was_sent=was_sent)
        else:
            limiter.push_renewal(renewal, again, not_before)
        await self._advance()

    @handles(ParkCalls, urgent=True)
    async def park(self, message: ParkCalls) -> None:
        """Admit no call for a while, after the provider refused one."""
        self._throttled(message.call, message.throttled, message.delay)

    @handles(ReportLimits, urgent=True)
    async def report(self, message: ReportLimits) -> None:
        """Apply the limits that the provider reports."""
        now = trio.current_time()
        self._limiter.report(message.call.reservation, message.reports, now)
        if self._limiter.waiting:
            await self._advance()

    @handles(_Wake)
    async def wake(self, message: _Wake) -> None:  # noqa: ARG002  # it has no fields
        """Admit the calls that the limits allow by now."""
        self._timer = None
        await self._advance()

    @handles(GetLimiterStatistics, urgent=True)
    async def statistics(self, message: GetLimiterStatistics) -> LimiterStatistics:  # noqa: ARG002  # it has no fields
        """Return the state of all limits and estimators."""
        now = trio.current_time()
        snapshot = self._limiter.snapshot(now)
        if self._keeper is not None:
            snapshot = attrs.evolve(snapshot, shared=self._keeper.state(now))
        return LimiterStatistics(snapshot, dict(self._estimator.statistics()))

    @handles(GetTurns, urgent=True)
    async def turns(self, message: GetTurns) -> Turns:
        """Return the calls in flight, those that wait, and when each has its turn."""
        now = trio.current_time()
        return turns_of(self._limiter, self._sent, self._ended, most=message.most, now=now)

    @handles(GetShares, urgent=True)
    async def shares(self, message: GetShares) -> LimiterShares:  # noqa: ARG002  # it has no fields
        """Return the limits, and the lanes in use."""
        return shares_of(self._limiter, self._limits, self._sent, trio.current_time())

    @handles(Explain, urgent=True)
    async def explain(self, message: Explain) -> Explanation:
        """Return how long a call would wait, and for what."""
        estimate = self._estimator.estimate(message.request)
        context = CallContext("explain", lane=message.lane)
        wanted = self._permit_request(message.request, estimate, context, inf)
        return self._limiter.explain(wanted, trio.current_time())

    @handles(ChangeLimits, urgent=True)
    async def change(self, message: ChangeLimits) -> None:
        """Replace the limits."""
        self._limits = message.limits
        self._counts_usd = self._has_usd()
        self._filter.learns = self._learns
        self._filter.open_at.clear()
        for waiting, error in self._limiter.change(message.limits, trio.current_time()):
            waiting.slot.fail(RequestTooLarge(str(error)))
        if self._keeper is not None:
            self._keeper.attach(trio.current_time())
        await self._advance()

    # ----------------------------------------------------------------

    async def _advance(self) -> None:
        """Admit calls until a limit or the next stage blocks, and set the timer for the next."""
        patient = self._patient
        if patient and patient.next_at < (now := trio.current_time()):
            patient.give_up_late(now)
        while True:
            is_blocked = self._is_blocked
            found = self._limiter.advance(trio.current_time(), only_renewals=is_blocked)
            if not isinstance(found, Grant):
                break
            waiting = found.waiting
            if isinstance(waiting, WaitingRenewal):
                waiting.call.reservation = found.reservation
                waiting.call.is_sent = False
                waiting.slot.reply(None)
            else:
                if waiting.places is not None:
                    waiting.places.is_admitted = True
                await self._send(waiting, found.reservation)
        if is_blocked:
            self._to.when_room(self._may_advance)
        if patient:
            if patient.next_at <= (now := trio.current_time()):
                patient.give_up_late(now)
                found = -inf  # what waited behind these calls may be smaller
            found = min(found, patient.next_at)
        self._wake_by(found)
        if self._exchange is not None:
            self._exchange.poke()

    def _may_advance(self) -> None:
        if self._limiter.waiting:
            self._wake_by(trio.current_time())

    def _has_usd(self) -> bool:
        """Return whether any limit is in USD, so that the cost of each call is estimated."""
        return self._limits.counts_usd or any(limits.counts_usd for limits in self._own)

    @property
    def _learns(self) -> bool:
        """Whether the limits of any member follow from the provider's reports."""
        return any(limits.learn for limits in (self._limits, *self._own))

    @property
    def _is_blocked(self) -> bool:
        """Whether the next stage has no room for a call while it has calls from this actor.

        Such a call may need this actor to renew its permit. So this actor must not block on the
        full mailbox; `_may_advance` is called when there is room.
        """
        return self._limiter.in_flight > 0 and not self._to.has_room

    async def _send(self, pending: PendingCall, reservation: Reservation) -> None:
        message = pending.message
        queued_s = reservation.since - pending.since
        call = InFlightCall(message.request, pending.estimate, reservation, queued_s=queued_s)
        if pending.patience_ends < inf:
            self._patient.remove(pending.slot)
        self._sent[call] = pending, reservation.since
        pending.slot.on_settled(partial(self._call_settled, call))
        self._observe("admitted", message)
        permit = CallPermit(self.ref, call, self._filter)
        await pending.slot.forward(self._to, message.permitted(permit))

    def _throttled(self, call: InFlightCall, throttled: Throttled, delay: float) -> None:
        now, reservation = trio.current_time(), call.reservation
        self._limiter.refused(reservation, throttled.why, throttled.limit, pause_s=delay, now=now)
        if self._exchange is not None and self._keeper is not None:
            self._keeper.refused(reservation, throttled.why, delay, now)
            self._exchange.poke()

    def _call_settled(self, call: InFlightCall, slot: ReplySlot[Any]) -> None:
        """Release the place of a call in flight whose reply slot is settled."""
        now, limiter = trio.current_time(), self._limiter
        self._sent.pop(call, None)
        self._ended += 1
        limiter.release(call.reservation, now, happened=call.is_sent)
        if slot.outcome is Outcome.REPLIED:
            if call.usage is not None:
                self._estimator.learn(call.request, call.estimate, call.usage)
                uncounted = call.uncounted_tokens
                limiter.settle(call.reservation, call.usage, call.usd, now, uncounted=uncounted)
            limiter.succeeded(call.reservation, call.first_byte_s or 0.0, now)
        if limiter.waiting:
            self._wake_by(now)
        elif self._exchange is not None:
            self._exchange.poke()

    def _wake_by(self, when: float) -> None:
        if self._timer is not None:
            if self._wake_at <= when:
                return
            self._timer.cancel()
            self._timer = None
        if when < inf and not self._has_stopped:
            self._wake_at = when
            self._timer = self.send_at(when, _Wake())

    def _observe(self, stage: CallStage, message: Complete | Stream) -> None:
        if stage not in self._observed:
            return
        self._observer(
            CallEvent(
                stage=stage,
                at=trio.current_time(),
                context=message.context,
                model=message.request.model,
            )
        )
