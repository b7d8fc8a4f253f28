"""Functions of SQL that add USD exactly: SQLite's own numbers are not decimals."""

from decimal import Decimal

from .entries import add_usd


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
