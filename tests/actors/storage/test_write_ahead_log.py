"""The log of a database file: rot in it, another file's log, and who may read the files."""

import os
import shutil
import sqlite3
import sys
from contextlib import closing
from random import Random

import pytest

from callsheet.actors.storage import (
    DamagedFile,
    DatabaseFormat,
    ProcessLock,
    log_of,
    open_database,
)
from callsheet.actors.storage.write_ahead_log import is_damaged

WORDS = DatabaseFormat(
    noun="word list",
    application_id=0x574F5244,
    version=1,
    schema=("CREATE TABLE words (id INTEGER PRIMARY KEY, word TEXT, crc INTEGER NOT NULL)",),
    checked={"words": "id, word"},
)
INSERT = "INSERT INTO words VALUES (?1, ?2, checksum(?1, ?2))"
COUNT = "SELECT count(*) FROM words"
HEAD, FRAME, PAGE = 32, 24 + 4096, 4096
OWNERS = ["one process", "shared"]


def opened(path, owner="one process", **more):
    return open_database(path, WORDS, owner=owner, wait_s=0.0, **more)


def left_behind(folder, name="words", *, count=20, first=0, checkpoint=None):
    """Leave a file and its log as a process does that is killed after some transactions."""
    folder.mkdir(exist_ok=True)
    path, copy = folder / "origin", folder / name
    with closing(opened(path)) as database:
        for number in range(first, first + count):
            if number == checkpoint:
                database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            database.execute(INSERT, (number, "x" * 3000))
        shutil.copy(path, copy)
        shutil.copy(log_of(path), log_of(copy))
    path.unlink()
    return copy


def flipped(path, at):
    whole = bytearray(path.read_bytes())
    whole[at] ^= 1
    path.write_bytes(whole)


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def refused(path, reason, **more):
    before = files(path.parent)
    for _ in range(2):  # the first refusal has changed nothing
        with pytest.raises(DamagedFile, match=reason) as caught:
            opened(path, **more)
        assert "\n" not in str(caught.value)
    assert files(path.parent) == before


@pytest.mark.parametrize("owner", OWNERS)
def test_a_whole_log_is_read(tmp_path, owner):
    path = left_behind(tmp_path)
    with closing(opened(path, owner)) as database:
        assert database.number(COUNT) == 20
    assert list(files(tmp_path)) == ["words"]


@pytest.mark.parametrize("at", [0, 9, 17, HEAD + 1, HEAD + 9, HEAD + 100, HEAD + 5 * FRAME + 2000])
def test_rot_in_the_log_is_damage_where_transactions_follow(tmp_path, at):
    path = left_behind(tmp_path)
    flipped(log_of(path), at)
    refused(path, r"the file is damaged \(its log words-wal has lost transactions\)")


def test_rot_in_the_log_is_expected_after_a_power_cut_without_syncs(tmp_path):
    """What precedes it counts, as far as `synchronous` asks for it."""
    path = left_behind(tmp_path)
    flipped(log_of(path), HEAD + 6 * FRAME)
    with closing(opened(path, synchronous="normal")) as database:
        assert 0 < database.number(COUNT) < 20


def test_a_log_that_ends_early_has_what_is_whole(tmp_path):
    path = left_behind(tmp_path)
    whole = log_of(path).read_bytes()
    for size in (0, 1, HEAD, HEAD + 10, HEAD + 6 * FRAME, HEAD + 6 * FRAME + 100, len(whole)):
        assert not is_damaged(whole[:size])
    assert not is_damaged(whole + bytes(3 * FRAME))
    assert not is_damaged(whole + whole[HEAD + FRAME : HEAD + 3 * FRAME])
    assert not is_damaged(Random(1).randbytes(HEAD))


def test_the_beginning_of_an_earlier_use_of_the_log_is_no_damage(tmp_path):
    """A log is overwritten from its beginning once it was copied into the file."""
    path = tmp_path / "words"
    with closing(opened(path)) as database:
        for number in range(20):
            database.execute(INSERT, (number, "x" * 3000))
        database.execute("PRAGMA wal_checkpoint(PASSIVE)")
        for number in range(20, 24):
            database.execute(INSERT, (number, "x" * 3000))
        assert not is_damaged(log_of(path).read_bytes())
        copy = tmp_path / "copy"
        shutil.copy(path, copy)
        shutil.copy(log_of(path), log_of(copy))
    with closing(opened(copy)) as database:
        assert database.number(COUNT) == 24


@pytest.mark.parametrize("owner", OWNERS)
def test_the_log_of_another_file_is_not_copied_into_it(tmp_path, owner):
    path = left_behind(tmp_path / "one", count=30)
    with closing(opened(path)):
        pass  # which empties its log
    other = left_behind(tmp_path / "two", first=500, count=40, checkpoint=520)
    shutil.move(log_of(other), log_of(path))
    before = path.read_bytes()
    with pytest.raises(DamagedFile):
        opened(path, owner)
    assert path.read_bytes() == before
    log_of(path).unlink()
    with closing(opened(path, owner)) as database:
        assert database.number(COUNT) == 30


# ------------------------------------------------------------------ rights


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other rights")
@pytest.mark.parametrize("owner", OWNERS)
def test_only_its_owner_may_read_a_file(tmp_path, owner):
    path = left_behind(tmp_path)
    for file in tmp_path.iterdir():
        file.chmod(0o664)
    with closing(opened(path, owner)) as database:
        database.execute(INSERT, (99, "x"))
        modes = {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()}
    assert set(modes.values()) == {0o600}
    assert {"words", "words-wal"} <= set(modes)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other rights")
def test_the_rights_of_a_file_of_others_are_not_changed(tmp_path):
    path = tmp_path / "theirs"
    with closing(sqlite3.connect(path)) as theirs:
        theirs.execute("CREATE TABLE t (x)")
    path.chmod(0o644)
    with pytest.raises(Exception, match="not a word list of Callsheet"):
        opened(path)
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other rights")
def test_reading_changes_no_rights(tmp_path):
    with closing(opened(tmp_path / "words", "shared")):
        pass
    (tmp_path / "words").chmod(0o644)
    opened(tmp_path / "words", "shared", read_only=True).close()
    assert (tmp_path / "words").stat().st_mode & 0o777 == 0o644


# ------------------------------------------------------------------ locks


def test_a_lock_with_contents_is_held_by_no_process(tmp_path):
    path = tmp_path / "run-1"
    path.write_bytes(os.urandom(5000))
    assert not ProcessLock.is_held(path)
    with pytest.raises(DamagedFile, match="the file is not empty"):
        ProcessLock(path)
