"""Each line of a batch is in the ledger once, also if several processes send and await it (L3)."""

from contextlib import closing
from decimal import Decimal
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs
from trio.testing import wait_all_tasks_blocked

from callsheet.actors import Usage
from callsheet.actors.calls import CallAccount, CallContext, Complete
from callsheet.actors.ledger.accounts import Accounts
from callsheet.actors.ledger.actor import LedgerActor
from callsheet.actors.ledger.book import CallOutcome
from callsheet.actors.ledger.budgets import Budget, LedgerPolicy
from callsheet.actors.ledger.entries import NOTHING, Amount, CostLabel, Payer
from callsheet.actors.ledger.file import open_ledger, read_sums, recover
from callsheet.actors.messages import Request
from callsheet.actors.storage import in_place
from callsheet.runtime import Actor, defers, open_runtime

NOON = 1_795_694_400.0  # 2026-11-26 12:00 UTC
BOUND, PAID = Decimal("0.25"), Decimal("0.1")
MAYBE = CallOutcome(None, 1)


def payer(call="c", day="2026-11-26"):
    label = CostLabel(call, "p", "t", "m", day, "live")
    return Payer(label, Amount.of(Usage(10, 5), BOUND))


def paid(maybe=0):
    return CallOutcome(Amount.of(Usage(7, 3), PAID), maybe, route="batch")


def books(path=None, *budgets):
    policy = LedgerPolicy(budgets=budgets, path=path)
    return Accounts(policy, clock=lambda: NOON, in_thread=in_place)


async def opened(path, *budgets):
    accounts = books(path, *budgets)
    await accounts.open(lambda: None)
    return accounts


async def call(accounts, line, *, is_resumed=False, unrun=(), payers=None):
    key = accounts.new_key()
    assert await accounts.reserve([(key, payers or [payer()])]) == [None]
    accounts.note_line(key, line, is_resumed=is_resumed, unrun=unrun)
    await accounts.written()
    return key


def die(accounts):
    """What the operating system does with a process that is killed."""
    accounts._written.file._release()


def found(path, by="model"):
    sums = {}
    for _, account, amount in read_sums(path, by, now=NOON):
        sums[account] = sums.get(account, NOTHING) + amount
    return {name: (one.usd, one.calls) for name, one in sums.items() if name != "available"}


def left(path):
    """The calls that may have been billed, and those that are open."""
    sums = found(path)
    return tuple(sums.get(name, (0, 0))[1] for name in ("maybe_billed", "reserved"))


ONCE = {"spent": (PAID, 1), "maybe_billed": (0, 0), "reserved": (0, 0)}


@pytest.mark.parametrize("is_in_file", [True, False])
async def test_a_line_whose_caller_came_back_is_booked_once(autojump_clock, tmp_path, is_in_file):
    accounts = await opened(tmp_path / "ledger" if is_in_file else None)
    accounts.settle(await call(accounts, "x-1", is_resumed=False), MAYBE)
    assert (await accounts.statistics()).totals.maybe_billed.usd == BOUND
    accounts.settle(await call(accounts, "x-1", is_resumed=True), paid())
    totals = (await accounts.statistics()).totals
    assert (totals.spent.usd, totals.spent.calls) == (PAID, 1)
    assert (totals.maybe_billed, totals.reserved) == (NOTHING, NOTHING)


async def test_a_line_that_told_no_tokens_is_booked_once_when_it_is_read_again(
    autojump_clock, tmp_path
):
    path = tmp_path / "ledger"
    accounts = await opened(path)
    accounts.settle(await call(accounts, "x-1"), CallOutcome(None, 0, is_unknown=True))
    await accounts.leave()
    assert found(path) == {"unknown": (BOUND, 1), "reserved": (0, 0)}
    accounts = await opened(path)
    accounts.settle(await call(accounts, "x-1", is_resumed=True), paid())
    await accounts.leave()
    assert found(path) == {"unknown": (0, 0), "spent": (PAID, 1), "reserved": (0, 0)}


