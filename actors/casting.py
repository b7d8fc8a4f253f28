"""Cast a troupe: spawn its actors and connect each stage to the next."""

from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from decimal import Decimal
from functools import partial

import attrs

from ..runtime import Ref, RestartPolicy, Runtime, open_runtime

# A stage is loaded when it is spawned, and an optional one only if the settings ask for it.
from . import (
    batch_api,
    batching,
    cache,
    compose,
    http,
    inspection,
    ledger,
    prompt_cache,
    rate_limit,
    request,
    routing,
)
from .batching import BatchStrategy
from .events import Destination
from .messages import Request, Task
from .pool_health import PoolHealth
from .routing import Route
from .settings import TroupeSettings
from .trio_only import trio_block
from .troupe import Troupe
from .vendors import (
    BatchLimits,
    Endpoint,
    OpenAICompletions,
    OpenAIEmbeddings,
    PriceBook,
    WireFormat,
)

_TOKEN_MARGIN = 0.98  # of the tokens that one call may have: tokens are estimated
_FLEX_S = 60.0  # expected duration of a call in the flex tier, until one has been measured
_PRIORITY_S = 2.0


async def cast_troupe(runtime: Runtime, settings: TroupeSettings, *, prefix: str = "") -> Troupe:
    """Spawn the actors of a troupe in an open runtime, the last stage first.

    Args:
        runtime: the runtime that the actors run in.
        settings: the settings of the troupe.
        prefix: a prefix of the actors' names, which must differ if one runtime has several troupes.

    Raises:
        ValueError: the environment names a proxy or certificate authorities that cannot be used;
            the message names the variable.
        InspectionUnavailable: the socket of `inspect` cannot be opened; the message says why.
    """
    if settings.transport is None:
        for used in (settings.endpoint, *(target.endpoint for target in settings.fallbacks)):
            for endpoint in used.each:
                http.check_environment(endpoint)
    inspected = None
    if settings.inspect is not None:
        inspected = await inspection.Inspection.begin(
            runtime, prefix, settings.inspect, has_ledger=settings.ledger is not None
        )
        settings = attrs.evolve(settings, observer=(settings.observer, inspected.records))
    metrics = settings.metrics
    if metrics is not None:
        settings = attrs.evolve(settings, observer=(settings.observer, metrics))
    casting = _Casting(runtime, settings, prefix)
    requester = await casting.spawn_requester()
    limiter = await casting.spawn_limiter(requester)
    prompt_cache_ref = await casting.spawn_prompt_cache(limiter)
    live = prompt_cache_ref or limiter
    batches = await casting.spawn_batches(live)
    router = await casting.spawn_router(live, batches)
    ledger_ref = await casting.spawn_ledger(router)
    batcher = await casting.spawn_batcher(ledger_ref or live, ledger_ref or router)
    cache_ref = await casting.spawn_cache(batcher)
    composer = await casting.spawn_composer(cache_ref or batcher)
    troupe = Troupe(
        composer=composer,
        cache=cache_ref,
        batcher=batcher,
        ledger=ledger_ref,
        router=router,
        batches=batches,
        prompt_cache=prompt_cache_ref,
        limiter=limiter,
        requester=requester,
        observer=settings.observer,
        runtime=runtime,
        records=None if inspected is None else inspected.records,
        max_in_flight=casting.max_in_flight,
        destination=casting.destination,
    )
    if inspected is not None:
        await inspected.serve(troupe.reading)
    if metrics is not None:
        prices, lanes = _prices_at(settings, settings.endpoint), settings.limits.lanes
        await metrics.attach(troupe, prefix=prefix, prices=prices, lanes=lanes)
    return troupe


@trio_block
async def open_troupe(
    settings: TroupeSettings,
    *,
    restarts: RestartPolicy | None = None,
    drain_s: float = 10.0,
    seed: str | None = None,
) -> AsyncGenerator[Troupe]:
    """Open a runtime that contains one troupe.

    Args:
        settings: the settings of the troupe.
        restarts: when a crashed actor is restarted, and when the crash ends the runtime instead;
            None for the default of `open_runtime`.
        drain_s: seconds that calls in flight may take to finish when the block is left.
        seed: seed of the random numbers for jitter, so that a test can repeat a run; None for a
            random seed.

    Raises:
        ValueError, InspectionUnavailable: see `cast_troupe`.
        RuntimeError: the current thread does not run Trio; the message says what to use.
    """
    async with open_runtime("troupe", restarts=restarts, drain_s=drain_s, seed=seed) as runtime:
        yield await cast_troupe(runtime, settings)


