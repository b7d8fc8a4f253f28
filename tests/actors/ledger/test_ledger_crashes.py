"""The ledger after crashes, stops and errors of its file: no reservation is lost or left."""

from functools import partial
from random import Random

import pytest
import trio
from fakes import (
    RESET,
    STALL,
    Journal,
    Reply,
    Script,
    Stage,
    asking,
    broken,
    outcomes,
    refusal,
    requester,
)
from ledger_stage import (
    BOUND,
    NOON,
    PAID,
    PRICES,
    asked,
    at_rest,
    books,
    ledger,
    ledger_to,
    totals,
    usd,
)

from callsheet.actors import CallFailed, Response
from callsheet.actors.calls import CallAccount
from callsheet.actors.errors import LedgerUnavailable
from callsheet.actors.ledger.accounts import Accounts
from callsheet.actors.ledger.actor import GetCosts, LedgerActor
from callsheet.actors.ledger.budgets import Budget, LedgerPolicy
from callsheet.actors.ledger.file import LedgerFile
from callsheet.actors.storage import StorageError, in_place
from callsheet.runtime import AskFailed, open_runtime
from callsheet.runtime.testing.faults import Faulty


@pytest.mark.parametrize("path", [None, "ledger.sqlite3"])
@pytest.mark.parametrize("place", range(1, 9))
async def test_a_crash_of_the_ledger_loses_no_reservation(autojump_clock, tmp_path, path, place):
    """R2: calls in flight continue, and the next incarnation settles them."""
    accounts = books(path=None if path is None else tmp_path / path)
    script = Script()
    async with requester(script, prices=PRICES) as (ref, runtime):
        first = await runtime.spawn(
            "ledger",
            Faulty(partial(LedgerActor, ref, accounts, PRICES), crash_at_checkpoint=place),
            max_deferred=100,
        )

        async def ask(at):
            await trio.sleep(at * 0.3)
            return await first.ask(asked(f"{at}"))

        found = await outcomes(*(partial(ask, at) for at in range(6)))
        answered = [answer for answer in found if not isinstance(answer, Exception)]
        assert all(isinstance(one, AskFailed | Response) for one in found), found
        assert len(answered) >= 4
        await trio.sleep(1)
        statistics = await first.ask(GetCosts())
        assert statistics.open_calls == 0
        spent, maybe = statistics.totals.spent, statistics.totals.maybe_billed
        assert (spent.usd, spent.calls) == (len(answered) * PAID, len(answered))
        assert maybe.usd == maybe.calls * BOUND
        assert spent.calls <= len(script.sent) <= spent.calls + maybe.calls
        assert statistics.unwritten == 0


@pytest.mark.parametrize("path", [None, "ledger.sqlite3"])
@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 4))]
)
async def test_whatever_happens_to_calls_no_reservation_is_left(
    autojump_clock, tmp_path, path, seed
):
    random = Random(seed)
    lines = [Reply(), refusal(503), broken(RESET), refusal(400), Reply(after=3), STALL]
    script = Script(*random.choices(lines, k=200), Reply())
    accounts = books(path=None if path is None else tmp_path / path)
    async with ledger(script, accounts=accounts, concurrency=8) as (ref, _, _):

        async def ask(at, patience):
            await trio.sleep(at)
            with trio.move_on_after(patience):
                return await ref.ask(asked())

        found = await outcomes(
            *(
                partial(ask, random.uniform(0, 30), random.choice([0.5, 2.0, 20.0]))
                for _ in range(60)
            )
        )
        await trio.sleep(1)
        statistics = await ref.ask(GetCosts())
        answered = sum(hasattr(answer, "text") for answer in found)
        assert statistics.open_calls == 0
        assert statistics.totals.reserved.usd == 0
        assert statistics.totals.spent.usd == answered * PAID
        assert answered + statistics.totals.maybe_billed.calls <= 60


async def test_calls_are_sent_in_order_of_arrival_and_wait_for_room(autojump_clock, tmp_path):
    journal = Journal()
    async with open_runtime() as runtime:
        stage = await runtime.spawn("stage", partial(Stage, journal), capacity=2)
        ref = await ledger_to(runtime, stage, books(path=tmp_path / "ledger.sqlite3"))
        await outcomes(*asking(ref, *"abcdefgh"))
        await at_rest(runtime)
    assert [prompt for prompt, _ in journal.began] == list("abcdefgh")


async def test_what_ends_after_the_ledger_was_stopped_is_booked_as_well(autojump_clock, tmp_path):
    path = tmp_path / "ledger.sqlite3"
    accounts = books(path=path)
    async with requester(Script(Reply(after=5)), prices=PRICES) as (ref, runtime):
        first = await ledger_to(runtime, ref, accounts)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(first.ask, asked())
            await trio.sleep(1)
            await runtime.stop(first)
    again = books(path=path)
    await again.open(lambda: None)
    assert usd(await totals(again)) == (PAID, 0, 0)
    await again.leave()
    assert [file.name for file in tmp_path.iterdir()] == ["ledger.sqlite3"]


async def test_a_file_that_cannot_be_used_stops_the_ledger_from_starting(tmp_path):
    (tmp_path / "notes.txt").write_text("no ledger, " * 100)
    async with open_runtime() as runtime:
        stage = await runtime.spawn("stage", partial(Stage, Journal()))
        with pytest.raises(StorageError, match="or another program wrote it; move the file away"):
            await ledger_to(runtime, stage, books(path=tmp_path / "notes.txt"))


@pytest.mark.parametrize("budgets", [(), (Budget(100),)])
async def test_with_budgets_nothing_is_spent_that_cannot_be_written(
    autojump_clock, tmp_path, budgets, log, monkeypatch
):
    def begin(*_, **__):
        raise StorageError("the ledger", "the disk is full")

    policy = LedgerPolicy(budgets=budgets, path=tmp_path / "ledger.sqlite3")
    accounts = Accounts(policy, clock=lambda: NOON, in_thread=in_place)
    script = Script()
    async with ledger(script, accounts=accounts) as (ref, _, _):
        await ref.ask(asked())
        with monkeypatch.context() as full:
            full.setattr(LedgerFile, "begin", begin)
            if budgets:
                with pytest.raises(LedgerUnavailable, match=r"held back.*the disk is full"):
                    await ref.ask(asked())
            else:
                await ref.ask(asked())
        assert len(script.sent) == (1 if budgets else 2)
        assert any(event["event"] == "ledger_not_written" for event in log)
        await ref.ask(asked())
        statistics = await ref.ask(GetCosts())
        assert usd(statistics.totals) == (len(script.sent) * PAID, 0, 0)
        assert (statistics.open_calls, statistics.unwritten) == (0, 0)


async def test_a_tab_shows_itself_and_sends_nothing_for_a_call_that_has_ended():
    async def extend(_):
        raise AssertionError

    account = CallAccount("7", extend)
    await account.take()
    assert repr(account) == "<CallAccount 7: 1 of 1 attempts taken>"
    account.close()
    with pytest.raises(CallFailed, match="the call has ended"):
        await account.take()
    assert account.taken == 1
