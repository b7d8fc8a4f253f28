"""Every stage together: the ledger agrees with what the simulated provider has charged."""

from decimal import Decimal
from functools import partial
from random import Random

import pytest
import trio
from fakes import URL, outcomes

from callsheet.actors import (
    BatchApiPolicy,
    Budget,
    BudgetExceeded,
    CachePolicy,
    Endpoint,
    LedgerPolicy,
    Packing,
    Request,
    RetryPolicy,
    TroupeSettings,
    Usage,
    default_prices,
    open_troupe,
)
from callsheet.compare.samples import INSTRUCTION, write_reviews
from callsheet.simulator.app import Provider
from callsheet.simulator.faults import Faults
from callsheet.simulator.inprocess import ProviderTransport
from callsheet.simulator.settings import BatchSettings, ProviderSettings

MODEL = "gpt-4o-mini"
DAY_S = 86_400.0
REVIEWS = write_reviews(Random(3), count=60, copies=10)


def labelling(review, **more):
    return Request.of(review, system=INSTRUCTION, model=MODEL, max_tokens=5, temperature=0, **more)


async def label(settings=None, *, reviews=REVIEWS, provider=None, **more):
    """Return labels, responses, the statistics of the provider and the costs in the ledger."""
    provider = Provider(provider or ProviderSettings())
    async with ProviderTransport(provider) as transport:
        known = {
            "endpoint": Endpoint(URL),
            "transport": transport,
            "ledger": LedgerPolicy(),
            "batches": BatchApiPolicy(dialect="openai"),
        }
        async with open_troupe(TroupeSettings(**(known | (settings or {})))) as troupe:
            answers = await outcomes(
                *(partial(troupe.complete, labelling(review, **more)) for review in reviews)
            )
            books = await troupe.costs()
        return answers, provider.stats, books


def billed_usd(stats):
    prices = default_prices()
    return sum(
        prices.cost(model, Usage(tokens.input_tokens, tokens.output_tokens), tier)
        for model, tiers in stats.billed.items()
        for tier, tokens in tiers.items()
    )


WAYS = {
    "alone": {},
    "joined": {"cacheable": True},
    "packed": {"cacheable": True, "packable": True},
    "batch": {"cacheable": True, "deadline": DAY_S},
    "packed in a batch": {"cacheable": True, "packable": True, "deadline": DAY_S},
}


async def test_every_way_comes_to_the_same_labels_and_the_books_agree(autojump_clock):
    labels, costs = {}, {}
    for way, declared in WAYS.items():
        answers, stats, books = await label(**declared)
        labels[way] = [answer.text for answer in answers]
        costs[way] = billed_usd(stats)
        spent = books.totals.spent
        assert spent.usd == costs[way] == sum(answer.cost_usd for answer in answers)
        assert spent.input_tokens == stats.input_tokens
        assert spent.output_tokens == stats.output_tokens
        assert books.totals.reserved.usd == books.totals.maybe_billed.usd == 0
        usage = sum((answer.usage for answer in answers), Usage())
        assert usage == Usage(stats.input_tokens, stats.output_tokens), "equal to the token"
    assert all(found == labels["alone"] for found in labels.values())
    assert costs["joined"] < costs["alone"]
    assert costs["packed"] < costs["alone"] * Decimal("0.35")
    assert costs["batch"] == costs["joined"] / 2
    assert costs["packed in a batch"] < costs["alone"] * Decimal("0.18")


@pytest.mark.parametrize("dialect", ["openai", "together", "anthropic"])
async def test_each_batch_api_answers_at_half_the_price(autojump_clock, dialect):
    model = "claude-haiku-4-5" if dialect == "anthropic" else MODEL
    shown = BatchSettings(dialect="together" if dialect == "together" else "openai")
    vendor = "anthropic" if dialect == "anthropic" else "compatible"
    provider = Provider(ProviderSettings(batches=shown))
    async with ProviderTransport(provider) as transport:
        settings = TroupeSettings(
            endpoint=Endpoint(URL, "key", vendor),
            transport=transport,
            batches=BatchApiPolicy(dialect=dialect),
        )
        async with open_troupe(settings) as troupe:
            answers = await outcomes(
                *(
                    partial(
                        troupe.complete,
                        Request.of(f"Say {n}.", model=model, max_tokens=9, deadline=DAY_S),
                    )
                    for n in range(10)
                )
            )
    assert {answer.route for answer in answers} == {"batch"}
    assert list(provider.stats.billed[model]) == ["batch"]
    usage = Usage(provider.stats.input_tokens, provider.stats.output_tokens)
    cost = sum(answer.cost_usd for answer in answers)
    assert cost == default_prices().cost(model, usage) / 2


