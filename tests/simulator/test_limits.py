import math
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callsheet.simulator.limits import AdmissionControl, MinuteBucket
from callsheet.simulator.openai import OpenAI
from callsheet.simulator.settings import ProviderSettings
from callsheet.simulator.wire import go_duration

LIMITS = st.integers(1, 10_000_000)
INSTANTS = st.floats(0, 1e6)
OPENAI = OpenAI(ProviderSettings())


def limiter_of(rpm, tpm, burst_s):
    return AdmissionControl({"requests": rpm, "tokens": tpm}, burst_s)


def take(limiter, tokens, now, *, key="key", model="m"):
    return limiter.admit(key, model, {"requests": 1, "tokens": tokens}, now)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.0004, "0s"),
        (0.002, "2ms"),
        (0.12, "120ms"),
        (8.64, "8.64s"),
        (39.801, "39.801s"),
        (64.296, "1m4.296s"),
        (190.174, "3m10.174s"),
        (360, "6m0s"),
        (411_480, "114h18m0s"),
        (3600, "1h0m0s"),
    ],
)
def test_durations_are_written_as_recorded_ones(seconds, text):
    assert go_duration(seconds) == text


def read_go(text):
    parts = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?([\d.]+)s|(\d+)ms", text)
    hours, minutes, seconds, ms = (float(part or 0) for part in parts.groups())
    return hours * 3600 + minutes * 60 + seconds + ms / 1000


@settings(deadline=None)
@given(st.floats(0, 1e7))
def test_a_duration_is_truncated_to_a_millisecond(seconds):
    assert -1e-6 < seconds - read_go(go_duration(seconds)) < 0.001 + 1e-6


def test_headers_of_a_deficit_are_the_recorded_ones():
    bucket = MinuteBucket(30_000)
    bucket.debit(1, 0.0)
    assert OPENAI.level_headers({"requests": bucket.level(0.0)}, 0.0) == {
        "x-ratelimit-limit-requests": "30000",
        "x-ratelimit-remaining-requests": "29999",
        "x-ratelimit-reset-requests": "2ms",
    }
    tokens = MinuteBucket(200_000)
    tokens.debit(16.5, 0.0)
    headers = OPENAI.level_headers({"tokens": tokens.level(0.0)}, 0.0)
    assert headers["x-ratelimit-remaining-tokens"] == "199983"
    assert headers["x-ratelimit-reset-tokens"] == "4ms"


@settings(deadline=None)
@given(
    limit=LIMITS,
    burst=st.floats(0.1, 60),
    costs=st.lists(st.tuples(st.floats(0, 3), st.floats(0, 1)), max_size=60),
)
def test_a_bucket_never_lets_more_through_than_its_burst_and_its_refill(limit, burst, costs):
    bucket, now, taken = MinuteBucket(limit, burst), 0.0, 0.0
    largest = bucket.capacity
    for gap, share in costs:
        now += gap
        cost = share * limit
        if bucket.wait(cost, now) == 0:
            bucket.debit(cost, now)
            taken += cost
            largest = max(largest, cost)
            assert taken <= largest + now * limit / 60 + limit * 1e-6 + 1e-6


@settings(deadline=None)
@given(limit=LIMITS, share=st.floats(0, 1), now=INSTANTS, other=st.floats(0, 1))
def test_a_retry_after_the_reported_wait_is_accepted_and_not_much_earlier(limit, share, now, other):
    bucket = MinuteBucket(limit)
    bucket.debit(other * limit, now)
    wait = bucket.wait(share * limit, now)
    assert bucket.wait(share * limit, now + wait) == 0
    if wait > 0.001:
        assert bucket.wait(share * limit, now + wait * 0.99) > 0


@settings(deadline=None)
@given(limit=LIMITS, cost=st.floats(0, 1), now=INSTANTS)
def test_a_bucket_is_full_again_after_its_reset(limit, cost, now):
    bucket = MinuteBucket(limit)
    bucket.debit(cost * limit, now)
    assert bucket.used(now + cost * 60 + 1e-3) == 0


@pytest.mark.parametrize(
    ("limit", "used", "requested", "wait"),
    [(30_000, 30_000, 154, "308ms"), (30_000, 30_000, 890, "1.78s")],
)
def test_the_429_has_the_text_of_the_real_one(limit, used, requested, wait):
    limiter = limiter_of(None, limit, 60)
    take(limiter, used, 5.0)
    refusal = take(limiter, requested, 5.0).refusal
    assert OPENAI.rate_limited(refusal, "gpt-4o").message == (
        "Rate limit reached for gpt-4o in organization org-callsheet on tokens per min (TPM): "
        f"Limit {limit}, Used {used}, Requested {requested}. Please try again in {wait}."
    )


