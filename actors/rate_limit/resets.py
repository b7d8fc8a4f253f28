"""Reads when a limit is reset, in every form that providers and gateways write. Pure (R14)."""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import attrs

from ..http import duration_s

_MILLISECOND = 0.001
_GRAIN_OF_DATES_S = 2.0  # seconds: the date of the response and the instant are both rounded
_LEAST_EPOCH_S = 1e9  # seconds; a time until a reset is never 30 years
_LEAST_EPOCH_MS = 1e12
_NUMBER = re.compile(r"\d+(?:\.(\d*))?", re.ASCII)
_FRACTION = re.compile(r"\.(\d+)s?$", re.ASCII)
_FINE_UNIT = re.compile(r"(?:ms|us|ns|\N{MICRO SIGN}s|\N{GREEK SMALL LETTER MU}s)$")


@attrs.frozen
class Reset:
    """When a limit is reset.

    Args:
        seconds: seconds from the response until then; None if it is not known.
        grain_s: seconds by which it may be off, because it is rounded.
    """

    seconds: float | None
    grain_s: float = _MILLISECOND


NO_RESET = Reset(None)
"""No reset is known."""


def read_reset(text: str, date: str, *, is_ms: bool = False) -> Reset:
    """Read a number of seconds, a duration, or an instant: a date, or seconds since 1970.

    An instant is compared with the date of the response. Both times are the provider's, so that the
    local clock does not matter. An instant in the past says nothing.

    Args:
        text: the value of the header, such as "1m0.5s", "30", "2026-11-25T12:00:04Z", "1795000000"
            (seconds since 1970) or "1795000000000" (milliseconds).
        date: the date of the response, as its header has it.
        is_ms: whether a number is in milliseconds.
    """
    text = text.strip()
    number = _NUMBER.fullmatch(text)
    if number is not None:
        return _of_number(float(text), _grain(number[1]), date, is_ms=is_ms)
    seconds = duration_s(text)
    if seconds is not None:
        fraction = _FRACTION.search(text)
        is_fine = _FINE_UNIT.search(text) is not None
        return Reset(seconds, _MILLISECOND if is_fine else _grain(fraction and fraction[1]))
    return _until(_instant(text), date)


def _of_number(value: float, grain_s: float, date: str, *, is_ms: bool) -> Reset:
    if value > _LEAST_EPOCH_MS:
        return _until(_since_1970(value / 1000.0), date)
    if value > _LEAST_EPOCH_S:
        return _until(_since_1970(value), date)
    return Reset(value / 1000.0, _MILLISECOND) if is_ms else Reset(value, grain_s)


def _grain(fraction: str | None) -> float:
    """Return the last decimal place of a number, at least a millisecond."""
    return max(_MILLISECOND, 10.0 ** -len(fraction or ""))


def _since_1970(seconds: float) -> datetime | None:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):  # beyond the year 9999
        return None


def _instant(text: str) -> datetime | None:
    for read in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            return read(text)
        except (ValueError, TypeError, IndexError, OverflowError):
            continue
    return None


def _until(instant: datetime | None, date: str) -> Reset:
    try:
        if instant is None:
            return NO_RESET
        seconds = (instant - parsedate_to_datetime(date)).total_seconds()
    except (
        ValueError,
        TypeError,
        IndexError,
        OverflowError,
    ):  # no date, or only one of them has a time zone
        return NO_RESET
    return Reset(seconds, _GRAIN_OF_DATES_S) if seconds >= 0 else NO_RESET