@attrs.frozen
class _Casting:
    """Spawns the actors of one troupe.

    Args:
        runtime: the runtime that the actors run in.
        settings: the settings of the troupe.
        prefix: a prefix of the actors' names.
        health: which members are left out, if the endpoint is a pool. It outlives the actors.
    """

    runtime: Runtime
    settings: TroupeSettings
    prefix: str
    health: PoolHealth = attrs.field(
        default=attrs.Factory(lambda self: _health(self.settings), takes_self=True), init=False
    )

    @property
    def destination(self) -> Destination:
        """The endpoint where calls are sent first, as events name it."""
        endpoint = self.settings.endpoint.each[0]
        return Destination.of(endpoint.vendor.name, endpoint.base_url)

    @property
    def max_in_flight(self) -> int:
        """The most calls that can ever be in flight."""
        return max(self.settings.limits.in_flight, self.settings.max_in_flight or 0)

    @property
    def capacity(self) -> int:
        """Messages that a mailbox holds: a wait for room in a mailbox costs more than the room."""
        return max(64, self.max_in_flight)

    async def spawn_requester(self) -> Ref:
        """Spawn the last stage, which sends HTTP requests."""
        settings = self.settings
        return await self.runtime.spawn(
            f"{self.prefix}requester",
            partial(
                request.RequestActor,
                settings.endpoint,
                fallbacks=settings.fallbacks,
                retry=settings.retry,
                throttle=settings.throttle,
                breaker=settings.breaker,
                hedging=settings.hedging,
                timeouts=settings.timeouts,
                prices=settings.prices,
                connections=self.max_in_flight,
                streaming=settings.streaming,
                transport=settings.transport,
                client=settings.client,
                observer=settings.observer,
                health=self.health,
            ),
            capacity=self.max_in_flight,
            # One more than calls, so that it reports its statistics while each of them has a place.
            concurrency=self.max_in_flight + 1,
        )

    async def spawn_limiter(self, requester: Ref) -> Ref:
        """Spawn the rate limiter before the requester."""
        settings = self.settings
        return await self.runtime.spawn(
            f"{self.prefix}limiter",
            partial(
                rate_limit.RateLimiterActor,
                requester,
                settings.limits,
                settings.observer,
                _prices_at(settings, settings.endpoint),
                members=[
                    rate_limit.PoolMember(
                        name=member.key_name,
                        weight=member.weight,
                        limits=settings.member_limits.get(member.key_name),
                    )
                    for member in settings.endpoint.members
                ],
                health=self.health,
            ),
            capacity=self.capacity,
            max_deferred=settings.max_waiting_calls,
        )

    async def spawn_prompt_cache(self, limiter: Ref) -> Ref | None:
        """Spawn the stage of the prompt cache before the limiter, if the endpoint has one.

        The members of a pool have caches of their own, and the limiter chooses the member later.
        """
        settings, endpoint = self.settings, self.settings.endpoint
        has_cache = prompt_cache.has_prompt_cache(endpoint.vendor.name)
        if settings.prompt_caching == "off" or endpoint.members or not has_cache:
            return None
        return await self.runtime.spawn(
            f"{self.prefix}prompt_cache",
            partial(
                prompt_cache.PromptCacheActor,
                limiter,
                endpoint,
                _prices_at(settings, endpoint),
                settings.prompt_caching,
            ),
            capacity=self.capacity,
            max_deferred=settings.max_waiting_calls,
        )

    async def spawn_batches(self, live: Ref) -> Ref | None:
        """Spawn the Batch API stage beside the stage that handles its live calls."""
        settings = self.settings
        if settings.batches is None:
            return None
        return await self.runtime.spawn(
            f"{self.prefix}batches",
            partial(
                batch_api.BatchApiActor,
                live,
                _batch_endpoint(settings),
                settings.batches,
                retry=settings.retry,
                timeouts=settings.timeouts,
                prices=settings.prices,
                observer=settings.observer,
                transport=settings.transport,
            ),
            capacity=self.capacity,
            concurrency=8,
            max_deferred=settings.max_waiting_batches,
        )

    async def spawn_router(self, live: Ref, batches: Ref | None) -> Ref:
        """Spawn the router before the stage of live calls and the Batch API stage."""
        return await self.runtime.spawn(
            f"{self.prefix}router",
            partial(
                routing.RouterActor,
                live,
                _routes(self.settings, batches),
                _expected_reads(self.settings),
            ),
            capacity=self.capacity,
            max_deferred=self.settings.max_waiting_calls,
        )

    async def spawn_ledger(self, router: Ref) -> Ref | None:
        """Spawn the ledger before the router."""
        settings = self.settings
        if settings.ledger is None:
            return None
        return await self.runtime.spawn(
            f"{self.prefix}ledger",
            partial(
                ledger.LedgerActor,
                router,
                ledger.Accounts(settings.ledger),  # outlives the incarnations of the actor
                _prices_at(settings, settings.endpoint),
                fallbacks=tuple(_other_prices(settings)),
                endpoint="" if settings.endpoint.members else settings.endpoint.label,
                has_batches=settings.batches is not None,
            ),
            capacity=self.capacity,
            max_deferred=settings.max_waiting_calls,
        )

    async def spawn_batcher(self, live: Ref, deferred: Ref) -> Ref:
        """Spawn the batcher.

        Args:
            live: the stage that takes calls without a deadline.
            deferred: the stage that takes calls with a deadline.
        """
        return await self.runtime.spawn(
            f"{self.prefix}batcher",
            partial(
                batching.BatcherActor,
                live,
                self.settings.batching,
                _strategies(self.settings),
                deferred,
                prices=_prices_at(self.settings, self.settings.endpoint),
                agreements=batching.Agreements(),
                beginning_share=_beginning_share(self.settings),
                observer=self.settings.observer,
            ),
            capacity=self.capacity,
        )

    async def spawn_cache(self, batcher: Ref) -> Ref | None:
        """Spawn the cache before the batcher."""
        settings = self.settings
        if settings.cache is None:
            return None
        return await self.runtime.spawn(
            f"{self.prefix}cache",
            partial(
                cache.CacheActor,
                batcher,
                settings.endpoint.identity,
                settings.cache,
                members={member.label: member.identity for member in settings.endpoint.members},
                fallbacks=[
                    (target.model, endpoint.identity)
                    for target in settings.fallbacks
                    for endpoint in target.endpoint.each
                ],
            ),
            capacity=self.capacity,
            concurrency=8,
            max_deferred=settings.max_waiting_calls,
        )

    async def spawn_composer(self, first_stage: Ref) -> Ref:
        """Spawn the composer, which makes calls to the first stage."""
        settings = self.settings
        return await self.runtime.spawn(
            f"{self.prefix}composer",
            partial(
                compose.PostComposerActor,
                first_stage,
                settings.recipe,
                settings.observer,
                self.destination,
            ),
            capacity=settings.max_concurrent_posts,
            concurrency=settings.max_concurrent_posts,
        )


