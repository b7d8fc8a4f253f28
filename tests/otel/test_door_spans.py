"""Spans of calls through the doors are under the span of the caller, in its thread or loop."""

import asyncio
import threading

import pytest
from bulk_rows import on_the_spot
from door_fakes import Provider, request, settings_for
from fakes import MODEL, Script
from tool_fakes import ANSWER, asking, function_call, requesting, tool_of
from tracing import Telemetry

from callsheet import actors, aio, sync
from callsheet.actors import Recipe, Step
from callsheet.bulk import bulk

RECIPE = Recipe(name="post", model="gpt-4o", steps=(Step("title", "say {{ topic }}"),))
CALL = "chat gpt-4o"


@pytest.fixture
def settings(telemetry):
    return settings_for(Provider(), observer=telemetry.observer, recipe=RECIPE)


def test_calls_of_asyncio_tasks(telemetry, settings):
    async def main():
        async def ask(name):
            with telemetry.tracer.start_as_current_span(name):
                await asyncio.sleep(0)
                await troupe.complete(request(f"say {name} after 0.05"), call=name)

        async with aio.open_troupe(settings) as troupe:
            await asyncio.gather(ask("a"), ask("b"))

    asyncio.run(main())
    tree = telemetry.tree()
    assert sorted(tree) == [["a", [CALL, "POST"]], ["b", [CALL, "POST"]]]
    for name in "ab":
        caller = telemetry.one(name)
        assert telemetry.call(name).parent.span_id == caller.context.span_id


def test_a_stream_and_a_post_of_an_asyncio_task(telemetry, settings):
    async def main():
        async with aio.open_troupe(settings) as troupe:
            with telemetry.tracer.start_as_current_span("caller"):
                async with troupe.stream(request("count 3 every 0.01")) as pieces:
                    assert [piece async for piece in pieces][-1].text == "0 1 2 "
                await troupe.compose("The sea")
                with telemetry.tracer.start_as_current_span("after"):
                    pass

    asyncio.run(main())
    assert telemetry.tree() == [
        [
            "caller",
            [CALL, "POST"],
            ["compose post", ["step title", [CALL, "POST"]]],
            "after",
        ]
    ]


@pytest.mark.parametrize("kind", ["async", "sync", "hidden"])
def test_what_a_tool_of_an_asyncio_program_does(telemetry, kind):
    def look(city="Oslo"):
        with telemetry.tracer.start_as_current_span(f"look at {city}"):
            return "rain"

    async def look_later(city="Oslo"):
        await asyncio.sleep(0)
        return look(city)

    def look_hidden(city="Oslo"):
        return look_later(city)

    tool = {"async": look_later, "sync": look, "hidden": look_hidden}[kind]
    both = requesting(function_call("call_1", city="Oslo"), function_call("call_2", city="Bergen"))

    async def main():
        async with aio.open_troupe(telemetry.settings(Script(both, ANSWER))) as troupe:
            with telemetry.tracer.start_as_current_span("caller"):
                await troupe.run_tools(asking(tool_of(tool)))

    asyncio.run(main())
    _, first, *tools, last = telemetry.tree()[0]
    assert first == last == [f"chat {MODEL}", "POST"]
    name = "execute_tool get_weather"
    assert sorted(tools) == [[name, "look at Bergen"], [name, "look at Oslo"]]


def test_a_cancelled_task(telemetry, settings):
    async def main():
        async with aio.open_troupe(settings) as troupe:
            call = troupe.complete(request("hold"), call="a")
            with telemetry.tracer.start_as_current_span("caller"), pytest.raises(TimeoutError):
                await asyncio.wait_for(call, 0.2)
            # closing the troupe waits until the call is cancelled

    asyncio.run(main())
    assert telemetry.tree() == [["caller", [CALL, "POST"]]]
    assert telemetry.call("a").attributes["callsheet.outcome"] == "cancelled"
    assert repr(telemetry.observer) == "<OpenTelemetry: 0 calls open>"


def test_calls_of_threads(telemetry, settings):
    def ask(name):
        with telemetry.tracer.start_as_current_span(name):
            troupe.complete(request(f"say {name}"), call=name)

    with sync.open_troupe(settings) as troupe:
        threads = [threading.Thread(target=ask, args=(name,)) for name in "ab"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(telemetry.tree()) == [["a", [CALL, "POST"]], ["b", [CALL, "POST"]]]


async def test_one_observer_of_two_troupes(telemetry, autojump_clock):
    first = settings_for(Provider(), observer=telemetry.observer)
    second = settings_for(Provider(), observer=telemetry.observer)
    async with actors.open_troupe(first) as one, actors.open_troupe(second) as other:
        await one.complete(request("say a"), call="same")
        await other.complete(request("say b"), call="same")
    assert telemetry.tree() == [[CALL, "POST"]] * 2


def test_several_observers_get_what_they_want():
    telemetry, seen = Telemetry(), []
    settings = settings_for(Provider(), observer=[telemetry.observer, seen.append])
    with sync.open_troupe(settings) as troupe:
        troupe.complete(request("say a"))
    assert telemetry.tree() == [[CALL, "POST"]]
    assert [event.stage for event in seen] == ["asked", "queued", "admitted", "sent", "answered"]


async def test_the_rows_of_a_bulk_run(telemetry, autojump_clock, tmp_path, settings):
    """Its calls are submitted by an actor, which has the context of the one who opened the run."""
    rows = [request(f"say {number}", max_tokens=20) for number in range(3)]
    with telemetry.tracer.start_as_current_span("caller"):
        async with bulk(rows, tmp_path / "out.jsonl", settings, in_thread=on_the_spot) as run:
            assert len([result async for result in run]) == 3
    assert telemetry.tree() == [["caller", *[[CALL, "POST"]] * 3]]
    assert repr(telemetry.observer) == "<OpenTelemetry: 0 calls open>"
