"""The limit of one send, and the time without progress (L1): keep-alives do not prolong a call."""

import json
from math import inf

import pytest
import trio
from fakes import Reply, Script, call, completion_json, requester

from callsheet.actors import (
    BreakerPolicy,
    CallContext,
    ConnectionFailed,
    Endpoint,
    LeanTransport,
    Request,
    RetryPolicy,
    SendTimedOut,
    Stream,
    Target,
    Timeouts,
)
from callsheet.actors.request.watch import is_keep_alive
from callsheet.actors.vendors import ServerSentEvent

EVENTS = {"content-type": "text/event-stream"}
ROLE = {"choices": [{"index": 0, "delta": {"role": "assistant"}, "finish_reason": None}]}
LIMITS = Timeouts(first_byte_s=30, between_bytes_s=10, send_s=60)


def event(data, name=None):
    text = data if isinstance(data, str) else json.dumps(data)
    return ("" if name is None else f"event: {name}\n") + f"data: {text}\n\n"


def chunk(text, reason=None):
    return event({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": reason}]})


def trickle(first, repeated, times=2000, gap=0.5, last=""):
    """Return a reply whose pieces are `first`, `repeated` again and again, and `last`."""
    size = max(map(len, (first, repeated, last)))
    pieces = [first, *[repeated] * times, last]
    body = "".join(piece + " " * (size - len(piece)) for piece in pieces)
    return Reply(body=body, pieces=len(pieces), gap=gap)


def stream_of(*pieces, gap=0.5):
    """Return a streamed reply whose pieces arrive one after another, as far as SSE allows it."""
    size = max(map(len, pieces))
    # A comment fills each piece up to the same length.
    filled = [piece + f": {'.' * (size - len(piece))}\n" for piece in pieces]
    return Reply(headers=EVENTS, body="".join(filled), pieces=len(filled), gap=gap)


KEEP_ALIVES = {
    "blank lines": "\n\n",
    "comments": ": OPENROUTER PROCESSING\n\n",
    "pings": event({"type": "ping"}, "ping"),
    "unnamed pings": event({"type": "ping"}),
    "empty events": "data:\n\n",
    "named keep-alives": event("{}", "keepalive"),
    "the same chunk": event({"choices": []}),
}


@pytest.mark.parametrize("kind", KEEP_ALIVES)
async def test_keep_alives_of_a_stream_are_no_progress(autojump_clock, kind):
    """L1: they neither hold a call that has begun to respond, nor one that has not."""
    begun = stream_of(event(ROLE), chunk("Hel"), *[KEEP_ALIVES[kind]] * 2000)
    silent = stream_of(event(ROLE), *[KEEP_ALIVES[kind]] * 2000)
    whole = stream_of(chunk("Hello", "stop"), event("[DONE]"))
    script = Script(begun, silent, whole)
    async with requester(script, timeouts=LIMITS, retry=RetryPolicy(base_s=0)) as (ref, _):
        answer = await ref.ask(call())
    assert (answer.text, answer.http_requests, answer.maybe_billed) == ("Hello", 3, 2)
    first, second, third = script.times
    assert second - first == pytest.approx(1 + 0.5 + 10, abs=1)
    assert third - second == pytest.approx(1 + 30, abs=1)


async def test_white_space_around_a_whole_response_is_no_progress(autojump_clock):
    """DeepSeek sends blank lines before the body while a request waits."""
    before = trickle("\n", "\n")
    after = trickle(json.dumps(completion_json()), "\n")
    script = Script(before, after, Reply())
    async with requester(script, timeouts=LIMITS, retry=RetryPolicy(base_s=0)) as (ref, _):
        assert (await ref.ask(call())).http_requests == 3
    assert script.times == [0, 31, 42]


async def test_white_space_before_a_response_that_comes_in_time_is_waited_for(autojump_clock):
    script = Script(trickle("\n", "\n", times=50, last=json.dumps(completion_json("Hello"))))
    async with requester(script, timeouts=LIMITS) as (ref, _):
        answer = await ref.ask(call())
    assert (answer.text, answer.http_requests) == ("Hello", 1)


async def test_a_model_may_think_in_silence_before_its_first_text(autojump_clock):
    """The role arrives at once, and the first text after minutes: that is no stall."""
    script = Script(stream_of(event(ROLE), chunk("Hello", "stop") + event("[DONE]"), gap=590))
    async with requester(script) as (ref, _):
        assert (await ref.ask(call())).http_requests == 1


async def test_chunks_without_text_are_progress(autojump_clock):
    """Such as reasoning, whatever a server calls it."""
    thoughts = [
        event({"choices": [{"index": 0, "delta": {"thinking": str(number)}}]})
        for number in range(10)
    ]
    script = Script(stream_of(chunk("Hel"), *thoughts, chunk("lo", "stop"), gap=5))
    async with requester(script, timeouts=LIMITS) as (ref, _):
        answer = await ref.ask(call())
    assert (answer.text, answer.http_requests) == ("Hello", 1)


@pytest.mark.parametrize("fallbacks", [[], [Target(Endpoint("http://second/v1"))]])
@pytest.mark.parametrize("stalls", ["in the head", "in the body", "with progress"])
async def test_a_send_that_reaches_its_limit_is_maybe_billed_and_not_sent_again(
    autojump_clock, stalls, fallbacks
):
    """L1: neither to this target nor to another one."""
    growing = [chunk(f"{number} ") for number in range(100)]
    reply = {
        "in the head": Reply(after=inf),
        "in the body": trickle("\n", "\n"),
        "with progress": stream_of(*growing, gap=5),
    }[stalls]
    script = Script(reply)
    timeouts = Timeouts(first_byte_s=60, send_s=60)
    async with requester(script, timeouts=timeouts, fallbacks=fallbacks) as (ref, _):
        with pytest.raises(SendTimedOut, match=r"provider did not complete .* 60 s") as caught:
            await ref.ask(call())
    assert trio.current_time() == 60
    assert len(script.sent) == 1
    error = caught.value
    assert (error.billed, error.maybe_billed, error.is_transient) == ("maybe", 1, False)


async def test_the_callers_deadline_counts_everything(autojump_clock):
    """L1: it ends a send before the limit of the send."""
    async with requester(Script(Reply(after=inf))) as (ref, _):
        with trio.move_on_after(20) as scope:
            await ref.ask(call())
    assert scope.cancelled_caught
    assert trio.current_time() == 20


async def test_the_wait_for_a_reader_is_no_time_of_the_send(autojump_clock):
    """A caller that takes its pieces slowly costs the provider nothing."""
    script = Script(stream_of(*[chunk(f"{number} ") for number in range(40)], chunk("", "stop")))
    request = Request.of("Hi", model="gpt-4o")
    async with (
        requester(script, timeouts=LIMITS) as (ref, _),
        ref.stream(Stream(request, CallContext("Hi")), buffer=1) as pieces,
    ):
        async for _piece in pieces:
            await trio.sleep(15)
    assert trio.current_time() > 500
    assert len(script.sent) == 1


@pytest.mark.parametrize("arrives", [True, False])
async def test_the_breaker_closes_at_the_head_of_a_probes_response(autojump_clock, arrives):
    """A stream of two minutes as the probe keeps no other call back."""
    fails = Reply(503, after=0)
    probe = stream_of(*[chunk("x")] * 120, chunk("", "stop"), gap=1)
    if not arrives:
        probe = Reply(after=120, body=probe.body, headers=EVENTS)
    script = Script(fails, probe, Reply())
    breaker = BreakerPolicy(consecutive=1, pause_s=5, jitter=0)
    retry = RetryPolicy(max_attempts=1)
    async with requester(script, breaker=breaker, retry=retry) as (ref, _):
        with pytest.raises(Exception, match="503"):
            await ref.ask(call())
        async with trio.open_nursery() as nursery:
            for number in range(6):
                nursery.start_soon(ref.ask, call(str(number)))
    pause, *others = script.times[1:]
    assert pause == 5
    assert others == [6 if arrives else 125] * 5


@pytest.mark.parametrize(
    ("data", "name", "expected"),
    [
        (b'{"type": "ping"}', "", True),
        (b'{"type":"heartbeat"}', "", True),
        (b"", "", True),
        (b"null", "message", True),
        (b'{"cost": "0"}', "ping", True),
        (b'{"type": "message_start"}', "message_start", False),
        (b'{"choices": [{"delta": {"content": "ping"}}]}', "", False),
        (b'{"type": "text", "text": "ping"}', "", False),
        (b"[DONE]", "", False),
    ],
)
def test_keep_alives_are_told_from_events(data, name, expected):
    assert is_keep_alive(ServerSentEvent(data, name)) is expected


async def test_a_send_without_a_connection_ends_before_its_limit_and_is_repeated(autojump_clock):
    """Nothing was sent, so it costs nothing."""

    async def open_stream(host, port):
        await trio.sleep_forever()

    transport = LeanTransport(open_stream=open_stream)
    settings = {"timeouts": Timeouts(send_s=8), "retry": RetryPolicy(max_attempts=2, base_s=0)}
    async with requester(transport, **settings) as (ref, _):
        with pytest.raises(ConnectionFailed, match="cannot connect") as caught:
            await ref.ask(call())
    assert (caught.value.billed, caught.value.attempts, trio.current_time()) == ("no", 2, 8)
