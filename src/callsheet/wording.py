"""Format figures, and untrusted text, for people to read."""

import re
import unicodedata
from decimal import Decimal
from functools import lru_cache

# Terminal escape sequences: CSI sequences, strings up to BEL or ST, and other short ones.
_ESCAPE = re.compile(
    r"""
      (?:\x1b\[|\x9b) [0-?]* [ -/]* [@-~]?
    | (?:\x1b[\]P^_X]|[\x90\x98\x9d-\x9f]) [^\x07\x1b\x9c]* (?:\x07|\x1b\\|\x9c)?
    | \x1b [ -/]* [0-~]?
    """,
    re.VERBOSE,
)
# Controls, surrogates, and format characters such as those that change the text direction.
_UNPRINTABLE = frozenset({"Cc", "Cf", "Cs"})
_JOINERS = "\u200c\u200d"  # format characters that are part of words and emoji
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86400
_SMALL, _LARGE = 0.1, 100.0


@lru_cache(maxsize=4096)  # a display formats the same names many times a second
def printable(text: str) -> str:
    """Return a text as one line that is safe to print on a terminal.

    Escape sequences, control characters and surrogates are removed, and each run of white space
    becomes one space. Markup (HTML, Rich) is not removed: print the result with markup off.

    Args:
        text: any text, also from a file or a provider.
    """
    plain = (char for char in _ESCAPE.sub("", text) if _is_printable(char))
    return " ".join("".join(plain).split())


def _is_printable(char: str) -> bool:
    return char in _JOINERS or char.isspace() or unicodedata.category(char) not in _UNPRINTABLE


def seconds(value: float) -> str:
    """Format a duration in seconds: "1.92 s", or "2 min 05 s" from one minute on."""
    if round(value, 2) < _MINUTE_S:
        return f"{value:.2f} s"
    minutes, rest = divmod(round(value), _MINUTE_S)
    return f"{minutes} min {rest:02} s"


def duration(value: float) -> str:
    """Format seconds in at most two units: "12 s", "2 min 05 s", "3 h 20 min", "2 d 05 h"."""
    whole = max(0, round(value))
    if whole < _MINUTE_S:
        return f"{whole} s"
    if whole < _HOUR_S:
        return seconds(float(whole))
    if whole < _DAY_S:
        return f"{whole // _HOUR_S} h {whole % _HOUR_S // _MINUTE_S:02} min"
    return f"{whole // _DAY_S:,} d {whole % _DAY_S // _HOUR_S:02} h"


def retries(count: int) -> str:
    """Format a number of retries: "including 1 retry"; "" for none."""
    if not count:
        return ""
    return f"including {count:,} {'retry' if count == 1 else 'retries'}"


def rate(value: float | None) -> str:
    """Format an amount per second, with decimals for small ones; None is "-"."""
    if value is None:
        return "-"
    if value >= _LARGE:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= _SMALL or not value else f"{value:.2g}"


def amount(value: float) -> str:
    """Format a count or an amount, with decimals only if it is small and not an integer."""
    return f"{value:,.0f}" if value == round(value) or value >= _LARGE else f"{value:,.4g}"


def percent(share: float) -> str:
    """Format a share as a percentage; only 1 is "100 %", and only 0 is "0 %"."""
    whole = round(100 * share)
    if share < 1:
        whole = min(99, whole)
    if share > 0:
        whole = max(1, whole)
    return f"{whole} %"


def dollars(value: Decimal | None) -> str:
    """Format an amount in USD, small amounts with more decimals; None is "unknown", not "$0"."""
    if value is None:
        return "unknown"
    if not value:
        return "$0"
    if value < Decimal("0.001"):
        return f"${value:.6f}"
    return f"${value:.4f}" if value < 1 else f"${value:,.2f}"


def all_digits(usd: Decimal) -> str:
    """Format an amount in USD with all its digits and no exponent: "$0", and not "$0E-7".

    Args:
        usd: the amount in USD.
    """
    return f"${usd_text(usd)}"


def usd_text(usd: Decimal) -> str:
    """Return an amount in USD as JSON and CSV have it: with all its digits and no exponent.

    It is a text there, because many JSON parsers round numbers.

    Args:
        usd: the amount in USD.
    """
    return f"{usd.normalize():f}"
