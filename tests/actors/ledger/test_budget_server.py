"""Shared budgets on a real server: it is checked, killed and restarted, and keeps its numbers."""

import time
from decimal import Decimal
from functools import partial

import pytest
import trio
from fakes import Reply, Script, outcomes
from ledger_stage import BOUND, PAID, asked
from shared_ledgers import ledgers
from valkey_server import valkey_server

from callsheet.actors.errors import BudgetExceeded
from callsheet.actors.ledger.budgets import Budget
from callsheet.actors.ledger.shared import LedgerAsk, ValkeyLedgerStore
from callsheet.actors.valkey import ServerAway, ServerUrl, UnsuitableServer


def ask(number):
    return LedgerAsk(process="first", number=number, contributor="first", version=0, stamp=0.0)


async def test_a_server_that_keeps_nothing_on_disk_is_refused():
    with valkey_server() as server:
        store = ValkeyLedgerStore(ServerUrl.parse(server.url))
        with pytest.raises(UnsuitableServer, match="appendonly"):
            async with ledgers(1, Budget(1), store=store):
                pass
        async with ledgers(1, Budget(1, per="call"), store=store) as (((ref, _),), _):
            await ref.ask(asked())


async def test_a_store_that_is_not_open_is_away():
    store = ValkeyLedgerStore(ServerUrl.parse("unix:///nowhere"), "team")
    with pytest.raises(ServerAway, match="stopped"):
        await store.ask(ask(1))


async def test_ledgers_share_a_budget_on_a_server_that_is_killed_and_restarted():
    with valkey_server(appendonly="yes") as server:
        store = ValkeyLedgerStore(ServerUrl.parse(server.url), "team")
        store.now = time.time() - 60  # the state is not new when the ledgers come
        async with store.open():
            await store.ask(ask(1))
        stores = [ValkeyLedgerStore(ServerUrl.parse(server.url), "team") for _ in range(2)]
        budget = Budget(6 * PAID + BOUND)
        slow = [Script(Reply(after=0.05))]
        async with (
            ledgers(1, budget, store=stores[0], scripts=slow) as ((one,), _),
            ledgers(1, budget, store=stores[1], scripts=slow) as ((other,), _),
        ):
            for ref, _ in (one, other) * 2:
                await ref.ask(asked())
                await trio.sleep(0.05)
            server.kill()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(one[0].ask, asked())
                await trio.sleep(0.1)
                server.start()
            await trio.sleep(0.05)
            found = await outcomes(*[partial(ref.ask, asked()) for ref, _ in (one, other) * 2])
            assert [type(error) for error in found].count(BudgetExceeded) == 3
            await trio.sleep(0.1)
            for _, accounts in (one, other):
                (state,) = (await accounts.statistics()).budgets
                assert (state.used, state.maybe) == (6 * PAID, Decimal(0))
