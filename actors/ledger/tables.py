"""What a ledger's file is made of."""

import sqlite3
from collections.abc import Sequence
from decimal import Decimal
from typing import cast

from .entries import Account, Kind
from .money import Amount, add_usd

__all__ = [
    "ACCOUNT_CODES",
    "AMOUNT",
    "KIND_CODES",
    "MORE",
    "NAMES",
    "SUMMED",
    "TABLES",
    "VERSION",
    "add_functions",
    "amount_of",
    "columns_of",
]

VERSION = 2
NAMES = ("tenant", "model", "day", "route")
"""What a heading of the file has; its post is by the side, for there may be one for each call."""

_COUNTS = (
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "unpriced_tokens",
    "calls",
    "unpriced_calls",
)
AMOUNT = ", ".join(("usd", *_COUNTS))
"""The columns of an amount."""
SUMMED = ", ".join(("exact_sum(usd)", *(f"sum({name})" for name in _COUNTS)))
"""The sum of an amount's columns."""
MORE = "usd = exact_add(usd, excluded.usd), " + ", ".join(
    f"{name} = {name} + excluded.{name}" for name in _COUNTS
)
"""What is done to an amount that is there already."""

# What is "available" is not in the file: it is what the others come to, taken away.
ACCOUNT_CODES: dict[Account, int] = {"reserved": 1, "spent": 2, "maybe_billed": 3}
KIND_CODES: dict[Kind, int] = {"reserve": 1, "extend": 2, "settle": 3, "maybe": 4, "refund": 5}

# Amounts of USD are texts: SQLite's own numbers are no decimals.
_AMOUNT = "usd TEXT NOT NULL, " + ", ".join(f"{name} INTEGER NOT NULL" for name in _COUNTS)
TABLES = (
    """
    CREATE TABLE runs (
        id INTEGER PRIMARY KEY AUTOINCREMENT, pid INTEGER NOT NULL, began_at REAL NOT NULL,
        ended_at REAL
    )
    """,
    """
    CREATE TABLE headings (
        id INTEGER PRIMARY KEY, tenant TEXT NOT NULL, model TEXT NOT NULL, day TEXT NOT NULL,
        route TEXT NOT NULL, UNIQUE (tenant, model, day, route)
    )
    """,
    "CREATE TABLE posts (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)",
    """
    CREATE TABLE transactions (
        id INTEGER PRIMARY KEY, run INTEGER NOT NULL REFERENCES runs, reservation TEXT NOT NULL,
        kind INTEGER NOT NULL, -- 1 reserve, 2 extend, 3 settle, 4 maybe, 5 refund
        at REAL NOT NULL
    )
    """,
    f"""
    CREATE TABLE entries (
        id INTEGER PRIMARY KEY, entry_of INTEGER NOT NULL REFERENCES transactions,
        account INTEGER NOT NULL, -- 1 reserved, 2 spent, 3 maybe_billed
        heading INTEGER NOT NULL REFERENCES headings, post INTEGER NOT NULL REFERENCES posts,
        call TEXT NOT NULL, -- '' where it is reserved
        {_AMOUNT}
    )
    """,
    # What is under way now. A row goes when its reservation ends.
    f"""
    CREATE TABLE reservations (
        run INTEGER NOT NULL REFERENCES runs, reservation TEXT NOT NULL, line INTEGER NOT NULL,
        heading INTEGER NOT NULL REFERENCES headings, post INTEGER NOT NULL REFERENCES posts,
        call TEXT NOT NULL, {_AMOUNT}, PRIMARY KEY (run, reservation, line)
    ) WITHOUT ROWID
    """,
    # What the entries of accounts 2 and 3 come to, so that nobody has to add them all up.
    f"""
    CREATE TABLE sums (
        heading INTEGER NOT NULL REFERENCES headings, account INTEGER NOT NULL, {_AMOUNT},
        PRIMARY KEY (heading, account)
    ) WITHOUT ROWID
    """,
    f"""
    CREATE TABLE post_sums (
        post INTEGER NOT NULL REFERENCES posts, heading INTEGER NOT NULL REFERENCES headings,
        account INTEGER NOT NULL, {_AMOUNT}, PRIMARY KEY (post, heading, account)
    ) WITHOUT ROWID
    """,
)


class ExactSum:
    """Adds up USD as Python does, to the last digit."""

    def __init__(self) -> None:
        self._sum = Decimal(0)

    def step(self, usd: object) -> None:
        """One more."""
        self._sum = add_usd(self._sum, Decimal(str(usd)))

    def finalize(self) -> str:
        """All of them."""
        return str(self._sum)


def _exact_add(one: str, other: str) -> str:
    return str(add_usd(Decimal(one), Decimal(other)))


def add_functions(connection: sqlite3.Connection) -> None:
    """Teach a connection to add up USD."""
    # Typeshed knows only of aggregates of whole numbers.
    connection.create_aggregate("exact_sum", 1, ExactSum)  # type: ignore[arg-type]
    connection.create_function("exact_add", 2, _exact_add, deterministic=True)


def columns_of(amount: Amount) -> tuple[object, ...]:
    """An amount, as it is written."""
    return (
        str(amount.usd),
        amount.input_tokens,
        amount.output_tokens,
        amount.cached_tokens,
        amount.unpriced_tokens,
        amount.calls,
        amount.unpriced_calls,
    )


def amount_of(columns: Sequence[object]) -> Amount:
    """An amount, as it is read."""
    usd, *counts = columns
    return Amount(Decimal(cast("str", usd)), *cast("list[int]", counts))
