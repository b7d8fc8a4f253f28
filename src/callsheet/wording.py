"""How figures, and text that others wrote, are put before a person."""

import re
import unicodedata
from decimal import Decimal
from functools import lru_cache

__all__ = [
    "dollars",
    "printable",
    "seconds",
]


# What a terminal would obey: CSI sequences, strings up to BEL or ST, and other short ones.
_ESCAPE = re.compile(
    r"""
      (?:\x1b\[|\x9b) [0-?]* [ -/]* [@-~]?
    | (?:\x1b[\]P^_X]|[\x90\x98\x9d-\x9f]) [^\x07\x1b\x9c]* (?:\x07|\x1b\\|\x9c)?
    | \x1b [ -/]* [0-~]?
    """,
    re.VERBOSE,
)
# Controls, surrogates, and format characters such as those that turn the direction of writing.
_UNPRINTABLE = frozenset({"Cc", "Cf", "Cs"})
_JOINERS = "\u200c\u200d"  # format characters that words and emoji are spelt with
_MINUTE_S = 60


@lru_cache(maxsize=4096)  # a display says the same names many times a second
def printable(text: str) -> str:
    """One line of text that does nothing but show itself.

    Escape sequences, controls and surrogates are dropped, and stretches of white space become one
    space. Markup is left as it is: whoever prints it must not read any.
    """
    plain = (sign for sign in _ESCAPE.sub("", text) if _is_plain(sign))
    return " ".join("".join(plain).split())


def _is_plain(sign: str) -> bool:
    return sign in _JOINERS or sign.isspace() or unicodedata.category(sign) not in _UNPRINTABLE


def seconds(value: float) -> str:
    """Seconds in words: "1.92 s", and from a minute on "2 min 05 s"."""
    if round(value, 2) < _MINUTE_S:
        return f"{value:.2f} s"
    minutes, rest = divmod(round(value), _MINUTE_S)
    return f"{minutes} min {rest:02} s"


def dollars(value: Decimal | None) -> str:
    """USD with as many places as tell small sums apart; None is "unknown", which is not "$0"."""
    if value is None:
        return "unknown"
    if not value:
        return "$0"
    if value < Decimal("0.001"):
        return f"${value:.6f}"
    return f"${value:.4f}" if value < 1 else f"${value:,.2f}"
