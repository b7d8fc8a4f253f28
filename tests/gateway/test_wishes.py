"""What the headers of a call ask for."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors import VENDORS
from callsheet.gateway.calls.wishes import features_in, read_wishes
from callsheet.gateway.errors import InvalidBody


def wishes(*, is_streamed=False, **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return read_wishes(named, is_streamed=is_streamed, usual_s=50.0)


@pytest.mark.parametrize(
    ("headers", "patience_s"),
    [
        ({}, 50.0),
        ({"x_stainless_read_timeout": "600"}, 50.0),
        ({"x_stainless_read_timeout": "20"}, 20.0),
        ({"x_stainless_read_timeout": "NOT_GIVEN"}, 50.0),
        ({"x_stainless_read_timeout": "nan"}, 50.0),
        ({"x_callsheet_patience": "10", "x_stainless_read_timeout": "20"}, 10.0),
        ({"x_callsheet_patience": "0"}, 0.0),
        ({"x_callsheet_patience": "300"}, 50.0),
        ({"x_callsheet_deadline": "3600"}, inf),
        ({"x_callsheet_deadline": "3600", "x_callsheet_patience": "60"}, inf),
    ],
)
def test_a_whole_response_has_the_least_patience(headers, patience_s):
    assert wishes(**headers).patience_s == patience_s


def test_a_stream_has_no_limit_of_patience_but_that_of_its_header():
    assert wishes(is_streamed=True, x_stainless_read_timeout="20").patience_s == inf
    assert wishes(is_streamed=True, x_callsheet_patience="20").patience_s == 20.0


@pytest.mark.parametrize("name", ["x_callsheet_patience", "x_callsheet_deadline"])
@pytest.mark.parametrize("value", ["soon", "", "-1", "nan", "inf", "1e9"])
def test_what_is_no_number_of_seconds_is_refused_by_name(name, value):
    with pytest.raises(InvalidBody, match=name.replace("_", "-")) as caught:
        wishes(**{name: value})
    assert caught.value.param == name.replace("_", "-")


@pytest.mark.parametrize(
    ("count", "is_repeated"), [("0", False), ("", False), ("1", True), ("2", True), ("x", True)]
)
def test_an_sdk_says_that_it_repeats_a_call(count, is_repeated):
    assert wishes(x_stainless_retry_count=count).is_repeated is is_repeated


@pytest.mark.parametrize(
    ("control", "may_read"),
    [("no-cache", False), ("max-age=0, No-Store", False), ("max-age=60", True), ("", True)],
)
def test_a_client_may_want_no_cached_response(control, may_read):
    assert wishes(cache_control=control).may_read_cache is may_read


def test_only_the_vendor_of_a_feature_gets_its_header():
    headers = {"anthropic-beta": "x-1", "openai-beta": "y=1", "cookie": "z"}
    assert features_in(headers, VENDORS["anthropic"]) == {"anthropic-beta": "x-1"}
    assert features_in(headers, VENDORS["openai"]) == {"openai-beta": "y=1"}
    assert features_in(headers, VENDORS["mistral"]) == {}


def test_the_version_that_is_sent_anyway_is_no_wish():
    vendor = VENDORS["anthropic"]
    own = vendor.headers["anthropic-version"]
    assert features_in({"anthropic-version": own}, vendor) == {}
    other = "2026-10-21" if own != "2026-10-21" else "2023-06-01"
    assert features_in({"anthropic-version": other}, vendor) == {"anthropic-version": other}


@given(st.text(), st.text(), st.text())
def test_any_headers_are_read_or_refused(patience, timeout, count):
    headers = {
        "x-callsheet-patience": patience,
        "x-stainless-read-timeout": timeout,
        "x-stainless-retry-count": count,
    }
    try:
        found = read_wishes(headers, is_streamed=False, usual_s=50.0)
    except InvalidBody:
        return
    assert 0 <= found.patience_s <= 50.0
