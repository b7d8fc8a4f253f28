"""`run_tools` with the built-in provider, which checks that calls and results match."""

import json

import pytest
from fakes import MODEL, URL
from provided import house

from callsheet.actors import Endpoint, Request

KEYS = {
    "openai": None,
    "responses": None,
    "anthropic": "sk-ant-1234567890",
    "gemini": "AIza0123456",
}
MODELS = {"anthropic": "claude-haiku-4-5", "gemini": "gemini-3.1-flash-lite"}


def endpoint_of(dialect):
    if dialect == "responses":
        return Endpoint(URL, None, "openai", api="responses")
    url = URL.replace("/v1", "/v1beta") if dialect == "gemini" else URL
    return Endpoint(url, KEYS[dialect], dialect)


async def get_weather(city: str, days: int = 1, unit: str | None = None) -> dict[str, object]:
    """Tell the weather.

    Args:
        city: where to look
        days: for how long
    """
    return {"city": city, "days": days, "unit": unit}


def get_time(zone: str) -> str:
    """Tell the time."""
    return f"12:00 {zone}"


QUESTION = "Write a sentence about Oslo. Use get_weather and get_time."


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("dialect", KEYS)
async def test_tools_run_with_every_provider(autojump_clock, dialect, streaming):
    """L10: a run is the same, whichever way its responses travelled."""
    model = MODELS.get(dialect, MODEL)
    request = Request.of(QUESTION, model=model, tools=[get_weather, get_time], max_tokens=400)
    async with house(endpoint=endpoint_of(dialect), streaming=streaming) as at_home:
        run = await at_home.troupe.run_tools(request, max_cost_usd="1")
        await at_home.at_rest()
    assert [result.call.name for result in run.results] == ["get_weather", "get_time"]
    assert [result.error for result in run.results] == [None, None]
    assert (run.response.finish_reason, len(run.rounds), run.http_requests) == ("stop", 2, 2)
    assert run.text
    assert run.cost_usd > 0
    bodies = [json.loads(sent.body) for sent in at_home.sent]
    assert bodies[0]["tools"] == bodies[1]["tools"]


@pytest.mark.parametrize("dialect", KEYS)
async def test_a_tool_may_be_required_of_every_provider(autojump_clock, dialect):
    request = Request(
        model=MODELS.get(dialect, MODEL),
        messages=[{"role": "user", "content": "Write a sentence about Oslo."}],
        tools=[get_weather, get_time],
        tool_choice="get_time",
        max_tokens=400,
    )
    async with house(endpoint=endpoint_of(dialect)) as at_home:
        run = await at_home.troupe.run_tools(request)
    assert [result.call.name for result in run.results] == ["get_time"]
    assert run.response.finish_reason == "stop"


@pytest.mark.parametrize("dialect", KEYS)
async def test_a_run_survives_what_fails_between_its_rounds(autojump_clock, dialect):
    """L2: each round has its retries, and the tools run once."""
    model = MODELS.get(dialect, MODEL)
    ran = []

    async def get_weather(city: str) -> str:
        ran.append(city)
        return "rain"

    request = Request.of(QUESTION, model=model, tools=[get_weather], max_tokens=400)
    faults = ["503", "ok", "500", "429"]
    async with house(*faults, endpoint=endpoint_of(dialect)) as at_home:
        run = await at_home.troupe.run_tools(request)
    assert len(ran) == 1
    assert (len(run.rounds), run.http_requests, len(at_home.sent)) == (2, 5, 5)
