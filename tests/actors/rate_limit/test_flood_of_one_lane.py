"""Thousands of calls of one lane delay no call of another, in none of the stages (L1)."""

import attrs
import httpx
import pytest
import trio
from fakes import MODEL, completion_json

from callsheet.actors import (
    Budget,
    CachePolicy,
    CallContext,
    Endpoint,
    LedgerPolicy,
    Limits,
    Request,
    TroupeSettings,
    TurnTooLate,
    open_troupe,
)

SETTINGS = TroupeSettings(
    endpoint=Endpoint("http://p/v1", "sk-x-0123456789", "openai"),
    limits=Limits(rpm=600, burst_s=0),
    cache=CachePolicy(path=None),
    ledger=LedgerPolicy(budgets=[Budget("100000", per="tenant")]),
    max_waiting_calls=100_000,  # more than can come: callers that are held back are in no lane
    streaming=False,
)


async def respond(request):
    await trio.sleep(0.5)
    return httpx.Response(200, json=completion_json(model=MODEL), request=request)


def asked(text, **more):
    return Request.of(text, model=MODEL, max_tokens=5, **more)


KINDS = [{}, {"cacheable": True}, {"packable": True}, {"deadline": 3_600.0}]


@pytest.mark.parametrize("count", [600, pytest.param(10_000, marks=pytest.mark.slow)])
async def test_a_flood_of_one_lane_delays_no_other_lane_by_more_than_a_turn(autojump_clock, count):
    settings = attrs.evolve(SETTINGS, transport=httpx.MockTransport(respond))
    async with open_troupe(settings) as troupe:
        slots = []
        for number in range(count):
            kind = KINDS[number % 2]
            slots.append(await troupe.submit(asked(f"{number}", **kind), lane="flood"))
        await trio.testing.wait_all_tasks_blocked()
        statistics = await troupe.limiter_statistics()
        assert statistics.limiter.waiting >= count - 2
        for kind in KINDS:
            response = await troupe.complete(asked("small", **kind), lane="small")
            assert response.queued_s <= 0.25  # the turn of the flood, and its own
        async with troupe.stream(asked("streamed"), lane="small") as items:
            async for _ in items:
                pass
        assert items.response.queued_s <= 0.2
        impatient = CallContext("impatient", lane="flood", patience_s=50.0)
        began = trio.current_time()
        with pytest.raises(TurnTooLate) as raised:
            await troupe.complete(asked("impatient"), context=impatient)
        assert trio.current_time() == began
        assert raised.value.wait_s == pytest.approx((count - 20) / 10, rel=0.05)
        for slot in slots:
            slot.cancel()
