"""A ledger with one changed bit: it is refused, or has the sums of the whole one (L14)."""

import contextlib
import shutil
from decimal import Decimal
from random import Random

import pytest
from test_ledger_store import NOON, books, line, paid

from callsheet.actors import StorageError
from callsheet.actors.ledger.book import Book, CallOutcome
from callsheet.actors.ledger.file import LedgerFile, read_sums
from callsheet.actors.storage import beside
from callsheet.actors.storage.format import connect

CALLS = 30
DIMENSIONS = ("model", "post", "call")


async def ledger_in(state, folder):
    """Make a ledger: closed, or as a process that is killed leaves it."""
    path, copy = folder / "origin.sqlite3", folder / "ledger.sqlite3"
    accounts = books(path)
    await accounts.open(lambda: None)
    for number in range(CALLS):
        key = accounts.new_key()
        await accounts.reserve([(key, [line(call=f"call-{number}")])])
        if state == "killed" and number % 3 == 0:
            continue  # in flight
        accounts.settle(key, CallOutcome(None, 1) if number % 5 == 0 else paid())
        await accounts.work()
    if state == "closed":
        await accounts.leave()
    for file, kept in zip(files_of(path), files_of(copy), strict=True):
        if file.exists():
            shutil.copy(file, kept)
    return copy


def files_of(path):
    """Return the paths of the files of a ledger and of its first run."""
    return *beside(path), path.with_name(f"{path.name}.reserve-1")


def totals(path, by="model"):
    return {(name, account): it for name, account, it in read_sums(path, by, now=NOON)}


def all_sums(path):
    return [totals(path, by) for by in DIMENSIONS]


class Copies:
    """Damaged copies of a ledger, one after another."""

    def __init__(self, path):
        self.path = path
        self.folder = path.parent / "copy"
        self.whole = {file: file.read_bytes() for file in files_of(path) if file.exists()}

    def with_(self, end, change):
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        for file, content in self.whole.items():
            is_it = file.name == f"{self.path.name}{end}"
            (self.folder / file.name).write_bytes(change(content) if is_it else content)
        return self.folder / self.path.name

    def whole_one(self):
        return self.with_("none", bytes)


def flip(random):
    def change(content):
        at = random.randrange(len(content))
        return content[:at] + bytes([content[at] ^ 1 << random.randrange(8)]) + content[at + 1 :]

    return change


async def check_flips(tmp_path, state, end, count):
    copies = Copies(await ledger_in(state, tmp_path))
    wanted, random = all_sums(copies.whole_one()), Random(f"{state}{end}")
    refused = 0
    for _ in range(count):
        path = copies.with_(end, flip(random))
        try:
            found = all_sums(path)
        except StorageError as error:
            refused += len(str(error).splitlines()) == 1
            continue
        if end == "-wal" and found != wanted:
            # Only the last transaction can be lost in silence, as in a power cut.
            spent = [sums["m", "spent"].calls for sums in (found[0], wanted[0])]
            assert spent[1] - spent[0] <= 1
            assert found[0]["m", "maybe_billed"].usd >= wanted[0]["m", "maybe_billed"].usd
        else:
            assert found == wanted
    return refused


@pytest.mark.parametrize(("state", "end"), [("closed", ""), ("killed", ""), ("killed", "-wal")])
async def test_a_bit_that_is_changed_is_refused_or_harmless(tmp_path, state, end):
    refused = await check_flips(tmp_path, state, end, 12)
    assert refused or (state, end) == ("killed", "")  # its log has all of it


@pytest.mark.slow
@pytest.mark.parametrize(("state", "end"), [("closed", ""), ("killed", ""), ("killed", "-wal")])
async def test_many_bits_that_are_changed_are_refused_or_harmless(tmp_path, state, end):
    await check_flips(tmp_path, state, end, 1500)


