"""Ledgers of several processes share budgets: on the virtual clock, with the store in memory."""

import shutil
from functools import partial

import attrs
import pytest
import trio
from fakes import MODEL, RESET, Reply, Script, broken, outcomes, requester
from ledger_stage import BOUND, PAID, PRICES, asked, usd
from shared_ledgers import ledgers, sharing

from callsheet.actors import CallContext, RetryPolicy
from callsheet.actors.errors import BudgetExceeded, LedgerUnavailable
from callsheet.actors.ledger.actor import ChangeBudgets, LedgerActor
from callsheet.actors.ledger.budgets import Budget
from callsheet.actors.ledger.shared import MemoryLedgerStore
from callsheet.actors.valkey import UnsuitableServer
from callsheet.runtime.testing.faults import Faulty


async def states(accounts):
    """What is used and possibly billed of each budget, by what it is for."""
    found = await accounts.statistics()
    assert all(state.is_shared for state in found.budgets)
    return {state.name: (state.used, state.maybe) for state in found.budgets}


def kinds(found):
    return [type(one).__name__ for one in found]


async def test_calls_of_several_ledgers_share_a_budget(autojump_clock):
    async with ledgers(3, Budget(5 * BOUND)) as (shared, _):
        calls = [partial(ref.ask, asked(f"{n}")) for n in range(3) for ref, _ in shared]
        found = await outcomes(*calls)
        refused = [one for one in found if isinstance(one, BudgetExceeded)]
        assert len(refused) == 4
        assert "held back: the shared budget of" in str(refused[0])
        assert "has $0 left, and the call may cost $0.001033" in str(refused[0])
        await trio.sleep(0.1)
        for _, accounts in shared:
            assert await states(accounts) == {"": (5 * PAID, 0)}
            assert (await accounts.statistics()).open_calls == 0


async def test_what_a_call_has_not_used_is_there_for_other_processes_at_once(autojump_clock):
    async with ledgers(2, Budget(BOUND + PAID)) as (((one, _), (other, _)), _):
        await one.ask(asked())
        await trio.sleep(0.03)
        await other.ask(asked())
        await trio.sleep(0.03)
        (found,) = await outcomes(partial(one.ask, asked()))
        assert f"has ${BOUND - PAID:f} left" in str(found)


async def test_a_process_without_a_budget_that_others_share_asks_for_nothing(autojump_clock):
    async with ledgers(2, Budget(BOUND, per="call")) as (((one, accounts), _), store):
        await one.ask(asked())
        await trio.sleep(10)
        assert store.asked == 0
        (state,) = [*(await accounts.statistics()).budgets] or [None]
        assert state is None


async def test_a_further_attempt_is_reserved_for_all_processes_too(autojump_clock):
    retry = RetryPolicy(max_attempts=3)
    scripts = [Script(broken(RESET, after=2), Reply()), Script(Reply(after=20))]
    async with ledgers(2, Budget(2 * BOUND), scripts=scripts, stages={"retry": retry}) as (
        ((one, books), (other, _)),
        _,
    ):
        found = await outcomes(partial(one.ask, asked()), partial(other.ask, asked()))
        assert kinds(found) == ["BudgetExceeded", "Response"]
        assert "shared budget" in str(found[0])
        assert found[0].billed == "maybe"
        await trio.sleep(0.1)
        assert usd(await totals_of(books)) == (0, 0, BOUND)
        assert await states(books) == {"": (BOUND + PAID, 0)}


def of_lane(lane):
    return attrs.evolve(asked(), context=CallContext("x", lane=lane))


async def totals_of(accounts):
    return (await accounts.statistics()).totals


async def test_a_further_attempt_that_all_processes_have_room_for_is_sent(autojump_clock):
    scripts = [Script(broken(RESET, after=2), Reply())]
    retry = RetryPolicy(max_attempts=3)
    async with ledgers(1, Budget(2 * BOUND), scripts=scripts, stages={"retry": retry}) as (
        ((one, books),),
        _,
    ):
        answer = await one.ask(asked())
        assert answer.http_requests == 2
        await trio.sleep(0.1)
        assert await states(books) == {"": (BOUND + PAID, 0)}


