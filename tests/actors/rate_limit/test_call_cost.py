"""What a call takes of the limits, and which limits are valid."""

import itertools

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors import ChatMessage, Limits, Request
from callsheet.actors.rate_limit.estimator import Estimate


def counted(request, **limits):
    return Limits(**limits).cost(request, Estimate(90, 40)).tokens


def test_a_call_counts_for_the_larger_of_prompt_and_answer_or_for_both():
    request = Request.of("x" * 400, model="m", max_tokens=500)
    assert counted(request) == 500
    assert counted(request, token_charge="sum") == 604
    assert counted(request, token_charge="used") == 130
    assert counted(attrs.evolve(request, max_tokens=None)) == 104


def test_every_answer_that_a_call_may_have_counts():
    request = Request.of("x" * 400, model="m", max_tokens=500)
    assert counted(attrs.evolve(request, n=3)) == 1500
    told = attrs.evolve(request, max_tokens=None, extra_body={"max_completion_tokens": 700, "n": 2})
    assert counted(told) == 1400
    texts = Request(model="m", task="completion", inputs=["x" * 40, "y" * 40], max_tokens=100)
    assert counted(texts) == 200


@given(st.lists(st.text(max_size=40), min_size=1, max_size=5))
def test_the_count_is_never_below_a_provider_that_reckons_four_characters_a_token(messages):
    request = Request(model="m", messages=[ChatMessage("user", text) for text in messages])
    assert counted(request) >= -(-sum(map(len, messages)) // 4)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *itertools.product(("rpm", "tpm"), (0, -1, float("nan"))),
        ("in_flight", 0),
        ("burst_s", -1),
        ("burst_s", float("nan")),
        ("token_charge", "both"),
    ],
)
def test_limits_out_of_range_are_refused_by_name(field, value):
    with pytest.raises(ValueError, match=field):
        Limits(**{field: value})