async def test_an_answer_out_of_the_cache_is_on_no_bill(autojump_clock):
    provider = Provider(ProviderSettings())
    async with ProviderTransport(provider) as transport:
        settings = TroupeSettings(
            endpoint=Endpoint(URL),
            transport=transport,
            ledger=LedgerPolicy(),
            cache=CachePolicy(path=None),
        )
        async with open_troupe(settings) as troupe:
            request = labelling("It broke.", cacheable=True)
            answers = [await troupe.complete(request) for _ in range(3)]
            books = await troupe.costs()
    assert [answer.route for answer in answers] == ["live", "cache", "cache"]
    assert (books.totals.spent.calls, provider.stats.requests) == (1, 1)


async def test_lines_that_fail_in_a_batch_are_sent_live_and_billed_once(autojump_clock):
    """L5 and L3 hold if lines fail, have no response, or expire with their batch."""
    batches = BatchSettings(failing=0.2, unanswered=0.1)
    answers, stats, books = await label(
        provider=ProviderSettings(batches=batches), cacheable=True, deadline=DAY_S
    )
    expected, _, _ = await label(cacheable=True)
    assert [answer.text for answer in answers] == [answer.text for answer in expected]
    assert {answer.route for answer in answers} == {"batch", "live", "joined"}
    assert stats.requests > 0
    assert books.totals.spent.usd == billed_usd(stats)
    assert books.totals.maybe_billed.usd == 0


async def test_a_batch_that_expires_half_done_is_finished_live_before_the_deadline(
    autojump_clock,
):
    batches = BatchSettings(expiring=1.0, done_at_expiry=0.5, expires_s=7200.0)
    answers, stats, books = await label(
        provider=ProviderSettings(batches=batches), cacheable=True, deadline=14_400.0
    )
    assert all(answer.text in ("positive", "negative", "neutral") for answer in answers)
    assert trio.current_time() < 14_400
    assert {answer.route for answer in answers} == {"batch", "live", "joined"}
    assert books.totals.at_most.usd >= billed_usd(stats)


async def test_a_request_that_cannot_wait_for_a_slow_batch_gets_a_live_response_in_time(
    autojump_clock,
):
    batches = BatchSettings(time_s=(80_000.0, 80_000.0))
    answers, _, _ = await label(
        provider=ProviderSettings(batches=batches), reviews=REVIEWS[:10], deadline=7200.0
    )
    assert {answer.route for answer in answers} == {"live"}
    assert trio.current_time() < 7200


async def test_a_budget_is_kept_by_packs_as_well(autojump_clock):
    budget = Budget("0.0012", per="total")
    answers, stats, _ = await label(
        {"ledger": LedgerPolicy(budgets=[budget]), "packing": Packing(max_items=10)},
        packable=True,
    )
    refused = [answer for answer in answers if isinstance(answer, BudgetExceeded)]
    assert 0 < len(refused) < len(answers)
    assert billed_usd(stats) <= budget.usd


@pytest.mark.parametrize("faults", [{"503": 0.2, "429": 0.1}, {"reset": 0.1, "cut": 0.02}])
async def test_packs_survive_faults(autojump_clock, faults):
    expected, _, _ = await label(cacheable=True)
    answers, stats, books = await label(
        {"packing": Packing(max_items=5), "retry": RetryPolicy(max_attempts=20)},
        provider=ProviderSettings(faults=Faults(faults)),
        cacheable=True,
        packable=True,
    )
    assert [answer.text for answer in answers] == [answer.text for answer in expected]
    spent = books.totals.spent
    maybe = books.totals.maybe_billed + books.totals.unknown
    assert spent.input_tokens <= stats.input_tokens <= spent.input_tokens + maybe.input_tokens
