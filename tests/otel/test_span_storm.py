"""A storm of calls that go each way at the same time: every span ends once, in the right place."""

import random
from collections import Counter, defaultdict
from functools import partial

import httpx
import pytest
import trio
from fakes import MODEL, RESET, TRUNCATED, Reply, Script, completion_json, refusal
from opentelemetry.sdk.trace import SpanProcessor
from tracing import Telemetry

from callsheet.actors import (
    CachePolicy,
    Endpoint,
    HedgePolicy,
    LedgerPolicy,
    Limits,
    Recipe,
    Request,
    Step,
    Target,
    open_troupe,
)

CALLS = 120
RECIPE = Recipe(
    name="post",
    model=MODEL,
    steps=(Step("title", "A {{ topic }}"), Step("body", "B {{ title }}", needs=("title",))),
)


class Storm(httpx.AsyncBaseTransport):
    """Answers, refuses, breaks and stalls at random. It answers a pack with what is no pack."""

    def __init__(self, chance):
        self.chance = chance
        self.script = Script()
        self.sent = 0

    async def handle_async_request(self, request):
        self.sent += 1
        after = self.chance.uniform(0.1, 8.0)
        self.script.lines = [
            self.chance.choice(
                [
                    *[Reply(after=after)] * 8,
                    Reply(after=60.0),
                    Reply(body=completion_json("broken"), after=after, then=TRUNCATED),
                    Reply(error=RESET, after=after),
                    refusal(500, after=after),
                    refusal(429, after=after),
                    refusal(400, after=after),
                ]
            )
        ]
        return await self.script.handle_async_request(request)


class Counting(SpanProcessor):
    """Counts how often each span begins and ends."""

    def __init__(self):
        self.begun, self.ended = Counter(), Counter()

    def on_start(self, span, parent_context=None):
        self.begun[span.context.span_id] += 1

    def on_end(self, span):
        self.ended[span.context.span_id] += 1


async def one_call(troupe, telemetry, chance, number):
    await trio.sleep(10.0 * chance.randrange(6))
    prompt = str(chance.randrange(40))
    request = Request.of(
        prompt,
        model=MODEL,
        cacheable=chance.random() < 0.5,
        packable=chance.random() < 0.5,
        system="Be brief. " * 300,
        max_tokens=chance.choice([50, None]),
        deadline=chance.choice([None, 90.0, 90.0]),
    )
    patience_s = chance.choice([0.5, 5.0, 1000.0])
    with telemetry.tracer.start_as_current_span("caller"), trio.move_on_after(patience_s):
        try:
            match chance.randrange(6):
                case 0:
                    async with troupe.stream(request, call=str(number)) as items:
                        async for _ in items:
                            pass
                case 1:
                    await troupe.compose(prompt)
                case 2:
                    slot = troupe.submit_nowait(request, call=str(number))
                    if chance.random() < 0.5:
                        slot.cancel()
                case _:
                    await troupe.complete(request, call=str(number))
        except Exception:  # noqa: BLE001  # any error may come
            pass


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 5))]
)
async def test_every_span_ends_once_below_its_parent(autojump_clock, caplog, seed):
    chance, telemetry, counting = random.Random(seed), Telemetry(content=True), Counting()
    telemetry.tracers.add_span_processor(counting)
    transport = Storm(chance)
    settings = telemetry.settings(
        transport,
        cache=CachePolicy(path=None),
        ledger=LedgerPolicy(),
        hedging=HedgePolicy(min_calls=10, max_share=0.3),
        limits=Limits(in_flight=10, rpm=600),
        fallbacks=(Target(Endpoint("https://other.example/v1", "key", "openai"), MODEL),),
        recipe=RECIPE,
    )
    async with open_troupe(settings, seed=str(seed)) as troupe, trio.open_nursery() as nursery:
        for number in range(CALLS):
            nursery.start_soon(partial(one_call, troupe, telemetry, chance, number))
    assert repr(telemetry.observer) == "<OpenTelemetry: 0 calls open>"
    assert caplog.records == []  # the SDK logs what is done to spans that have ended
    assert set(counting.begun.values()) == {1}
    assert counting.begun == counting.ended
    spans = {span.context.span_id: span for span in telemetry.spans}
    parents = defaultdict(set)
    for span in spans.values():
        above = "" if span.parent is None else spans[span.parent.span_id].name
        parents[span.name].add(above)
    call = f"chat {MODEL}"
    assert parents["caller"] == {""}
    assert parents["compose post"] == {"caller"}
    assert parents["step title"] == {"compose post"} >= parents["step body"]
    assert parents["POST"] == {call}
    # A pack is below its first call. Trio runs tasks in any order, so that none may be formed.
    assert parents[call] - {call} == {"caller", "step title", "step body"}
    posts = [span for span in spans.values() if span.name == "POST"]
    assert len(posts) == transport.sent
    outcomes = Counter(
        span.attributes["callsheet.outcome"] for span in spans.values() if span.name == call
    )
    assert set(outcomes) <= {"answered", "shared", "failed", "cancelled"}
    assert outcomes["answered"]
    counted = Counter()
    for point, count in telemetry.metrics()["callsheet.calls"]:
        counted[point["callsheet.outcome"]] += count
    assert counted == outcomes - Counter(
        span.attributes["callsheet.outcome"]
        for span in spans.values()
        if "callsheet.shared_as" in span.attributes
    )
