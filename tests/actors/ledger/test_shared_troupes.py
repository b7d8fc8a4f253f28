"""Troupes that share budgets by their settings: on the virtual clock, with stores in memory."""

from contextlib import AsyncExitStack
from decimal import Decimal
from functools import partial

import trio
from fakes import MODEL, Reply, Script, completion_json, outcomes
from troupe_calls import settings_for

from callsheet.actors import (
    Budget,
    BudgetExceeded,
    LedgerPolicy,
    MemoryStores,
    Request,
    open_troupe,
)

PAID = 10 * Decimal("0.0000025") + 5 * Decimal("0.00001")  # of an answer of the script, by gpt-4o


def completing(troupe, *prompts, model=MODEL):
    requests = [Request.of(prompt, model=model, max_tokens=100) for prompt in prompts]
    return [partial(troupe.complete, request) for request in requests]


async def troupe_of(stack, stores, *budgets, script=None, **policy):
    ledger = LedgerPolicy(budgets=budgets, **policy)
    settings = settings_for(script or Script(), shared=stores, ledger=ledger, packing=None)
    return await stack.enter_async_context(open_troupe(settings))


async def test_troupes_with_the_same_stores_share_a_budget(autojump_clock):
    async with AsyncExitStack() as stack:
        stores, budget = MemoryStores(), Budget("0.004")
        troupes = [await troupe_of(stack, stores, budget) for _ in range(3)]
        apart = await troupe_of(stack, stores, budget, shared_name="apart")
        wanted = [one for troupe in troupes for one in completing(troupe, "a", "b")]
        found = await outcomes(*wanted)
        refused = [str(one) for one in found if isinstance(one, BudgetExceeded)]
        assert len(refused) == 3
        assert all("the shared budget of $0.004 in total has" in text for text in refused)
        await trio.sleep(0.1)
        for troupe in troupes:
            (state,) = (await troupe.costs()).budgets
            assert (state.used, state.is_shared) == (3 * PAID, True)
        (state,) = (await apart.costs()).budgets
        assert state.used == 0


async def test_a_troupe_goes_on_with_what_others_have_left(autojump_clock):
    stores, budget = MemoryStores(), Budget("0.004", period="month")
    for _ in range(3):
        async with AsyncExitStack() as stack:
            troupe = await troupe_of(stack, stores, budget)
            await outcomes(*completing(troupe, "a"))
    async with AsyncExitStack() as stack:
        troupe = await troupe_of(stack, stores, budget)
        (state,) = (await troupe.costs()).budgets
        assert (state.used, state.maybe) == (3 * PAID, 0)
        assert (await troupe.costs()).totals.spent.calls == 0  # its own books are its own


async def test_calls_without_a_price_count_nothing_in_a_shared_budget_that_allows_them(
    autojump_clock,
):
    stores, script = MemoryStores(), Script(Reply(body=completion_json(model="mine")))
    async with AsyncExitStack() as stack:
        strict = await troupe_of(stack, stores, Budget(1), script=script)
        allows = await troupe_of(stack, stores, Budget(1, allow_unknown=True), script=script)
        wanted = [completing(one, "a", model="mine")[0] for one in (strict, allows)]
        refused, answer = await outcomes(*wanted)
        assert "held back: no price is known for mine" in str(refused)
        assert answer.text == "Hello"
        (state,) = (await allows.costs()).budgets
        assert (state.used, state.left, state.is_shared) == (0, 1, True)
