"""The ledger as a stage: a reservation is settled, refunded, or possibly billed; and budgets."""

from decimal import Decimal
from functools import partial

import pytest
import trio
from fakes import (
    MODEL,
    RESET,
    STALL,
    Behaviour,
    Journal,
    Reply,
    Script,
    Stage,
    answer_to,
    asking,
    broken,
    completion_json,
    outcomes,
    refusal,
    requester,
)
from ledger_stage import BOUND, NOON, PAID, PRICES, asked, books, ledger, ledger_to, totals, usd

from callsheet.actors import (
    NOTHING,
    BadRequest,
    CallContext,
    CallFailed,
    Complete,
    HedgePolicy,
    Limits,
    RateLimiterActor,
    Request,
    Response,
    RetryPolicy,
    Stream,
    Usage,
)
from callsheet.actors.errors import BudgetExceeded
from callsheet.actors.ledger.actor import GetCosts, LedgerActor
from callsheet.actors.ledger.budgets import Budget
from callsheet.actors.ledger.file import read_sums
from callsheet.actors.vendors.prices import Price, PriceBook
from callsheet.runtime import Actor, ActorCrashed, AskTimedOut, handles, open_runtime

# ------------------------------------------------------------------ how a call ends


async def test_a_call_is_reserved_while_it_is_under_way_and_then_settled(autojump_clock):
    async with ledger(Script()) as (ref, accounts, _):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ref.ask, asked())
            await trio.sleep(0.5)
            found = await totals(accounts)
            assert usd(found) == (0, BOUND, 0)
            assert (found.reserved.calls, found.reserved.output_tokens) == (1, 100)
        found = await ref.ask(GetCosts())
        assert usd(found.totals) == (PAID, 0, 0)
        assert (found.totals.spent.input_tokens, found.totals.spent.output_tokens) == (10, 5)
        assert (found.totals.spent.calls, found.open_calls) == (1, 0)
        assert list(found.by["day"]) == ["2026-11-26"]
        assert list(found.by["model"]) == [MODEL]


async def test_a_stream_is_settled_as_well(autojump_clock):
    async with ledger(Script()) as (ref, accounts, _):
        request = Request.of("x", model=MODEL, max_tokens=100)
        async with ref.stream(Stream(request, CallContext("s"))) as items:
            assert [item async for item in items][-1].cost_usd == PAID
        assert usd(await totals(accounts)) == (PAID, 0, 0)


async def test_what_was_refused_costs_nothing_and_what_broke_off_may_have(autojump_clock):
    script = Script(refusal(503), broken(RESET), refusal(500), Reply())
    async with ledger(script, retry=RetryPolicy(max_attempts=5)) as (ref, accounts, _):
        answer = await ref.ask(asked())
        assert (answer.http_requests, answer.maybe_billed) == (4, 1)
        found = await totals(accounts)
        assert usd(found) == (PAID, 0, BOUND)
        assert (found.spent.calls, found.maybe_billed.calls) == (1, 0)


async def test_a_call_that_fails_after_it_may_have_run_may_have_been_billed(autojump_clock):
    async with ledger(Script(broken(RESET)), retry=RetryPolicy(max_attempts=2)) as at:
        ref, accounts, _ = at
        with pytest.raises(CallFailed) as caught:
            await ref.ask(asked())
        assert caught.value.billed == "maybe"
        found = await totals(accounts)
        assert usd(found) == (0, 0, 2 * BOUND)
        assert found.maybe_billed.calls == 1


async def test_a_call_that_was_refused_for_good_is_refunded(autojump_clock):
    async with ledger(Script(refusal(400))) as (ref, accounts, _):
        with pytest.raises(BadRequest):
            await ref.ask(asked())
        assert usd(await totals(accounts)) == (0, 0, 0)


@pytest.mark.parametrize("patience", [0.5, 1.0])
async def test_a_call_given_up_after_it_was_sent_may_have_been_billed(autojump_clock, patience):
    async with ledger(Script(STALL)) as (ref, accounts, _):
        with pytest.raises(AskTimedOut):
            await ref.ask(asked(), timeout=patience)
        assert usd(await totals(accounts)) == (0, 0, BOUND)


