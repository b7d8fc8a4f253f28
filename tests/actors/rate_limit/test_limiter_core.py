"""The limiter's decisions: all dimensions, several models, corrections, changes."""

from math import inf

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors import Lane, Limits, Rate, Usage
from callsheet.actors.permit import Report
from callsheet.actors.rate_limit.core import Limiter
from callsheet.actors.rate_limit.limits import Cost, Impossible, PermitRequest, TooLate
from callsheet.actors.rate_limit.simulation import Grant


@attrs.define(eq=False)
class Waiter:
    name: str = ""
    done: bool = False


def limiter_of(now=0.0, **limits):
    return Limiter(Limits(**limits), now)


def asking(model="m", lane="", deadline=inf, **cost):
    return PermitRequest(model, Cost(**cost), lane, deadline)


def instants(limiter, asks, *, until=1e6):
    """Return when each call is admitted, if all arrive at once."""
    for number, ask in enumerate(asks):
        limiter.push(Waiter(str(number)), ask, 0.0)
    found, now = {}, 0.0
    while now < until and len(found) < len(asks):
        while (grant := limiter.pop(now)) is not None:
            found[int(grant.waiting.name)] = now
        now = limiter.next_at(now)
    return [found.get(number) for number in range(len(asks))]


# ------------------------------------------------------------------ dimensions


@pytest.mark.parametrize(
    ("rate", "cost"),
    [
        (Rate("requests", 60), {}),
        (Rate("input_tokens", 600, 60), {"input_tokens": 10}),
        (Rate("output_tokens", 10, 1), {"output_tokens": 10}),
        (Rate("tokens", 36_000, 3600), {"tokens": 10}),
        (Rate("usd", 8.64, 86_400), {"usd": 1e-4}),
    ],
)
def test_every_dimension_is_kept_in_any_time(rate, cost):
    limiter = limiter_of(rates=[attrs.evolve(rate, burst_s=0.0)])
    assert instants(limiter, [asking(**cost)] * 4) == pytest.approx([0, 1, 2, 3], abs=1e-2)


def test_a_burst_of_its_own():
    limiter = limiter_of(rates=[Rate("requests", 60, burst_s=4.0)], burst_s=0.0)
    assert instants(limiter, [asking()] * 5) == [0, 0, 0, pytest.approx(1), pytest.approx(2)]


def test_what_is_for_a_day_may_be_used_in_the_morning():
    limiter = limiter_of(rates=[Rate("usd", 24.0, 86_400), Rate("requests", 240, 86_400)])
    for _ in range(23):
        assert limiter.try_admit(asking(usd=1.0), 0.0) is not None
    limiter.push(Waiter(), asking(usd=2.0), 0.0)
    assert limiter.next_at(0.0) == pytest.approx(3_600)


@pytest.mark.parametrize(("amount", "per_s"), [(5, 86_400.0), (1, 86_400.0), (300, 3_600.0)])
def test_all_of_a_long_limit_goes_at_once(amount, per_s):
    """No call of the amount waits, and the next one waits for its share of the period."""
    limiter = limiter_of(rates=[Rate("requests", amount, per_s)], in_flight=1000)
    *first, last = instants(limiter, [asking()] * (amount + 1))
    assert set(first) == {0}
    assert last == pytest.approx(per_s / amount)


def test_a_rate_that_was_found_long_ago_delays_no_call():
    limiter = Limiter(Limits(), 0.0)
    calls = [limiter.try_admit(PermitRequest("m", Cost()), 0.0) for _ in range(10)]
    for call in calls:
        limiter.refused(call, "too_fast", None, pause_s=1.0, now=0.1)
        limiter.release(call, 0.1)
    limiter.push(Waiter(), PermitRequest("m", Cost()), 1.2)
    at = limiter.advance(5.0)
    assert isinstance(limiter.advance(at), Grant)
    assert limiter.try_admit(PermitRequest("m", Cost()), 100.0) is not None
    assert limiter.try_admit(PermitRequest("m", Cost()), 100.0) is not None


def test_a_reported_daily_limit_may_be_used_in_the_morning():
    limiter = limiter_of(in_flight=1000)
    reservation = limiter.try_admit(asking(), 0.0)
    limiter.report(reservation, [Report("requests", 200, 1, 86_400.0)], 0.0)
    for _ in range(190):
        assert limiter.try_admit(asking(), 0.0) is not None


