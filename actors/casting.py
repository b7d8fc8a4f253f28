"""Cast a troupe: spawn its actors and connect each stage to the next."""

import secrets
from collections.abc import AsyncGenerator, Callable
from functools import partial
from typing import TypedDict, Unpack, overload

import attrs

from ..runtime import Actor, Ref, RestartPolicy, Runtime, Supervisor, open_runtime

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
from .deriving import (
    account_of,
    batch_endpoint_of,
    beginning_share_of,
    expected_reads_of,
    health_of,
    other_prices,
    prices_at,
    routes_of,
    strategies_of,
)
from .events import Destination
from .pool_health import PoolHealth
from .settings import TroupeSettings
from .stages import Insertion, StageChain, StageName
from .trio_only import trio_block
from .troupe import Troupe


async def cast_troupe(
    runtime: Runtime,
    settings: TroupeSettings,
    *,
    prefix: str = "",
    supervisor: Supervisor | None = None,
) -> Troupe:
    """Spawn the actors of a troupe in an open runtime, the last stage first.

    Args:
        runtime: the runtime that the actors run in.
        settings: the settings of the troupe.
        prefix: a prefix of the actors' names, which must differ if one supervisor has several
            troupes.
        supervisor: restarts the actors of the troupe and stops them: one of the runtime, made by
            `Runtime.supervise` with a strategy and a policy of its own; None for the root.

    Raises:
        ValueError: the environment names a proxy or certificate authorities that cannot be used;
            the message names the variable.
        InspectionUnavailable: the socket of `inspect` cannot be opened; the message says why.
    """
    if not isinstance(settings, TroupeSettings):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
        raise TypeError(  # without their text, which may have a key
            f"settings must be TroupeSettings(endpoint=...), not {type(settings).__name__}"
        )
    if settings.transport is None:
        for used in (settings.endpoint, *(target.endpoint for target in settings.fallbacks)):
            for endpoint in used.each:
                http.check_environment(endpoint)
    place = runtime if supervisor is None else supervisor
    inspected = records = None
    if settings.inspect is not None:
        inspected = await inspection.Inspection.begin(
            place, prefix, settings.inspect, has_ledger=settings.ledger is not None
        )
        records = inspected.records
    measured, metrics = None, settings.metrics
    if metrics is not None:
        measured = await place.supervise(f"{prefix}metrics", restart="temporary")
        settings = attrs.evolve(settings, observer=(settings.observer, metrics))
    published = None
    if settings.shared is not None:
        ledger = None if settings.ledger is None else settings.ledger.path
        published = await inspection.Publication.begin(
            place, prefix, settings.shared, ledger="" if ledger is None else str(ledger)
        )
        if published is not None and records is None:  # reports have costs and errors, too
            records = inspection.CallRecords(has_ledger=settings.ledger is not None)
    if records is not None:
        settings = attrs.evolve(settings, observer=(settings.observer, records))
    casting = _Casting(place, settings, prefix)
    requester = await casting.spawn_requester()
    limiter = await casting.spawn_limiter(await casting.way_to("requester", requester))
    live = await casting.way_to("limiter", limiter)
    prompt_cache_ref = await casting.spawn_prompt_cache(live)
    live = await casting.way_to("prompt_cache", prompt_cache_ref) or live
    batches = await casting.spawn_batches(live)
    router = await casting.spawn_router(live, await casting.way_to("batches", batches))
    to_router = await casting.way_to("router", router)
    ledger_ref = await casting.spawn_ledger(to_router)
    to_ledger = await casting.way_to("ledger", ledger_ref)
    deferred = to_ledger or to_router
    batcher = await casting.spawn_batcher(deferred if casting.routes_all else live, deferred)
    to_batcher = await casting.way_to("batcher", batcher)
    cache_ref = await casting.spawn_cache(to_batcher)
    first_stage = await casting.way_to("cache", cache_ref) or to_batcher
    composer = await casting.spawn_composer(first_stage)
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
        first_stage=first_stage,
        inserted=casting.inserted,
        observer=settings.observer,
        destination=casting.destination,
        runtime=runtime,
        records=records,
        max_in_flight=casting.max_in_flight,
    )
    if inspected is not None:
        inspected.serve(troupe.reading)
    if published is not None:
        await published.start(partial(troupe.reader.read, 1))
    if metrics is not None and measured is not None:
        prices, lanes = prices_at(settings, settings.endpoint), settings.limits.lanes
        await metrics.attach(troupe, place=measured, prices=prices, lanes=lanes)
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


class _SpawnSettings(TypedDict, total=False):
    capacity: int
    concurrency: int
    max_deferred: int | None