async def test_budgets_of_tenants_models_and_days_are_shared_each(autojump_clock):
    budgets = [
        Budget(BOUND, per="tenant", match="team-*", period="day"),
        Budget(3 * BOUND, per="model", period="month"),
        Budget(9, per="day"),
        Budget(1, per="call"),
    ]
    async with ledgers(2, *budgets, scripts=[Script(Reply(after=9))] * 2) as (
        ((one, books), (other, _)),
        _,
    ):
        await trio.sleep(4)
        wanted = [(one, "team-a"), (other, "team-a"), (other, "team-b"), (one, "c"), (one, "d")]

        async def after(at, ref, lane):
            await trio.sleep(at / 10)
            return await ref.ask(of_lane(lane))

        found = await outcomes(*[partial(after, at, *asks) for at, asks in enumerate(wanted)])
        refused = [at for at, one in enumerate(found) if isinstance(one, BudgetExceeded)]
        assert refused == [1, 4]
        assert "for team-a 2026-11-26 has $0 left" in str(found[1])
        assert "or wait until 2026-11-27 00:00 UTC" in str(found[1])
        assert f"for {MODEL} 2026-11 has" in str(found[4])
        await trio.sleep(0.1)
        found = await books.statistics()
        assert {(one.budget.per, one.name): one.used for one in found.budgets} == {
            ("tenant", "team-a 2026-11-26"): PAID,
            ("model", f"{MODEL} 2026-11"): 3 * PAID,
            ("day", "2026-11-26"): 3 * PAID,
        }


async def test_changed_budgets_count_what_was_spent_before(autojump_clock):
    async with ledgers(2, Budget(1, per="tenant")) as (((one, books), (other, _)), _):
        await outcomes(partial(one.ask, asked()), partial(other.ask, asked()))
        for ref in (one, other):
            await ref.ask(ChangeBudgets([Budget(BOUND + PAID), Budget(2 * BOUND)]))
        await trio.sleep(0.1)
        assert await states(books) == {"": (2 * PAID, 0)}
        (found,) = await outcomes(partial(one.ask, asked()))
        assert f"has ${BOUND - PAID:f} left" in str(found)


async def test_an_answer_that_was_lost_counts_nothing_twice(autojump_clock):
    async with ledgers(2, Budget(2 * BOUND)) as (((one, books), (other, _)), store):
        store.lost_answers = 3
        found = await outcomes(partial(one.ask, asked()), partial(other.ask, asked()))
        assert kinds(found) == ["Response"] * 2
        await trio.sleep(0.1)
        assert await states(books) == {"": (2 * PAID, 0)}


# ------------------------------------------------------------------ away, lost, dead


async def test_calls_wait_for_a_store_that_is_restarted(autojump_clock):
    async with ledgers(1, Budget(1)) as (((one, _),), store):
        await one.ask(asked())
        store.is_away = True
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.ask, asked())
            await trio.sleep(4)
            store.is_away = False


async def test_calls_fail_while_the_store_is_away_for_longer_and_nothing_is_spent(
    autojump_clock, log
):
    script = Script()
    async with ledgers(1, Budget(1), scripts=[script]) as (((one, books),), store):
        await one.ask(asked())
        await trio.sleep(1)
        store.is_away = True
        found = await outcomes(*[partial(one.ask, asked()) for _ in range(3)])
        assert kinds(found) == ["LedgerUnavailable"] * 3
        assert "held back, because processes share its budget: the shared memory" in str(found[0])
        began = trio.current_time()
        (found,) = await outcomes(partial(one.ask, asked()))
        assert isinstance(found, LedgerUnavailable)
        assert trio.current_time() - began < 0.1
        assert await states(books) == {"": (PAID, 0)}
        store.is_away = False
        await trio.sleep(2)
        await one.ask(asked())
        assert len(script.sent) == 2
    events = [(entry["event"], entry["log_level"]) for entry in log if "shared" in entry["event"]]
    assert events == [
        ("shared_budgets_unavailable", "warning"),
        ("shared_budgets_back", "warning"),
    ]


async def test_calls_wait_as_long_as_the_store_is_away_if_the_outage_is_to_wait(autojump_clock):
    async with ledgers(1, Budget(1), waits=True) as (((one, _),), store):
        store.is_away = True
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.ask, asked())
            await trio.sleep(60)
            store.is_away = False


async def test_a_process_that_starts_while_the_store_is_away_spends_nothing(autojump_clock):
    store, script = MemoryLedgerStore(), Script()
    store.is_away = True
    async with ledgers(1, Budget(1), store=store, scripts=[script]) as (((one, _),), _):
        (found,) = await outcomes(partial(one.ask, asked()))
        assert isinstance(found, LedgerUnavailable)
        assert script.sent == []


