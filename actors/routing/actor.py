"""Sends each request by the cheapest route that is in time.

How long calls take on each route, as they did lately. Pure (R14).
"""

from collections.abc import Sequence
from functools import partial
from math import inf
from typing import Any, final

import attrs
import trio

from ...runtime import (
    Actor,
    ActorStopped,
    AskFailed,
    Message,
    Outcome,
    Ref,
    ReplySlot,
    defers,
    handles,
)
from ..calls import Complete, Stream
from ..errors import ConnectionFailed, ProviderUnavailable, QuotaExhausted, RateLimited
from ..messages import Request, Response, Usage
from ..rate_limit import TokenEstimator
from .routes import Quote, Route, choose

__all__ = [
    "ExplainRoute",
    "Pace",
    "RouteChoice",
    "RouterActor",
]


_GAIN = 0.2
_MOST = 500  # models on routes, to remember


@final
class Pace:
    """A moving mean of seconds and one of deviations, for each route and model.

    What is expected is the mean and two mean deviations more, so that most come before it. (TCP
    sets its time-outs alike, with four: RFC 6298, section 2.)
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], tuple[float, float]] = {}  # mean, deviation

    def learn(self, route: str, model: str, seconds: float) -> None:
        """A call took so long."""
        key = route, model
        known = self._known.pop(key, None)
        if known is None:
            if len(self._known) >= _MOST:
                del self._known[next(iter(self._known))]
            self._known[key] = seconds, seconds / 2
            return
        mean, deviation = known
        deviation += _GAIN * (abs(seconds - mean) - deviation)
        self._known[key] = mean + _GAIN * (seconds - mean), deviation

    def expected_s(self, route: str, model: str) -> float | None:
        """In how many seconds most calls end; None if there was none."""
        known = self._known.get((route, model))
        return None if known is None else known[0] + 2 * known[1]


_LIVE_MAY_DO_BETTER = (RateLimited, ProviderUnavailable, ConnectionFailed, QuotaExhausted)


@attrs.frozen(kw_only=True)
class RouteChoice:
    """Which way a request would go.

    Args:
        chosen: the offer that would be taken.
        offers: all there are.
        usage: the tokens that they reckon with.
    """

    chosen: Quote
    offers: tuple[Quote, ...]
    usage: Usage


@attrs.frozen
class ExplainRoute(Message[RouteChoice]):
    """Ask which way a request would go if it came now. Nothing is sent.

    Args:
        request: the request.
    """

    request: Request


@attrs.frozen
class _Again(Message[None]):
    """A way has failed; the live one is left."""

    message: Complete
    slot: ReplySlot[Response]


class RouterActor(Actor):
    """Looks for the cheapest way to an answer in the time that a request has (`Request.deadline`).

    A request without a deadline goes live. Under each other way is a net: what fails there for the
    way's sake is sent live, if there is time.

    Args:
        live: takes requests live.
        routes: the ways there are; the first is the live one.
    """

    def __init__(self, live: Ref, routes: Sequence[Route]) -> None:
        self._live = live
        self._routes = {route.name: route for route in routes}
        self._first = routes[0]
        self._pace = Pace()
        self._estimator = TokenEstimator()
        self._calls: set[ReplySlot[Response]] = set()

    @defers(Complete)
    async def route(self, message: Complete, slot: ReplySlot[Response]) -> None:
        """Send a request on its way."""
        request = message.request
        if request.deadline is None:
            await slot.forward(self._live, message)
            return
        left_s = slot.deadline - trio.current_time()
        route = self._routes[self._choose(request, left_s).chosen.route]
        if route is self._first:
            await self._send_live(message, slot)
        else:
            await self._send(route, message, slot)

    @defers(Stream)
    async def pass_on(self, message: Stream, slot: ReplySlot[None]) -> None:
        """Whoever wants to see an answer being written does not want to wait for it."""
        await slot.forward(self._live, message)

    @handles(ExplainRoute, urgent=True)
    async def explain(self, message: ExplainRoute) -> RouteChoice:
        """Say which way a request would go."""
        deadline = message.request.deadline
        return self._choose(message.request, inf if deadline is None else deadline)

    @handles(_Again)
    async def again(self, message: _Again) -> None:
        """Send live what has failed another way."""
        await self._send_live(message.message, message.slot)

    async def stopped(self) -> None:
        """Pay for nothing that nobody will be told."""
        calls, self._calls = self._calls, set()
        for call in calls:
            call.cancel()

    # ----------------------------------------------------------------

    def _choose(self, request: Request, left_s: float) -> RouteChoice:
        estimate = self._estimator.estimate(request)
        usage = Usage(estimate.input_tokens, estimate.output_tokens)
        can_wait = request.deadline is not None
        found = [
            route.offer(request, usage, left_s, self._pace.expected_s(route.name, request.model))
            for route in (self._routes.values() if can_wait else (self._first,))
        ]
        offers = tuple(offer for offer in found if offer is not None)
        return RouteChoice(chosen=choose(offers, left_s), offers=offers, usage=usage)

    async def _send_live(self, message: Complete, slot: ReplySlot[Response]) -> None:
        slot.on_settled(partial(self._learn, message.request, self._first, trio.current_time()))
        await slot.forward(self._live, message)

    async def _send(self, route: Route, message: Complete, slot: ReplySlot[Response]) -> None:
        adapted = attrs.evolve(message, request=route.adapt(message.request))
        if route.to is not None:  # which has a net of its own, and says which way it was
            slot.on_settled(partial(self._learn, message.request, route, trio.current_time()))
            await slot.forward(route.to, adapted)
            return
        try:
            call = await self._live.submit(adapted, deadline=slot.deadline)
        except ActorStopped:
            await self._send_live(message, slot)
            return
        self._calls.add(call)
        slot.on_settled(partial(_cancel, call))
        call.on_settled(partial(self._learn, message.request, route, trio.current_time()))
        call.on_settled(partial(self._has_ended, route, message, slot))

    def _has_ended(
        self,
        route: Route,
        message: Complete,
        slot: ReplySlot[Response],
        call: ReplySlot[Response],
    ) -> None:
        is_ours = call in self._calls
        self._calls.discard(call)
        if slot.done:
            return
        if call.outcome is Outcome.REPLIED and call.value is not None:
            slot.reply(attrs.evolve(call.value, route=route.name))
        elif isinstance(call.error, _LIVE_MAY_DO_BETTER) and is_ours:
            self.send_at(trio.current_time(), _Again(message, slot))
        else:
            slot.fail(call.error or AskFailed(self._live.path, call.verdict, "gave the call up"))

    def _learn(self, request: Request, route: Route, sent_at: float, slot: ReplySlot[Any]) -> None:
        if slot.outcome is Outcome.REPLIED and isinstance(slot.value, Response):
            self._pace.learn(route.name, request.model, trio.current_time() - sent_at)
            self._estimator.learn(request, self._estimator.estimate(request), slot.value.usage)


def _cancel(call: ReplySlot[Response], _: ReplySlot[Response]) -> None:
    call.cancel()
