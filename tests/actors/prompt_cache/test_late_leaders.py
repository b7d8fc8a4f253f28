"""A leader whose response begins late or cannot be seen to begin, and for how long others wait.

The built-in provider sends the first token after a third of the latency.
"""

import math
from functools import partial

import pytest
import trio
from fakes import outcomes
from provided import house
from similar_calls import OLDER, all_of, at_once, many, reads, times, writes

from callsheet.actors import Limits, RetryPolicy
from callsheet.simulator import ProviderSettings


async def test_a_short_call_that_is_sent_whole_is_followed_at_its_end(autojump_clock):
    """Nothing else shows that its response has begun."""
    async with house(vendor="openai") as at:
        found = await all_of(at, many(3, model=OLDER, max_tokens=5))
        assert times(at) == [0.0, 3.0, 3.0]
        assert reads(found) == [False, True, True]


async def test_without_streams_calls_follow_the_end_of_the_first_response(autojump_clock):
    slow = ProviderSettings(latency_s=(9.0, 9.0))
    async with house(vendor="anthropic", provider=slow, streaming=False) as at:
        found = await all_of(at, many(10, marked=True))
        assert times(at) == [0.0] + [9.0] * 9
        assert (sum(writes(found)), sum(reads(found))) == (1, 9)


async def test_the_first_follower_leads_in_time_if_the_leader_does_not_begin(autojump_clock):
    """L1: a wait is a quarter of the time that is left at most, and 15 seconds at most."""
    async with house("stall", vendor="anthropic") as at:
        calls = [
            partial(at.troupe.complete, one, timeout=timeout)
            for one, timeout in zip(many(4, marked=True), (1000, 20, 30, 1000), strict=True)
        ]
        with trio.move_on_after(100):
            await outcomes(*calls)
        assert times(at) == [0.0, 5.0, 6.0, 6.0]


async def test_followers_that_have_waited_long_enough_are_sent_without_added_marks(autojump_clock):
    """Each would pay for a write that the others cannot read."""
    stalls = ["stall"] * 3
    async with house("ok", *stalls, vendor="anthropic", prompt_caching="auto") as at:
        with trio.move_on_after(100):
            await all_of(at, many(7))
        marked = [b"cache_control" in sent.body for sent in at.sent]
        assert times(at) == [0.0, 0.0, 15.0, 30.0, 45.0, 45.0, 45.0]
        assert marked == [False, True, True, True, False, False, False]
        assert (await at.troupe.prompt_cache_statistics()).late == 5


@pytest.mark.slow
@pytest.mark.parametrize("begins_at", [40.0, 20.0])
async def test_a_write_each_fifteen_seconds_is_all_that_a_late_first_token_costs(
    autojump_clock, begins_at
):
    """User marks: the call that leads instead of a late one writes, too, and the others read."""
    slow = ProviderSettings(latency_s=(3 * begins_at, 3 * begins_at))
    limits = Limits(in_flight=200)
    async with house(vendor="anthropic", provider=slow, limits=limits) as at:
        found = await all_of(at, many(200, marked=True))
        leading = math.ceil(begins_at / 15.0)
        assert (sum(writes(found)), sum(reads(found))) == (leading, 200 - leading)
        assert times(at)[leading:] == [begins_at] * (200 - leading)


@pytest.mark.parametrize("seconds", [20, 50])
async def test_followers_wait_as_long_as_a_limit_of_the_provider_holds_their_leader_back(
    autojump_clock, seconds
):
    """They would wait at the limiter as well, and write all of them when it ends."""
    async with house(f"429; retry-after={seconds}", vendor="anthropic") as at:
        found = await all_of(at, many(10, marked=True))
        first, retried, *others = times(at)
        assert (first, retried) == (0.0, pytest.approx(seconds, abs=seconds / 4))
        assert others == [retried + 1.0] * 9
        assert (sum(writes(found)), sum(reads(found))) == (1, 9)


@pytest.mark.parametrize("fault", ["429; retry-after=2", "reset", "503"])
async def test_followers_wait_for_the_retry_of_their_leader(autojump_clock, fault):
    async with house(fault, vendor="anthropic", retry=RetryPolicy(base_s=2.0)) as at:
        found = await at_once(at, many(4, marked=True))
        first, retried, *others = times(at)
        assert first < retried
        assert others == [retried + 1.0] * 3
        assert (sum(writes(found)), sum(reads(found))) == (1, 3)
