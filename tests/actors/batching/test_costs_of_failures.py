"""What was paid for a call that fails afterwards is in its error, so that no cost is lost (L3)."""

from decimal import Decimal
from functools import partial

import pytest
from fakes import Behaviour, Chorus, Journal, asking, batcher_to, chorus_to, outcomes
from test_miscounting import Miscounting, packable

from callsheet.actors import (
    BudgetExceeded,
    Packing,
    ProviderUnavailable,
    RateLimited,
    Response,
    Usage,
)
from callsheet.actors.vendors.format import BatchLimits
from callsheet.runtime import open_runtime

COST = Decimal("0.001")  # of each response of the fake


def total(outcomes):
    """Return how many responses of the fake the usages and costs of outcomes come to."""
    usage = sum((one.usage for one in outcomes), Usage())
    count = usage.output_tokens // 5
    assert usage == Usage(10 * count, 5 * count)
    assert sum((one.cost_usd for one in outcomes), Decimal(0)) == COST * count
    return count


def without_entry(number, entries):
    return [entry for entry in entries if entry[0] != number]


async def pack(journal, count, by_prompt, leave_out=3, **packing):
    """Return the outcomes of items in a pack whose response lacks an entry, and so is not used."""
    async with open_runtime() as runtime:
        more = {"rewrite": staticmethod(partial(without_entry, leave_out)), "is_short": False}
        kind = type("Model", (Miscounting,), more)
        model = await runtime.spawn("model", partial(kind, journal, by_prompt), concurrency=99)
        batcher = await batcher_to(
            runtime, journal, stage=model, strategies=[Packing(**({"check_share": 0} | packing))]
        )
        calls = [packable(f"text {number}", is_short=False) for number in range(1, count + 1)]
        return await outcomes(*(partial(batcher.ask, one) for one in calls))


@pytest.mark.parametrize(
    "error",
    [
        ProviderUnavailable("out", attempts=2, status=500),
        BudgetExceeded("too little", left_usd=Decimal(0), needs_usd=COST),
    ],
)
async def test_an_item_that_fails_after_its_pack_has_its_share_of_the_pack(autojump_clock, error):
    """The share of a pack without an answer was in no response and in no error."""
    journal = Journal()
    found = await pack(journal, 20, {"text 3": Behaviour(error=error)})
    failed = found[2]
    assert type(failed) is type(error)
    assert failed.cost_usd > 0
    assert total(found) == 20, "the pack and 19 single calls had a response"
    assert (error.usage, error.cost_usd) == (Usage(), 0), "the error of the provider is left as is"


async def test_a_pack_without_any_use_is_in_the_errors_of_its_items(autojump_clock):
    names = [f"text {number}" for number in range(1, 21)]
    down = {name: Behaviour(error=RateLimited("slow down", attempts=1)) for name in names[:-1]}
    found = await pack(Journal(), 20, down, leave_out=20, check_share=0.02)
    assert [type(one) for one in found] == [RateLimited] * 19 + [Response]
    assert total(found) == 2, "the pack and the check of its last item had a response"


async def test_a_check_that_may_have_been_billed_is_in_the_response_of_the_pack(autojump_clock):
    lost = ProviderUnavailable("lost", attempts=2, billed="maybe")
    lost.maybe_billed = 1
    found = await pack(Journal(), 20, {"text 20": Behaviour(error=lost)}, 0, check_share=0.02)
    assert found[-1].text == "about text 20"
    assert [one.maybe_billed for one in found] == [0] * 19 + [1]
    assert sum(one.http_requests for one in found) == 3


async def test_a_request_in_pieces_that_fails_has_the_cost_of_its_pieces(autojump_clock):
    journal = Journal()
    out = {"c": Behaviour(10, error=ProviderUnavailable("out", attempts=1))}
    async with open_runtime() as runtime:
        batcher = await chorus_to(runtime, journal, Chorus(BatchLimits(max_size=2)), by_prompt=out)
        (error,) = await outcomes(*asking(batcher, "a b c"))
    assert total([error]) == 1
    assert error.attempts == 2


async def test_callers_of_a_shared_call_are_told_its_cost_once(autojump_clock):
    journal = Journal()
    error = ProviderUnavailable("out", attempts=1)
    async with open_runtime() as runtime:
        batcher = await chorus_to(runtime, journal, by_prompt={"mute": Behaviour(error=error)})
        calls = asking(batcher, "a", "mute", "mute", cacheable=True)
        found = await outcomes(*calls)
    assert [type(one) for one in found] == [Response, ProviderUnavailable, ProviderUnavailable]
    assert total(found) == 1
