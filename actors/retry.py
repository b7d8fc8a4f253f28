"""How often and how late a call is tried again, and what a provider says about it. Pure (R14)."""

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from random import Random

import attrs
from attrs.validators import ge, instance_of

__all__ = ["RetryPolicy", "retry_after_s"]


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """The one retry budget of the whole way of a call (L2): no other stage retries.

    Args:
        max_attempts: HTTP requests for one call at most, the first included.
        base_s: the longest pause before the second attempt, in seconds; it doubles each time.
        cap_s: the longest pause of one's own accord, in seconds.
        max_server_s: the longest pause that a provider may ask for, in seconds; if it asks for
            more, the call fails now instead of then.

    Raises:
        ValueError: a value is out of its range; the message names it.
    """

    max_attempts: int = attrs.field(default=5, validator=[instance_of(int), ge(1)])
    base_s: float = attrs.field(default=0.5, validator=ge(0))
    cap_s: float = attrs.field(default=8.0, validator=ge(0))
    max_server_s: float = attrs.field(default=120.0, validator=ge(0))

    def pause(self, attempts: int, server_s: float | None, random: Random) -> float | None:
        """Seconds to wait after so many attempts, the last of which failed; None to give up.

        Exponential back-off with full jitter: uniform between 0 and min(cap, base x 2^(k-1))
        after attempt k (M. Brooker, "Exponential Backoff And Jitter", AWS, 2015). What the
        provider asks for is a minimum; the jitter of the first pause is added to it, so that
        those who were refused together do not come back together.

        Args:
            attempts: HTTP requests made so far, at least 1.
            server_s: what the provider asked for, in seconds; None if it said nothing.
            random: the source of the jitter (R13).
        """
        if attempts >= self.max_attempts:
            return None
        if server_s is None:
            return random.uniform(0.0, min(self.cap_s, self.base_s * 2.0 ** min(attempts - 1, 60)))
        if server_s > self.max_server_s:
            return None
        return server_s + random.uniform(0.0, self.base_s)


# "Please try again in 1.78s.", "in 6m0s", "in 308ms", "Please retry after 20 seconds."
_IN_WORDS = re.compile(r"(?:try again in|retry after)\s+([\d.]+\s*second|(?:[\d.]+(?:ms|h|m|s))+)")
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|h|m|s)")
_UNIT_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def retry_after_s(headers: Mapping[str, str], message: str = "") -> float | None:
    """How many seconds a provider asks one to wait; None if it does not say, or talks nonsense.

    Read in this order: ``retry-after-ms``, ``retry-after`` in seconds or as an HTTP date (taken
    relative to the answer's own ``date``, so that no clock of ours is asked), the error's text.

    Args:
        headers: of the answer, by lower-case name.
        message: the error's text, such as "Please try again in 1.78s".
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000.0
    value = headers.get("retry-after")
    seconds = _number(value)
    if seconds is None and value is not None:
        seconds = _until(value, headers.get("date", ""))
    return _in_words(message) if seconds is None else seconds


def _number(text: str | None) -> float | None:
    if text is None or not re.fullmatch(r"\s*\d+(\.\d*)?\s*", text, re.ASCII):
        return None
    return float(text)


def _until(value: str, date: str) -> float | None:
    try:
        wait = parsedate_to_datetime(value) - parsedate_to_datetime(date)
    except (ValueError, TypeError, OverflowError):  # no date, or only one of them has a time zone
        return None
    return max(0.0, wait.total_seconds())


def _in_words(message: str) -> float | None:
    found = _IN_WORDS.search(message.lower())
    if found is None:
        return None
    parts = _PART.findall(found[1])
    return sum(float(number) * _UNIT_S[unit] for number, unit in parts) if parts else None
