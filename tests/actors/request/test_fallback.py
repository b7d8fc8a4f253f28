"""Which failures move a call to the next target; a call never moves back."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors import (
    AuthenticationFailed,
    BadRequest,
    CallFailed,
    ConnectionFailed,
    Endpoint,
    MalformedResponse,
    ProviderUnavailable,
    QuotaExhausted,
    RateLimited,
    RequestTooLarge,
)
from callsheet.actors.request.fallback import FALLS_BACK, Fallback

MOVES_ON = (*FALLS_BACK, "breaker_open")
STAYS = (BadRequest, RequestTooLarge, CallFailed)


@pytest.mark.parametrize(
    "outcome",
    [
        "breaker_open",
        RateLimited,
        ProviderUnavailable,
        ConnectionFailed,
        MalformedResponse,
        AuthenticationFailed,
        QuotaExhausted,
    ],
)
def test_what_is_the_targets_fault_is_the_next_ones_chance(outcome):
    assert Fallback(["a", "b"]).after("a", outcome) == "b"


@pytest.mark.parametrize("outcome", STAYS)
def test_what_is_the_requests_own_fault_is_refused_once(outcome):
    assert Fallback(["a", "b"]).after("a", outcome) is None


def test_a_kind_of_error_is_treated_as_what_it_is_a_kind_of():
    class Overloaded(ProviderUnavailable):
        pass

    class Unreadable(BadRequest):
        pass

    assert Fallback(["a", "b"]).after("a", Overloaded) == "b"
    assert Fallback(["a", "b"]).after("a", Unreadable) is None


@given(st.lists(st.integers(), min_size=1, unique=True), st.data())
def test_each_target_is_tried_once_at_most_and_in_order(targets, data):
    plan = Fallback(targets)
    tried = [plan.first]
    while True:
        outcome = data.draw(st.sampled_from(MOVES_ON + STAYS))
        assert plan.behind(tried[-1]) == len(targets) - len(tried)
        following = plan.after(tried[-1], outcome)
        if following is None:
            assert outcome in STAYS or len(tried) == len(targets)
            break
        assert outcome in MOVES_ON
        tried.append(following)
    assert tried == targets[: len(tried)]


@given(st.sampled_from(FALLS_BACK), st.integers(-3, 3), st.floats(-5, 5) | st.just(inf))
def test_a_call_moves_on_only_while_it_has_time_and_a_request_left(outcome, attempts, left_s):
    found = Fallback(["a", "b"]).after("a", outcome, attempts_left=attempts, left_s=left_s)
    assert (found == "b") is (attempts >= 1 and left_s > 0)


def test_to_pass_a_target_whose_breaker_is_open_costs_no_request():
    plan = Fallback(["a", "b"])
    assert plan.after("a", "breaker_open", attempts_left=0) == "b"
    assert plan.after("a", "breaker_open", attempts_left=0, left_s=0.0) is None


def test_a_target_is_an_endpoint_and_a_model():
    one, other = Endpoint("https://a.example/v1", "sk-1"), Endpoint("https://b.example/v1", "sk-2")
    plan = Fallback([(one, "large"), (other, "large"), (one, "small")])
    assert plan.after((one, "large"), QuotaExhausted) == (other, "large")
    assert plan.after((other, "large"), RateLimited) == (one, "small")
    assert plan.after((one, "small"), RateLimited) is None
    assert "sk-" not in repr(plan)


def test_targets_that_make_no_plan_are_refused():
    with pytest.raises(ValueError, match="targets is empty"):
        Fallback([])
    with pytest.raises(ValueError, match="targets contains a target twice"):
        Fallback(["a", "b", "a"])
    with pytest.raises(ValueError, match="'c' is not one of the 2 targets"):
        Fallback(["a", "b"]).after("c", RateLimited)
