"""Crashes of single stages of a troupe (R8)."""

from functools import partial

import attrs
import pytest
import trio
from fakes import Reply, Script, outcomes, refusal
from troupe_calls import completing, settings_for, text_of

from callsheet.actors import (
    BatcherActor,
    CallFailed,
    Limits,
    RateLimiterActor,
    cast_troupe,
    open_troupe,
)
from callsheet.actors.request.attempt import SingleAttempt
from callsheet.runtime import ActorCrashed, open_runtime


@attrs.define
class Poison:
    """An observer that raises at one stage of one call."""

    stage: str
    call: str = "poison"

    def __call__(self, event):
        if (event.stage, event.context.call) == (self.stage, self.call):
            raise ZeroDivisionError("bug")


@pytest.mark.parametrize("stage", ["queued", "admitted", "sent"])
async def test_a_crash_of_one_stage_is_reported_and_later_calls_work(autojump_clock, log, stage):
    script = Script()
    async with open_runtime(seed="seed") as runtime:
        settings = settings_for(script, observer=Poison(stage), limits=Limits(in_flight=2))
        troupe = await cast_troupe(runtime, settings)
        (crashed,) = await outcomes(*completing(troupe, "poison"))
        assert isinstance(crashed, ActorCrashed)
        found = await outcomes(*completing(troupe, *"abcdef"))
        assert [text_of(outcome) for outcome in found] == ["Hello"] * 6
        again = {actor.path: actor.incarnation for actor in runtime.snapshot().actors}
        name = "requester" if stage == "sent" else "limiter"
        assert [path for path, times in again.items() if times > 1] == [f"callsheet/{name}"]
    assert [entry["event"] for entry in log] == ["actor_crashed"]


@pytest.mark.parametrize(
    ("actor", "method"),
    [
        (BatcherActor, "_send_alone"),
        (RateLimiterActor, "_send"),
        (SingleAttempt, "send"),
    ],
)
async def test_a_bug_in_any_stage_fails_the_calls_that_it_held(
    autojump_clock, monkeypatch, actor, method
):
    usual = getattr(actor, method)
    left = ["once"]

    async def buggy(self, *arguments, **more):
        if left:
            left.clear()
            raise KeyError("bug")
        return await usual(self, *arguments, **more)

    monkeypatch.setattr(actor, method, buggy)
    async with open_troupe(settings_for(Script()), seed="seed") as troupe:
        (crashed,) = await outcomes(*completing(troupe, "a", cacheable=True))
        assert isinstance(crashed, ActorCrashed)
        assert isinstance(crashed.__cause__, KeyError)
        found = await outcomes(*completing(troupe, "b", "c"))
        assert [text_of(outcome) for outcome in found] == ["Hello", "Hello"]
        post = await outcomes(partial(troupe.compose, "T"))
        assert post[0].topic == "T"


async def test_a_crash_of_the_limiter_leaves_the_calls_in_flight_alone(autojump_clock):
    """Calls in flight belong to later stages; so does a call that waits to be retried (R8)."""
    script = Script(
        by_prompt={
            "again": [refusal(503, headers={"retry-after": "60"}), Reply()],
            "flying": [Reply(after=20)],
        }
    )
    async with open_runtime(seed="seed") as runtime:
        troupe = await cast_troupe(runtime, settings_for(script, observer=Poison("queued")))

        async def poison():
            await trio.sleep(5)
            return await completing(troupe, "poison")[0]()

        again, flying, crashed = await outcomes(*completing(troupe, "again", "flying"), poison)
        assert isinstance(crashed, ActorCrashed)
        assert text_of(flying) == "Hello"
        assert isinstance(again, CallFailed) or text_of(again) == "Hello"
        assert runtime.snapshot()[troupe.requester.path].incarnation == 1


async def test_a_crash_of_the_requests_is_survived_by_what_waits(autojump_clock):
    script = Script(Reply(after=5))
    async with open_runtime(seed="seed") as runtime:
        settings = settings_for(script, observer=Poison("sent"), limits=Limits(in_flight=2))
        troupe = await cast_troupe(runtime, settings)
        found = await outcomes(*completing(troupe, "flying", "poison", "waiting", "waiting too"))
        assert [isinstance(outcome, ActorCrashed) for outcome in found] == [1, 1, 0, 0]
        assert [text_of(outcome) for outcome in found[2:]] == ["Hello", "Hello"]
        (limiter,) = (actor for actor in runtime.snapshot().actors if "limiter" in actor.path)
        assert limiter.incarnation == 1
