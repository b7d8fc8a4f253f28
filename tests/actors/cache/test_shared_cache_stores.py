"""What every store of responses does: a file, the memory of tests, and a server."""

from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from valkey_server import valkey_server

from callsheet.actors.cache import (
    CachePolicy,
    MemorySharedCache,
    SharedMemory,
    ValkeyCache,
    valkey,
)
from callsheet.actors.cache.claims import ClaimAsk
from callsheet.actors.cache.file import SqliteStore
from callsheet.actors.cache.store import CacheEntry
from callsheet.actors.valkey import ServerAway, ServerUrl, open_valkey

NOW = 1_700_000_000.0
MIB = 2**20


@pytest.fixture(scope="module")
def running():
    with valkey_server() as server:
        yield server


@pytest.fixture
def server(running):
    running.clear()
    return running


@pytest.fixture(params=["file", "memory", "server"])
def maker(request, path):
    """Make stores that share what is in them."""
    if request.param == "file":
        return lambda **policy: SqliteStore(CachePolicy(path=path, **policy))
    if request.param == "memory":
        memory = SharedMemory()
        return lambda **policy: MemorySharedCache(memory, CachePolicy(path=None, **policy))
    server = request.getfixturevalue("server")
    return lambda **policy: on(server, **policy)


def on(server, **policy):
    return ValkeyCache(ServerUrl(socket=str(server.socket)), CachePolicy(path=None, **policy))


@asynccontextmanager
async def opened(store, *others):
    """Open stores; yield one alone, or all of them."""
    async with AsyncExitStack() as stack:
        for one in (store, *others):
            if not isinstance(one, SqliteStore):
                await stack.enter_async_context(one.session())
            await one.open()
            stack.push_async_callback(one.close)
        yield (store, *others) if others else store


def entry(key, value=b"value", at=NOW):
    return CacheEntry(f"{key}", value, at)


def keys(entries):
    return sorted(one.key for one in entries)


# ------------------------------------------------------------------ responses


async def test_what_is_stored_is_found_by_all_that_share_it(maker):
    async with opened(maker(), maker()) as (one, other):
        stored = [entry("a", bytes(range(256))), entry("b", b"\0", NOW - 0.25)]
        await one.put_many(stored, [], NOW)
        assert sorted(await other.get_many(["a", "none", "b"], NOW), key=keys_of) == stored
        await other.put_many([entry("a", b"new")], ["b", "none"], NOW)
        assert await one.get_many(["a"], NOW) == [entry("a", b"new")]
        assert await one.get_many([], NOW) == []
        usage = await one.usage()
        assert usage.entries == 2
        assert usage.bytes > 0
        await one.clear()
        assert await other.get_many(["a", "b"], NOW) == []
        assert (await other.usage()).entries == 0


def keys_of(one):
    return one.key


async def test_many_responses_at_once_are_all_stored_and_found(maker):
    async with opened(maker()) as store:
        many = [entry(number, b"x" * (number % 7 + 1)) for number in range(250)]
        await store.put_many(many, [f"{number}" for number in range(250, 500)], NOW)
        assert len(await store.get_many([one.key for one in many], NOW)) == 250
        assert (await store.usage()).entries == 250


async def test_a_response_is_found_until_it_has_expired(maker):
    async with opened(maker(ttl_s=60)) as store:
        await store.put_many([entry("a"), entry("old", at=NOW - 59)], [], NOW)
        assert keys(await store.get_many(["a", "old"], NOW)) == ["a", "old"]
        assert keys(await store.get_many(["a", "old"], NOW + 1.5)) == ["a"]
        assert keys(await store.get_many(["a", "old"], NOW + 61)) == []


async def test_those_that_were_not_used_for_longest_make_room(maker):
    async with opened(maker(max_bytes=MIB)) as store:
        for number in range(8):
            await store.put_many([entry(number, bytes(200_000))], ["0"], NOW + number)
        found = keys(await store.get_many([str(number) for number in range(8)], NOW + 8))
        assert {"0", "7"} <= set(found)
        assert 3 <= len(found) <= 5
        usage = await store.usage()
        assert usage.evicted == 8 - len(found)
        assert usage.bytes <= MIB


