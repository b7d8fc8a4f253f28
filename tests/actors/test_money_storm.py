"""A storm of calls with every stage that deals in money switched on.

Tenants with budgets, lanes, joined calls, packs, lists, batches, a cache, fallbacks and hedges meet
refusals, resets, lost responses, odd usages, callers who leave, deadlines and crashes. The storms
run in virtual time, in an order that a seed decides, so failures are reproducible.
"""

import time
from collections import Counter
from random import Random

import pytest
import trio
from storm_calls import POOR, POOR_MODEL, StormCallers, storm_calls
from storm_house import (
    ALONE,
    POOR_USD,
    TENANT_USD,
    Bills,
    StormFiles,
    storm_house,
    storm_providers,
    vectors_of,
)

from callsheet.actors import NOTHING, Usage, read_sums
from callsheet.actors.request.hedging import Hedger
from callsheet.runtime.testing.virtual import run_virtual
from callsheet.simulator.faults import FAULT_KINDS

CALLS, FEWER = 700, 300
REFUSALS = dict.fromkeys(("429", "500", "503", "529"), 0.05)
ALL = dict.fromkeys(FAULT_KINDS.keys() - {"401", "quota"}, 0.02)
CRASHES = {"requester": 900, "ledger": 400, "batches": 100}

ROUTES = {"live", "pack", "list", "batch", "pack+batch", "cache", "joined"}

