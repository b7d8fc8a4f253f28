"""What a status means, and whether another attempt is worth anything."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors import (
    AuthenticationFailed,
    BadRequest,
    CallFailed,
    ProviderUnavailable,
    QuotaExhausted,
    RateLimited,
)
from callsheet.actors.refusal import TRANSIENT, classify
from callsheet.actors.wire import ApiError

NO_CREDIT = (
    "insufficient_quota",
    "credit_balance_exhausted",
    "organization_spend_limit_exceeded",
    "project_spend_limit_exceeded",
    "organization_usage_limit_exceeded",
)


@pytest.mark.parametrize("status", [408, 409, 425, 429, 498, 500, 502, 503, 504, 520, 529, 599])
def test_these_may_be_gone_by_the_next_attempt(status):
    assert classify(status, ApiError())[0] in TRANSIENT


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (204, BadRequest),
        (301, BadRequest),
        (400, BadRequest),
        (401, AuthenticationFailed),
        (402, QuotaExhausted),
        (403, AuthenticationFailed),
        (404, BadRequest),
        (405, BadRequest),
        (413, BadRequest),
        (422, BadRequest),
    ],
)
def test_these_would_only_be_refused_again(status, kind):
    found, _ = classify(status, ApiError())
    assert found is kind
    assert found not in TRANSIENT


@pytest.mark.parametrize("word", NO_CREDIT)
def test_a_429_for_want_of_credit_is_not_too_fast_whether_type_or_code_says_so(word):
    for said in (ApiError("No credit.", type=word), ApiError("No credit.", code=word)):
        kind, remedy = classify(429, said)
        assert kind is QuotaExhausted
        assert "credit" in remedy


def test_a_429_for_a_request_larger_than_the_limit_is_the_requests_own_fault():
    said = ApiError("Request too large for gpt-4o in organization org", "tokens", "rate_limit")
    assert classify(429, said)[0] is BadRequest
    assert classify(429, ApiError("Rate limit reached for gpt-4o", "tokens"))[0] is RateLimited


@pytest.mark.parametrize("status", [401, 403])
def test_what_to_do_about_the_key_is_said(status):
    assert "OPENAI_API_KEY" in classify(status, ApiError())[1]


@given(
    st.integers(100, 599).filter(lambda status: status != 200),
    st.builds(ApiError, st.text(), st.sampled_from(["", "x", *NO_CREDIT]), st.text()),
)
def test_every_status_is_an_error_with_a_remedy_that_can_be_appended(status, said):
    kind, remedy = classify(status, said)
    assert issubclass(kind, CallFailed)
    assert remedy == "" or remedy.startswith("; ")
    if status < 500:
        assert kind is not ProviderUnavailable or status in (408, 409, 425)
