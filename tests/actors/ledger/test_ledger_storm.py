"""The ledger and the provider's own count agree to the token, except for possibly billed calls."""

from collections import Counter
from decimal import Decimal
from functools import partial
from random import Random

import attrs
import pytest
import trio
from fakes import URL
from trio.testing import wait_all_tasks_blocked

from callsheet.actors import (
    CallContext,
    CallFailed,
    Complete,
    Endpoint,
    HedgePolicy,
    Limits,
    RateLimiterActor,
    Request,
    RequestActor,
    Response,
    RetryPolicy,
    Stream,
    Timeouts,
    Usage,
    default_prices,
)
from callsheet.actors.errors import BudgetExceeded
from callsheet.actors.ledger.accounts import Accounts
from callsheet.actors.ledger.actor import GetCosts, LedgerActor
from callsheet.actors.ledger.budgets import Budget, LedgerPolicy
from callsheet.runtime import AskFailed, AskTimedOut
from callsheet.runtime.testing.conservation import check_conservation, open_test_runtime
from callsheet.runtime.testing.faults import Faulty
from callsheet.runtime.testing.virtual import run_virtual
from callsheet.simulator.app import Provider
from callsheet.simulator.faults import FAULT_KINDS, Faults
from callsheet.simulator.inprocess import ProviderTransport
from callsheet.simulator.settings import ProviderSettings

MODEL = "gpt-5-nano"
REFUSALS = dict.fromkeys(("429", "500", "503", "529"), 0.08)
ALL = dict.fromkeys(FAULT_KINDS, 0.3 / len(FAULT_KINDS))
PROVIDER = ProviderSettings(latency_s=(0.5, 3.0), seed=7)
CALLS = 150
NOON = 1_795_694_400.0  # 2026-11-26 12:00 UTC


@attrs.define(eq=False)
class Till:
    """The callers' own counts, which are compared with the accounts."""

    calls: int = 0
    ended: Counter = attrs.field(factory=Counter)
    usage: Usage = attrs.field(factory=Usage)
    usd: Decimal = Decimal(0)

    async def ask(self, ref, random, number, patience, leaves):
        self.calls += 1
        request = Request.of(
            f"Say something about {number} ships.",
            model=MODEL,
            max_tokens=random.randrange(20, 300),
        )
        context = CallContext(
            f"call-{number}", post=f"post-{number % 7}", lane=f"team-{number % 3}"
        )
        answer = None
        try:
            if number % 3:
                answer = await ref.ask(Complete(request, context), timeout=patience)
            else:
                async with ref.stream(Stream(request, context), timeout=patience) as items:
                    async for item in items:
                        answer = item
                        if leaves(number):
                            break
        except (CallFailed, AskFailed) as error:
            self.ended[type(error).__name__] += 1
            return
        if isinstance(answer, Response) and answer.usage.total_tokens:
            self.ended["answered"] += 1
            self.usage += answer.usage
            self.usd += answer.cost_usd or 0


def in_the_middle(number):
    """Whether the caller stops a stream when it has begun."""
    return number % 11 == 0


async def storm(*, faults, patience, leaves=in_the_middle, budgets=(), crashes=None, hedging=None):
    """Send many calls through ledger, limiter and requester; return all counts."""
    provider = Provider(attrs.evolve(PROVIDER, faults=Faults(faults)))
    accounts = Accounts(LedgerPolicy(budgets=budgets), clock=lambda: NOON)
    till, random = Till(), Random(5)
    async with ProviderTransport(provider) as transport, open_test_runtime() as runtime:
        requester = partial(
            RequestActor,
            Endpoint(URL),
            transport=transport,
            retry=RetryPolicy(max_attempts=4),
            timeouts=Timeouts(first_byte_s=10),
            breaker=None,
            hedging=hedging,
        )
        last = await runtime.spawn(
            "requester",
            requester if crashes is None else Faulty(requester, crash_at_checkpoint=crashes),
            capacity=50,
            concurrency=50,
        )
        limiter = await runtime.spawn(
            "limiter", partial(RateLimiterActor, last, Limits(in_flight=50)), capacity=64
        )
        ref = await runtime.spawn(
            "ledger", partial(LedgerActor, limiter, accounts), capacity=64, max_deferred=1000
        )
        async with trio.open_nursery() as nursery:
            for number in range(CALLS):
                nursery.start_soon(till.ask, ref, random, number, patience(random), leaves)
                await trio.sleep(0.05)
        await wait_all_tasks_blocked()
        await trio.sleep(600)  # the provider also bills calls whose client has left
        check_conservation(runtime.snapshot())
        return provider.stats, await ref.ask(GetCosts()), till


