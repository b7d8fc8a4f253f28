"""`run_tools`: its bounds, what ends a run, and functions in threads (L1, R4)."""

import threading
from decimal import Decimal
from functools import partial
from math import inf

import pytest
import trio
from fakes import MODEL, Reply, refusal
from tool_fakes import (
    ANSWER,
    CALL,
    Weather,
    asking,
    function_call,
    play,
    requesting,
    results_in,
    run,
    tool_of,
)
from trio.testing import wait_all_tasks_blocked

from callsheet.actors import (
    CallFailed,
    RateLimited,
    Request,
    RetryPolicy,
    Tool,
    ToolCostExceeded,
    ToolRoundsExceeded,
    ToolRunStopped,
    ToolRunTimedOut,
)

# -------------------------------------------------------------------------- what ends a run


async def test_a_call_of_a_tool_without_a_function_ends_the_run(autojump_clock):
    weather = Weather()
    calls = requesting(function_call("a"), function_call("b", "ask_user"))
    found, bodies = await run(asking(tool_of(weather), Tool(name="ask_user")), calls)
    assert (len(bodies), weather.calls) == (1, [])
    assert [call.id for call in found.tool_calls] == ["a", "b"]
    assert found.messages[-1].tool_calls == found.tool_calls


async def test_a_tool_of_the_extra_body_has_no_function(autojump_clock):
    tools = [{"type": "function", "function": {"name": "get_weather"}}]
    found, bodies = await run(asking(extra_body={"tools": tools}), CALL)
    assert (len(bodies), len(found.tool_calls)) == (1, 1)


async def test_a_model_that_never_answers_is_stopped(autojump_clock):
    weather = Weather()
    with pytest.raises(ToolRoundsExceeded, match="after 3 rounds and 2 results for 0") as caught:
        await run(asking(tool_of(weather)), CALL, max_rounds=3)
    error = caught.value
    assert len(weather.calls) == 2  # not those of the last round, whose results no round gets
    assert (len(error.run.rounds), len(error.run.results), error.attempts) == (3, 2, 3)
    assert error.run.messages[-1].tool_calls


async def test_a_round_that_would_cost_too_much_is_not_sent(autojump_clock):
    big = requesting(function_call(city="Oslo"), tokens=(1_000, 1_000))
    found, _ = await run(asking(tool_of(Weather())), big, ANSWER)
    bound = found.rounds[0].cost_usd + Decimal("0.00001")
    script, opening = play(big, ANSWER)
    async with opening as troupe:
        with pytest.raises(ToolCostExceeded, match="max_cost_usd is 0") as caught:
            await troupe.run_tools(asking(tool_of(Weather())), max_cost_usd=bound)
        assert len(script.sent) == 1
        assert caught.value.run.cost_usd < bound
        with pytest.raises(ToolCostExceeded, match="after 0 rounds"):
            await troupe.run_tools(asking(tool_of(Weather())), max_cost_usd="0.0000001")
        assert len(script.sent) == 1


async def test_a_bound_on_the_cost_needs_a_price(autojump_clock):
    """L13: unknown is not nothing."""
    request = Request.of("Hi", model="unheard-of-9", tools=[tool_of(Weather())])
    script, opening = play(CALL, ANSWER)
    async with opening as troupe:
        with pytest.raises(ToolCostExceeded, match="the price of unheard-of-9 is not known"):
            await troupe.run_tools(request, max_cost_usd="1")
    assert script.sent == []


@pytest.mark.parametrize("usage", [{}, {"prompt_tokens": 0, "completion_tokens": 0}])
async def test_a_round_of_unknown_cost_ends_a_run_with_a_bound(autojump_clock, usage):
    """L13: rounds without a usage were once free, and the bound was never reached."""
    blind = requesting(function_call(city="Oslo"), usage=usage)
    script, opening = play(*[blind] * 4)
    async with opening as troupe:
        with pytest.raises(ToolCostExceeded, match="the cost of round 1 is not known"):
            await troupe.run_tools(asking(tool_of(Weather())), max_cost_usd="1")
    assert len(script.sent) == 1


@pytest.mark.parametrize("by", ["timeout", "deadline"])
async def test_a_run_ends_in_time_and_what_runs_is_cancelled(autojump_clock, by):
    """L1, R4: the total deadline counts rounds and tools."""
    weather = Weather(seconds=inf)
    request = asking(tool_of(weather), deadline=10.0 if by == "deadline" else None)
    bounds = {"timeout": 10} if by == "timeout" else {}
    started = trio.current_time()
    with pytest.raises(ToolRunTimedOut, match="no answer in time, after 1 rounds") as caught:
        await run(request, CALL, **bounds)
    assert trio.current_time() - started == pytest.approx(10)
    assert weather.cancelled == 1
    assert len(caught.value.run.rounds) == 1


