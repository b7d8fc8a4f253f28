"""Reads the limits that providers report in headers and in the text of a refusal. Pure (R14).

Sources: docs/providers.md, limits and headers of OpenAI, Anthropic and others (Groq, Cerebras).
OpenAI's refusals contain "Limit L, Used U, Requested R. Please try again in X". For a bucket with a
period of P, X = (U + R - L) P / L, so that P follows from X even if the text names another period.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from math import isfinite

from ..http import duration_s
from ..permit import Dimension, Report

_PERIODS = (60.0, 86_400.0, 1.0, 3_600.0)  # the most likely first
_OPENAI: tuple[tuple[str, Dimension, float | None], ...] = (
    ("requests", "requests", None),
    ("tokens", "tokens", None),
    ("requests-day", "requests", 86_400.0),
    ("requests-minute", "requests", 60.0),
    ("tokens-minute", "tokens", 60.0),
    ("tokens-day", "tokens", 86_400.0),
)
_ANTHROPIC: tuple[tuple[str, Dimension], ...] = (
    ("requests", "requests"),
    ("input-tokens", "input_tokens"),
    ("output-tokens", "output_tokens"),
)
_REFUSAL = re.compile(
    r"\b(?P<what>requests|tokens)\b[^:]{0,60}:\s*Limit:?\s*(?P<limit>\d+),\s*Used:?\s*(?P<used>\d+),"
    r"\s*Requested:?\s*(?P<requested>\d+)",
    re.IGNORECASE,
)
_WAIT = re.compile(r"try again in ([0-9.hms]+[hms])")
_MILLISECOND = 0.001


def read_reports(headers: Mapping[str, str]) -> tuple[Report, ...]:
    """Read the limits in the headers of a response; headers that make no sense are ignored.

    Args:
        headers: {name in lower case: value}.
    """
    found: list[Report] = []
    for name, dimension, period_s in _OPENAI:
        limit = _number(headers.get(f"x-ratelimit-limit-{name}"))
        if limit is None:
            continue
        remaining = _number(headers.get(f"x-ratelimit-remaining-{name}"))
        text = headers.get(f"x-ratelimit-reset-{name}", "").strip()
        reset = duration_s(text)
        if reset is None:
            reset = _number(text)
        is_coarse = reset is not None and reset == int(reset) and not text.endswith("ms")
        grain = 1.0 if is_coarse else _MILLISECOND
        # Azure sends values that do not meet this.
        if remaining is not None and 0 <= remaining <= limit and limit > 0:
            used = limit - remaining
            period = _period(limit, used, reset, grain) if period_s is None else period_s
            found.append(Report(dimension, limit, used, period, reset))
    for name, dimension in _ANTHROPIC:
        start = f"anthropic-ratelimit-{name}"
        limit = _number(headers.get(f"{start}-limit"))
        if limit is None:
            continue
        remaining = _number(headers.get(f"{start}-remaining"))
        reset = _until(headers.get(f"{start}-reset", ""), headers.get("date", ""))
        if remaining is not None and 0 <= remaining <= limit and limit > 0:
            found.append(Report(dimension, limit, limit - remaining, 60.0, reset))
    return tuple(found)


def read_refusal(message: str) -> Report | None:
    """Read the limit that a refusal names; None if it names none.

    Args:
        message: the text of the error.
    """
    found = _REFUSAL.search(message)
    if found is None:
        return None
    limit, used = float(found["limit"]), float(found["used"])
    over = used + float(found["requested"]) - limit
    words = _WAIT.search(message)
    wait = None if words is None else duration_s(words[1])
    period = 60.0
    if wait and over > 0 and limit > 0:
        period = min(_PERIODS, key=lambda one: abs(one - wait * limit / over))
    dimension: Dimension = "requests" if found["what"].lower() == "requests" else "tokens"
    return Report(dimension, limit, min(used, limit), period) if limit > 0 else None


def _period(limit: float, used: float, reset: float | None, grain: float) -> float:
    """Return the period of a limit: for a bucket, reset = used * period / limit, both rounded."""
    if reset is None:
        return 60.0
    for period in _PERIODS:
        if (used - 1) * period / limit - grain <= reset <= (used + 1) * period / limit + grain:
            return period
    # It is not a bucket but a window, at whose end the whole limit is available again.
    return next((period for period in (60.0, 3_600.0) if reset <= period), 86_400.0)


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if isfinite(value) else None


def _until(instant: str, date: str) -> float | None:
    """Return the seconds from the date of a response to an instant (RFC 3339).

    Both times are the provider's, so that the local clock does not matter.
    """
    try:
        seconds = (datetime.fromisoformat(instant) - parsedate_to_datetime(date)).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return None
    return max(0.0, seconds)
