"""Database files: created whole, refused unchanged, owned, and never with an error of SQLite's."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from random import Random

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callsheet.actors.storage import (
    DamagedFile,
    DatabaseFormat,
    FileInUse,
    ForeignFile,
    OtherVersion,
    ProcessLock,
    StorageError,
    StorageFull,
    StorageUnavailable,
    open_database,
)

NOTES = DatabaseFormat(
    noun="note book",
    application_id=0x4E4F5445,
    version=3,
    schema=("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE)",),
)
OWNERS = ["one process", "shared"]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "new" / "notes.sqlite"


def opened(path, owner="shared", **more):
    return open_database(path, NOTES, owner=owner, wait_s=0.0, **more)


def write(database, *texts):
    with database.transaction():
        database.executemany("INSERT INTO notes (text) VALUES (?)", [(text,) for text in texts])


def read(path, owner="shared"):
    with closing(opened(path, owner, create=False)) as database:
        return [text for (text,) in database.rows("SELECT text FROM notes ORDER BY id")]


def written(path, count=50):
    """A file with some pages, and its bytes."""
    with closing(opened(path)) as database:
        write(database, *(f"note {number} " + "x" * 400 for number in range(count)))
    return path.read_bytes()


# ------------------------------------------------------------------ creation


@pytest.mark.parametrize("owner", OWNERS)
def test_what_was_written_is_there_when_the_file_is_opened_again(path, owner):
    with closing(opened(path, owner)) as database:
        write(database, "a", "b")
        assert database.number("SELECT count(*) FROM notes") == 2
    assert read(path, owner) == ["a", "b"]
    assert [file.name for file in path.parent.iterdir()] == ["notes.sqlite"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
@pytest.mark.parametrize("owner", OWNERS)
def test_only_the_owner_may_read_the_files(path, owner):
    with closing(opened(path, owner)) as database:
        write(database, "a")
        assert {file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {0o600}


def test_a_missing_file_is_created_only_where_that_is_wanted(path):
    with pytest.raises(StorageUnavailable, match="the file does not exist"):
        opened(path, create=False)
    assert not path.parent.exists()


def test_a_database_in_memory_needs_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with closing(opened(None, "one process")) as database:
        write(database, "a")
        assert database.row("SELECT text FROM notes") == ("a",)
        assert database.row("SELECT text FROM notes WHERE id > 1") is None
    assert list(tmp_path.iterdir()) == []


def test_a_creation_that_fails_leaves_nothing(path):
    broken = DatabaseFormat(noun="b", application_id=1, version=1, schema=("CREATE TABLE",))
    with pytest.raises(StorageUnavailable, match=f"the b {path} cannot be used: incomplete input"):
        open_database(path, broken, owner="shared")
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("links", [True, False])
def test_two_that_create_the_same_file_share_it(path, links, monkeypatch):
    """The second one finds the file when it has finished its own."""
    link, others = os.link, []

    def late(source, target):
        if not others:
            others.append(None)
            with closing(opened(path)) as database:
                write(database, "of the other")
        link(source, target)

    def no_links(*_):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", late if links else no_links)
    with closing(opened(path)) as database:
        write(database, "of this one")
    assert read(path) == (["of the other", "of this one"] if links else ["of this one"])
    assert [file.name for file in path.parent.iterdir()] == ["notes.sqlite"]


def test_a_log_without_its_file_is_not_replayed_into_a_new_one(path):
    path.parent.mkdir()
    log = path.with_name("notes.sqlite-wal")
    log.write_bytes(b"some pages")
    with pytest.raises(DamagedFile, match=r"its log notes.sqlite-wal does; restore the file, or"):
        opened(path)
    assert (log.read_bytes(), path.exists()) == (b"some pages", False)


# ------------------------------------------------------------------ files that are refused


def refused(path, error, text):
    """Each way to open it refuses it on one line, and changes nothing."""
    before = path.read_bytes()
    for owner in OWNERS:
        with pytest.raises(error) as caught:
            opened(path, owner)
        assert f"the note book {path} cannot be used: " in str(caught.value)
        assert text in str(caught.value)
        assert "\n" not in str(caught.value)
        assert caught.value.remedy in str(caught.value)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "empty").touch()
    refused(tmp_path / "empty", DamagedFile, "the file is empty; move the file away")


@pytest.mark.parametrize("length", [1, 15, 99, 5000])
def test_a_file_that_is_no_database_is_refused(tmp_path, length):
    (tmp_path / "text").write_text("x" * length)
    refused(tmp_path / "text", DamagedFile, "not a database: it is damaged, or another program")


@pytest.mark.parametrize("wal", [True, False])
def test_a_database_of_another_program_is_refused(tmp_path, wal):
    with closing(sqlite3.connect(tmp_path / "theirs")) as other, other:
        other.execute(f"PRAGMA journal_mode = {'wal' if wal else 'delete'}")
        other.execute("CREATE TABLE notes (x)")
    refused(tmp_path / "theirs", ForeignFile, "but not a note book of Callsheet; give another path")


def test_another_kind_of_our_files_is_refused(tmp_path):
    other = DatabaseFormat(noun="other", application_id=7, version=3, schema=())
    open_database(tmp_path / "other", other, owner="shared").close()
    refused(tmp_path / "other", ForeignFile, "not a note book")


@pytest.mark.parametrize("version", [1, 2, 4])
def test_another_version_is_refused(tmp_path, version):
    path = tmp_path / "notes"
    with closing(opened(path)) as database:
        database.execute(f"PRAGMA user_version = {version}")
    refused(path, OtherVersion, f"format version {version}, and this release reads version 3")


@pytest.mark.parametrize(
    "seed", [*range(8), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(8, 30))]
)
def test_a_file_that_is_cut_off_anywhere_is_refused(tmp_path, seed):
    path = tmp_path / "notes"
    whole = written(path)
    path.write_bytes(whole[: Random(seed).randrange(len(whole))])
    refused(path, DamagedFile, "")


@pytest.mark.parametrize("pages", [1, 2, 3])
def test_a_file_of_ours_that_is_cut_off_at_a_page_is_known_as_ours(tmp_path, pages):
    path = tmp_path / "notes"
    path.write_bytes(written(path)[: 4096 * pages])
    assert NOTES.is_in_header(path)
    refused(path, DamagedFile, "the file is damaged")


def test_what_a_dead_process_left_is_removed_after_an_hour(tmp_path):
    old, new, other = (tmp_path / name for name in ("notes.new-1a", "notes.new-2b", "note.new-3c"))
    for left in (old, new, other):
        left.write_bytes(b"x")
    for left in (old, other):
        os.utime(left, (1, 1))
    written(tmp_path / "notes")
    assert not old.exists()
    assert new.exists()
    assert other.exists()


@settings(max_examples=settings.default.max_examples)
@given(seed=st.integers(0, 2**32), flips=st.integers(1, 20))
def test_a_file_with_flipped_bits_is_refused_or_read_and_sqlite_raises_nothing_itself(
    tmp_path_factory, seed, flips
):
    path, random = tmp_path_factory.mktemp("flips") / "notes", Random(seed)
    rotten = bytearray(written(path))
    for _ in range(flips):
        rotten[random.randrange(len(rotten))] ^= 1 << random.randrange(8)
    path.write_bytes(rotten)
    try:
        texts = read(path, random.choice(OWNERS))
    except StorageError:
        assert path.read_bytes() == rotten
    else:
        assert all(isinstance(text, str) for text in texts)


def test_damage_inside_is_found_before_anything_is_read_or_changed(tmp_path):
    path = tmp_path / "notes"
    whole = bytearray(written(path))
    whole[4096 * 2 : 4096 * 2 + 200] = b"\xff" * 200
    path.write_bytes(whole)
    refused(path, DamagedFile, "the file is damaged (")
    opened(path, check_bytes=4096).close()  # a file above this size is not checked


def test_a_place_that_cannot_be_used_is_reported_with_a_remedy(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    remedies = {
        tmp_path: "it is a folder; move the folder away, or give another path",
        tmp_path / "file" / "below": "check the path: a part of it is a file and not a folder",
        tmp_path / "loop": "its links lead in a circle; give the path of the file itself",
    }
    for place, remedy in remedies.items():
        with pytest.raises(StorageUnavailable, match=remedy):
            opened(place)


# ------------------------------------------------------------------ ownership

HOLDER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_database import opened
database = opened(Path(sys.argv[1]), "one process")
print("held", flush=True)
sys.stdin.read()
"""


