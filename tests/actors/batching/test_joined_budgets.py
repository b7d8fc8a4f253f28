"""Callers that share a call keep their money apart: a budget refuses its own callers only (L5)."""

import json
from functools import partial

import attrs
import httpx
import pytest
import trio
from fakes import completion_json, outcomes
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from callsheet.actors import (
    Budget,
    BudgetExceeded,
    CallContext,
    Complete,
    Endpoint,
    LedgerPolicy,
    Request,
    TroupeSettings,
    open_troupe,
)
from callsheet.runtime.testing import run_virtual

MODEL = "gpt-4o"
SMALL = "text-embedding-3-small"
TEXTS = [text * 200 for text in "abcd"]  # at most 232 tokens each, for $0.00000464
POOR = Budget("0.000001", per="tenant", match="poor*")


@attrs.define(eq=False)
class Provider(httpx.AsyncBaseTransport):
    """Answers after a second, with as many embeddings as there are texts."""

    sent: int = 0

    async def handle_async_request(self, request):
        body = json.loads(await request.aread())
        self.sent += 1
        await trio.sleep(1)
        if "input" not in body:
            return httpx.Response(200, json=completion_json(model=MODEL))
        data = [{"index": at, "embedding": [1.0]} for at, _ in enumerate(body["input"])]
        usage = {"prompt_tokens": 5, "total_tokens": 5}
        return httpx.Response(200, json={"model": body["model"], "data": data, "usage": usage})


def troupe_of(provider, *budgets, **more):
    settings = {
        "endpoint": Endpoint("http://p/v1", "sk-x-0123456789", "openai"),
        "transport": provider,
        "streaming": False,
        "ledger": LedgerPolicy(budgets=budgets or (POOR,)),
    }
    return open_troupe(TroupeSettings(**(settings | more)))


def asked(text="x", **more):
    return Request.of(text, model=MODEL, max_tokens=50, cacheable=True, **more)


def kinds(found):
    return ["refused" if isinstance(one, BudgetExceeded) else one.route for one in found]


async def asked_by(troupe, *lanes):
    """Return what each lane gets for the same request, at the same moment and in this order."""
    slots = [
        await troupe.batcher.submit(Complete(asked(), CallContext(f"call-{at}", lane=lane)))
        for at, lane in enumerate(lanes)
    ]
    return await outcomes(*(slot.wait for slot in slots))


@pytest.mark.parametrize(
    ("lanes", "found"),
    [
        (["poor", "rich"], ["refused", "live"]),
        (["rich", "poor"], ["live", "joined"]),
        (["poor", "poor", "rich"], ["refused", "refused", "live"]),
        (["poor-1", "poor-2", "rich", "richer"], ["refused", "refused", "live", "joined"]),
        (["poor-1", "poor-2"], ["refused", "refused"]),
    ],
)
async def test_a_budget_that_refuses_one_tenant_refuses_only_that_one(autojump_clock, lanes, found):
    provider = Provider()
    async with troupe_of(provider) as troupe:
        results = await asked_by(troupe, *lanes)
        costs = await troupe.costs()
    assert kinds(results) == found
    for lane, result in zip(lanes, results, strict=True):
        if isinstance(result, BudgetExceeded):
            assert result.budget.endswith(f"for {lane}"), "L8: no name or balance of another"
    assert provider.sent == (1 if "live" in found else 0)
    assert costs.totals.reserved.calls == 0
    paid = {lane for lane, totals in costs.by["tenant"].items() if totals.spent.calls}
    assert paid == ({lanes[found.index("live")]} if "live" in found else set())


async def test_a_post_is_refused_alone_too(autojump_clock):
    provider = Provider()
    async with troupe_of(provider, Budget("0.000001", per="post", match="p1")) as troupe:
        contexts = [CallContext("a", post="p1"), CallContext("b", post="p2")]
        found = await outcomes(
            *(partial(troupe.batcher.ask, Complete(asked(), one)) for one in contexts)
        )
    assert kinds(found) == ["refused", "live"]


