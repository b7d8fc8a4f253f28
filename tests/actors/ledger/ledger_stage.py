"""A ledger before a requester, and its accounts, on the virtual clock."""

from contextlib import asynccontextmanager
from decimal import Decimal
from functools import partial

import trio
from fakes import MODEL, call, requester

from callsheet.actors.ledger.accounts import Accounts
from callsheet.actors.ledger.actor import LedgerActor
from callsheet.actors.ledger.budgets import LedgerPolicy
from callsheet.actors.storage import in_place
from callsheet.actors.vendors.prices import Price, PriceBook

NOON = 1_795_694_400.0  # 2026-11-26 12:00 UTC
PRICES = PriceBook({MODEL: Price(Decimal(1), Decimal(10))})
# What `call("x", max_tokens=100)` may cost: a prompt of 1 + 32 tokens, an answer of 100.
BOUND = Decimal("0.001033")
PAID = Decimal("0.00006")  # what the script's answer costs, of 10 and 5 tokens


def books(*budgets, path=None):
    policy = LedgerPolicy(budgets=budgets, path=path)
    return Accounts(policy, clock=lambda: NOON, in_thread=in_place)


async def ledger_to(runtime, ref, accounts, name="ledger"):
    return await runtime.spawn(
        name,
        partial(LedgerActor, ref, accounts, PRICES, counter_for=lambda _: None),
        capacity=64,
        max_deferred=1000,
    )


@asynccontextmanager
async def ledger(script, *budgets, path=None, accounts=None, **settings):
    """A ledger before a requester, and its accounts."""
    accounts = accounts or books(*budgets, path=path)
    async with requester(script, prices=PRICES, **settings) as (ref, runtime):
        yield await ledger_to(runtime, ref, accounts), accounts, runtime
        await at_rest(runtime)


async def at_rest(runtime):
    await trio.testing.wait_all_tasks_blocked()
    for actor in runtime.snapshot().actors:
        assert actor.is_conserved
        assert (actor.deferred, actor.pending, actor.in_progress) == (0, 0, ())


def asked(prompt="x", **more):
    return call(prompt, max_tokens=100, **more)


async def totals(accounts):
    return (await accounts.statistics()).totals


def usd(found):
    """What is spent, reserved, and not known for certain: without usage, or without a response."""
    return found.spent.usd, found.reserved.usd, found.unknown.usd + found.maybe_billed.usd
