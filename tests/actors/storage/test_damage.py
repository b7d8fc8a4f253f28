"""Damage of database files: what is detected, and what a refusal leaves on the disk."""

import os
import shutil
import sqlite3
from contextlib import closing

import pytest

from callsheet.actors.storage import (
    DamagedFile,
    DatabaseFormat,
    DiskError,
    OtherVersion,
    StorageFull,
    StorageUnavailable,
    open_database,
)

WORDS = DatabaseFormat(
    noun="word list",
    application_id=0x574F5244,
    version=2,
    schema=(
        "CREATE TABLE words (id INTEGER PRIMARY KEY AUTOINCREMENT, word TEXT NOT NULL)",
        "CREATE INDEX by_word ON words (word)",
    ),
)
OWNERS = ["one process", "shared"]


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "words.sqlite"
    with closing(opened(path)) as database, database.transaction():
        rows = [(f"word {number} " + "x" * 400,) for number in range(50)]
        database.executemany("INSERT INTO words (word) VALUES (?)", rows)
    return path


def opened(path, owner="shared", **more):
    return open_database(path, WORDS, owner=owner, wait_s=0.0, **more)


def changed(path, old, new):
    """Change bytes of the file."""
    whole = path.read_bytes()
    assert old in whole
    path.write_bytes(whole.replace(old, new))


def flipped(path, at):
    whole = bytearray(path.read_bytes())
    whole[at] ^= 0xFF
    path.write_bytes(whole)


def refused(path, error, text):
    before = path.read_bytes()
    for owner in OWNERS:
        with pytest.raises(error) as caught:
            opened(path, owner)
        assert text in str(caught.value)
        assert "\n" not in str(caught.value)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("difference", [-1, 1, 4096, 5000])
def test_a_file_whose_size_is_not_that_of_its_header_is_refused(path, difference):
    whole = path.read_bytes()
    path.write_bytes(whole + b"x" * difference if difference > 0 else whole[:difference])
    refused(path, DamagedFile, f"it has {len(whole) + difference:,} bytes, and its header counts")


def test_a_file_with_a_log_may_be_shorter_than_its_header_counts(tmp_path):
    """A process that dies while it copies the log into the file leaves such a file."""
    path, copy = tmp_path / "words.sqlite", tmp_path / "copy.sqlite"
    with closing(opened(path)) as database:
        small = path.read_bytes()
        with database.transaction():
            rows = [("x" * 1000,) for _ in range(100)]
            database.executemany("INSERT INTO words (word) VALUES (?)", rows)
        shutil.copy(f"{path}-wal", f"{copy}-wal")
    whole = path.read_bytes()
    assert len(whole) > len(small)
    copy.write_bytes(whole[:4096] + small[4096:])
    with closing(opened(copy)) as database:
        assert database.number("SELECT count(*) FROM words") == 100
    assert copy.read_bytes() == whole


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE words RENAME COLUMN word TO sword",
        "DROP INDEX by_word",
        "CREATE TABLE more (x)",
    ],
)
def test_a_file_with_other_tables_is_damaged(path, statement):
    with closing(sqlite3.connect(path)) as other:
        other.execute(statement)
    refused(path, DamagedFile, "its tables are not those of a word list")


def test_a_schema_that_is_no_text_is_damaged(path):
    """SQLite quotes the bytes in its error, which Python cannot decode."""
    changed(path, b"INTEGER PRIMARY KEY", b"INTEGER PRIM\xff\xfeY K\xe9Y")
    refused(path, DamagedFile, "the file is damaged (its tables cannot be read)")


def test_a_text_that_is_not_utf_8_is_damaged(path):
    changed(path, b"word 7 ", b"wor\xff 7 ")
    with closing(opened(path, check_bytes=0)) as database:
        with pytest.raises(DamagedFile, match="a stored value is not valid"):
            list(database.rows("SELECT word FROM words"))
        with pytest.raises(DamagedFile, match="a stored value is not valid"):
            database.row("SELECT word FROM words WHERE id = 8")


@pytest.mark.parametrize("error", [ValueError, KeyError, TypeError, ZeroDivisionError])
def test_a_value_that_cannot_be_decoded_is_damaged(error):
    with (
        closing(opened(None)) as database,
        pytest.raises(DamagedFile, match=r"the word list in memory .*a stored value is not valid"),
        database.decoding(),
    ):
        raise error


def test_a_version_that_no_release_has_is_damaged(path):
    flipped(path, 60)
    refused(path, DamagedFile, "its header has the version -16777214")


def test_another_version_names_the_release(path):
    with closing(opened(path)) as database:
        database.execute("PRAGMA user_version = 3")
    remedy = "use the release of Callsheet that wrote it, or move the file away"
    refused(path, OtherVersion, remedy)


def test_a_header_with_an_unknown_format_is_damaged(path):
    """SQLite reads such a file, and does not write to it."""
    flipped(path, 18)
    before = path.read_bytes()
    with pytest.raises(DamagedFile, match="its header has an unknown format"):
        opened(path, "one process")
    with (
        closing(opened(path)) as database,
        pytest.raises(DamagedFile, match="its header has an unknown format"),
        database.transaction(),
    ):
        database.execute("DELETE FROM words")
    assert path.read_bytes() == before


# ------------------------------------------------------------------ the disk, and permissions


@pytest.mark.parametrize(
    ("name", "kind", "text"),
    [
        ("SQLITE_IOERR_READ", DiskError, "(disk I/O error); check the disk"),
        ("SQLITE_IOERR_LOCK", DiskError, "(disk I/O error); check the disk"),
        ("SQLITE_IOERR_FSYNC", DiskError, "(disk I/O error); check the disk"),
        ("SQLITE_IOERR_WRITE", StorageFull, "may be full; make room on the disk, or check the"),
        ("SQLITE_CANTOPEN", StorageUnavailable, "does not let it be opened; make the file and"),
        ("SQLITE_FULL", StorageFull, "the disk or a quota is full; make room on the disk"),
    ],
)
def test_an_error_of_the_disk_is_not_a_full_disk(name, kind, text):
    class Connection:
        def execute(self, *_):
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorname = name
            raise error

        def close(self):
            pass

    database = opened(None)
    database.close()
    database._connection = Connection()
    with pytest.raises(kind) as caught:
        database.execute("SELECT 1")
    assert type(caught.value) is kind
    assert text in str(caught.value)


@pytest.mark.parametrize("what", ["the file", "its folder"])
def test_a_file_that_is_not_writable_is_refused_with_that_reason(path, what, monkeypatch):
    place = path if what == "the file" else path.parent
    monkeypatch.setattr(os, "access", lambda asked, _: asked != place)
    refused(path, StorageUnavailable, f"{what} is not writable; make the file and its folder")
    with closing(opened(path, read_only=True)) as database:
        assert database.number("SELECT count(*) FROM words") == 50
    assert list(path.parent.iterdir()) == [path]


def test_a_file_that_is_read_only_is_not_created(tmp_path):
    with pytest.raises(StorageUnavailable, match="the file does not exist"):
        opened(tmp_path / "none", read_only=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such files")
def test_a_pipe_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StorageUnavailable, match="not a regular file; give the path of a file"):
        opened(tmp_path / "pipe")
