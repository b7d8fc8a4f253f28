"""Stages that change nothing change no result of a call, wherever they stand."""

import json
from functools import partial
from math import inf

import attrs
import httpx
import trio
from fakes import MODEL, RESET, URL, Reply, Script, completion_json, outcomes, refusal
from hypothesis import given
from hypothesis import strategies as st
from own_stages import PASSING

from callsheet.actors import (
    VENDORS,
    CachePolicy,
    CallFailed,
    Endpoint,
    LedgerPolicy,
    Limits,
    Request,
    RetryPolicy,
    TroupeSettings,
    insert,
    open_troupe,
)
from callsheet.runtime import AskFailed
from callsheet.runtime.testing import run_virtual

PLACES = [
    *(("before", name) for name in ("cache", "batcher", "ledger", "router", "limiter")),
    *(("before", "prompt_cache"), ("before", "requester")),
    *(("after", name) for name in ("cache", "batcher", "ledger", "router", "prompt_cache")),
    ("after", "limiter"),
]
EVENTS = {"content-type": "text/event-stream"}


def chunk(text=None, reason=None):
    delta = {} if text is None else {"content": text}
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    return f"data: {json.dumps({'model': MODEL, 'choices': [choice], 'usage': usage})}\n\n"


def stream_of(*texts, **more):
    ending = (chunk(reason="stop"), "data: [DONE]\n\n")
    body = "".join([*map(chunk, texts), *ending])
    return Reply(body=body, headers=EVENTS, pieces=4, gap=0.5, **more)


REPLIES = {
    "whole": Reply(body=completion_json("It is whole.")),
    "slow": Reply(body=completion_json("It is slow."), after=4.0),
    "pieces": stream_of("It ", "comes in", " pieces", "."),
    "refused": refusal(400, "No.", kind="invalid_request_error"),
    "late refusal": refusal(500, after=3.0),
    "reset": Reply(error=httpx.ReadError("connection reset by peer")),
    "cut": stream_of("It ends", then=RESET),
}


@attrs.frozen
class Caller:
    """A call and how its caller behaves, with times in seconds."""

    reply: str
    way: str
    starts: int
    timeout: float
    leaves: float
    cacheable: bool


callers = st.builds(
    Caller,
    reply=st.sampled_from(sorted(REPLIES)),
    way=st.sampled_from(["complete", "submit", "stream"]),
    starts=st.integers(0, 3),
    timeout=st.sampled_from([inf, inf, 2.25, 0.75]),
    leaves=st.sampled_from([inf, inf, 1.25, 2.75]),
    cacheable=st.booleans(),
)
places = st.lists(st.tuples(st.sampled_from(PASSING), st.sampled_from(PLACES)), max_size=4)


def request_of(caller, number):
    prompt = caller.reply if caller.cacheable else f"{caller.reply} {number}"
    return Request.of(prompt, model=MODEL, cacheable=caller.cacheable)


async def made(troupe, caller, number):
    """Return what one caller gets, and when."""
    await trio.sleep(caller.starts + number / 64)
    found = "left"
    with trio.move_on_after(caller.leaves):
        try:
            found = await answered(troupe, caller, request_of(caller, number))
        except CallFailed as error:
            found = type(error), str(error), error.billed, error.attempts
        except AskFailed as error:
            found = type(error), error.verdict
    return found, trio.current_time()


async def answered(troupe, caller, request):
    if caller.way == "complete":
        return await troupe.complete(request, timeout=caller.timeout)
    if caller.way == "submit":
        slot = await troupe.submit(request)
        with trio.fail_after(100):
            return await slot.wait()
    async with troupe.stream(request, timeout=caller.timeout) as items:
        *pieces, whole = [item async for item in items]
    assert "".join(piece.text for piece in pieces) == whole.text
    return whole


def results(callers, stages, *, in_flight):
    """Return what each caller gets, when, and what the ledger knows at the end."""

    async def main():
        by_prompt = {
            name if caller.cacheable else f"{name} {number}": [REPLIES[name]]
            for number, caller in enumerate(callers)
            for name in [caller.reply]
        }
        settings = TroupeSettings(
            endpoint=Endpoint(URL, "sk-test-0123456789", VENDORS["openai"]),
            transport=(script := Script(by_prompt=by_prompt)),
            cache=CachePolicy(path=None),
            ledger=LedgerPolicy(),
            retry=RetryPolicy(max_attempts=1),
            breaker=None,
            limits=Limits(in_flight=in_flight),
            stages=[insert(kind, **{side: name}) for kind, (side, name) in stages],
        )
        async with open_troupe(settings, seed="1") as troupe:
            found = await outcomes(
                *(partial(made, troupe, caller, number) for number, caller in enumerate(callers))
            )
            await trio.sleep(1)  # a cancellation passes one stage after another
            books = await troupe.costs()
        return found, books.totals, sorted(script.times), script.open

    return run_virtual(main)


@given(st.lists(callers, min_size=1, max_size=4), places, st.sampled_from([2, 100]))
def test_no_result_is_changed(callers, stages, in_flight):
    usual = results(callers, [], in_flight=in_flight)
    assert results(callers, stages, in_flight=in_flight) == usual
    assert usual[-1] == 0
