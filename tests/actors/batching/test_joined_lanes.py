"""A call takes the best lane and the latest deadline of all callers that wait for it (L5)."""

import json
from functools import partial
from math import inf

import attrs
import httpx
import pytest
import trio
from fakes import completion_json, outcomes
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors import (
    CallContext,
    DeadlineTooShort,
    Endpoint,
    GetLimiterStatistics,
    Lane,
    Limits,
    Rate,
    Request,
    Response,
    TroupeSettings,
    TurnTooLate,
    open_troupe,
)
from callsheet.actors.call_lanes import CallLanes
from callsheet.runtime import AskTimedOut
from callsheet.runtime.testing import run_virtual

MODEL = "gpt-4o"
LANES = {"slow": Lane(), "fast": Lane(priority=1), "wide": Lane(weight=100.0)}


@attrs.define(eq=False)
class Provider(httpx.AsyncBaseTransport):
    """Answers after a second, and records the prompts in the order in which they came."""

    prompts: list[str] = attrs.field(factory=list)

    async def handle_async_request(self, request):
        body = json.loads(await request.aread())
        self.prompts.append(body["messages"][-1]["content"])
        await trio.sleep(1)
        return httpx.Response(200, json=completion_json(model=MODEL))


def troupe_of(provider, **limits):
    return open_troupe(
        TroupeSettings(
            endpoint=Endpoint("http://p/v1", "sk-x-0123456789", "openai"),
            transport=provider,
            streaming=False,
            limits=Limits(**({"in_flight": 1, "lanes": LANES} | limits)),
        )
    )


async def ask(troupe, prompt, lane, *, at=0.0, leaves=None, timeout=1000.0, patience_s=inf):
    """Ask at a time; give up at another one. Return the response, or None."""
    await trio.sleep(at)
    with trio.CancelScope() as scope:
        if leaves is not None:
            scope.deadline = trio.current_time() + leaves - at
        request = Request.of(prompt, model=MODEL, max_tokens=5, cacheable=True)
        context = CallContext(prompt, lane=lane, patience_s=patience_s)
        return await troupe.complete(request, timeout=timeout, context=context)
    return None


def busy(troupe):
    """Six calls of the slow lane, of which the first one is in flight at once."""
    return [partial(ask, troupe, f"{number}", "slow", at=number / 100) for number in range(6)]


@pytest.mark.parametrize("better", ["fast", "wide"])
async def test_a_call_that_waits_takes_the_better_lane_of_a_caller_that_joins(
    autojump_clock, better
):
    provider = Provider()
    async with troupe_of(provider) as troupe:
        shared = partial(ask, troupe, "shared")
        await outcomes(
            *busy(troupe), partial(shared, "slow", at=0.1), partial(shared, better, at=0.2)
        )
    assert provider.prompts.index("shared") <= 2
    assert provider.prompts.count("shared") == 1


@pytest.mark.parametrize("first", ["slow", "fast"])
async def test_a_call_loses_the_better_lane_with_the_caller_that_leaves(autojump_clock, first):
    provider, second = Provider(), {"slow": "fast", "fast": "slow"}[first]
    leaves = {"slow": None, "fast": 0.5}
    async with troupe_of(provider) as troupe:
        shared = partial(ask, troupe, "shared")
        *_, one, two = await outcomes(
            *busy(troupe),
            partial(shared, first, at=0.1, leaves=leaves[first]),
            partial(shared, second, at=0.2, leaves=leaves[second]),
        )
    assert provider.prompts == ["0", "1", "2", "3", "4", "5", "shared"]
    assert [one is None, two is None] == [first == "fast", second == "fast"]


async def test_a_call_keeps_the_better_lane_when_the_caller_of_the_worse_one_leaves(autojump_clock):
    provider = Provider()
    async with troupe_of(provider) as troupe:
        shared = partial(ask, troupe, "shared")
        await outcomes(
            *busy(troupe),
            partial(shared, "slow", at=0.1, leaves=0.5),
            partial(shared, "fast", at=0.2),
        )
    assert provider.prompts[:2] == ["0", "shared"]


async def test_a_call_has_the_latest_deadline_of_those_who_wait_also_when_the_first_leaves(
    autojump_clock,
):
    provider = Provider()
    async with troupe_of(provider) as troupe:
        *_, one, two, three = await outcomes(
            *busy(troupe),
            partial(ask, troupe, "shared", "slow", at=0.1, timeout=2),
            partial(ask, troupe, "shared", "slow", at=0.2, timeout=100),
            partial(ask, troupe, "shared", "slow", at=0.3, timeout=50, leaves=3),
        )
    assert isinstance(one, AskTimedOut)
    assert isinstance(two, Response)
    assert three is None
    assert provider.prompts.count("shared") == 1


