"""What a ledger's file is made of.

How transactions get into a ledger's file, and its sums with them.

What a ledger's file says.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from itertools import groupby
from operator import itemgetter
from typing import cast, final

from .entries import (
    NOTHING,
    Account,
    Amount,
    CostDimension,
    CostLabel,
    LedgerEntry,
    Transaction,
    TransactionKind,
    add_usd,
)

__all__ = [
    "ACCOUNT_CODES",
    "AMOUNT",
    "KIND_CODES",
    "MORE",
    "NAMES",
    "SUMMED",
    "TABLES",
    "VERSION",
    "LedgerWriter",
    "add_functions",
    "amount_of",
    "columns_of",
    "last_entry",
    "left_open",
    "standing",
    "sums",
    "written_since",
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
KIND_CODES: dict[TransactionKind, int] = {
    "reserve": 1,
    "extend": 2,
    "settle": 3,
    "maybe": 4,
    "refund": 5,
}

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


_MOST_NAMES = 10_000  # to remember the numbers of
_ENDINGS = frozenset({"settle", "maybe", "refund"})
_Names = tuple[str, str, str, str]  # a heading's, without its call and post


def _insert(table: str, columns: str, then: str = "") -> str:
    marks = ", ".join("?" * (columns.count(",") + 1))
    return f"INSERT INTO {table} ({columns}) VALUES ({marks}) {then}"  # noqa: S608  # no names of users


_TRANSACTION = _insert("transactions", "id, run, reservation, kind, at")
_ENTRY = _insert("entries", f"id, entry_of, account, heading, post, call, {AMOUNT}")
_RESERVED = _insert(
    "reservations",
    f"run, reservation, line, heading, post, call, {AMOUNT}",
    f"ON CONFLICT (run, reservation, line) DO UPDATE SET {MORE}",
)
_ENDED = "DELETE FROM reservations WHERE run = ? AND reservation = ?"
_SUM = _insert(
    "sums",
    f"heading, account, {AMOUNT}",
    f"ON CONFLICT (heading, account) DO UPDATE SET {MORE}",
)
_POST_SUM = _insert(
    "post_sums",
    f"post, heading, account, {AMOUNT}",
    f"ON CONFLICT (post, heading, account) DO UPDATE SET {MORE}",
)


def last_entry(connection: sqlite3.Connection) -> int:
    """The last there is; 0 if there is none."""
    return _last(connection, "entries")


def _last(connection: sqlite3.Connection, table: str) -> int:
    (last,) = connection.execute(f"SELECT max(id) FROM {table}").fetchone()  # noqa: S608  # no names of users
    return last or 0


@final
class LedgerWriter:
    """Writes transactions, and remembers by which numbers the file knows names.

    Args:
        connection: to the file.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._headings: dict[_Names, int] = {}
        self._posts: dict[str, int] = {}

    def forget(self) -> None:
        """What was written was taken back, and names with it."""
        self._headings.clear()
        self._posts.clear()

    def write(self, run: int, transactions: Iterable[Transaction]) -> int:
        """Append transactions of a run, within one of the file; returns the last entry."""
        if len(self._headings) + len(self._posts) > _MOST_NAMES:
            self.forget()
        connection = self._connection
        # Nobody else writes meanwhile, so that the numbers are ours to give.
        number, last = _last(connection, "transactions"), last_entry(connection)
        heads: list[tuple[object, ...]] = []
        entries: list[tuple[object, ...]] = []
        reserved: dict[str, list[tuple[object, ...]]] = {}  # {reservation: rows}
        ended: list[tuple[int, str]] = []
        sums: dict[tuple[int, int, int], Amount] = {}  # {(post, heading, account): sum}
        for transaction in transactions:
            number += 1
            kind, key = transaction.kind, transaction.reservation
            heads.append((number, run, key, KIND_CODES[kind], transaction.at))
            is_end = kind in _ENDINGS
            line = 0
            for entry in transaction.entries:
                account = ACCOUNT_CODES.get(entry.account)
                if account is None:
                    continue
                heading, post = self._numbers(entry.heading)
                columns = columns_of(entry.amount)
                call = "" if account == 1 else _text(entry.heading.call)
                last += 1
                entries.append((last, number, account, heading, post, call, *columns))
                if account != 1:
                    where = (post, heading, account)
                    found = sums.get(where)
                    sums[where] = entry.amount if found is None else found + entry.amount
                elif not is_end:
                    call = _text(entry.heading.call)
                    row = (run, key, line, heading, post, call, *columns)
                    reserved.setdefault(key, []).append(row)
                    line += 1
            if is_end:
                reserved.pop(key, None)  # it has come and gone
                ended.append((run, key))
        connection.executemany(_TRANSACTION, heads)
        connection.executemany(_ENTRY, entries)
        connection.executemany(_ENDED, ended)
        connection.executemany(_RESERVED, [row for rows in reserved.values() for row in rows])
        self._add(sums)
        return last

    def _add(self, sums: dict[tuple[int, int, int], Amount]) -> None:
        whole: dict[tuple[int, int], Amount] = {}
        for (_, heading, account), amount in sums.items():
            found = whole.get((heading, account))
            whole[heading, account] = amount if found is None else found + amount
        connection = self._connection
        connection.executemany(_SUM, [(*at, *columns_of(sum_)) for at, sum_ in whole.items()])
        connection.executemany(_POST_SUM, [(*at, *columns_of(sum_)) for at, sum_ in sums.items()])

    def _numbers(self, heading: CostLabel) -> tuple[int, int]:
        """Those of a heading and of its post."""
        names = (heading.tenant, heading.model, heading.day, heading.route)
        number = self._headings.get(names)
        if number is None:
            number = self._headings[names] = self._number("headings", NAMES, names)
        post = self._posts.get(heading.post)
        if post is None:
            post = self._posts[heading.post] = self._number("posts", ("name",), (heading.post,))
        return number, post

    def _number(self, table: str, columns: Sequence[str], names: Iterable[str]) -> int:
        values = tuple(map(_text, names))
        insert = _insert(
            table, ", ".join(columns), f"ON CONFLICT ({', '.join(columns)}) DO NOTHING"
        )
        self._connection.execute(insert, values)
        where = " AND ".join(f"{column} = ?" for column in columns)
        (number,) = self._connection.execute(
            f"SELECT id FROM {table} WHERE {where}",  # noqa: S608  # no names of users
            values,
        ).fetchone()
        return int(number)