async def test_a_call_given_up_before_it_was_sent_is_refunded(autojump_clock):
    async with requester(Script(), prices=PRICES) as (ref, runtime):
        limiter = await runtime.spawn(
            "limiter", partial(RateLimiterActor, ref, Limits(in_flight=1))
        )
        accounts = books()
        first = await ledger_to(runtime, limiter, accounts)
        found = await outcomes(
            partial(first.ask, asked("a")), partial(first.ask, asked("b"), timeout=0.5)
        )
        assert isinstance(found[1], AskTimedOut)
        assert usd(await totals(accounts)) == (PAID, 0, 0)


async def test_a_response_without_usage_may_have_cost_the_whole_reservation(
    autojump_clock,
):
    async with ledger(Script(Reply(body=completion_json(usage=None)))) as (ref, accounts, _):
        await ref.ask(asked())
        found = await totals(accounts)
        assert (found.unknown.usd, found.unknown.calls) == (BOUND, 1)
        assert (found.spent, found.maybe_billed) == (NOTHING, NOTHING)


async def test_the_copy_that_loses_a_race_may_have_been_billed(autojump_clock):
    hedging = HedgePolicy(min_calls=1, max_share=1, quantile=0.5)
    script = Script(Reply(after=1), Reply(after=50), Reply(after=1))
    async with ledger(script, hedging=hedging) as (ref, accounts, _):
        await ref.ask(asked())
        answer = await ref.ask(asked())
        assert answer.http_requests == 2
        assert usd(await totals(accounts)) == (2 * PAID, 0, BOUND)


async def test_a_copy_that_the_budget_holds_back_does_no_harm_to_the_first(autojump_clock):
    hedging = HedgePolicy(min_calls=1, max_share=1, quantile=0.5)
    script = Script(Reply(), refusal(503, after=50), Reply())
    async with ledger(script, Budget(PAID + BOUND), hedging=hedging) as (ref, accounts, _):
        await ref.ask(asked())
        answer = await ref.ask(asked())
        assert (answer.http_requests, answer.maybe_billed) == (2, 0)
        assert usd(await totals(accounts)) == (2 * PAID, 0, 0)


async def test_the_crash_of_a_later_stage_leaves_what_may_have_been_billed(autojump_clock):
    class Clumsy(Stage):
        async def attempt(self, message, behaviour):
            await message.account.take()
            await super().attempt(message, behaviour)

    async with open_runtime() as runtime:
        behaviours = {"bad": Behaviour(error=KeyError("bug"))}
        stage = await runtime.spawn("stage", partial(Clumsy, Journal(), behaviours), concurrency=10)
        accounts = books()
        ref = await ledger_to(runtime, stage, accounts)
        (bad,) = await outcomes(*asking(ref, "bad", max_tokens=100))
        assert isinstance(bad, ActorCrashed)
        await ref.ask(asked("good"))
        found = await totals(accounts)
        assert found.maybe_billed.usd == BOUND + Decimal("0.000002")  # "bad" is longer than "x"
        assert found.spent.calls == 1


async def test_an_answer_shared_with_another_call_costs_nothing(autojump_clock):
    class Cache(Actor):
        @handles(Complete)
        async def complete(self, message):
            return answer_to("x", usage=Usage(), cost_usd=Decimal(0), http_requests=0)

    async with open_runtime() as runtime:
        stage = await runtime.spawn("stage", Cache)
        accounts = books()
        ref = await ledger_to(runtime, stage, accounts)
        await ref.ask(asked())
        assert usd(await totals(accounts)) == (0, 0, 0)


