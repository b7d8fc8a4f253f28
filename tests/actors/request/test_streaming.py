"""Streamed responses, and the end of the provider's work when the caller leaves."""

import json
from decimal import Decimal

import attrs
import pytest
import trio
from fakes import Reply, Script, completion_json, refusal, requester
from provided import VENDORS, asked, house, pieces_of
from trio.testing import wait_all_tasks_blocked

from callsheet.actors import (
    BadRequest,
    CallContext,
    CallFailed,
    Complete,
    ConnectionFailed,
    Delta,
    Limits,
    ProviderUnavailable,
    Response,
    RetryPolicy,
    Stream,
    Timeouts,
    Usage,
)
from callsheet.runtime import AskTimedOut
from callsheet.simulator.settings import ProviderSettings

EVENTS = {"content-type": "text/event-stream"}
ONCE = RetryPolicy(max_attempts=1)
both = pytest.mark.parametrize("vendor", VENDORS)


def chunk(text=None, *, reason=None, **more):
    choice = {"index": 0, "delta": {} if text is None else {"content": text}}
    return f"data: {json.dumps({'choices': [choice | {'finish_reason': reason}], **more})}\n\n"


def events(*chunks, done=True):
    return Reply(body="".join(chunks) + ("data: [DONE]\n\n" if done else ""), headers=EVENTS)


def call_for(prompt="Hi"):
    return Complete(asked(prompt), CallContext(prompt))


async def streamed(ref, prompt="Hi"):
    async with ref.stream(Stream(asked(prompt), CallContext(prompt))) as items:
        return [item async for item in items]


# ------------------------------------------------------------------ as it is written


@both
async def test_pieces_come_as_they_are_written_and_the_whole_comes_last(autojump_clock, vendor):
    async with house(vendor=vendor) as at:
        async with at.troupe.stream(asked()) as items:
            seen = [(trio.current_time(), item) async for item in items]
        times = [when for when, _ in seen]
        *deltas, whole = [item for _, item in seen]
        assert all(isinstance(delta, Delta) for delta in deltas)
        assert isinstance(whole, Response)
        assert items.response is whole
        assert len(deltas) > 5
        assert times[0] == 1.0, "a third of its time"
        assert times[-1] == 3.0
        assert times == sorted(times)
        assert len(set(times)) > 5
        assert "".join(delta.text for delta in deltas) == whole.text != ""
        assert (whole.first_byte_s, whole.seconds, whole.http_requests) == (1.0, 3.0, 1)
        assert whole.usage.output_tokens == at.stats.output_tokens
        assert whole.usage.input_tokens == at.stats.input_tokens
        assert at.stages == ["asked", "queued", "admitted", "sent", "answered"]
        await at.at_rest()


@both
async def test_a_request_without_a_stream_gets_the_same_response(autojump_clock, vendor):
    async def answer(*, streaming):
        async with house(vendor=vendor, streaming=streaming) as at:
            whole = await at.troupe.complete(asked())
            assert json.loads(at.sent[0].body).get("stream", False) is streaming
            return whole

    one, other = await answer(streaming=True), await answer(streaming=False)
    assert (one.text, one.usage, one.finish_reason) == (other.text, other.usage, "stop")
    async with house(vendor=vendor) as at:
        assert (await pieces_of(at.troupe))[-1].text == one.text


async def test_a_slow_reader_slows_the_provider_down(autojump_clock):
    """Backpressure: pieces are read from the connection only as there is room for them."""
    async with house() as at:
        async with at.troupe.stream(asked(), buffer=1) as items:
            await anext(items)
            await trio.sleep(100)
            assert at.stats.answered == 0, "the provider has not sent the last piece yet"
            billed = at.stats.output_tokens
            assert [item async for item in items][-1].usage.output_tokens > billed
        await at.at_rest()


async def test_many_streams_side_by_side_do_not_mix(autojump_clock):
    found = {}

    async def one(troupe, prompt):
        *deltas, whole = await pieces_of(troupe, asked(prompt))
        assert "".join(delta.text for delta in deltas) == whole.text
        found[prompt] = whole.text

    async with house(limits=Limits(in_flight=7)) as at:
        async with trio.open_nursery() as nursery:
            for number in range(30):
                nursery.start_soon(one, at.troupe, f"About {number} boats.")
        alone = {prompt: (await at.troupe.complete(asked(prompt))).text for prompt in found}
        assert found == alone
        assert at.stats.max_in_flight <= 7
        await at.at_rest()


async def test_several_answers_to_one_prompt_have_their_numbers(autojump_clock):
    async with house() as at:
        *deltas, whole = await pieces_of(at.troupe, attrs.evolve(asked(), n=3))
        for index, choice in enumerate(whole.choices):
            assert "".join(delta.text for delta in deltas if delta.index == index) == choice.text
        assert len({choice.text for choice in whole.choices}) > 1