def test_what_is_larger_than_a_limit_is_refused_by_its_name():
    limiter = limiter_of(rates=[Rate("usd", 1.0, 86_400)])
    with pytest.raises(Impossible, match=r"1.5 USD, more than the limit of 1 USD a day"):
        limiter.push(Waiter(), asking(usd=1.5), 0.0)
    with pytest.raises(Impossible, match="USD"):
        limiter.try_admit(asking(usd=1.5), 0.0)


def test_a_call_without_a_wait_costs_as_much_as_one_that_waits():
    limiter = limiter_of(rpm=60, burst_s=3.0)  # two at once
    assert limiter.try_admit(asking(), 0.0) is not None
    assert limiter.try_admit(asking(), 0.0) is not None
    assert limiter.try_admit(asking(), 0.0) is None
    assert limiter.in_flight == 2
    waiter = Waiter()
    limiter.push(waiter, asking(), 0.0)
    assert limiter.try_admit(asking(), 5.0) is None, "another call waits already"
    assert limiter.pop(1.0).waiting is waiter


# ------------------------------------------------------------------ models


def test_a_model_waits_for_its_own_limits_and_delays_no_other():
    slow = Limits(rpm=6, burst_s=0.0)
    limiter = limiter_of(models={"slow-*": slow})
    asks = [asking("slow-1"), asking("slow-2"), asking("quick"), asking("quick")]
    assert instants(limiter, asks) == [0, pytest.approx(10), 0, 0]


def test_a_limit_shared_by_all_models_goes_to_the_first_call():
    limiter = limiter_of(tpm=600, burst_s=0.0)
    limiter.try_admit(asking("a", tokens=1), 0.0)
    for came, (model, tokens) in enumerate([("b", 300), ("a", 1), ("a", 1)]):
        limiter.push(Waiter(model), asking(model, tokens=tokens), came * 1e-3)
    now = limiter.next_at(0.01)
    assert limiter.pop(now).waiting.name == "b", "small ones do not overtake it for ever"
    assert limiter.pop(now) is None


def test_a_group_has_a_number_in_flight_of_its_own():
    limiter = limiter_of(in_flight=10, models={"a": Limits(in_flight=1)})
    for name in ("a", "a", "b"):
        limiter.push(Waiter(name), asking(name), 0.0)
    assert [limiter.pop(0.0).waiting.name, limiter.pop(0.0).waiting.name] == ["a", "b"]
    assert limiter.pop(0.0) is None


# ------------------------------------------------------------------ what it really took


def test_a_call_that_took_less_gives_the_rest_back():
    limiter = limiter_of(rates=[Rate("output_tokens", 600, burst_s=10.0)])  # 99 at once
    reservation = limiter.try_admit(asking(output_tokens=99), 0.0)
    assert limiter.try_admit(asking(output_tokens=50), 0.0) is None
    limiter.settle(reservation, Usage(10, 9), None, 0.0)
    assert limiter.try_admit(asking(output_tokens=50), 0.0) is not None


def test_a_call_that_took_more_is_a_debt():
    limiter = limiter_of(rates=[Rate("output_tokens", 600, burst_s=10.0)])
    limiter.settle(limiter.try_admit(asking(output_tokens=9), 0.0), Usage(10, 299), None, 0.0)
    limiter.push(Waiter(), asking(output_tokens=9), 0.0)
    assert limiter.next_at(0.0) == pytest.approx(20.9, abs=0.1)


@pytest.mark.parametrize(("charge", "ready"), [("max", False), ("sum", False), ("used", True)])
def test_tokens_are_corrected_only_where_the_provider_counts_what_was_used(charge, ready):
    limiter = limiter_of(tpm=600, burst_s=10.0, token_charge=charge)
    limiter.settle(limiter.try_admit(asking(tokens=99), 0.0), Usage(5, 4), None, 0.0)
    assert (limiter.try_admit(asking(tokens=50), 0.0) is not None) is ready


@pytest.mark.parametrize(("charge", "tokens"), [("max", 10.0), ("sum", 10.0), ("used", 5.0)])
def test_what_a_prompt_cache_gave_is_taken_back_where_it_does_not_count(charge, tokens):
    rates = [Rate("input_tokens", 600, burst_s=10.0), Rate("tokens", 600, burst_s=10.0)]
    limiter = limiter_of(rates=rates, token_charge=charge)
    reservation = limiter.try_admit(asking(input_tokens=90, tokens=99), 0.0)
    limiter.settle(reservation, Usage(90, 4, cached_tokens=89), None, 0.0, uncounted=89)
    used = {state.dimension: state.used for state in limiter.snapshot(0.0).buckets}
    assert used == {"input_tokens": 1.0, "tokens": tokens}


