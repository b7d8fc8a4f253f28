"""The script of shared budgets does what the core does, to the last picodollar."""

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from ledger_asks import questions, steps
from valkey_server import valkey_server

from callsheet.actors.ledger.shared import ValkeyLedgerStore
from callsheet.actors.ledger.shared.core import SharedBudgets
from callsheet.actors.valkey import ServerUrl, open_valkey


@pytest.fixture(scope="module")
def server():
    with valkey_server() as started:
        yield started


async def compare(server, steps):
    asked, core, epoch = questions(steps), SharedBudgets(), None
    async with open_valkey(ServerUrl.parse(server.url)) as client:
        await client.command("FLUSHALL")
        store = ValkeyLedgerStore(ServerUrl.parse(server.url))
        async with store.open():
            while True:
                try:
                    ask, store.now, is_lost = asked.send(epoch)
                except StopIteration:
                    return
                if is_lost:
                    await client.command("FLUSHALL")
                    core = SharedBudgets()
                answer = await store.ask(ask)
                assert answer == core.ask(ask, store.now, answer.epoch)
                epoch = answer.epoch


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=steps)
def test_the_script_answers_as_the_core(server, steps):
    trio.run(compare, server, steps)


@pytest.mark.slow
@settings(max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=steps)
def test_the_script_answers_as_the_core_to_a_thousand_conversations(server, steps):
    trio.run(compare, server, steps)
