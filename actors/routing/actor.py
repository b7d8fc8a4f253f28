"""The router: sends each request by the cheapest route that meets its deadline."""

from collections.abc import Sequence
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, final

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
from ..messages import Request
from ..rate_limit import TokenEstimator
from ..responses import Response, Usage
from .routes import Quote, Route, choose

if TYPE_CHECKING:
    from ..prompt_cache import ExpectedRead, ExpectedReads

_GAIN = 0.2  # weight of one call in the means
_MAX_KNOWN = 500  # pairs of route and model; beyond it, the oldest is forgotten


@final
class Pace:
    """The duration of calls, by route and model. Pure (R14).

    It keeps a moving mean of the duration and one of its absolute deviation. The expected duration
    is the mean plus two mean deviations, so that most calls are faster. (TCP sets its
    retransmission time-out the same way, with four: RFC 6298, section 2.)
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], tuple[float, float]] = {}  # mean, deviation

    def learn(self, route: str, model: str, seconds: float) -> None:
        """Record the duration of a call, in seconds."""
        key = route, model
        known = self._known.pop(key, None)
        if known is None:
            if len(self._known) >= _MAX_KNOWN:
                del self._known[next(iter(self._known))]
            self._known[key] = seconds, seconds / 2
            return
        mean, deviation = known
        deviation += _GAIN * (abs(seconds - mean) - deviation)
        self._known[key] = mean + _GAIN * (seconds - mean), deviation

    def expected_s(self, route: str, model: str) -> float | None:
        """Return the seconds in which most calls end; None before the first call."""
        known = self._known.get((route, model))
        return None if known is None else known[0] + 2 * known[1]


_RETRY_LIVE = (RateLimited, ProviderUnavailable, ConnectionFailed, QuotaExhausted)
"""Errors of another route after which the request is sent live."""


@attrs.frozen(kw_only=True)
class RouteChoice:
    """The route that a request would take.

    Args:
        chosen: the quote of that route.
        quotes: the quotes of all routes that accept the request.
        usage: the estimated tokens that the quotes are based on.
    """

    chosen: Quote
    quotes: tuple[Quote, ...]
    usage: Usage


@attrs.frozen
class ExplainRoute(Message[RouteChoice]):
    """Ask which route a request would take if it arrived now. Nothing is sent.

    Args:
        request: the request that would arrive.
        usage: the tokens that it is expected to take.
    """

    request: Request
    usage: Usage


@attrs.frozen
class _SendLive(Message[None]):
    """Another route has failed; the request is sent live."""

    message: Complete
    slot: ReplySlot[Response]


class RouterActor(Actor):
    """Sends each request by the cheapest route that meets its deadline (`Request.deadline`).

    A request without a deadline is sent live. A request that fails on another route, for a reason
    that lies in the route, is sent live if there is time.

    Args:
        live: the next stage for live requests.
        routes: all routes; the first is the live one.
        reads: what the provider's prompt cache is expected to save of live requests; None where
            none is planned for.
    """

    def __init__(
        self, live: Ref, routes: Sequence[Route], reads: "ExpectedReads | None" = None
    ) -> None:
        self._live = live
        self._reads = reads
        self._routes = {route.name: route for route in routes}
        self._first = routes[0]
        self._pace = Pace()
        self._estimator = TokenEstimator()
        self._calls: set[ReplySlot[Response]] = set()

    @defers(Complete)
    async def route(self, message: Complete, slot: ReplySlot[Response]) -> None:
        """Send a request by the cheapest route that meets its deadline."""
        request = message.request
        if request.deadline is None:
            await slot.forward(self._live, message)
            return
        left_s = slot.deadline - trio.current_time()
        estimate = self._estimator.estimate(request)
        usage = Usage(estimate.input_tokens, estimate.output_tokens)
        read = self._expected(request)
        route = self._routes[self._choose(request, usage, left_s, read).chosen.route]
        if read is not None and self._reads is not None:
            self._reads.note(read, trio.current_time())
        if route.to is None and read is not None:
            slot.on_settled(partial(self._learn_read, read))
        if route is self._first:
            await self._send_live(message, slot)
        else:
            await self._send(route, message, slot)

    @defers(Stream)
    async def forward_stream(self, message: Stream, slot: ReplySlot[None]) -> None:
        """Send a streamed call live: its caller reads the response while it is written."""
        await slot.forward(self._live, message)

    @handles(ExplainRoute, urgent=True)
    async def explain(self, message: ExplainRoute) -> RouteChoice:
        """Return the route that a request would take."""
        deadline = message.request.deadline
        left_s = inf if deadline is None else deadline
        read = None if deadline is None else self._expected(message.request)
        return self._choose(message.request, message.usage, left_s, read)

    @handles(_SendLive)
    async def send_live(self, message: _SendLive) -> None:
        """Send a request live that has failed on another route."""
        await self._send_live(message.message, message.slot)

    async def stopped(self) -> None:
        """Cancel all calls: their responses could not be delivered."""
        calls, self._calls = self._calls, set()
        for call in calls:
            call.cancel()

    # ----------------------------------------------------------------

    def _expected(self, request: Request) -> "ExpectedRead | None":
        return None if self._reads is None else self._reads.of(request, trio.current_time())

    def _choose(
        self, request: Request, usage: Usage, left_s: float, read: "ExpectedRead | None"
    ) -> RouteChoice:
        can_wait = request.deadline is not None
        found = [
            route.quote(request, usage, left_s, self._pace.expected_s(route.name, request.model))
            for route in (self._routes.values() if can_wait else (self._first,))
        ]
        quotes = tuple(quote for quote in found if quote is not None)
        if read is not None:
            quotes = tuple(
                attrs.evolve(quote, saves_usd=read.saved_usd * quote.factor)
                if self._routes[quote.route].to is None
                else quote
                for quote in quotes
            )
        return RouteChoice(chosen=choose(quotes, left_s), quotes=quotes, usage=usage)

    async def _send_live(self, message: Complete, slot: ReplySlot[Response]) -> None:
        slot.on_settled(partial(self._learn, message.request, self._first, trio.current_time()))
        await slot.forward(self._live, message)

    async def _send(self, route: Route, message: Complete, slot: ReplySlot[Response]) -> None:
        adapted = attrs.evolve(message, request=route.adapt(message.request))
        if route.to is not None:  # it sends the request live itself, and sets `Response.route`
            slot.on_settled(partial(self._learn, message.request, route, trio.current_time()))
            await slot.forward(route.to, adapted)
            return
        try:
            call = await self._live.submit(adapted, deadline=slot.deadline)
        except ActorStopped:
            await self._send_live(message, slot)
            return
        self._calls.add(call)
        slot.start(call)
        slot.on_settled(partial(_cancel, call))
        call.on_settled(partial(self._learn, message.request, route, trio.current_time()))
        call.on_settled(partial(self._call_settled, route, message, slot))

    def _call_settled(
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
        elif isinstance(call.error, _RETRY_LIVE) and is_ours:
            self.send_at(trio.current_time(), _SendLive(message, slot))
        else:
            slot.fail(call.error or AskFailed(self._live.path, call.verdict, "gave the call up"))

    def _learn(self, request: Request, route: Route, sent_at: float, slot: ReplySlot[Any]) -> None:
        value: object = slot.value if slot.outcome is Outcome.REPLIED else None
        if isinstance(value, Response):
            self._pace.learn(route.name, request.model, trio.current_time() - sent_at)
            self._estimator.learn(request, self._estimator.estimate(request), value.usage)

    def _learn_read(self, read: "ExpectedRead", slot: ReplySlot[Any]) -> None:
        value: object = slot.value if slot.outcome is Outcome.REPLIED else None
        if self._reads is not None and isinstance(value, Response):
            self._reads.learn(read, value.usage, trio.current_time())


def _cancel(call: ReplySlot[Response], _: ReplySlot[Response]) -> None:
    call.cancel()
