import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.provider.apierror import ApiError
from callsheet.provider.limits import Bucket, Limiter, go_duration

LIMITS = st.integers(1, 10_000_000)
INSTANTS = st.floats(0, 1e6)


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


@given(st.floats(0, 1e7))
def test_a_duration_is_truncated_to_a_millisecond(seconds):
    assert -1e-6 < seconds - read_go(go_duration(seconds)) < 0.001 + 1e-6


def test_headers_of_a_deficit_are_the_recorded_ones():
    bucket = Bucket(30_000)
    bucket.debit(1, 0.0)
    assert bucket.headers("requests", 0.0) == {
        "x-ratelimit-limit-requests": "30000",
        "x-ratelimit-remaining-requests": "29999",
        "x-ratelimit-reset-requests": "2ms",
    }
    tokens = Bucket(200_000)
    tokens.debit(16.5, 0.0)
    assert tokens.headers("tokens", 0.0)["x-ratelimit-remaining-tokens"] == "199983"
    assert tokens.headers("tokens", 0.0)["x-ratelimit-reset-tokens"] == "4ms"


@given(
    limit=LIMITS,
    burst=st.floats(0.1, 60),
    costs=st.lists(st.tuples(st.floats(0, 3), st.floats(0, 1)), max_size=60),
)
def test_a_bucket_never_lets_more_through_than_its_burst_and_its_refill(limit, burst, costs):
    bucket, now, taken = Bucket(limit, burst), 0.0, 0.0
    largest = bucket.capacity
    for gap, share in costs:
        now += gap
        cost = share * limit
        if bucket.wait(cost, now) == 0:
            bucket.debit(cost, now)
            taken += cost
            largest = max(largest, cost)
            assert taken <= largest + now * limit / 60 + limit * 1e-6 + 1e-6


@given(limit=LIMITS, share=st.floats(0, 1), now=INSTANTS, other=st.floats(0, 1))
def test_who_waits_as_long_as_told_is_let_in_and_not_much_earlier(limit, share, now, other):
    bucket = Bucket(limit)
    bucket.debit(other * limit, now)
    wait = bucket.wait(share * limit, now)
    assert bucket.wait(share * limit, now + wait) == 0
    if wait > 0.001:
        assert bucket.wait(share * limit, now + wait * 0.99) > 0


@given(limit=LIMITS, cost=st.floats(0, 1), now=INSTANTS)
def test_a_bucket_is_full_again_after_its_reset(limit, cost, now):
    bucket = Bucket(limit)
    bucket.debit(cost * limit, now)
    assert bucket.used(now + cost * 60 + 1e-3) == 0


@pytest.mark.parametrize(
    ("limit", "used", "requested", "wait"),
    [(30_000, 30_000, 154, "308ms"), (30_000, 30_000, 890, "1.78s")],
)
def test_the_429_says_what_the_real_one_says(limit, used, requested, wait):
    limiter = Limiter(None, limit, 60)
    limiter.admit("key", "gpt-4o", used, 5.0)
    refusal = limiter.admit("key", "gpt-4o", requested, 5.0).refusal
    assert ApiError.rate_limited(refusal, "gpt-4o").message == (
        "Rate limit reached for gpt-4o in organization org-callsheet on tokens per min (TPM): "
        f"Limit {limit}, Used {used}, Requested {requested}. Please try again in {wait}."
    )


def test_a_request_above_the_whole_limit_is_refused_for_good():
    refusal = Limiter(None, 100, 60).admit("key", "m", 101, 0.0).refusal
    assert math.isinf(refusal.wait_s)
    error = ApiError.rate_limited(refusal, "m")
    assert error.message.startswith("Request too large for m")
    assert "retry-after" not in error.headers


def test_a_refused_request_takes_no_tokens_but_one_request():
    limiter = Limiter(10, 100, 60)
    limiter.admit("key", "m", 90, 0.0)
    headers = limiter.admit("key", "m", 50, 0.0).headers
    assert headers["x-ratelimit-remaining-tokens"] == "10"
    assert headers["x-ratelimit-remaining-requests"] == "8"


def test_a_request_beyond_the_last_one_takes_nothing():
    limiter = Limiter(1, 100, 60)
    assert limiter.admit("key", "m", 1, 0.0).refusal is None
    for _ in range(5):
        refusal = limiter.admit("key", "m", 1, 30.0).refusal
        assert refusal.what == "requests"
        assert refusal.wait_s == pytest.approx(30)
    assert limiter.admit("key", "m", 1, 60.0).refusal is None


def test_the_longer_of_two_waits_is_the_one_told():
    limiter = Limiter(60, 60, 60)
    limiter.admit("key", "m", 60, 0.0)
    for _ in range(59):
        limiter.admit("key", "m", 0, 0.0)
    refusal = limiter.admit("key", "m", 30, 0.0).refusal
    assert (refusal.what, refusal.wait_s) == ("tokens", pytest.approx(30))


def test_keys_and_models_have_limits_of_their_own():
    limiter = Limiter(1, None, 60)
    for pair in [("a", "m"), ("a", "n"), ("b", "m")]:
        assert limiter.admit(*pair, 1, 0.0).refusal is None
        assert limiter.admit(*pair, 1, 0.0).refusal is not None


def test_made_up_names_do_not_fill_the_memory():
    limiter = Limiter(1000, None, 60)
    for i in range(10_000):
        limiter.admit(str(i), "m", 1, float(i))
    assert len(limiter._pairs) < 2100


def test_a_short_burst_refuses_what_the_minute_would_allow():
    limiter = Limiter(600, None, 1)
    admitted = [limiter.admit("key", "m", 0, 0.0).refusal is None for _ in range(20)]
    assert sum(admitted) == 10
    assert limiter.admit("key", "m", 0, 0.1).refusal is None
