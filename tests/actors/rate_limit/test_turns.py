"""R12, L4: which calls wait at the limiter, and when each of them has its turn."""

from functools import partial

import attrs
import pytest
import trio
from fakes import Behaviour, Journal, call
from limiter_stage import limiter_to, settled

from callsheet.actors import Lane, Limits
from callsheet.actors.call_lanes import CallLanes
from callsheet.actors.rate_limit import GetTurns
from callsheet.runtime import open_runtime


def in_lane(name, lane, **more):
    made = call(name)
    return attrs.evolve(made, context=attrs.evolve(made.context, call=name, lane=lane), **more)


async def begin(nursery, limiter, calls):
    """Let calls arrive at the limiter, in their order."""
    for each in calls:
        nursery.start_soon(partial(limiter.ask, each))
        await trio.testing.wait_all_tasks_blocked()


@pytest.mark.parametrize(
    "limits",
    [
        Limits(rpm=60, burst_s=0, learn=False),
        Limits(rpm=600, tpm=6000, burst_s=0, learn=False, in_flight=2),
        Limits(rpm=60, burst_s=0, learn=False, lanes={"paying": Lane(weight=3)}),
        Limits(rpm=60, burst_s=0, learn=False, lanes={"urgent": Lane(priority=1)}),
    ],
)
async def test_each_call_has_its_turn_when_it_was_said(autojump_clock, limits):
    journal = Journal()
    async with open_runtime() as runtime, trio.open_nursery() as nursery:
        limiter = await limiter_to(runtime, journal, limits, usual=Behaviour(seconds=1.5))
        await begin(nursery, limiter, [in_lane("first", "")])
        await trio.sleep(5)  # the duration of a call is known
        lanes = ("", "paying", "urgent")
        calls = [in_lane(f"{lane} {number}", lane) for number in range(8) for lane in lanes]
        await begin(nursery, limiter, calls)
        now, before = trio.current_time(), len(journal.began)
        turns = await limiter.ask(GetTurns(100))
        assert sum(turns.waiting.values()) == len(turns.upcoming) == len(calls) - (before - 1)
        said = {one.context.call: now + one.turn_s for one in turns.upcoming}
        firsts = {one.lane: one.turn_s for one in reversed(turns.upcoming)}
        assert turns.next_s == firsts
    happened = dict(journal.began[before:])
    assert happened == pytest.approx(said, abs=1e-6)
    assert list(happened) == list(said)


async def test_calls_in_flight_are_named_with_their_time_and_lane(autojump_clock):
    limits = Limits(in_flight=2, learn=False)
    journal = Journal()
    async with open_runtime() as runtime, trio.open_nursery() as nursery:
        limiter = await limiter_to(runtime, journal, limits, usual=Behaviour(seconds=60))
        await begin(nursery, limiter, [in_lane("a", "x"), in_lane("b", "y"), in_lane("c", "y")])
        await trio.sleep(7)
        turns = await limiter.ask(GetTurns(10))
        assert turns.in_flight == {"x": 1, "y": 1}
        assert turns.waiting == {"y": 1}
        assert [(one.context.call, one.seconds) for one in turns.oldest] == [("a", 7), ("b", 7)]
        assert [(one.context.call, one.seconds, one.turn_s) for one in turns.upcoming] == [
            ("c", 7, None)
        ], "how long a call takes is not known yet"
        assert turns.next_s == {}
        await trio.sleep(60)
        turns = await limiter.ask(GetTurns(10))
        assert (turns.in_flight, turns.waiting) == ({"y": 1}, {})
        await trio.sleep(60)
        await settled(runtime)
        turns = await limiter.ask(GetTurns(10))
        assert (turns.in_flight, turns.waiting, turns.oldest) == ({}, {}, ())


async def test_a_call_with_places_in_two_lanes_has_one_turn(autojump_clock):
    limits = Limits(rpm=60, burst_s=0, learn=False)
    journal = Journal()
    async with open_runtime() as runtime, trio.open_nursery() as nursery:
        limiter = await limiter_to(runtime, journal, limits)
        shared = in_lane("shared", "x", lanes=CallLanes("x", "y"))
        calls = [in_lane("first", "x"), shared, in_lane("last", "y")]
        await begin(nursery, limiter, calls)
        turns = await limiter.ask(GetTurns(10))
        assert [one.context.call for one in turns.upcoming] == ["shared", "last"]
        assert [one.turn_s for one in turns.upcoming] == pytest.approx([1, 2])
        assert turns.next_s == pytest.approx({"x": 1, "y": 1})


async def test_no_more_calls_are_named_than_were_asked_for(autojump_clock):
    limits = Limits(rpm=60, burst_s=0, learn=False)
    async with open_runtime(drain_s=0) as runtime, trio.open_nursery() as nursery:
        limiter = await limiter_to(runtime, Journal(), limits)
        await begin(nursery, limiter, [in_lane(str(number), "x") for number in range(30)])
        await begin(nursery, limiter, [in_lane("late", "y")])
        turns = await limiter.ask(GetTurns(2))
        assert len(turns.upcoming) == 2
        assert turns.waiting == {"x": 29, "y": 1}
        assert turns.next_s.keys() == {"x", "y"}, "each lane has its next turn"
        nursery.cancel_scope.cancel()


async def test_a_call_in_flight_is_expected_to_end_the_sooner_the_longer_it_lasts(autojump_clock):
    """A call of the mean duration is half over when it has lasted for it."""
    limits, journal = Limits(in_flight=1, learn=False), Journal()
    long = {"long": Behaviour(seconds=30)}
    async with open_runtime() as runtime, trio.open_nursery() as nursery:
        limiter = await limiter_to(
            runtime, journal, limits, by_prompt=long, usual=Behaviour(seconds=8)
        )
        await begin(nursery, limiter, [in_lane(name, "") for name in ("usual", "long", "last")])
        expected = []
        await trio.sleep(8.001)
        for _ in range(5):
            (last,) = (await limiter.ask(GetTurns(10))).upcoming
            expected.append(last.turn_s)
            await trio.sleep(4)
    assert expected == pytest.approx([8, 6, 4, 2, 0], abs=0.01)
