"""What providers report of the cost of a call: OpenRouter's `usage.cost`, lifetimes, fast mode."""

from decimal import Decimal

import pytest
from fakes import MODEL, completion_json

from callsheet.actors import Request, Usage
from callsheet.actors.ledger.bound import most_usage, most_usd
from callsheet.actors.vendors import VENDORS, default_prices
from callsheet.actors.vendors.anthropic import AnthropicMessages
from callsheet.actors.vendors.decoding import dumps
from callsheet.actors.vendors.openai_chat import OpenAIChat, read_cost
from callsheet.actors.vendors.sse import ServerSentEvent

HI = Request.of("Hi", model=MODEL)
PRICES = default_prices()


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        ({"cost": 0.00014}, "0.00014"),
        ({"cost": 0}, "0"),
        ({"cost": 0.01, "is_byok": False}, "0.01"),
        (
            {"cost": 0.01, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.2}},
            "0.21",
        ),
        ({"cost": 0.01, "is_byok": True, "cost_details": None}, None),  # a part of it
        ({"cost": None}, None),
        ({"cost": True}, None),
        ({"cost": -1}, None),
        ({"cost": float("inf")}, None),
        ({"cost": {"total_cost": 1}}, None),
        ({}, None),
        (None, None),
        ([], None),
    ],
)
def test_the_cost_in_the_usage_is_read(usage, cost):
    assert read_cost(usage) == (None if cost is None else Decimal(cost))


def test_the_cost_is_the_same_whole_and_streamed():  # L10
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "cost": 0.5}
    whole = OpenAIChat().decode(completion_json() | {"usage": usage}, HI)
    decoder = OpenAIChat().stream_decoder(HI)
    for chunk in (
        {"choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": "stop"}]},
        {"choices": [], "usage": usage},
        {"choices": [], "usage": None},
    ):
        decoder.feed(ServerSentEvent(dumps(chunk)))
    assert whole.reported_cost_usd == decoder.end().reported_cost_usd == Decimal("0.5")


def test_only_vendors_that_report_what_they_charge_are_believed():
    believed = [vendor.name for vendor in VENDORS.values() if vendor.reports_cost]
    assert believed == ["openrouter", "perplexity"]


def test_anthropic_tells_the_lifetime_of_cache_writes():
    usage = {
        "input_tokens": 1,
        "output_tokens": 1,
        "cache_creation_input_tokens": 30,
        "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
    }
    decoded = AnthropicMessages().decode({"content": [], "usage": usage}, HI)
    assert decoded.usage == Usage(31, 1, 0, 30, 0, 20)


def test_anthropics_searches_are_billed_beside_the_tokens():
    usage = {"input_tokens": 1, "output_tokens": 1, "server_tool_use": {"web_search_requests": 5}}
    decoded = AnthropicMessages().decode({"content": [], "usage": usage}, HI)
    assert decoded.beside_usd == Decimal("0.05")


def test_anthropics_fast_mode_has_prices_of_its_own():
    usage = {"input_tokens": 10**6, "output_tokens": 0, "service_tier": "standard", "speed": "fast"}
    decoded = AnthropicMessages().decode({"content": [], "usage": usage}, HI)
    assert decoded.tier == "fast_mode"
    assert PRICES.cost("claude-opus-5", decoded.usage, decoded.tier) == 10


def test_a_budget_reserves_the_dearest_cache_write_that_a_request_may_have():
    marked = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    request = Request.of("Hi", model="claude-sonnet-5", max_tokens=1)
    million = Usage(10**6)
    assert most_usd(PRICES, request, million) == Decimal("2.5")
    kept = Request(model=request.model, messages=request.messages, extra_body=marked)
    assert most_usd(PRICES, kept, million) == 4


def test_a_budget_reserves_the_price_of_a_long_prompt():
    request = Request.of("x" * 300_000, model="gpt-5.6-sol", max_tokens=1000)
    usage = most_usage(request, None, most_output=1)
    reserved = most_usd(PRICES, request, usage)
    assert reserved > Decimal(10) * 300_000 / 10**6, "cache writes above 272,000 tokens"


def test_a_budget_reserves_the_price_of_peak_hours():
    book = PRICES.at_vendor("deepseek")
    assert most_usd(book, Request.of("Hi", model="deepseek-flash"), Usage(10**6)) == Decimal("0.3")