def check(stats, books, till):
    """Check what is true in every case."""
    spent = books.totals.spent
    maybe = books.totals.maybe_billed + books.totals.unknown
    assert (books.open_calls, books.totals.reserved.usd) == (0, 0)
    assert till.usage.input_tokens <= spent.input_tokens <= stats.input_tokens
    assert stats.input_tokens - spent.input_tokens <= maybe.input_tokens
    assert till.usage.output_tokens <= spent.output_tokens <= stats.output_tokens
    assert stats.output_tokens - spent.output_tokens <= maybe.output_tokens
    assert spent.usd >= till.usd
    price = default_prices().price(MODEL)
    assert spent.usd == price.at().cost(Usage(spent.input_tokens, spent.output_tokens))
    assert spent.calls >= till.ended["answered"]
    assert spent.calls + maybe.calls <= till.calls
    for sums in books.by.values():
        for account in ("spent", "unknown", "maybe_billed"):
            whole = getattr(books.totals, account)
            parts = [getattr(part, account) for part in sums.values()]
            assert sum(part.usd for part in parts) == whole.usd
            assert sum(part.output_tokens for part in parts) == whole.output_tokens


seeds = pytest.mark.parametrize(
    "seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 21))]
)


@seeds
def test_every_token_the_provider_bills_is_in_the_books(seed):
    """Refusals and retries without cancellation: nothing is uncertain, and the sums are equal."""

    async def main():
        stats, books, till = await storm(
            faults=REFUSALS, patience=lambda _: 600, leaves=lambda _: False
        )
        check(stats, books, till)
        spent, maybe = books.totals.spent, books.totals.maybe_billed
        assert stats.requests > till.calls, "or there were no retries"
        assert (maybe.calls, maybe.usd, maybe.input_tokens) == (0, 0, 0)
        assert spent.input_tokens == stats.input_tokens == till.usage.input_tokens
        assert spent.output_tokens == stats.output_tokens == till.usage.output_tokens
        assert (spent.calls, spent.usd) == (till.ended["answered"], till.usd)
        assert spent.calls > 120

    run_virtual(main, seed=seed)


@seeds
@pytest.mark.parametrize("crashes", [pytest.param(None, marks=pytest.mark.slow), 250])
def test_what_the_provider_bills_more_is_shown_as_perhaps_billed(seed, crashes):
    """Every fault, short deadlines, hedges, and a crash with fifty calls in flight."""

    async def main():
        stats, books, till = await storm(
            faults=ALL,
            patience=lambda random: random.choice([0.3, 1.0, 2.5, 60.0]),
            crashes=crashes,
            hedging=HedgePolicy(min_calls=20, max_share=0.2),
        )
        check(stats, books, till)
        assert till.ended[AskTimedOut.__name__] > 20
        assert till.ended["answered"] > 40
        assert books.totals.maybe_billed.calls > 20
        assert stats.abandoned + stats.streams_cut > 10
        if crashes is not None:
            assert till.ended["ActorCrashed"] > 0

    run_virtual(main, seed=seed)


@seeds
def test_a_budget_is_kept_by_what_the_provider_bills_in_the_end(seed):
    """With every fault: what was charged or possibly charged is within the budget."""

    async def main():
        budget = Budget("0.002", per="tenant", match="team-*")
        stats, books, till = await storm(
            faults=ALL,
            patience=lambda random: random.choice([1.0, 60.0]),
            budgets=[budget],
            hedging=HedgePolicy(min_calls=20, max_share=0.2),
        )
        check(stats, books, till)
        assert till.ended[BudgetExceeded.__name__] > 10
        assert [state.name for state in books.budgets] == ["team-0", "team-1", "team-2"]
        assert all(0 <= state.left < Decimal("0.001") for state in books.budgets)
        billed = default_prices().cost(MODEL, Usage(stats.input_tokens, stats.output_tokens))
        assert billed <= 3 * budget.usd

    run_virtual(main, seed=seed)
