"""The columns of an `Amount` in the tables of a ledger file, and functions of SQL that add them.

SQLite's own numbers are not decimals: USD are texts, which Python adds exactly.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import cast

from .entries import Amount, add_usd

_COUNTS = (
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "unpriced_tokens",
    "calls",
    "unpriced_calls",
)
_MONEY = ("usd", "saved_usd")
AMOUNT = ", ".join((*_MONEY, *_COUNTS))
SUMMED = ", ".join(
    (*(f"exact_sum({name})" for name in _MONEY), *(f"sum({name})" for name in _COUNTS))
)
SUMS_OF_TWO = (
    *(f"exact_add({name}, excluded.{name})" for name in _MONEY),
    *(f"{name} + excluded.{name}" for name in _COUNTS),
)
ADDED = ", ".join(
    f"{name} = {sum_}" for name, sum_ in zip((*_MONEY, *_COUNTS), SUMS_OF_TWO, strict=True)
)

AMOUNT_COLUMNS = ", ".join(
    (
        *(f"{name} TEXT NOT NULL" for name in _MONEY),
        *(f"{name} INTEGER NOT NULL" for name in _COUNTS),
    )
)


def columns_of(amount: Amount) -> tuple[object, ...]:
    """Return the values of the columns."""
    return (
        str(amount.usd),
        str(amount.saved_usd),
        amount.input_tokens,
        amount.output_tokens,
        amount.cached_tokens,
        amount.unpriced_tokens,
        amount.calls,
        amount.unpriced_calls,
    )


def amount_of(columns: Sequence[object]) -> Amount:
    """Return the amount with these values of the columns."""
    usd, saved, *counts = columns
    money, less = Decimal(cast("str", usd)), Decimal(cast("str", saved))
    given = dict(zip(_COUNTS, cast("list[int]", counts), strict=True))
    return Amount(usd=money, saved_usd=less, **given)


class ExactSum:
    """The SQL aggregate `exact_sum`: adds USD without rounding, as Python's decimals do."""

    def __init__(self) -> None:
        self._sum = Decimal(0)

    def step(self, usd: object) -> None:
        """Add one amount."""
        self._sum = add_usd(self._sum, Decimal(str(usd)))

    def finalize(self) -> str:
        """Return the sum, as text."""
        return str(self._sum)


def exact_add(one: str, other: str) -> str:
    """Return the sum of two amounts of USD, as text."""
    return str(add_usd(Decimal(one), Decimal(other)))