@pytest.mark.parametrize("by", ["timeout", "deadline"])
async def test_a_round_that_is_late_ends_the_run_with_what_came_before(autojump_clock, by):
    request = asking(tool_of(Weather()), deadline=10.0 if by == "deadline" else None)
    bounds = {"timeout": 10} if by == "timeout" else {}
    started = trio.current_time()
    with pytest.raises(ToolRunTimedOut) as caught:
        await run(request, CALL, Reply(after=inf), **bounds)
    assert trio.current_time() - started == pytest.approx(10)
    assert len(caught.value.run.results) == 1


async def test_a_round_that_fails_keeps_its_error_and_notes_what_came_before(autojump_clock):
    settings = {"retry": RetryPolicy(max_attempts=1)}
    with pytest.raises(RateLimited) as caught:
        await run(asking(tool_of(Weather())), CALL, refusal(429), settings=settings)
    error = caught.value
    assert "1 rounds and 1 results for 0.0" in error.__notes__[0]
    assert error.cost_usd > 0
    assert error.usage.total_tokens > 0
    assert error.attempts == 2
    assert not isinstance(caught.value, ToolRunStopped)
    assert issubclass(ToolRunStopped, CallFailed)


async def test_a_run_that_is_cancelled_cancels_its_tools(autojump_clock):
    weather = Weather(seconds=inf)
    _, opening = play(requesting(function_call("a"), function_call("b")))
    async with opening as troupe:
        with trio.move_on_after(5) as scope:
            await troupe.run_tools(asking(tool_of(weather)))
    assert scope.cancelled_caught
    assert weather.cancelled == 2


@pytest.mark.parametrize(
    ("bounds", "words"),
    [
        ({"max_rounds": 0}, "max_rounds must be at least 1"),
        ({"max_parallel": 0}, "max_parallel must be at least 1"),
        ({"max_cost_usd": 0.05}, "max_cost_usd must be exact: '0.05' rather than 0.05"),
        ({"max_cost_usd": "0"}, "max_cost_usd must be US dollars, above 0"),
        ({"max_cost_usd": "NaN"}, "max_cost_usd must be US dollars, above 0"),
        ({"max_cost_usd": "1e999"}, "max_cost_usd must be US dollars, at least 0 and at most"),
        ({"timeout": None}, "timeout must be a number of seconds, not None; leave it out"),
        ({"max_cost_usd": "much"}, "max_cost_usd must be a number, not 'much'"),
    ],
)
async def test_a_bound_that_is_no_bound_is_refused_by_its_name(autojump_clock, bounds, words):
    with pytest.raises((ValueError, TypeError), match=words):
        await run(asking(tool_of(Weather())), ANSWER, **bounds)


async def test_only_a_chat_with_one_choice_can_call_tools(autojump_clock):
    several = Request(model=MODEL, messages=[{"role": "user", "content": "Hi"}], n=2)
    for request in (several, Request.embedding("Hi", model=MODEL)):
        with pytest.raises(ValueError, match="only a chat with one choice"):
            await run(request, ANSWER)


# ------------------------------------------------------------------------- functions in threads


async def test_a_function_that_is_not_async_runs_in_a_thread():
    threads = []

    def get_weather(city):
        threads.append(threading.current_thread())
        return trio.from_thread.run(partial(Weather(result=f"rain in {city}")))

    found, bodies = await run(asking(tool_of(get_weather)), Reply(body=CALL.body, after=0), ANSWER)
    assert threads != [threading.main_thread()]
    assert results_in(bodies[1]) == ["rain in Oslo"]
    assert found.text == "It rains."


async def test_a_decorator_may_hide_that_a_function_is_async():
    weather = Weather(result="rain")

    def logged(city):
        return weather(city)

    found, bodies = await run(asking(tool_of(logged)), Reply(body=CALL.body, after=0), ANSWER)
    assert (results_in(bodies[1]), found.text) == (["rain"], "It rains.")


@pytest.mark.parametrize("abandon", [True, False])
async def test_a_thread_is_left_behind_only_if_the_tool_says_so(abandon):
    started, release = trio.Event(), threading.Event()
    token = trio.lowlevel.current_trio_token()

    def get_weather(city):
        token.run_sync_soon(started.set)
        assert release.wait(30)
        return city

    tool = Tool(name="get_weather", function=get_weather, abandon_on_cancel=abandon)
    _, opening = play(Reply(body=CALL.body, after=0))
    ended = trio.Event()

    async def work():
        async with opening as troupe:
            with scope:
                await troupe.run_tools(asking(tool))
            ended.set()

    scope = trio.CancelScope()
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(work)
            await started.wait()
            scope.cancel()
            if abandon:
                await ended.wait()
            else:
                await wait_all_tasks_blocked(0.05)
                assert not ended.is_set()
            release.set()
            await ended.wait()
