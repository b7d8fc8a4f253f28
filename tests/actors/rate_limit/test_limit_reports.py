"""How the limits in headers and refusals are read."""

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors.permit import Report
from callsheet.actors.rate_limit.reports import read_refusal, read_reports


def openai(limit, remaining, reset, of="requests"):
    start = "x-ratelimit"
    return {
        f"{start}-limit-{of}": limit,
        f"{start}-remaining-{of}": remaining,
        f"{start}-reset-{of}": reset,
    }


@pytest.mark.parametrize(
    ("headers", "used", "reset_s", "grain_s"),
    [
        (openai("10000", "9988", "1m43.053s"), 12, 103.053, 0.001),  # a day, recorded
        (openai("10000", "9999", "8.64s"), 1, 8.64, 0.01),
        (openai("30000", "29999", "2ms"), 1, 0.002, 0.001),
        (openai("200000", "199983", "4ms", "tokens"), 17, 0.004, 0.001),  # 17 would be 5.1 ms
        (openai("600", "600", "0s"), 0, 0.0, 1.0),
        (openai("600", "0", "1m0s"), 600, 60.0, 1.0),
        (openai("60", "50", "10"), 10, 10.0, 1.0),  # Azure's plain seconds
        (openai("60", "0", "33011.38"), 60, 33011.38, 0.01),  # Cerebras
        (openai("600", "300", "0"), 300, None, 0.001),  # it is not full
    ],
)
def test_the_period_of_a_limit_is_not_read_but_inferred(headers, used, reset_s, grain_s):
    (report,) = read_reports(headers)
    assert (report.used, report.period_s) == (used, None)
    assert (report.reset_s, report.grain_s) == (reset_s, grain_s)


DATE = "Wed, 25 Nov 2026 12:00:00 GMT"


@pytest.mark.parametrize(
    ("reset", "seconds"),
    [
        ("30", 30.0),
        ("30.5", 30.5),
        ("500ms", 0.5),
        ("1h2m3.5s", 3723.5),
        ("20 seconds", 20.0),
        ("2026-11-25T12:00:04Z", 4.0),
        ("2026-11-25T14:00:04+02:00", 4.0),
        ("Wed, 25 Nov 2026 12:00:04 GMT", 4.0),
        ("1795608004", 4.0),
        ("1795608004.5", 4.5),
        ("1795608004000", 4.0),
        ("1795607996", None),  # in the past
        ("1795607996000", None),
        ("2026-11-25T11:00:00Z", None),
        ("2026-11-25T12:00:04", None),  # of no time zone
        ("-30", None),
        ("nan", None),
        ("inf", None),
        ("9" * 400, None),
        ("tomorrow", None),
        ("", None),
    ],
)
def test_a_reset_in_every_form(reset, seconds):
    headers = openai("600", "0", reset) | {"date": DATE}
    (report,) = read_reports(headers)
    assert report.reset_s == seconds


@pytest.mark.parametrize("reset", ["1795608004", "1795608004000", "2026-11-25T12:00:04Z"])
@pytest.mark.parametrize("date", ["", "yesterday"])
def test_an_instant_without_the_date_of_the_response_is_not_compared_with_our_clock(reset, date):
    (report,) = read_reports(openai("600", "0", reset) | {"date": date})
    assert report.reset_s is None


def test_a_reset_in_milliseconds_by_its_name():
    headers = openai("600", "0", "30") | {"x-ratelimit-reset-requests-ms": "1500"}
    del headers["x-ratelimit-reset-requests"]
    (report,) = read_reports(headers)
    assert report.reset_s == 1.5