async def test_a_caller_that_leaves_while_its_call_is_held_leaves_nothing(autojump_clock):
    async with ledgers(2, Budget(BOUND)) as (((one, books), (other, _)), store):
        store.is_away = True
        with trio.move_on_after(1):
            await one.ask(asked())
        store.is_away = False
        await other.ask(asked())
        await trio.sleep(0.1)
        assert await states(books) == {"": (PAID, 0)}


async def test_a_lost_store_has_everything_again_before_it_decides(autojump_clock):
    async with ledgers(3, Budget(4 * BOUND), scripts=[Script(Reply(after=30))] * 3) as (
        shared,
        store,
    ):
        async with trio.open_nursery() as nursery:
            for ref, _ in shared:
                nursery.start_soon(ref.ask, asked())
            await trio.sleep(5)
            store.lose()
            found = await outcomes(*[partial(ref.ask, asked()) for ref, _ in shared])
            assert sorted(kinds(found)) == ["BudgetExceeded"] * 2 + ["Response"]
        await trio.sleep(2)
        assert await states(shared[0][1]) == {"": (4 * PAID, 0)}


async def test_a_lost_store_counts_what_processes_had_spent_that_have_ended(autojump_clock):
    store, budget = MemoryLedgerStore(), Budget(BOUND + PAID)
    async with ledgers(1, budget, store=store) as (((lives, books),), _):
        async with ledgers(1, budget, store=store) as (((ends, _),), _):
            await ends.ask(asked())
            await trio.sleep(0.1)
        await lives.ask(asked())
        await trio.sleep(0.1)
        store.lose()
        await trio.sleep(5)
        (found,) = await outcomes(partial(lives.ask, asked()))
        assert f"has ${BOUND - PAID:f} left" in str(found)
        assert await states(books) == {"": (2 * PAID, 0)}


async def test_what_a_dead_process_has_reserved_may_be_billed_after_its_lease(autojump_clock):
    store = MemoryLedgerStore()
    async with ledgers(1, Budget(3 * BOUND), store=store) as (((_, books),), _):
        dead = sharing(store, Budget(3 * BOUND))
        async with ledgers(1, store=store, own=[dead], scripts=[Script(Reply(after=99))]) as (
            ((one, _),),
            _,
        ):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(one.ask, asked())
                await trio.sleep(5)
                async with dead.link._lock:  # as when the process is stopped
                    await trio.sleep(2)
                    assert await states(books) == {"": (BOUND, 0)}
                    await trio.sleep(9)
                    assert await states(books) == {"": (BOUND, BOUND)}
                await trio.sleep(2)  # it goes on
                assert await states(books) == {"": (BOUND, 0)}
            await trio.sleep(0.1)
            assert await states(books) == {"": (PAID, 0)}


# ------------------------------------------------------------------ files


async def test_a_file_that_several_processes_share_counts_once(autojump_clock, tmp_path):
    paths = [tmp_path / "a.sqlite3", tmp_path / "a.sqlite3", tmp_path / "b.sqlite3"]
    store, budget = MemoryLedgerStore(delay_s=0.001), Budget(7 * PAID + BOUND)
    for times in (1, 2):  # the second time as after a restart
        async with ledgers(3, budget, store=store, paths=paths) as (shared, _):
            await trio.sleep(4)
            for ref, _ in shared:
                await ref.ask(asked())
                await trio.sleep(0.1)
            for _, accounts in shared:
                assert await states(accounts) == {"": (times * 3 * PAID, 0)}


async def test_a_lost_store_gets_earlier_runs_from_the_file_of_a_ledger(autojump_clock, tmp_path):
    store, budget = MemoryLedgerStore(), Budget(1, period="month")
    paths = [tmp_path / "a.sqlite3"]
    async with ledgers(1, budget, store=store, paths=paths) as (((ref, _),), _):
        await ref.ask(asked())
    store.lose()
    async with ledgers(2, budget, store=store, paths=[*paths, None]) as ((_, (_, other)), _):
        await trio.sleep(4)
        assert await states(other) == {"2026-11": (PAID, 0)}