def test_what_it_cost_is_what_counts():
    limiter = limiter_of(rates=[Rate("usd", 6.0, burst_s=10.0)])  # one at once
    limiter.settle(limiter.try_admit(asking(usd=1.0), 0.0), Usage(1, 1), 0.25, 0.0)
    assert limiter.try_admit(asking(usd=0.7), 0.0) is not None


def test_a_request_that_was_refused_takes_a_request_and_no_tokens():
    limiter = limiter_of(rpm=60, tpm=6000, burst_s=3.0)
    reservation = limiter.try_admit(asking(tokens=299), 0.0)
    limiter.refused(reservation, "too_fast", None, pause_s=0.0, now=0.0)
    used = {state.dimension: state.used for state in limiter.snapshot(0.0).buckets}
    assert used == {"requests": 1.0, "tokens": 0.0}


# ------------------------------------------------------------------ deadlines


def test_a_call_fails_at_once_only_if_it_cannot_meet_its_deadline():
    limiter = limiter_of(rpm=60, burst_s=0.0)
    for _ in range(5):
        limiter.push(Waiter(), asking(), 0.0)
    with pytest.raises(TooLate, match=r"at least 5.0 s .* 60 requests a minute") as caught:
        limiter.push(Waiter(), asking(deadline=3.9), 0.0)
    assert caught.value.wait_s == pytest.approx(5)
    limiter.push(Waiter(), asking(deadline=5.1), 0.0)
    limiter.push(Waiter(), asking(lane="other", deadline=1.1), 0.0)


@given(
    st.lists(st.tuples(st.integers(0, 40), st.floats(0, 30)), min_size=1, max_size=30),
    st.sampled_from([0.0, 1.0, 5.0]),
)
def test_no_call_fails_early_that_would_have_met_its_deadline(calls, burst_s):
    """With one lane, and no call given up, the bound is at most the actual wait."""
    limits = {"rpm": 60, "tpm": 600, "burst_s": burst_s}
    limiter, told, asks = limiter_of(**limits), [], []
    for number, (tokens, deadline) in enumerate(calls):
        try:
            limiter.push(Waiter(str(number)), asking(tokens=tokens, deadline=deadline), 0.0)
        except TooLate:
            told.append(number)
        asks.append(asking(tokens=tokens))
    for number in told:
        kept = [asks[at] for at in range(number) if at not in told]
        assert instants(limiter_of(**limits), [*kept, asks[number]])[-1] > calls[number][1] - 1e-6


# ------------------------------------------------------------------ changes


def test_other_limits_count_for_those_that_wait():
    limiter = limiter_of(rpm=6, burst_s=0.0)
    for _ in range(3):
        limiter.push(Waiter(), asking(), 0.0)
    limiter.pop(0.0)
    assert limiter.next_at(0.0) == pytest.approx(10)
    assert limiter.change(Limits(rpm=60, burst_s=0.0), 1.0) == []
    assert limiter.next_at(1.0) == pytest.approx(1.9), "what was taken stays taken"
    limiter.change(Limits(), 1.0)
    assert limiter.pop(1.0) is not None
    assert limiter.pop(1.0) is not None


def test_a_call_that_can_never_be_sent_now_is_removed():
    limiter = limiter_of(tpm=1000, burst_s=0.0)
    small, large, last = Waiter("small"), Waiter("large"), Waiter("last")
    limiter.try_admit(asking(tokens=10), 0.0)
    for waiter, tokens in ((small, 10), (large, 900), (last, 10)):
        limiter.push(waiter, asking(tokens=tokens), 0.0)
    ((gone, why),) = limiter.change(Limits(tpm=500, burst_s=0.0), 0.0)
    assert gone is large
    assert "500 tokens" in str(why)
    assert limiter.waiting == 2


def test_models_that_get_limits_together_wait_together_from_then_on():
    limiter = limiter_of(rpm=1, burst_s=0.0)
    limiter.try_admit(asking("a"), 0.0)
    for number, model in enumerate("abab"):
        limiter.push(Waiter(str(number)), asking(model), number / 10)
    both = Limits(rpm=60, burst_s=0.0)
    limiter.change(Limits(models={"[ab]": both}), 1.0)
    assert limiter.waiting == 4
    found, now = [], 1.0
    while limiter.waiting:
        grant = limiter.pop(now)
        if grant is None:
            now = limiter.next_at(now)
        else:
            found.append((grant.waiting.name, round(now)))
    assert found == [("0", 1), ("1", 2), ("2", 3), ("3", 4)], "in the order in which they came"