@attrs.frozen
class _Casting:
    """Spawns the actors of one troupe.

    Args:
        place: the runtime, or the supervisor of the actors.
        settings: the settings of the troupe.
        prefix: a prefix of the actors' names.
        chain: the stages, with those of the program.
        inserted: the stages of the program before each built-in one, as far as they are spawned;
            one that stands instead of a built-in stage is before the next one.
        health: which members are left out, if the endpoint is a pool. It outlives the actors.
    """

    place: Runtime | Supervisor
    settings: TroupeSettings
    prefix: str
    chain: StageChain = attrs.field(
        default=attrs.Factory(lambda self: self.settings.chain, takes_self=True), init=False
    )
    inserted: dict[StageName, tuple[Ref, ...]] = attrs.field(
        factory=dict[StageName, tuple[Ref, ...]], init=False
    )
    health: PoolHealth = attrs.field(
        default=attrs.Factory(lambda self: health_of(self.settings), takes_self=True), init=False
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

    @property
    def routes_all(self) -> bool:
        """Whether calls without a deadline pass the router, too, which they do not need."""
        is_on_way = self.chain.leading_to("router") or self.chain.replacing("router")
        return self.settings.ledger is not None or bool(is_on_way)

    @overload
    async def way_to(self, name: StageName, ref: Ref) -> Ref: ...

    @overload
    async def way_to(self, name: StageName, ref: Ref | None) -> Ref | None: ...

    async def way_to(self, name: StageName, ref: Ref | None) -> Ref | None:
        """Spawn the stages of the program that lead to a stage; return the first of them."""
        inserted: tuple[Ref, ...] = ()
        for one in reversed(self.chain.leading_to(name)):
            if ref is not None:
                ref = await self._spawn_own(one, (ref,))
                inserted = (ref, *inserted)
        self.inserted[name] = inserted
        return ref

    async def _spawn_own(self, one: Insertion, to: tuple[Ref, ...]) -> Ref:
        """Spawn a stage of the program before another one, if there is one."""
        concurrency = 1 if to else self.max_in_flight
        return await self.place.spawn(
            f"{self.prefix}{one.name}",
            partial(one.made, *to),
            capacity=self.capacity if to else self.max_in_flight,
            concurrency=one.concurrency or concurrency,
        )

    async def _spawn(
        self,
        name: StageName,
        to: tuple[Ref, ...],
        factory: Callable[[], Actor],
        **settings: Unpack[_SpawnSettings],
    ) -> Ref:
        """Spawn a built-in stage, or the one of the program that stands instead of it."""
        own = self.chain.replacing(name)
        if own is None:
            return await self.place.spawn(f"{self.prefix}{name}", factory, **settings)
        ref = await self._spawn_own(own, to)
        if (behind := self.chain.following(name)) is not None:
            self.inserted[behind] = (ref, *self.inserted[behind])
        return ref

    async def spawn_requester(self) -> Ref:
        """Spawn the last stage, which sends HTTP requests."""
        settings = self.settings
        return await self._spawn(
            "requester",
            (),
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
        return await self._spawn(
            "limiter",
            (requester,),
            partial(
                rate_limit.RateLimiterActor,
                requester,
                settings.limits,
                settings.observer,
                prices_at(settings, settings.endpoint),
                members=[
                    rate_limit.PoolMember(
                        name=member.key_name,
                        weight=member.weight,
                        limits=settings.member_limits.get(member.key_name),
                    )
                    for member in settings.endpoint.members
                ],
                health=self.health,
                shared=self._shared_limits(),  # outlives the incarnations of the actor
            ),
            capacity=self.capacity,
            max_deferred=settings.max_waiting_calls,
        )

    def _shared_limits(self) -> rate_limit.SharedLimiting | None:
        """Return what the limiter shares with those of other processes, if the settings ask it."""
        stores = self.settings.shared
        if stores is None:
            return None
        store = stores.limits(account_of(self.settings.endpoint))
        leased = rate_limit.LeasedLimits(secrets.token_hex(8))  # unique, whatever the seed is
        return rate_limit.SharedLimiting(store, stores.outage == "divide", leased)

    async def spawn_prompt_cache(self, limiter: Ref) -> Ref | None:
        """Spawn the stage of the prompt cache before the limiter, if the endpoint has one."""
        settings, endpoint = self.settings, self.settings.endpoint
        if not settings.has_prompt_cache:
            return None
        return await self._spawn(
            "prompt_cache",
            (limiter,),
            partial(
                prompt_cache.PromptCacheActor,
                limiter,
                endpoint,
                prices_at(settings, endpoint),
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
        return await self.place.spawn(
            f"{self.prefix}batches",
            partial(
                batch_api.BatchApiActor,
                live,
                batch_endpoint_of(settings),
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
        return await self._spawn(
            "router",
            (live,),
            partial(
                routing.RouterActor,
                live,
                routes_of(self.settings, batches),
                expected_reads_of(self.settings),
            ),
            capacity=self.capacity,
            max_deferred=self.settings.max_waiting_calls,
        )

    async def spawn_ledger(self, router: Ref) -> Ref | None:
        """Spawn the ledger before the router."""
        settings = self.settings
        if settings.ledger is None:
            return None
        stores = settings.shared
        accounts = ledger.Accounts(  # which outlive the incarnations of the actor
            settings.ledger,
            store=None if stores is None else stores.ledger(settings.ledger.shared_name),
            waits=stores is not None and stores.outage == "wait",
        )
        return await self._spawn(
            "ledger",
            (router,),
            partial(
                ledger.LedgerActor,
                router,
                accounts,
                prices_at(settings, settings.endpoint),
                fallbacks=tuple(other_prices(settings)),
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
        return await self._spawn(
            "batcher",
            (deferred,),
            partial(
                batching.BatcherActor,
                live,
                self.settings.batching,
                strategies_of(self.settings),
                deferred,
                prices=prices_at(self.settings, self.settings.endpoint),
                agreements=batching.Agreements(),
                beginning_share=beginning_share_of(self.settings),
                observer=self.settings.observer,
            ),
            capacity=self.capacity,
        )

    async def spawn_cache(self, batcher: Ref) -> Ref | None:
        """Spawn the cache before the batcher."""
        settings = self.settings
        if settings.cache is None:
            return None
        return await self._spawn(
            "cache",
            (batcher,),
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
                shared=None if settings.shared is None else settings.shared.cache(settings.cache),
            ),
            capacity=self.capacity,
            concurrency=8,
            max_deferred=settings.max_waiting_calls,
        )

    async def spawn_composer(self, first_stage: Ref) -> Ref:
        """Spawn the composer, which makes calls to the first stage."""
        settings = self.settings
        return await self.place.spawn(
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
