"""Statements on a ledger file: how transactions are written, and how sums are read."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import cast, final

from ..storage import Database
from .amount_columns import ADDED, AMOUNT, SUMMED, SUMS_OF_TWO, amount_of, columns_of
from .entries import (
    NOTHING,
    Account,
    Amount,
    CostDimension,
    CostLabel,
    LedgerEntry,
    Transaction,
    TransactionKind,
)
from .format import ACCOUNT_CODES, ACCOUNTS, CHECKED, KIND_CODES, LABEL
from .lines import HELD, LINE

_MAX_CACHED_IDS = 10_000
_ENDINGS = frozenset({"settle", "maybe", "refund"})
_Label = tuple[str, str, str, str, str]  # as in LABEL


def _insert(table: str, conflict: str = "") -> str:
    columns = CHECKED[table]
    marks = ", ".join(f"?{number}" for number in range(1, columns.count(",") + 2))
    return f"INSERT INTO {table} ({columns}, crc) VALUES ({marks}, checksum({marks})) {conflict}"  # noqa: S608  # constants, here and below


def _add(table: str, key: str) -> str:
    """Return the statement that inserts a sum, or adds to the one with the same key."""
    columns = CHECKED[table]
    added = columns.replace(AMOUNT, ", ".join(SUMS_OF_TWO))
    return _insert(
        table,
        f"ON CONFLICT ({key}) DO UPDATE SET {ADDED}, crc = checksum({added}) "
        f"WHERE verified(crc, {columns})",
    )


_TRANSACTION = _insert("transactions")
_ENTRY = _insert("entries")
_RESERVED = _add("reservations", "run, reservation, payer")
_FOUND = (
    f"SELECT verified(crc, {CHECKED['reservations']}), payer, label, post, call, {AMOUNT} "  # noqa: S608
    "FROM reservations WHERE run = ? AND reservation = ?"
)
_ENDED = "DELETE FROM reservations WHERE run = ? AND reservation = ?"
_SUM = _add("sums", "label, account")
_POST_SUM = _add("post_sums", "post, label, account")


def last_entry(database: Database) -> int:
    """Return the id of the last entry; 0 if there is none."""
    return database.number("SELECT max(id) FROM entries")


@final
class LedgerWriter:
    """Writes transactions, and caches the ids of labels and posts.

    Args:
        database: the ledger file.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._labels: dict[_Label, int] = {}
        self._posts: dict[str, int] = {}

    def forget(self) -> None:
        """Clear the cache: a rollback has removed what was inserted."""
        self._labels.clear()
        self._posts.clear()

    def write(self, run: int, transactions: Iterable[Transaction]) -> int:
        """Append transactions inside the open transaction of the file.

        Args:
            run: the id of the run that they belong to.
            transactions: in the order in which they happened.

        Returns:
            The id of the last entry.
        """
        if len(self._labels) + len(self._posts) > _MAX_CACHED_IDS:
            self.forget()
        database = self._database
        # No other process writes during the transaction, so ids can be assigned here.
        number = database.number("SELECT max(id) FROM transactions")
        last = last_entry(database)
        heads: list[tuple[object, ...]] = []
        entries: list[tuple[object, ...]] = []
        reserved: dict[str, list[tuple[object, ...]]] = {}  # {reservation: rows}
        ended: list[tuple[int, str]] = []
        renamed: dict[str, str] = {}  # {name: the name that the file has}
        sums: dict[tuple[int, int, int], Amount] = {}  # {(post, label, account): sum}
        for transaction in transactions:
            number += 1
            kind, key = transaction.kind, transaction.reservation
            heads.append((number, run, key, KIND_CODES[kind], transaction.at))
            is_end = kind in _ENDINGS
            payer = 0
            for entry in transaction.entries:
                account = ACCOUNT_CODES.get(entry.account)
                if account is None:
                    continue
                label, post = self._ids(entry.label)
                columns = columns_of(entry.amount)
                call = "" if account == 1 else _text(entry.label.call)
                last += 1
                entries.append((last, number, account, label, post, call, *columns))
                if account != 1:
                    where = (post, label, account)
                    found = sums.get(where)
                    sums[where] = entry.amount if found is None else found + entry.amount
                elif not is_end:
                    call = _text(entry.label.call)
                    row = (run, key, payer, label, post, call, *columns)
                    reserved.setdefault(key, []).append(row)
                    payer += 1
            if kind == "attach":
                former = transaction.formerly
                renamed[key] = renamed.pop(former, former)
                rows = [(run, key, *row[2:]) for row in reserved.pop(former, ())]
                reserved.setdefault(key, []).extend(rows)
            elif is_end:
                reserved.pop(key, None)  # it begins and ends in this group
                ended.append((run, renamed.pop(key, key)))
        database.executemany(_TRANSACTION, heads)
        database.executemany(_ENTRY, entries)
        database.executemany(_ENDED, ended)
        moved = [
            (run, new, *row[1:])
            for new, old in renamed.items()
            for row in database.rows(_FOUND, (run, old))
        ]
        database.executemany(_ENDED, [(run, old) for old in renamed.values()])
        database.executemany(_RESERVED, moved)
        database.executemany(_RESERVED, [row for rows in reserved.values() for row in rows])
        self._add(sums)
        return last

    def _add(self, sums: dict[tuple[int, int, int], Amount]) -> None:
        by_label: dict[tuple[int, int], Amount] = {}
        for (_, label, account), amount in sums.items():
            found = by_label.get((label, account))
            by_label[label, account] = amount if found is None else found + amount
        database = self._database
        database.executemany(_SUM, [(*at, *columns_of(sum_)) for at, sum_ in by_label.items()])
        database.executemany(_POST_SUM, [(*at, *columns_of(sum_)) for at, sum_ in sums.items()])

    def _ids(self, label: CostLabel) -> tuple[int, int]:
        """Return the ids of a label and of its post."""
        names = (label.tenant, label.model, label.day, label.route, label.endpoint)
        number = self._labels.get(names)
        if number is None:
            number = self._labels[names] = self._id("labels", LABEL, names)
        post = self._posts.get(label.post)
        if post is None:
            post = self._posts[label.post] = self._id("posts", ("name",), (label.post,))
        return number, post

    def _id(self, table: str, columns: Sequence[str], names: Iterable[str]) -> int:
        values = tuple(map(_text, names))
        is_it = " AND ".join(f"{column} = ?" for column in columns)
        checked = CHECKED[table]
        select = f"SELECT id, verified(crc, {checked}) FROM {table} WHERE {is_it}"  # noqa: S608
        if self._database.row(select, values) is None:
            marks = ", ".join("?" * len(columns))
            self._database.execute(
                f"INSERT INTO {table} ({', '.join(columns)}, crc) VALUES ({marks}, 0)",  # noqa: S608
                values,
            )
            seal = f"UPDATE {table} SET crc = checksum({checked}) WHERE {is_it}"  # noqa: S608
            self._database.execute(seal, values)
        return self._database.number(select, values)


