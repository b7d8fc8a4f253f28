"""What a beginning that many calls share costs, by the prices and the terms of the provider."""

from functools import partial

import pytest

from callsheet.actors import ChatMessage, Request, default_prices
from callsheet.actors.prompt_cache.saving import beginning_share

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
