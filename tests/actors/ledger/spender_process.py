"""One process of a storm: it spends a budget that others share, until it is killed.

    python spender_process.py URL LEDGER BILLS BUDGET SEED

LEDGER is the file of its ledger, "-" for none. Its provider is in the process, and writes what it
charges to BILLS before it answers: what is written there outlives a kill. The process ends when
the budget has been used up for a while.
"""

import os
import sys
from decimal import Decimal
from functools import partial
from pathlib import Path
from random import Random

import trio

from callsheet.actors import CallContext, Complete, LedgerPolicy, Request, Response, Usage
from callsheet.actors.errors import BudgetExceeded, LedgerUnavailable
from callsheet.actors.ledger.accounts import Accounts
from callsheet.actors.ledger.actor import LedgerActor
from callsheet.actors.ledger.budgets import Budget
from callsheet.actors.ledger.shared import ValkeyLedgerStore
from callsheet.actors.valkey import ServerUrl
from callsheet.actors.vendors.prices import Price, PriceBook
from callsheet.runtime import Actor, handles, open_runtime

MODEL = "gpt-4o"
PRICE = Price(Decimal(1), Decimal(10))  # USD per million tokens of a prompt, and of a response
MAX_TOKENS = 100
AT_ONCE = 8
ENDS_AFTER = 40  # refusals without a call that is granted


class Provider(Actor):
    def __init__(self, bills, random):
        self.bills, self.dice = bills, random

    @handles(Complete)
    async def complete(self, message):
        await message.account.take()
        await trio.sleep(self.dice.random() / 4)
        tokens = self.dice.randint(1, MAX_TOKENS)
        usd = (10 * PRICE.input + tokens * PRICE.output) / 1_000_000
        os.write(self.bills, f"{usd}\n".encode())
        await trio.sleep(self.dice.random() / 4)
        return Response(
            text="x",
            model=MODEL,
            finish_reason="stop",
            usage=Usage(10, tokens),
            cost_usd=usd,
        )


async def spend(ref, random, refusals):
    while len(refusals) < ENDS_AFTER:
        request = Request.of("x", model=MODEL, max_tokens=random.choice([MAX_TOKENS, 100]))
        try:
            await ref.ask(Complete(request, CallContext("x", lane=random.choice("ab"))))
            refusals.clear()
        except BudgetExceeded:
            refusals.append(1)
            await trio.sleep(0.05)
        except LedgerUnavailable:
            await trio.sleep(0.05)


async def main(url, ledger, bills, budget, seed):
    random = Random(seed)
    handle = os.open(bills, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    policy = LedgerPolicy(
        budgets=[Budget(budget, period="month"), Budget(budget, per="tenant")],
        path=None if ledger == "-" else Path(ledger),
    )
    accounts = Accounts(policy, store=ValkeyLedgerStore(ServerUrl.parse(url)))
    prices, refusals = PriceBook({MODEL: PRICE}), []
    async with open_runtime() as runtime:
        provider = await runtime.spawn(
            "provider", partial(Provider, handle, random), concurrency=AT_ONCE
        )
        ref = await runtime.spawn(
            "ledger",
            partial(LedgerActor, provider, accounts, prices, counter_for=lambda _: None),
            max_deferred=100,
        )
        async with trio.open_nursery() as nursery:
            for _ in range(AT_ONCE):
                nursery.start_soon(spend, ref, random, refusals)


if __name__ == "__main__":
    trio.run(main, *sys.argv[1:])
