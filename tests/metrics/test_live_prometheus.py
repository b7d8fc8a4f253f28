"""A real Prometheus scrapes a real troupe: every query and every rule of deploy/ is run there."""

import json
import socket
from contextlib import suppress
from functools import partial

import pytest
import trio
from prometheus_tools import DEPLOY, running_prometheus

from callsheet.actors import (
    BatchApiPolicy,
    Budget,
    CachePolicy,
    CallFailed,
    Endpoint,
    HedgePolicy,
    LedgerPolicy,
    Limits,
    Request,
    TroupeSettings,
    open_troupe,
)
from callsheet.metrics import Metrics
from callsheet.runtime import AskFailed
from callsheet.simulator.app import Provider
from callsheet.simulator.faults import Faults
from callsheet.simulator.inprocess import ProviderTransport
from callsheet.simulator.settings import ProviderSettings

pytestmark = [pytest.mark.sockets, pytest.mark.usefixtures("prometheus_installed")]

MODEL = "gpt-4o-mini"
DASHBOARD = json.loads((DEPLOY / "grafana" / "callsheet.json").read_text())
VARIABLES = {
    "$__rate_interval": "30s", "$job": ".*", "$instance": ".*", "$model": ".*",
}  # fmt: skip


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def filled(expression):
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    return expression


async def work(troupe):
    """Make calls of every kind until cancelled, so that each metric has a series."""
    number = 0
    async with trio.open_nursery() as nursery:

        async def call(request, **more):
            with suppress(CallFailed, AskFailed):
                await troupe.complete(request, **more)

        while True:
            number += 1
            ask = partial(Request.of, model=MODEL, max_tokens=20)
            nursery.start_soon(call, ask(f"Hi {number}"))
            nursery.start_soon(call, ask("Hi", cacheable=True))
            nursery.start_soon(call, Request.of(f"Hi {number}", model="unheard-of", max_tokens=9))
            nursery.start_soon(partial(call, ask(f"late {number}"), timeout=0.01))
            if number <= 3:
                later = Request.of(f"later {number}", model=MODEL, max_tokens=20, deadline=90_000)
                nursery.start_soon(call, later)
            await trio.sleep(0.1)


def settings_at(transport, metrics):
    return TroupeSettings(
        endpoint=Endpoint("http://provider/v1", "sk-0123456789", "openai"),
        transport=transport,
        metrics=metrics,
        cache=CachePolicy(path=None),
        ledger=LedgerPolicy(budgets=[Budget("50", allow_unknown=True)]),
        batches=BatchApiPolicy(),
        hedging=HedgePolicy(),
        limits=Limits(in_flight=20, rpm=6000),
    )


async def test_every_query_and_rule_runs_against_a_scraped_troupe(tmp_path):
    faults = Faults.parse("429=0.1,500=0.1,lost=0.1")
    provider = Provider(ProviderSettings(time_scale=0.05, faults=faults, seed=3))
    metrics = Metrics(listen="127.0.0.1:0")
    async with (
        ProviderTransport(provider) as transport,
        open_troupe(settings_at(transport, metrics), drain_s=0) as troupe,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(work, troupe)
        await trio.to_thread.run_sync(check, tmp_path, metrics.address)
        nursery.cancel_scope.cancel()


def check(folder, address):
    """Let a server scrape, and run every query and rule there; blocks."""
    with running_prometheus(folder, address, free_port()) as server:
        server.wait_for("count_over_time(callsheet_troupe_open[1m])", at_least=8)
        queries = [
            filled(target["expr"])
            for panel in DASHBOARD["panels"]
            for target in panel.get("targets", ())
        ]
        empty = [query for query in queries if not server.query(query)]
        assert empty == []
        assert sum(server.query('up{job="callsheet"}').values()) == 1
        (calls,) = server.query("sum(callsheet_calls_total)").values()
        assert calls > 20
        rules = server.rules()
        assert len(rules) > 10
        assert [rule for rule in rules if rule["health"] != "ok"] == []
        firing = {rule["name"] for rule in rules if rule["state"] == "firing"}
        assert firing <= {"CallsheetUnpricedCalls", "CallsheetActorRestarts"}
