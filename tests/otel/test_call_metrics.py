"""The metrics of calls, by the names of both versions of the conventions."""

import pytest
import trio
from fakes import MODEL, Reply, Script, completion_json, refusal
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from tracing import STREAM, Telemetry, chat, events

from callsheet.actors import CachePolicy, Limits, Request, open_troupe
from callsheet.otel import OpenTelemetry

BASE = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "compatible",
    "gen_ai.request.model": MODEL,
    "server.address": "provider",
    "server.port": 80,
}
ANSWERED = BASE | {"gen_ai.response.model": MODEL}
USAGE = {
    "prompt_tokens": 10,
    "completion_tokens": 5,
    "total_tokens": 15,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 2},
}


async def test_the_newer_names(autojump_clock, telemetry):
    script = Script(Reply(body=completion_json(usage=USAGE), after=2.0))
    async with open_troupe(telemetry.settings(script)) as troupe:
        await telemetry.ask_all(troupe, chat("x"), chat("y"))
    found = telemetry.metrics()
    text = ANSWERED | {"gen_ai.token.modality": "text"}
    assert {name: points for name, points in found.items() if name.startswith("gen_ai")} == {
        "gen_ai.client.inference.duration": [(ANSWERED, (2, pytest.approx(4.0)))],
        "gen_ai.client.inference.usage.input_tokens": [(text, 20)],
        "gen_ai.client.inference.usage.output_tokens": [(text, 10)],
        "gen_ai.client.inference.usage.cache_read.input_tokens": [(text, 8)],
        "gen_ai.client.inference.usage.reasoning.output_tokens": [(text, 4)],
        "gen_ai.client.inference.operation.input_tokens": [(ANSWERED, (2, 20))],
        "gen_ai.client.inference.operation.output_tokens": [(ANSWERED, (2, 10))],
    }
    assert found["callsheet.calls"] == [(ANSWERED | {"callsheet.outcome": "answered"}, 2)]
    ((_, usd),) = found["callsheet.cost"]
    assert usd == pytest.approx(2 * (6 * 2.5 + 4 * 1.25 + 5 * 10) / 1e6)


async def test_the_names_before(autojump_clock):
    telemetry = Telemetry(names="1.41")
    async with open_troupe(telemetry.settings(Script(Reply(after=2.0)))) as troupe:
        await telemetry.ask_all(troupe, chat())
    found = telemetry.metrics()
    assert {name: points for name, points in found.items() if name.startswith("gen_ai")} == {
        "gen_ai.client.operation.duration": [(ANSWERED, (1, pytest.approx(2.0)))],
        "gen_ai.client.token.usage": [
            (ANSWERED | {"gen_ai.token.type": "input"}, (1, 10)),
            (ANSWERED | {"gen_ai.token.type": "output"}, (1, 5)),
        ],
    }


@pytest.mark.parametrize(
    ("names", "attribute"),
    [
        ("latest", "gen_ai.usage.cache_write.input_tokens"),
        ("1.41", "gen_ai.usage.cache_creation.input_tokens"),
    ],
)
async def test_an_attribute_that_was_renamed(autojump_clock, names, attribute):
    telemetry = Telemetry(names=names)
    usage = USAGE | {"prompt_tokens_details": {"cache_write_tokens": 3}}
    script = Script(Reply(body=completion_json(usage=usage)))
    async with open_troupe(telemetry.settings(script)) as troupe:
        await telemetry.ask_all(troupe, chat())
    assert telemetry.call("a").attributes[attribute] == 3


def test_a_version_that_is_not_known_is_refused():
    with pytest.raises(ValueError, match=r"one of latest, 1\.41, not 'newest'"):
        OpenTelemetry(names="newest")


async def test_a_failed_call_has_a_duration_with_its_error(autojump_clock, telemetry):
    async with open_troupe(telemetry.settings(Script(refusal(401)))) as troupe:
        await telemetry.ask_all(troupe, chat())
    found = telemetry.metrics()
    failed = BASE | {"error.type": "401"}
    assert found["gen_ai.client.inference.duration"] == [(failed, (1, pytest.approx(1.0)))]
    assert found["callsheet.calls"] == [(failed | {"callsheet.outcome": "failed"}, 1)]
    assert "gen_ai.client.inference.usage.input_tokens" not in found