async def test_callers_that_share_a_call_share_its_cost(autojump_clock):
    origins = tuple(CallContext(f"c{at}", post=f"p{at}", lane="team") for at in range(3))
    message = Complete(
        Request.of("x", model=MODEL, max_tokens=100),
        CallContext("pack", shared_by=origins, shared_as="pack"),
    )
    async with ledger(Script()) as (ref, accounts, _):
        await ref.ask(message)
        found = await accounts.statistics()
    assert [sums.spent.output_tokens for sums in found.by["post"].values()] == [2, 2, 1]
    assert sum(sums.spent.usd for sums in found.by["post"].values()) == PAID
    assert found.by["tenant"]["team"].spent.calls == 3
    assert list(found.by["route"]) == ["pack"], "they were listed as live calls"


def test_the_route_of_a_shared_call_names_both_ways():
    pack = CallContext("p", shared_as="pack")
    assert [pack.route_of(route) for route in ("live", "batch")] == ["pack", "pack+batch"]
    assert CallContext("alone").route_of("flex") == "flex"


async def test_another_model_that_answers_is_the_one_that_is_paid(autojump_clock):
    script = Script(
        Reply(body=completion_json(model=f"{MODEL}-2024-08-06")),
        Reply(body=completion_json(model="other")),
    )
    async with ledger(script) as (ref, accounts, _):
        await ref.ask(asked())
        assert list((await accounts.statistics()).by["model"]) == [MODEL]
        await ref.ask(asked())
        found = await accounts.statistics()
    assert found.by["model"]["other"].unknown.calls == 1
    assert found.by["model"][MODEL].reserved.calls == 0


@pytest.mark.parametrize("extra", [{"model": "other"}, {"service_tier": "turbo"}])
async def test_a_response_of_unknown_price_counts_at_its_bound(autojump_clock, extra):
    """Rule L13: a gateway that names its own model once used up no budget at all."""
    script = Script(Reply(body=completion_json() | extra))
    async with ledger(script, Budget(3 * BOUND)) as (ref, accounts, _):
        found = await outcomes(*(partial(ref.ask, asked()) for _ in range(20)))
        totals_now = await totals(accounts)
    assert sum(not isinstance(error, BudgetExceeded) for error in found) == 3
    assert totals_now.unknown.usd == 3 * BOUND
    assert totals_now.unknown.input_tokens == 3 * 10  # as reported


async def test_an_unknown_price_is_not_zero(autojump_clock):
    script = Script(Reply(body=completion_json(model="new")))
    async with ledger(script) as (ref, accounts, _):
        await ref.ask(Complete(Request.of("x", model="new", max_tokens=100), CallContext("n")))
        spent = (await totals(accounts)).spent
    assert (spent.unpriced_calls, spent.unpriced_tokens, spent.usd) == (1, 15, 0)


# ------------------------------------------------------------------ budgets


async def test_no_more_calls_run_at_once_than_the_budget_can_pay(autojump_clock):
    """Exact under concurrency: 3 of 20 fit, and when they have cost less, more do."""
    async with ledger(Script(), Budget(3 * BOUND)) as (ref, accounts, _):
        found = await outcomes(*(partial(ref.ask, asked()) for _ in range(20)))
        refused = [error for error in found if isinstance(error, BudgetExceeded)]
        assert len(refused) == 17
        assert (refused[0].left_usd, refused[0].needs_usd) == (0, BOUND)
        assert refused[0].attempts == 0
        assert "$0 left, and the call may cost $0.001033" in str(refused[0])
        assert str(refused[0]).endswith("; raise the budget"), "nothing is left for any call"
        assert usd(await totals(accounts)) == (3 * PAID, 0, 0)
        found = await outcomes(*(partial(ref.ask, asked()) for _ in range(20)))
        assert sum(not isinstance(error, BudgetExceeded) for error in found) == 2


def embedded(text):
    """Return the call of an embedding, which has no `max_tokens`."""
    return Complete(Request(model=MODEL, task="embedding", inputs=[text]), CallContext("e"))


