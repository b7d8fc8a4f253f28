"""`run_tools`: the rounds of a model and its tools (L1, L10)."""

import json
from decimal import Decimal

import attrs
import pytest
import trio
from fakes import MODEL, URL, Reply, Script, completion_json, refusal
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

from callsheet.actors import (
    Endpoint,
    HedgePolicy,
    LedgerPolicy,
    Request,
    ResultNotValid,
    RetryPolicy,
    TroupeSettings,
    open_troupe,
)

# ------------------------------------------------------------------------------ the rounds


async def test_a_tool_runs_between_two_rounds(autojump_clock):
    weather = Weather()
    found, bodies = await run(asking(tool_of(weather)), CALL, ANSWER)
    assert (found.text, found.response.finish_reason) == ("It rains.", "stop")
    assert [city for city, _ in weather.calls] == ["Oslo"]
    assert bodies[0]["messages"] == [{"role": "user", "content": "How is the weather?"}]
    assert bodies[1]["messages"][1:] == [
        {"role": "assistant", "content": None, "tool_calls": [function_call(city="Oslo")]},
        {"role": "tool", "content": "rain", "tool_call_id": "call_1"},
    ]
    assert bodies[0]["tools"] == bodies[1]["tools"]
    assert [message.role for message in found.messages] == [
        "user",
        "assistant",
        "tool",
        "assistant",
    ]


async def test_a_run_has_the_sums_of_its_rounds(autojump_clock):
    found, _ = await run(asking(tool_of(Weather(seconds=2))), CALL, CALL, ANSWER)
    each = [response.cost_usd for response in found.rounds]
    assert found.cost_usd == sum(each) > 0
    assert (found.usage.input_tokens, found.usage.output_tokens) == (30, 15)
    assert (found.http_requests, found.maybe_billed, found.tool_calls) == (3, 0, ())
    assert [result.seconds for result in found.results] == [2, 2]


async def test_the_cost_is_not_known_if_that_of_one_round_is_not(autojump_clock):
    """L13: unknown stays unknown."""
    other = requesting(function_call(city="Oslo"), model="unheard-of-9")
    found, _ = await run(asking(tool_of(Weather())), other, ANSWER)
    assert found.cost_usd is None


async def test_a_model_that_needs_no_tool_answers_at_once(autojump_clock):
    weather = Weather()
    found, bodies = await run(asking(tool_of(weather)), ANSWER)
    assert (found.text, len(bodies), weather.calls) == ("It rains.", 1, [])


@pytest.mark.parametrize("reason", ["tool_calls", "stop", None])
async def test_calls_count_whatever_the_finish_reason(autojump_clock, reason):
    weather = Weather()
    found, _ = await run(
        asking(tool_of(weather)), requesting(function_call(), reason=reason), ANSWER
    )
    assert (found.text, len(weather.calls)) == ("It rains.", 1)


async def test_a_finish_reason_for_calls_that_are_not_there_ends_the_run(autojump_clock):
    found, bodies = await run(asking(tool_of(Weather())), requesting(text="Hm."))
    assert (found.text, len(bodies)) == ("Hm.", 1)


@pytest.mark.parametrize("reason", ["length", "content_filter"])
async def test_calls_of_a_response_that_was_cut_off_are_not_run(autojump_clock, reason):
    """The last call may be incomplete, and its arguments be valid by chance."""
    weather = Weather()
    found, bodies = await run(asking(tool_of(weather)), requesting(function_call(), reason=reason))
    assert (found.response.finish_reason, len(bodies), weather.calls) == (reason, 1, [])
    assert [call.name for call in found.tool_calls] == ["get_weather"]


