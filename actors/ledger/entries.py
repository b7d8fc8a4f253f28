"""What is written into the books: transactions, each a set of entries that balance. Pure (R14)."""

from collections.abc import Iterable
from typing import Literal

import attrs

from ..calls import Origin
from .money import NOTHING, Amount

__all__ = [
    "ACCOUNTS",
    "DIMENSIONS",
    "Account",
    "Dimension",
    "Entry",
    "Heading",
    "Kind",
    "Line",
    "Transaction",
    "headings",
]

Account = Literal["available", "reserved", "spent", "maybe_billed"]
ACCOUNTS: tuple[Account, ...] = ("available", "reserved", "spent", "maybe_billed")
"""Where money and tokens are: not touched, put aside for a call under way, paid, or charged by the
provider for all that is known. What leaves one account comes into another (double entry)."""

Kind = Literal["reserve", "extend", "settle", "maybe", "refund"]
"""Of a transaction. The last three end a reservation: as charged, perhaps charged, or nothing."""

Dimension = Literal["model", "tenant", "post", "day", "route"]
DIMENSIONS: tuple[Dimension, ...] = ("model", "tenant", "post", "day", "route")
"""What sums are kept by."""


@attrs.frozen
class Heading:
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
class Line:
    """One of those who share what a call costs, and the most that an attempt costs them.

    Args:
        heading: who.
        bound: how much.
    """

    heading: Heading
    bound: Amount


@attrs.frozen
class Entry:
    """So much comes into an account, or leaves it if it is negative."""

    account: Account
    heading: Heading
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

    kind: Kind
    reservation: str
    at: float
    entries: tuple[Entry, ...]

    @property
    def is_balanced(self) -> bool:
        """Whether nothing has come out of nowhere, or gone there."""
        return sum((entry.amount for entry in self.entries), NOTHING) == NOTHING


def headings(origin: Origin, model: str, day: str, route: str) -> tuple[Heading, ...]:
    """Who pays for a call: whom it is for, or each of those that share it."""
    payers: Iterable[Origin] = origin.shared_by or (origin,)
    return tuple(
        Heading(payer.call, payer.post or "", payer.lane, model, day, route) for payer in payers
    )
