"""Casts a troupe: spawns its actors, and wires each to the next."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from decimal import Decimal
from functools import partial

import attrs

from ..runtime import Ref, RestartPolicy, Runtime, open_runtime
from .batch_api import BatchApiActor
from .batching import BatcherActor, BatchStrategy, ListStrategy
from .cache import CacheActor
from .compose import PostComposerActor
from .ledger import Accounts, LedgerActor
from .rate_limit import RateLimiterActor
from .request import RequestActor
from .routing import BatchRoute, LiveRoute, Route, RouterActor, TierRoute
from .settings import TroupeSettings
from .troupe import Troupe
from .vendors import BatchLimits, OpenAICompletions, OpenAIEmbeddings

__all__ = ["cast_troupe", "open_troupe"]

_AIM = 0.98  # of the tokens that one call may have
_FLEX_S = 60.0  # that a call takes, until one was seen
_PRIORITY_S = 2.0


async def cast_troupe(runtime: Runtime, settings: TroupeSettings, *, prefix: str = "") -> Troupe:
    """Spawn the actors in a runtime of yours, the last stage first.

    Args:
        runtime: where they live.
        settings: how they work.
        prefix: goes before their names, for several troupes in one runtime.
    """
    limits, observer = settings.limits, settings.observer
    # As many may come at once as can be under way: to wait at the door costs more than in the room.
    most = max(limits.in_flight, settings.max_in_flight or 0)
    at_once = max(64, most)
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
            connections=most,
            streaming=settings.streaming,
            transport=settings.transport,
            client=settings.client,
            observer=observer,
        ),
        capacity=most,
        concurrency=most,
    )
    limiter = await runtime.spawn(
        f"{prefix}limiter",
        partial(RateLimiterActor, requester, limits, observer, settings.prices),
        capacity=at_once,
        max_deferred=settings.max_waiting_calls,
    )
    batches = None
    if settings.batches is not None:
        batches = await runtime.spawn(
            f"{prefix}batches",
            partial(
                BatchApiActor,
                limiter,
                settings.endpoint,
                settings.batches,
                retry=settings.retry,
                timeouts=settings.timeouts,
                prices=settings.prices,
                observer=observer,
                transport=settings.transport,
            ),
            capacity=at_once,
            concurrency=8,
            max_deferred=settings.max_waiting_batches,
        )
    router = await runtime.spawn(
        f"{prefix}router",
        partial(RouterActor, limiter, _routes(settings, batches)),
        capacity=at_once,
        max_deferred=settings.max_waiting_calls,
    )
    ledger = None
    if settings.ledger is not None:
        ledger = await runtime.spawn(
            f"{prefix}ledger",
            partial(
                LedgerActor,
                router,
                Accounts(settings.ledger),  # which outlive the actor's incarnations
                settings.prices,
                other_models=tuple(it.model for it in settings.fallbacks if it.model),
            ),
            capacity=at_once,
            max_deferred=settings.max_waiting_calls,
        )
    batcher = await runtime.spawn(
        f"{prefix}batcher",
        partial(
            BatcherActor,
            ledger or limiter,
            settings.batching,
            _strategies(settings),
            ledger or router,
        ),
        capacity=at_once,
    )
    cache = None
    if settings.cache is not None:
        cache = await runtime.spawn(
            f"{prefix}cache",
            partial(CacheActor, batcher, settings.endpoint.identity, settings.cache),
            capacity=at_once,
            concurrency=8,
            max_deferred=settings.max_waiting_calls,
        )
    composer = await runtime.spawn(
        f"{prefix}composer",
        partial(PostComposerActor, cache or batcher, settings.recipe, observer),
        capacity=settings.max_concurrent_posts,
        concurrency=settings.max_concurrent_posts,
    )
    return Troupe(
        composer=composer,
        cache=cache,
        batcher=batcher,
        ledger=ledger,
        router=router,
        batches=batches,
        limiter=limiter,
        requester=requester,
        observer=observer,
    )


def _routes(settings: TroupeSettings, batches: Ref | None) -> tuple[Route, ...]:
    """Live, and what the endpoint has besides."""
    routing, prices, tiers = settings.routing, settings.prices, settings.endpoint.vendor.tiers
    found: list[Route] = [LiveRoute(prices)]
    if routing.flex and "flex" in tiers:
        found.append(TierRoute("flex", prices, Decimal("0.5"), routing.flex_from_s, _FLEX_S))
    if routing.priority and "priority" in tiers:
        found.append(TierRoute("priority", prices, Decimal(2), 0.0, _PRIORITY_S))
    if routing.batch and batches is not None:
        found.append(BatchRoute(batches, prices, routing.batch_from_s))
    return (*found, *settings.routes)


def _strategies(settings: TroupeSettings) -> tuple[BatchStrategy, ...]:
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


def _with_margin(bounds: BatchLimits) -> BatchLimits:
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
