"""The cache file: read again, bounded, shared by programs, and without effect when it fails.

Threads run in real time, so nothing here depends on it.
"""

import os
import subprocess
import sys
from functools import partial

import pytest
import trio
from cache_files import MIB, Quick, ask_twice, close, entry
from fakes import Journal, call
from hypothesis import given, settings
from hypothesis import strategies as st

from callsheet.actors import Choice, Response, Usage
from callsheet.actors.cache.actor import CacheActor
from callsheet.actors.cache.file import CacheFile, SqliteStore
from callsheet.actors.cache.policy import CachePolicy
from callsheet.actors.storage import StorageError
from callsheet.runtime import open_runtime


@pytest.fixture
def file(path):
    file = CacheFile(path, 60, MIB)
    file.open()
    yield file
    file.close_reader()
    file.close_writer()


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
