"""Budgets as people write them for a key: "25/day", "100/month", "500". Pure (R14)."""

import re
from decimal import Decimal
from typing import Literal

from ...actors import Budget

_FORM = re.compile(
    r"""
    \$?\s* ( (?: [0-9]{1,3}(?:,[0-9]{3})+ | [0-9]+ )? (?:\.[0-9]+)? )  # "1,50" is no amount
    \s* (?:USD)? \s* (?: (?: / | per\b ) \s* ([a-z]+) )?
    """,
    re.IGNORECASE | re.VERBOSE,
)
_PERIODS: dict[str, Literal["ever", "month", "day"]] = {
    "": "ever",
    "total": "ever",
    "d": "day",
    "day": "day",
    "mo": "month",
    "month": "month",
}
_HOW = "write US dollars and a period, such as 25/day, 100/month, or 500 in total"


def budget_of(text: str, *, tenant: str) -> Budget:
    """Return the budget that a text describes.

    Args:
        text: US dollars and a period, such as "25/day" or "$100/month"; without a period, in total.
        tenant: the name of the key that has the budget.

    Raises:
        ValueError: the text is no budget.
    """
    found = _FORM.fullmatch(text.strip())
    digits = "" if found is None else found[1].replace(",", "")
    if found is None or not digits:
        raise ValueError(f"{text!r:.60} is no budget; {_HOW}")
    period = _PERIODS.get((found[2] or "").lower())
    if period is None:
        raise ValueError(f"a budget has no period {found[2]!r:.40}; {_HOW}")
    try:
        return Budget(Decimal(digits), per="tenant", match=tenant, period=period)
    except ValueError as error:
        raise ValueError(f"the budget {text!r:.60} cannot be used: {error}") from None
