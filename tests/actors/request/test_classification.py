"""The error of each status, and whether it is retried."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors import (
    AuthenticationFailed,
    BadRequest,
    CallFailed,
    ContentFiltered,
    ProviderUnavailable,
    QuotaExhausted,
    RateLimited,
)
from callsheet.actors.request.classification import TRANSIENT, classify, is_retried
from callsheet.actors.vendors.decoding import read_error
from callsheet.actors.vendors.format import ApiError

NO_CREDIT = (
    "insufficient_quota",
    "credit_balance_exhausted",
    "organization_spend_limit_exceeded",
    "project_spend_limit_exceeded",
    "organization_usage_limit_exceeded",
    "billing_error",
    "enforced_spend_limit_reached",
    "billing_not_active",
    "billing_hard_limit_reached",
)


@pytest.mark.parametrize(
    "status", [408, 409, 424, 425, 429, 498, 499, 500, 502, 503, 504, 520, 529, 599]
)
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
        (501, BadRequest),
        (505, BadRequest),
    ],
)
def test_these_would_only_be_refused_again(status, kind):
    found, _ = classify(status, ApiError())
    assert found is kind
    assert found not in TRANSIENT


@pytest.mark.parametrize("word", NO_CREDIT)
def test_a_429_for_lack_of_credit_is_no_rate_limit_by_type_or_code(word):
    for said in (ApiError("No credit.", type=word), ApiError("No credit.", code=word)):
        kind, remedy = classify(429, said)
        assert kind is QuotaExhausted
        assert "credit" in remedy


def test_a_429_for_a_request_larger_than_the_limit_is_the_requests_own_fault():
    said = ApiError("Request too large for gpt-4o in organization org", "tokens", "rate_limit")
    assert classify(429, said)[0] is BadRequest
    assert classify(429, ApiError("Rate limit reached for gpt-4o", "tokens"))[0] is RateLimited


@pytest.mark.parametrize("status", [401, 403])
def test_the_error_has_advice_about_the_key(status):
    assert "key" in classify(status, ApiError())[1]


PER_DAY = [
    {
        "@type": "type.googleapis.com/google.rpc.QuotaFailure",
        "violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}],
    },
    {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "36s"},
]
PER_MINUTE = [{"violations": [{"quotaId": "GenerateRequestsPerMinutePerProjectPerModel"}]}]
BAD_KEY = [{"reason": "API_KEY_INVALID", "domain": "googleapis.com"}]
SPEND_LIMIT = {"error_code": "enforced_spend_limit_reached"}
LOW = "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing."
OWN_LIMIT = "You have reached your specified API usage limits. You will regain access on 1 May."
RPD = "Rate limit reached for m on requests per day (RPD): Limit 200. Please try again in 7m12s."
FREE = "Rate limit exceeded: free-models-per-day. Add 10 credits to unlock 1000 a day"


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        # OpenAI
        (400, {"code": "context_length_exceeded", "type": "invalid_request_error"}, BadRequest),
        (400, {"code": "billing_hard_limit_reached"}, QuotaExhausted),
        (401, {"code": "invalid_api_key"}, AuthenticationFailed),
        (429, {"code": "rate_limit_exceeded", "type": "tokens"}, RateLimited),
        (429, {"code": "rate_limit_exceeded", "message": RPD}, RateLimited),
        (429, {"code": "slow_down", "type": "rate_limit_error"}, RateLimited),
        (429, {"code": "resource_unavailable"}, RateLimited),
        (503, {"code": "server_is_overloaded"}, ProviderUnavailable),
        # Azure
        (400, {"code": "content_filter"}, ContentFiltered),
        (429, {"code": "429", "message": "Please retry after 20 seconds."}, RateLimited),
        # Groq
        (413, {"code": "rate_limit_exceeded", "message": "Request too large"}, BadRequest),
        (498, {"code": "capacity_exceeded"}, RateLimited),
        # Anthropic
        (400, {"type": "invalid_request_error", "message": "prompt is too long"}, BadRequest),
        (400, {"type": "invalid_request_error", "message": LOW}, QuotaExhausted),
        (400, {"type": "invalid_request_error", "message": OWN_LIMIT}, QuotaExhausted),
        (402, {"type": "billing_error"}, QuotaExhausted),
        (403, {"type": "permission_error"}, AuthenticationFailed),
        (409, {"type": "conflict_error"}, ProviderUnavailable),
        (413, {"type": "request_too_large"}, BadRequest),
        (429, {"type": "rate_limit_error"}, RateLimited),
        (429, {"type": "rate_limit_error", "details": SPEND_LIMIT}, QuotaExhausted),
        (504, {"type": "timeout_error"}, ProviderUnavailable),
        (529, {"type": "overloaded_error"}, ProviderUnavailable),
        # Gemini
        (400, {"code": 400, "status": "INVALID_ARGUMENT"}, BadRequest),
        (400, {"code": 400, "details": BAD_KEY}, AuthenticationFailed),
        (402, {"code": 402}, QuotaExhausted),
        (429, {"type": "exceeded_current_quota_error"}, QuotaExhausted),
        (429, {"status": "RESOURCE_EXHAUSTED", "details": PER_DAY}, QuotaExhausted),
        (429, {"status": "RESOURCE_EXHAUSTED", "details": PER_MINUTE}, RateLimited),
        (429, {"status": "RESOURCE_EXHAUSTED"}, RateLimited),
        (503, {"status": "UNAVAILABLE"}, ProviderUnavailable),
        (504, {"status": "DEADLINE_EXCEEDED"}, ProviderUnavailable),
        # OpenRouter
        (402, {"code": 402, "message": "Insufficient credits"}, QuotaExhausted),
        (403, {"code": 403, "metadata": {"flagged_input": "x", "reasons": ["y"]}}, ContentFiltered),
        (403, {"code": "content_policy_violation"}, ContentFiltered),
        (403, {"code": 403, "message": "Key has no access"}, AuthenticationFailed),
        (408, {"code": 408}, ProviderUnavailable),
        (429, {"code": 429, "message": FREE}, QuotaExhausted),
        (502, {"code": 502}, ProviderUnavailable),
        # Together
        (503, {"type": "server_error", "message": "model is overloaded"}, ProviderUnavailable),
    ],
)
def test_what_the_providers_send(status, error, kind):
    assert classify(status, read_error({"error": error}))[0] is kind
    assert classify(status, read_error([{"error": error}]))[0] is kind


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"code": 502, "message": "Upstream failed"}, ProviderUnavailable),
        ({"code": 429}, RateLimited),
        ({"code": "401"}, AuthenticationFailed),
        ({"code": 402}, QuotaExhausted),
        ({"code": 403, "metadata": {"reasons": ["violence"]}}, ContentFiltered),
        ({"type": "overloaded_error"}, ProviderUnavailable),
        ({"type": "rate_limit_error"}, RateLimited),
        ({"type": "rate_limit_error", "details": SPEND_LIMIT}, QuotaExhausted),
        ({"type": "invalid_request_error"}, BadRequest),
        ({"type": "invalid_request_error", "code": "invalid_api_key"}, AuthenticationFailed),
        ({"status": "RESOURCE_EXHAUSTED", "details": PER_DAY}, QuotaExhausted),
        ({"code": "server_error"}, ProviderUnavailable),
        ({"code": "insufficient_quota"}, QuotaExhausted),
        ({"code": 200}, ProviderUnavailable),
        ({"code": 1234}, ProviderUnavailable),
        ("Something went wrong", ProviderUnavailable),
        ({}, ProviderUnavailable),
    ],
)
def test_an_error_in_a_response_or_a_stream_has_the_status_that_it_states(error, kind):
    assert classify(200, read_error({"error": error}))[0] is kind


@pytest.mark.parametrize(
    "error",
    [{"code": code} for code in NO_CREDIT] + [{"details": SPEND_LIMIT}, {"details": PER_DAY}],
)
def test_a_used_up_quota_is_never_retried_whatever_the_header(error):
    kind, _ = classify(429, read_error({"error": error}))
    assert [is_retried(kind, should_retry=said) for said in (None, True, False)] == [
        False,
        False,
        False,
    ]


@pytest.mark.parametrize("status", [408, 409, 425, 429, 498, 500, 502, 503, 504, 529])
def test_transient_errors_are_retried_unless_the_provider_forbids_it(status):
    kind, _ = classify(status, ApiError())
    assert is_retried(kind, should_retry=None)
    assert is_retried(kind, should_retry=True)
    assert not is_retried(kind, should_retry=False)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
def test_permanent_errors_are_retried_only_if_the_provider_allows_it(status):
    kind, _ = classify(status, ApiError())
    assert not is_retried(kind, should_retry=None)
    assert not is_retried(kind, should_retry=False)
    assert is_retried(kind, should_retry=True)


said_anything = st.builds(
    ApiError,
    st.text() | st.sampled_from([LOW, OWN_LIMIT, FREE, "Request too large", "API_KEY_INVALID"]),
    st.sampled_from(["", "x", "overloaded_error", *NO_CREDIT]),
    st.text() | st.sampled_from(["503", "content_filter", *NO_CREDIT]),
    st.sampled_from(["", "RESOURCE_EXHAUSTED", "?"]),
    st.text() | st.sampled_from(["PerDay", '"reasons"', '"enforced_spend_limit_reached"']),
)


@given(st.integers(100, 599), said_anything)
def test_every_status_is_an_error_with_a_remedy_that_can_be_appended(status, said):
    kind, remedy = classify(status, said)
    assert issubclass(kind, CallFailed)
    assert remedy == "" or remedy.startswith("; ")
    if status < 500 and status != 200:
        assert kind is not ProviderUnavailable or status in (408, 409, 425)
    if is_retried(kind, should_retry=None) and status != 200:
        assert status in (408, 409, 425, 429, 498) or status >= 500
    if set(NO_CREDIT) & {said.type, said.code}:
        assert kind is QuotaExhausted