def cost_bound(settings: TroupeSettings) -> "ledger.CostBound":
    """Return what bounds the cost of calls that are made with these settings.

    Args:
        settings: the settings of the troupe.
    """
    policy = settings.ledger or ledger.LedgerPolicy()
    return ledger.CostBound(
        _prices_at(settings, settings.endpoint),
        tuple(_other_prices(settings)),
        policy.max_output_tokens,
    )


def _beginning_share(settings: TroupeSettings) -> Callable[[Request, int], float] | None:
    """Return what the shared beginnings of prompts cost; None where no cache is planned for."""
    endpoint, caching = settings.endpoint, settings.prompt_caching
    has_cache = prompt_cache.has_prompt_cache(endpoint.vendor.name)
    if caching == "off" or endpoint.members or not has_cache:
        return None
    return partial(
        prompt_cache.beginning_share,
        vendor=endpoint.vendor.name,
        prices=_prices_at(settings, endpoint),
        adds_marks=caching == "auto",
    )


def _expected_reads(settings: TroupeSettings) -> "prompt_cache.ExpectedReads | None":
    """Return what expects the reads of live calls; None where no cache is planned for."""
    endpoint, caching = settings.endpoint, settings.prompt_caching
    has_cache = prompt_cache.has_prompt_cache(endpoint.vendor.name)
    if caching == "off" or endpoint.members or not has_cache:
        return None
    return prompt_cache.ExpectedReads(endpoint, settings.prices, caching)


