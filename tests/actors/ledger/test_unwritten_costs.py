"""What a full disk keeps out of the ledger waits beside it, and the next run takes it in (L13)."""

import errno
import os
from decimal import Decimal
from random import Random

import pytest
from test_ledger_store import NOON, books, line, on_disk, paid

from callsheet.actors import StorageError, StorageFull, Usage, take_unwritten
from callsheet.actors.ledger import unwritten
from callsheet.actors.ledger.accounts import Accounts
from callsheet.actors.ledger.book import CallOutcome
from callsheet.actors.ledger.budgets import LedgerPolicy
from callsheet.actors.ledger.entries import Amount
from callsheet.actors.ledger.file import LedgerFile, read_sums
from callsheet.actors.ledger.unwritten import UnwrittenRun, decode, encode
from callsheet.actors.storage import DamagedFile, FileInUse


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.sqlite3"


@pytest.fixture
def full(monkeypatch):
    """Fill the disk, and return what makes room again."""

    def fail(file, transactions):
        file.roll_back()
        raise StorageFull("the ledger", "database or disk is full")

    def fill():
        monkeypatch.setattr(LedgerFile, "commit", fail)
        return lambda: monkeypatch.setattr(LedgerFile, "commit", commit)

    commit = LedgerFile.commit
    return fill


async def spent_on_a_full_disk(path, full, *, before=1, after=3):
    """Spend as a run does whose disk fills up, and end its process; return what it reports."""
    reports = []
    policy = LedgerPolicy(path=path, on_unwritten=reports.append)
    accounts = Accounts(policy, clock=lambda: NOON)
    await accounts.open(lambda: None)
    for number in range(before):
        await accounts.reserve([(f"b{number}", [line(call=f"b{number}")])])
        accounts.settle(f"b{number}", paid())
    await accounts.reserve([("open", [line("0.5", call="open")])])
    make_room = full()
    accounts.settle("open", CallOutcome(None, 1))
    for number in range(after):
        await accounts.reserve([(f"a{number}", [line(call=f"a{number}")])])
        accounts.settle(f"a{number}", paid("0.2"))
    await accounts.leave()
    accounts._written.file._release()
    make_room()
    (report,) = reports
    return report


def files(path):
    return sorted(file.name for file in path.parent.iterdir())


SPENT = {"spent": Decimal("0.7"), "maybe_billed": Decimal("0.5"), "reserved": 0}


def booked(path):
    found = on_disk(path)
    found.pop("available")
    return found


@pytest.mark.parametrize("reader", ["a run", "costs"])
async def test_the_next_run_takes_in_what_a_full_disk_kept_out(path, full, reader):
    report = await spent_on_a_full_disk(path, full)
    assert report.kept_in == path.with_name("ledger.sqlite3.unwritten-1")
    assert report.transactions == 7
    assert report.reason == "database or disk is full"
    assert booked(path) == {"spent": Decimal("0.1"), "reserved": Decimal("0.5")}
    for _ in range(2):  # once is enough
        if reader == "costs":
            read_sums(path, "model", now=NOON)
        else:
            accounts = books(path)
            await accounts.open(lambda: None)
            await accounts.leave()
        assert booked(path) == SPENT
    calls = {name for name, account, _ in read_sums(path, "call", now=NOON) if account == "spent"}
    assert calls == {"b0", "a0", "a1", "a2"}
    assert files(path) == ["ledger.sqlite3"]


async def test_a_crash_after_they_are_taken_in_does_not_take_them_in_again(path, full, monkeypatch):
    await spent_on_a_full_disk(path, full)
    monkeypatch.setattr("callsheet.actors.ledger.file.remove", lambda _: None)
    read_sums(path, "model", now=NOON)
    assert "ledger.sqlite3.unwritten-1" in files(path)
    monkeypatch.undo()
    read_sums(path, "model", now=NOON)
    assert booked(path) == SPENT
    assert files(path) == ["ledger.sqlite3"]


async def test_what_has_room_again_is_in_the_ledger_once(path, full):
    accounts = books(path)
    await accounts.open(lambda: None)
    make_room = full()
    await accounts.reserve([("1", [line()])])
    accounts.settle("1", paid())
    await accounts.leave()
    assert "ledger.sqlite3.unwritten-1" in files(path)
    make_room()
    await accounts.open(lambda: None)  # the actor starts again
    assert (await accounts.statistics()).unwritten == 0
    assert "ledger.sqlite3.unwritten-1" not in files(path)
    await accounts.leave()
    assert booked(path) == {"spent": Decimal("0.1")} | {"reserved": 0}
    assert files(path) == ["ledger.sqlite3"]


async def test_without_space_beside_the_ledger_the_caller_gets_the_content(
    path, full, monkeypatch, log
):
    monkeypatch.setattr(unwritten, "_RESERVED_BYTES", 0)
    report = await spent_on_a_full_disk(path, full)
    assert report.kept_in is None
    (event,) = [event for event in log if event["event"] == "ledger_incomplete"]
    assert (event["transactions"], event["kept_in"]) == (7, None)
    for _ in range(2):
        take_unwritten(path, report.content, NOON)
        assert booked(path) == SPENT
    with pytest.raises(ValueError, match="checksum"):
        take_unwritten(path, report.content[:-1], NOON)


