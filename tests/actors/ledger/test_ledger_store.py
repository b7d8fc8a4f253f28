"""The ledger file: a reservation is on disk first, and a process that dies loses nothing."""

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from decimal import Decimal
from fractions import Fraction

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors import Usage
from callsheet.actors.errors import BudgetExceeded
from callsheet.actors.ledger.accounts import Accounts
from callsheet.actors.ledger.amount_columns import ExactSum
from callsheet.actors.ledger.book import CallOutcome
from callsheet.actors.ledger.budgets import Budget, LedgerPolicy
from callsheet.actors.ledger.entries import Amount, CostLabel, Payer
from callsheet.actors.ledger.file import open_ledger, read_sums, recover
from callsheet.actors.ledger.format import LEDGER_FORMAT
from callsheet.actors.ledger.tables import sums
from callsheet.actors.storage import DamagedFile, StorageError, in_worker_thread

NOON = 1_795_694_400.0  # 2026-11-26 12:00 UTC


def line(dollars="0.25", call="c", **more):
    heading = CostLabel(call, "p", "t", "m", "2026-11-26", "live")
    return Payer(heading, Amount.of(Usage(10, 5), Decimal(dollars), **more))


def paid(dollars="0.1"):
    return CallOutcome(Amount.of(Usage(7, 3), Decimal(dollars)), 0)


def books(path, *budgets):
    return Accounts(LedgerPolicy(budgets=budgets, path=path), clock=lambda: NOON)


async def opened(path, *budgets):
    accounts = books(path, *budgets)
    await accounts.open(lambda: None)
    return accounts


def on_disk(path, by="model"):
    """The sums of the file, as {account: USD}."""
    connection = open_ledger(path)
    found = {account: amount.usd for _, account, amount in sums(connection, by)}
    connection.close()
    return found


async def test_what_is_reserved_is_on_disk_when_it_may_be_spent(tmp_path):
    path = tmp_path / "new" / "ledger.sqlite3"
    accounts = await opened(path)
    key = accounts.new_key()
    assert await accounts.reserve([(key, [line()])]) == [None]
    assert on_disk(path) == {"available": Decimal("-0.25"), "reserved": Decimal("0.25")}
    accounts.settle(key, paid())
    await accounts.work()
    assert on_disk(path) == {
        "available": Decimal("-0.1"),
        "reserved": 0,
        "spent": Decimal("0.1"),
    }
    await accounts.leave()
    assert [file.name for file in path.parent.iterdir()] == ["ledger.sqlite3"]


async def test_callers_that_wait_for_the_disk_wait_together(tmp_path):
    """Group commit: a hundred jobs that arrive during a write make two transactions, not 101."""
    hops = 0

    async def in_thread(function, /, **limits):
        nonlocal hops
        hops += 1
        return await in_worker_thread(function, **limits)

    policy = LedgerPolicy(path=tmp_path / "ledger.sqlite3")
    accounts = Accounts(policy, in_thread=in_thread)
    await accounts.open(lambda: None)
    hops = 0
    async with trio.open_nursery() as nursery:
        for at in range(100):
            nursery.start_soon(accounts.reserve, [(str(at), [line()])])
    assert hops <= 2
    statistics = await accounts.statistics()
    assert statistics.open_calls == 100
    for at in range(100):
        accounts.settle(str(at), CallOutcome(None, 0))
    await accounts.leave()


async def test_a_reservation_whose_caller_is_cancelled_is_refunded(tmp_path):
    """Its call is not sent; but its job may be done with the next group."""
    accounts = await opened(tmp_path / "ledger.sqlite3", Budget(1))
    with trio.CancelScope() as scope:
        scope.cancel()
        await accounts.reserve([("1", [line("0.9")])])
    assert await accounts.reserve([("2", [line("0.9")])]) == [None]
    assert (await accounts.statistics()).open_calls == 1
    accounts.settle("2", CallOutcome(None, 0))
    await accounts.leave()


async def test_budgets_count_what_earlier_runs_have_spent(tmp_path):
    path = tmp_path / "ledger.sqlite3"
    first = await opened(path)
    assert await first.reserve([("1", [line("0.9")])]) == [None]
    first.settle("1", paid("0.8"))
    await first.leave()
    second = await opened(path, Budget(1, per="tenant", period="month"))
    (error,) = await second.reserve([("1", [line("0.3")])])
    assert isinstance(error, BudgetExceeded)
    assert error.left_usd == Decimal("0.2")
    assert await second.reserve([("2", [line("0.2")])]) == [None]
    second.settle("2", CallOutcome(None, 0))
    await second.leave()


