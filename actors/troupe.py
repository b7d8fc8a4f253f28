"""The actors of one provider, cast and wired: the way of a call from composer to provider."""

import itertools
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from math import inf
from typing import final

import attrs
import httpx
from attrs.validators import ge, instance_of

from ..runtime import Ref, RestartPolicy, Runtime, open_runtime
from .asking import ask_for
from .batch import Batching
from .batcher import BatcherActor
from .composer import Compose, PostComposerActor
from .endpoint import Endpoint, Timeouts
from .events import Observer, ignore
from .limiter import RateLimiterActor
from .limits import Limits
from .messages import Origin, Request, Response
from .post import Post
from .prices import PriceBook, default_prices
from .recipe import Recipe, default_recipe
from .request import RequestActor
from .retry import RetryPolicy

__all__ = ["Troupe", "TroupeSettings", "cast_troupe", "open_troupe"]


@attrs.frozen(kw_only=True)
class TroupeSettings:
    """Everything that can be set.

    Args:
        endpoint: the provider.
        limits: what it allows, or what to use of that.
        batching: when a batch goes.
        retry: the retry budget of a call.
        timeouts: how long one attempt may be silent.
        recipe: what a post is made of.
        prices: what models cost.
        posts_at_a_time: posts written side by side; more of them wait.
        waiting_calls: calls that wait at the limiter; more of them hold back who asks.
        observer: is told of everything that happens to a call.
        transport: takes the place of the network, in tests.

    Raises:
        ValueError, TypeError: a value is out of its range; the message names it.
    """

    endpoint: Endpoint
    limits: Limits = attrs.field(factory=Limits)
    batching: Batching = attrs.field(factory=Batching)
    retry: RetryPolicy = attrs.field(factory=RetryPolicy)
    timeouts: Timeouts = attrs.field(factory=Timeouts)
    recipe: Recipe = attrs.field(factory=default_recipe)
    prices: PriceBook = attrs.field(factory=default_prices)
    posts_at_a_time: int = attrs.field(default=100, validator=[instance_of(int), ge(1)])
    waiting_calls: int = attrs.field(default=1000, validator=[instance_of(int), ge(1)])
    observer: Observer = ignore
    transport: httpx.AsyncBaseTransport | None = None


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

    async def compose(self, topic: str, *, timeout: float = inf, post: str = "") -> Post:
        """Write a post.

        Args:
            topic: what it is about.
            timeout: seconds for all of it, waiting and retries included (L1).
            post: an id that its calls carry in events and logs (L9); the topic if empty.

        Raises:
            ValueError: the topic is empty.
            StepFailed: a required step failed; it says which, and why.
            AskTimedOut: `timeout` was too short.
        """
        return await self.composer.ask(Compose(topic, post), timeout=timeout)

    async def complete(self, request: Request, *, timeout: float = inf, call: str = "") -> Response:
        """Make one call.

        Args:
            request: what to ask.
            timeout: seconds for all of it, waiting and retries included (L1).
            call: an id that it carries in events and logs (L9); a number if empty.

        Raises:
            CallFailed: there is no answer; the subclass says why.
            AskTimedOut: `timeout` was too short.
        """
        origin = Origin(call or f"call-{next(self._calls)}")
        return await ask_for(
            self.batcher, request, origin, observer=self._observer, timeout=timeout
        )


async def cast_troupe(runtime: Runtime, settings: TroupeSettings, *, prefix: str = "") -> Troupe:
    """Spawn the actors in a runtime of yours, the last stage first.

    Args:
        runtime: where they live.
        settings: how they work.
        prefix: goes before their names, for several troupes in one runtime.
    """
    limits, observer = settings.limits, settings.observer
    requester = await runtime.spawn(
        f"{prefix}requester",
        partial(
            RequestActor,
            settings.endpoint,
            retry=settings.retry,
            timeouts=settings.timeouts,
            prices=settings.prices,
            connections=limits.in_flight,
            transport=settings.transport,
            observer=observer,
        ),
        capacity=limits.in_flight,
        concurrency=limits.in_flight,
    )
    limiter = await runtime.spawn(
        f"{prefix}limiter",
        partial(RateLimiterActor, requester, limits, observer),
        max_held=settings.waiting_calls,
    )
    batcher = await runtime.spawn(
        f"{prefix}batcher", partial(BatcherActor, limiter, settings.batching)
    )
    composer = await runtime.spawn(
        f"{prefix}composer",
        partial(PostComposerActor, batcher, settings.recipe, observer),
        capacity=settings.posts_at_a_time,
        concurrency=settings.posts_at_a_time,
    )
    return Troupe(composer, batcher, limiter, requester, observer)


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
