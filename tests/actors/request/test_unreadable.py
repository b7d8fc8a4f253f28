"""What was paid for and cannot be read is bought twice at most, and then work stops (L11)."""

import json
from functools import partial

import attrs
import httpx
import pytest
import trio
from fakes import MODEL, Reply, Script, call, outcomes, refusal, requester

from callsheet.actors import (
    BatcherActor,
    Batching,
    BatchLimits,
    CallContext,
    Complete,
    ConnectionFailed,
    MalformedResponse,
    Request,
    UnreadableEndpoint,
)
from callsheet.actors.batching import ListStrategy
from callsheet.actors.request.unreadable import UnreadableStreaks

HALF = {"choices": [{"index": 0, "delta": {"content": "Hel"}}]}
PAGE = Reply(body="<html><h1>Sign in to the portal</h1>", headers={"content-type": "text/html"})


async def test_what_cannot_be_read_is_bought_twice_at_most_and_then_work_stops(autojump_clock):
    script = Script(PAGE)
    async with requester(script) as (ref, _):
        with pytest.raises(MalformedResponse) as first:
            await ref.ask(call())
        assert (first.value.attempts, first.value.maybe_billed) == (2, 2)
        with pytest.raises(UnreadableEndpoint) as third:
            await ref.ask(call())
        assert (third.value.attempts, third.value.billed) == (1, "maybe")
        with pytest.raises(UnreadableEndpoint) as later:
            await ref.ask(call())
        assert (later.value.attempts, later.value.billed) == (0, "no")
        assert not later.value.is_transient
    assert len(script.sent) == 3
    for error in (third.value, later.value):
        assert "3 responses in a row" in str(error)
        assert "<h1>Sign in to the portal</h1>" in str(error)
        assert "provider" in str(error)


async def test_a_response_that_can_be_read_starts_the_count_over(autojump_clock):
    script = Script(PAGE, Reply(), PAGE, Reply(), PAGE, refusal(500), PAGE, Reply())
    async with requester(script) as (ref, _):
        for _ in range(2):
            assert (await ref.ask(call())).http_requests == 2
        with pytest.raises(MalformedResponse):
            await ref.ask(call())
        assert (await ref.ask(call())).text == "Hello"


async def test_another_model_is_not_affected_and_one_call_tries_after_a_minute(autojump_clock):
    other = attrs.evolve(call().request, model="other")
    script = Script(PAGE, PAGE, PAGE, Reply())
    async with requester(script) as (ref, _):
        for _ in range(2):
            await outcomes(partial(ref.ask, call()))
        assert (await ref.ask(Complete(other, CallContext("o")))).text == "Hello"
        with pytest.raises(UnreadableEndpoint):
            await ref.ask(call())
        await trio.sleep(61)
        assert (await ref.ask(call())).text == "Hello"
        assert (await ref.ask(call())).text == "Hello"


def test_while_one_call_tries_the_others_are_not_sent():
    streaks = UnreadableStreaks("host")
    assert [streaks.add("m", "why", 0.0) is None for _ in range(3)] == [True, True, False]
    with pytest.raises(UnreadableEndpoint, match="why"):
        streaks.check("m", 59.0)
    streaks.check("m", 60.0)
    with pytest.raises(UnreadableEndpoint, match="a call may try again in 59 s") as caught:
        streaks.check("m", 61.0)
    assert caught.value.back_in_s == 59.0
    streaks.clear("m")
    streaks.check("m", 62.0)


def test_streams_that_break_off_together_count_once():
    streaks = UnreadableStreaks("host")
    for _ in range(10):
        assert streaks.add("m", "why", 5.0, began_at=0.0) is None
    assert streaks.add("m", "why", 9.0, began_at=6.0) is None
    assert streaks.add("m", "why", 12.0, began_at=10.0) is not None


async def test_a_stream_that_breaks_off_is_asked_for_once_more(autojump_clock):
    script = Script(Reply(body=f"data: {json.dumps(HALF)}\n\n"))
    async with requester(script) as (ref, _):
        with pytest.raises(ConnectionFailed):
            await ref.ask(call())
    assert len(script.sent) == 2


@pytest.mark.parametrize("lost", [httpx.ReadError("reset"), httpx.RemoteProtocolError("cut")])
async def test_a_response_that_is_lost_in_its_middle_is_asked_for_once_more(autojump_clock, lost):
    """A gateway that ends each response after a minute would sell every one of them five times."""
    script = Script(Reply(body=f"data: {json.dumps(HALF)}\n\n", then=lost, pieces=2))
    async with requester(script) as (ref, _):
        with pytest.raises(ConnectionFailed) as first:
            await ref.ask(call())
        assert (first.value.attempts, first.value.maybe_billed) == (2, 2)
        with pytest.raises(UnreadableEndpoint, match="it begins with"):
            await ref.ask(call())
    assert len(script.sent) == 3


async def test_a_connection_that_breaks_before_the_response_is_repeated(autojump_clock):
    lost = httpx.ReadError("reset")
    script = Script(*[Reply(error=lost)] * 3, Reply(body=b"\n\n", then=lost), Reply())
    async with requester(script) as (ref, _):
        assert (await ref.ask(call())).http_requests == 5


async def test_members_of_a_list_are_bought_twice_at_most(autojump_clock):
    """Once in the list, and once alone; a member that can be read then has its response."""
    one = {"choices": [{"index": 0, "text": "A", "finish_reason": "stop"}]}
    script = Script(PAGE, Reply(body=one), PAGE, Reply(body=one))
    requests = [Request(model=MODEL, task="completion", inputs=[text]) for text in "abc"]
    async with requester(script, concurrency=1) as (ref, runtime):
        lists = ListStrategy("completion", BatchLimits(max_size=10))
        batcher = await runtime.spawn(
            "batcher", partial(BatcherActor, ref, Batching(), strategies=(lists,))
        )
        asks = [Complete(each, CallContext(each.inputs[0])) for each in requests]
        found = await outcomes(*(partial(batcher.ask, ask) for ask in asks))
    assert [getattr(each, "text", type(each)) for each in found] == ["A", MalformedResponse, "A"]
    assert len(script.sent) == 4, "the list, and each member alone"


def test_streaks_of_names_that_clients_make_up_are_not_all_known():
    streaks = UnreadableStreaks("host")
    for number in range(1100):
        streaks.add(f"made-up-{number}", "no JSON", float(number))
    assert not streaks.has("made-up-99")
    assert sum(streaks.has(f"made-up-{number}") for number in range(1100)) == 1000