@pytest.mark.parametrize(
    ("most", "message_of", "helps"),
    [
        (BOUND * 9 / 10, asked, True),
        (Decimal("0.000001"), asked, False),  # less than the prompt alone may cost
        (Decimal("0.000001"), lambda: embedded("x" * 4000), False),
    ],
)
async def test_a_lower_limit_of_tokens_is_named_where_it_helps(most, message_of, helps):
    async with ledger(Script(), Budget(str(most))) as (ref, _, _):
        with pytest.raises(BudgetExceeded) as refused:
            await ref.ask(message_of())
    assert refused.value.shorter_helps is helps
    assert ("lower max_tokens" in str(refused.value)) is helps
    assert "; raise the budget" in str(refused.value)


async def test_an_attempt_more_is_refused_if_the_last_one_may_have_used_up_the_budget(
    autojump_clock,
):
    script = Script(broken(RESET))
    async with ledger(script, Budget(2 * BOUND), retry=RetryPolicy(max_attempts=5)) as at:
        ref, accounts, _ = at
        with pytest.raises(BudgetExceeded) as caught:
            await ref.ask(asked())
        assert (caught.value.attempts, caught.value.billed) == (2, "maybe")
        assert len(script.sent) == 2
        assert usd(await totals(accounts)) == (0, 0, 2 * BOUND)


async def test_attempts_that_cost_nothing_use_nothing_up(autojump_clock):
    script = Script(refusal(503), refusal(503), refusal(503), Reply())
    async with ledger(script, Budget(BOUND), retry=RetryPolicy(max_attempts=5)) as at:
        ref, accounts, _ = at
        assert (await ref.ask(asked())).http_requests == 4
        assert usd(await totals(accounts)) == (PAID, 0, 0)


async def test_an_unknown_price_does_not_pass_a_budget(autojump_clock):
    message = Complete(Request.of("x", model="new", max_tokens=100), CallContext("n"))
    async with ledger(Script(), Budget(1)) as (ref, _, _):
        with pytest.raises(BudgetExceeded, match=r"no price is known for new at .* add the price"):
            await ref.ask(message)
    async with ledger(Script(), Budget(1, allow_unknown=True)) as (ref, accounts, _):
        await ref.ask(message)
        assert (await totals(accounts)).spent.calls == 1


async def test_a_model_that_may_answer_instead_is_reserved_for(autojump_clock):
    prices = PriceBook({**PRICES.models, "dear": Price(Decimal(1), Decimal(100))})
    async with requester(Script(), prices=prices) as (ref, runtime):
        first = await runtime.spawn(
            "ledger",
            partial(
                LedgerActor, ref, books(Budget("0.005")), prices, fallbacks=(("dear", prices),)
            ),
        )
        with pytest.raises(BudgetExceeded, match=r"may cost \$0\.0100"):
            await first.ask(asked())


class Cheap(Actor):
    """A stage that answers at another price than the usual one."""

    def __init__(self, cost):
        self.cost = cost

    @handles(Complete)
    async def complete(self, message):
        return Response(
            text="x",
            model=MODEL,
            finish_reason="stop",
            usage=Usage(10, 5, cached_tokens=8),
            cost_usd=self.cost,
            http_requests=1,
            route="batch",
        )


@pytest.mark.parametrize(
    ("cost", "saved"),
    [("0.00003", "0.00003"), ("0.00006", "0"), ("0.0001", "-0.00004"), (None, "0")],
)
async def test_what_a_cheaper_route_saves_is_booked(autojump_clock, tmp_path, cost, saved):
    path = tmp_path / "ledger"
    accounts = books(path=path)
    async with open_runtime() as runtime:
        cost_usd = None if cost is None else Decimal(cost)
        ref = await runtime.spawn("cheap", partial(Cheap, cost_usd))
        stage = await ledger_to(runtime, ref, accounts)
        await stage.ask(asked())
        totals = (await accounts.statistics()).totals
        assert totals.spent.saved_usd == Decimal(saved)
    sums = [one for _, account, one in read_sums(path, "route", now=NOON) if account == "spent"]
    assert sum((one.saved_usd for one in sums), Decimal(0)) == Decimal(saved)