# ------------------------------------------------------------------ the caller leaves


@both
async def test_leaving_the_block_stops_the_providers_work(autojump_clock, vendor):
    async with house(vendor=vendor, limits=Limits(in_flight=1)) as at:
        async with at.troupe.stream(asked()) as items:
            await anext(items)
        await wait_all_tasks_blocked()
        assert trio.current_time() == 1.0
        assert (at.stats.streams_cut, at.stats.working) == (1, 0)
        billed = at.stats.output_tokens
        assert at.stages[-1] == "cancelled"
        whole = await at.troupe.complete(asked("And now the mountains."))
        assert at.stats.output_tokens == billed + whole.usage.output_tokens
        await at.at_rest()


async def test_an_error_in_the_block_closes_the_stream_too(autojump_clock):
    async with house() as at:
        with pytest.raises(ZeroDivisionError):
            async with at.troupe.stream(asked()) as items:
                await anext(items)
                raise ZeroDivisionError
        await wait_all_tasks_blocked()
        assert (at.stats.streams_cut, at.stats.working) == (1, 0)
        await at.at_rest()


@both
@pytest.mark.parametrize("after", [0.5, 2.0], ids=["before a piece", "between two"])
async def test_a_cancelled_whole_answer_frees_the_slot_because_it_streams_too(
    autojump_clock, vendor, after
):
    async with house(vendor=vendor, limits=Limits(in_flight=1)) as at:
        with trio.move_on_after(after):
            await at.troupe.complete(asked())
        await wait_all_tasks_blocked()
        assert (at.stats.streams_cut, at.stats.working) == (1, 0)
        await at.troupe.complete(asked("Next."))
        assert at.sent[1].at == after
        assert at.stages.count("cancelled") == 1
        await at.at_rest()


async def test_a_cancelled_call_in_one_piece_is_worked_to_its_end(autojump_clock):
    async with house(streaming=False) as at:
        with trio.move_on_after(0.5):
            await at.troupe.complete(asked())
        await wait_all_tasks_blocked()
        assert (at.stats.streams_cut, at.stats.working) == (0, 1)
        await trio.sleep(5)
        assert (at.stats.abandoned, at.stats.working) == (1, 0)
        assert at.stats.abandoned_tokens > 0, "and is billed"
        await at.at_rest()


async def test_a_deadline_in_the_midst_of_a_stream_ends_it(autojump_clock):
    """L1: the caller gets the pieces that arrived, and then the verdict."""
    async with house() as at:
        seen = []
        with pytest.raises(AskTimedOut):
            async with at.troupe.stream(asked(), timeout=2.0) as items:
                async for item in items:
                    seen.append(item)  # noqa: PERF401  # what came before the end counts
        assert trio.current_time() == 2.0
        assert seen
        await wait_all_tasks_blocked()
        assert (at.stats.streams_cut, at.stats.working) == (1, 0)
        assert at.stages[-1] == "failed"
        await at.at_rest()


# ------------------------------------------------------------------ when it breaks


BREAKS = {
    "cut": ConnectionFailed,
    "truncate": ConnectionFailed,
    "reset_body": ConnectionFailed,
    "error_event": ProviderUnavailable,
}


@both
@pytest.mark.parametrize("fault", BREAKS)
async def test_what_was_handed_out_cannot_be_taken_back_so_nothing_is_tried_again(
    autojump_clock, vendor, fault
):
    async with house(fault, vendor=vendor) as at:
        seen = []
        with pytest.raises(BREAKS[fault]) as caught:
            async with at.troupe.stream(asked()) as items:
                async for item in items:
                    seen.append(item)  # noqa: PERF401  # what came before the end counts
        assert seen
        assert not [item for item in seen if isinstance(item, Response)]
        assert len(at.sent) == 1
        assert (caught.value.attempts, caught.value.billed) == (1, "maybe")
        assert at.stages[-1] == "failed"
        await at.at_rest()


@both
@pytest.mark.parametrize("fault", BREAKS)
async def test_a_stream_without_pieces_yet_is_retried(autojump_clock, vendor, fault):
    async with house(fault, vendor=vendor) as at:
        whole = await at.troupe.complete(asked())
        assert (whole.http_requests, whole.maybe_billed) == (2, 1)
        assert (await at.troupe.complete(asked())).text == whole.text, "it is the whole of it"
        await at.at_rest()


@pytest.mark.parametrize("fault", ["500", "503", "429", "reset", "stall", "malformed"])
async def test_a_stream_is_tried_again_before_its_first_piece(autojump_clock, fault):
    faults = [fault] if fault == "malformed" else [fault, fault]  # L11
    async with house(*faults, timeouts=Timeouts(first_byte_s=300)) as at:
        *deltas, whole = await pieces_of(at.troupe)
        assert whole.http_requests == len(at.sent) == len(faults) + 1
        assert "".join(delta.text for delta in deltas) == whole.text
        await at.at_rest()


