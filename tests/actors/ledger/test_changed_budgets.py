"""Budgets that change while calls are made, and many of them; the budgets of one tenant."""

from contextlib import suppress
from decimal import Decimal

import pytest
import trio
from fakes import MODEL, Script, requester
from hypothesis import given
from hypothesis import strategies as st
from ledger_stage import BOUND, NOON, PAID, PRICES, books, ledger, ledger_to

from callsheet.actors import CallContext, ChangeBudgets, Complete, LedgerPolicy, Request
from callsheet.actors.errors import BudgetExceeded
from callsheet.actors.ledger.book import Book, CallOutcome
from callsheet.actors.ledger.budget_counters import BudgetCounter, Excess
from callsheet.actors.ledger.budgets import Budget
from callsheet.actors.ledger.cost_sums import CostTotals
from callsheet.actors.ledger.entries import (
    Amount,
    CostLabel,
    LedgerEntry,
    Payer,
    cost_labels,
)

DAY = "2026-11-26"


def payer(usd, tenant="a", post="", model="m"):
    return Payer(CostLabel("c", post, tenant, model, DAY), Amount(Decimal(usd), calls=1))


def call_of(tenant, post=None, lane=""):
    request = Request.of("x", model=MODEL, max_tokens=100)
    return Complete(request, CallContext("c", post, lane=lane, tenant=tenant))


def used(book):
    return {(one.budget, one.name): one.used for one in book.statistics().budgets if one.used}


# ------------------------------------------------------------------------------ who pays


def test_the_tenant_of_a_call_pays_and_without_one_its_lane_does():
    own = CallContext("1", lane="slow", tenant="team-a")
    shared = CallContext("2", shared_by=(own, CallContext("3", lane="slow")))
    assert [label.tenant for label in cost_labels(own, "m", DAY, "live")] == ["team-a"]
    assert [label.tenant for label in cost_labels(shared, "m", DAY, "live")] == ["team-a", "slow"]


async def test_tenants_in_one_lane_have_budgets_of_their_own(autojump_clock):
    async with ledger(Script(), Budget(BOUND, per="tenant", match="team-a")) as (ref, accounts, _):
        await ref.ask(call_of("team-a", lane="one"))
        with pytest.raises(BudgetExceeded, match=r"\(team-a\) for team-a has"):
            await ref.ask(call_of("team-a", lane="one"))
        await ref.ask(call_of("team-b", lane="one"))
        found = (await accounts.statistics()).by["tenant"]
        assert {name: one.spent.usd for name, one in found.items()} == {
            "team-a": PAID,
            "team-b": PAID,
        }


# ------------------------------------------------------------------------------ many


NAMES = st.sampled_from(["a", "b", "ab", ""])
BUDGETS = st.lists(
    st.one_of(
        st.builds(
            Budget,
            st.just("5"),
            per=st.sampled_from(["tenant", "post", "model"]),
            match=st.sampled_from(["a", "b", "ab", "*", "a*", "[a]"]),
            period=st.sampled_from(["ever", "day", "month"]),
        ),
        st.builds(Budget, st.just("5"), per=st.sampled_from(["total", "call", "day"])),
    ),
    max_size=6,
    unique=True,
)
PAYERS = st.lists(
    st.builds(payer, st.integers(0, 3), tenant=NAMES, post=NAMES, model=NAMES),
    min_size=1,
    max_size=3,
)


@given(BUDGETS, st.lists(PAYERS, max_size=8))
def test_a_call_is_refused_if_any_budget_that_concerns_it_has_no_room(budgets, calls):
    book, counters = Book(budgets), [BudgetCounter(budget) for budget in budgets]
    for number, payers in enumerate(calls):
        key, is_refused = str(number), False
        for counter in counters:
            with suppress(Excess):
                counter.check(payers, key)
                continue
            is_refused = True
        if is_refused:
            with pytest.raises(Excess):
                book.reserve(key, payers, NOON)
            continue
        done = book.reserve(key, payers, NOON)
        for counter in counters:
            for entry in done.entries:
                counter.post(entry, key)


