"""What providers tell of their limits, in headers and in the text of a refusal. Pure (R14).

Sources: OpenAI's, Anthropic's, Groq's and Cerebras's documentation of their headers; OpenAI's
refusals say "Limit L, Used U, Requested R. Please try again in X", where X = (U + R - L) P / L for
a period of P, whatever the label says.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from math import isfinite

from ..http import duration_s
from ..permit import Dimension, Report

__all__ = [
    "read_refusal",
    "read_reports",
]


_PERIODS = (60.0, 86_400.0, 1.0, 3_600.0)  # the likeliest first
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
    """What an answer's headers tell of limits; nothing where they make no sense.

    Args:
        headers: by lower-case name.
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
        if remaining is not None and 0 <= remaining <= limit and limit > 0:  # Azure has others
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
    """The limit that a refusal names; None if it names none.

    Args:
        message: the error's text.
    """
    said = _REFUSAL.search(message)
    if said is None:
        return None
    limit, used = float(said["limit"]), float(said["used"])
    over = used + float(said["requested"]) - limit
    words = _WAIT.search(message)
    wait = None if words is None else duration_s(words[1])
    period = 60.0
    if wait and over > 0 and limit > 0:
        period = min(_PERIODS, key=lambda one: abs(one - wait * limit / over))
    dimension: Dimension = "requests" if said["what"].lower() == "requests" else "tokens"
    return Report(dimension, limit, min(used, limit), period) if limit > 0 else None


def _period(limit: float, used: float, reset: float | None, grain: float) -> float:
    """In which time a limit refills: with a bucket, reset = used * period / limit, both rounded."""
    if reset is None:
        return 60.0
    for period in _PERIODS:
        if (used - 1) * period / limit - grain <= reset <= (used + 1) * period / limit + grain:
            return period
    # It is no bucket: all of it is there again at the end of a window.
    return next((period for period in (60.0, 3_600.0) if reset <= period), 86_400.0)


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if isfinite(value) else None


def _until(instant: str, date: str) -> float | None:
    """Seconds from an answer's date to an instant (RFC 3339), so that no clock of ours is asked."""
    try:
        seconds = (datetime.fromisoformat(instant) - parsedate_to_datetime(date)).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return None
    return max(0.0, seconds)