def test_the_file_of_one_process_is_refused_to_others_until_it_ends(path):
    here = os.path.dirname(__file__)  # noqa: PTH120  # for sys.path
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path), here],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout.readline() == b"held\n"
        for owner in OWNERS:
            with pytest.raises(FileInUse, match="another process has locked it; wait until"):
                opened(path, owner)
        process.kill()
    opened(path, "one process").close()


@pytest.mark.parametrize("other", OWNERS)
def test_two_in_one_process_refuse_each_other_as_well(path, other):
    with closing(opened(path, "one process")) as first:
        write(first, "a")
        with pytest.raises(FileInUse):
            opened(path, other)
    assert read(path) == ["a"]


def test_a_refusal_in_the_same_process_does_not_release_the_lock(path):
    """POSIX releases all locks of a process on a file when it closes the file once."""
    program = HOLDER.replace("sys.stdin.read()", "")
    here = os.path.dirname(__file__)  # noqa: PTH120  # for sys.path
    with closing(opened(path, "one process")) as first:
        with pytest.raises(FileInUse):
            opened(path)
        with pytest.raises(OtherVersion):
            open_database(path, attrs.evolve(NOTES, version=4), owner="shared")
        command = [sys.executable, "-c", program, str(path), here]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert "another process has locked it" in done.stderr
        write(first, "a")
    assert read(path) == ["a"]


