"""A gateway as far as the page needs one: two troupes, calls of tenants, and a server.

`python tests/gateway/page/page_demo.py` serves it with calls of its own, to look at.
"""

import itertools
from contextlib import asynccontextmanager, suppress

import attrs
import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from starlette.applications import Starlette

from callsheet.actors import (
    Budget,
    CallFailed,
    ChatMessage,
    Endpoint,
    Lane,
    LedgerPolicy,
    Limits,
    Rate,
    Request,
    RetryPolicy,
    TroupeSettings,
    cast_troupe,
)
from callsheet.gateway.page import CallRecorder, PageAccess, PageSessions, page_routes
from callsheet.runtime import open_runtime
from callsheet.simulator.app import Provider
from callsheet.simulator.faults import Faults
from callsheet.simulator.inprocess import ProviderTransport
from callsheet.simulator.settings import ProviderSettings

BUDGETS = (Budget("25", per="tenant", period="day"),)
KEY = "an-admin-key-for-tests"
LANES = {"team-a": Lane(weight=2), "team-b": Lane(), "research": Lane()}


@attrs.define(eq=False)
class DemoGateway:
    """What the page asks of the gateway; see `GatewayView`."""

    troupes: dict
    recorder: CallRecorder
    started_at: float = attrs.field(factory=trio.current_time)
    draining: trio.Event = attrs.field(factory=trio.Event)
    numbers: itertools.count = attrs.field(factory=lambda: itertools.count(1))

    def tenants(self):
        return []

    async def readings(self):
        return {name: await troupe.reading() for name, troupe in self.troupes.items()}

    async def costs(self):
        troupe = next(iter(self.troupes.values()))
        return None if troupe.ledger is None else await troupe.costs()

    async def call(self, troupe="main", lane="team-a", text="hello", model="gpt-5-nano", **more):
        """Make one call; return its response, or None if it fails."""
        request = Request(model=model, messages=(ChatMessage("user", text),), max_tokens=60, **more)
        name = f"req_{next(self.numbers):06}"
        with suppress(CallFailed):
            return await self.troupes[troupe].complete(request, call=name, lane=lane)


@asynccontextmanager
async def open_demo(names=("main",), *, ledger=True, limits=None, **provider):
    """Open troupes at a provider in this process."""
    recorder = CallRecorder()
    simulated = Provider(ProviderSettings(seed=7, **provider))
    endpoint = Endpoint("http://provider.test/v1", "key-of-the-demo")
    transport = ProviderTransport(simulated)
    async with transport, open_runtime("gateway") as runtime:
        troupes = {}
        for name in names:
            settings = TroupeSettings(
                endpoint=endpoint,
                transport=transport,
                observer=recorder.observer(name),
                ledger=LedgerPolicy(budgets=BUDGETS) if ledger else None,
                limits=limits or Limits(lanes=LANES),
                retry=RetryPolicy(max_attempts=3, base_s=0.05),
            )
            troupes[name] = await cast_troupe(runtime, settings, prefix=f"{name}-")
        yield DemoGateway(troupes, recorder)


@asynccontextmanager
async def served(view, *, admin_key=KEY, port=0):
    """Serve the page of a gateway, and yield its address."""
    access = PageAccess(PageSessions(admin_key) if admin_key else None)
    app = Starlette(routes=page_routes(view, access))
    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.graceful_timeout = 0.1
    async with trio.open_nursery() as nursery:
        ended = trio.Event()
        addresses = await nursery.start(
            lambda task_status: serve(
                app, config, shutdown_trigger=ended.wait, task_status=task_status
            )
        )
        yield addresses[0]
        ended.set()
        nursery.cancel_scope.cancel()


async def make_calls(view):
    """Make calls of all kinds for as long as it is not cancelled."""
    lanes = itertools.cycle([*LANES, "team-a", "team-a", ""])
    async with trio.open_nursery() as nursery:
        for number in itertools.count():
            lane = next(lanes)
            troupe = "spare" if number % 5 == 0 and "spare" in view.troupes else "main"
            model = "gpt-5-mini" if number % 3 == 0 else "gpt-5-nano"
            nursery.start_soon(view.call, troupe, lane, f"question {number}", model)
            await trio.sleep(0.08)


async def main():
    limits = Limits(rates=(Rate("requests", 600), Rate("tokens", 60_000)), in_flight=8, lanes=LANES)
    faults = Faults({"500": 0.1, "429": 0.03, "malformed": 0.02})
    demo = open_demo(("main", "spare"), limits=limits, latency_s=(0.3, 1.5), faults=faults)
    async with demo as view, served(view, port=4010) as address:
        print(f"{address}/ui, admin key {KEY}", flush=True)
        await make_calls(view)


if __name__ == "__main__":
    trio.run(main)