def _text(name: str) -> str:
    """A name as UTF-8 can have it: what comes from a shell may not be."""
    return name if name.isascii() else name.encode(errors="replace").decode()


_ACCOUNTS: dict[int, Account] = {code: account for account, code in ACCOUNT_CODES.items()}
_NAMES = ", ".join(NAMES)
_BY = ("call", "post", *NAMES)
_HEADED = "JOIN headings ON headings.id = heading"
_POSTED = "JOIN posts ON posts.id = post"


def standing(connection: sqlite3.Connection, *, by_post: bool) -> Iterator[LedgerEntry]:
    """What everything has come to, in as few entries as will do; it reads no calls that have ended.

    Args:
        connection: to the file.
        by_post: those of each post for themselves; else what has ended is of none.
    """
    post, ended = ("name", f"post_sums {_POSTED}") if by_post else ("''", "sums")
    rows = connection.execute(
        f"SELECT account, {post}, {_NAMES}, {AMOUNT} FROM {ended} {_HEADED} UNION ALL "  # noqa: S608  # no names of users
        f"SELECT 1, name, {_NAMES}, {AMOUNT} FROM reservations {_POSTED} {_HEADED}"
    )
    return map(_entry, rows)


def written_since(connection: sqlite3.Connection, entry: int, run: int) -> Iterator[LedgerEntry]:
    """What others have written, one for each account and heading.

    Args:
        connection: to the file.
        entry: the last that is known.
        run: that is none of the others.
    """
    # CROSS keeps the order: from the new entries to what they belong to.
    rows = connection.execute(
        f"SELECT account, name, {_NAMES}, {SUMMED} FROM entries "  # noqa: S608  # no names of users
        "CROSS JOIN transactions ON transactions.id = entry_of "
        f"{_POSTED} {_HEADED} WHERE entries.id > ? AND run <> ? GROUP BY account, post, heading",
        (entry, run),
    )
    return map(_entry, rows)


def _entry(row: tuple[object, ...]) -> LedgerEntry:
    account, post, tenant, model, day, route, *amount = row
    names = cast("tuple[str, ...]", (post, tenant, model, day, route))
    return LedgerEntry(_ACCOUNTS[cast("int", account)], CostLabel("", *names), amount_of(amount))


def left_open(connection: sqlite3.Connection, run: int, now: float) -> list[Transaction]:
    """What ends a run's reservations, if nobody knows what became of their calls."""
    rows = connection.execute(
        f"SELECT reservation, call, name, {_NAMES}, {AMOUNT} FROM reservations "  # noqa: S608  # no names of users
        f"{_POSTED} {_HEADED} WHERE run = ? ORDER BY reservation, line",
        (run,),
    )
    found: list[Transaction] = []
    for key, lines in groupby(rows, itemgetter(0)):
        entries: list[LedgerEntry] = []
        for _, call, post, tenant, model, day, route, *columns in lines:
            heading, amount = CostLabel(call, post, tenant, model, day, route), amount_of(columns)
            entries.append(LedgerEntry("reserved", heading, amount.times(-1)))
            entries.append(LedgerEntry("maybe_billed", heading, amount))
        found.append(Transaction("maybe", key, now, tuple(entries)))
    return found


def sums(
    connection: sqlite3.Connection,
    by: CostDimension | str,
    since: str = "",
    until: str = "9999",
) -> Iterator[tuple[str, Account, Amount]]:
    """What everything has come to, by name and account.

    Only by call are all entries read.

    Args:
        connection: to the file.
        by: a dimension, or "call".
        since: the first day.
        until: the last day.
    """
    if by not in _BY:
        raise ValueError(f"by must be one of {', '.join(_BY)}, not {by!r}")
    if by == "call":
        ended, name = "entries", "call"
        only = "account <> 1 AND"  # what was reserved has no call, and has come to nothing
    elif by == "post":
        ended, name, only = f"post_sums {_POSTED}", "name", ""
    else:
        ended, name, only = "sums", by, ""
    days = "day >= ? AND day <= ?"
    rows = connection.execute(
        f"SELECT name, account, {SUMMED} FROM ("  # noqa: S608  # names that are said above
        f"SELECT {name} AS name, account, {AMOUNT} FROM {ended} {_HEADED} WHERE {only} {days} "
        f"UNION ALL SELECT {name}, 1, {AMOUNT} FROM reservations {_POSTED} {_HEADED} WHERE {days}"
        ") GROUP BY name, account ORDER BY name, account",
        (since, until, since, until),
    )
    for own, accounts in groupby(rows, itemgetter(0)):
        found: dict[Account, Amount] = {"reserved": NOTHING}
        for _, account, *columns in accounts:
            found[_ACCOUNTS[account]] = amount_of(columns)
        yield own, "available", sum(found.values(), NOTHING).times(-1)
        for name_of, amount in found.items():
            yield own, name_of, amount
