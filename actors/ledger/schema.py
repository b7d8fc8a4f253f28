"""The tables of a ledger's file, and the sums over them."""

import contextlib
import os
import sqlite3
from collections.abc import Iterable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import cast

from .entries import Account, Dimension, Entry, Heading, Transaction
from .money import Amount, add_usd

__all__ = ["COLUMNS", "LedgerUnusable", "connect", "insert", "read_entries", "sums", "unusable"]

_VERSION = 1
_BUSY_S = 10.0  # to wait for another process that writes; it takes milliseconds
_APPLICATION = 0x63616C6C  # "call", so that no other SQLite file is taken for a ledger

# Amounts of USD are texts: SQLite's own numbers are no decimals.
_TABLES = """
CREATE TABLE runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT, pid INTEGER NOT NULL, began_at REAL NOT NULL,
    ended_at REAL
);
CREATE TABLE transactions (
    id INTEGER PRIMARY KEY AUTOINCREMENT, run INTEGER NOT NULL REFERENCES runs,
    reservation TEXT NOT NULL, kind TEXT NOT NULL, at REAL NOT NULL
);
CREATE INDEX by_run ON transactions (run, reservation);
CREATE TABLE entries (
    id INTEGER PRIMARY KEY, entry_of INTEGER NOT NULL REFERENCES transactions,
    account TEXT NOT NULL, call TEXT NOT NULL, post TEXT NOT NULL, tenant TEXT NOT NULL,
    model TEXT NOT NULL,
    day TEXT NOT NULL, route TEXT NOT NULL, usd TEXT NOT NULL, input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL, cached_tokens INTEGER NOT NULL,
    unpriced_tokens INTEGER NOT NULL, calls INTEGER NOT NULL, unpriced_calls INTEGER NOT NULL
);
CREATE INDEX by_transaction ON entries (entry_of);
CREATE INDEX by_day ON entries (day);
"""
COLUMNS = ("call", "post", "tenant", "model", "day", "route")
_COUNTS = (
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "unpriced_tokens",
    "calls",
    "unpriced_calls",
)
_INSERT_ENTRY = (
    f"INSERT INTO entries (entry_of, account, {', '.join(COLUMNS)}, usd, {', '.join(_COUNTS)}) "  # noqa: S608  # the names above
    f"VALUES ({', '.join('?' * (3 + len(COLUMNS) + len(_COUNTS)))})"
)
_SUMS = ", ".join(("exact_sum(usd)", *(f"sum({name})" for name in _COUNTS)))


class LedgerUnusable(Exception):
    """A ledger's file cannot be read or written; the text says why, and what to do."""


class _ExactSum:
    """Adds up USD as Python does, to the last digit."""

    def __init__(self) -> None:
        self._sum = Decimal(0)

    def step(self, usd: object) -> None:
        """One more."""
        self._sum = add_usd(self._sum, Decimal(str(usd)))

    def finalize(self) -> str:
        """All of them."""
        return str(self._sum)


def connect(path: Path, *, create: bool) -> sqlite3.Connection:
    """Open the file, and make sure that it is a ledger.

    Args:
        path: of it.
        create: make it if there is none.

    Raises:
        LedgerUnusable: it is no ledger, or cannot be written.
    """
    try:
        if create:
            path.parent.mkdir(parents=True, exist_ok=True)
        mode = "rwc" if create else "rw"
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={mode}",
            uri=True,
            timeout=_BUSY_S,
            isolation_level=None,  # transactions begin and end where it is said
            check_same_thread=False,  # a thread at a time
        )
    except (OSError, sqlite3.Error) as error:
        raise unusable(path, error) from None
    try:
        _prepare(connection, path)
    except BaseException as error:
        connection.close()
        if isinstance(error, sqlite3.Error):
            raise unusable(path, error) from None
        raise
    # Typeshed knows only of aggregates of whole numbers.
    connection.create_aggregate("exact_sum", 1, _ExactSum)  # type: ignore[arg-type]
    return connection