async def test_a_response_that_would_take_too_much_is_not_stored(server):
    async with opened(on(server, max_bytes=MIB)) as store:
        await store.put_many([entry("large", bytes(MIB // 4 + 1)), entry("small")], [], NOW)
        assert keys(await store.get_many(["large", "small"], NOW)) == ["small"]


# ------------------------------------------------------------------ on a server


async def test_every_key_expires_and_nothing_is_left_of_what_was_cleared(server):
    async with opened(on(server, ttl_s=None)) as store:
        await store.put_many([entry("a"), entry("b", at=NOW + 5)], [], NOW)
        await store.claim([ClaimAsk("c", ("c",))])
        assert len(server.cli("KEYS", "*").split()) == 6
        for key in server.cli("KEYS", "*").split():
            assert 0 < int(server.cli("TTL", key)) <= 401 * 86_400
        await store.release(["c"], free=False)
        await store.clear()
        assert server.cli("KEYS", "*").split() == ["callsheet:cache:sizes"]
        assert server.cli("HGETALL", "callsheet:cache:sizes").split() == ["0"]


async def test_what_has_expired_counts_no_longer(server):
    async with opened(on(server, ttl_s=60)) as store:
        await store.put_many([entry("short", at=NOW - 59.95), entry("long")], [], NOW)
        before = await store.usage()
        while server.cli("EXISTS", "callsheet:cache:r:short").strip() == "1":
            pass
        await store.put_many([], ["long", "short"], NOW)
        after = await store.usage()
        assert (before.entries, after.entries, after.evicted) == (2, 1, 0)
        assert after.bytes * 2 == before.bytes
        await store.put_many([entry("past", at=NOW - 61)], [], NOW)
        assert (await store.usage()).entries == 1


async def test_the_cache_takes_no_more_than_half_of_the_memory_of_the_server(server):
    server.cli("CONFIG", "SET", "maxmemory", "8mb")
    try:
        async with opened(on(server)) as store:
            for number in range(80):
                await store.put_many([entry(number, bytes(100_000))], [], NOW)
            assert 2 * MIB < (await store.usage()).bytes <= 4 * MIB
    finally:
        server.cli("CONFIG", "SET", "maxmemory", "0")


async def test_other_keys_of_the_server_are_left_alone(server):
    server.cli("SET", "callsheet:other", "1")
    async with opened(on(server)) as store:
        await store.put_many([entry("a")], [], NOW)
        await store.clear()
        assert server.cli("GET", "callsheet:other").strip() == "1"


async def test_a_value_of_another_program_is_no_response(server):
    server.cli("SET", "callsheet:cache:r:a", "x")
    async with opened(on(server)) as store:
        assert await store.get_many(["a"], NOW) == []


async def test_a_store_that_is_not_open_is_away_and_its_name_has_no_password():
    store = ValkeyCache(ServerUrl.parse("redis://ada:hunter2@localhost/3"), CachePolicy(path=None))
    assert store.name == "redis://localhost:6379/3"
    assert "hunter2" not in repr(store)
    for asking in (store.get_many(["a"], NOW), store.usage(), store.wait_for_ends()):
        with pytest.raises(ServerAway, match="not open"):
            await asking


async def test_large_batches_reach_the_server_in_parts(server, monkeypatch):
    monkeypatch.setattr(valkey, "_BYTES_AT_ONCE", 1000)
    monkeypatch.setattr(valkey, "_AT_ONCE", 7)
    monkeypatch.setattr(valkey, "_CLEARED_AT_ONCE", 3)
    async with opened(on(server)) as store:
        many = [entry(number, bytes(300)) for number in range(20)]
        await store.put_many(many, [str(number) for number in range(20)], NOW)
        assert len(await store.get_many([one.key for one in many], NOW)) == 20
        server.cli("CONFIG", "RESETSTAT")
        assert len(await store.get_many([one.key for one in many], NOW)) == 20
        calls = server.cli("INFO", "commandstats")
        assert "cmdstat_evalsha:calls=5," in calls  # four responses each are above 1000 bytes
        claimed = await store.claim([ClaimAsk(one.key + "x", (one.key + "x",)) for one in many])
        assert claimed == 20 * ["mine"]
        await store.clear()
        async with open_valkey(ServerUrl(socket=str(server.socket))) as client:
            assert await client.command("ZCARD", "callsheet:cache:uses") == 0
