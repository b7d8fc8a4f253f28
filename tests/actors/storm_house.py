"""A troupe with every stage that deals in money, and two providers that count what they bill."""

import re
from contextlib import asynccontextmanager
from contextvars import ContextVar
from decimal import Decimal
from functools import partial, partialmethod
from random import Random
from unittest.mock import patch

import attrs
import httpx
import trio
from fakes import URL
from storm_calls import POOR
from trio.testing import wait_all_tasks_blocked

from callsheet.actors import (
    BatchApiPolicy,
    BreakerPolicy,
    Budget,
    CachePolicy,
    Endpoint,
    HedgePolicy,
    Lane,
    LedgerPolicy,
    Limits,
    Request,
    RetryPolicy,
    Target,
    Timeouts,
    TroupeSettings,
    Usage,
    cast_troupe,
    default_prices,
    open_troupe,
)
from callsheet.runtime import RestartPolicy
from callsheet.runtime.testing.conservation import check_conservation, open_test_runtime
from callsheet.runtime.testing.faults import Faulty
from callsheet.simulator.app import Provider
from callsheet.simulator.caching import NO_CACHE
from callsheet.simulator.faults import Faults
from callsheet.simulator.inprocess import ProviderTransport
from callsheet.simulator.settings import BatchSettings, ProviderSettings
from callsheet.simulator.stats import RunningStats

OTHER_URL, OTHER_MODEL = "http://two/v1", "gpt-4.1-mini"
PRICES = default_prices().at_vendor("openai")
BATCHES = BatchSettings(time_s=(20.0, 300.0), failing=0.05, unanswered=0.05)
PROVIDER = ProviderSettings(latency_s=(0.5, 3.0), seed=7, batches=BATCHES)
HOUR_S = 3600.0
POOR_USD, TENANT_USD = Decimal("0.0004"), Decimal("0.05")
BUDGETS = (
    Budget(POOR_USD, per="tenant", match=POOR),
    Budget(TENANT_USD, per="tenant"),
    Budget("0.005", per="call"),
    Budget("1", per="model", match="gpt-*"),
    Budget("0.12"),
)


@attrs.frozen
class StormFiles:
    """The files that outlive a process."""

    folder: object

    @property
    def ledger(self):
        return self.folder / "ledger"

    def policies(self):
        """Return the settings that name the files."""
        return {
            "ledger": LedgerPolicy(path=self.ledger, budgets=BUDGETS),
            "cache": CachePolicy(path=self.folder / "cache"),
            "batches": BatchApiPolicy(journal=self.folder / "journal"),
        }


def storm_settings(files, **more):
    """Return the settings of a troupe that has all of it on."""
    settings = {
        "endpoint": Endpoint(URL, "sk-one-0123456789", "openai"),
        "fallbacks": [Target(Endpoint(OTHER_URL, "sk-two-0123456789", "openai"), OTHER_MODEL)],
        "limits": Limits(in_flight=50, rpm=3000, lanes={POOR: Lane(weight=0.5)}),
        "retry": RetryPolicy(max_attempts=3),
        "timeouts": Timeouts(first_byte_s=10),
        "breaker": BreakerPolicy(),
        "hedging": HedgePolicy(min_calls=10, max_share=0.3),
        "prompt_caching": "auto",
    }
    return TroupeSettings(**(settings | files.policies() | more))


# Usages of which the request or the others show that they are not true.
ODD_USAGES = (
    (rb'"completion_tokens":\d+', b'"completion_tokens":9223372036854775808'),
    (rb'"completion_tokens":\d+', b'"completion_tokens":-4'),
    (rb'"completion_tokens":\d+', b'"completion_tokens":"many"'),
    (rb'"completion_tokens":\d+', b'"completion_tokens":1'),  # the total has the rest
    (rb'"prompt_tokens":\d+', b'"prompt_tokens":77777777'),
    (rb'"usage":\{', b'"usages":{'),
)


ALONE = re.compile(r"\b(?:ship|fleet|wharf|pilot)-\d+")
"""The marks of calls that share no request with others."""
billed_for = ContextVar("billed_for", default="")
"""The mark of the request that a provider works on."""


class StormTransport(httpx.AsyncBaseTransport):
    """Passes requests on by their host, and spoils the usage in a share of the responses.

    Args:
        by_host: {host: the next transport}.

    Attributes:
        odd: the share of responses whose usage is spoiled, 0 to 1.
        spoiled: the marks of requests with such a response.
        open: the number of responses that the client has not closed.
    """

    def __init__(self, by_host):
        self.by_host = by_host
        self.odd = 0.0
        self.spoiled = set()
        self.open = 0
        self.random = Random(11)

    async def handle_async_request(self, request):
        marks = set(ALONE.findall((await request.aread()).decode()))
        mark = marks.pop() if len(marks) == 1 else ""
        billed_for.set(mark)
        response = await self.by_host[request.url.host].handle_async_request(request)
        response.headers.pop("content-length", None)
        change = bytes
        if response.status_code == 200 and self.random.random() < self.odd:
            self.spoiled.add(mark)
            change = partial(re.sub, *self.random.choice(ODD_USAGES))
        self.open += 1
        response.stream = _Body(self, response.stream, change)
        return response


