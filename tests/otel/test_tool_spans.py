"""The spans of a run of tools: its calls, and between them the tools (L1)."""

import pytest
import trio
from fakes import MODEL, Script
from opentelemetry.trace import StatusCode
from tool_fakes import ANSWER, CALL, Weather, asking, function_call, requesting, tool_of
from tracing import Telemetry

from callsheet.actors import open_troupe

CHAT = [f"chat {MODEL}", "POST"]
TOOL = "execute_tool get_weather"


async def run(telemetry, tool, *replies, **more):
    async with open_troupe(telemetry.settings(Script(*replies))) as troupe:
        with telemetry.tracer.start_as_current_span("caller"):
            await troupe.run_tools(asking(tool_of(tool)), call="run", **more)


async def test_a_tool_is_between_two_calls(autojump_clock, telemetry):
    await run(telemetry, Weather(), CALL, ANSWER)
    assert telemetry.tree() == [["caller", CHAT, TOOL, CHAT]]
    tool = telemetry.one(TOOL)
    assert dict(tool.attributes) == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "get_weather",
        "gen_ai.tool.call.id": "call_1",
        "callsheet.call.id": "run",
    }
    first = telemetry.call("run.1")
    assert first.attributes["gen_ai.response.finish_reasons"] == ("tool_calls",)


@pytest.mark.parametrize("is_async", [False, True])
async def test_what_a_tool_does_is_below_its_span(autojump_clock, telemetry, is_async):
    def look(city="Oslo"):
        with telemetry.tracer.start_as_current_span(f"look at {city}"):
            return "rain"

    async def look_later(city="Oslo"):
        await trio.sleep(1.0)
        return look(city)

    both = requesting(function_call("call_1", city="Oslo"), function_call("call_2", city="Bergen"))
    await run(telemetry, look_later if is_async else look, both, ANSWER)
    _, first, *tools, last = telemetry.tree()[0]
    assert first == last == CHAT
    assert sorted(tools) == [[TOOL, "look at Bergen"], [TOOL, "look at Oslo"]]


async def test_a_tool_that_fails_is_an_error_of_its_span_alone(autojump_clock, telemetry):
    await run(telemetry, Weather(error=OSError("no weather")), CALL, ANSWER)
    tool = telemetry.one(TOOL)
    assert tool.attributes["error.type"] == "OSError"
    assert tool.status.status_code is StatusCode.ERROR
    assert telemetry.one("caller").status.status_code is StatusCode.UNSET


async def test_a_tool_that_is_cancelled(autojump_clock, telemetry):
    with trio.move_on_after(5.0):
        await run(telemetry, Weather(seconds=60.0), CALL, ANSWER)
    tool = telemetry.one(TOOL)
    assert tool.attributes["error.type"] == "cancelled"
    assert tool.status.status_code is StatusCode.UNSET


async def test_arguments_are_recorded_with_the_texts(autojump_clock):
    telemetry = Telemetry(content=True)
    await run(telemetry, Weather(), CALL, ANSWER)
    assert telemetry.one(TOOL).attributes["gen_ai.tool.call.arguments"] == '{"city": "Oslo"}'
