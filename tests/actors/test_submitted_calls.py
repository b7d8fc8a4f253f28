"""A submitted call has no task that waits for it, and is reported once as any other (L9)."""

import json

import pytest
import trio
from fakes import MODEL, URL, Reply, Script, refusal

from callsheet.actors import (
    BadRequest,
    Endpoint,
    Request,
    StageObserver,
    TroupeSettings,
    class_of_output,
    log_call,
    open_troupe,
)
from callsheet.runtime import AskTimedOut, Outcome


def request(prompt, **more):
    return Request.of(prompt, model=MODEL, **more)


def troupe_of(script, observer=log_call):
    settings = TroupeSettings(endpoint=Endpoint(URL), transport=script, observer=observer)
    return open_troupe(settings, seed="seed")


async def test_each_submitted_call_is_logged_once_however_it_ends(autojump_clock, log):
    script = Script(
        by_prompt={
            "good": [Reply()],
            "bad": [refusal(400)],
            "late": [Reply(after=60)],
            "cancelled": [Reply(after=60)],
        }
    )
    async with troupe_of(script) as troupe:
        good = await troupe.submit(request("good"), call="good", lane="tests")
        bad = await troupe.submit(request("bad"), call="bad")
        late = await troupe.submit(request("late", deadline=2), call="late")
        cancelled = await troupe.submit(request("cancelled"), call="cancelled")
        assert (await good.wait()).text == "Hello"
        with pytest.raises(BadRequest):
            await bad.wait()
        with pytest.raises(AskTimedOut):
            await late.wait()
        assert trio.current_time() == pytest.approx(2.0)
        cancelled.cancel()
        assert cancelled.outcome is Outcome.CANCELLED
    assert sorted((entry["event"], entry["call"]) for entry in log) == [
        ("call_answered", "good"),
        ("call_cancelled", "cancelled"),
        ("call_failed", "bad"),
        ("call_failed", "late"),
    ]


async def test_a_result_that_nothing_would_read_is_refused(autojump_clock):
    async with troupe_of(Script(Reply())) as troupe:
        with pytest.raises(ValueError, match="use `complete`"):
            await troupe.submit(request("Say a number.", returns=int))


async def test_a_result_that_is_read_elsewhere_is_asked_for_by_its_schema(autojump_clock):
    script = Script(Reply())
    numbers = request("Say a number.", returns=int).output_schema
    async with troupe_of(script) as troupe:
        asked = request("Say a number.", returns=class_of_output(numbers))
        assert (await (await troupe.submit(asked)).wait()).text == "Hello"
    sent = json.loads(script.sent[0].body)
    assert sent["response_format"]["json_schema"]["schema"] == numbers.schema


@pytest.mark.parametrize(
    "stages",
    [{"asked"}, {"queued", "answered"}, {"sent", "retrying"}, {"admitted", "failed"}, set()],
)
async def test_an_observer_of_some_stages_gets_their_events_and_no_others(autojump_clock, stages):
    every, some = [], []
    seen = frozenset(stages)
    for observer in (every.append, StageObserver(some.append, seen)):
        script = Script(by_prompt={"good": [refusal(503), Reply()], "bad": [refusal(400)]})
        async with troupe_of(script, observer) as troupe:
            good = await troupe.submit(request("good"), call="good")
            await good.wait()
            await troupe.complete(request("good"), call="again")
            with pytest.raises(BadRequest):
                await troupe.complete(request("bad"), call="bad")

    told = [(event.stage, event.context.call) for event in some]
    assert told == [(event.stage, event.context.call) for event in every if event.stage in seen]
    assert {event.stage for event in every} >= {"asked", "sent", "retrying", "answered", "failed"}