def _prices_at(settings: TroupeSettings, endpoint: Endpoint) -> PriceBook:
    """The prices that apply at an endpoint."""
    return settings.prices.at_vendor(endpoint.vendor.price_list)


def _other_prices(settings: TroupeSettings) -> Iterator[tuple[str | None, PriceBook]]:
    """Yield the model and the prices wherever a call may go besides the first endpoint."""
    for member in settings.endpoint.members:
        yield None, _prices_at(settings, member)
    for target in settings.fallbacks:
        for endpoint in target.endpoint.each:
            yield target.model, _prices_at(settings, endpoint)


def _health(settings: TroupeSettings) -> PoolHealth:
    """The health of a pool. With fallbacks, no call waits for a member that fails."""
    names = (member.key_name for member in settings.endpoint.members)
    return PoolHealth(names, waits=not settings.fallbacks)


def _batch_endpoint(settings: TroupeSettings) -> Endpoint:
    """The endpoint whose Batch API is used: the first one of a pool that has one."""
    each = settings.endpoint.each
    return next((member for member in each if member.vendor.batches is not None), each[0])


def _common_vendor(endpoint: Endpoint) -> bool:
    """Whether all members of a pool have one vendor, so that each can do what the first can."""
    return all(member.vendor == endpoint.vendor for member in endpoint.each)


def _routes(settings: TroupeSettings, batches: Ref | None) -> tuple[Route, ...]:
    """The live route, the other routes that the endpoint has, and the user's."""
    wanted, vendor = settings.routing, settings.endpoint.vendor
    prices = _prices_at(settings, settings.endpoint)
    tiers: Mapping[str, Decimal] = vendor.tiers if _common_vendor(settings.endpoint) else {}
    routes: list[Route] = [routing.LiveRoute(prices)]
    if wanted.flex and "flex" in tiers:
        routes.append(
            routing.TierRoute(
                "flex", prices, tiers["flex"], wanted.flex_from_s, _FLEX_S, vendor.tier_field
            )
        )
    if wanted.priority and "priority" in tiers:
        routes.append(
            routing.TierRoute(
                "priority", prices, tiers["priority"], 0.0, _PRIORITY_S, vendor.tier_field
            )
        )
    if wanted.batch and batches is not None:
        routes.append(
            routing.BatchRoute(batches, prices, wanted.batch_from_s, is_only=wanted.batch_only)
        )
    return (*routes, *settings.routes)


def _strategies(settings: TroupeSettings) -> tuple[BatchStrategy, ...]:
    """The user's strategies, then lists where the endpoint takes them, then packing."""
    strategies = list(settings.strategies)
    vendor = settings.endpoint.vendor
    formats: Mapping[Task, WireFormat] = vendor.formats if _common_vendor(settings.endpoint) else {}
    embeddings, completions = formats.get("embedding"), formats.get("completion")
    if isinstance(embeddings, OpenAIEmbeddings):
        strategies.append(batching.ListStrategy("embedding", _with_margin(embeddings.takes)))
    if isinstance(completions, OpenAICompletions) and completions.several_prompts:
        strategies.append(batching.ListStrategy("completion", _with_margin(completions.takes)))
    if settings.packing is not None:
        strategies.append(settings.packing)
    return tuple(strategies)


def _with_margin(limits: BatchLimits) -> BatchLimits:
    """Lower the token limit a little, because the tokens of a request are estimated."""
    if limits.max_tokens is None:
        return limits
    return attrs.evolve(limits, max_tokens=max(1, int(limits.max_tokens * _TOKEN_MARGIN)))
