"""Troupes with the built-in provider, in this process and on the virtual clock."""

import itertools
from contextlib import asynccontextmanager

import attrs
import httpx
import trio
from fakes import MODEL, URL
from trio.testing import wait_all_tasks_blocked

from callsheet.actors import Endpoint, Request, TroupeSettings, cast_troupe
from callsheet.runtime.testing.conservation import check_conservation, open_test_runtime
from callsheet.simulator.app import Provider
from callsheet.simulator.inprocess import ProviderTransport
from callsheet.simulator.settings import ProviderSettings

VENDORS = {"openai": ("openai", None), "anthropic": ("anthropic", "sk-ant-1234567890")}


@attrs.define(eq=False)
class Sent:
    """A request sent to the provider."""

    at: float
    host: str
    headers: httpx.Headers
    body: bytes


class FaultTransport(httpx.AsyncBaseTransport):
    """Passes requests on, each with the next of the faults, and after the last one with "ok".

    Args:
        transport: the next transport.
        faults: the fault of each request; None lets the provider choose at random.
    """

    def __init__(self, transport, *faults, then="ok"):
        self.transport = transport
        self.faults = itertools.chain(faults, itertools.repeat(then))
        self.sent = []

    async def handle_async_request(self, request):
        body = await request.aread()
        self.sent.append(Sent(trio.current_time(), request.url.host, request.headers.copy(), body))
        fault = next(self.faults)
        if fault is not None:
            request.headers["x-callsheet-fault"] = fault
        return await self.transport.handle_async_request(request)


@attrs.define(eq=False)
class TroupeUnderTest:
    """A troupe and its surroundings.

    Attributes:
        troupe: the troupe.
        runtime: the runtime of its actors.
        provider: the simulated provider.
        sent: the requests that the provider received.
        events: the events that the troupe's observer received.
    """

    troupe: object
    runtime: object
    provider: Provider
    transport: FaultTransport
    events: list

    @property
    def sent(self):
        return self.transport.sent

    @property
    def stats(self):
        return self.provider.stats

    @property
    def stages(self):
        return [event.stage for event in self.events]

    async def at_rest(self):
        """Check an idle troupe: nothing is in progress or lost, and no actor has crashed."""
        await wait_all_tasks_blocked()
        snapshot = self.runtime.snapshot()
        check_conservation(snapshot)
        for actor in snapshot.actors:
            assert (actor.incarnation, actor.deferred, actor.pending) == (1, 0, 0), actor
            assert actor.in_progress == (), actor
        for _, breaker in (await self.troupe.request_statistics()).breakers:
            assert breaker.under_way == 0


@asynccontextmanager
async def house(*faults, then="ok", vendor="openai", provider=None, **settings):
    """Open a troupe with a provider; `faults` are those of the first requests."""
    name, key = VENDORS[vendor]
    provider = Provider(provider or ProviderSettings(latency_s=(3.0, 3.0)))
    events = []
    async with ProviderTransport(provider) as inner:
        transport = FaultTransport(inner, *faults, then=then)
        settings.setdefault("endpoint", Endpoint(URL, key, name))
        async with open_test_runtime() as runtime:
            troupe = await cast_troupe(
                runtime,
                TroupeSettings(transport=transport, observer=events.append, **settings),
            )
            yield TroupeUnderTest(troupe, runtime, provider, transport, events)
        await wait_all_tasks_blocked()
        assert provider.stats.in_flight == 0


def asked(prompt="Describe the sea.", **more):
    more.setdefault("max_tokens", 300)  # a shorter response is not streamed underneath
    return Request.of(prompt, model=MODEL, **more)


async def pieces_of(troupe, request=None, **more):
    """Return the pieces of a stream."""
    async with troupe.stream(request or asked(), **more) as items:
        return [item async for item in items]
