"""The cache file: read again, bounded, shared by programs, and without effect when it fails.

Threads run in real time, so nothing here depends on it.
"""

import os
import sqlite3
import subprocess
import sys
from functools import partial

import pytest
import trio
from fakes import Journal, Stage, call
from hypothesis import given, settings
from hypothesis import strategies as st

from callsheet.actors import Choice, Response, Usage
from callsheet.actors.cache import file as module
from callsheet.actors.cache.actor import CacheActor, GetCacheStatistics
from callsheet.actors.cache.file import CacheFile, SqliteStore
from callsheet.actors.cache.policy import CachePolicy
from callsheet.actors.cache.store import CacheEntry
from callsheet.actors.ledger.file import LedgerFile
from callsheet.actors.storage import StorageError
from callsheet.runtime import open_runtime

MIB = 2**20


@pytest.fixture
def path(tmp_path):
    return tmp_path / "new" / "responses.sqlite"


@pytest.fixture
def file(path):
    file = CacheFile(path, 60, MIB)
    file.open()
    yield file
    file.close_reader()
    file.close_writer()


def entry(key, value=b"value", at=100.0):
    return CacheEntry(str(key), value, at)


def keys(file, names, now=100.0):
    return "".join(one.key for one in file.get_many(names, now))


# ------------------------------------------------------------------ the file


def test_what_is_put_is_got_and_the_later_one_counts(file):
    file.put_many([entry("a", b"1"), entry("b", b"2")], [], 100)
    file.put_many([entry("a", b"3", 101.0)], [], 101)
    assert file.get_many(["a", "b", "c"], 101) == [entry("a", b"3", 101.0), entry("b", b"2")]
    assert file.usage().entries == 2


def test_expired_entries_are_not_found_and_are_removed_with_the_next_transaction(file):
    file.put_many([entry("a"), entry("b", at=110.0)], [], 110)
    assert keys(file, "ab", 159) == "ab"
    assert keys(file, "ab", 160) == "b"
    assert file.usage().entries == 2
    file.put_many([], [], 160)
    assert (file.usage().entries, file.evicted) == (1, 0)


def test_the_longest_unused_make_room(file):
    half = bytes(100_000)
    for at, key in enumerate("abcdefgh"):
        file.put_many([entry(key, half)], [], 100 + at)
    file.put_many([], "ab", 110)
    assert file.evicted == 0
    file.put_many([entry("i", half), entry("j", half), entry("k", half)], [], 111)
    found = keys(file, "abcdefghijk")
    assert found.startswith("ab")
    assert found.endswith("ijk")
    assert file.evicted == 11 - len(found) > 0
    assert file.usage().bytes <= MIB


def test_the_file_does_not_outgrow_its_bound(file, path):
    for at in range(60):
        entries = [entry(f"{at}-{number}", os.urandom(4000)) for number in range(20)]
        file.put_many(entries, [], 100 + at)
        assert file.usage().bytes <= MIB
    assert path.stat().st_size < 1.2 * MIB
    assert file.usage().entries > 150


