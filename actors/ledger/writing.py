"""How transactions get into a ledger's file, and its sums with them."""

import sqlite3
from collections.abc import Iterable, Sequence
from typing import final

from .entries import Heading, Transaction
from .money import Amount
from .tables import ACCOUNT_CODES, AMOUNT, KIND_CODES, MORE, NAMES, columns_of

__all__ = ["Writer", "last_entry"]

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
class Writer:
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

    def _numbers(self, heading: Heading) -> tuple[int, int]:
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
