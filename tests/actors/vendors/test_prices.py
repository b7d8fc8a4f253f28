import json
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors.messages import Usage
from callsheet.actors.vendors.prices import Price, PriceBook, PriceError, default_prices

MILLION = 1_000_000

usd = st.decimals(0, 1000, places=4)
prices = st.builds(Price, usd, usd, st.none() | usd)
tokens = st.integers(0, 10**9)
usages = st.builds(
    lambda cached, other, output: Usage(cached + other, output, cached), tokens, tokens, tokens
)


def book(**models: Price) -> PriceBook:
    return PriceBook(models)


@given(prices, usages)
def test_a_cost_is_exact(price, usage):
    cached_price = price.input if price.cached is None else price.cached
    exact = (
        Fraction(price.input) * (usage.input_tokens - usage.cached_tokens)
        + Fraction(cached_price) * usage.cached_tokens
        + Fraction(price.output) * usage.output_tokens
    ) / MILLION
    assert Fraction(book(m=price).cost("m", usage)) == exact


@given(prices, usages, usages)
def test_the_cost_of_two_calls_is_the_sum_of_their_costs(price, one, other):
    both = book(m=price)
    assert both.cost("m", one + other) == both.cost("m", one) + both.cost("m", other)


@given(prices, tokens, tokens)
def test_more_cached_tokens_than_there_are_tokens_cost_no_more_than_all_of_them(price, n, more):
    cost = book(m=price).cost
    assert cost("m", Usage(n, 0, n + more)) == cost("m", Usage(n, 0, n))


def test_published_prices_per_million_tokens():
    cost = default_prices().cost
    assert cost("gpt-3.5-turbo", Usage(MILLION, MILLION)) == Decimal("2.0")
    assert cost("gpt-4o-mini", Usage(MILLION, 0, 400_000)) == Decimal("0.12")
    assert cost("claude-haiku-4-5", Usage(0, MILLION)) == 5
    assert cost("text-embedding-3-small", Usage(MILLION)) == Decimal("0.02")
    assert cost("groq/llama-3.1-8b-instant", Usage(MILLION)) == Decimal("0.05")
    assert cost("gpt-4o", Usage()) == 0


def test_the_published_prices_have_a_date_and_a_source():
    assert default_prices().as_of == "2026-07"
    assert "litellm" in default_prices().source
    assert "2026-10-23" in default_prices().models["gpt-3.5-turbo"].note
    assert default_prices() is default_prices()


def test_the_published_prices_are_plausible():
    for name, price in default_prices().models.items():
        if not name.startswith("text-embedding"):
            assert price.output > price.input, name
        assert price.cached is None or price.cached < price.input, name
        assert (price.batch_input is None) is (price.batch_output is None), name
        assert price.batch_input is None or price.batch_input * 2 == price.input, name
        assert price.batch_output is None or price.batch_output * 2 == price.output, name


@pytest.mark.parametrize(
    ("model", "listed"),
    [
        ("gpt-4o", "gpt-4o"),
        ("gpt-4o-2024-08-06", "gpt-4o"),
        ("gpt-4o-mini-2024-07-18", "gpt-4o-mini"),
        ("gpt-3.5-turbo-0125", "gpt-3.5-turbo"),
        ("claude-opus-4-5-20251101", "claude-opus-4-5"),
        ("openai/gpt-4o", "gpt-4o"),
        ("openai/gpt-4o-2024-08-06", "gpt-4o"),
        ("models/gemini-2.5-pro", "gemini-2.5-pro"),
        ("groq/openai/gpt-oss-120b", "groq/gpt-oss-120b"),
    ],
)
def test_a_dated_or_prefixed_name_has_the_price_of_its_model(model, listed):
    known = default_prices()
    assert known.price(model) is known.models[listed]


@pytest.mark.parametrize(
    "model",
    [
        "",
        "unknown",
        "gpt-4o-min",
        "gpt-4o-audio",
        "gpt-4",
        "gpt-4o-2024-13-06",
        "gpt-4o-24-08-06",
        "gpt-4o-2024-08-06-preview",
        "gpt-4o-12345",
        "GPT-4o",
        "gpt-oss-120b",
        "openai/gpt-oss-120b",
        "openrouter/openai/gpt-4o",
        "groq/gpt-4o",
        "ft:gpt-4o",
        "-0125",
        "/",
    ],
)
def test_a_name_that_is_merely_alike_has_no_price(model):
    assert default_prices().price(model) is None
    assert default_prices().cost(model, Usage(1, 1)) is None


