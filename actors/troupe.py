"""The actors of one provider, cast and wired: the way of a call from composer to provider."""

import itertools
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from math import inf
from typing import final

import attrs
import httpx
from attrs.validators import deep_iterable, ge, instance_of

from ..runtime import Ref, RestartPolicy, Runtime, open_runtime
from .asking import Pieces, ask_for, stream_for
from .batcher import BatcherActor
from .batching import Batching, Bounds, ListStrategy, Packing, Strategy
from .breaker import BreakerPolicy
from .budget import ThrottlePolicy
from .client import Configure
from .composer import Compose, PostComposerActor
from .endpoint import Endpoint, Timeouts
from .events import Observer, ignore
from .hedging import HedgePolicy
from .limiter import ChangeLimits, CountLimits, Explain, LimitStatistics, RateLimiterActor
from .limiting import Explanation, Limits
from .messages import Origin, Request, Response
from .post import Post
from .prices import PriceBook, default_prices
from .recipe import Recipe, default_recipe
from .request import CountRequests, RequestActor, RequestStatistics
from .retry import RetryPolicy
from .target import Target
from .wire import OpenAICompletions, OpenAIEmbeddings

__all__ = ["Troupe", "TroupeSettings", "cast_troupe", "open_troupe"]

_AIM = 0.98  # of the tokens that one call may have


@attrs.frozen(kw_only=True)
class TroupeSettings:
    """Everything that can be set.

    Args:
        endpoint: the provider.
        limits: what it allows, or what to use of that.
        batching: when a batch goes.
        packing: how requests that are declared packable are asked together; None for never.
        strategies: further ways of making one call of several requests, tried before those.
        fallbacks: where a call goes that the endpoint cannot serve; see `RequestActor`.
        retry: the retry budget of a call.
        throttle: what all calls together may spend on being sent again; None for no limit.
        breaker: when calls are kept away from an endpoint that fails; None for never.
        hedging: when a late call is sent a second time; None for never.
        timeouts: how long one attempt may be silent.
        recipe: what a post is made of.
        prices: what models cost.
        posts_at_a_time: posts written side by side; more of them wait.
        waiting_calls: calls that wait at the limiter; more of them hold back who asks.
        observer: is told of everything that happens to a call.
        streaming: ask for answers piece by piece even if only the whole is wanted, because a
            provider stops working on a stream that is closed.
        transport: takes the place of the network, in tests.
        client: makes an httpx client over the transport, for event hooks, authentication and so
            on; None goes straight over the transport.

    Raises:
        ValueError, TypeError: a value is out of its range; the message names it.
    """

    endpoint: Endpoint
    limits: Limits = attrs.field(factory=Limits)
    batching: Batching = attrs.field(factory=Batching)
    packing: Packing | None = attrs.field(factory=Packing)
    strategies: tuple[Strategy, ...] = attrs.field(default=(), converter=tuple[Strategy, ...])
    fallbacks: tuple[Target, ...] = attrs.field(
        default=(),
        converter=tuple[Target, ...],
        validator=deep_iterable(instance_of(Target)),
    )
    retry: RetryPolicy = attrs.field(factory=RetryPolicy)
    throttle: ThrottlePolicy | None = None
    breaker: BreakerPolicy | None = attrs.field(factory=BreakerPolicy)
    hedging: HedgePolicy | None = None
    timeouts: Timeouts = attrs.field(factory=Timeouts)
    recipe: Recipe = attrs.field(factory=default_recipe)
    prices: PriceBook = attrs.field(factory=default_prices)
    posts_at_a_time: int = attrs.field(default=100, validator=[instance_of(int), ge(1)])
    waiting_calls: int = attrs.field(default=1000, validator=[instance_of(int), ge(1)])
    observer: Observer = ignore
    streaming: bool = True
    transport: httpx.AsyncBaseTransport | None = None
    client: Configure | None = None


