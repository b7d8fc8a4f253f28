"""The types of tools, as a user meets them. Checked by type checkers as `api.py` is, never run."""

from collections.abc import Mapping
from decimal import Decimal
from functools import partial
from typing import assert_type

import attrs

from callsheet import ChatMessage, Request, Response, Tool, Troupe
from callsheet.actors import (
    CallFailed,
    Json,
    ToolCall,
    ToolLike,
    ToolResult,
    ToolRoundsExceeded,
    ToolRun,
    ToolRunStopped,
    Usage,
)


@attrs.frozen
class Label:
    sentiment: str


async def get_weather(city: str, days: int = 1) -> dict[str, object]:
    return {"city": city, "days": days}


def get_time(*, zone: str) -> str:
    return zone


class Station:
    async def read(self, number: int) -> float:
        return number / 2


DEFINITION = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
TOOLS: list[ToolLike] = [get_weather, Tool(name="ask_user"), DEFINITION]


def requests() -> None:
    functions: list[ToolLike] = [
        get_weather,
        get_time,
        Station().read,
        partial(get_time, zone="UTC"),
    ]
    assert_type(Request.of("Hi", model="m", tools=functions), Request[None])
    assert_type(Request.of("Hi", model="m", tools=TOOLS, returns=Label), Request[Label])
    request = Request.of("Hi", model="m", tools=[get_weather, DEFINITION, Tool.of(get_time)])
    assert_type(request.tools, tuple[Tool, ...])
    Request.of("Hi", model="m", tools=[5])  # type: ignore[list-item]  # is no tool
    Request.of("Hi", model="m", tools=get_weather)  # type: ignore[call-overload]  # is no list

    messages = [{"role": "user", "content": "Hi"}]
    assert_type(Request[None](model="m", messages=messages).messages, tuple[ChatMessage, ...])
    Request(model="m", messages=["Hi"])  # type: ignore[list-item]  # is no message


def tools() -> None:
    tool = Tool.of(get_weather, name="weather", description="...", abandon_on_cancel=True)
    assert_type(tool, Tool)
    assert_type(tool.parameters, Mapping[str, Json])
    assert_type(Tool.defined(DEFINITION), tuple[Tool, ...])
    Tool.of("get_weather")  # type: ignore[arg-type]  # is no function


async def running(troupe: Troupe, request: Request[Label]) -> None:
    run = await troupe.run_tools(request, max_rounds=4, max_cost_usd="0.05", timeout=60)
    assert_type(run, ToolRun[Label])
    assert_type(run.response, Response[Label])
    assert_type(run.parsed, Label)
    assert_type(run.text, str)
    assert_type(run.results, tuple[ToolResult, ...])
    assert_type(run.messages, tuple[ChatMessage, ...])
    assert_type(run.usage, Usage)
    assert_type(run.cost_usd, Decimal | None)
    assert_type(run.results[0].error, Exception | None)
    await troupe.run_tools(request, max_cost_usd=0.05)  # type: ignore[arg-type]  # is not exact


async def continuing(troupe: Troupe, request: Request) -> None:
    turn = ChatMessage.from_response(await troupe.complete(request))
    assert_type(turn.tool_calls, tuple[ToolCall, ...])
    assert_type(ChatMessage.tool_result(turn.tool_calls[0], "rain"), ChatMessage)


def stopped(error: ToolRoundsExceeded) -> CallFailed:
    assert_type(error.run, ToolRun[object])
    bound: ToolRunStopped = error
    return bound
