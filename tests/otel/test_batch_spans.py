"""The spans of calls that go through a Batch API, in one process and over a death."""

import subprocess
import sys
import time
from contextlib import asynccontextmanager

import httpx
import pytest
import trio
from batch_provider import MODEL, URL, BatchProvider
from fakes import Reply, Script
from provider_process import provider_process
from tracing import chat

from callsheet.actors import BatchApiPolicy, Endpoint, Routing, TroupeSettings, open_troupe
from callsheet.actors.batch_api import journal as journals

CALL = f"chat {MODEL}"
DAY_S = 86_400.0


class BothWays(BatchProvider):
    """Takes batches and live calls."""

    def __init__(self, *replies, **more):
        super().__init__(**more)
        self.live = Script(*replies)

    async def handle_async_request(self, request):
        if request.url.path.endswith("/chat/completions"):
            return await self.live.handle_async_request(request)
        return await super().handle_async_request(request)


@asynccontextmanager
async def batching(telemetry, provider, **policy):
    settings = TroupeSettings(
        endpoint=Endpoint(URL, "sk-1234567890", "openai"),
        transport=provider,
        observer=telemetry.observer,
        batches=BatchApiPolicy(**policy),
        routing=Routing(batch_only=True),
        prompt_caching="off",
        packing=None,
    )
    async with open_troupe(settings) as troupe:
        yield troupe


def patient(prompt):
    return chat(prompt, deadline=DAY_S)


async def until_polled(provider, function, *args):
    """Run a function until the provider is asked for the state of a batch; then cancel it.

    A cancel scope with a deadline would be a deadline of the calls, which would be sent live.
    """
    with trio.CancelScope() as scope:

        async def hook(what, when):
            if (what, when) == ("poll", "after"):
                scope.cancel()
            await trio.lowlevel.checkpoint()

        provider.hook = hook
        await function(*args)
    provider.hook = None


async def test_the_attempt_of_a_batched_call_lasts_from_its_sending_to_its_result(
    autojump_clock, telemetry
):
    async with batching(telemetry, BothWays()) as troupe:
        await telemetry.ask_all(troupe, patient("x"), patient("y"))
    assert telemetry.tree() == [
        ["caller of a", [CALL, "batch"]],
        ["caller of b", [CALL, "batch"]],
    ]
    call = telemetry.call("a")
    (one,), (other,) = (telemetry.attempts(telemetry.call(id_)) for id_ in "ab")
    assert one.attributes["callsheet.batch.id"] == other.attributes["callsheet.batch.id"] != ""
    assert one.attributes["server.address"] == "provider"
    assert one.attributes["http.response.status_code"] == 200
    assert "http.request.method" not in one.attributes
    assert call.attributes["callsheet.route"] == "batch"
    assert call.attributes["gen_ai.provider.name"] == "openai"
    assert repr(telemetry.observer) == "<OpenTelemetry: 0 calls open>"


async def test_a_line_that_fails_has_an_attempt_before_the_live_one(autojump_clock, telemetry):
    provider = BothWays(Reply(), fates={"x": 500})
    async with batching(telemetry, provider) as troupe:
        await telemetry.ask_all(troupe, patient("x"))
    assert telemetry.tree() == [["caller of a", [CALL, "batch", "POST"]]]
    line, live = telemetry.attempts(telemetry.call("a"))
    assert (line.attributes["error.type"], line.attributes["http.response.status_code"]) == (
        "500",
        500,
    )
    assert "error.type" not in live.attributes
    (rerouted,) = telemetry.call("a").events
    assert rerouted.name == "callsheet.rerouted"
    assert "500" in rerouted.attributes["callsheet.reason"]


async def test_a_call_whose_deadline_is_near_leaves_its_line(autojump_clock, telemetry):
    provider = BothWays(Reply(), batch_s=50_000.0)
    async with batching(telemetry, provider) as troupe:
        await telemetry.ask_all(troupe, chat("x", deadline=7200.0))
    assert telemetry.tree() == [["caller of a", [CALL, "batch", "POST"]]]
    assert telemetry.call("a").attributes["callsheet.route"] == "live"