def test_a_request_above_the_whole_limit_is_refused_for_good():
    refusal = take(limiter_of(None, 100, 60), 101, 0.0).refusal
    assert math.isinf(refusal.wait_s)
    error = OPENAI.rate_limited(refusal, "m")
    assert error.message.startswith("Request too large for m")
    assert "retry-after" not in error.headers


def test_a_refused_request_takes_no_tokens_but_one_request():
    limiter = limiter_of(10, 100, 60)
    take(limiter, 90, 0.0)
    levels = take(limiter, 50, 0.0).levels
    assert (levels["tokens"].remaining, levels["requests"].remaining) == (10, 8)


def test_a_request_beyond_the_last_one_takes_nothing():
    limiter = limiter_of(1, 100, 60)
    assert take(limiter, 1, 0.0).refusal is None
    for _ in range(5):
        refusal = take(limiter, 1, 30.0).refusal
        assert refusal.what == "requests"
        assert refusal.wait_s == pytest.approx(30)
    assert take(limiter, 1, 60.0).refusal is None


def test_the_longer_of_two_waits_is_reported():
    limiter = limiter_of(60, 60, 60)
    take(limiter, 60, 0.0)
    for _ in range(59):
        limiter.admit("key", "m", {"requests": 1}, 0.0)
    refusal = take(limiter, 30, 0.0).refusal
    assert (refusal.what, refusal.wait_s) == ("tokens", pytest.approx(30))


def test_keys_and_models_have_limits_of_their_own():
    limiter = limiter_of(1, None, 60)
    for pair in [("a", "m"), ("a", "n"), ("b", "m")]:
        assert take(limiter, 1, 0.0, key=pair[0], model=pair[1]).refusal is None
        assert take(limiter, 1, 0.0, key=pair[0], model=pair[1]).refusal is not None


def test_made_up_names_do_not_fill_the_memory():
    limiter = limiter_of(1000, None, 60)
    for i in range(10_000):
        take(limiter, 1, float(i), key=str(i))
    assert len(limiter._sets) < 2100


def test_a_short_burst_refuses_what_the_minute_would_allow():
    limiter = limiter_of(600, None, 1)
    admitted = [take(limiter, 0, 0.0).refusal is None for _ in range(20)]
    assert sum(admitted) == 10
    assert take(limiter, 0, 0.1).refusal is None


def test_what_costs_nothing_yet_needs_a_bucket_that_is_not_empty():
    limiter = AdmissionControl({"output-tokens": 60}, 60)
    account = limiter.admit("key", "m", {"output-tokens": 0}, 0.0).account
    account.charge({"output-tokens": 59}, 0.0)
    assert limiter.admit("key", "m", {"output-tokens": 0}, 0.0).refusal is None
    account.charge({"output-tokens": 70}, 0.0)
    refusal = limiter.admit("key", "m", {"output-tokens": 0}, 0.0).refusal
    assert (refusal.what, refusal.wait_s) == ("output-tokens", pytest.approx(11))
    assert limiter.admit("key", "m", {"output-tokens": 0}, 11.0).refusal is None


@settings(deadline=None)
@given(
    estimate=st.integers(0, 1000), totals=st.lists(st.integers(0, 1000), min_size=1), limit=LIMITS
)
def test_the_last_correction_of_a_charge_counts(estimate, totals, limit):
    limiter = AdmissionControl({"tokens": limit}, 60)
    admission = limiter.admit("key", "m", {"tokens": min(estimate, limit)}, 0.0)
    for total in totals:
        admission.account.charge({"tokens": total, "nothing": 5}, 0.0)
    found = limiter.admit("key", "m", {}, 0.0).levels["tokens"]
    assert found.used == pytest.approx(totals[-1], abs=1e-3)


def test_a_refused_request_has_nothing_to_correct():
    limiter = limiter_of(None, 10, 60)
    take(limiter, 10, 0.0)
    refused = take(limiter, 10, 0.0)
    refused.account.charge({"tokens": 500}, 0.0)
    assert take(limiter, 10, 60.0).refusal is None
