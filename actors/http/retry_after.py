"""Read when to retry from a response: headers, durations and error texts. Pure (R14)."""

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

# Python writes small floats as 5e-05; "inf" is the wait for a limit of zero.
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
    """Return the pause that a provider asks for, in seconds; None if it asks for none.

    The sources, in this order: ``retry-after-ms``; ``retry-after`` in seconds, as a duration, or as
    an HTTP date (relative to the response's own ``date``, so that the local clock does not matter);
    a ``retryDelay`` in the error's details; the error's text. A negative value, or one that is no
    number, is ignored. A date in the past is 0. A value beyond the range of floats is infinite.

    Args:
        headers: the response's headers, by lower-case name.
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
    """Return the value of ``x-should-retry``; None if it is missing or invalid.

    Args:
        headers: the response's headers, by lower-case name.
    """
    return {"true": True, "false": False}.get(headers.get("x-should-retry", "").strip().lower())


def _number(text: str) -> float | None:
    text = text.strip()
    return float(text) if _NUMBER.fullmatch(text) else None


def duration_s(text: str) -> float | None:
    """Return the seconds of a duration such as "1h2m3.5s", "308ms" or "20 seconds".

    Args:
        text: the duration as the provider wrote it.

    Returns:
        The seconds; None if the text is no duration.
    """
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