LOGS = {
    "empty": lambda _: b"",
    "its header": lambda log: log[:32],
    "half": lambda log: log[: len(log) // 2],
    "without its last transactions": lambda log: log[: len(log) * 9 // 10],
    "gone": None,
}


@pytest.mark.parametrize("change", LOGS.values(), ids=LOGS)
async def test_a_ledger_whose_log_has_lost_transactions_is_refused(tmp_path, change):
    """The space of the run that was killed tells what it had written."""
    copies = Copies(await ledger_in("killed", tmp_path))
    path = copies.with_("-wal", change or bytes)
    if change is None:
        for file in beside(path)[1:]:
            file.unlink()
    for _ in range(2):  # the first refusal has changed nothing
        with pytest.raises(StorageError, match=f"lacks what the run of {path.name}.reserve-1 has"):
            all_sums(path)
        with pytest.raises(StorageError, match=r"reserve-1 away and do without these costs$"):
            await books(path).open(lambda: None)
    path.with_name(f"{path.name}.reserve-1").unlink()
    all_sums(path)


async def test_another_ledger_or_an_earlier_copy_is_refused(tmp_path):
    copies = Copies(await ledger_in("killed", tmp_path))
    path = copies.whole_one()
    for file in beside(path):
        file.unlink(missing_ok=True)
    other = books(path.with_name("new"))
    await other.open(lambda: None)
    await other.leave()
    shutil.copy(path.with_name("new"), path)
    with pytest.raises(StorageError, match="it is an earlier copy or another ledger"):
        all_sums(path)


@pytest.mark.parametrize(
    "change", [lambda _: b"", lambda space: space[:-9], lambda space: space[::-1]]
)
async def test_a_space_without_a_mark_says_nothing(tmp_path, change):
    copies = Copies(await ledger_in("killed", tmp_path))
    wanted = all_sums(copies.whole_one())
    path = copies.with_(".reserve-1", change)
    assert all_sums(path) == wanted
    assert not path.with_name(f"{path.name}.reserve-1").exists()


@pytest.mark.parametrize("share", [0, 0.5, 0.999])
async def test_a_ledger_that_is_cut_off_is_refused(tmp_path, share):
    copies = Copies(await ledger_in("closed", tmp_path))
    path = copies.with_("", lambda whole: whole[: int(share * len(whole))])
    with pytest.raises(StorageError):
        all_sums(path)


async def test_a_changed_amount_is_refused_where_budgets_depend_on_it(tmp_path):
    """Another valid amount: only the checksum shows the damage."""
    copies = Copies(await ledger_in("closed", tmp_path))
    spent = str(totals(copies.whole_one())["m", "spent"].usd)
    assert Decimal(spent) > 1
    less = spent.replace("2", "1", 1)
    assert less != spent
    path = copies.with_("", lambda whole: whole.replace(spent.encode(), less.encode()))
    with pytest.raises(StorageError, match="a stored value is not valid"):
        totals(path)
    with pytest.raises(StorageError, match="a stored value is not valid"):
        await books(path).open(lambda: None)


@pytest.mark.parametrize("table", ["entries", "reservations"])
async def test_a_changed_amount_of_a_line_is_refused(tmp_path, table):
    """A line is renamed, and a later run takes over what is left of it (L3)."""
    path = tmp_path / "ledger.sqlite3"
    book = Book(())
    file = LedgerFile(path, NOON)
    file.begin()
    file.commit([book.reserve("1", [line()], NOON), *book.attach("1", "x-1", NOON)])
    more = book.attach("1", "x-2", NOON)
    if table == "entries":
        file.begin()
        file.commit([book.settle("1", CallOutcome(None, 1), NOON)])
        file.close(NOON)
        file = LedgerFile(path, NOON)
    with contextlib.closing(connect(path, "mode=rw")) as other:
        assert other.execute(f"UPDATE {table} SET usd = '0.01'").rowcount
    with pytest.raises(StorageError, match="a stored value is not valid"):
        if table == "entries":
            file.line_debts()
        else:
            file.begin()
            file.commit(more)
    file.abandon()