def test_ten_thousand_budgets_cost_a_call_no_more_than_its_own(monkeypatch):
    asked_of = []
    check = BudgetCounter.check
    monkeypatch.setattr(
        BudgetCounter,
        "check",
        lambda self, *them: (asked_of.append(self.budget), check(self, *them)),
    )
    many = [Budget("5", per="tenant", match=f"team-{number}") for number in range(10_000)]
    book = Book([*many, Budget("9")])
    book.reserve("1", [payer(1, tenant="team-77")], NOON)
    assert [budget.match for budget in asked_of] == ["*", "team-77"]


# ------------------------------------------------------------------------------ changes


STEPS = st.lists(
    st.one_of(PAYERS, st.sampled_from(["settle", "maybe", "refund", "extend"])), max_size=12
)


@given(BUDGETS, BUDGETS, STEPS, st.data())
def test_a_new_budget_counts_what_was_spent_before_it(former, budgets, steps, data):
    raised = [Budget("1000", one.per, one.match, one.period) for one in former]
    wanted = [Budget("1000", one.per, one.match, one.period) for one in budgets]
    changed, fresh, keys = Book(raised), Book(wanted), []
    at = data.draw(st.integers(0, len(steps)))
    for number, step in enumerate([*steps, None]):
        if number == at:
            changed.change_budgets(wanted)
        for book in (changed, fresh):
            if isinstance(step, list):
                book.reserve(str(number), step, NOON)
            elif step == "extend" and keys:
                book.extend(keys[-1], NOON)
            elif step and keys:
                paid = Amount(Decimal(1), calls=1) if step == "settle" else None
                book.settle(keys[0], CallOutcome(paid, 1 if step == "maybe" else 0), NOON)
        if isinstance(step, list):
            keys.append(str(number))
        elif step and step != "extend" and keys:
            keys.pop(0)
    assert used(changed) == used(fresh)


async def test_budgets_change_while_a_ledger_runs(autojump_clock):
    async with ledger(Script(), Budget("1")) as (ref, accounts, _):
        await ref.ask(call_of("team-a"))
        await ref.ask(ChangeBudgets([Budget("1"), Budget(BOUND, per="tenant", match="team-a")]))
        with pytest.raises(BudgetExceeded, match="team-a"):
            await ref.ask(call_of("team-a"))
        await ref.ask(call_of("team-b"))
        await ref.ask(ChangeBudgets([]))
        await ref.ask(call_of("team-a"))
        assert (await accounts.statistics()).budgets == ()


async def test_a_new_budget_of_posts_counts_those_of_earlier_runs(autojump_clock, tmp_path):
    path = tmp_path / "ledger"
    async with ledger(Script(), path=path) as (ref, accounts, _):
        await ref.ask(call_of("team-a", "ships"))
        await accounts.leave()
    async with ledger(Script(), path=path) as (ref, accounts, _):
        await ref.ask(ChangeBudgets([Budget(PAID, per="post")]))
        with pytest.raises(BudgetExceeded, match="for ships has"):
            await ref.ask(call_of("team-a", "ships"))
        await accounts.leave()


@pytest.mark.parametrize(
    ("period", "until", "resets_s"),
    [
        ("day", "2026-11-27 00:00", 43_200),
        ("month", "2026-12-01 00:00", 388_800),
        ("ever", "", None),
    ],
)
def test_a_refusal_says_when_the_budget_is_available_again(period, until, resets_s):
    error = refusal_of(Budget("0", per="tenant", match="team-a", period=period))
    assert error.resets_s == resets_s
    assert (f"or wait until {until} UTC" in str(error)) == bool(until)


def test_a_budget_of_each_day_is_available_again_tomorrow():
    assert refusal_of(Budget("0", per="day")).resets_s == 43_200
    assert Budget("0", per="tenant", period="month").resets_at(1_798_675_200.0) == 1_798_761_600.0


