"""Lets calls through as fast as the provider's limits allow, and no faster."""

import contextlib
from functools import partial
from math import inf
from typing import Any

import attrs
import trio

from ...runtime import (
    Actor,
    ActorStopped,
    Message,
    Outcome,
    Ref,
    ReplySlot,
    Timer,
    defers,
    handles,
)
from ..calls import Complete, Stream
from ..errors import DeadlineTooShort, RequestTooLarge
from ..events import CallEvent, Observer, Stage, ignore
from ..messages import Request, Response, Usage
from ..permit import Report, Throttled
from ..vendors import PriceBook
from .core import Grant, Limiter
from .estimator import Estimate, EstimatorStatistics, TokenEstimator
from .explanation import Explanation, LimiterSnapshot
from .limits import Impossible, Limits, TooLate
from .scope import PermitRequest, Reservation

__all__ = [
    "ChangeLimits",
    "Explain",
    "GetLimiterStatistics",
    "LimiterStatistics",
    "RateLimiterActor",
]


_HEARS_EVERY_S = 0.05  # what two answers tell of limits is nearly the same


@attrs.frozen
class LimiterStatistics:
    """What a `RateLimiterActor` knows.

    Args:
        limiter: every limit, who waits, and when somebody goes next.
        estimators: how well the tokens of each model's calls are known beforehand.
    """

    limiter: LimiterSnapshot
    estimators: dict[str, EstimatorStatistics]


@attrs.frozen
class GetLimiterStatistics(Message[LimiterStatistics]):
    """Ask a `RateLimiterActor` what it knows."""


@attrs.frozen
class Explain(Message[Explanation]):
    """Ask what a call would wait for if it came now. Nothing is sent.

    Args:
        request: the call.
        lane: in which it would wait.
    """

    request: Request
    lane: str = ""


@attrs.frozen
class ChangeLimits(Message[None]):
    """Other limits from now on, for those that wait as well.

    Args:
        limits: all of them. More calls under way than the request stage was spawned for wait there.
    """

    limits: Limits


@attrs.define(eq=False)
class _InFlight:
    """A call that was let through, and its latest attempt."""

    request: Request
    estimate: Estimate
    reservation: Reservation
    is_sent: bool = False
    usage: Usage | None = None
    usd: float | None = None
    first_byte_s: float | None = None


@attrs.frozen
class _Renew(Message[None]):
    """A call that is under way asks to be sent once more."""

    flight: _InFlight
    delay: float
    throttled: Throttled | None


@attrs.frozen
class _Park(Message[None]):
    """The provider refused a call that gives up."""

    flight: _InFlight
    delay: float
    throttled: Throttled


@attrs.frozen
class _Hear(Message[None]):
    """An answer tells of the provider's limits."""

    flight: _InFlight
    reports: tuple[Report, ...]


@attrs.frozen
class _Wake(Message[None]):
    """Somebody may go now."""


@attrs.define(eq=False)
class _HeaderFilter:
    """What the permits of one limiter share: when it wants to hear of the provider's limits."""

    open_at: float


@attrs.frozen
class _Permit:
    """See `permit.Permit`. It asks the limiter that gave it, whichever incarnation is there."""

    _limiter: Ref
    _flight: _InFlight
    _ear: _HeaderFilter

    async def renew(self, *, delay: float, throttled: Throttled | None) -> None:
        await self._limiter.ask(_Renew(self._flight, delay, throttled))

    def park(self, *, delay: float, throttled: Throttled) -> None:
        self._tell(_Park(self._flight, delay, throttled))

    def use(self) -> None:
        self._flight.is_sent = True

    def listens(self) -> bool:
        return trio.current_time() >= self._ear.open_at

    def hear(self, reports: tuple[Report, ...]) -> None:
        self._ear.open_at = trio.current_time() + _HEARS_EVERY_S
        if reports:
            self._tell(_Hear(self._flight, reports))

    def settle(self, usage: Usage | None, usd: float | None, first_byte_s: float | None) -> None:
        flight = self._flight  # looked at when the call has ended, which is told anyway
        flight.usage, flight.usd, flight.first_byte_s = usage, usd, first_byte_s

    def _tell(self, message: Message[None]) -> None:
        with contextlib.suppress(ActorStopped):
            self._limiter.tell_nowait(message)


