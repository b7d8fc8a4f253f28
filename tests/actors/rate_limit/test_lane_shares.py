"""The part of each limit that a lane has now, for the headers of a gateway."""

from functools import partial
from time import perf_counter

import pytest
import trio
from fakes import MODEL, outcomes
from provided import house

from callsheet.actors import Lane, Limits, Request
from callsheet.actors.rate_limit import LimitShare

LANES = {"small": Lane(weight=1), "large": Lane(weight=3)}
LIMITS = Limits(rpm=60, tpm=6_000, burst_s=0, in_flight=40, lanes=LANES)


def asking(troupe, lane, count):
    request = Request.of("Hi", model=MODEL, max_tokens=10)
    return [partial(troupe.complete, request, lane=lane) for _ in range(count)]


async def test_a_lane_that_is_alone_has_all_of_a_limit(autojump_clock):
    async with house(limits=LIMITS) as at:
        share = await at.troupe.share(MODEL, lane="small")
        assert share.of("requests") == LimitShare(
            dimension="requests", limit=60, per_s=60, remaining=60, reset_s=0
        )
        assert share.of("tokens").limit == 6_000
        assert share.of("in_flight").limit == 40
        assert share.of("usd") is None


async def test_lanes_in_use_divide_a_limit_by_weight(autojump_clock):
    async with house(limits=LIMITS) as at, trio.open_nursery() as nursery:
        for ask in (*asking(at.troupe, "small", 4), *asking(at.troupe, "large", 4)):
            nursery.start_soon(ask)
        await trio.sleep(0.1)
        small = (await at.troupe.share(MODEL, lane="small")).of("requests")
        large = (await at.troupe.share(MODEL, lane="large")).of("requests")
        other = (await at.troupe.share(MODEL, lane="other")).of("requests")
        assert (small.limit, large.limit, other.limit) == (15, 45, 12)
        assert small.remaining <= 15 - 3
        assert small.reset_s == pytest.approx(4 * (15 - small.remaining))
        nursery.cancel_scope.cancel()


async def test_a_model_with_limits_of_its_own_has_shares_of_these_as_well(autojump_clock):
    limits = Limits(rpm=60, models={"other*": Limits(rpm=6)}, lanes=LANES)
    async with house(limits=limits) as at:
        assert (await at.troupe.share("other model", lane="small")).of("requests").limit == 6
        assert (await at.troupe.share(MODEL, lane="small")).of("requests").limit == 60


async def test_a_share_is_a_second_old_at_most_and_costs_next_to_nothing(autojump_clock):
    async with house(limits=LIMITS) as at:
        await outcomes(*asking(at.troupe, "large", 1))
        await at.troupe.share(MODEL, lane="small")
        known, began = at.troupe._shares._latest, perf_counter()
        for _ in range(200):
            await at.troupe.share(MODEL, lane="small")
        seconds = perf_counter() - began
        assert at.troupe._shares._latest is known, "the limiter is not asked"
        await trio.sleep(1.1)
        await at.troupe.share(MODEL, lane="small")
        assert at.troupe._shares._latest is not known
    assert seconds / 200 < 0.001