async def test_two_that_share_a_file_share_its_budgets_and_book_not_each_others_calls(tmp_path):
    path = tmp_path / "ledger.sqlite3"
    one = await opened(path, Budget(1))
    assert await one.reserve([("1", [line("0.6")])]) == [None]
    two = await opened(path, Budget(1))
    assert on_disk(path).get("maybe_billed") is None, "the other process still runs"
    (error,) = await two.reserve([("1", [line("0.6")])])
    assert error.left_usd == Decimal("0.4")
    one.settle("1", paid("0.1"))
    await one.work()
    assert await two.reserve([("2", [line("0.6")])]) == [None]
    assert isinstance((await one.reserve([("3", [line("0.6")])]))[0], BudgetExceeded)
    two.settle("2", CallOutcome(None, 0))
    await two.leave()
    await one.leave()
    assert (await total(path)).maybe_billed.usd == 0


async def test_what_others_have_written_counts_once_even_if_it_cannot_be_written_to(tmp_path):
    path = tmp_path / "ledger.sqlite3"
    one, two = await opened(path), await opened(path)
    await one.reserve([("1", [line("0.6")])])
    connection = open_ledger(path)
    connection.execute("CREATE TRIGGER full BEFORE INSERT ON entries BEGIN "
                       "SELECT raise(ABORT, 'disk full'); END")  # fmt: skip
    await two.reserve([("1", [line("0.1")])])
    assert (await two.statistics()).unwritten == 1
    connection.execute("DROP TRIGGER full")
    connection.close()
    statistics = await two.statistics()
    assert statistics.totals.reserved.usd == Decimal("0.7")
    assert statistics.unwritten == 0
    for accounts in (one, two):
        accounts.settle("1", CallOutcome(None, 0))
        await accounts.leave()
    assert (await total(path)).reserved.usd == 0


async def total(path):
    accounts = await opened(path)
    found = (await accounts.statistics()).totals
    await accounts.leave()
    return found


async def test_what_a_run_leaves_open_may_have_been_billed(tmp_path):
    path = tmp_path / "ledger.sqlite3"
    accounts = await opened(path)
    await accounts.reserve([("1", [line()]), ("2", [line("0.5", call="d")])])
    accounts.settle("1", paid())
    await accounts.leave()  # it keeps the file, because the second call is in flight
    assert accounts._written.file is not None
    accounts._written.file._release()  # as when its process ends
    for _ in range(2):  # once is enough
        recover(path, NOON)
        assert on_disk(path)["maybe_billed"] == Decimal("0.5")
        assert on_disk(path)["reserved"] == 0
    found = await total(path)
    assert (found.spent.usd, found.maybe_billed.usd) == (Decimal("0.1"), Decimal("0.5"))
    connection = open_ledger(path)
    names = [name for name, account, _ in sums(connection, "call") if account == "maybe_billed"]
    connection.close()
    assert names == ["d"]
    assert [file.name for file in tmp_path.iterdir()] == ["ledger.sqlite3"]


@pytest.mark.parametrize("comes_back", [True, False])
async def test_what_could_not_be_written_is_written_later_or_by_the_next_run(tmp_path, comes_back):
    path = tmp_path / "ledger.sqlite3"
    accounts = await opened(path)
    await accounts.reserve([("1", [line()])])
    connection = open_ledger(path)
    connection.execute("CREATE TRIGGER full BEFORE INSERT ON entries BEGIN "
                       "SELECT raise(ABORT, 'disk full'); END")  # fmt: skip
    accounts.settle("1", paid())
    await accounts.leave()
    connection.execute("DROP TRIGGER full")
    connection.close()
    if comes_back:
        await accounts.open(lambda: None)
        assert (await accounts.statistics()).unwritten == 0
        await accounts.leave()
    else:
        accounts._written.file._release()  # as when its process ends
    recover(path, NOON)
    found = await total(path)
    assert found.reserved.usd == 0
    assert (found.spent.usd, found.maybe_billed.usd) == (Decimal("0.1"), 0)
    assert [file.name for file in tmp_path.iterdir()] == ["ledger.sqlite3"]