@attrs.frozen(eq=False)
class _PendingCall:
    """A call that waits for its turn."""

    message: Complete | Stream
    slot: ReplySlot[Any]
    estimate: Estimate

    @property
    def done(self) -> bool:
        return self.slot.done


@attrs.frozen(eq=False)
class _Renewal:
    """A call under way that waits to be sent once more."""

    slot: ReplySlot[None]
    flight: _InFlight

    @property
    def done(self) -> bool:
        return self.slot.done


class RateLimiterActor(Actor):
    """Callers wait rather than fail; nobody is asked again and again whether it is time yet (L4).

    A call passes when every limit allows it: those that are set, those that the provider tells of,
    and the calls in flight. Its tokens and its cost are estimated and reserved, and corrected when
    they are known (L3). It keeps its place in flight until its answer is there, however it ends,
    because the runtime tells of every end: no permit is lost to a cancellation or a crash further
    on. A renewal comes from a stage further on, for a call that has its place already, so it goes
    before those that wait.

    Give it a `max_deferred` when it is spawned: that many calls wait here, and behind them those in
    the mailbox, and behind those whoever asks.

    Args:
        to: where the calls go next.
        limits: what is allowed.
        observer: is told of calls that wait and of those let through.
        prices: what models cost, for limits of USD.
    """

    def __init__(
        self,
        to: Ref,
        limits: Limits | None = None,
        observer: Observer = ignore,
        prices: PriceBook | None = None,
    ) -> None:
        self._to = to
        self._limits = limits or Limits()
        self._limiter: Limiter[_PendingCall | _Renewal] = Limiter(self._limits, trio.current_time())
        self._estimator = TokenEstimator()
        self._observer = observer
        self._prices = prices
        self._ear = _HeaderFilter(-inf if self._limits.learn else inf)
        self._timer: Timer | None = None
        self._wake_at = 0.0

    @defers(Complete)
    async def admit(self, message: Complete, slot: ReplySlot[Response]) -> None:
        """Let a call through when its turn has come."""
        await self._admit(message, slot)

    @defers(Stream)
    async def admit_stream(self, message: Stream, slot: ReplySlot[None]) -> None:
        """The same for a call that is answered piece by piece."""
        await self._admit(message, slot)

    async def _admit(self, message: Complete | Stream, slot: ReplySlot[Any]) -> None:
        request, now = message.request, trio.current_time()
        estimate = self._estimator.estimate(request)
        ask = self._ask_for(request, estimate, message.context.lane, slot.deadline)
        call = _PendingCall(message, slot, estimate)
        try:
            if not self._has_to_wait:
                reservation = self._limiter.try_go(ask, now)
                if reservation is not None:
                    self._tell("queued", message)
                    await self._send(call, reservation)
                    return
            is_new = self._limiter.push(call, ask, now)
        except Impossible as error:
            slot.fail(RequestTooLarge(str(error)))
            return
        except TooLate as error:
            slot.fail(DeadlineTooShort(f"nothing was sent: {error}"))
            return
        self._tell("queued", message)
        slot.on_settled(self._left)
        if is_new:
            await self._let_through()

    def _left(self, slot: ReplySlot[Any]) -> None:
        """Somebody who waited has gone, perhaps before his turn: then the next may have his."""
        is_over = slot.outcome in (Outcome.CANCELLED, Outcome.EXPIRED)
        if is_over and self._limiter.waiting:
            self._wake_by(trio.current_time())

    def _ask_for(
        self, request: Request, estimate: Estimate, lane: str, deadline: float
    ) -> PermitRequest:
        usd = 0.0
        if self._prices is not None and self._limits.counts_usd:
            tokens = Usage(estimate.input_tokens, estimate.output_tokens)
            usd = float(self._prices.cost(request.model, tokens) or 0.0)
        cost = self._limits.cost(request, estimate, usd)
        return PermitRequest(request.model, cost, lane, deadline)

    @defers(_Renew, urgent=True)
    async def renew(self, message: _Renew, slot: ReplySlot[None]) -> None:
        """Let a call that is under way be sent once more, when its time has come."""
        now, flight = trio.current_time(), message.flight
        cost = flight.reservation.cost
        if message.throttled is not None:
            self._refused(flight, message.throttled, message.delay)
        again = attrs.evolve(flight.reservation, cost=cost)
        self._limiter.push_renewal(_Renewal(slot, flight), again, now + message.delay)
        await self._let_through()

    @handles(_Park, urgent=True)
    async def park(self, message: _Park) -> None:
        """Let nobody through for a while."""
        self._refused(message.flight, message.throttled, message.delay)

    @handles(_Hear, urgent=True)
    async def hear(self, message: _Hear) -> None:
        """Take up what the provider tells."""
        now = trio.current_time()
        self._limiter.report(message.flight.reservation, message.reports, now)
        if self._limiter.waiting:
            await self._let_through()

    @handles(_Wake)
    async def wake(self, message: _Wake) -> None:  # noqa: ARG002  # it only says when
        """Let through whose turn has come meanwhile."""
        self._timer = None
        await self._let_through()

    @handles(GetLimiterStatistics, urgent=True)
    async def count(self, message: GetLimiterStatistics) -> LimiterStatistics:  # noqa: ARG002  # it only asks
        """Say what is known."""
        snapshot = self._limiter.snapshot(trio.current_time())
        return LimiterStatistics(snapshot, dict(self._estimator.statistics()))

    @handles(Explain, urgent=True)
    async def explain(self, message: Explain) -> Explanation:
        """Say what a call would wait for."""
        estimate = self._estimator.estimate(message.request)
        ask = self._ask_for(message.request, estimate, message.lane, inf)
        return self._limiter.explain(ask, trio.current_time())

    @handles(ChangeLimits, urgent=True)
    async def change(self, message: ChangeLimits) -> None:
        """Go by other limits."""
        self._limits = message.limits
        self._ear.open_at = -inf if message.limits.learn else inf
        for waiting, error in self._limiter.change(message.limits, trio.current_time()):
            waiting.slot.fail(RequestTooLarge(str(error)))
        await self._let_through()

    # ----------------------------------------------------------------

    async def _let_through(self) -> None:
        while True:
            has_to_wait = self._has_to_wait
            found = self._limiter.advance(trio.current_time(), only_renewals=has_to_wait)
            if not isinstance(found, Grant):
                break
            waiting = found.waiting
            if isinstance(waiting, _Renewal):
                waiting.flight.reservation = found.reservation
                waiting.flight.is_sent = False
                waiting.slot.reply(None)
            else:
                await self._send(waiting, found.reservation)
        if has_to_wait:
            self._to.when_room(self._room_ahead)
        self._wake_by(found)

    def _room_ahead(self) -> None:
        if self._limiter.waiting:
            self._wake_by(trio.current_time())

    @property
    def _has_to_wait(self) -> bool:
        """Whether the next stage has no room, and calls from here are there.

        They may need this actor to renew a permit, so it must not stand at that door; it is told
        when there is room.
        """
        return self._limiter.in_flight > 0 and not self._to.has_room

    async def _send(self, call: _PendingCall, reservation: Reservation) -> None:
        message = call.message
        flight = _InFlight(message.request, call.estimate, reservation)
        call.slot.on_settled(partial(self._ended, flight))
        self._tell("admitted", message)
        permit = _Permit(self.ref, flight, self._ear)
        await call.slot.forward(self._to, attrs.evolve(message, permit=permit))

    def _refused(self, flight: _InFlight, throttled: Throttled, delay: float) -> None:
        self._limiter.refused(
            flight.reservation,
            throttled.why,
            throttled.told,
            pause_s=delay,
            now=trio.current_time(),
        )

    def _ended(self, flight: _InFlight, slot: ReplySlot[Any]) -> None:
        """A call that was let through has its answer, or needs none any more."""
        now, limiter = trio.current_time(), self._limiter
        limiter.release(flight.reservation, now, happened=flight.is_sent)
        if slot.outcome is Outcome.REPLIED:
            if flight.usage is not None:
                self._estimator.learn(flight.request, flight.estimate, flight.usage)
                limiter.settle(flight.reservation, flight.usage, flight.usd, now)
            limiter.answered(flight.reservation, flight.first_byte_s or 0.0, now)
        if limiter.waiting:
            self._wake_by(now)

    def _wake_by(self, when: float) -> None:
        if self._timer is not None:
            if self._wake_at <= when:
                return
            self._timer.cancel()
            self._timer = None
        if when < inf:
            self._wake_at = when
            self._timer = self.send_at(when, _Wake())

    def _tell(self, stage: Stage, message: Complete | Stream) -> None:
        if self._observer is ignore:
            return
        self._observer(
            CallEvent(
                stage=stage,
                at=trio.current_time(),
                context=message.context,
                model=message.request.model,
            )
        )
