"""How a run's figures are put."""

from ...wording import seconds
from .limit_use import LimitUse

__all__ = ["amount", "duration", "limit_name", "limit_words", "percent", "rate"]

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_SPANS = {1.0: "a second", 60.0: "a minute", 3600.0: "an hour", 86400.0: "a day"}
_SMALL, _LARGE = 0.1, 100.0


def duration(value: float) -> str:
    """Seconds in two units: "12 s", "2 min 05 s", "3 h 20 min", "2 d 05 h"."""
    whole = max(0, round(value))
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return seconds(float(whole))
    if whole < _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE:02} min"
    return f"{whole // _DAY:,} d {whole % _DAY // _HOUR:02} h"


def rate(value: float | None) -> str:
    """So many a second, with as many places as are worth it; "-" where it is not known."""
    if value is None:
        return "-"
    if value >= _LARGE:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= _SMALL or not value else f"{value:.2g}"


def amount(value: float) -> str:
    """A number of things, or of USD, that need not be whole."""
    return f"{value:,.0f}" if value == round(value) or value >= _LARGE else f"{value:,.4g}"


def percent(share: float) -> str:
    """A share in per cent. Only all of it is 100, and only nothing is 0."""
    whole = round(100 * share)
    if share < 1:
        whole = min(99, whole)
    if share > 0:
        whole = max(1, whole)
    return f"{whole} %"


def limit_name(use: LimitUse) -> str:
    """What a limit is of: "requests", or "tokens, gpt-5*"."""
    name = use.dimension.replace("_", " ").replace("usd", "USD")
    return f"{name}, {use.scope}" if use.scope else name


def limit_words(use: LimitUse) -> str:
    """How much of it is used: "97 % of 6,000 a minute (learned)"."""
    span = _SPANS.get(use.per_s, f"in {use.per_s:g} s")
    learned = " (learned)" if use.source == "learned" else ""
    verb = " used up" if use.is_quota else ""
    return f"{percent(use.share)}{verb} of {amount(use.limit)} {span}{learned}"
