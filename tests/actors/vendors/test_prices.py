import json
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors.responses import Usage
from callsheet.actors.vendors import Price, PriceBook, PriceError, default_prices

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


@given(st.text(alphabet="0123456789-ab", min_size=1, max_size=12))
def test_only_a_date_may_follow_a_name_that_is_listed_for_every_date(suffix):
    known = PriceBook({"m-*": Price(Decimal(1), Decimal(1))})
    dated = known.price(f"m{suffix}") is not None
    parts = suffix.split("-")
    digits = [len(part) for part in parts[1:] if part.isdecimal()]
    assert not dated or (parts[0] == "" and digits in ([4], [8], [4, 2, 2]))


def test_a_dated_name_has_its_own_price_or_none():
    model, snapshot = Price(Decimal(1), Decimal(1)), Price(Decimal(9), Decimal(9))
    known = PriceBook({"m": model, "m-2024-01-31": snapshot})
    assert known.price("m-2024-01-31") is snapshot
    assert known.price("m-2024-01-30") is None


def test_the_snapshot_that_a_name_stands_for_is_charged_at_the_price_of_the_name():
    model, snapshot = Price(Decimal(1), Decimal(1)), Price(Decimal(9), Decimal(9))
    known = PriceBook({"m": model, "m-2024-01-31": snapshot, "n": model})
    assert known.price_of_answer("m-2024-01-30", "m") is model
    assert known.price_of_answer("m-2024-01-30", "host/m") is None  # another model, for all we know
    assert known.price_of_answer("m-2024-01-31", "m") is snapshot
    assert known.price_of_answer("m-mini-2024-01-30", "m") is None
    assert known.price_of_answer("deployment-7", "m") is None


def test_a_price_of_the_users_own_precedes_the_published_price_of_the_snapshot(tmp_path):
    file = tmp_path / "mine.json"
    file.write_text('{"models": {"gpt-4o": {"input": 2, "output": 8}}}')
    mine = PriceBook.load(file, default_prices())
    assert mine.price("gpt-4o").input == 2
    assert mine.price_of_answer("gpt-4o-2024-08-06", "gpt-4o").input == 2
    assert mine.price("gpt-4o-2024-08-06").input == Decimal("2.5")


def test_a_model_has_a_price_of_its_own_at_each_vendor():
    known = PriceBook({
        "groq:openai/big": Price(Decimal(1), Decimal(1)),
        "cerebras:big": Price(Decimal(2), Decimal(2)),
        "openai:gpt": Price(Decimal(3), Decimal(3)),
        "own": Price(Decimal(4), Decimal(4)),
    })  # fmt: skip
    assert known.at_vendor("groq").price("openai/big").input == 1
    assert known.at_vendor("cerebras").price("big").input == 2
    assert known.price("cerebras/big").input == 2, "as a gateway names it"
    assert known.price("big") is None
    assert known.price("gpt").input == known.price("openai/gpt").input == 3
    assert known.at_vendor("groq").price("gpt") is None
    assert known.at_vendor("anthropic").price("gpt").input == 3, "a gateway with Anthropic's API"
    assert known.at_vendor("groq").price("own").input == 4


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
        ('{"models": {"a": {"input": 1, "output": 1, "names": "b"}}}', "must be a list of names"),
        ('{"models": {"a": {"input": 1, "output": 1, "names": [1]}}}', "names: must be a text"),
        ('{"models": {"a": {"input": 1, "output": 1, "shut_down": "soon"}}}', "must be a day"),
        ('{"models": {"a": {"input": 1, "output": 1, "above": {"1k": {}}}}}', "a whole number of"),
        (
            '{"models": {"a": {"input": 1, "output": 1, "above": {"9": {"input": 1}}}}}',
            "is missing",
        ),
        (
            '{"models": {"a": {"input": 1, "output": 1, "from": {"x": {}}}}}',
            "must be a day",
        ),
        (
            '{"models": {"a": {"input": 1, "output": 1, "peak": {"hours": 1}}}}',
            "must be a list",
        ),
        ('{"models": {}, "as_of": 2026}', "field as_of: must be a text"),
        ('{"models": {"a": 1}}', "model a: must be an object"),
        ('{"models": {"a": {"input": 1}}}', "model a, field output: is missing"),
        ('{"models": {"a": {"input": -1, "output": 1}}}', "model a, field input: must be USD"),
        ('{"models": {"a": {"input": true, "output": 1}}}', "model a, field input: must be USD"),
        ('{"models": {"a": {"input": 1, "output": "1"}}}', "model a, field output: must be USD"),
        ('{"models": {"a": {"input": 1, "output": NaN}}}', "NaN is not a price"),
        ('{"models": {"a": {"input": 1e999, "output": 1}}}', "input: must be USD per million"),
        ('{"models": {"a": {"input": 1, "output": 1e-999}}}', "at most 40 places, not 1E-999"),
        ('{"models": {"a": {"input": 1, "output": 1e99999999999999999999}}}', "too many digits"),
        (
            '{"models": {"a": {"input": 1e12, "output": 1, "tiers": {"flex": 2}}}}',
            "tier flex: times the usual price: input must be at least 0 and at most 1,000",
        ),
        (
            '{"models": {"a": {"input": 1, "output": 1, "tiers": {"flex": 1e999}}}}',
            "must be an object of prices, or a factor",
        ),
        (
            '{"models": {"a": {"input": 1, "output": 1, "above": {"1%s": {}}}}}' % ("0" * 5000),
            "must be below 10**18 tokens",
        ),
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


@pytest.mark.parametrize("text", ["1e12", "1e-40", "999999999999." + "9" * 40])
def test_any_price_that_is_accepted_has_an_exact_cost(text):
    price, count = Decimal(text), 10**18
    many = Usage(2 * count, count, cached_tokens=count)
    cost = Price(price, price, price).at().cost(many)
    assert cost == Fraction(price) * 3 * count / 10**6


def test_a_book_is_read_only_and_shows_its_size():
    known = book(m=Price(Decimal(1), Decimal(1)))
    with pytest.raises(TypeError):
        known.models["n"] = known.models["m"]
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        known.as_of = "never"
    assert "<1 names>" in repr(known)