def unusable(path: Path, error: Exception) -> LedgerUnusable:
    """What to raise for an error of the file."""
    if isinstance(error, OSError) and error.errno is not None:
        words = os.strerror(error.errno)
    else:
        words = str(error)
    if "not a database" in words or "malformed" in words:
        remedy = "it is damaged, or no ledger: move it away, or name another file"
    elif "locked" in words:
        remedy = "another program holds it; try again when that has ended"
    else:
        remedy = "make the file and its folder writable, or name another file"
    return LedgerUnusable(f"the ledger {path} cannot be used ({words}); {remedy}")


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")  # on disk, when a commit returns
    connection.execute("BEGIN IMMEDIATE")
    try:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if not tables and not application:
            for statement in _TABLES.split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {_APPLICATION}")
            connection.execute(f"PRAGMA user_version = {_VERSION}")
        else:
            _check(path, application, version)
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def _check(path: Path, application: int, version: int) -> None:
    """Refuse a file of somebody else's, or of another version's."""
    if application != _APPLICATION:
        raise LedgerUnusable(
            f"{path} is a database, but no ledger of Callsheet's; name another file"
        )
    if version != _VERSION:
        raise LedgerUnusable(
            f"the ledger {path} was written by another version of Callsheet ({version}, not "
            f"{_VERSION}); name another file"
        )


def insert(connection: sqlite3.Connection, run: int, transactions: Iterable[Transaction]) -> None:
    """Append transactions."""
    for transaction in transactions:
        cursor = connection.execute(
            "INSERT INTO transactions (run, reservation, kind, at) VALUES (?, ?, ?, ?)",
            (run, transaction.reservation, transaction.kind, transaction.at),
        )
        connection.executemany(
            _INSERT_ENTRY,
            [(cursor.lastrowid, *_row(entry)) for entry in transaction.entries],
        )


def _row(entry: Entry) -> tuple[object, ...]:
    heading, amount = entry.heading, entry.amount
    names = (_text(getattr(heading, name)) for name in COLUMNS)
    counts = (getattr(amount, name) for name in _COUNTS)
    return (entry.account, *names, str(amount.usd), *counts)


def _text(name: str) -> str:
    """A name as UTF-8 can have it: what comes from a shell may not be."""
    return name.encode(errors="replace").decode()


def read_entries(
    connection: sqlite3.Connection,
    where: str,
    values: tuple[object, ...],
    *,
    with_calls: bool = False,
) -> Iterator[Entry]:
    """What the entries come to, one for each account and heading.

    Args:
        connection: to the file.
        where: a condition on `transactions` and `entries`.
        values: of its question marks.
        with_calls: those of each call for themselves.
    """
    names = COLUMNS if with_calls else COLUMNS[1:]
    rows = connection.execute(
        f"SELECT account, {', '.join(names)}, {_SUMS} FROM entries "  # noqa: S608  # no names of users
        "JOIN transactions ON transactions.id = entry_of "
        f"WHERE {where} GROUP BY account, {', '.join(names)}",
        values,
    )
    for account, *rest in rows:
        own = rest[: len(names)]
        heading = Heading(*own) if with_calls else Heading("", *own)
        yield Entry(cast("Account", account), heading, _amount(rest[len(names) :]))


def sums(
    connection: sqlite3.Connection,
    by: Dimension | str,
    since: str = "",
    until: str = "9999",
) -> Iterator[tuple[str, Account, Amount]]:
    """What everything has come to, by name and account.

    Args:
        connection: to the file.
        by: a dimension, or "call".
        since: the first day.
        until: the last day.
    """
    if by not in COLUMNS:
        raise ValueError(f"by must be one of {', '.join(COLUMNS)}, not {by!r}")
    rows = connection.execute(
        f"SELECT {by}, account, {_SUMS} FROM entries "  # noqa: S608  # one of the names above
        f"WHERE day >= ? AND day <= ? GROUP BY {by}, account ORDER BY {by}",
        (since, until),
    )
    for name, account, *rest in rows:
        yield name, cast("Account", account), _amount(rest)


def _amount(columns: list[object]) -> Amount:
    usd, *counts = columns
    return Amount(Decimal(cast("str", usd)), *cast("list[int]", counts))
