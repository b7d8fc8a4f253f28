"""What a beginning that many calls share costs, by the prices and the terms of the provider."""

from functools import partial

import pytest

from callsheet.actors import ChatMessage, Endpoint, Request, default_prices
from callsheet.actors.prompt_cache.saving import CacheForecast, ExpectedReads, beginning_share

MARKED = ChatMessage("system", "Rate.", extra={"cache_control": {"type": "ephemeral"}})


def share(vendor, model, tokens=2000, *, adds_marks=False, system=None):
    messages = (system or ChatMessage("system", "Rate."), ChatMessage("user", "Good soup."))
    book = default_prices().at_vendor(vendor)
    find = partial(beginning_share, vendor=vendor, prices=book, adds_marks=adds_marks)
    return find(Request(model=model, messages=messages), tokens)


def test_a_read_costs_a_tenth_where_the_beginning_is_marked():
    assert share("anthropic", "claude-sonnet-4-5") == 1
    assert share("anthropic", "claude-sonnet-4-5", system=MARKED) == pytest.approx(0.1)
    assert share("anthropic", "claude-sonnet-4-5", adds_marks=True) == pytest.approx(0.1)


def test_one_call_in_fifteen_writes_where_a_key_leads_fifteen_a_minute():
    expected = 0.1 + 0.9 / 15
    assert share("openai", "gpt-5.4-nano") == pytest.approx(expected)
    assert share("openai", "gpt-5.6-luna") == 1
    assert share("openai", "gpt-5.6-luna", adds_marks=True) == pytest.approx(0.1 + 1.15 / 15)


@pytest.mark.parametrize(
    ("vendor", "model", "tokens"),
    [
        ("openai", "gpt-5.4-nano", 1000),  # too short
        ("anthropic", "claude-haiku-4-5", 4000),  # too short
        ("openai", "gpt-5.4-of-ours", 2000),  # its price is not known
        ("together", "openai/gpt-oss-120b", 2000),  # no cache is known
    ],
)
def test_what_is_not_cached_has_the_whole_price(vendor, model, tokens):
    assert share(vendor, model, tokens, adds_marks=True) == 1


def forecast(vendor, model, caching, calls=100):
    endpoint = Endpoint.of(vendor, "sk-ant-0123456789")
    found = CacheForecast(endpoint, default_prices(), caching)
    for number in range(calls):
        request = Request.of(f"Soup {number}", system="Rate the soup. " * 600, model=model)
        found.add(request)
    return found


@pytest.mark.parametrize(
    ("vendor", "model", "calls", "share"),
    [
        # The first call is not marked, and the second one writes.
        ("anthropic", "claude-sonnet-4-5", 98, 0.98 * 0.9 - 0.01 * 0.25),
        # Each of seven keys has a first call.
        ("openai", "gpt-5.6-luna", 93, 0.93 * 0.9 - 0.07 * 0.25),
        ("openai", "gpt-5.4-nano", 93, 0.93 * 0.9),
    ],
)
def test_what_calls_that_come_at_once_would_save(vendor, model, calls, share):
    found, price = forecast(vendor, model, "auto"), default_prices().price(model)
    assert found.calls == calls
    whole_usd = 100 * 2250 * float(price.input) / 1e6
    assert float(found.saved_usd) / whole_usd == pytest.approx(share, rel=0.03)


def test_a_beginning_is_expected_for_ten_seconds_less_than_the_provider_keeps_it():
    endpoint = Endpoint.of("openai", "sk-ant-0123456789")
    reads = ExpectedReads(endpoint, default_prices(), "order")
    request = Request.of("Soup", system="Rate the soup. " * 600, model="gpt-5.4-nano")
    found = []
    for now in (0.0, 289.0, 577.0, 868.0):
        read = reads.of(request, now)
        reads.note(read, now)
        found.append(read.tokens > 0)
    assert found == [False, True, True, False]


def test_what_the_whole_prompt_costs_to_write_is_told():
    found = forecast("openai", "gpt-5.6-luna", "order")
    assert (found.calls, found.saved_usd < 0) == (0, True)


def test_what_a_model_writes_though_no_caching_is_planned_is_told():
    found, price = forecast("openai", "gpt-5.6-luna", "off"), default_prices().price("gpt-5.6-luna")
    whole_usd = 100 * 2250 * float(price.input) / 1e6
    assert found.calls == 0
    assert float(found.saved_usd) / whole_usd == pytest.approx(-0.25, rel=0.03)


def test_nothing_is_saved_where_nothing_is_planned():
    for vendor, model, caching in (
        ("anthropic", "claude-sonnet-4-5", "order"),
        ("anthropic", "claude-sonnet-4-5", "off"),
        ("together", "openai/gpt-oss-120b", "auto"),
    ):
        assert forecast(vendor, model, caching).saved_usd == 0
