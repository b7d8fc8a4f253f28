"""The published table of prices: what is in it, and what it says at which time and size."""

from datetime import UTC, date, datetime
from decimal import Decimal

import attrs
import pytest

from callsheet.actors import VENDORS, Usage, default_prices

MILLION = 1_000_000
PRICES = default_prices()
NOVEMBER = datetime(2026, 11, 28, 12, tzinfo=UTC)  # a Saturday


def prices_at(moment):
    return attrs.evolve(PRICES, clock=moment.timestamp)


BOOK = prices_at(NOVEMBER)


def usd(model, tier="default", *, book=BOOK, **usage):
    return book.cost(model, Usage(**usage), tier)


# ---------------------------------------------------------------- what has a price, and which one


@pytest.mark.parametrize(
    ("model", "input_usd", "output_usd"),
    [
        ("gpt-5.6-luna", "0.2", "1.2"),  # since 30 July
        ("gpt-5.6-terra", "2", "12"),
        ("gpt-5.6-sol", "4", "20"),
        ("gpt-4.1", "2", "8"),
        ("o3", "2", "8"),
        ("o4-mini", "1.1", "4.4"),
        ("gpt-6-sol", "2", "10"),
        ("gpt-6.1-terra", "1", "5"),
        ("gpt-6.2-astra", "8", "40"),
        ("claude-opus-5", "5", "25"),
        ("claude-sonnet-5-5", "2", "10"),
        ("claude-haiku-5-5", "0.1", "0.5"),
        ("gemini-3.6-flash", "0.75", "3.75"),
        ("text-embedding-3-small", "0.02", "0"),
        ("gpt-4o", "2.5", "10"),
        ("gpt-4o-2024-08-06", "2.5", "10"),
        ("gpt-4o-2024-05-13", "5", "15"),  # a price of its own
        ("claude-opus-4-5-20251101", "5", "25"),
        ("openai/gpt-4o", "2.5", "10"),
        ("models/gemini-2.5-flash", "0.3", "2.5"),
        ("groq/openai/gpt-oss-120b", "0.15", "0.6"),
        ("cerebras/gpt-oss-120b", "0.35", "0.75"),
    ],
)
def test_published_prices_per_million_tokens(model, input_usd, output_usd):
    price = BOOK.price(model)
    assert (price.input, price.output) == (Decimal(input_usd), Decimal(output_usd))


@pytest.mark.parametrize(
    "model",
    [
        "", "/", "-0125", "unknown", "gpt-4o-min", "gpt-4o-audio", "gpt-4o-2024-13-06",
        "gpt-4o-2024-05-14", "gpt-4o-2099-01-01", "gpt-4o-2024-08-06-preview", "gpt-4o-12345",
        "GPT-4o", "gpt-oss-120b", "openai/gpt-oss-120b", "groq/gpt-4o", "ft:gpt-4o",
    ],
)  # fmt: skip
def test_a_name_that_is_merely_alike_has_no_price(model):
    assert BOOK.price(model) is None
    assert usd(model, input_tokens=1) is None


def test_the_table_has_a_date_and_a_source():
    assert date.fromisoformat(PRICES.as_of)
    assert "genai-prices" in PRICES.source
    assert default_prices() is PRICES


def test_a_table_has_an_age():
    assert prices_at(datetime(2026, 12, 20, tzinfo=UTC)).age_days() == 40
    assert attrs.evolve(BOOK, as_of="some day").age_days() is None


def test_every_row_can_be_read_and_is_plausible():
    for name, price in PRICES.models.items():
        if price.output < price.input:  # hosts of small open models at times
            assert price.output * 8 >= price.input or "embed" in name, name
        assert price.cached is None or price.cached <= 4 * price.input, name
        for size, dearer in price.above:
            assert size >= 1000, name
            assert dearer.input >= price.input, name
        for tier in price.tiers:
            assert price.at(tier).input >= price.input * Decimal("0.2"), (name, tier)


def test_every_row_belongs_to_a_known_vendor():
    assert {name.partition(":")[0] for name in PRICES.models} <= {
        vendor.price_list for vendor in VENDORS.values()
    }


# ----------------------------------------------------------------- tiers, caches and long prompts


