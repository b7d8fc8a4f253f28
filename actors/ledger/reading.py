"""What a ledger's file says."""

import sqlite3
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from typing import cast

from .entries import Account, Dimension, Entry, Heading, Transaction
from .money import NOTHING, Amount
from .tables import ACCOUNT_CODES, AMOUNT, NAMES, SUMMED, amount_of

__all__ = ["left_open", "standing", "sums", "written_since"]

_ACCOUNTS: dict[int, Account] = {code: account for account, code in ACCOUNT_CODES.items()}
_NAMES = ", ".join(NAMES)
_BY = ("call", "post", *NAMES)
_HEADED = "JOIN headings ON headings.id = heading"
_POSTED = "JOIN posts ON posts.id = post"


def standing(connection: sqlite3.Connection, *, by_post: bool) -> Iterator[Entry]:
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


def written_since(connection: sqlite3.Connection, entry: int, run: int) -> Iterator[Entry]:
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


def _entry(row: tuple[object, ...]) -> Entry:
    account, post, tenant, model, day, route, *amount = row
    names = cast("tuple[str, ...]", (post, tenant, model, day, route))
    return Entry(_ACCOUNTS[cast("int", account)], Heading("", *names), amount_of(amount))


def left_open(connection: sqlite3.Connection, run: int, now: float) -> list[Transaction]:
    """What ends a run's reservations, if nobody knows what became of their calls."""
    rows = connection.execute(
        f"SELECT reservation, call, name, {_NAMES}, {AMOUNT} FROM reservations "  # noqa: S608  # no names of users
        f"{_POSTED} {_HEADED} WHERE run = ? ORDER BY reservation, line",
        (run,),
    )
    found: list[Transaction] = []
    for key, lines in groupby(rows, itemgetter(0)):
        entries: list[Entry] = []
        for _, call, post, tenant, model, day, route, *columns in lines:
            heading, amount = Heading(call, post, tenant, model, day, route), amount_of(columns)
            entries.append(Entry("reserved", heading, amount.times(-1)))
            entries.append(Entry("maybe_billed", heading, amount))
        found.append(Transaction("maybe", key, now, tuple(entries)))
    return found


def sums(
    connection: sqlite3.Connection,
    by: Dimension | str,
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
