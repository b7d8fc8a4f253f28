"""What is done for spans that are not recorded, and without the packages of OpenTelemetry."""

import subprocess
import sys
from functools import partial

from fakes import MODEL, Reply, Script, outcomes, refusal
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    Decision,
    ParentBased,
    Sampler,
    SamplingResult,
)
from opentelemetry.trace import INVALID_SPAN, NonRecordingSpan, SpanContext, use_span
from tracing import Telemetry, chat

from callsheet.actors import Recipe, Request, Step, open_troupe
from callsheet.otel import OpenTelemetry

RECIPE = Recipe(name="post", model=MODEL, steps=(Step("title", "A {{ topic }}"),))


async def test_nothing_of_a_trace_is_made_that_is_sampled_out(autojump_clock):
    telemetry = Telemetry(sampler=ParentBased(ALWAYS_OFF))
    settings = telemetry.settings(Script(refusal(500), Reply()), recipe=RECIPE)
    async with open_troupe(settings) as troupe:
        await telemetry.ask_all(troupe, chat())
        await troupe.compose("The sea")
    assert telemetry.spans == ()
    ((_, (count, _)),) = telemetry.metrics()["gen_ai.client.inference.duration"]
    assert count == 2
    assert repr(telemetry.observer) == "<OpenTelemetry: 0 calls open>"


class Recording(Sampler):
    """Drops spans, and notes what it is shown of them."""

    def __init__(self):
        self.seen = []

    def should_sample(self, parent_context, trace_id, name, kind=None, attributes=None, *more):
        self.seen.append((name, attributes))
        return SamplingResult(Decision.DROP)

    def get_description(self):
        return "Recording"


async def test_a_sampler_sees_what_it_needs_to_decide(autojump_clock):
    sampler = Recording()
    telemetry = Telemetry(sampler=sampler)
    async with open_troupe(telemetry.settings(Script(Reply()))) as troupe:
        await troupe.complete(chat(), call="a")
    ((name, attributes),) = sampler.seen
    assert name == f"chat {MODEL}"
    assert dict(attributes) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "compatible",
        "gen_ai.request.model": MODEL,
        "server.address": "provider",
        "server.port": 80,
        "callsheet.call.id": "a",
    }


async def test_without_the_sdk_calls_are_made_as_ever(autojump_clock):
    observer = OpenTelemetry()
    telemetry = Telemetry()
    telemetry.observer = observer
    async with open_troupe(telemetry.settings(Script(Reply()), recipe=RECIPE)) as troupe:
        assert (await troupe.complete(chat())).text == "Hello"
        assert (await troupe.compose("The sea")).stats.calls == 1
    assert repr(observer) == "<OpenTelemetry: 0 calls open>"


PROGRAM = """
import sys
sys.modules["opentelemetry"] = None
import callsheet, callsheet.actors
try:
    import callsheet.otel
except ImportError as error:
    print(error)
"""


def test_a_missing_package_is_named_with_the_remedy():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    assert done.stdout == (
        "callsheet.otel needs opentelemetry-api; install the extra 'otel': in the clone, run "
        "uv sync --inexact --extra otel, or pip install '.[otel]'\n"
    )


def test_no_other_module_loads_opentelemetry():
    modules = "callsheet, callsheet.actors, callsheet.aio"
    program = f"import sys, {modules}; assert not any('opentelemetry' in n for n in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


async def test_a_combined_call_is_not_traced_if_none_of_its_members_is(autojump_clock):
    telemetry = Telemetry(sampler=ParentBased(ALWAYS_ON))
    body = {
        "data": [{"index": at, "embedding": [1.0]} for at in range(2)],
        "model": MODEL,
        "usage": {"prompt_tokens": 4, "total_tokens": 4},
    }
    dropped = NonRecordingSpan(SpanContext(1, 1, is_remote=False))

    async def ask(text, span):
        with use_span(span):
            request = Request(model=MODEL, task="embedding", inputs=text, deadline=60.0)
            await troupe.complete(request, call=text)

    async with open_troupe(telemetry.settings(Script(Reply(body=body)))) as troupe:
        await outcomes(partial(ask, "x", dropped), partial(ask, "y", dropped))
        assert telemetry.spans == ()
        await outcomes(partial(ask, "x", dropped), partial(ask, "y", INVALID_SPAN))
    name = f"embeddings {MODEL}"
    assert telemetry.tree() == [[name, [name, "POST"]]]
    assert repr(telemetry.observer) == "<OpenTelemetry: 0 calls open>"
