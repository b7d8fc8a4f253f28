"""The pause before a retry, and the ways in which providers request one."""

from math import inf
from random import Random

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors import RetryPolicy
from callsheet.actors.http.retry_after import retry_after_s, should_retry

DATE = "Thu, 01 Jan 2026 00:00:00 GMT"

policies = st.builds(
    RetryPolicy,
    max_attempts=st.integers(1, 40),
    base_s=st.floats(0, 10),
    cap_s=st.floats(0, 100),
    max_server_s=st.floats(0, 1000),
)


@given(policies, st.integers(1, 60), st.integers())
def test_a_pause_that_no_provider_requests_is_up_to_the_doubled_base_and_the_cap(
    policy, failures, seed
):
    pause = policy.backoff(failures, None, Random(seed))
    assert 0 <= pause <= min(policy.cap_s, policy.base_s * 2 ** (failures - 1))
    assert not policy.is_too_long(None)


def test_the_jitter_is_full():
    """The pause is uniform between zero and its bound."""
    random = Random(1)
    policy = RetryPolicy(base_s=1.0, cap_s=4.0)
    pauses = [policy.backoff(2, None, random) for _ in range(2000)]
    assert min(pauses) < 0.02
    assert max(pauses) > 1.98
    assert sum(pauses) / len(pauses) == pytest.approx(1.0, abs=0.05)


@given(policies, st.integers(1, 60), st.floats(0, 2000), st.integers())
def test_the_requested_pause_is_a_minimum_and_a_long_one_is_refused(
    policy, failures, server_s, seed
):
    pause = policy.backoff(failures, server_s, Random(seed))
    assert policy.is_too_long(server_s) == (server_s > policy.max_server_s)
    if server_s == 0:
        assert pause == policy.backoff(failures, None, Random(seed)), "as without a request"
    else:
        assert server_s <= pause <= server_s + policy.base_s


def test_calls_that_were_rejected_together_are_not_retried_together():
    pauses = {RetryPolicy().backoff(1, 2.0, Random(seed)) for seed in range(50)}
    assert len(pauses) == 50


def test_the_pause_after_thousands_of_failures_is_within_the_cap():
    """2.0 ** 1024 is more than a float can hold."""
    assert 0 <= RetryPolicy().backoff(2000, None, Random(0)) <= 8.0


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"max_attempts": 0}, "max_attempts"),
        ({"base_s": -1}, "base_s"),
        ({"cap_s": float("nan")}, "cap_s"),
        ({"cap_s": inf}, "cap_s"),
        ({"base_s": inf}, "base_s"),
        ({"max_server_s": -1}, "max_server_s"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(settings, field):
    with pytest.raises(ValueError, match=field):
        RetryPolicy(**settings)


# ------------------------------------------------------------------ what a provider says


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("1", 1.0),
        (" 20 ", 20.0),
        ("1.5", 1.5),
        ("3.", 3.0),
        ("411480", 411480.0),
        ("5e-05", 5e-05),
        ("1e3", 1000.0),
        # More than a float can hold, or longer than any call can wait.
        ("1e999", inf),
        ("9" * 400, inf),
        ("inf", inf),
        ("+Inf", inf),
        # As Go writes a duration.
        ("20s", 20.0),
        ("1m30s", 90.0),
        ("250ms", 0.25),
        # As a date, relative to the answer's own date.
        ("Thu, 01 Jan 2026 00:01:30 GMT", 90.0),
        ("Thursday, 01-Jan-26 00:00:05 GMT", 5.0),
        ("Thu Jan  1 00:00:07 2026 GMT", 7.0),
        ("Thu, 01 Jan 2026 01:00:05 +0100", 5.0),
        # Dates in the past need no pause.
        ("Wed, 31 Dec 2025 23:59:00 GMT", 0.0),
        # Invalid values are ignored.
        ("", None),
        ("-1", None),
        ("+1", None),
        ("0x10", None),
        ("nan", None),
        ("-0.0", None),
        ("1_000", None),
        ("1,5", None),
        ("5, 10", None),
        ("٣", None),
        ("³", None),
        ("soon", None),
        ("20mb", None),
        ("-20s", None),
        ("2026-01-01T00:01:30Z", None),
        ("Thu, 99 Jan 2026 00:00:00 GMT", None),
        ("Mon, 01 Jan 99999 00:00:00 GMT", None),
        ("Thu, 01 Jan 2026 00:00:00 +9999999999", None),
    ],
)
def test_retry_after_in_seconds_or_as_a_date(value, seconds):
    assert retry_after_s({"retry-after": value, "date": DATE}) == seconds


def test_a_date_is_worth_nothing_without_the_answers_own():
    later = "Thu, 01 Jan 2026 00:01:30 GMT"
    assert retry_after_s({"retry-after": later}) is None
    assert retry_after_s({"retry-after": later, "date": "yesterday"}) is None
    # One of them without a time zone, which cannot be compared with one that has it.
    assert retry_after_s({"retry-after": later, "date": "Thu, 01 Jan 2026 00:00:00"}) is None