async def test_of_a_run_that_has_not_ended_nothing_is_taken_in(path):
    accounts = books(path)
    await accounts.open(lambda: None)
    content = encode(UnwrittenRun(1, NOON, ()))
    with pytest.raises(FileInUse, match="run 1 has not ended"):
        take_unwritten(path, content, NOON)
    await accounts.leave()


async def test_a_process_that_runs_reserves_space_for_its_owner_alone(path):
    accounts = books(path)
    await accounts.open(lambda: None)
    reserve = path.with_name("ledger.sqlite3.reserve-1")
    assert reserve.stat().st_size == unwritten._RESERVED_BYTES
    assert reserve.stat().st_mode & 0o777 == 0o600
    await accounts.leave()
    assert files(path) == ["ledger.sqlite3"]


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "foreign"])
async def test_damaged_costs_stop_the_next_run_and_change_nothing(path, full, damage):
    report = await spent_on_a_full_disk(path, full)
    whole = report.kept_in.read_bytes()
    at = Random(1).randrange(50, len(report.content))
    report.kept_in.write_bytes(
        {
            "empty": b"",
            "cut": whole[: len(report.content) - 1],
            "flipped": whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :],
            "foreign": b"{}\n" * 100,
        }[damage]
    )
    before = files(path), on_disk(path)
    for look in (lambda: read_sums(path, "model", now=NOON), lambda: LedgerFile(path, NOON)):
        with pytest.raises(DamagedFile, match=r"unwritten-1 cannot be used: .*; move it away"):
            look()
    assert (files(path), on_disk(path)) == before


async def test_the_costs_of_another_ledger_are_not_taken_in(path, full, tmp_path):
    report = await spent_on_a_full_disk(path, full)
    other = tmp_path / "other.sqlite3"
    LedgerFile(other, NOON + 1)._release()
    report.kept_in.rename(tmp_path / "other.sqlite3.unwritten-1")
    with pytest.raises(StorageError, match="it is not the ledger of the run whose costs wait in"):
        read_sums(other, "model", now=NOON)
    with pytest.raises(StorageError, match="not the ledger of the run"):
        take_unwritten(other, report.content, NOON)


def test_what_is_encoded_is_decoded_with_all_it_has():
    payer = line("0.1234567890123456789", call="c\ud800")
    book = books(None)._written.book
    saved = CallOutcome(Amount.of(Usage(7, 3), Decimal("0.1"), Decimal("0.2")), 0)
    reserved = book.reserve("1", [payer], 1.5)
    (attached,) = book.attach("1", "x-1", 2.0)
    ended = book.settle("1", saved, 2.5)
    assert attached.formerly == "1"
    assert {entry.amount.saved_usd for entry in ended.entries} >= {Decimal("0.1")}
    run = UnwrittenRun(7, 1.25, (reserved, attached, ended))
    assert decode(encode(run) + b"rest") == run


@pytest.mark.parametrize("is_settled", [True, False])
async def test_a_line_that_gets_another_name_on_a_full_disk_is_booked_once(path, full, is_settled):
    accounts = books(path)
    await accounts.open(lambda: None)
    key = accounts.new_key()
    await accounts.reserve([(key, [line()])])
    accounts.note_line(key, "x-1", is_resumed=False, unrun=())
    await accounts.written()
    make_room = full()
    accounts.note_line(key, "x-2", is_resumed=False, unrun=())
    if is_settled:
        accounts.settle(key, CallOutcome(None, 1))
    await accounts.written()
    await accounts.leave()
    accounts._written.file._release()
    make_room()
    accounts = books(path)
    await accounts.open(lambda: None)
    assert booked(path) == {"maybe_billed": Decimal("0.25"), "reserved": 0}
    key = accounts.new_key()
    await accounts.reserve([(key, [line()])])
    accounts.note_line(key, "x-2", is_resumed=True, unrun=())
    accounts.settle(key, paid())
    await accounts.leave()
    assert booked(path) == {"spent": Decimal("0.1"), "maybe_billed": 0, "reserved": 0}


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, "no 512 KiB can be reserved beside it .*: make room for 512 KiB, or"),
        (errno.EFBIG, "no 512 KiB can be reserved beside it"),
        (errno.EACCES, "reserve-1 cannot be written: Permission denied; give yourself"),
    ],
)
async def test_a_ledger_without_room_for_what_it_may_lack_is_refused(
    path, monkeypatch, code, words
):
    """A run started all the same, and lost the costs of each of its calls."""

    def fail(place, *_):
        raise OSError(code, os.strerror(code), place)

    with monkeypatch.context() as patch:
        patch.setattr(unwritten.os, "urandom", fail)
        with pytest.raises(StorageError, match=words.replace(": make", "; make")):
            await books(path).open(lambda: None)
        assert files(path) == ["ledger.sqlite3"]
    accounts = books(path)
    await accounts.open(lambda: None)
    await accounts.leave()