async def test_a_call_that_is_given_up_ends_its_attempt(autojump_clock, telemetry):
    provider = BothWays()
    async with batching(telemetry, provider) as troupe:
        await until_polled(provider, telemetry.ask_all, troupe, patient("x"))
        assert telemetry.tree() == [["caller of a", [CALL, "batch"]]]
    (line,) = telemetry.attempts(telemetry.call("a"))
    assert line.attributes["error.type"] == "cancelled"


@pytest.mark.parametrize("pause_s", [10.0, 500.0])
async def test_a_call_gets_the_line_of_the_call_before(
    autojump_clock, monkeypatch, tmp_path, telemetry, pause_s
):
    """Its batch is in flight, or its result is in the journal already."""
    monkeypatch.setattr(journals, "in_worker_thread", journals.in_place)  # no real time
    provider, journal = BothWays(batch_s=100.0), tmp_path / "journal"
    async with batching(telemetry, provider, journal=journal, abandon_s=1000.0) as troupe:
        await until_polled(provider, telemetry.ask_all, troupe, patient("x"))
        first = telemetry.spans
        telemetry.exporter.clear()
        await trio.sleep(pause_s)
        await telemetry.ask_all(troupe, patient("x"))
    assert telemetry.tree() == [["caller of a", [CALL, "batch"]]]
    (before,) = [span for span in first if span.name == "batch"]
    after = telemetry.one("batch")
    assert after.attributes["callsheet.batch.id"] == before.attributes["callsheet.batch.id"]
    assert after.attributes["callsheet.batch.resumed"] is True
    assert "callsheet.batch.resumed" not in before.attributes
    assert telemetry.call("a").attributes["callsheet.outcome"] == "answered"
    assert len(provider.billed) == 1


PROGRAM = """
import sys

import trio
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

from callsheet.actors import (
    BatchApiPolicy, Endpoint, Request, Routing, TroupeSettings, open_troupe,
)
from callsheet.otel import OpenTelemetry

class Printer(SpanProcessor):
    def on_start(self, span, parent_context=None):
        self.show("start", span)

    def on_end(self, span):
        self.show("end", span)

    def show(self, what, span):
        batch = span.attributes.get("callsheet.batch.id")
        is_resumed = span.attributes.get("callsheet.batch.resumed", False)
        print(what, span.name.replace(" ", "-"), batch, is_resumed, flush=True)

async def main(url, journal):
    tracers = TracerProvider()
    tracers.add_span_processor(Printer())
    settings = TroupeSettings(
        endpoint=Endpoint(url, None, "openai"),
        observer=OpenTelemetry(tracers),
        batches=BatchApiPolicy(journal=journal, gather_s=0.05, poll_s=0.2),
        routing=Routing(batch_only=True),
    )
    async with open_troupe(settings) as troupe:
        await troupe.complete(Request.of("Hi", model="gpt-4o", deadline=86400.0), call="a")

trio.run(main, *sys.argv[1:])
"""


def run_program(url, journal):
    command = [sys.executable, "-c", PROGRAM, url, str(journal)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def created_batches(url):
    return httpx.get(f"{url}/batches", headers={"authorization": "Bearer x"}).json()["data"]


@pytest.mark.slow
@pytest.mark.sockets
def test_a_call_after_a_kill_names_the_batch_of_the_call_before(tmp_path):
    with provider_process("--time-scale", "0.02") as url:
        first = run_program(url, tmp_path / "journal")
        with first:
            lines = iter(lambda: first.stdout.readline().split(), [])
            begun = next(line for line in lines if line[:2] == ["start", "batch"])
            while not created_batches(url):
                time.sleep(0.02)
            first.kill()
        with run_program(url, tmp_path / "journal") as second:
            found = [line.split() for line in second.stdout]
        assert second.returncode == 0
    batch = begun[2]
    assert begun == ["start", "batch", batch, "False"]
    assert found == [
        ["start", "chat-gpt-4o", "None", "False"],
        ["start", "batch", batch, "True"],
        ["end", "batch", batch, "True"],
        ["end", "chat-gpt-4o", "None", "False"],
    ]