@given(st.text(alphabet="0123456789-ab", min_size=1, max_size=12))
def test_only_a_date_may_follow_a_listed_name(suffix):
    known = book(m=Price(Decimal(1), Decimal(1)))
    dated = known.price(f"m{suffix}") is not None
    parts = suffix.split("-")
    digits = [len(part) for part in parts[1:] if part.isdecimal()]
    assert not dated or (parts[0] == "" and digits in ([4], [8], [4, 2, 2]))


def test_a_listed_snapshot_precedes_its_model():
    snapshot = Price(Decimal(9), Decimal(9))
    known = PriceBook({"m": Price(Decimal(1), Decimal(1)), "m-2024-01-31": snapshot})
    assert known.price("m-2024-01-31") is snapshot
    assert known.price("m-2024-01-30") is known.models["m"]


def test_a_users_file_adds_to_the_published_prices_and_precedes_them(tmp_path: Path):
    file = tmp_path / "mine.json"
    file.write_text(
        '{"as_of": "2026-11", "models": {"own": {"input": 0.1, "output": 1, "note": "n"},'
        ' "gpt-4o": {"input": 2, "output": 8, "cached": 1.000000000000000000001}}}',
        encoding="utf-8",
    )
    mine = PriceBook.load(file, base=default_prices())
    assert mine.price("own") == Price(Decimal("0.1"), Decimal(1), note="n")
    assert mine.price("gpt-4o").cached == Decimal("1.000000000000000000001")
    assert mine.price("gpt-4o-mini") == default_prices().price("gpt-4o-mini")
    assert (mine.as_of, mine.source) == ("2026-11", default_prices().source)
    assert default_prices().price("own") is None
    assert list(PriceBook.load(file).models) == ["own", "gpt-4o"]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('{"models": {\n"a": }}', "is not JSON: Expecting value (line 2)"),
        ("[]", 'must be a JSON object with "models"'),
        ("{}", "field models: must be an object"),
        ('{"models": {}, "model": 1}', "field model is unknown"),
        ('{"models": {}, "as_of": 2026}', "field as_of: must be a text"),
        ('{"models": {"a": 1}}', "model a: must be an object"),
        ('{"models": {"a": {"input": 1}}}', "model a, field output: is missing"),
        ('{"models": {"a": {"input": -1, "output": 1}}}', "model a, field input: must be USD"),
        ('{"models": {"a": {"input": true, "output": 1}}}', "model a, field input: must be USD"),
        ('{"models": {"a": {"input": 1, "output": "1"}}}', "model a, field output: must be USD"),
        ('{"models": {"a": {"input": 1, "output": NaN}}}', "NaN is not a price"),
        ('{"models": {"a": {"input": 1, "output": 1, "note": 1}}}', "field note: must be a text"),
        ('{"models": {"a": {"input": 1, "output": 1, "in": 1}}}', "model a, field in: is unknown"),
        ('{"models": {"a": {"input": 1, "input": 2}}}', '"input" is repeated'),
        ("[" * 200_000, "nested too deeply"),
    ],
)
def test_a_bad_file_is_refused_with_file_model_and_field(tmp_path: Path, text, what):
    file = tmp_path / "mine.json"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(PriceError) as caught:
        PriceBook.load(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert what in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path):
    with pytest.raises(PriceError, match=r"none\.json: cannot be read: No such file"):
        PriceBook.load(tmp_path / "none.json")
    (tmp_path / "latin.json").write_bytes(
        json.dumps({"a": "é"}, ensure_ascii=False).encode("cp850")
    )
    with pytest.raises(PriceError, match="is not UTF-8"):
        PriceBook.load(tmp_path / "latin.json")


def test_a_price_is_a_decimal_of_at_least_nothing():
    with pytest.raises(TypeError, match="input must be a Decimal"):
        Price(0.1, Decimal(1))
    with pytest.raises(ValueError, match="output must be at least 0"):
        Price(Decimal(1), Decimal(-1))
    with pytest.raises(ValueError, match="cached must be at least 0"):
        Price(Decimal(1), Decimal(1), Decimal("NaN"))


def test_a_book_is_read_only_and_shows_its_size():
    known = book(m=Price(Decimal(1), Decimal(1)))
    with pytest.raises(TypeError):
        known.models["n"] = known.models["m"]
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        known.as_of = "never"
    assert "<1 models>" in repr(known)