@pytest.mark.parametrize(
    ("message", "seconds"),
    [
        ("Rate limit reached. Please try again in 1.78s.", 1.78),
        ("Please try again in 308ms.", 0.308),
        ("Please try again in 20s. Visit https://example.com", 20.0),
        ("Please try again in 6m0s.", 360.0),
        ("Please try again in 1m4.296s.", 64.296),
        ("Please try again in 7m12s", 432.0),
        ("Please try again in 2m.", 120.0),
        ("Please try again in 2h.", 7200.0),
        ("Please try again in 114h18m0s.", 411_480.0),
        ("TRY AGAIN IN 5S", 5.0),
        ("Please retry after 5s", 5.0),
        ("Please retry after 20 seconds.", 20.0),
        ("Please retry after 1 second.", 1.0),
        ("Please try again in 1.5 seconds.", 1.5),
        ("Please retry in 36.429760048s.", 36.429760048),
        ("Please try again in 1h2m3.5s", 3723.5),
        ("Please try again in 2 minutes", 120.0),
        ("Please try again in 500 milliseconds", 0.5),
        ("Please try again in 5µs", 5e-6),
        ("Please try again in 7us", 7e-6),
        ("Please try again in 9ns", 9e-9),
        ("Please try again in .5s", 0.5),
        (f"Please try again in {'9' * 400}s", inf),
        ("Please try again in 20 steps.", None),
        ("Please try again in -5s.", None),
        ("", None),
        ("Please try again in a moment.", None),
        ("Please try again later.", None),
        ("Limit 30000, Used 30000, Requested 154.", None),
    ],
)
def test_the_error_text_may_have_the_pause(message, seconds):
    found = retry_after_s({}, message)
    assert found == (seconds if seconds is None else pytest.approx(seconds))


def test_milliseconds_go_before_seconds_and_a_header_before_the_text():
    words = "Please try again in 3s."
    assert retry_after_s({"retry-after-ms": "1500", "retry-after": "2"}, words) == 1.5
    assert retry_after_s({"retry-after": "2"}, words) == 2.0
    assert retry_after_s({"retry-after": "nonsense"}, words) == 3.0
    assert retry_after_s({"retry-after-ms": "-5", "retry-after": "2"}, words) == 2.0


@pytest.mark.parametrize(
    ("details", "seconds"),
    [
        ('[{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "37s"}]', 37.0),
        ('{"retryDelay":"3.000000001s"}', 3.000000001),
        (r"{\"retryDelay\": \"12s\"}", 12.0),  # JSON in a text in JSON, as gateways pass it on
        ("{'retryDelay': '12s'}", 12.0),
        (f'{{"retryDelay": "{"9" * 400}s"}}', inf),
        ('{"retryDelay": "-3s"}', None),
        ('{"retryDelay": "soon"}', None),
        ('{"retryDelay": 37}', None),
        ('{"retryDelay": null}', None),
        ("{}", None),
    ],
)
def test_gemini_has_the_pause_in_the_details_which_gateways_put_into_the_text(details, seconds):
    assert retry_after_s({}, "Quota exceeded.", details) == seconds
    assert retry_after_s({}, details) == seconds
    assert retry_after_s({"retry-after": "2"}, "", details) == 2.0, "a header goes first"


@pytest.mark.parametrize(
    ("value", "said"),
    [("true", True), ("false", False), (" True ", True), ("FALSE", False), ("", None), ("1", None)],
)
def test_headers_may_state_whether_to_retry(value, said):
    assert should_retry({"x-should-retry": value}) is said
    assert should_retry({}) is None


@given(policies)
def test_an_endless_wait_is_too_long_for_any_patience(policy):
    assert attrs.evolve(policy, max_server_s=inf).is_too_long(inf)


@given(st.text() | st.from_regex(r"[0-9.hms ,:+-]{0,40}"), st.text() | st.just(DATE), st.text())
def test_any_header_or_text_is_a_pause_or_nothing(value, date, message):
    headers = {"retry-after": value, "retry-after-ms": value[::-1], "date": date}
    for found in (
        retry_after_s({}, "", f'"retryDelay": "{value}"'),
        retry_after_s(headers, message),
        retry_after_s({"retry-after": value, "date": date}),
        retry_after_s({}, f"try again in {value}"),
    ):
        assert found is None or 0 <= found <= inf


def test_a_date_with_any_offset_is_a_time_or_nothing():
    for offset in ("+2359", "-2359", "+2400", "+9999", "-9999", "+99999999999999999999"):
        value = f"Thu, 01 Jan 2026 00:00:00 {offset}"
        for headers in (
            {"retry-after": value, "date": DATE},
            {"retry-after": DATE, "date": value},
        ):
            found = retry_after_s(headers)
            assert found is None or found >= 0