def test_a_shared_file_is_read_while_it_is_written(path):
    with closing(opened(path)) as one, closing(opened(path)) as other:
        write(one, "a")
        with one.transaction():
            one.execute("INSERT INTO notes (text) VALUES ('b')")
            assert other.number("SELECT count(*) FROM notes") == 1
            with pytest.raises(FileInUse):
                write(other, "c")
        assert other.number("SELECT count(*) FROM notes") == 2


def test_a_lock_is_held_until_it_is_released(tmp_path):
    path = tmp_path / "lock"
    lock = ProcessLock(path)
    assert ProcessLock.is_held(path)
    assert os.name == "nt" or path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileInUse, match=f"the lock {path} cannot be used"):
        ProcessLock(path)
    lock.release()
    lock.release()
    assert not ProcessLock.is_held(path)
    with pytest.raises(StorageUnavailable):
        ProcessLock(tmp_path / "no folder" / "lock")


# ------------------------------------------------------------------ transactions


def test_a_transaction_is_all_or_nothing(path):
    with closing(opened(path)) as database:
        write(database, "a")
        with pytest.raises(StorageUnavailable, match=r"UNIQUE constraint failed: notes\.text"):
            write(database, "b", "a")
        with pytest.raises(ZeroDivisionError), database.transaction():
            database.execute("INSERT INTO notes (text) VALUES ('c')")
            raise ZeroDivisionError
        database.begin()
        database.execute("INSERT INTO notes (text) VALUES ('d')")
        database.roll_back()
        database.roll_back()  # harmless
        database.begin()
        database.execute("INSERT INTO notes (text) VALUES ('e')")
        database.commit()
    assert read(path) == ["a", "e"]


@given(
    st.recursive(
        st.tuples(st.integers(), st.booleans(), st.just(())),
        lambda inner: st.tuples(st.integers(), st.booleans(), st.lists(inner, max_size=3)),
        max_leaves=8,
    )
)
def test_a_transaction_inside_another_fails_alone(tree):
    """Each is a text, whether it fails, and those inside of it."""

    def run(node):
        text, fails, inner = node
        try:
            with database.transaction():
                database.execute("INSERT OR IGNORE INTO notes (text) VALUES (?)", (str(text),))
                for one in inner:
                    run(one)
                if fails:
                    raise ZeroDivisionError  # noqa: TRY301  # it is what the test is about
        except ZeroDivisionError:
            pass

    def expected(node):
        text, fails, inner = node
        return set() if fails else {str(text)}.union(*map(expected, inner))

    with closing(opened(None)) as database:
        run(tree)
        assert {text for (text,) in database.rows("SELECT text FROM notes")} == expected(tree)


def test_a_full_disk_is_reported_as_such_and_changes_nothing(path):
    with closing(opened(path)) as database:
        write(database, "a")
        database.execute(f"PRAGMA max_page_count = {database.number('PRAGMA page_count')}")
        with pytest.raises(StorageFull, match="full; make room on the disk"):
            write(database, "b" * 100_000)
    assert read(path) == ["a"]


def test_the_use_of_a_closed_database_is_a_storage_error(path):
    database = opened(path)
    database.close()
    database.close()
    with pytest.raises(StorageUnavailable, match="closed database"):
        database.row("SELECT 1")


@pytest.mark.parametrize(("synchronous", "level"), [("full", 2), ("normal", 1), ("off", 0)])
@pytest.mark.synced
def test_what_a_commit_waits_for_can_be_set(path, synchronous, level):
    with closing(opened(path, synchronous=synchronous)) as database:
        assert database.number("PRAGMA synchronous") == level
        assert database.row("PRAGMA journal_mode") == ("wal",)


def test_importing_the_actors_does_not_load_sqlite():
    """It is loaded when a file is opened."""
    program = "import sys, callsheet.actors; print('sqlite3' in sys.modules)"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
