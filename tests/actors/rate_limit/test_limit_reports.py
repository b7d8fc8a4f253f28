"""How the limits in headers and refusals are read."""

import pytest

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
    ("headers", "used", "period_s"),
    [
        (openai("10000", "9988", "1m43.053s"), 12, 86_400),  # a day, recorded
        (openai("10000", "9999", "8.64s"), 1, 86_400),
        (openai("30000", "29999", "2ms"), 1, 60),
        (openai("200000", "199983", "4ms", "tokens"), 17, 60),  # 17 would be 5.1 ms
        (openai("600", "600", "0s"), 0, 60),
        (openai("600", "0", "1m0s"), 600, 60),
        (openai("60", "50", "10"), 10, 60),  # Azure's plain seconds
        (openai("600", "400", "37"), 200, 60),  # a window, which ends in 37 s
        (openai("600", "590", "45m"), 10, 3_600),
        (openai("600", "400", "2h"), 200, 86_400),
        (openai("600", "400", "900h"), 200, 86_400),
    ],
)
def test_limits_in_openais_headers(headers, used, period_s):
    (report,) = read_reports(headers)
    assert (report.used, report.period_s) == (used, period_s)


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
    assert read_reports(headers) == (
        Report("requests", 4000, 1, 60.0, 4.0),
        Report("input_tokens", 400_000, 1000, 60.0, 4.0),
        Report("output_tokens", 80_000, 6000, 60.0, 4.0),
    )


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
    assert (report.used, report.period_s, report.reset_s) == (1, 60.0, None)


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
        ("Too many requests.", None),
        ("", None),
    ],
)
def test_limits_in_the_text_of_a_refusal(message, report):
    assert read_refusal(message) == report