@pytest.mark.parametrize("deaths", [1, 4])
async def test_a_line_that_several_processes_waited_for_is_booked_once(
    autojump_clock, tmp_path, deaths
):
    path = tmp_path / "ledger"
    for number in range(deaths):
        accounts = await opened(path)
        await call(accounts, "x-1", is_resumed=number > 0, payers=[payer(day=f"2026-11-2{number}")])
        die(accounts)
    assert found(path) == {"maybe_billed": (BOUND, 1), "reserved": (0, 0)}
    accounts = await opened(path)
    accounts.settle(await call(accounts, "x-1", is_resumed=True), paid())
    await accounts.leave()
    for by in ("model", "post", "day", "tenant", "route", "call"):
        assert found(path, by) == ONCE


async def test_what_cannot_be_read_of_earlier_runs_holds_calls_back(autojump_clock, tmp_path):
    """A debt that is not found would be booked beside what the line costs (L14)."""
    path = tmp_path / "ledger"
    accounts = await opened(path)
    await call(accounts, "x-1")
    die(accounts)
    recover(path, NOON)
    with closing(open_ledger(path)) as database:
        database.execute("UPDATE transactions SET at = at + 1 WHERE reservation LIKE 'line:%'")
    accounts = await opened(path, Budget(10))
    key = accounts.new_key()
    assert await accounts.reserve([(key, [payer()])]) == [None]
    with capture_logs() as logs:
        accounts.note_line(key, "x-1", is_resumed=True, unrun=())
        await accounts.written()
        (refusal,) = await accounts.reserve([(accounts.new_key(), [payer()])])
    assert "a stored value is not valid" in str(refusal)
    assert {one["event"] for one in logs} == {"ledger_not_written"}
    die(accounts)


async def test_what_an_earlier_process_sent_live_as_well_stays(autojump_clock, tmp_path):
    path = tmp_path / "ledger"
    accounts = await opened(path)
    await accounts.extend(await call(accounts, "x-1", is_resumed=False))
    die(accounts)
    accounts = await opened(path)
    accounts.settle(await call(accounts, "x-1", is_resumed=True), paid())
    await accounts.leave()
    assert found(path) == ONCE | {"maybe_billed": (BOUND, 0)}


async def test_another_line_of_the_same_call_stays(autojump_clock, tmp_path):
    path = tmp_path / "ledger"
    accounts = await opened(path)
    await call(accounts, "x-1", is_resumed=False)
    die(accounts)
    accounts = await opened(path)
    accounts.settle(await call(accounts, "x-2", is_resumed=True), paid())
    await accounts.leave()
    assert found(path) == ONCE | {"maybe_billed": (BOUND, 1)}


async def test_a_line_that_never_ran_is_released_with_the_next_one(autojump_clock, tmp_path):
    path = tmp_path / "ledger"
    for number in range(3):
        accounts = await opened(path)
        await call(accounts, f"x-{number}", unrun=[f"x-{number - 1}"])
        die(accounts)
    accounts = await opened(path)
    other = await call(accounts, "y-1", unrun=["x-2", "z-9"], payers=[payer("another")])
    accounts.settle(other, CallOutcome(None, 0))
    accounts.settle(await call(accounts, "x-3"), paid())
    await accounts.leave()
    assert found(path, "call") == ONCE


async def test_a_line_goes_into_another_batch(autojump_clock, tmp_path):
    path = tmp_path / "ledger"
    accounts = await opened(path)
    key = await call(accounts, "x-1", is_resumed=False)
    accounts.note_line(key, "x-2", is_resumed=False, unrun=())
    accounts.note_line(key, "x-3", is_resumed=False, unrun=())
    await accounts.written()
    die(accounts)
    accounts = await opened(path)
    accounts.settle(await call(accounts, "x-3", is_resumed=True), paid())
    await accounts.leave()
    assert found(path) == ONCE


async def test_a_budget_has_room_again_for_what_is_paid_once(autojump_clock, tmp_path):
    path, budget = tmp_path / "ledger", Budget(2 * BOUND)
    accounts = await opened(path, budget)
    await call(accounts, "x-1", is_resumed=False)
    die(accounts)
    accounts = await opened(path, budget)
    accounts.settle(await call(accounts, "x-1", is_resumed=True), paid())
    (state,) = (await accounts.statistics()).budgets
    assert state.used == PAID


lives = st.lists(
    st.tuples(
        st.sampled_from(["dies", "leaves", "waits"]),
        st.integers(0, 2),  # attempts that were sent live as well
        st.booleans(),  # whether several calls of the process share a transaction
    ),
    max_size=5,
)