def _text(name: str) -> str:
    """Return a name as valid UTF-8: a name that comes from a shell may not be."""
    return name if name.isascii() else name.encode(errors="replace").decode()


_LABEL_COLUMNS = ", ".join(LABEL)
_BY = ("call", "post", *LABEL)
_LABELED = "JOIN labels ON labels.id = label"
_POSTED = "JOIN posts ON posts.id = post"


def standing(database: Database, *, by_post: bool) -> Iterator[LedgerEntry]:
    """Yield the sums of everything, in as few entries as possible.

    Entries of single calls are not read.

    Args:
        database: the ledger file.
        by_post: whether each post has entries of its own; else what has ended has the post "".
    """
    if by_post:
        database.verify("posts", "post_sums")
    post, ended = ("name", f"post_sums {_POSTED}") if by_post else ("''", "sums")
    rows = database.rows(
        f"SELECT account, {post}, {_LABEL_COLUMNS}, {AMOUNT} FROM {ended} {_LABELED} UNION ALL "  # noqa: S608  # constants
        f"SELECT 1, name, {_LABEL_COLUMNS}, {AMOUNT} FROM reservations {_POSTED} {_LABELED}"
    )
    return map(_entry, rows)


def written_since(database: Database, entry: int, run: int) -> Iterator[LedgerEntry]:
    """Yield what other runs have written, in as few entries as possible.

    Args:
        database: the ledger file.
        entry: the id of the last entry that is known.
        run: the id of the run whose entries are left out.
    """
    # CROSS keeps the order: from the new entries to their transactions.
    rows = database.rows(
        f"SELECT account, name, {_LABEL_COLUMNS}, {SUMMED}, {_VERIFIED} FROM entries "  # noqa: S608  # constants
        "CROSS JOIN transactions ON transactions.id = entry_of "
        f"{_POSTED} {_LABELED} WHERE entries.id > ? AND run <> ? GROUP BY account, post, label",
        (entry, run),
    )
    return (_entry(row[:-1]) for row in rows)


def _of(table: str) -> str:
    return ", ".join(f"{table}.{name}" for name in CHECKED[table].split(", "))


_VERIFIED = (
    f"min(verified(entries.crc, {_of('entries')}) AND "
    f"verified(transactions.crc, {_of('transactions')}))"
)


