"""The last event of a streamed call says what its caller got (L9)."""

from functools import partial
from typing import Never

import pytest
import trio
from fakes import MODEL, URL, Reply, Script, answer_to, outcomes, refusal
from storm_house import CrashingRuntime
from trio.testing import wait_all_tasks_blocked

from callsheet.actors import (
    BadRequest,
    CallFailed,
    Complete,
    Endpoint,
    Request,
    RetryPolicy,
    Stage,
    StageObserver,
    Stream,
    TroupeSettings,
    cast_troupe,
    insert,
    open_troupe,
)
from callsheet.runtime import Actor, AskFailed, handles, streams
from callsheet.runtime.testing.conservation import open_test_runtime

ENDS = frozenset({"answered", "shared", "failed", "cancelled"})
HI = Request.of("Hi", model=MODEL)


class Reading(Stage):
    """A stage of one's own that gets the response of a stream before the caller."""

    async def incoming(self, response, context):
        return response


def settings(script, seen, *stages):
    observer = StageObserver(seen.append, ENDS)
    once = RetryPolicy(max_attempts=1)
    return TroupeSettings(
        endpoint=Endpoint(URL),
        transport=script,
        observer=observer,
        stages=stages,
        prompt_caching="off",
        retry=once,
    )


def ends_of(seen):
    return [(one.context.call, one.stage, one.failure) for one in seen]


async def read(troupe, *, call="a"):
    """Return the last item and the error of a streamed call."""
    last = None
    async with troupe.stream(HI, call=call) as items:
        try:
            async for item in items:
                last = item
        except (CallFailed, AskFailed) as error:
            return items.response, error
        assert last is items.response is not None
    return last, None


@pytest.mark.parametrize("stages", [(), (insert(Reading, after="limiter"),)])
async def test_a_crash_at_any_checkpoint_fails_the_call_or_leaves_it_answered(
    autojump_clock, stages
):
    """A stage may crash after the whole response has left it: the caller has it, and pays."""
    seen_kinds, has_crashed, nth = [], True, 0
    while has_crashed:
        nth, seen = nth + 1, []
        async with open_test_runtime() as runtime:
            place = CrashingRuntime(runtime, {"requester": nth})
            troupe = await cast_troupe(place, settings(Script(Reply(after=1.0)), seen, *stages))
            response, error = await read(troupe)
            await wait_all_tasks_blocked()
            has_crashed = bool(runtime.snapshot().crashes)
        assert (response is None) == (error is not None)
        stage = "answered" if error is None else "failed"
        assert ends_of(seen) == [("a", stage, error)]
        seen_kinds.append((has_crashed, stage))
    assert set(seen_kinds) == {(True, "failed"), (True, "answered"), (False, "answered")}


async def test_an_error_that_the_caller_catches_in_the_block_is_a_failure(autojump_clock):
    seen = []
    async with open_troupe(settings(Script(refusal(400)), seen)) as troupe:
        _, error = await read(troupe)
    assert isinstance(error, BadRequest)
    assert ends_of(seen) == [("a", "failed", error)]


async def test_an_error_of_another_call_is_not_the_failure_of_this_one(autojump_clock):
    seen = []

    async def within(troupe):
        async with troupe.stream(HI, call="a"):
            await troupe.complete(Request.of("Ho", model=MODEL), call="b")

    script = Script(by_prompt={"Hi": [Reply(after=60.0)], "Ho": [refusal(400)]})
    async with open_troupe(settings(script, seen)) as troupe:
        (error,) = await outcomes(partial(within, troupe))
    assert isinstance(error, BadRequest)
    assert ends_of(seen) == [("b", "failed", error), ("a", "cancelled", None)]


@pytest.mark.parametrize("after", [0.0, 100.0])
async def test_a_stream_that_is_left_is_cancelled(autojump_clock, after):
    seen = []
    async with open_troupe(settings(Script(Reply(after=60.0)), seen)) as troupe:
        async with troupe.stream(HI, call="a") as items:
            await trio.sleep(after)
        assert items.response is None
    assert ends_of(seen) == [("a", "cancelled", None)]


class Lingering(Actor[Never]):
    """Sends a complete response, and does not end the stream."""

    @streams(Stream)
    async def stream(self, message, sink):
        await sink.send(answer_to("Hi"))
        await trio.sleep(60.0)

    @handles(Complete)
    async def complete(self, message):
        return answer_to("Hi")


async def test_a_timeout_after_the_complete_response_ends_the_iteration(autojump_clock):
    seen = []
    own = settings(Script(), seen, insert(Lingering, instead_of="requester"))
    async with open_troupe(own) as troupe, troupe.stream(HI, call="a", timeout=5.0) as items:
        assert [item async for item in items] == [items.response]
        assert trio.current_time() == 5.0
        assert [item async for item in items] == []
    assert ends_of(seen) == [("a", "answered", None)]
