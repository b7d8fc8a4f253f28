"""A combined call is made only where it is estimated to be cheaper than single calls (L12)."""

from decimal import Decimal
from functools import partial
from random import Random

import attrs
import pytest
from fakes import URL, outcomes
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors import (
    CheckPlan,
    Endpoint,
    Packing,
    Price,
    PriceBook,
    Request,
    TokenEstimator,
    TroupeSettings,
    open_troupe,
)
from callsheet.actors.batching.combined_cost import CombinedCost
from callsheet.compare.samples import INSTRUCTION, write_reviews
from callsheet.compare.workloads import make_workload
from callsheet.simulator.app import Provider
from callsheet.simulator.inprocess import ProviderTransport
from callsheet.simulator.settings import ProviderSettings

MODEL = "gpt-5.4-nano"
BRIEF = "Label the sentiment: positive, negative or neutral."
TERSE = "Label it."


def labelling(review, instruction=INSTRUCTION, **more):
    known = {"max_tokens": 2, "packable": True}
    return Request.of(review, system=instruction, model=MODEL, **(known | more))


def book(output_usd, input_usd=1):
    return PriceBook({MODEL: Price(Decimal(input_usd), Decimal(output_usd))})


def cost_at(prices, packing=None):
    packing = packing or Packing()
    checks = CheckPlan(packing.check_share)
    return CombinedCost(packing, checks, TokenEstimator(lambda _: None), prices)


def test_the_dearer_output_is_the_less_a_pack_saves():
    request = labelling("Good.", BRIEF)
    shares = [cost_at(book(usd)).full_share(request) for usd in (1, 4, 8, 32)]
    assert shares == sorted(shares)
    assert shares[0] < 1 < shares[-1]


@pytest.mark.parametrize("prices", [None, PriceBook({}), book(0, 0), book(8)])
def test_where_no_price_is_known_output_counts_as_much_as_usual(prices):
    assert cost_at(prices).full_share(labelling("Good.")) == pytest.approx(
        cost_at(book(8)).full_share(labelling("Good."))
    )


def test_checks_are_part_of_the_cost():
    request = labelling("Good.")
    all_checked = cost_at(book(4), Packing(check_share=1.0)).full_share(request)
    assert all_checked == pytest.approx(
        1 + cost_at(book(4), Packing(check_share=0)).full_share(request)
    )
    assert all_checked > 1


def test_a_pack_is_compared_with_calls_whose_instruction_is_cached():
    request = labelling("Good.", INSTRUCTION * 12)

    def share(read):
        checks, estimator = CheckPlan(0), TokenEstimator(lambda _: None)
        cost = CombinedCost(Packing(check_share=0), checks, estimator, book(8), lambda *_: read)
        return cost.full_share(request)

    shares = [share(read) for read in (1, 0.1, 0.001)]
    assert shares[0] == cost_at(book(8), Packing(check_share=0)).full_share(request)
    assert shares == sorted(shares)
    assert shares[0] < 0.1 < shares[1] < 1 < shares[2]


@given(st.integers(1, 60), st.text(st.characters(codec="ascii"), max_size=200))
def test_more_members_never_make_a_pack_of_alike_items_dearer(members, text):
    cost, request = cost_at(book(4)), labelling(text)
    shares = [cost.share([request] * count) for count in (members, members + 1)]
    assert shares[1] <= shares[0]


async def label(instruction, *, reviews, **packing):
    """Return the responses, their cost in USD, and the plan of the first call."""
    provider = Provider(ProviderSettings())
    async with ProviderTransport(provider) as transport:
        settings = TroupeSettings(
            endpoint=Endpoint(URL), transport=transport, packing=Packing(**packing)
        )
        async with open_troupe(settings) as troupe:
            requests = [labelling(review, instruction) for review in reviews]
            plan = await troupe.explain(requests[0])
            answers = await outcomes(*(partial(troupe.complete, it) for it in requests))
    spent = sum(answer.cost_usd for answer in answers)
    return answers, spent, plan


@pytest.fixture
def reviews():
    return write_reviews(Random(4), count=80, copies=0)


@pytest.mark.parametrize(
    ("instruction", "at_most"), [(INSTRUCTION, 0.27), (BRIEF, 0.9), (TERSE, 1.0)]
)
async def test_packing_never_costs_more_than_single_calls(
    autojump_clock, reviews, instruction, at_most
):
    """money.md 10: with an instruction of eight words, packing cost 18 to 25 percent more."""
    _, alone, _ = await label(instruction, reviews=reviews, max_item_tokens=1)
    _, packed, _ = await label(instruction, reviews=reviews)
    assert packed <= alone * Decimal(str(at_most))


async def bill(requests):
    """Return what the built-in provider bills for requests that start at the same time."""
    async with ProviderTransport(Provider(ProviderSettings())) as transport:
        settings = TroupeSettings(endpoint=Endpoint(URL), transport=transport)
        async with open_troupe(settings) as troupe:
            answers = await outcomes(*(partial(troupe.complete, it) for it in requests))
    return sum(answer.cost_usd for answer in answers)


@pytest.mark.parametrize(
    ("count", "share", "seed"),
    [
        (200, "0.25", 0),  # there are fewer copies
        *(pytest.param(1_000, "0.2", seed, marks=pytest.mark.slow) for seed in (0, 2)),
    ],
)
async def test_many_reviews_cost_a_fifth_of_single_calls(autojump_clock, count, share, seed):
    """The workload W4: an instruction of 174 words, a fifth of the reviews are copies."""
    requests = make_workload("reviews", seed).items[:count]
    alone = [attrs.evolve(it, packable=False, cacheable=False) for it in requests]
    assert await bill(requests) <= await bill(alone) * Decimal(share)


async def test_items_under_an_instruction_too_short_to_save_anything_are_sent_alone_at_once(
    autojump_clock, reviews
):
    answers, _, plan = await label(TERSE, reviews=reviews[:20])
    assert {answer.route for answer in answers} == {"live"}
    assert [quote.route for quote in plan.quotes] == ["live"]


async def test_explain_prices_a_full_pack_beside_single_calls(autojump_clock, reviews):
    """money.md 10: both routes had one price."""
    _, alone, _ = await label(INSTRUCTION, reviews=reviews, max_item_tokens=1)
    _, packed, plan = await label(INSTRUCTION, reviews=reviews)
    live, pack = plan.quotes
    assert (live.route, pack.route) == ("live", "pack")
    assert pack.cost_usd / live.cost_usd == pytest.approx(packed / alone, abs=Decimal("0.1"))


@pytest.mark.parametrize("caching", ["off", "order"])
async def test_no_pack_is_made_where_the_cache_of_the_provider_is_cheaper(
    autojump_clock, reviews, caching
):
    prices = PriceBook({MODEL: Price(Decimal(1), Decimal(40), cached=Decimal(0))})
    async with ProviderTransport(Provider(ProviderSettings())) as transport:
        settings = TroupeSettings(
            endpoint=Endpoint(URL, vendor="openai"),
            prices=prices,
            prompt_caching=caching,
            transport=transport,
        )
        async with open_troupe(settings) as troupe:
            requests = [labelling(review, INSTRUCTION * 5) for review in reviews[:30]]
            answers = await outcomes(*(partial(troupe.complete, it) for it in requests))
    assert ("pack" in {answer.route for answer in answers}) is (caching == "off")