@settings(max_examples=settings.default.max_examples // 2)
@given(lives=lives, lines=st.integers(1, 3))
async def test_each_line_is_booked_once_after_deaths_of_processes_that_wait(
    lives, lines, tmp_path_factory
):
    path = tmp_path_factory.mktemp("books") / "ledger"
    names = [f"x-{number}" for number in range(lines)]
    live = 0
    for number, (end, extensions, is_together) in enumerate(lives):
        accounts = await opened(path)
        for name in names:
            key = accounts.new_key()
            await accounts.reserve([(key, [payer(name)])])
            accounts.note_line(key, name, is_resumed=number > 0, unrun=())
            if not is_together:
                await accounts.written()
            for _ in range(extensions):
                await accounts.extend(key)
                live += 1
            if end == "leaves":
                accounts.settle(key, CallOutcome(None, 1 + extensions))
        await accounts.written()
        if end == "waits":
            await accounts.work()
        die(accounts)
    accounts = await opened(path)
    for name in names:
        accounts.settle(await call(accounts, name, is_resumed=bool(lives)), paid())
    await accounts.leave()
    for by in ("day", "post", "call"):
        sums = found(path, by)
        assert sums["spent"] == (PAID * lines, lines)
        assert sums.get("maybe_billed", (0, 0))[0] == BOUND * live
        assert sums["reserved"] == (0, 0)


@pytest.mark.parametrize("is_written", [True, False])
@pytest.mark.parametrize(
    ("steps", "maybe"),
    [
        (["hold"], 0),
        (["hold", "unhold"], 1),
        (["hold", "line"], 1),
        (["hold", "unhold", "hold"], 0),
        (["line", "hold"], 0),  # the line was not run, and the call waits again
        (["hold", "settle"], 0),
    ],
)
async def test_a_call_of_which_nothing_was_sent_costs_nothing_when_its_process_dies(
    steps, maybe, is_written, autojump_clock, tmp_path
):
    path = tmp_path / "ledger"
    accounts = await opened(path)
    key = accounts.new_key()
    await accounts.reserve([(key, [payer()])])
    for step in steps:
        if step == "hold":
            accounts.hold(key)
        elif step == "unhold":
            await accounts.unhold(key)
        elif step == "line":
            accounts.note_line(key, "x-1", is_resumed=False, unrun=())
        else:
            accounts.settle(key, CallOutcome(None, 0))
        if is_written:
            await accounts.written()
    await accounts.written()
    die(accounts)
    assert left(path) == (maybe, 0)


async def test_an_attempt_of_a_call_that_was_held_is_sent_when_that_is_on_disk(
    autojump_clock, tmp_path
):
    path = tmp_path / "ledger"
    accounts = await opened(path)
    key = accounts.new_key()
    await accounts.reserve([(key, [payer()])])
    account = CallAccount(key, accounts.extend, accounts)
    account.hold()
    await accounts.written()
    await account.take()
    die(accounts)
    assert left(path) == (1, 0)


class _Waits(Actor):
    """A stage in which calls wait."""

    def __init__(self, kept):
        self._kept = kept

    @defers(Complete)
    async def keep(self, message, slot):  # the caller gives up
        self._kept.append(message.account)


@pytest.mark.parametrize("is_sent", [False, True])
async def test_a_call_that_waits_for_a_batch_has_cost_nothing_when_its_process_dies(
    is_sent, autojump_clock, tmp_path
):
    path, kept = tmp_path / "ledger", []
    accounts = books(path)
    async with open_runtime() as runtime:
        stage = await runtime.spawn("stage", partial(_Waits, kept), max_deferred=9)
        make = partial(LedgerActor, stage, accounts, has_batches=True)
        first = await runtime.spawn("ledger", make, max_deferred=9)
        request = Request.of("x", model="gpt-4o", max_tokens=100, deadline=3600.0)
        await first.submit(Complete(request, CallContext("c")), deadline=60.0)
        await wait_all_tasks_blocked()
        if is_sent:
            await kept[0].take()
        die(accounts)
        assert left(path) == (int(is_sent), 0)
        await runtime.stop(first)