@pytest.mark.parametrize(
    ("name", "dimension", "period_s"),
    [
        ("x-ratelimit-{}", "requests", None),
        ("ratelimit-{}", "requests", None),
        ("x-rate-limit-{}", "requests", None),
        ("x-ratelimit-{}-requests", "requests", None),
        ("x-ratelimit-{}-tokens", "tokens", None),
        ("x-ratelimit-{}-project-tokens", "tokens", None),
        ("x-ratelimit-{}-requests-day", "requests", 86_400.0),
        ("x-ratelimit-{}-tokens-per-day", "tokens", 86_400.0),
        ("x-ratelimit-{}-tokens-per-minute", "tokens", 60.0),
        ("x-ratelimit-{}-req-minute", "requests", 60.0),
        ("x-ratelimit-{}-tokens-minute", "tokens", 60.0),
        ("x-ratelimit-{}-minute", "requests", 60.0),
        ("x-ratelimit-{}-second", "requests", 1.0),
        ("x-ratelimit-{}-hour", "requests", 3_600.0),
        ("x-ratelimit-{}-tokens-month", "tokens", 2_592_000.0),
        ("x-ratelimit-{}-input-tokens", "input_tokens", None),
        ("x-ratelimit-tokens-{}", "tokens", None),
        ("x-ratelimit-{}-concurrent-requests", "in_flight", None),
        ("x-ratelimit-{}-concurrency", "in_flight", None),
        ("x-tokenlimit-{}", "tokens", None),
    ],
)
def test_the_names_of_gateways(name, dimension, period_s):
    headers = {name.format("limit"): "600", name.format("remaining"): "590"}
    (report,) = read_reports(headers)
    assert (report.dimension, report.period_s) == (dimension, period_s)
    assert (report.limit, report.used, report.source) == (600, 10, name.format("limit"))


@pytest.mark.parametrize(
    ("headers", "dimension", "limit", "used", "period_s"),
    [
        (
            {
                "ratelimit-policy": '"burst";q=100;w=60,"daily";q=1000;w=86400',
                "ratelimit": '"burst";r=50;t=30',
            },
            "requests",
            100,
            50,
            60.0,
        ),
        (
            {
                "ratelimit-policy": '"slots";q=8;qu="concurrent-requests"',
                "ratelimit": '"slots";r=3',
            },
            "in_flight",
            8,
            5,
            None,
        ),
        ({"ratelimit": "limit=100, remaining=50, reset=30"}, "requests", 100, 50, None),
        (
            {"ratelimit": "limit=100, remaining=50, reset=30", "ratelimit-policy": "100;w=60"},
            "requests",
            100,
            50,
            60.0,
        ),
        (
            {"ratelimit-limit": "100, 100;w=60, 1000;w=3600", "ratelimit-remaining": "50"},
            "requests",
            100,
            50,
            60.0,
        ),
    ],
)
def test_the_drafts_of_the_ietf(headers, dimension, limit, used, period_s):
    (report,) = read_reports(headers)
    assert (report.dimension, report.limit, report.used) == (dimension, limit, used)
    assert report.period_s == period_s


def test_several_limits_of_one_dimension_are_several_reports():
    headers = openai("100", "99", "", "requests-minute") | openai("900", "1", "", "requests-day")
    minute, day = read_reports(headers)
    assert (minute.used, minute.period_s) == (1, 60.0)
    assert (day.used, day.period_s) == (899, 86_400.0)


@pytest.mark.parametrize("word", ["images", "input-images", "cost", "overage", "api_key"])
def test_limits_of_what_is_not_counted_here_are_passed_over(word):
    assert read_reports(openai("600", "590", "1s", word)) == ()


def test_limits_in_anthropics_headers():
    headers = {"date": "Wed, 25 Nov 2026 12:00:00 GMT"}
    for name, limit, remaining in (
        ("requests", 4000, 3999),
        ("input-tokens", 400_000, 399_000),
        ("output-tokens", 80_000, 74_000),
        ("tokens", 480_000, 473_000),
    ):
        start = f"anthropic-ratelimit-{name}"
        headers |= {
            f"{start}-limit": str(limit),
            f"{start}-remaining": str(remaining),
            f"{start}-reset": "2026-11-25T12:00:04Z",
        }
    found = read_reports(headers)
    assert [(one.dimension, one.used, one.rounding) for one in found] == [
        ("requests", 1, 1),
        ("input_tokens", 1000, 1000),  # rounded to thousands
        ("output_tokens", 6000, 1000),
    ]
    assert {(one.reset_s, one.usual_s, one.grain_s) for one in found} == {(4.0, 60.0, 2.0)}