@final
class Troupe:
    """The actors that were cast; each can also be spoken to by its ref.

    Attributes:
        composer: takes `Compose`.
        batcher: takes `Complete`; so do the next two.
        limiter: the next stage.
        requester: the last stage.
    """

    def __init__(
        self, composer: Ref, batcher: Ref, limiter: Ref, requester: Ref, observer: Observer
    ) -> None:
        self.composer = composer
        self.batcher = batcher
        self.limiter = limiter
        self.requester = requester
        self._observer = observer
        self._calls = itertools.count(1)

    async def compose(
        self, topic: str, *, timeout: float = inf, post: str = "", lane: str = ""
    ) -> Post:
        """Write a post.

        Args:
            topic: what it is about.
            timeout: seconds for all of it, waiting and retries included (L1).
            post: an id that its calls carry in events and logs (L9); the topic if empty.
            lane: in which its calls wait for their turn; see `Limits.lanes`.

        Raises:
            ValueError: the topic is empty.
            StepFailed: a required step failed; it says which, and why.
            AskTimedOut: `timeout` was too short.
        """
        return await self.composer.ask(Compose(topic, post, lane), timeout=timeout)

    async def complete(
        self, request: Request, *, timeout: float = inf, call: str = "", lane: str = ""
    ) -> Response:
        """Make one call.

        Args:
            request: what to ask.
            timeout: seconds for all of it, waiting and retries included (L1).
            call: an id that it carries in events and logs (L9); a number if empty.
            lane: in which it waits for its turn: a tenant, a purpose; see `Limits.lanes`.

        Raises:
            CallFailed: there is no answer; the subclass says why.
            AskTimedOut: `timeout` was too short.
        """
        return await ask_for(
            self.batcher,
            request,
            self._origin(call, lane),
            observer=self._observer,
            timeout=timeout,
        )

    def stream(
        self,
        request: Request,
        *,
        timeout: float = inf,
        call: str = "",
        lane: str = "",
        buffer: int = 64,
    ) -> AbstractAsyncContextManager[Pieces]:
        """Make one call, and see the answer being written; leaving the block closes it.

            async with troupe.stream(request) as items:
                async for item in items:
                    ...  # a Delta each, and at last the Response

        Args:
            request: what to ask.
            timeout: seconds for all of it, waiting and retries included (L1).
            call: an id that it carries in events and logs (L9); a number if empty.
            lane: in which it waits for its turn: a tenant, a purpose; see `Limits.lanes`.
            buffer: pieces that may wait for whoever reads; then the provider has to wait.

        Raises:
            CallFailed: there is no answer, or it broke off; iterating raises it.
            AskTimedOut: `timeout` was too short; iterating raises it.
        """
        return stream_for(
            self.batcher,
            request,
            self._origin(call, lane),
            observer=self._observer,
            timeout=timeout,
            buffer=buffer,
        )

    async def request_statistics(self) -> RequestStatistics:
        """What the request actor is doing: circuit breakers, hedges, retries, connections."""
        return await self.requester.ask(CountRequests())

    async def limit_statistics(self) -> LimitStatistics:
        """What the limiter knows: every limit, who waits, how well tokens are estimated."""
        return await self.limiter.ask(CountLimits())

    async def explain(self, request: Request, *, lane: str = "") -> Explanation:
        """What a call would wait for if it came now, and for how long. Nothing is sent."""
        return await self.limiter.ask(Explain(request, lane))

    async def change_limits(self, limits: Limits) -> None:
        """Go by other limits from now on; calls that wait are planned anew.

        Those of `TroupeSettings` say how many calls the request stage was made for: to let more be
        in flight than that has no effect.
        """
        await self.limiter.ask(ChangeLimits(limits))

    def _origin(self, call: str, lane: str) -> Origin:
        return Origin(call or f"call-{next(self._calls)}", lane=lane)


async def cast_troupe(runtime: Runtime, settings: TroupeSettings, *, prefix: str = "") -> Troupe:
    """Spawn the actors in a runtime of yours, the last stage first.

    Args:
        runtime: where they live.
        settings: how they work.
        prefix: goes before their names, for several troupes in one runtime.
    """
    limits, observer = settings.limits, settings.observer
    # As many may come at once as can be under way: to wait at the door costs more than in the room.
    at_once = max(64, limits.in_flight)
    requester = await runtime.spawn(
        f"{prefix}requester",
        partial(
            RequestActor,
            settings.endpoint,
            fallbacks=settings.fallbacks,
            retry=settings.retry,
            throttle=settings.throttle,
            breaker=settings.breaker,
            hedging=settings.hedging,
            timeouts=settings.timeouts,
            prices=settings.prices,
            connections=limits.in_flight,
            streaming=settings.streaming,
            transport=settings.transport,
            client=settings.client,
            observer=observer,
        ),
        capacity=limits.in_flight,
        concurrency=limits.in_flight,
    )
    limiter = await runtime.spawn(
        f"{prefix}limiter",
        partial(RateLimiterActor, requester, limits, observer, settings.prices),
        capacity=at_once,
        max_held=settings.waiting_calls,
    )
    batcher = await runtime.spawn(
        f"{prefix}batcher",
        partial(BatcherActor, limiter, settings.batching, _strategies(settings)),
        capacity=at_once,
    )
    composer = await runtime.spawn(
        f"{prefix}composer",
        partial(PostComposerActor, batcher, settings.recipe, observer),
        capacity=settings.posts_at_a_time,
        concurrency=settings.posts_at_a_time,
    )
    return Troupe(composer, batcher, limiter, requester, observer)


def _strategies(settings: TroupeSettings) -> tuple[Strategy, ...]:
    """What the user has added, what the endpoint takes lists of, and packing."""
    found = list(settings.strategies)
    formats = settings.endpoint.vendor.formats
    embeddings, completions = formats.get("embedding"), formats.get("completion")
    if isinstance(embeddings, OpenAIEmbeddings):
        found.append(ListStrategy("embedding", _with_margin(embeddings.takes)))
    if isinstance(completions, OpenAICompletions) and completions.several_prompts:
        found.append(ListStrategy("completion", _with_margin(completions.takes)))
    if settings.packing is not None:
        found.append(settings.packing)
    return tuple(found)


def _with_margin(bounds: Bounds) -> Bounds:
    """Tokens are estimated: a little less than the provider takes is aimed for."""
    if bounds.max_tokens is None:
        return bounds
    return attrs.evolve(bounds, max_tokens=max(1, int(bounds.max_tokens * _AIM)))


@asynccontextmanager
async def open_troupe(
    settings: TroupeSettings,
    *,
    restarts: RestartPolicy | None = None,
    drain_s: float = 10.0,
    seed: str | None = None,
) -> AsyncGenerator[Troupe]:
    """Open a runtime with nothing but a troupe in it; see `open_runtime` for the arguments."""
    async with open_runtime("troupe", restarts=restarts, drain_s=drain_s, seed=seed) as runtime:
        yield await cast_troupe(runtime, settings)
