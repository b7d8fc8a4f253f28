"""The sums in a ledger file: equal to the sums of its entries, and all that opening reads."""

import itertools
import sqlite3
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callsheet.actors import Usage
from callsheet.actors.errors import BudgetExceeded
from callsheet.actors.ledger.accounts import Accounts
from callsheet.actors.ledger.book import Book, CallOutcome
from callsheet.actors.ledger.budgets import Budget, LedgerPolicy
from callsheet.actors.ledger.cost_sums import CostTotals
from callsheet.actors.ledger.entries import COST_DIMENSIONS, NOTHING, Amount, CostLabel, Payer
from callsheet.actors.ledger.file import LedgerFile, open_ledger
from callsheet.actors.ledger.tables import standing, sums

NOON = 1_795_694_400.0  # 2026-11-26 12:00 UTC
DAYS = ("2026-11-25", "2026-11-26")


def amount(dollars, tokens=10):
    return Amount.of(Usage(tokens, tokens // 2), None if dollars is None else Decimal(dollars))


def heading(call="c", post="", tenant="t", model="m", day="2026-11-26"):
    return CostLabel(call, post, tenant, model, day, "live")


def write(store, book, *transactions):
    for entry in store.begin(by_post=True):
        book.post(entry)
    store.commit([transaction for transaction in transactions if transaction is not None])


# ------------------------------------------------------------------ they are what entries come to

dollars = st.none() | st.decimals(0, 10, places=9)
names = st.sampled_from(["", "a", "Ünï", "b"])
headings = st.builds(
    CostLabel, st.sampled_from("xyz"), names, names, names, st.sampled_from(DAYS), st.just("live")
)
lines = st.lists(st.builds(Payer, headings, st.builds(amount, dollars)), min_size=1, max_size=3)
outcomes = st.builds(
    CallOutcome,
    st.none() | st.builds(amount, dollars, st.integers(0, 99)),
    st.integers(0, 2),
    st.none() | st.just("other"),
    st.none() | st.just("batch"),
)
steps = st.tuples(st.integers(0, 1), st.integers(0, 3), lines, outcomes, st.booleans())


def expected(transactions, by, days=DAYS):
    """The sums of entries, computed from all of them."""
    found = {}
    for transaction in transactions:
        for entry in transaction.entries:
            if entry.label.day in days:
                name = getattr(entry.label, by)
                found[name] = found.get(name, CostTotals()).plus(entry.account, entry.amount)
    return {name: totals for name, totals in found.items() if totals != CostTotals()}


def on_disk(connection, by, *days):
    found, everything = {}, {}
    for name, account, sum_ in sums(connection, by, *days):
        found[name] = found.get(name, CostTotals()).plus(account, sum_)
        everything[name] = everything.get(name, NOTHING) + sum_
    assert set(everything.values()) <= {NOTHING}, "double entry"
    return {name: totals for name, totals in found.items() if totals != CostTotals()}


def act(book, number, bounds, outcome, is_end):
    """Reserve, extend or settle, at random."""
    key = str(number)
    if is_end:
        return book.settle(key, outcome, NOON)
    return book.extend(key, NOON) or book.reserve(key, bounds, NOON)


def told(book, by):
    return {name: sum_ for name, sum_ in book.statistics().by[by].items() if sum_ != CostTotals()}


@given(st.lists(st.lists(steps, max_size=4), max_size=5))
@settings(max_examples=settings.default.max_examples // 2, deadline=None)
def test_sums_are_what_all_entries_come_to(commits):
    """Two processes write at random, several transactions at a time."""
    everything = []
    with TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.sqlite3"
        stores, books = [LedgerFile(path, NOON), LedgerFile(path, NOON)], [Book(), Book()]
        for commit, which in itertools.product(commits, (0, 1)):
            done = [act(books[which], *step) for whose, *step in commit if whose == which]
            write(stores[which], books[which], *done)
            everything += [transaction for transaction in done if transaction is not None]
        stores.append(LedgerFile(path, NOON))  # a process that opens the file later
        books.append(Book())
        for store, book in zip(stores, books, strict=True):
            write(store, book)
        connection = open_ledger(path)
        for by in COST_DIMENSIONS:
            assert on_disk(connection, by) == expected(everything, by)
            assert on_disk(connection, by, *DAYS[:1] * 2) == expected(everything, by, DAYS[:1])
            for book in books:
                assert told(book, by) == expected(everything, by)
        assert on_disk(connection, "call") == expected(everything, "call")
        without_posts = Book()
        for entry in standing(connection, by_post=False):
            without_posts.post(entry)
        assert without_posts.statistics().totals == books[2].statistics().totals
        connection.close()
        for store in stores:
            store.close(NOON)


# ------------------------------------------------------------------ and all that opening reads


@pytest.fixture
def count_steps(monkeypatch):
    """Counts the steps of SQLite's virtual machine."""
    steps = itertools.count()
    usual = sqlite3.connect

    def counting(*args, **options):
        connection = usual(*args, **options)
        connection.set_progress_handler(lambda: next(steps) < 0, 1)
        return connection

    monkeypatch.setattr(sqlite3, "connect", counting)
    return lambda: next(steps)


def book_calls(path, calls, *, since=0):
    store, book, done = LedgerFile(path, NOON), Book(), []
    for number in range(since, since + calls):
        key = str(number)
        bound = Payer(heading(f"call-{number}", f"post-{number}"), amount("0.25"))
        done.append(book.reserve(key, [bound], NOON))
        done.append(book.settle(key, CallOutcome(amount("0.1"), 0), NOON))
    write(store, Book(), *done)
    store.close(NOON)


def test_opening_a_ledger_takes_no_longer_for_the_calls_in_it(tmp_path, count_steps, monkeypatch):
    """Each call is for another post. The check for damage is bounded by the size of the file."""
    monkeypatch.setattr("callsheet.actors.ledger.file._CHECKED_BYTES", 0)
    path = tmp_path / "ledger.sqlite3"
    took = []
    for calls in (10, 990):
        book_calls(path, calls, since=len(took) * 10)
        before = count_steps()
        store = LedgerFile(path, NOON)
        found = store.begin()
        store.roll_back()
        took.append(count_steps() - before)
        assert [(entry.account, entry.label.post) for entry in found] == [("spent", "")]
        store.close(NOON)
    few, many = took
    assert many <= few * 1.1
    assert found[0].amount.calls == 1000


async def test_posts_of_earlier_runs_can_be_distinguished(tmp_path):
    path = tmp_path / "ledger.sqlite3"
    book_calls(path, 3)
    accounts = Accounts(LedgerPolicy(path=path), clock=lambda: NOON)
    await accounts.open(lambda: None)
    bound = Payer(heading(post="post-1"), amount("0.25"))
    assert await accounts.reserve([("1", [bound])]) == [None]
    accounts.settle("1", CallOutcome(amount("0.2"), 0))  # which is not written yet
    for _ in range(2):
        statistics = await accounts.statistics()
        spent = {post: totals.spent.usd for post, totals in statistics.by["post"].items()}
        assert spent == {"post-0": Decimal("0.1"), "post-1": Decimal("0.3"),
                         "post-2": Decimal("0.1")}  # fmt: skip
        assert statistics.totals.spent.usd == Decimal("0.5")
    await accounts.leave()


async def test_a_budget_for_each_post_counts_what_earlier_runs_have_spent_on_it(tmp_path):
    path = tmp_path / "ledger.sqlite3"
    book_calls(path, 3)
    policy = LedgerPolicy(path=path, budgets=[Budget("0.3", per="post"), Budget(1)])
    accounts = Accounts(policy, clock=lambda: NOON)
    await accounts.open(lambda: None)
    posts = ("post-1", "post-new")
    wanted = [(post, [Payer(heading(post=post), amount("0.25"))]) for post in posts]
    refused, allowed = await accounts.reserve(wanted)
    assert isinstance(refused, BudgetExceeded)
    assert (refused.left_usd, allowed) == (Decimal("0.2"), None)
    accounts.settle("post-new", CallOutcome(None, 0))
    states = (await accounts.statistics()).budgets
    used = {state.name: state.used for state in states if state.budget.per == "post"}
    assert used == {"post-0": Decimal("0.1"), "post-1": Decimal("0.1"), "post-2": Decimal("0.1"),
                    "post-new": 0}  # fmt: skip
    assert [state.used for state in states if state.budget.per == "total"] == [Decimal("0.3")]
    await accounts.leave()


def test_a_name_whose_writing_failed_is_written_with_the_next(tmp_path):
    """The ids of names that were rolled back are not cached."""
    path = tmp_path / "ledger.sqlite3"
    store, book = LedgerFile(path, NOON), Book()
    reserved = book.reserve("1", [Payer(heading(post="new"), amount("0.25"))], NOON)
    store.begin()
    store._writer.write(store.run, [reserved])
    store.roll_back()
    write(store, Book(), reserved, book.settle("1", CallOutcome(amount("0.1"), 0), NOON))
    connection = open_ledger(path)
    assert {name for name, _, _ in sums(connection, "post")} == {"new"}
    connection.close()
    store.close(NOON)


def test_a_ledger_of_many_posts_does_not_remember_all_their_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr("callsheet.actors.ledger.tables._MAX_CACHED_IDS", 5)
    path = tmp_path / "ledger.sqlite3"
    store, book = LedgerFile(path, NOON), Book()
    for number in range(20):
        bound = Payer(heading(post=f"post-{number % 7}"), amount("0.25"))
        write(store, Book(), book.reserve(str(number), [bound], NOON))
    assert len(store._writer._posts) < 7
    connection = open_ledger(path)
    assert len(list(sums(connection, "post"))) == 2 * 7
    connection.close()
    store.close(NOON)