@pytest.mark.parametrize(
    ("text", "limit"),
    [("20,000", 20_000), ("1,000,000", 1_000_000), ("100,100", 100), ("20, 20;w=60", 20)],
)
def test_a_comma_separates_thousands_or_equal_limits(text, limit):
    (found,) = read_reports(openai(text, text, "1s"))
    assert (found.limit, found.used) == (limit, 0)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-ratelimit-limit-requests": "600"},
        openai("-1", "-1", "0"),
        openai("0", "0", "0"),
        openai("600", "-1", "0s"),
        openai("600", "900", "0s"),
        openai("many", "600", "0s"),
        openai("nan", "nan", "nan"),
        openai("inf", "1", "1s"),
    ],
)
def test_what_makes_no_sense_is_passed_over(headers):
    assert read_reports(headers) == ()


def test_a_reset_that_makes_no_sense_is_passed_over():
    (report,) = read_reports(openai("600", "599", "soon"))
    assert (report.used, report.period_s, report.reset_s) == (1, None, None)


TEXTS = st.text(st.sampled_from("0123456789.,;=-+:\"' abdehilmnqrstuwTZ\u0660\u00b5"), max_size=40)


@given(
    names=st.lists(
        st.sampled_from(
            [
                *openai("", "", ""),
                *openai("", "", "", "tokens-minute"),
                "ratelimit",
                "ratelimit-policy",
                "ratelimit-limit",
                "ratelimit-remaining",
                "ratelimit-reset",
                "anthropic-ratelimit-requests-reset",
                "date",
            ]
        )
    ),
    texts=st.lists(TEXTS | st.text() | st.sampled_from(["1", "0", "9" * 400, "600"]), min_size=13),
)
def test_whatever_headers_contain_is_no_error(names, texts):
    for report in read_reports(dict(zip(names, texts, strict=False))):
        assert 0 <= report.used <= report.limit
        assert report.limit > 0
        assert report.reset_s is None or report.reset_s >= 0


@given(st.text() | st.lists(TEXTS).map("Limit ".join))
def test_whatever_a_refusal_says_is_no_error(text):
    read_refusal(text)
    read_refusal(f"on requests: Limit {'9' * 400}, Used {'9' * 400}, Requested 1")
    read_refusal(f"tokens: Limit 10, Used 10, Requested 1. Please try again in {text}")


@pytest.mark.parametrize(
    ("message", "report"),
    [
        (
            (
                "Rate limit reached for gpt-4o in organization org-x on tokens per min (TPM): "
                "Limit 30000, Used 30000, Requested 890. Please try again in 1.78s. Visit ..."
            ),
            Report("tokens", 30000, 30000, 60.0),
        ),
        (
            (
                "Rate limit reached for m in organization o on requests per min (RPM): Limit 600, "
                "Used 600, Requested 1. Please try again in 100ms."
            ),
            Report("requests", 600, 600, 60.0),
        ),
        (
            (
                "Rate limit reached for m on requests per day (RPD): Limit 200, Used 200, "
                "Requested 1. Please try again in 7m12s."
            ),
            Report("requests", 200, 200, 86_400.0),
        ),
        (  # the label is wrong: the wait shows a month
            (
                "Rate limit reached for m on tokens per min (TPM): Limit 100000, Used 96749, "
                "Requested 19126. Please try again in 114h18m0s."
            ),
            Report("tokens", 100_000, 96_749, 2_592_000.0),
        ),
        (
            "Rate limit reached on requests: Limit 20, Used 20, Requested 1.",
            Report("requests", 20, 20, None),
        ),
        (
            "Your account reached max organization concurrency: 3, please try again",
            Report("in_flight", 3, 0),
        ),
        ("You have reached the limit of 5 concurrent requests.", Report("in_flight", 5, 0)),
        ("Too many requests.", None),
        ("", None),
    ],
)
def test_limits_in_the_text_of_a_refusal(message, report):
    found = read_refusal(message)
    assert (found and attrs.evolve(found, source="")) == report