KILLED = """
import sys
import trio
from decimal import Decimal
from functools import partial
from callsheet.actors import Complete, CallContext, Request
from callsheet.actors.ledger import Accounts, LedgerPolicy
from callsheet.actors import LedgerActor
from callsheet.runtime import Actor, defers, open_runtime

class Provider(Actor):
    @defers(Complete)
    async def complete(self, message, slot):
        await message.account.take()
        print("sent", message.context.call, flush=True)
        await trio.sleep_forever()

async def main():
    async with open_runtime() as runtime:
        provider = await runtime.spawn("provider", Provider, concurrency=9)
        accounts = Accounts(LedgerPolicy(path=sys.argv[1]))
        ledger = await runtime.spawn("ledger", partial(LedgerActor, provider, accounts))
        async with trio.open_nursery() as nursery:
            for call in ("a", "b"):
                request = Request.of("Hi", model="gpt-5", max_tokens=100)
                to = CallContext(call, "post", lane="x")
                nursery.start_soon(ledger.ask, Complete(request, to))

trio.run(main)
"""


async def test_the_calls_of_a_process_that_is_killed_may_have_been_billed(tmp_path):
    """In real time, with a process of its own: kill -9 between reserving and settling."""
    path = tmp_path / "ledger.sqlite3"
    with subprocess.Popen(  # noqa: ASYNC220  # it waits for two lines at most
        [sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            said = {process.stdout.readline(), process.stdout.readline()}
            assert said == {"sent a\n", "sent b\n"}
            accounts = await opened(path)
            alive = (await accounts.statistics()).totals
            await accounts.leave()
            assert (alive.reserved.calls, alive.maybe_billed.calls) == (2, 0)
        finally:
            process.send_signal(signal.SIGKILL)
    found = await total(path)
    assert (found.reserved.calls, found.reserved.usd) == (0, 0)
    assert found.maybe_billed.calls == 2
    assert found.maybe_billed.usd == alive.reserved.usd > 0
    assert found.maybe_billed.output_tokens == 200
    connection = open_ledger(path)
    rows = {name: amount for name, account, amount in sums(connection, "call") if "m" in account}
    connection.close()
    assert {name: amount.calls for name, amount in rows.items()} == {"a": 1, "b": 1}


# ------------------------------------------------------------------ files that are no ledgers


def files_beside(path):
    folder = path.parent if path.parent.is_dir() else path.parent.parent
    return {one.name: one.read_bytes() for one in folder.iterdir() if one.is_file()}


def unusable(path):
    before = files_beside(path)
    with pytest.raises(StorageError) as caught:
        open_ledger(path, create=True)
    assert files_beside(path) == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_file_that_is_no_ledger_is_left_alone(tmp_path):
    text = tmp_path / "text"
    text.write_text("Hello " * 1000)
    assert "it is damaged, or another program wrote it; move the file away" in unusable(text)
    assert text.read_text() == "Hello " * 1000
    other = tmp_path / "other.sqlite3"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE mine (id)")
    connection.close()
    assert "is a database, but not a ledger of Callsheet" in unusable(other)
    assert "cannot be used" in unusable(tmp_path)
    assert "it is a folder; move the folder away" in unusable(tmp_path)
    assert "a part of it is a file and not a folder" in unusable(text / "below")
    with pytest.raises(StorageError):
        open_ledger(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_ledger_of_another_version_is_left_alone(tmp_path):
    path = tmp_path / "ledger.sqlite3"
    connection = open_ledger(path, create=True)
    connection.execute("PRAGMA user_version = 9")
    connection.close()
    assert "format version 9, and this release reads version 8" in unusable(path)


def make_former(path, version):
    """Turn a ledger into one of an earlier version, whose runs have no checksums."""
    upgrade = LEDGER_FORMAT.earlier[version]
    with closing(open_ledger(path)) as database:
        database.execute("CREATE TEMP TABLE former AS SELECT * FROM runs")
        database.execute("DROP TABLE runs")
        database.execute(upgrade.schema[0])
        database.execute("INSERT INTO runs SELECT id, pid, began_at, ended_at, has_all FROM former")
        database.execute(f"PRAGMA user_version = {version}")


@pytest.mark.parametrize("version", LEDGER_FORMAT.earlier)
async def test_a_ledger_of_an_earlier_version_becomes_one_of_this_version(tmp_path, version):
    path = tmp_path / "ledger.sqlite3"
    accounts = await opened(path)
    await accounts.reserve([("1", [line()])])
    accounts.settle("1", paid())
    await accounts.leave()
    make_former(path, version)
    with closing(open_ledger(path, read_only=True)) as database:
        assert database.number("PRAGMA user_version") == version, "a reader changes nothing"
        assert [account for _, account, _ in sums(database, "model")]
    accounts = await opened(path)
    await accounts.reserve([("2", [line()])])
    accounts.settle("2", CallOutcome(None, 0, is_unknown=True))
    await accounts.leave()
    with closing(open_ledger(path)) as database:
        assert database.number("PRAGMA user_version") == LEDGER_FORMAT.version
        assert database.number("SELECT count(*) FROM runs") == 2
    assert on_disk(path) == {
        "available": Decimal("-0.35"),
        "spent": Decimal("0.1"),
        "unknown": Decimal("0.25"),
        "reserved": 0,
    }


@pytest.mark.parametrize("change", ["ended_at = NULL", "has_all = 1", "began_at = 5", "pid = 1"])
async def test_a_changed_row_of_a_run_is_damage(tmp_path, change):
    """A run that seems to have ended keeps its reservations, and one with all loses its costs."""
    path = tmp_path / "ledger.sqlite3"
    await (await opened(path)).leave()
    with closing(open_ledger(path)) as database:
        database.execute(f"UPDATE runs SET {change}")
    assert "a stored value is not valid" in unusable(path)


def test_a_ledger_with_a_schema_that_is_no_text_is_left_alone(tmp_path):
    path = tmp_path / "ledger.sqlite3"
    open_ledger(path, create=True).close()
    path.write_bytes(path.read_bytes().replace(b"TABLE labels (", b"TABLE lab\xff\xfes ("))
    assert "the file is damaged (its tables cannot be read); move the file away" in unusable(path)


@pytest.mark.parametrize("column", ["usd", "account"])
async def test_a_damaged_value_is_reported_as_damage(tmp_path, column):
    path = tmp_path / "ledger.sqlite3"
    accounts = await opened(path)
    assert await accounts.reserve([("1", [line()])]) == [None]
    accounts.settle("1", paid())
    await accounts.leave()
    with closing(open_ledger(path)) as ledger:
        ledger.execute(f"UPDATE sums SET {column} = 77 || x'00ff'")
    with pytest.raises(DamagedFile, match=r"the ledger .* damaged \(a stored value is not valid\)"):
        read_sums(path, "model", now=NOON)


@pytest.mark.parametrize("place", ["file", "folder"])
async def test_a_ledger_that_is_not_writable_is_read_unchanged(tmp_path, monkeypatch, place):
    path = tmp_path / "ledger.sqlite3"
    accounts = await opened(path)
    assert await accounts.reserve([("1", [line()])]) == [None]
    accounts.settle("1", paid())
    await accounts.leave()
    expected, before = read_sums(path, "model", now=NOON), files_beside(path)
    read_only = path if place == "file" else tmp_path
    monkeypatch.setattr(os, "access", lambda asked, _: asked != read_only)
    assert read_sums(path, "model", now=NOON) == expected
    assert files_beside(path) == before
    with pytest.raises(ValueError, match="by must be one of"):
        read_sums(path, "colour", now=NOON)


async def test_a_file_that_is_damaged_meanwhile_is_reported(tmp_path):
    path = tmp_path / "ledger.sqlite3"
    accounts = await opened(path, Budget(1))
    connection = open_ledger(path)
    connection.execute("DROP TABLE entries")
    connection.close()
    (error,) = await accounts.reserve([("1", [line()])])
    assert "held back, because a budget needs the ledger" in str(error)
    assert (await accounts.statistics()).totals.reserved.usd == 0
    await accounts.leave()


@given(st.lists(st.decimals(0, 10**6, places=21), max_size=30))
def test_the_sums_of_a_file_are_not_rounded(values):
    total = ExactSum()
    for value in values:
        total.step(str(value))
    assert Fraction(total.finalize()) == sum(map(Fraction, values))


def test_sums_are_by_what_there_is(tmp_path):
    connection = open_ledger(tmp_path / "ledger.sqlite3", create=True)
    with pytest.raises(ValueError, match="by must be one of call, post, tenant"):
        list(sums(connection, "usd; DROP TABLE entries"))
    connection.close()


async def test_names_that_are_no_text_are_kept_as_far_as_they_can_be(tmp_path):
    path = tmp_path / "ledger.sqlite3"
    accounts = await opened(path)
    assert await accounts.reserve([("1", [line(call="bad\udcff")])]) == [None]
    accounts.settle("1", paid())
    await accounts.leave()
    connection = open_ledger(path)
    assert {name for name, _, _ in sums(connection, "call")} == {"bad?"}
    connection.close()