def refusal_of(budget):
    async def main():
        accounts = books(budget)
        (error,) = await accounts.reserve([("1", [payer(1, tenant="team-a")])])
        return error

    return trio.run(main)


# ------------------------------------------------------------------------------ several troupes


async def test_several_ledgers_of_one_process_share_the_budgets_of_a_file(autojump_clock, tmp_path):
    budget = Budget(10 * BOUND, per="tenant", match="team-a")
    path = tmp_path / "ledger"
    async with requester(Script(), prices=PRICES) as (ref, runtime):
        every = [books(budget, path=path) for _ in range(3)]
        refs = [
            await ledger_to(runtime, ref, accounts, f"ledger-{at}")
            for at, accounts in enumerate(every)
        ]
        sent, refused = [], []

        async def ask(at):
            try:
                sent.append(await refs[at % 3].ask(call_of("team-a")))
            except BudgetExceeded as error:
                refused.append(error)

        async with trio.open_nursery() as nursery:
            for at in range(20):
                nursery.start_soon(ask, at)
        assert (len(sent), len(refused)) == (10, 10)  # no more at once than the budget can pay
        for at in range(150):
            await ask(at)
            await trio.sleep(0.02)  # until the call is settled, which other ledgers see
        statistics = [await accounts.statistics() for accounts in every]
        spent = [one.by["tenant"]["team-a"].spent.usd for one in statistics]
        assert spent == [len(sent) * PAID] * 3
        assert spent[0] <= budget.usd < spent[0] + BOUND
        assert [one.budgets[0].used for one in statistics] == spent
        for accounts in every:
            await accounts.leave()


def test_a_policy_with_thousands_of_budgets_is_made_at_once():
    budgets = [Budget("1", per="tenant", match=f"t{number}") for number in range(2000)]
    assert len(LedgerPolicy(budgets=budgets).budgets) == 2000


# ------------------------------------------------------------------------------ readings


@given(STEPS)
def test_a_reading_is_the_same_however_often_the_book_was_read(steps):
    often, once, keys = Book(), Book(), []
    for number, step in enumerate(steps):
        for book in (often, once):
            if isinstance(step, list):
                book.reserve(str(number), step, NOON)
            elif step == "extend" and keys:
                book.extend(keys[-1], NOON)
            elif keys:
                paid = Amount(Decimal(1), calls=1) if step == "settle" else None
                book.settle(keys[0], CallOutcome(paid, 1 if step == "maybe" else 0), NOON)
        if isinstance(step, list):
            keys.append(str(number))
        elif step != "extend" and keys:
            keys.pop(0)
        often.statistics()
    assert often.statistics() == once.statistics()


def test_a_reading_takes_in_what_has_changed_alone(monkeypatch):
    book, added = Book(), []
    for number in range(1000):
        book.reserve(str(number), [payer(1, tenant=str(number))], NOON)
    whole = book.statistics()
    add = CostTotals.__add__
    monkeypatch.setattr(CostTotals, "__add__", lambda *them: (added.append(1), add(*them))[1])
    book.settle("7", CallOutcome(None, 0), NOON)
    assert book.statistics().totals.reserved.usd == 999
    assert len(added) == 7  # the whole, and one of each dimension
    assert whole.totals.reserved.usd == 1000


def test_a_reading_has_the_budgets_of_the_latest_day():
    book = Book([Budget("5", per="tenant", match="a", period="day"), Budget("5", per="day")])
    for day in (*(f"2026-{month}-{day}" for month in (10, 11) for day in range(10, 31)), DAY):
        label = CostLabel("c", "", "a", "m", day)
        book.post(LedgerEntry("spent", label, Amount(Decimal(1), calls=1)))
    names = [(one.name, one.used) for one in book.statistics().budgets]
    assert names == [("a 2026-11-30", 1), ("2026-11-30", 1)]
    with pytest.raises(Excess):  # an earlier day is known as well
        book.reserve("1", [payer(4)], NOON)