async def test_a_stream_without_a_finish_reason_is_no_answer(autojump_clock):
    script = Script(events(chunk("Hel"), chunk("lo"), done=False))
    async with requester(script, retry=ONCE) as (ref, _):
        with pytest.raises(ConnectionFailed, match="without a finish reason") as caught:
            await ref.ask(call_for())
    assert caught.value.billed == "maybe"
    assert script.open == 0


async def test_a_stream_without_done_is_a_response(autojump_clock):
    """Some servers never send [DONE]; the finish reason shows that the response is complete."""
    script = Script(events(chunk("Hel"), chunk("lo", reason="stop"), done=False))
    async with requester(script, retry=ONCE) as (ref, _):
        assert (await ref.ask(call_for())).text == "Hello"


async def test_an_invalid_stream_is_a_typed_failure(autojump_clock):
    for body in ("data: {\n\n", "data: []\n\n", "data: " + "[" * 100_000 + "\n\n", "\xff\x00", ""):
        script = Script(Reply(body=body.encode("latin-1"), headers=EVENTS))
        async with requester(script, retry=ONCE) as (ref, runtime):
            with pytest.raises(CallFailed):
                await ref.ask(call_for())
            assert runtime.snapshot()[ref.path].incarnation == 1
        assert script.open == 0


# ------------------------------------------------------------------ servers that do not stream


async def test_a_server_that_ignores_stream_gets_its_response_read(autojump_clock):
    """The server responds with one JSON body, so the stream has one piece."""
    async with requester(Script(Reply(body=completion_json("Hello")))) as (ref, _):
        assert (await ref.ask(call_for())).text == "Hello"
        *deltas, whole = await streamed(ref)
    assert [delta.text for delta in deltas] == ["Hello"]
    assert whole.text == "Hello"


REFUSALS = {
    "stream": "Unknown parameter: 'stream'.",
    "in words": "Streaming responses are not supported here.",
    "words": "This model does not support streaming.",
}


@pytest.mark.parametrize("message", REFUSALS.values(), ids=REFUSALS)
async def test_a_server_that_cannot_stream_is_asked_in_one_piece_from_then_on(
    autojump_clock, message
):
    told = []
    script = Script(refusal(400, message), Reply())
    async with requester(script, observer=told.append) as (ref, _):
        first = await ref.ask(call_for())
        second = await ref.ask(call_for())
        *deltas, third = await streamed(ref)
    assert (first.http_requests, second.http_requests, third.http_requests) == (2, 1, 1)
    assert [json.loads(sent.body).get("stream") for sent in script.sent] == [True, None, None, None]
    assert "stream_options" not in json.loads(script.sent[1].body)
    assert [delta.text for delta in deltas] == ["Hello"]
    assert [event.stage for event in told][:3] == ["sent", "retrying", "sent"]


async def test_a_single_attempt_learns_for_later_calls(autojump_clock):
    script = Script(refusal(400, REFUSALS["stream"]), Reply())
    async with requester(script, retry=ONCE) as (ref, _):
        with pytest.raises(BadRequest, match="stream"):
            await ref.ask(call_for())
        assert (await ref.ask(call_for())).text == "Hello"
    assert "stream" not in json.loads(script.sent[1].body)


async def test_a_server_that_refuses_the_whole_too_is_not_asked_for_ever(autojump_clock):
    script = Script(refusal(400, REFUSALS["stream"]))
    async with requester(script) as (ref, _):
        with pytest.raises(BadRequest):
            await ref.ask(call_for())
    assert len(script.sent) == 2


# ------------------------------------------------------------------ what it cost


async def test_a_stream_without_usage_has_an_unknown_cost(autojump_clock):
    async with house("no_usage") as at:
        whole = (await pieces_of(at.troupe))[-1]
        assert whole.text
        assert (whole.usage, whole.cost_usd) == (Usage(), None)
        assert at.events[-1].cost_usd is None
        assert (await at.troupe.complete(asked())).cost_usd > 0


async def test_tokens_that_come_after_the_finish_reason_are_counted(autojump_clock):
    usage = {"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500}
    last = f"data: {json.dumps({'choices': [], 'usage': usage})}\n\n"
    script = Script(events(chunk("Hello", reason="stop", model="gpt-4o"), last))
    async with requester(script) as (ref, _):
        answer = await ref.ask(call_for())
    assert answer.usage == Usage(1000, 500)
    assert answer.cost_usd == Decimal("0.0075")


async def test_a_fast_provider_adds_no_delay(autojump_clock):
    """The end of a stream is read with its last piece, without a further wait."""
    async with house(provider=ProviderSettings(latency_s=(0.0, 0.0))) as at:
        await at.troupe.complete(asked())
        assert trio.current_time() == 0