async def test_a_full_lane_is_too_late_only_for_those_who_wait_in_no_other(autojump_clock):
    """Twenty calls of the slow lane wait for a limit; those of the fast lane pass them."""
    provider = Provider()
    rate = Rate("requests", 1, per_s=1.0)
    async with troupe_of(provider, in_flight=100, rates=[rate]) as troupe:
        shared = partial(ask, troupe, "shared", timeout=8)
        *_, alone, fast, slow = await outcomes(
            *(partial(ask, troupe, f"{number}", "slow") for number in range(20)),
            partial(ask, troupe, "other", "slow", at=0.1, timeout=8),
            partial(shared, "fast", at=0.2),
            partial(shared, "slow", at=0.3),
        )
    assert isinstance(alone, DeadlineTooShort)
    assert (fast.route, slow.route) == ("live", "joined")
    assert provider.prompts.count("shared") == 1


callers = st.tuples(
    st.sampled_from(["a", "b"]),
    st.sampled_from(["slow", "fast", "wide"]),
    st.integers(0, 8),
    st.none() | st.integers(0, 8),
)


@given(st.lists(callers, min_size=1, max_size=12))
def test_every_caller_that_stays_is_answered_while_others_join_and_leave(them):
    provider = Provider()

    async def main():
        async with troupe_of(provider) as troupe:
            found = await outcomes(
                *(
                    partial(
                        ask,
                        troupe,
                        prompt,
                        lane,
                        at=at / 4,
                        leaves=None if stays is None else (at + stays) / 4 + 0.01,
                    )
                    for prompt, lane, at, stays in them
                )
            )
            await trio.sleep(10)
            return found, await troupe.limiter.ask(GetLimiterStatistics())

    found, statistics = run_virtual(main)
    for (*_, stays), one in zip(them, found, strict=True):
        assert isinstance(one, Response) or (one is None and stays is not None)
    assert statistics.limiter.in_flight == 0
    assert statistics.limiter.waiting == 0
    answered = [one for one in found if one is not None]
    assert sum(one.http_requests for one in answered) <= len(provider.prompts)


@given(st.lists(st.tuples(st.booleans(), st.sampled_from("abc"))))
def test_the_lanes_of_a_call_are_those_of_the_callers_that_wait(steps):
    waiting, told = [], []
    lanes = CallLanes()
    lanes.listener = lambda: told.append(set(lanes))
    for joins, lane in steps:
        before = set(waiting)
        if joins:
            lanes.join(lane)
            waiting.append(lane)
        elif lane in waiting:
            lanes.leave(lane)
            waiting.remove(lane)
        assert list(lanes) == list(dict.fromkeys(lanes))
        assert set(lanes) == set(waiting) == {one for one in "abc" if one in lanes}
        if before != set(waiting):
            assert told.pop() == set(waiting)
        assert not told


async def test_each_caller_of_a_shared_call_waits_as_long_as_its_own_patience(autojump_clock):
    provider = Provider()
    async with troupe_of(provider) as troupe:
        shared, ended = partial(ask, troupe, "shared", "slow"), {}

        async def note(name, **more):
            try:
                await shared(**more)
            except TurnTooLate as error:
                ended[name] = round(trio.current_time(), 3), round(error.wait_s)
            else:
                ended[name] = trio.current_time()

        await outcomes(
            *busy(troupe),
            partial(note, "first", at=0.1, patience_s=3.0),
            partial(note, "second", at=0.2),
            partial(note, "third", at=1.5, patience_s=2.0),
        )
    assert provider.prompts == ["0", "1", "2", "3", "4", "5", "shared"]
    assert ended == {"first": (3.1, 3), "third": (3.5, 3), "second": 7.0}


async def test_a_shared_call_is_given_up_when_no_caller_has_patience_left(autojump_clock):
    provider = Provider()
    async with troupe_of(provider) as troupe:
        shared = partial(ask, troupe, "shared")
        *_, one, two, three = await outcomes(
            *busy(troupe),
            partial(shared, "slow", at=0.1, patience_s=1.0),
            partial(shared, "wide", at=0.2, patience_s=0.5),
            partial(ask, troupe, "late", "slow", at=2.0, patience_s=1.0),
        )
    assert provider.prompts == ["0", "1", "2", "3", "4", "5"]
    assert [type(error) for error in (one, two, three)] == [TurnTooLate] * 3
