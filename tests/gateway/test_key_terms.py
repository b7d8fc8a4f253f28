"""What a key may use, and what is refused; budgets as people write them."""

from decimal import Decimal

import attrs
import pytest

from callsheet.actors import Budget
from callsheet.gateway.keys import InvalidKey, KeyTerms
from callsheet.gateway.keys.budget_text import budget_of


@pytest.mark.parametrize(
    ("text", "usd", "period"),
    [
        ("25/day", "25", "day"),
        ("$25 per day", "25", "day"),
        ("100/month", "100", "month"),
        ("100 USD/mo", "100", "month"),
        ("500", "500", "ever"),
        (" $0.50 / Day ", "0.50", "day"),
        (".5/d", ".5", "day"),
        ("1,000,000/total", "1000000", "ever"),
        ("0", "0", "ever"),
    ],
)
def test_budgets_that_are_accepted(text, usd, period):
    found = budget_of(text, tenant="team-a")
    assert found == Budget(Decimal(usd), per="tenant", match="team-a", period=period)
    assert found.is_of_one


@pytest.mark.parametrize(
    "text",
    [
        "",
        "day",
        "/day",
        "25/",
        "25/week",
        "1,5/day",
        "25 50",
        "-1/day",
        "1e3",
        "nan",
        "25/day/x",
        "٢٥/day",
        "9" * 13,
        "$",
        ".",
        "25perday",
        "25\n/day" * 30,
    ],
)
def test_budgets_that_are_refused_with_an_example(text):
    with pytest.raises(ValueError, match=r"25/day|cannot be used") as caught:
        budget_of(text, tenant="team-a")
    assert len(str(caught.value)) < 250


def test_a_key_may_use_the_models_of_its_patterns():
    key = KeyTerms(name="a", models=("gpt-5*", "o4-mini"))
    assert [key.may_use(name) for name in ("gpt-5-nano", "o4-mini", "O4-mini", "gpt-4o")] == [
        True,
        True,
        False,
        False,
    ]
    assert KeyTerms(name="a").may_use("anything")


def test_terms_have_usual_values_and_budgets_of_their_name():
    key = KeyTerms(name="team-a", budgets=("25/day", "500"))
    assert (key.lane, key.weight, key.models, key.allow) == ("team-a", 1.0, ("*",), None)
    assert [budget.match for budget in key.ledger_budgets()] == ["team-a", "team-a"]
    assert attrs.evolve(key, lane="batch").lane == "batch"


@pytest.mark.parametrize(
    ("terms", "text"),
    [
        ({"weight": 0}, "weight"),
        ({"weight": float("nan")}, "weight"),
        ({"weight": float("inf")}, "weight must be a finite number"),
        ({"rpm": -1}, "rpm"),
        ({"tpm": float("inf")}, "tpm must be a finite number"),
        ({"in_flight": 0}, "in_flight"),
        ({"in_flight": 1.5}, "in_flight"),
        ({"lane": "a b"}, "a name must have"),
        ({"models": ()}, "at least one pattern"),
        ({"models": ("gpt", " ")}, "empty pattern"),
        ({"models": (5,)}, "models"),
        ({"allow": ("caches",)}, "allow knows cache, join, lists, prompt_cache"),
        ({"budgets": ("25/day", "30/day")}, "at most one budget a day"),
        ({"budgets": (25,)}, "budgets"),
        ({"budgets": ("x",)}, "no budget"),
    ],
)
def test_terms_that_are_refused_name_what_is_wrong(terms, text):
    with pytest.raises((ValueError, TypeError), match=text):
        KeyTerms(name="a", **terms)


def test_an_invalid_key_is_a_value_error():
    assert issubclass(InvalidKey, ValueError)