async def test_anthropics_pause_is_another_round(autojump_clock):
    """PROVIDERS: the same content goes back, without a further message."""
    paused = Reply(
        body={
            "type": "message",
            "role": "assistant",
            "model": "claude-haiku-4-5",
            "content": [{"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}],
            "stop_reason": "pause_turn",
            "usage": {"input_tokens": 1, "output_tokens": 1},
        }
    )
    said = [{"type": "text", "text": "Found."}]
    done = Reply(body=paused.body | {"content": said, "stop_reason": "end_turn"})
    script = Script(paused, done)
    endpoint = Endpoint(URL, "sk-ant-1234567890", "anthropic")
    async with open_troupe(TroupeSettings(endpoint=endpoint, transport=script)) as troupe:
        found = await troupe.run_tools(asking(tool_of(Weather())))
    assert found.text == "Found."
    assert json.loads(script.sent[1].body)["messages"][1:] == [
        {"role": "assistant", "content": paused.body["content"]}
    ]


@attrs.frozen
class Forecast:
    city: str
    wet: bool


async def test_the_answer_of_a_run_has_the_declared_class(autojump_clock):
    """The rounds before have no result; the last one is asked for again if it is not valid."""
    request = asking(tool_of(Weather()), returns=Forecast)
    wrong = Reply(body=completion_json("It rains."))
    valid = Reply(body=completion_json('{"city": "Oslo", "wet": true}'))
    for lines in ([CALL, valid], [CALL, wrong, valid]):
        found, bodies = await run(request, *lines)
        assert found.parsed == Forecast("Oslo", wet=True)
        assert (len(found.rounds), found.http_requests, len(bodies)) == (2, len(lines), len(lines))
        assert found.rounds[0].parsed is None


async def test_a_pause_has_no_result_yet(autojump_clock):
    request = asking(tool_of(Weather()), returns=Forecast)
    paused = requesting(reason="pause_turn", text="Let me see.")
    valid = Reply(body=completion_json('{"city": "Oslo", "wet": true}'))
    found, bodies = await run(request, paused, valid)
    assert (found.parsed, len(bodies)) == (Forecast("Oslo", wet=True), 2)


async def test_a_choice_that_forces_a_call_holds_for_the_first_round(autojump_clock):
    """Otherwise the model could never answer."""
    for choice, later in [("required", None), ("get_weather", None), ("auto", "auto")]:
        request = Request(
            model=MODEL,
            messages=[{"role": "user", "content": "Hi"}],
            tools=[tool_of(Weather())],
            tool_choice=choice,
        )
        _, bodies = await run(request, CALL, ANSWER)
        assert "tool_choice" in bodies[0]
        assert bodies[1].get("tool_choice") == later


async def test_each_round_is_a_call_with_an_id_and_an_idempotency_key_of_its_own(autojump_clock):
    events = []
    request = Request(
        model=MODEL,
        messages=[{"role": "user", "content": "Hi"}],
        tools=[tool_of(Weather())],
        idempotency_key="mine",
        max_tokens=99,
    )
    script, opening = play(CALL, ANSWER, observer=events.append)
    async with opening as troupe:
        await troupe.run_tools(request, call="weather", lane="team")
    ids = {(event.context.call, event.context.lane) for event in events}
    assert ids == {("weather.1", "team"), ("weather.2", "team")}
    keys = [sent.headers["idempotency-key"] for sent in script.sent]
    assert keys == ["mine", "mine-round-2"]


async def test_a_long_idempotency_key_keeps_rounds_of_different_runs_apart(autojump_clock):
    found = set()
    for last in "ab":
        request = attrs.evolve(asking(tool_of(Weather())), idempotency_key="x" * 254 + last)
        script, opening = play(CALL, ANSWER)
        async with opening as troupe:
            await troupe.run_tools(request)
        found |= {sent.headers["idempotency-key"] for sent in script.sent}
    assert len(found) == 4


# ------------------------------------------------------------------------ tools side by side


async def test_the_tools_of_a_round_run_side_by_side_and_answer_in_order(autojump_clock):
    slow, quick = Weather(seconds=5, result="slow"), Weather(seconds=1, result="quick")
    calls = [function_call("a", "slow"), function_call("b", "quick"), function_call("c", "slow")]
    request = asking(tool_of(slow, "slow"), tool_of(quick, "quick"))
    started = trio.current_time()
    found, bodies = await run(request, requesting(*calls), ANSWER)
    assert trio.current_time() - started == pytest.approx(2 + 5)  # two rounds of a second
    assert results_in(bodies[1]) == ["slow", "quick", "slow"]
    assert [result.call.id for result in found.results] == ["a", "b", "c"]
    assert slow.most_active == 2


async def test_no_more_tools_run_at_the_same_time_than_allowed(autojump_clock):
    weather = Weather(seconds=1)
    calls = [function_call(f"call_{number}") for number in range(7)]
    _, bodies = await run(asking(tool_of(weather)), requesting(*calls), ANSWER, max_parallel=3)
    assert (weather.most_active, len(weather.calls), len(results_in(bodies[1]))) == (3, 7, 7)


async def test_a_call_that_is_repeated_with_its_id_runs_once(autojump_clock):
    weather = Weather()
    twice = requesting(function_call(city="Oslo"), function_call(city="Oslo"))
    _, bodies = await run(asking(tool_of(weather)), twice, ANSWER)
    assert len(weather.calls) == len(results_in(bodies[1])) == 1


async def test_different_calls_with_one_id_are_two_calls(autojump_clock):
    weather = Weather()
    both = requesting(function_call(city="Oslo"), function_call(city="Bergen"))
    _, bodies = await run(asking(tool_of(weather)), both, ANSWER)
    assert sorted(city for city, _ in weather.calls) == ["Bergen", "Oslo"]
    _, turn, *results = bodies[1]["messages"]
    assert [one["tool_call_id"] for one in results] == [one["id"] for one in turn["tool_calls"]]


# ---------------------------------------------------------- a retry or a hedge runs no tool


async def test_a_round_that_is_repeated_runs_its_tools_once(autojump_clock):
    weather = Weather()
    lines = [refusal(503), CALL, refusal(503), refusal(429), refusal(500), ANSWER]
    settings = {"retry": RetryPolicy(max_attempts=5)}
    found, bodies = await run(asking(tool_of(weather)), *lines, settings=settings)
    assert (found.text, len(weather.calls)) == ("It rains.", 1)
    assert (found.http_requests, len(bodies)) == (6, 6)


async def test_a_hedged_round_runs_its_tools_once(autojump_clock):
    """Both responses of a hedged call request the tool; only one of them is used."""
    weather = Weather(seconds=1)
    slow = [attrs.evolve(CALL, after=60), attrs.evolve(CALL, after=60)]
    script, opening = play(ANSWER, *slow, ANSWER, hedging=HedgePolicy(min_calls=1, max_share=1))
    async with opening as troupe:
        await troupe.complete(asking())
        found = await troupe.run_tools(asking(tool_of(weather)))
    assert len(script.sent) == 4  # the first round was sent twice
    assert (found.text, len(weather.calls)) == ("It rains.", 1)


# ------------------------------------------------------------- what goes back to the model


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (function_call(name="get_time"), "there is no tool 'get_time'; the tools are: get_weather"),
        (function_call(town="Oslo"), "unexpected keyword argument 'town'"),
        (
            {"id": "x", "function": {"name": "get_weather", "arguments": "[1]"}},
            "the arguments of get_weather must be one JSON object, not a list",
        ),
        (
            {"id": "x", "function": {"name": "get_weather", "arguments": "{cut"}},
            "the arguments of get_weather are not valid JSON",
        ),
    ],
)
async def test_a_wrong_call_goes_back_to_the_model(autojump_clock, call, words):
    weather = Weather()
    found, bodies = await run(asking(tool_of(weather)), requesting(call), ANSWER)
    assert (found.text, weather.calls) == ("It rains.", [])
    (text,) = results_in(bodies[1])
    assert text.startswith("Error: ")
    assert words in text
    assert found.results[0].error is not None


