"""A ledger's file of version 1 becomes one of this version, and says the same."""

import sqlite3
from decimal import Decimal

import attrs
import pytest

from callsheet.actors import Usage
from callsheet.actors.ledger.book import Book, CallOutcome, CostTotals
from callsheet.actors.ledger.entries import COST_DIMENSIONS, Amount, CostLabel, Payer
from callsheet.actors.ledger.file import LedgerFile, LedgerUnusable, connect, hold, recover
from callsheet.actors.ledger.tables import sums

NOON = 1_795_694_400.0  # 2026-11-26 12:00 UTC
VERSION_1 = """
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
PRAGMA application_id = 1667329132;
PRAGMA user_version = 1;
PRAGMA journal_mode = WAL;
"""


def amount(dollars, tokens=10):
    return Amount.of(Usage(tokens, 5, 2), None if dollars is None else Decimal(dollars))


def line(dollars, call="c", **names):
    fields = {"post": "Ships", "tenant": "t", "model": "m", "day": "2026-11-26"} | names
    return Payer(CostLabel(call, **fields), amount(dollars))


def write_version_1(path, run, transactions, *, ended_at=None):
    """As version 1 wrote it."""
    with sqlite3.connect(path) as connection:
        if not connection.execute("PRAGMA user_version").fetchone()[0]:
            connection.executescript(VERSION_1)
        connection.execute("INSERT INTO runs VALUES (?, 1, ?, ?)", (run, NOON, ended_at))
        for done in transactions:
            cursor = connection.execute(
                "INSERT INTO transactions (run, reservation, kind, at) VALUES (?, ?, ?, ?)",
                (run, done.reservation, done.kind, done.at),
            )
            for entry in done.entries:
                usd, *counts = attrs.astuple(entry.amount)
                row = (entry.account, *attrs.astuple(entry.heading), str(usd), *counts)
                connection.execute(
                    f"INSERT INTO entries VALUES (NULL, {', '.join('?' * 15)})",
                    (cursor.lastrowid, *row),
                )
    connection.close()


@pytest.fixture
def old(tmp_path):
    """A file of version 1, and what it says of each dimension.

    One run has ended, and one has died with a call under way that was sent a second time.
    """
    path = tmp_path / "ledger.sqlite3"
    book, runs = Book(), ([], [])
    runs[0].append(book.reserve("1", [line("0.25", "a"), line("0.5", "b", post="")], NOON))
    runs[0].append(book.settle("1", CallOutcome(amount("0.111111111"), 1, "other", "flex"), NOON))
    runs[0].append(book.reserve("2", [line(None, "c", day="2026-11-25")], NOON))
    runs[0].append(book.settle("2", CallOutcome(amount(None), 0), NOON))
    runs[0].append(book.reserve("3", [line("9", "refunded")], NOON))
    runs[0].append(book.settle("3", CallOutcome(None, 0), NOON))
    runs[1].append(book.reserve("4", [line("1", "d", tenant="u"), line("2", "Ünï")], NOON))
    runs[1].append(book.extend("4", NOON))
    write_version_1(path, 1, runs[0], ended_at=NOON)
    write_version_1(path, 2, runs[1])
    said = {}
    transactions = [*runs[0], *runs[1]]
    for by in (*COST_DIMENSIONS, "call"):
        found = said[by] = {}
        for entry in (entry for done in transactions for entry in done.entries):
            name = getattr(entry.heading, by)
            found[name] = found.get(name, CostTotals()).plus(entry.account, entry.amount)
    del said["call"]["refunded"]
    return path, said


def says(path, by):
    connection, found = connect(path, create=False), {}
    for name, account, sum_ in sums(connection, by):
        found[name] = found.get(name, CostTotals()).plus(account, sum_)
    connection.close()
    return found


def test_a_ledger_of_version_1_says_the_same_in_version_2(old):
    path, said = old
    for by in (*COST_DIMENSIONS, "call"):
        assert says(path, by) == said[by]
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (2,)
        tables = connection.execute("SELECT name FROM sqlite_master WHERE name LIKE 'old%'")
        assert tables.fetchall() == []
        assert connection.execute("PRAGMA freelist_count").fetchone() == (0,)
    connection.close()


def test_what_a_run_of_version_1_left_open_may_have_been_billed(old):
    path, said = old
    recover(path, NOON)
    for by in (*COST_DIMENSIONS, "call"):
        expected = {
            name: CostTotals(sum_.spent, maybe_billed=sum_.maybe_billed + sum_.reserved)
            for name, sum_ in said[by].items()
        }
        assert says(path, by) == expected
    store, book = LedgerFile(path, NOON), Book()
    for entry in store.begin():
        book.post(entry)
    store.commit(
        [book.reserve("1", [line("1")], NOON), book.settle("1", CallOutcome(None, 1), NOON)]
    )
    store.close(NOON)
    assert says(path, "model")["m"].maybe_billed == book.statistics().by["model"]["m"].maybe_billed


def test_what_was_under_way_in_a_run_that_seemed_to_end_may_have_been_billed(tmp_path):
    """As when its disk was full: version 1 left it reserved for ever."""
    path = tmp_path / "ledger.sqlite3"
    write_version_1(path, 1, [Book().reserve("1", [line("0.5")], NOON)], ended_at=NOON)
    recover(path, NOON)
    assert says(path, "model") == {"m": CostTotals(maybe_billed=amount("0.5"))}


def test_a_ledger_that_version_1_is_writing_is_left_to_it(old):
    path, said = old
    lock = hold(path, 2)
    with pytest.raises(
        LedgerUnusable, match="in use by an earlier version of Callsheet; try again"
    ):
        LedgerFile(path, NOON)
    lock.close()
    assert says(path, "model") == said["model"]


def test_a_ledger_of_version_1_stays_as_it_is_if_it_cannot_be_brought_up_to_date(old):
    path, said = old
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE transactions SET kind = 'odd' WHERE id = 3")
        before = list(connection.iterdump())
    connection.close()
    with pytest.raises(LedgerUnusable, match="cannot be used"):
        connect(path, create=False)
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
        assert list(connection.iterdump()) == before
        connection.execute("UPDATE transactions SET kind = 'reserve' WHERE id = 3")
    connection.close()
    assert says(path, "day") == said["day"]


def test_an_empty_ledger_of_version_1_is_one(tmp_path):
    write_version_1(tmp_path / "ledger.sqlite3", 1, [], ended_at=NOON)
    assert says(tmp_path / "ledger.sqlite3", "model") == {}