async def test_a_caller_of_another_lane_that_joined_a_list_is_not_refused(autojump_clock):
    """The members of a list are of one lane, but callers of others may have joined them."""
    provider = Provider()
    requests = [Request.embedding(text, model=MODEL, cacheable=True) for text in "abc"]
    async with troupe_of(provider) as troupe:
        asks = [partial(troupe.complete, one, lane="poor") for one in requests]
        asks.append(partial(troupe.complete, requests[1], lane="rich"))
        found = await outcomes(*asks)
    assert kinds(found) == ["refused", "refused", "refused", "live"]
    assert provider.sent == 1


async def test_a_list_of_two_posts_is_refused_for_one_of_them_only(autojump_clock):
    provider = Provider()
    async with troupe_of(provider, Budget("0.0000000001", per="post", match="p1")) as troupe:
        messages = [
            Complete(Request.embedding(text, model=MODEL), CallContext(text, post=post))
            for text, post in zip("abcd", ["p1", "p2", "p2", "p2"], strict=True)
        ]
        found = await outcomes(*(partial(troupe.batcher.ask, one) for one in messages))
    assert [kind == "refused" for kind in kinds(found)] == [True, False, False, False]


@pytest.mark.parametrize(
    ("budget", "answered"), [(Budget("0.000006", per="call"), 4), (Budget("0.000015"), 3)]
)
async def test_members_that_a_budget_has_room_for_are_not_refused_with_the_others(
    autojump_clock, budget, answered
):
    """Together they would cost more than a call may, or than is left."""
    provider = Provider()
    async with troupe_of(provider, budget) as troupe:
        requests = [Request.embedding(text, model=SMALL) for text in TEXTS]
        found = await outcomes(*(partial(troupe.complete, one) for one in requests))
        costs = await troupe.costs()
    assert kinds(found).count("refused") == 4 - answered
    assert costs.totals.spent.calls == answered
    assert all(state.left >= 0 for state in costs.budgets)


async def test_who_left_is_not_asked_to_pay_again(autojump_clock):
    """The first caller leaves while its budget is asked; the second one pays for itself."""
    provider = Provider()
    async with troupe_of(provider) as troupe, trio.open_nursery() as nursery:
        scope = trio.CancelScope()

        async def poor():
            with scope:
                await troupe.complete(asked(), lane="poor")

        nursery.start_soon(poor)
        found = []

        async def rich():
            found.append(await troupe.complete(asked(), lane="rich"))

        nursery.start_soon(rich)
        scope.cancel()
        await wait_all_tasks_blocked()
    assert kinds(found) == ["live"]


@given(
    st.lists(
        st.tuples(st.sampled_from(["poor-1", "poor-2", "rich-1", "rich-2"]), st.integers(0, 3)),
        min_size=1,
        max_size=8,
    )
)
def test_each_caller_gets_what_its_own_budget_allows_and_one_call_is_paid_for(callers):
    """Callers come at random. Those with money share one call, which costs the others nothing."""
    provider = Provider()

    async def main():
        async with troupe_of(provider) as troupe:

            async def one(lane, after):
                await trio.sleep(after / 4)
                return await troupe.complete(asked(), lane=lane)

            found = await outcomes(*(partial(one, *caller) for caller in callers))
            return found, await troupe.costs()

    found, costs = run_virtual(main)
    routes = kinds(found)
    is_paid = any(lane.startswith("rich") for lane, _ in callers)
    assert routes.count("live") == provider.sent == costs.totals.spent.calls == is_paid
    for (lane, _), route in zip(callers, routes, strict=True):
        assert route in (("live", "joined") if lane.startswith("rich") else ("refused", "joined"))
    spent = {lane for lane, totals in costs.by["tenant"].items() if totals.spent.usd}
    assert not any(lane.startswith("poor") for lane in spent)
    assert costs.totals.reserved.calls == 0
