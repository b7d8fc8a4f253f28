"""What is written into the books: transactions, each a set of entries that balance. Pure (R14).

Amounts of money and tokens that add up to the last digit. Pure (R14).
"""

from collections.abc import Iterable
from decimal import Context, Decimal, Inexact
from typing import Literal

import attrs

from ..calls import CallContext
from ..messages import Usage

__all__ = [
    "ACCOUNTS",
    "COST_DIMENSIONS",
    "NOTHING",
    "Account",
    "Amount",
    "CostDimension",
    "CostLabel",
    "LedgerEntry",
    "Payer",
    "Transaction",
    "TransactionKind",
    "add_usd",
    "cost_labels",
    "dollars",
    "subtract_usd",
]


# Rounding is an error here. No sum of prices has so many digits.
_EXACT = Context(prec=1000, traps=[Inexact])
_FINEST = -12  # a share is a whole number of millionths of a millionth of a dollar, or finer


def add_usd(one: Decimal, other: Decimal) -> Decimal:
    """The sum, not rounded as Python's usual 28 digits might."""
    return _EXACT.add(one, other)


def subtract_usd(one: Decimal, other: Decimal) -> Decimal:
    """The difference, not rounded."""
    return _EXACT.subtract(one, other)


def dollars(usd: Decimal) -> str:
    """An amount to its last digit, such as "$0.001033"."""
    return f"${usd.normalize(_EXACT):f}"


@attrs.frozen
class Amount:
    """What is moved from one account to another.

    Args:
        usd: US dollars, of what has a known price.
        input_tokens: of prompts, cached ones included.
        output_tokens: of answers.
        cached_tokens: of prompts, read from the provider's cache.
        unpriced_tokens: those of all of them whose price nobody knows; `usd` says nothing of them.
        calls: the calls that this is for.
        unpriced_calls: those of them whose price nobody knows.
    """

    usd: Decimal = Decimal(0)
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    unpriced_tokens: int = 0
    calls: int = 0
    unpriced_calls: int = 0

    @classmethod
    def of(cls, usage: Usage, usd: Decimal | None) -> "Amount":
        """One call's tokens at their price, or at a price that is not known."""
        return cls(
            Decimal(0) if usd is None else usd,
            usage.input_tokens,
            usage.output_tokens,
            usage.cached_tokens,
            usage.total_tokens if usd is None else 0,
            1,
            1 if usd is None else 0,
        )

    def __add__(self, other: "Amount") -> "Amount":
        return Amount(
            _EXACT.add(self.usd, other.usd),
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cached_tokens + other.cached_tokens,
            self.unpriced_tokens + other.unpriced_tokens,
            self.calls + other.calls,
            self.unpriced_calls + other.unpriced_calls,
        )

    def __sub__(self, other: "Amount") -> "Amount":
        return self + other.times(-1)

    def times(self, factor: int) -> "Amount":
        """So many times as much of everything."""
        return Amount(
            _EXACT.multiply(self.usd, Decimal(factor)),
            self.input_tokens * factor,
            self.output_tokens * factor,
            self.cached_tokens * factor,
            self.unpriced_tokens * factor,
            self.calls * factor,
            self.unpriced_calls * factor,
        )

    def of_calls(self, calls: int) -> "Amount":
        """The same amount, of so many calls."""
        return Amount(
            self.usd,
            self.input_tokens,
            self.output_tokens,
            self.cached_tokens,
            self.unpriced_tokens,
            calls,
            calls if self.unpriced_calls else 0,
        )

    def split(self, shares: int) -> "tuple[Amount, ...]":
        """Even shares whose sum is the whole; what does not divide goes to the first of them.

        The calls are not split: each share is of as many as the whole.
        """
        if shares == 1:
            return (self,)
        return tuple(
            Amount(*share, self.calls, self.unpriced_calls)
            for share in zip(
                _split_usd(self.usd, shares),
                _split(self.input_tokens, shares),
                _split(self.output_tokens, shares),
                _split(self.cached_tokens, shares),
                _split(self.unpriced_tokens, shares),
                strict=True,
            )
        )


def _split(whole: int, shares: int) -> list[int]:
    each, rest = divmod(whole, shares)
    return [each + (at < rest) for at in range(shares)]


def _split_usd(usd: Decimal, shares: int) -> list[Decimal]:
    exponent = usd.as_tuple().exponent
    unit = min(exponent, _FINEST) if isinstance(exponent, int) else _FINEST
    parts = _split(int(_EXACT.scaleb(usd, -unit)), shares)
    return [_EXACT.scaleb(Decimal(part), unit) for part in parts]


NOTHING = Amount()

Account = Literal["available", "reserved", "spent", "maybe_billed"]
ACCOUNTS: tuple[Account, ...] = ("available", "reserved", "spent", "maybe_billed")
"""Where money and tokens are: not touched, put aside for a call under way, paid, or charged by the
provider for all that is known. What leaves one account comes into another (double entry)."""

TransactionKind = Literal["reserve", "extend", "settle", "maybe", "refund"]
"""Of a transaction. The last three end a reservation: as charged, perhaps charged, or nothing."""

CostDimension = Literal["model", "tenant", "post", "day", "route"]
COST_DIMENSIONS: tuple[CostDimension, ...] = ("model", "tenant", "post", "day", "route")
"""What sums are kept by."""


@attrs.frozen
class CostLabel:
    """What an entry is for.

    Args:
        call: the call's id.
        post: that it is for; "" for none.
        tenant: the lane of whoever asked; "" for none.
        model: that was asked for, or that answered instead.
        day: on which it was asked, in UTC, as in "2026-11-26".
        route: the way it was had; see `Response.route`.
    """

    call: str
    post: str = ""
    tenant: str = ""
    model: str = ""
    day: str = ""
    route: str = "live"


@attrs.frozen
class Payer:
    """One of those who share what a call costs, and the most that an attempt costs them.

    Args:
        heading: who.
        bound: how much.
    """

    heading: CostLabel
    bound: Amount


@attrs.frozen
class LedgerEntry:
    """So much comes into an account, or leaves it if it is negative."""

    account: Account
    heading: CostLabel
    amount: Amount


@attrs.frozen
class Transaction:
    """Entries that belong together.

    Args:
        kind: what happened.
        reservation: the key of the reservation that it is about.
        at: when, in seconds of Unix time.
        entries: what came and went; all of them together are nothing.
    """

    kind: TransactionKind
    reservation: str
    at: float
    entries: tuple[LedgerEntry, ...]

    @property
    def is_balanced(self) -> bool:
        """Whether nothing has come out of nowhere, or gone there."""
        return sum((entry.amount for entry in self.entries), NOTHING) == NOTHING


def cost_labels(context: CallContext, model: str, day: str, route: str) -> tuple[CostLabel, ...]:
    """Who pays for a call: whom it is for, or each of those that share it."""
    payers: Iterable[CallContext] = context.shared_by or (context,)
    return tuple(
        CostLabel(payer.call, payer.post or "", payer.lane, model, day, route) for payer in payers
    )