def line_debts(database: Database, run: int) -> dict[str, list[LedgerEntry]]:
    """Return what runs other than `run` have left for lines, by name of the reservation."""
    rows = database.rows(
        f"SELECT {_VERIFIED}, reservation, account, call, name, {_LABEL_COLUMNS}, {SUMMED} "  # noqa: S608  # constants
        f"FROM transactions JOIN entries ON entry_of = transactions.id {_POSTED} {_LABELED} "
        "WHERE reservation LIKE ? AND account IN (3, 4) AND run <> ? "
        "GROUP BY reservation, account, call, post, label",
        (f"{LINE}%", run),
    )
    found: dict[str, list[LedgerEntry]] = {}
    for _, reservation, account, *columns in rows:
        label, amount = _labelled(columns)
        if amount != NOTHING:
            entry = LedgerEntry(ACCOUNTS[account], label, amount)
            found.setdefault(reservation, []).append(entry)
    return found


def _entry(row: tuple[object, ...]) -> LedgerEntry:
    account, *columns = row
    return LedgerEntry(ACCOUNTS[cast("int", account)], *_labelled(["", *columns]))


def _labelled(columns: Sequence[object]) -> tuple[CostLabel, Amount]:
    """Return the label and the amount of a row: call, post, the columns of a label, an amount."""
    names = cast("Sequence[str]", columns[: 2 + len(LABEL)])
    return CostLabel(*names), amount_of(columns[2 + len(LABEL) :])


def open_reservations(database: Database, run: int, now: float) -> list[Transaction]:
    """Return the transactions that end a run's open reservations.

    They end as possibly billed, and those of which nothing was sent as refunded.

    Args:
        database: the ledger file.
        run: the id of a run whose process has ended.
        now: Unix time in seconds.
    """
    rows = database.rows(
        f"SELECT reservation, call, name, {_LABEL_COLUMNS}, {AMOUNT} FROM reservations "  # noqa: S608  # constants
        f"{_POSTED} {_LABELED} WHERE run = ? ORDER BY reservation, payer",
        (run,),
    )
    found: list[Transaction] = []
    for key, payers in groupby(rows, itemgetter(0)):
        entries: list[LedgerEntry] = []
        is_held = cast("str", key).startswith(HELD)
        account: Account = "available" if is_held else "maybe_billed"
        for _, *columns in payers:
            label, amount = _labelled(columns)
            entries.append(LedgerEntry("reserved", label, amount.times(-1)))
            entries.append(LedgerEntry(account, label, amount))
        kind: TransactionKind = "refund" if is_held else "maybe"
        found.append(Transaction(kind, key, now, tuple(entries)))
    return found


def check_dimension(by: str) -> None:
    """Check the name of a dimension of costs.

    Raises:
        ValueError: there is no such dimension.
    """
    if by not in _BY:
        raise ValueError(f"by must be one of {', '.join(_BY)}, not {by!r}")


def sums(
    database: Database,
    by: CostDimension | str,
    since: str = "",
    until: str = "9999",
    *,
    simulated: bool | None = None,
) -> Iterator[tuple[str, Account, Amount]]:
    """Yield the sums of everything, by name and account.

    Only the sums by call read all entries.

    Args:
        database: the ledger file.
        by: a dimension, or "call".
        since: the first day, such as "2026-11-26" (UTC).
        until: the last day.
        simulated: whether to yield what endpoints on this machine cost, or what the others cost;
            None for both.

    Raises:
        ValueError: there is no such dimension.
    """
    check_dimension(by)
    if by in ("call", "post"):
        database.verify(*(("entries",) if by == "call" else ("posts", "post_sums")))
    if by == "call":
        ended, name = "entries", "call"
        only = "account <> 1 AND"  # entries of account 1 have no call, and cancel out
    elif by == "post":
        ended, name, only = f"post_sums {_POSTED}", "name", ""
    else:
        ended, name, only = "sums", by, ""
    days = "day >= ? AND day <= ? AND is_simulated(endpoint) = ifnull(?, is_simulated(endpoint))"
    rows = database.rows(
        f"SELECT name, account, {SUMMED} FROM ("  # noqa: S608  # constants, and `by` is checked
        f"SELECT {name} AS name, account, {AMOUNT} FROM {ended} {_LABELED} WHERE {only} {days} "
        f"UNION ALL SELECT {name}, 1, {AMOUNT} FROM reservations {_POSTED} {_LABELED} WHERE {days}"
        ") GROUP BY name, account ORDER BY name, account",
        (since, until, simulated) * 2,
    )
    for group, accounts in groupby(rows, itemgetter(0)):
        found: dict[Account, Amount] = {"reserved": NOTHING}
        for _, account, *columns in accounts:
            found[ACCOUNTS[account]] = amount_of(columns)
        yield group, "available", sum(found.values(), NOTHING).times(-1)
        for name_of, amount in found.items():
            yield group, name_of, amount