async def test_an_exception_goes_back_without_its_traceback(autojump_clock):
    weather = Weather(error=LookupError("no station in Oslo"))
    found, bodies = await run(asking(tool_of(weather)), CALL, ANSWER)
    assert results_in(bodies[1]) == ["Error: LookupError: no station in Oslo"]
    assert found.results[0].error is weather.error


async def test_an_exception_of_a_nursery_goes_back_as_itself(autojump_clock):
    group = ExceptionGroup("nursery", [ExceptionGroup("nursery", [LookupError("no station")])])
    _, bodies = await run(asking(tool_of(Weather(error=group))), CALL, ANSWER)
    assert results_in(bodies[1]) == ["Error: LookupError: no station"]


@pytest.mark.parametrize("written", ["", " ", "null", "{}", '"{}"'])
async def test_a_tool_without_arguments_runs_however_they_are_written(autojump_clock, written):
    weather = Weather()
    call = {"id": "x", "function": {"name": "get_weather", "arguments": written}}
    await run(asking(tool_of(weather)), requesting(call), ANSWER)
    assert len(weather.calls) == 1


async def test_an_error_of_one_tool_does_not_stop_the_others(autojump_clock):
    bad, good = Weather(seconds=1, error=OSError()), Weather(seconds=2)
    calls = requesting(function_call("a", "bad"), function_call("b", "good"))
    _, bodies = await run(asking(tool_of(bad, "bad"), tool_of(good, "good")), calls, ANSWER)
    assert results_in(bodies[1]) == ["Error: OSError", "rain"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("rain", "rain"),
        ({"mm": 3}, '{"mm":3}'),
        ([1.5, None, True], "[1.5,null,true]"),
        (Decimal("0.5"), '"0.5"'),
        (None, "null"),
        (object(), "Error: the result of get_weather, of the type object, cannot be written as"),
    ],
)
async def test_a_result_is_a_text_or_is_written_as_json(autojump_clock, value, text):
    _, bodies = await run(asking(tool_of(Weather(result=value))), CALL, ANSWER)
    (result,) = results_in(bodies[1])
    assert result == text or result.startswith(text + " JSON")


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
async def test_what_ends_the_program_is_no_result(autojump_clock, error):
    script, opening = play(CALL, ANSWER)
    with pytest.RaisesGroup(error, allow_unwrapped=True, flatten_subgroups=True):
        async with opening as troupe:
            await troupe.run_tools(asking(tool_of(Weather(error=error()))))
    assert len(script.sent) == 1


async def test_each_round_has_a_line_of_its_own_in_the_ledger(autojump_clock):
    _, opening = play(CALL, ANSWER, ledger=LedgerPolicy())
    async with opening as troupe:
        found = await troupe.run_tools(asking(tool_of(Weather())))
        costs = await troupe.costs()
    assert costs.totals.spent.usd == found.cost_usd > 0


async def test_a_result_that_is_not_valid_has_the_cost_of_all_rounds(autojump_clock):
    with pytest.raises(ResultNotValid) as caught:
        await run(asking(tool_of(Weather()), returns=Forecast), CALL, ANSWER, ANSWER)
    error, one = caught.value, (await run(asking(), ANSWER))[0]
    assert error.cost_usd == 3 * one.cost_usd
    assert error.attempts == 3
    assert error.response.text == error.response.choices[0].text == "It rains."
