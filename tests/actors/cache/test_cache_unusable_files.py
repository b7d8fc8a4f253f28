"""A cache file that cannot be used, or breaks, costs no call."""

import sqlite3
from functools import partial

import pytest
from cache_files import MIB, Quick, ask_twice, close, entry
from fakes import Journal, call

from callsheet.actors.cache import file as module
from callsheet.actors.cache.actor import CacheActor, GetCacheStatistics
from callsheet.actors.cache.file import CacheFile, SqliteStore
from callsheet.actors.cache.policy import CachePolicy
from callsheet.actors.ledger.file import LedgerFile
from callsheet.actors.storage import StorageError
from callsheet.runtime import open_runtime


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
    a_directory: ("it is a folder", "give another path"),
    below_a_file: ("Not a directory", "check the path"),
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