@pytest.mark.parametrize(
    ("model", "tier", "expected"),
    [
        ("gpt-5.6-sol", "default", ("4", "0.4", "5", "20")),
        ("gpt-5.6-sol", "priority", ("8", "0.8", "10", "40")),
        ("gpt-5", "flex", ("0.625", "0.0625", None, "5")),
        ("gpt-4.1", "fast", ("3.5", "0.875", None, "14")),  # not twice the usual price
        ("gpt-5.5", "priority", ("12.5", "1.25", None, "75")),
        ("gpt-5-mini", "priority", ("0.45", "0.045", None, "3.6")),
        ("claude-sonnet-5", "batch", ("1", "0.1", "1.25", "5")),
        ("claude-haiku-4-5", "standard", ("1", "0.1", "1.25", "5")),
        ("claude-opus-5", "fast_mode", ("10", "1", "12.5", "50")),
        ("gemini-2.5-pro", "batch", ("0.625", "0.125", None, "5")),
    ],
)
def test_published_prices_at_tiers(model, tier, expected):
    price = BOOK.price(model).at(tier)
    found = (price.input, price.cached, price.cache_write, price.output)
    assert found == tuple(None if text is None else Decimal(text) for text in expected)


@pytest.mark.parametrize(
    ("model", "tier"),
    [
        ("gpt-5", "scale"),
        ("gpt-4o", "flex"),
        ("claude-sonnet-5", "priority"),  # needs a commitment, whose price is negotiated
        ("groq/openai/gpt-oss-20b", "flex"),
    ],
)
def test_a_tier_without_a_documented_price_has_none(model, tier):
    assert usd(model, tier, input_tokens=1) is None


def test_cache_writes_cost_what_their_lifetime_costs():
    written = {"input_tokens": MILLION, "cache_write_tokens": MILLION}
    assert usd("claude-sonnet-5", **written) == Decimal("2.5")
    assert usd("claude-sonnet-5", **written, cache_write_1h_tokens=MILLION) == 4
    half = usd("claude-sonnet-5", **written, cache_write_1h_tokens=MILLION // 2)
    assert half == Decimal("3.25")
    assert usd("claude-sonnet-5", "batch", **written, cache_write_1h_tokens=MILLION) == 2


@pytest.mark.parametrize(
    ("model", "size", "below", "above"),
    [
        ("gpt-5.6-sol", 272_000, ("4", "20"), ("8", "30")),
        ("claude-haiku-5-5", 100_000, ("0.1", "0.5"), ("0.5", "2.5")),
        ("gemini-2.5-pro", 200_000, ("1.25", "10"), ("2.5", "15")),
        ("xai/grok-4.7", 199_999, ("2", "6"), ("4", "12")),
    ],
)
def test_the_whole_request_has_the_higher_price_when_its_prompt_is_long(model, size, below, above):
    for tokens, (input_usd, output_usd) in ((size, below), (size + 1, above)):
        cost = usd(model, input_tokens=tokens, output_tokens=MILLION)
        assert cost == Decimal(input_usd) * tokens / MILLION + Decimal(output_usd)
    if model == "gpt-5.6-sol":  # so do batches
        assert usd(model, "batch", input_tokens=MILLION) == 4


# --------------------------------------------------------------------------- prices that change


def test_a_price_changes_on_the_day_that_the_table_names():
    eve, day = datetime(2026, 12, 31, 23, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
    for moment, expected in ((NOVEMBER, "0.75"), (eve, "0.75"), (day, "1.5")):
        assert usd("gemini-3.8-flash", book=prices_at(moment), input_tokens=MILLION) == Decimal(
            expected
        )
    assert usd("gemini-3.8-flash", "batch", book=prices_at(day), input_tokens=MILLION) == Decimal(
        "0.75"
    )


@pytest.mark.parametrize(
    ("day", "hour", "expected"),
    [
        (27, 0, "0.15"),
        (27, 1, "0.3"),
        (27, 4, "0.15"),
        (27, 9, "0.3"),
        (28, 9, "0.15"),  # a Saturday
    ],
)
def test_a_vendor_may_charge_more_at_peak_hours(day, hour, expected):
    book = prices_at(datetime(2026, 11, day, hour, tzinfo=UTC)).at_vendor("deepseek")
    assert usd("deepseek-flash", book=book, input_tokens=MILLION) == Decimal(expected)


def test_the_table_knows_when_models_are_shut_down():
    assert BOOK.price("gpt-3.5-turbo").shut_down == date(2026, 10, 23)
    assert BOOK.price("gpt-5.4-nano").shut_down is None
