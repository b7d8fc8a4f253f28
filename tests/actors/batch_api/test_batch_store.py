"""The journal: what one process has written, the next one reads."""

import sqlite3
from functools import partial

import pytest
import trio

from callsheet.actors.batch_api.journal import Journal, open_journal
from callsheet.actors.batch_api.journal_file import JournalFile, lines_in
from callsheet.actors.batch_api.plan import BatchGroup
from callsheet.actors.storage import (
    DamagedFile,
    FileInUse,
    ForeignFile,
    OtherVersion,
    StorageError,
)

POOL = BatchGroup("/chat/completions", "m")
LINES = (("b-0", "k0"), ("b-1", "k1"), ("b-2", "k1"))
KEEP_S = 100.0


OPEN = []


@pytest.fixture(autouse=True)
def closed():
    yield
    while OPEN:
        OPEN.pop().close()


def store(path, *, now=0.0, account="me"):
    OPEN.append(JournalFile(path, account, KEEP_S, lambda: now))
    return OPEN[-1]


def written(path):
    one = store(path)
    one.intend("b", POOL, 12, LINES)
    return one


def test_an_intent_is_there_after_a_crash(tmp_path):
    written(tmp_path / "journal").close()
    again = store(tmp_path / "journal")
    (known,), unclaimed = again.load()
    assert (known.id, known.group, known.tokens, known.size) == ("b", POOL, 12, 3)
    assert (known.mark, known.batch_id, known.lines, unclaimed) == ("", "", LINES, ())
    assert again.opened == 2
    again.close()


def test_others_can_see_how_many_lines_it_has(tmp_path):
    path = tmp_path / "journal"
    assert lines_in(path) == 0
    one = written(path)
    with pytest.raises(FileInUse, match="locked"):
        lines_in(path)
    one.close()
    assert lines_in(path) == 3
    assert [file.name for file in tmp_path.iterdir()] == ["journal"]


def test_each_step_is_kept():
    one = written(None)
    one.mark("b", "file")
    one.created("b", "p1", is_certain=False)
    (known,), _ = one.load()
    assert (known.mark, known.batch_id, known.is_certain) == ("file", "p1", False)


def test_a_response_is_kept_until_a_caller_has_it():
    one = written(None)
    one.store([("b-1", b"{}"), ("b-2", b"[]")], ["b-0"])
    (known,), unclaimed = one.load()
    assert known.lines == ()
    assert [(found.custom_id, found.key) for found in unclaimed] == [("b-1", "k1"), ("b-2", "k1")]
    one.finish("b")
    known, unclaimed = one.load()
    assert (known, len(unclaimed)) == ((), 2)
    assert one.result("b-2") == b"[]"
    one.claim(["b-1", "b-2"])
    assert (one.load(), one.result("b-2")) == (((), ()), None)


def test_when_it_is_over_nothing_is_left_of_what_has_no_answer():
    one = written(None)
    one.finish("b")
    assert one.load() == ((), ())


def test_a_response_without_a_caller_is_not_kept_for_ever(tmp_path):
    path = tmp_path / "journal"
    one = written(path)
    one.store([("b-0", b"{}")], [])
    one.close()
    for now, left in ((KEEP_S, 1), (KEEP_S + 1, 0)):
        again = store(path, now=now)
        assert len(again.load()[1]) == left
        again.close()


def test_accounts_do_not_see_each_other(tmp_path):
    written(tmp_path / "journal").close()
    other = store(tmp_path / "journal", account="you")
    assert other.load() == ((), ())
    other.close()


def test_one_process_at_a_time(tmp_path):
    first = store(tmp_path / "journal")
    with pytest.raises(
        FileInUse,
        match=r"the batch journal .*: another process has locked it; wait",
    ):
        store(tmp_path / "journal")
    first.close()
    store(tmp_path / "journal").close()


def test_what_is_no_journal_is_not_overwritten(tmp_path):
    path = tmp_path / "notes"
    path.write_text("not a database at all, just some notes that a user has written\n" * 20)
    before = path.read_bytes()
    with pytest.raises(DamagedFile):
        store(path)
    assert path.read_text().startswith("not a database")
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"TABLE lines (", b"TABLE li\xff\xfes (", "its tables cannot be read"),
        (b"size INTEGER", b"sise INTEGER", "its tables are not those of a batch journal"),
    ],
)
def test_a_journal_with_a_damaged_schema_is_not_changed(tmp_path, old, new, reason):
    path = tmp_path / "journal"
    written(path).close()
    path.write_bytes(path.read_bytes().replace(old, new))
    before = path.read_bytes()
    for look in (store, lines_in):
        with pytest.raises(DamagedFile, match=reason):
            look(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("version", [2, 9])
def test_a_journal_of_another_kind_or_version_is_not_changed(tmp_path, version):
    """L12: version 2 knows accounts by host and path alone, so its lines would be bought again."""
    theirs, later = tmp_path / "theirs", tmp_path / "later"
    with sqlite3.connect(theirs) as other:
        other.execute("CREATE TABLE lines (x)")
    other.close()
    written(later).close()
    with sqlite3.connect(later) as other:
        other.execute(f"PRAGMA user_version = {version}")
    other.close()
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for path, error in ((theirs, ForeignFile), (later, OtherVersion)):
        for look in (store, lines_in):
            with pytest.raises(error):
                look(path)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_journal_that_is_a_folder_is_named(tmp_path):
    with pytest.raises(StorageError, match=f"the batch journal {tmp_path} cannot be used: it is a"):
        store(tmp_path)


def test_a_text_that_is_no_text_is_damage(tmp_path):
    path = tmp_path / "journal"
    written(path).close()
    path.write_bytes(path.read_bytes().replace(POOL.path.encode(), b"/ch\xfft/completions"))
    with pytest.raises(DamagedFile, match="a stored value is not valid"):
        store(path).load()


def test_a_write_that_fails_leaves_nothing_behind():
    one = written(None)
    with pytest.raises(StorageError, match="UNIQUE constraint"):
        one.intend("c", POOL, 1, [("c-0", "k"), ("b-0", "k")])
    assert [known.id for known in one.load()[0]] == ["b"]


async def test_writes_wait_for_the_disk_in_a_thread_one_after_another(tmp_path):
    journal = open_journal(tmp_path / "journal", "me", KEEP_S)
    await journal.open()
    async with trio.open_nursery() as nursery:
        for number in range(20):
            lines = ((f"{number}-0", "k"),)
            nursery.start_soon(
                journal.do, lambda one, n=number, some=lines: one.intend(str(n), POOL, 1, some)
            )
    known, _ = await journal.do(JournalFile.load)
    assert len(known) == 20
    await journal.close()
    await journal.close()
    with pytest.raises(RuntimeError, match="not open"):
        await journal.do(JournalFile.load)


async def test_memory_needs_no_thread(autojump_clock):
    journal = open_journal(None, "me", KEEP_S)
    assert isinstance(journal, Journal)
    await journal.open()
    await journal.do(partial(JournalFile.intend, batch="b", group=POOL, tokens=1, lines=LINES))
    assert len((await journal.do(JournalFile.load))[0]) == 1
    assert not journal.is_durable
    await journal.close()