async def test_a_call_that_is_supplied_is_only_counted(autojump_clock, telemetry):
    cache = CachePolicy(path=None)
    async with open_troupe(telemetry.settings(Script(Reply()), cache=cache)) as troupe:
        await telemetry.ask_all(troupe, *[chat(cacheable=True)] * 2)  # the second one joins
        await telemetry.ask_all(troupe, chat(cacheable=True))  # from the cache
    found = telemetry.metrics()
    ((_, (durations, _)),) = found["gen_ai.client.inference.duration"]
    ((_, tokens),) = found["gen_ai.client.inference.usage.input_tokens"]
    assert (durations, tokens) == (1, 10)
    assert {point["callsheet.outcome"]: count for point, count in found["callsheet.calls"]} == {
        "answered": 1,
        "shared": 2,
    }


async def test_embeddings_have_names_of_their_own(autojump_clock, telemetry):
    body = {
        "data": [{"index": 0, "embedding": [1.0]}],
        "model": MODEL,
        "usage": {"prompt_tokens": 4, "total_tokens": 4},
    }
    async with open_troupe(telemetry.settings(Script(Reply(body=body)))) as troupe:
        await telemetry.ask_all(troupe, Request.embedding("x", model=MODEL))
    names = {name for name in telemetry.metrics() if name.startswith("gen_ai")}
    assert names == {
        "gen_ai.client.embeddings.duration",
        "gen_ai.client.embeddings.operation.input_tokens",
    }


async def test_the_time_that_calls_wait_at_a_limit(autojump_clock, telemetry):
    settings = telemetry.settings(Script(Reply(after=200.0)), limits=Limits(in_flight=1))
    async with open_troupe(settings) as troupe:
        await telemetry.ask_all(troupe, chat("one"), chat("two"))
    assert telemetry.metrics()["callsheet.call.wait.duration"] == [
        (BASE, (1, pytest.approx(200.0)))
    ]


async def test_the_buckets_fit_calls_that_take_minutes(autojump_clock):
    reader = InMemoryMetricReader()
    meters = MeterProvider([reader], shutdown_on_exit=False)
    telemetry = Telemetry()
    telemetry.observer = OpenTelemetry(telemetry.tracers, meters)
    settings = telemetry.settings(Script(Reply()), limits=Limits(in_flight=1))
    async with open_troupe(settings) as troupe:
        await telemetry.ask_all(troupe, chat("one"), chat("two"))
    (resource,) = reader.get_metrics_data().resource_metrics
    bounds = {
        metric.name: metric.data.data_points[0].explicit_bounds
        for metric in resource.scope_metrics[0].metrics
        if hasattr(metric.data.data_points[0], "explicit_bounds")
    }
    assert bounds["gen_ai.client.inference.duration"][-1] == pytest.approx(81.92)
    assert bounds["callsheet.call.wait.duration"][-1] > 80_000
    assert bounds["gen_ai.client.inference.operation.input_tokens"][-1] == 67_108_864


@pytest.mark.parametrize(("names", "metric"), [("latest", "inference"), ("1.41", "operation")])
async def test_the_time_between_the_chunks_of_a_stream(autojump_clock, names, metric):
    telemetry = Telemetry(names=names)
    body = events("He", "ll", "o")
    script = Script(Reply(body=body, headers=STREAM, pieces=len(body), gap=0.01))
    async with open_troupe(telemetry.settings(script)) as troupe:
        async with troupe.stream(chat()) as items:
            times = [trio.current_time() async for _ in items]
        await troupe.complete(chat())  # streamed, but not to its caller
    ((attributes, (count, seconds)),) = telemetry.metrics()[
        f"gen_ai.client.{metric}.time_per_output_chunk"
    ]
    assert attributes == ANSWERED
    assert (count, seconds) == (2, pytest.approx(times[2] - times[0]))
    assert seconds > 1
