"""The cost of calls at each service tier, and the tier that responses report."""

from decimal import Decimal
from fractions import Fraction

import pytest
from fakes import MODEL, completion_json
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors import Request
from callsheet.actors.responses import Usage
from callsheet.actors.vendors import (
    Price,
    PriceBook,
    PriceError,
    TierPrice,
    tier_named,
)
from callsheet.actors.vendors.anthropic import AnthropicMessages
from callsheet.actors.vendors.decoding import dumps
from callsheet.actors.vendors.openai_chat import OpenAIChat
from callsheet.actors.vendors.sse import ServerSentEvent

MILLION = 1_000_000

usd = st.decimals(0, 1000, places=6)
tier_prices = st.builds(TierPrice, usd, usd, st.none() | usd, st.none() | usd)
tokens = st.integers(0, 10**12)
usages = st.builds(
    lambda read, written, fresh, output: Usage(read + written + fresh, output, read, written),
    tokens,
    tokens,
    tokens,
    tokens,
)


@given(tier_prices, usages)
def test_a_cost_is_exact_cache_writes_included(price, usage):
    fresh = usage.input_tokens - usage.cached_tokens - usage.cache_write_tokens
    read = price.input if price.cached is None else price.cached
    written = price.input if price.cache_write is None else price.cache_write
    exact = (
        Fraction(price.input) * fresh
        + Fraction(read) * usage.cached_tokens
        + Fraction(written) * usage.cache_write_tokens
        + Fraction(price.output) * usage.output_tokens
    ) / MILLION
    assert Fraction(price.cost(usage)) == exact


@given(tier_prices, usages, usages)
def test_a_usage_costs_what_its_parts_cost(price, one, other):
    parts = Fraction(price.cost(one)) + Fraction(price.cost(other))
    assert Fraction(price.cost(one + other)) == parts


@given(tier_prices, usages, usd)
def test_so_many_times_the_price_is_so_many_times_the_cost(price, usage, factor):
    cost = Fraction(price.times(factor).cost(usage))
    assert cost == Fraction(price.cost(usage)) * Fraction(factor)


def test_cache_tokens_are_bounded_by_the_input_tokens():
    price = TierPrice(Decimal(2), Decimal(1), Decimal(1), Decimal(4))
    assert price.cost(Usage(MILLION, 0, MILLION, MILLION)) == 1
    assert price.cost(Usage(MILLION, 0, 0, 3 * MILLION)) == 4


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("", "default"),
        ("auto", "default"),
        ("default", "default"),
        ("standard", "default"),
        ("on_demand", "default"),
        ("fast", "priority"),
        ("fast_mode", "fast_mode"),
        ("priority", "priority"),
        ("flex", "flex"),
        ("batch", "batch"),
        ("scale", "scale"),
    ],
)
def test_what_tiers_are_called(said, meant):
    assert tier_named(said) == meant


def test_a_file_gives_tiers_as_prices_or_as_so_many_times_the_usual(tmp_path):
    file = tmp_path / "mine.json"
    file.write_text(
        '{"models": {"m": {"input": 2, "output": 4, "cached": 1, "cache_write": 3, "tiers": '
        '{"flex": 0.5, "scale": {"input": 9, "output": 8}}}, '
        '"old": {"input": 2, "output": 4, "batch_input": 1, "batch_output": 2}}}'
    )
    book = PriceBook.load(file)
    half = TierPrice(Decimal(1), Decimal(2), Decimal("0.5"), Decimal("1.5"))
    assert book.price("m").at("flex") == half
    assert book.price("m").at("scale") == TierPrice(Decimal(9), Decimal(8))
    assert book.price("m").at("batch") is None
    assert book.price("old").at("batch") == TierPrice(Decimal(1), Decimal(2))
    assert hash(book.price("m")) is not None


@pytest.mark.parametrize(
    ("tiers", "what"),
    [
        ("1", "field tiers: must be an object"),
        ('{"flex": "half"}', "tier flex: must be an object of prices, or a factor"),
        ('{"flex": -1}', "tier flex: must be an object of prices, or a factor"),
        ('{"flex": {"input": 1}}', "tier flex, field output: is missing"),
        ('{"flex": {"input": 1, "output": 1, "note": 1}}', "tier flex, field note: is unknown"),
    ],
)
def test_a_bad_tier_is_refused_with_model_and_field(tmp_path, tiers, what):
    file = tmp_path / "mine.json"
    file.write_text(f'{{"models": {{"m": {{"input": 1, "output": 1, "tiers": {tiers}}}}}}}')
    with pytest.raises(PriceError) as caught:
        PriceBook.load(file)
    assert what in str(caught.value)


# ------------------------------------------------------------------ what answers say

HI = Request.of("Hi", model=MODEL)


def test_openai_responses_report_their_tier_whole_and_streamed():
    form = OpenAIChat()
    assert form.decode(completion_json(service_tier="flex"), HI).tier == "flex"
    assert form.decode(completion_json(), HI).tier is None
    decoder = form.stream_decoder(HI)
    chunks = [
        {"choices": [{"index": 0, "delta": {"content": "Hi"}}], "service_tier": None},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "service_tier": "flex"},
        {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}},
    ]
    for chunk in chunks:
        decoder.feed(ServerSentEvent(dumps(chunk)))
    assert decoder.end().tier == "flex"


def test_anthropic_responses_report_their_tier_whole_and_streamed():
    form = AnthropicMessages()
    usage = {"input_tokens": 1, "output_tokens": 1, "service_tier": "batch"}
    assert form.decode({"content": [], "usage": usage}, HI).tier == "batch"
    decoder = form.stream_decoder(HI)
    events = [
        {"type": "message_start", "message": {"usage": usage}},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn"},
            "usage": {"output_tokens": 2},
        },
        {"type": "message_stop"},
    ]
    for event in events:
        decoder.feed(ServerSentEvent(dumps(event)))
    assert decoder.end().tier == "batch"


def test_prices_of_tiers_are_checked():
    with pytest.raises(TypeError, match="cache_write must be a Decimal"):
        Price(Decimal(1), Decimal(1), cache_write=1.5)
    with pytest.raises(ValueError, match="output must be at least 0"):
        TierPrice(Decimal(1), Decimal(-1))
