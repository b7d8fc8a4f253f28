"""Lets calls through as fast as the provider's limits allow, and no faster."""

import contextlib
from typing import Any

import attrs
import trio

from ..runtime import Actor, ActorStopped, Message, Ref, ReplySlot, Timer, defers, handles
from .errors import RequestTooLarge
from .events import CallEvent, Observer, Stage, ignore
from .limits import Cost, Impossible, Limiter, Limits
from .messages import Complete, Response, Stream

__all__ = ["RateLimiterActor"]


@attrs.frozen
class _Renew(Message[None]):
    """A call that is under way asks to be sent once more."""

    cost: Cost
    delay: float
    throttled: bool


@attrs.frozen
class _Park(Message[None]):
    """The provider said "too fast" to a call that gives up."""

    delay: float


@attrs.frozen
class _Wake(Message[None]):
    """Somebody may go now."""


@attrs.frozen
class _Permit:
    """See `messages.Permit`. It asks the limiter that gave it, whichever incarnation is there."""

    _limiter: Ref
    _cost: Cost

    async def renew(self, *, delay: float, throttled: bool) -> None:
        await self._limiter.ask(_Renew(self._cost, delay, throttled))

    def park(self, *, delay: float) -> None:
        with contextlib.suppress(ActorStopped):
            self._limiter.tell_nowait(_Park(delay))


@attrs.frozen(eq=False)
class _Call:
    """A call that waits for its turn."""

    message: Complete | Stream
    slot: ReplySlot[Any]
    cost: Cost

    @property
    def done(self) -> bool:
        return self.slot.done


@attrs.frozen(eq=False)
class _Renewal:
    """A call under way that waits to be sent once more."""

    slot: ReplySlot[None]

    @property
    def done(self) -> bool:
        return self.slot.done


class RateLimiterActor(Actor):
    """Callers wait rather than fail; nobody is asked again and again whether it is time yet (L4).

    A call passes when requests a minute, tokens a minute and calls in flight all allow it. It
    keeps its place in flight until its answer is there, however it ends, because the runtime tells
    of every end: no permit is lost to a cancellation or a crash further on. A renewal comes from a
    stage further on, for a call that has its place already, so it goes before those that wait.

    Give it a `max_held` when it is spawned: that many calls wait here, and behind them those in
    the mailbox, and behind those whoever asks.

    Args:
        to: where the calls go next.
        limits: what is allowed.
        observer: is told of calls that wait and of those let through.
    """

    def __init__(self, to: Ref, limits: Limits | None = None, observer: Observer = ignore) -> None:
        self._to = to
        self._limits = limits or Limits()
        self._limiter: Limiter[_Call | _Renewal] = Limiter(self._limits, trio.current_time())
        self._observer = observer
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
        cost = self._limits.cost(message.request)
        try:
            self._limiter.push(_Call(message, slot, cost), cost)
        except Impossible as error:
            slot.fail(RequestTooLarge(str(error)))
            return
        self._tell("queued", message)
        await self._let_through()

    @defers(_Renew, urgent=True)
    async def renew(self, message: _Renew, slot: ReplySlot[None]) -> None:
        """Let a call that is under way be sent once more, when its time has come."""
        not_before = trio.current_time() + message.delay
        if message.throttled:
            self._limiter.park(not_before)
        self._limiter.push_renewal(_Renewal(slot), message.cost, not_before)
        await self._let_through()

    @handles(_Park, urgent=True)
    async def park(self, message: _Park) -> None:
        """Let nobody through for a while."""
        self._limiter.park(trio.current_time() + message.delay)

    @handles(_Wake)
    async def wake(self, message: _Wake) -> None:  # noqa: ARG002  # it only says when
        """Let through whose turn has come meanwhile."""
        self._timer = None
        await self._let_through()

    async def _let_through(self) -> None:
        while waiting := self._limiter.pop(trio.current_time(), only_renewals=self._has_to_wait):
            if isinstance(waiting, _Renewal):
                waiting.slot.reply(None)
            else:
                await self._send(waiting)
        now, has_to_wait = trio.current_time(), self._has_to_wait
        if has_to_wait:
            self._to.when_room(self._room_ahead)
        self._wake_by(self._limiter.next_at(now, only_renewals=has_to_wait))

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

    async def _send(self, call: _Call) -> None:
        since = trio.current_time()
        call.slot.on_settled(lambda slot: self._ended(slot, call.cost, since))
        self._tell("admitted", call.message)
        message, permit = call.message, _Permit(self.ref, call.cost)
        await call.slot.forward(self._to, type(message)(message.request, message.origin, permit))

    def _ended(self, slot: ReplySlot[Any], cost: Cost, since: float) -> None:
        """A call that was let through has its answer, or needs none any more."""
        now = trio.current_time()
        self._limiter.release()
        if not slot.started:
            self._limiter.refund(cost, since, now)  # it was never sent (L3)
        if self._limiter.waiting:
            self._wake_by(now)

    def _wake_by(self, when: float) -> None:
        if self._timer is not None:
            if self._wake_at <= when:
                return
            self._timer.cancel()
            self._timer = None
        if when < float("inf"):
            self._wake_at = when
            self._timer = self.send_at(when, _Wake())

    def _tell(self, stage: Stage, message: Complete | Stream) -> None:
        if self._observer is ignore:
            return
        self._observer(
            CallEvent(
                stage=stage,
                at=trio.current_time(),
                origin=message.origin,
                model=message.request.model,
            )
        )