async def test_a_copy_of_a_ledger_spends_nothing(autojump_clock, tmp_path):
    store, budget = MemoryLedgerStore(), Budget(1)
    paths = [tmp_path / "a.sqlite3", tmp_path / "copy.sqlite3"]
    async with ledgers(1, budget, store=store, paths=paths) as (((ref, _),), _):
        await ref.ask(asked())
    shutil.copy(*paths)
    async with ledgers(1, budget, store=store, paths=paths) as (((ref, _),), _):
        await ref.ask(asked())
        await trio.sleep(0.1)
    async with ledgers(1, budget, store=store, paths=paths[1:]) as (((copy, _),), _):
        await trio.sleep(4)
        (found,) = await outcomes(partial(copy.ask, asked()))
        assert isinstance(found, LedgerUnavailable)
        assert "it is a copy of a ledger that has reported" in str(found)


async def test_what_a_run_had_reserved_that_was_killed_is_possibly_billed(autojump_clock, tmp_path):
    store, budget, path = MemoryLedgerStore(), Budget(2 * BOUND), tmp_path / "a.sqlite3"
    scripts = [Script(Reply(after=99)), Script()]
    async with (
        ledgers(1, budget, store=store, paths=[path], scripts=scripts) as ((killed,), _),
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(killed[0].ask, asked())
        await trio.sleep(5)
        async with killed[1].link._lock:  # it says nothing any more
            copy = tmp_path / "moved.sqlite3"  # what the kill has left on disk
            for part in ("", "-wal"):
                shutil.copy(f"{path}{part}", f"{copy}{part}")
            await trio.sleep(12)
            async with ledgers(1, budget, store=store, paths=[copy]) as (((ref, books),), _):
                await ref.ask(asked())
                (found,) = await outcomes(partial(ref.ask, asked()))
                assert f"has ${BOUND - PAID:f} left" in str(found)
                assert await states(books) == {"": (BOUND + PAID, 0)}
        nursery.cancel_scope.cancel()


# ------------------------------------------------------------------ stores


async def test_a_store_that_may_lose_money_is_refused_if_there_are_budgets(autojump_clock):
    class Forgetful(MemoryLedgerStore):
        async def check(self):
            raise UnsuitableServer("the shared server x", "it keeps nothing on disk")

    accounts = sharing(Forgetful(), Budget(1))
    with pytest.raises(UnsuitableServer, match="keeps nothing"):
        async with ledgers(1, own=[accounts]):
            pass
    async with ledgers(1, store=Forgetful()) as (((ref, _),), _):
        await ref.ask(asked())


@pytest.mark.parametrize("place", range(1, 9))
async def test_a_crash_of_the_ledger_loses_nothing_of_a_shared_budget(autojump_clock, place):
    store, script = MemoryLedgerStore(delay_s=0.01), Script()
    accounts, other = sharing(store, Budget(1)), sharing(store, Budget(1))
    async with (
        ledgers(1, own=[other], store=store),
        requester(script, prices=PRICES) as (ref, runtime),
    ):
        await trio.sleep(4)
        first = await runtime.spawn(
            "ledger",
            Faulty(partial(LedgerActor, ref, accounts, PRICES), crash_at_checkpoint=place),
            max_deferred=100,
        )

        async def ask(at):
            await trio.sleep(at * 0.3)
            return await first.ask(asked(f"{at}"))

        found = await outcomes(*(partial(ask, at) for at in range(6)))
        assert len([one for one in found if not isinstance(one, Exception)]) >= 4
        await trio.sleep(1)
        totals = (await accounts.statistics()).totals
        assert totals.reserved.usd == 0
        assert await states(other) == {"": (totals.at_most.usd, 0)}


async def test_a_server_that_became_unsuitable_is_taken_again_when_it_is_suitable(autojump_clock):
    class Changing(MemoryLedgerStore):
        is_suitable = True

        async def check(self):
            if not self.is_suitable:
                raise UnsuitableServer("the shared server x", "it keeps nothing on disk")

    store = Changing()
    async with ledgers(1, Budget(1), store=store) as (((ref, _),), _):
        await ref.ask(asked())
        store.is_away, store.is_suitable = True, False
        await trio.sleep(1.5)
        store.is_away = False
        (found,) = await outcomes(partial(ref.ask, asked()))
        assert "it keeps nothing on disk" in str(found)
        store.is_suitable = True
        await trio.sleep(1.5)
        await ref.ask(asked())
