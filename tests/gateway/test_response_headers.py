"""The headers of responses."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors import Response, Usage
from callsheet.gateway.calls.response_headers import (
    comment_of,
    head_of,
    of_limits,
    of_refusal,
    of_response,
)
from callsheet.gateway.errors import Refusal
from callsheet.gateway.keys import OwnLimit, OwnLimits

NOW = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)


def response(**more):
    usual = {"text": "Hi", "model": "gpt-5-nano", "finish_reason": "stop", "usage": Usage(5, 3)}
    return Response(**{**usual, "cost_usd": Decimal("0.00002"), **more})


def named(headers):
    return {name.decode(): value.decode() for name, value in headers}


def test_a_response_says_what_happened_to_its_call():
    found = named(of_response(response(queued_s=1.25, http_requests=2, maybe_billed=1)))
    assert found["x-callsheet-cost-usd"] == "0.00002"
    assert found["x-callsheet-queue-seconds"] == "1.250"
    assert found["x-callsheet-attempts"] == "2"
    assert found["x-callsheet-maybe-billed"] == "1"
    assert found["x-callsheet-cache"] == "miss"


def test_an_unknown_cost_is_left_out():
    """L13: it is not shown as 0."""
    assert "x-callsheet-cost-usd" not in named(of_response(response(cost_usd=None)))


def test_small_costs_are_written_without_an_exponent():
    assert named(of_response(response(cost_usd=Decimal("1E-9"))))["x-callsheet-cost-usd"] == (
        "0.000000001"
    )


@given(st.text(), st.text())
def test_no_text_of_a_provider_ends_a_header_or_a_comment(model, request_id):
    found = response(model=model, request_id=request_id)
    for _, value in of_response(found):
        assert not set(value) - set(range(0x20, 0x7F))
    comment = comment_of(found)
    assert comment.startswith(b": callsheet ")
    assert comment.count(b"\n") == 2
    assert b"\r" not in comment


def test_each_sdk_finds_the_id_of_its_request():
    assert head_of("openai", "req_1") == [(b"x-request-id", b"req_1")]
    assert head_of("anthropic", "req_1") == [(b"request-id", b"req_1")]


@pytest.mark.parametrize(
    ("after_s", "seconds", "millis"), [(0.0, "0", "0"), (0.2, "1", "200"), (12.0001, "13", "12001")]
)
def test_a_wait_is_rounded_up_so_that_no_client_comes_too_early(after_s, seconds, millis):
    refusal = Refusal(
        status=429, kind="rate_limit", message="later", retry_after_s=after_s, should_retry=True
    )
    assert named(of_refusal(refusal)) == {
        "retry-after": seconds,
        "retry-after-ms": millis,
        "x-should-retry": "true",
    }


@pytest.mark.parametrize(
    ("reset_s", "text"),
    [(0.0, "0ms"), (0.0125, "13ms"), (1.5, "1.5s"), (360.0, "6m0s"), (3725.25, "1h2m5.25s")],
)
def test_openai_writes_durations_in_units(reset_s, text):
    limits = OwnLimits(requests=OwnLimit(60.0, 59.4, reset_s))
    found = named(of_limits("openai", limits, NOW))
    assert found == {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "59",
        "x-ratelimit-reset-requests": text,
    }


def test_anthropic_writes_instants():
    limits = OwnLimits(tokens=OwnLimit(1000.0, 10.0, 30.0))
    found = named(of_limits("anthropic", limits, NOW))
    assert found["anthropic-ratelimit-tokens-reset"] == "2026-11-29T12:00:30Z"
    assert found["anthropic-ratelimit-tokens-limit"] == "1000"