@attrs.define(eq=False)
class _Body(httpx.AsyncByteStream):
    transport: StormTransport
    body: httpx.AsyncByteStream
    change: object
    is_closed: bool = False

    def __aiter__(self):
        return self

    async def __anext__(self):
        return self.change(await self.body.__anext__())

    async def aclose(self):
        if not self.is_closed:
            self.is_closed = True
            self.transport.open -= 1
        await self.body.aclose()


@attrs.frozen(eq=False)
class CrashingRuntime:
    """A runtime whose actors crash once, at the nth checkpoint of their handlers.

    Args:
        runtime: the runtime.
        crashes: {name of the actor: the checkpoint}.
    """

    runtime: object
    crashes: dict

    async def spawn(self, name, factory, **more):
        if name in self.crashes:
            factory = Faulty(factory, crash_at_checkpoint=self.crashes[name])
        return await self.runtime.spawn(name, factory, **more)

    async def supervise(self, name, **more):
        return await self.runtime.supervise(name, **more)

    def snapshot(self):
        return self.runtime.snapshot()


@attrs.frozen(eq=False)
class StormProviders:
    """The first choice and the fallback.

    Args:
        each: both providers.
        transport: passes requests on to them.
        alone: {mark: the dollars that were billed for its requests}.
    """

    each: tuple
    transport: StormTransport
    alone: dict = attrs.field(factory=dict)

    def note(self, bill, stats, model, tier, *tokens):
        """Bill tokens, and note whose they are."""
        bill(stats, model, tier, *tokens)
        taken, given, cache = (*tokens, NO_CACHE)[:3]
        used = Usage(taken, given, cache.read, cache.written)
        usd = PRICES.price(model).at(tier).cost(used)
        self.alone[billed_for.get()] = self.alone.get(billed_for.get(), 0) + usd

    def check_idle(self):
        assert self.transport.open == 0
        for provider in self.each:
            assert provider.stats.in_flight == provider.stats.working == 0


@asynccontextmanager
async def storm_providers(faults):
    """Open two providers, which outlive the troupes that use them."""
    settings = attrs.evolve(PROVIDER, faults=Faults(faults, stall_s=60))
    one, two = Provider(settings), Provider(attrs.evolve(settings, latency_s=(1.0, 4.0)))
    async with ProviderTransport(one) as first, ProviderTransport(two) as second:
        transport = StormTransport({"provider": first, "two": second})
        providers, bill = StormProviders((one, two), transport), RunningStats.bill
        with patch.object(RunningStats, "bill", partialmethod(partial(providers.note, bill))):
            yield providers


@attrs.frozen(eq=False)
class StormHouse:
    """A troupe with everything on.

    Args:
        runtime: the runtime of the actors.
        troupe: the troupe.
    """

    runtime: object
    troupe: object

    async def rest(self):
        """Wait until nothing is under way, and check that nothing is left (R3, R9)."""
        await wait_all_tasks_blocked()
        await trio.sleep(2 * HOUR_S)  # abandoned calls and batches come to their ends
        await wait_all_tasks_blocked()
        snapshot = self.runtime.snapshot()
        check_conservation(snapshot)
        for actor in snapshot.actors:
            assert (actor.deferred, actor.pending, actor.in_progress) == (0, 0, ()), actor
        requests = await self.troupe.request_statistics()
        assert all(breaker.under_way == 0 for _, breaker in requests.breakers)
        limits = (await self.troupe.limiter_statistics()).limiter
        assert limits.in_flight == limits.waiting == 0
        batches = await self.troupe.batch_api_statistics()
        assert (batches.batches, batches.gathering, batches.submitted) == ({}, 0, 0)


@asynccontextmanager
async def storm_house(files, providers, *, crashes=None, **more):
    """Open a troupe with everything on, in a runtime that checks what it lost."""
    restarts = RestartPolicy(max_restarts=50)
    async with open_test_runtime(restarts=restarts) as runtime:
        place = CrashingRuntime(runtime, crashes or {})
        settings = storm_settings(files, transport=providers.transport, **more)
        yield StormHouse(runtime, await cast_troupe(place, settings))


@attrs.frozen
class Bills:
    """What providers have billed.

    Args:
        usage: {model: the tokens}.
        usd: {model: the dollars}.
    """

    usage: dict
    usd: dict

    @classmethod
    def of(cls, providers):
        """Return the sum of the providers' own counts."""
        usage, usd = {}, {}
        for provider in providers.each:
            for model, tiers in provider.stats.billed.items():
                for tier, tokens in tiers.items():
                    used = Usage(
                        tokens.input_tokens,
                        tokens.output_tokens,
                        cached_tokens=tokens.cached_tokens,
                        cache_write_tokens=tokens.written_tokens,
                    )
                    price = PRICES.price(model).at(tier)
                    usage[model] = usage.get(model, Usage()) + used
                    usd[model] = usd.get(model, Decimal(0)) + price.cost(used)
        return cls(usage, usd)


async def vectors_of(marks):
    """Return the vector of each text, as a provider without faults has it."""
    async with ProviderTransport(Provider(attrs.evolve(PROVIDER, time_scale=0))) as transport:
        settings = TroupeSettings(endpoint=Endpoint(URL, None, "openai"), transport=transport)
        async with open_troupe(settings) as troupe:
            request = Request.embedding(marks, model="text-embedding-3-small")
            return dict(zip(marks, (await troupe.complete(request)).embeddings, strict=True))