def test_learning_can_be_taken_up_while_calls_wait():
    limiter = limiter_of(learn=False)
    limiter.release(limiter.try_admit(asking(), 0.0), 0.0)
    limiter.change(Limits(), 0.0)
    reservation = limiter.try_admit(asking(), 0.0)
    limiter.try_admit(asking(), 0.0)
    limiter.report(reservation, [Report("requests", 600, 1, 60.0)], 0.0)
    (state,) = limiter.snapshot(0.0).buckets
    assert state.used == 2.0, "the one that the report is for, and one since"


def test_what_a_replaced_limiter_has_let_through_is_not_counted_twice():
    """After a crash, permits of the previous incarnation reach the next one (R2)."""
    before, after = limiter_of(), limiter_of(rpm=60, burst_s=10.0)
    reservation = before.try_admit(asking(tokens=50), 0.0)
    for _ in range(5):
        after.try_admit(asking(), 0.0)
    after.report(reservation, [Report("tokens", 6000, 50, 60.0)], 0.0)
    after.refused(reservation, "too_fast", None, pause_s=1.0, now=0.0)
    after.push_renewal(Waiter(), reservation, 1.0)
    used = {state.dimension: state.used for state in after.snapshot(0.0).buckets}
    assert used["requests"] == 5.0
    assert after.pop(20.0) is not None


def test_fewer_in_flight_than_there_are():
    limiter = limiter_of(in_flight=3)
    under_way = [limiter.try_admit(asking(), 0.0) for _ in range(3)]
    limiter.change(Limits(in_flight=1), 0.0)
    limiter.push(Waiter(), asking(), 0.0)
    for reservation in under_way[:2]:
        limiter.release(reservation, 1.0)
        assert limiter.pop(1.0) is None
    limiter.release(under_way[2], 1.0)
    assert limiter.pop(1.0) is not None


# ------------------------------------------------------------------ reasons


def test_explain_reports_the_wait_and_changes_nothing():
    limiter = limiter_of(rpm=60, burst_s=0.0, lanes={"vip": Lane(weight=100)})
    assert limiter.explain(asking(), 0.0).wait_s == 0.0
    for number in range(10):
        limiter.push(Waiter(str(number)), asking(), 0.0)
    limiter.pop(0.0)
    for _ in range(2):
        told = limiter.explain(asking(), 0.0)
        assert told.wait_s == pytest.approx(10)
        assert told.before == 9
        assert "60 requests a minute" in told.because
        assert limiter.explain(asking(lane="vip"), 0.0).wait_s <= 2.001
    assert limiter.waiting == 9


def test_explain_reports_what_a_call_waits_for():
    limiter = limiter_of(in_flight=1)
    limiter.try_admit(asking(), 0.0)
    assert "calls in flight (1)" in limiter.explain(asking(), 0.0).because
    parked = limiter_of()
    reservation = parked.try_admit(asking(), 0.0)
    parked.refused(reservation, "too_fast", None, pause_s=7.0, now=0.0)
    told = parked.explain(asking(), 0.0)
    assert (told.wait_s, "too fast" in told.because) == (7.0, True)
    with_limit = limiter_of(tpm=100)
    told = with_limit.explain(asking(tokens=101), 0.0)
    assert told.wait_s == inf
    assert "100 tokens" in told.because


def test_a_snapshot_has_it_all():
    limiter = limiter_of(rpm=60, burst_s=0.0, in_flight=5)
    reservation = limiter.try_admit(asking(), 0.0)
    limiter.push(Waiter(), asking(lane="bulk"), 0.0)
    limiter.report(reservation, [Report("tokens", 6000, 10, 60.0)], 0.0)
    now = limiter.snapshot(0.0)
    assert (now.in_flight, now.max_in_flight, now.waiting) == (1, 5, 1)
    assert now.next_wake_s == pytest.approx(1.0)
    (scope,) = now.scopes
    assert (scope.name, scope.waiting, scope.in_flight) == ("m", {"bulk": 1}, 1)
    sources = {state.dimension: (state.source, state.scope) for state in now.buckets}
    assert sources == {"requests": ("set", ""), "tokens": ("learned", "m")}


def test_a_model_that_is_not_used_any_more_is_forgotten():
    limiter = limiter_of()
    for number in range(2_000):
        limiter.release(limiter.try_admit(asking(f"model-{number}"), 0.0), 0.0)
    assert len(limiter.snapshot(0.0).scopes) <= 256


@pytest.mark.parametrize("rpm", [0.5, 0.1])
def test_less_than_one_request_a_minute_is_one_in_more_than_a_minute(rpm):
    found = instants(limiter_of(rpm=rpm), [asking(), asking(), asking()])
    assert list(found) == pytest.approx([0, 60 / rpm, 120 / rpm])