seeds = pytest.mark.parametrize(
    "seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 21))]
)


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Files that are written without threads, which virtual time does not wait for."""

    async def run_sync(function, *args, abandon_on_cancel=False, limiter=None):
        await trio.lowlevel.checkpoint()
        return function(*args)

    monkeypatch.setattr(trio.to_thread, "run_sync", run_sync)
    return StormFiles(tmp_path)


async def callers_of(calls):
    marks = [call.mark for call in calls if call.kind == "listed"]
    return StormCallers(await vectors_of(marks))


async def end(house, callers, providers, calls=CALLS):
    """Wait for the end of a storm, check what is left of it, and return the books and the bills."""
    await house.rest()
    providers.check_idle()
    assert callers.wrong == callers.late == []
    assert Counter(callers.reported.values()) == {1: calls}
    books, bills = await house.troupe.costs(), Bills.of(providers)
    check_books(books, bills, callers, has_odd=bool(providers.transport.spoiled))
    check_budgets(books, bills)
    return books, bills


def check_books(books, bills, callers, *, has_odd):
    """Check that the books and the bills agree, as far as anything is known (L3, L13).

    A usage that is not believed counts at its bound, which is above the bill.
    """
    spent, maybe = books.totals.spent, books.totals.unknown + books.totals.maybe_billed
    assert (books.open_calls, books.totals.reserved, books.unwritten) == (0, NOTHING, 0)
    billed = sum(bills.usage.values(), Usage())
    assert spent.usd >= callers.usd
    assert sum(bills.usd.values()) <= spent.usd + maybe.usd
    assert has_odd or spent.usd <= sum(bills.usd.values())
    for kind in ("input_tokens", "output_tokens"):
        known = getattr(spent, kind)
        assert getattr(callers.usage, kind) <= known
        assert has_odd or known <= getattr(billed, kind)
        assert getattr(billed, kind) <= known + getattr(maybe, kind)
    for sums in books.by.values():
        for account in ("spent", "reserved", "unknown", "maybe_billed"):
            parts = [getattr(part, account) for part in sums.values()]
            assert sum(parts, NOTHING) == getattr(books.totals, account)


def check_each_call(files, providers, calls, callers, *, is_whole=True):
    """Check the books of each call that shared no request with others, and what its caller knows.

    Unless the storm was whole, a caller knows only what its last call cost.
    """
    books = {}
    for name, account, amount in read_sums(files.ledger, "call", now=time.time()):
        books.setdefault(name, {})[account] = amount.usd
    for number, call in enumerate(calls):
        if not ALONE.fullmatch(call.mark):
            continue
        own, billed = books.get(f"call-{number}", {}), providers.alone.get(call.mark, 0)
        known = own.get("spent", 0)
        assert billed <= known + own.get("unknown", 0) + own.get("maybe_billed", 0), call
        assert known <= billed or call.mark in providers.transport.spoiled, call
        told = callers.costs.get(number)
        if told is not None:
            assert told == known if is_whole else told <= known, call


def check_budgets(books, bills):
    assert all(state.left >= 0 for state in books.budgets), books.budgets
    assert bills.usd.get(POOR_MODEL, 0) <= POOR_USD, "no other tenant uses this model"
    for tenant, sums in books.by["tenant"].items():
        most = POOR_USD if tenant == POOR else TENANT_USD
        assert sums.spent.usd + sums.unknown.usd + sums.maybe_billed.usd <= most


@pytest.mark.parametrize(
    ("count", "seed"),
    [
        (FEWER, 1),
        *(pytest.param(CALLS, seed, marks=pytest.mark.slow) for seed in range(1, 21)),
    ],
)
def test_where_nothing_is_unknown_the_books_are_the_bills(files, count, seed):
    """What is refused before the work is never billed: the books have each token (L3)."""

    async def main():
        calls = storm_calls(count, Random(seed), is_patient=True)
        callers = await callers_of(calls)
        async with (
            storm_providers(REFUSALS) as providers,
            storm_house(files, providers, hedging=None) as house,
        ):
            await callers.run(house.troupe, calls)
            books, bills = await end(house, callers, providers, count)
        check_each_call(files, providers, calls, callers)
        spent = books.totals.spent
        assert books.totals.unknown == books.totals.maybe_billed == NOTHING
        assert spent.usd == sum(bills.usd.values()) == callers.usd
        used = sum(bills.usage.values(), Usage())
        for usage in (spent, callers.usage):
            assert (usage.input_tokens, usage.output_tokens, usage.cached_tokens) == (
                used.input_tokens,
                used.output_tokens,
                used.cached_tokens,
            )
        assert used.cached_tokens > 0
        assert {model: books.by["model"][model].spent.usd for model in bills.usd} == bills.usd
        assert set(callers.routes) >= ROUTES
        assert callers.from_fallbacks
        assert callers.ends["BudgetExceeded"]

    run_virtual(main, seed=seed)


@pytest.fixture
def hedges(monkeypatch):
    """The second copies that each incarnation allowed; the statistics are those of the last one."""
    allowed = []

    def take(hedger, key):
        is_allowed = of_policy(hedger, key)
        allowed.extend([key] * is_allowed)
        return is_allowed

    of_policy = Hedger.take
    monkeypatch.setattr(Hedger, "take", take)
    return allowed


@pytest.mark.slow
@seeds
def test_what_is_unknown_stays_inside_its_bounds(files, hedges, seed):
    """Every fault, crash, cancellation and odd usage: no more is billed than the books allow."""

    async def main():
        calls = storm_calls(CALLS, Random(seed))
        callers = await callers_of(calls)
        async with storm_providers(ALL) as providers:
            providers.transport.odd = 0.05
            async with storm_house(files, providers, crashes=CRASHES) as house:
                await callers.run(house.troupe, calls)
                await end(house, callers, providers)
            check_each_call(files, providers, calls, callers)
        assert set(callers.routes) >= {"live", "pack", "list", "batch", "cache"}
        assert hedges
        for name in ("ActorCrashed", "AskTimedOut", "BudgetExceeded", "left"):
            assert callers.ends[name], name

    run_virtual(main, seed=seed)


@pytest.mark.slow
@seeds
def test_a_storm_that_is_cut_off_goes_on_with_the_same_files(files, seed):
    """What a first troupe has reserved, cached and put into batches is there for the next one."""

    async def main():
        calls = storm_calls(CALLS, Random(seed))
        callers = await callers_of(calls)
        async with storm_providers(ALL) as providers:
            providers.transport.odd = 0.05
            for seconds in (4.0, 11.0, 23.0):
                with trio.move_on_after(seconds) as scope:
                    async with storm_house(files, providers) as house:
                        await callers.run(house.troupe, calls)
                assert scope.cancelled_caught
            async with storm_house(files, providers) as house:
                await callers.run(house.troupe, calls)
                await end(house, callers, providers)
            check_each_call(files, providers, calls, callers, is_whole=False)

    run_virtual(main, seed=seed)
