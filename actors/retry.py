"""How often and how late a call is tried again, and what a provider says about it. Pure (R14)."""

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from math import inf
from random import Random

import attrs
from attrs.validators import ge, instance_of, lt

__all__ = ["RetryPolicy", "duration_s", "retry_after_s", "should_retry"]


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
    base_s: float = attrs.field(default=0.5, validator=[ge(0), lt(inf)])
    cap_s: float = attrs.field(default=8.0, validator=[ge(0), lt(inf)])
    max_server_s: float = attrs.field(default=120.0, validator=ge(0))

    def pause(self, attempts: int, server_s: float | None, random: Random) -> float | None:
        """Seconds to wait after so many attempts, the last of which failed; None to give up.

        Args:
            attempts: HTTP requests made so far, at least 1.
            server_s: what the provider asked for, in seconds; None if it said nothing.
            random: the source of the jitter (R13).
        """
        if attempts >= self.max_attempts or self.is_too_long(server_s):
            return None
        return self.backoff(attempts, server_s, random)

    def backoff(self, failures: int, server_s: float | None, random: Random) -> float:
        """Seconds to wait after so many failures in a row, if there is another attempt.

        Exponential back-off with full jitter: uniform between 0 and min(cap, base x 2^(k-1))
        after failure k (M. Brooker, "Exponential Backoff And Jitter", AWS, 2015). What the
        provider asks for is a minimum; the jitter of the first pause is added to it, so that
        those who were refused together do not come back together. To ask for 0 seconds, or for a
        date that has passed, is to ask for nothing: the back-off holds, or a provider that always
        says so would be asked again and again without one.

        Args:
            failures: at least 1.
            server_s: what the provider asked for, in seconds; None if it said nothing.
            random: the source of the jitter (R13).
        """
        if not server_s:
            return random.uniform(0.0, min(self.cap_s, self.base_s * 2.0 ** min(failures - 1, 60)))
        return server_s + random.uniform(0.0, self.base_s)

    def is_too_long(self, server_s: float | None) -> bool:
        """Whether the provider asks for a longer pause than it may."""
        return server_s is not None and (server_s > self.max_server_s or server_s == inf)


# Python writes small floats as 5e-05; "inf" is what a wait for a limit of nothing comes to.
_NUMBER = re.compile(r"(?:\d+(?:\.\d*)?(?:e[+-]?\d+)?|\+?inf(?:inity)?)", re.ASCII | re.IGNORECASE)

# Go writes 1h2m3.5s, 308ms, 5\N{MICRO SIGN}s; people write 20 seconds.
_UNITS = (
    (3600.0, ("h", "hour", "hours")),
    (60.0, ("m", "min", "minute", "minutes")),
    (1.0, ("s", "sec", "second", "seconds")),
    (1e-3, ("ms", "millisecond", "milliseconds")),
    (1e-6, ("us", "\N{MICRO SIGN}s", "\N{GREEK SMALL LETTER MU}s")),
    (1e-9, ("ns",)),
)
_UNIT_S = {name: seconds for seconds, names in _UNITS for name in names}
_PART = r"([0-9]+(?:\.[0-9]+)?|\.[0-9]+) ?({units})(?![^\W\d])".format(
    units="|".join(sorted(_UNIT_S, key=len, reverse=True))
)
_PARTS = re.compile(_PART)
_DURATION = re.compile(f"(?:{_PART})+")
# "Please try again in 1.78s.", "in 6m0s", "in 308ms" (OpenAI, Groq), "Please retry after 20
# seconds." (Azure), "Please retry in 36.43s." (Gemini)
_IN_WORDS = re.compile(rf"(?:try again in|retry after|retry in)\s+((?:{_PART})+)")
# google.rpc.RetryInfo in JSON, or quoted once more as part of a text
_RETRY_DELAY = re.compile(r"""retryDelay[\\"']{0,4}\s*:\s*[\\"']{0,4}(\d+(?:\.\d*)?)s""", re.ASCII)


def retry_after_s(headers: Mapping[str, str], message: str = "", details: str = "") -> float | None:
    """How many seconds a provider asks one to wait; None if it does not say, or talks nonsense.

    Read in this order: ``retry-after-ms``, ``retry-after`` in seconds, as a duration or as an HTTP
    date (taken relative to the answer's own ``date``, so that no clock of ours is asked), a
    ``retryDelay`` in the error's details, the error's text. What is negative or no number is
    passed over; a date that has passed is 0; what no float can hold is infinite.

    Args:
        headers: of the answer, by lower-case name.
        message: the error's text, such as "Please try again in 1.78s".
        details: the JSON text of the error's details, such as Gemini's.
    """
    milliseconds = _number(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return milliseconds / 1000.0
    value = headers.get("retry-after", "").strip()
    seconds = _number(value)
    if seconds is None:
        seconds = duration_s(value)
    if seconds is None:
        seconds = _until(value, headers.get("date", ""))
    if seconds is None:
        found = _RETRY_DELAY.search(details) or _RETRY_DELAY.search(message)
        seconds = None if found is None else float(found[1])
    if seconds is None:
        words = _IN_WORDS.search(message.lower())
        seconds = None if words is None else duration_s(words[1])
    return seconds


def should_retry(headers: Mapping[str, str]) -> bool | None:
    """What ``x-should-retry`` says: another attempt may help, or will not; None if nothing.

    Args:
        headers: of the answer, by lower-case name.
    """
    return {"true": True, "false": False}.get(headers.get("x-should-retry", "").strip().lower())


def _number(text: str) -> float | None:
    text = text.strip()
    return float(text) if _NUMBER.fullmatch(text) else None


def duration_s(text: str) -> float | None:
    """The seconds of a duration such as "1h2m3.5s", "308ms" or "20 seconds"; None if it is none."""
    text = text.lower()
    if not _DURATION.fullmatch(text):
        return None
    return sum(float(number) * _UNIT_S[unit] for number, unit in _PARTS.findall(text))


def _until(value: str, date: str) -> float | None:
    try:
        wait = parsedate_to_datetime(value) - parsedate_to_datetime(date)
    except (ValueError, TypeError, OverflowError):  # no date, or only one of them has a time zone
        return None
    return max(0.0, wait.total_seconds())
