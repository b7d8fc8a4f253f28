"""Several ledgers that share budgets, each before a requester of its own, on the virtual clock."""

from contextlib import AsyncExitStack, asynccontextmanager

from fakes import Script
from ledger_stage import NOON, ledger

from callsheet.actors import LedgerPolicy
from callsheet.actors.ledger.accounts import Accounts
from callsheet.actors.ledger.shared import MemoryLedgerStore
from callsheet.actors.storage import in_place


def sharing(store, *budgets, path=None, waits=False, clock=lambda: NOON):
    policy = LedgerPolicy(budgets=budgets, path=path)
    return Accounts(policy, clock=clock, in_thread=in_place, store=store, waits=waits)


@asynccontextmanager
async def ledgers(
    number, *budgets, store=None, paths=None, scripts=None, own=None, stages=None, **options
):
    """Yield a list of (ref, accounts) of ledgers that share budgets, and their store."""
    store = store or MemoryLedgerStore(delay_s=0.001)
    async with AsyncExitStack() as stack:
        found = []
        for at in range(number):
            accounts = (
                own[at] if own else sharing(store, *budgets, path=paths and paths[at], **options)
            )
            script = scripts[at] if scripts else Script()
            stage = ledger(script, accounts=accounts, **(stages or {}))
            ref, _, _ = await stack.enter_async_context(stage)
            found.append((ref, accounts))
        yield found, store