def test_an_answer_that_would_take_a_quarter_of_the_file_is_not_put_there(file):
    file.put_many([entry("a", bytes(MIB // 4 + 1)), entry("b", bytes(MIB // 4))], [], 100)
    assert keys(file, "ab") == "b"


def test_what_is_cleared_is_not_in_the_file_any_more(file, path):
    file.put_many([entry("a", b"a private answer" * 1000)], [], 100)
    file.clear()
    assert file.usage().entries == 0
    for one in path.parent.iterdir():
        assert b"a private answer" not in one.read_bytes()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
def test_the_file_is_for_its_owner_only(file, path):
    file.put_many([entry("a")], [], 100)
    assert {one.stat().st_mode & 0o077 for one in path.parent.iterdir()} == {0}


STEPS = st.lists(
    st.tuples(st.sampled_from(["put", "wait", "reopen", "clear"]), st.sampled_from("abc")),
    max_size=15,
)


@settings(max_examples=20)
@given(steps=STEPS)
def test_a_file_is_a_dict_with_a_time_to_live(tmp_path_factory, steps):
    path = tmp_path_factory.mktemp("model") / "responses.sqlite"
    file, model, now = CacheFile(path, 10, MIB), {}, 0.0
    file.open()
    for number, (step, key) in enumerate(steps):
        if step == "put":
            model[key] = entry(key, b"%d" % number, now)
            file.put_many([model[key]], ["c"], now)
        elif step == "wait":
            now += 4
        elif step == "clear":
            model.clear()
            file.clear()
        else:
            close(file)
            file.open()
        fresh = [one for _, one in sorted(model.items()) if now - one.written_at < 10]
        assert file.get_many("abc", now) == fresh
    close(file)


def close(file):
    file.close_reader()
    file.close_writer()


def test_a_transaction_that_failed_leaves_nothing(file):
    with pytest.raises(StorageError):
        file.put_many([entry("a"), entry("b", at=None)], [], 100)
    assert keys(file, "ab") == ""
    file.put_many([entry("a")], [], 100)
    assert keys(file, "ab") == "a"


# ------------------------------------------------------------------ the store


async def test_two_stores_share_one_file(path):
    policy = CachePolicy(path=path)
    one, other = SqliteStore(policy), SqliteStore(policy)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.open)
        nursery.start_soon(other.open)

    async def fill(store, name):
        for number in range(50):
            await store.put_many([entry(f"{name}{number}", at=1e9)], [f"one{number}"], 1e9)
            await store.get_many([f"other{number}"], 1e9)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(fill, one, "one")
        nursery.start_soon(fill, other, "other")
    assert len(await one.get_many([f"other{number}" for number in range(50)], 1e9)) == 50
    assert (await other.usage()).entries == 100
    await one.close()
    assert len(await other.get_many(["one1"], 1e9)) == 1
    await other.close()
    await other.close()  # harmless


PROGRAM = """
import sys
from pathlib import Path
from callsheet.actors.cache.file import CacheFile
from callsheet.actors.cache.store import CacheEntry
file = CacheFile(Path(sys.argv[1]), None, 2**30)
file.open()
for number in range(20):
    file.put_many([CacheEntry(f"{sys.argv[2]}{number}", b"value", 0.0)], [], 0.0)
file.close_reader()
file.close_writer()
"""


@pytest.mark.slow  # to begin a program takes seconds
def test_programs_that_begin_at_the_same_moment_share_one_file(path):
    programs = [
        subprocess.Popen([sys.executable, "-c", PROGRAM, str(path), name]) for name in "abc"
    ]
    assert [program.wait() for program in programs] == [0, 0, 0]
    file = CacheFile(path, None, MIB)
    file.open()
    assert file.usage().entries == 60
    close(file)


async def test_a_store_is_closed_even_if_it_is_cancelled(path):
    store = SqliteStore(CachePolicy(path=path))
    await store.open()
    with trio.CancelScope() as scope:
        scope.cancel()
        await store.close()
    assert await store.get_many(["a"], 0) == []
    with pytest.raises(StorageError, match="not open"):
        await store.put_many([entry("a")], [], 0)


def test_a_store_on_disk_needs_a_path():
    with pytest.raises(ValueError, match="path"):
        SqliteStore(CachePolicy(path=None))


# ------------------------------------------------------------------ files that cannot be used


def rubbish(path):
    path.write_bytes(b"this is no database " * 1000)


def another_version(path):
    file = CacheFile(path, None, MIB)
    file.open()
    file._writer.execute("PRAGMA user_version = 4")
    close(file)


def something_else(path):
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE answers (to_life TEXT)")
    connection.close()


def a_damaged_schema(path):
    file = CacheFile(path, None, MIB)
    file.open()
    close(file)
    path.write_bytes(path.read_bytes().replace(b"TABLE responses (", b"TABLE resp\xff\xfeses ("))


def another_table(path):
    file = CacheFile(path, None, MIB)
    file.open()
    file._writer.execute("DROP INDEX by_age")
    close(file)


def cut_off(path):
    file = CacheFile(path, None, MIB)
    file.open()
    close(file)
    path.write_bytes(path.read_bytes()[:-1])


def a_ledger(path):
    LedgerFile(path, 1.0).close(2.0)


def an_empty_file(path):
    path.touch()


def a_directory(path):
    path.mkdir()


def below_a_file(path):
    path.parent.rmdir()
    path.parent.write_bytes(b"")


BAD = {
    rubbish: ("not a database", "move the file away"),
    another_version: ("format version 4, and this release reads version 3", "move the file away"),
    something_else: ("not a response cache of Callsheet", "give another path"),
    a_ledger: ("not a response cache of Callsheet", "give another path"),
    an_empty_file: ("the file is empty", "move the file away"),
    a_directory: ("Is a directory", "give another path"),
    below_a_file: ("exists", "give another path"),
}


def a_changed_answer(path):
    file = CacheFile(path, None, MIB)
    file.open()
    file._writer.execute("INSERT INTO responses VALUES ('k', 1e12, 0, 7, x'00')")
    close(file)


DAMAGED = {
    a_damaged_schema: "damaged (its tables cannot be read)",
    another_table: "its tables are not those of a response cache",
    cut_off: "and its header counts",
    a_changed_answer: "a stored value is not valid",
}


@pytest.mark.parametrize("damage", DAMAGED, ids=lambda damage: damage.__name__)
async def test_a_damaged_cache_of_ours_is_set_aside_and_reported_once(path, damage, log):
    path.parent.mkdir()
    for number in (1, 2):
        damage(path)
        before = path.read_bytes()
        answers, statistics = await ask_twice(path)
        assert [answer.route for answer in answers] == ["live", "cache"]
        assert not statistics.is_on_disk
        aside = path.with_name(f"{path.name}.damaged-{number}")
        assert aside.read_bytes() == before
        assert not path.exists()
        event = [event for event in log if event["event"] == "cache_unavailable"][number - 1 :]
        assert len(event) == 1
        assert DAMAGED[damage] in event[0]["reason"]
        assert event[0]["remedy"] == f"none is needed: it is moved to {aside}"
    answers, statistics = await ask_twice(path)
    assert statistics.is_on_disk


async def test_damage_that_a_lookup_meets_is_a_miss_and_reported(path, log, monkeypatch):
    await ask_twice(path)
    with sqlite3.connect(path) as database:
        database.execute("UPDATE responses SET value = value || x'00'")
    database.close()
    monkeypatch.setattr(module, "_CHECKED_BYTES", 0)  # a file too large to be checked at first
    answers, statistics = await ask_twice(path)
    assert [answer.route for answer in answers] == ["live", "cache"]
    assert not statistics.is_on_disk
    (event,) = [event for event in log if event["event"] == "cache_unavailable"]
    assert "a stored value is not valid" in event["reason"]
    assert path.with_name(f"{path.name}.damaged-1").exists()


@pytest.mark.parametrize("damage", BAD, ids=lambda damage: damage.__name__)
async def test_a_file_that_cannot_be_used_is_left_unchanged_and_reported(path, damage, log):
    path.parent.mkdir()
    damage(path)
    before = path.read_bytes() if path.is_file() else None
    answers, statistics = await ask_twice(path)
    assert [answer.route for answer in answers] == ["live", "cache"]
    assert not statistics.is_on_disk
    [event] = [event for event in log if event["event"] == "cache_unavailable"]
    reason, remedy = BAD[damage]
    assert reason in event["reason"]
    assert remedy in event["remedy"]
    assert event["path"] == str(path)
    assert before is None or path.read_bytes() == before
    assert before is None or list(path.parent.iterdir()) == [path]


async def ask_twice(path):
    async with open_runtime() as runtime:
        stage = await runtime.spawn("stage", partial(Quick, Journal()), capacity=10, concurrency=10)
        policy = CachePolicy(path=path)
        cache = await runtime.spawn(
            "cache", partial(CacheActor, stage, "http://a/v1", policy), concurrency=8
        )
        answers = [await cache.ask(call(cacheable=True)) for _ in range(2)]
        return answers, await cache.ask(GetCacheStatistics())


class Quick(Stage):
    """A stage that takes no time."""

    async def attempt(self, message, behaviour):
        await trio.lowlevel.checkpoint()


async def test_a_file_that_another_process_keeps_locked_is_not_used(path, log, monkeypatch):
    monkeypatch.setattr(module, "_WAIT_S", 0.01)
    close_at_once = CacheFile(path, None, MIB)
    close_at_once.open()
    close(close_at_once)
    with sqlite3.connect(path) as other:
        other.execute("BEGIN IMMEDIATE")
        answers, _ = await ask_twice(path)
        other.rollback()
    other.close()
    assert [answer.route for answer in answers] == ["live", "cache"]
    [event] = [event for event in log if event["event"] == "cache_unavailable"]
    assert "locked" in event["reason"]
    assert "wait until the other process ends" in event["remedy"]


async def test_a_disk_that_is_full_is_done_without(path, log):
    async def fill():
        store = SqliteStore(CachePolicy(path=path))
        await store.open()
        store._file._writer.execute("PRAGMA max_page_count = 10")
        try:
            await store.put_many([entry(at, bytes(10_000)) for at in range(10)], [], 100)
        finally:
            await store.close()

    with pytest.raises(StorageError, match="full; make room"):
        await fill()
    answers, statistics = await ask_twice(path)
    assert statistics.is_on_disk
    assert [answer.route for answer in answers] == ["live", "cache"]


async def test_a_file_that_breaks_while_it_is_used_is_done_without(path, log):
    async with open_runtime() as runtime:
        stage = await runtime.spawn("stage", partial(Quick, Journal()))
        policy = CachePolicy(path=path, memory_bytes=0)
        store = SqliteStore(policy)
        cache = await runtime.spawn(
            "cache", partial(CacheActor, stage, "http://a/v1", policy, store=store), concurrency=8
        )
        store._file._writer.execute("DROP TABLE responses")
        for _ in range(2):
            assert (await cache.ask(call(cacheable=True))).route == "live"
        assert not (await cache.ask(GetCacheStatistics())).is_on_disk
    [event] = [event for event in log if event["event"] == "cache_unavailable"]
    assert "no such table: responses" in event["reason"]


# ------------------------------------------------------------------ the whole


async def test_the_next_program_finds_the_responses_of_this_one(path):
    first, _ = await ask_twice(path)
    second, statistics = await ask_twice(path)
    assert [answer.route for answer in first] == ["live", "cache"]
    assert [answer.route for answer in second] == ["cache", "cache"]
    assert second[0] == first[1]
    assert (statistics.disk_hits, statistics.memory_hits) == (1, 1)


async def test_neither_the_request_nor_the_provider_is_in_the_file(path):
    """L8: the file contains the response, and a key that reveals nothing."""

    class Secretive(Quick):
        def answer(self, prompt):
            return Response(
                text="an answer",
                model="m",
                finish_reason="stop",
                usage=Usage(1, 1),
                cost_usd=None,
                choices=(Choice("an answer", "stop"),),
            )

    async with open_runtime() as runtime:
        stage = await runtime.spawn("stage", partial(Secretive, Journal()))
        scope, policy = "http://secret-host/v1", CachePolicy(path=path)
        cache = await runtime.spawn("cache", partial(CacheActor, stage, scope, policy))
        await cache.ask(call("a secret prompt", cacheable=True))
    content = await trio.to_thread.run_sync(path.read_bytes)
    assert b"an answer" in content
    assert b"secret" not in content
