"""Keys in a file, in memory and on a server: one suite for each store, and what a server adds."""

import json
import re

import pytest
import trio
from click.testing import CliRunner
from valkey_server import valkey_server

from callsheet.actors import (
    MemoryStores,
    Records,
    ServerAway,
    StorageError,
    UnsuitableServer,
    stores_at,
)
from callsheet.cli import main
from callsheet.gateway.keys import InvalidKey, KeyTerms
from callsheet.gateway.keys.file import KeyFileStore
from callsheet.gateway.keys.shared import SharedKeyStore

NOW = 1_795_694_400.0  # 2026-11-26 12:00 UTC
TERMS = KeyTerms(
    name="team-a",
    rpm=5,
    tpm=1000,
    in_flight=3,
    models=("gpt-5*", "o4-mini"),
    budgets=("25/day",),
    allow=("cache",),
    weight=2.5,
)


@pytest.fixture(scope="module")
def server():
    with valkey_server(appendonly="yes") as server:
        yield server


@pytest.fixture(params=["file", "memory", "server"])
def store(request, tmp_path):
    """Returns new stores of the same keys, each as another process has it."""
    if request.param == "file":
        path = tmp_path / "keys.sqlite3"
        return lambda **more: KeyFileStore(path, clock=lambda: NOW, **more)
    if request.param == "memory":
        memory = MemoryStores()
        return lambda **more: SharedKeyStore(memory, clock=lambda: NOW, **more)
    server = request.getfixturevalue("server")
    server.clear()
    return lambda **more: SharedKeyStore(stores_at(server.url), clock=lambda: NOW, **more)


def names(store):
    return sorted(key.name for key in store.known.valid())


async def test_what_one_process_writes_another_one_reads(store):
    writer, reader = store(create=True), store()
    async with writer.open():
        issued = await writer.create(TERMS)
        assert writer.known.find(issued.secret) == issued.key
        async with reader.open():
            assert reader.known.find(issued.secret) == issued.key
            assert await reader.all() == (issued.key,)
            await writer.create(KeyTerms(name="team-b", is_admin=True))
            assert names(reader) == ["team-a"]
            await reader.refresh()
            assert names(reader) == ["team-a", "team-b"]
            (revoked,) = await reader.revoke("team-a")
            assert (revoked.id, revoked.revoked_at) == (issued.key.id, NOW)
            await writer.refresh()
            assert names(writer) == names(reader) == ["team-b"]
            assert sorted(key.name for key in await writer.all()) == ["team-a", "team-b"]


async def test_a_key_is_replaced_and_its_terms_are_those_of_the_new_one(store):
    keys = store(create=True)
    async with keys.open():
        first = await keys.create(TERMS, expires_at=NOW + 60)
        with pytest.raises(InvalidKey, match=r"a key team-a already .*--replace"):
            await keys.create(TERMS)
        second = await keys.create(KeyTerms(name="team-a", rpm=9), replace=True)
        (former,) = second.replaced
        assert (former.id, former.rpm, former.expires_at) == (first.key.id, 9, NOW + 60)
        assert keys.known.find(first.secret) == former
        assert keys.known.find(second.secret) == second.key
        with pytest.raises(InvalidKey, match='no valid key team-b to replace; did you mean "team'):
            await keys.create(KeyTerms(name="team-b"), replace=True)


@pytest.mark.parametrize("by", ["name", "id", "secret"])
async def test_keys_are_revoked_by_what_names_them(store, by):
    keys = store(create=True)
    async with keys.open():
        issued = await keys.create(TERMS)
        which = {"name": "team-a", "id": issued.key.id, "secret": issued.secret}[by]
        await keys.revoke(which)
        assert keys.known.find(issued.secret) is None
        with pytest.raises(InvalidKey, match="has ended already") as caught:
            await keys.revoke(which)
        assert issued.secret not in str(caught.value)
        with pytest.raises(InvalidKey, match="there is no key 'team-x'; did you mean"):
            await keys.revoke("team-x")


async def test_without_a_first_key_the_remedy_is_to_create_it(store):
    keys = store()
    with pytest.raises(StorageError, match=r"callsheet keys create NAME --(store|shared)"):
        async with keys.open():
            pass


async def test_of_several_that_create_one_name_one_succeeds(store):
    created, refused = [], []
    async with store(create=True).open():
        pass

    async def create(keys):
        async with keys.open():
            try:
                created.append(await keys.create(TERMS))
            except InvalidKey:
                refused.append(keys)

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(create, store(create=True))
    assert (len(created), len(refused)) == (1, 3)


# ------------------------------------------------------------------------------ a server


class LostAnswers:
    """Records whose first answers to a writer are lost, after or before the work is done."""

    def __init__(self, records, lost):
        self.name = records.name
        self.open = records.open
        self.read = records.read
        self.wait_for_news = records.wait_for_news
        self._records = records
        self._lost = list(lost)
        self.writes = 0

    async def write(self, known, records, state):
        self.writes += 1
        how = self._lost.pop(0) if self._lost else "answered"
        done = how != "before" and await self._records.write(known, records, state)
        if how != "answered":
            raise ServerAway(self.name, "no answer")
        return done


class Stores:
    def __init__(self, records):
        self._records = records

    def records(self, kind):
        return self._records


@pytest.mark.parametrize("lost", [["after"], ["before"], ["before", "after", "after"]])
async def test_a_lost_answer_creates_no_key_twice(autojump_clock, lost):
    records = LostAnswers(MemoryStores().records("keys"), lost)
    keys = SharedKeyStore(Stores(records), create=True, clock=lambda: NOW)
    async with keys.open():
        issued = await keys.create(TERMS)
        assert await keys.all() == (issued.key,)
    assert records.writes == len(lost) + 1


async def test_a_record_of_another_version_stops_the_gateway(autojump_clock):
    memory = MemoryStores()
    await memory.records("keys").write("", {"k_1": b'{"hash": "00", "colour": 1}'}, "one")
    with pytest.raises(StorageError, match="one of them is no key"):
        async with SharedKeyStore(memory).open():
            pass


async def test_a_hint_ends_the_wait_of_a_reader_at_once(autojump_clock):
    memory = MemoryStores()
    writer, reader = SharedKeyStore(memory, create=True), SharedKeyStore(memory, create=True)
    async with writer.open(), reader.open(), trio.open_nursery() as nursery:
        started = trio.current_time()

        async def write():
            await trio.sleep(0.25)
            await writer.create(TERMS)

        nursery.start_soon(write)
        await reader.wait_for_news()
        assert trio.current_time() - started == pytest.approx(0.25)
        await reader.wait_for_news()
        assert trio.current_time() - started == pytest.approx(1.25)


async def test_the_server_has_hashes_alone_and_must_keep_them(server):
    server.clear()
    keys = SharedKeyStore(stores_at(server.url), create=True)
    async with keys.open():
        issued = await keys.create(TERMS)
        await keys.wait_for_news()
    content = server.cli("HGETALL", "callsheet:{keys}")
    assert issued.key.id in content
    assert issued.secret not in content
    assert issued.secret[8:] not in repr(keys)
    server.cli("CONFIG", "SET", "appendonly", "no")
    try:
        with pytest.raises(UnsuitableServer, match="appendonly"):
            async with keys.open():
                pass
    finally:
        server.cli("CONFIG", "SET", "appendonly", "yes")


async def test_records_are_replaced_only_by_a_writer_that_has_read_them(server):
    server.clear()
    stores = stores_at(server.url)
    records, others = stores.records("tests"), stores.records("tests")
    async with records.open(), others.open():
        assert await records.read() == Records()
        assert await records.write("", {"a": b"\xff"}, "one")
        assert await records.write("", {"a": b"\xff"}, "one")  # its answer was lost
        assert not await others.write("", {"a": b"other"}, "two")
        assert await others.write("one", {"b": b""}, "two")
        assert await records.read("two") is None
        assert await records.read("one") == Records("two", {"a": b"\xff", "b": b""})


def test_the_commands_work_with_keys_on_a_server(server, tmp_path, monkeypatch):
    server.clear()
    monkeypatch.delenv("CALLSHEET_SHARED_URL", raising=False)
    file = tmp_path / "callsheet.toml"
    file.write_text(f"[shared]\nurl = '{server.url}'\n[keys]\nstore = 'shared'\n")

    def run(*line):
        return CliRunner().invoke(main, ["keys", *line])

    created = run("create", "team-a", "--shared", server.url)
    assert re.fullmatch(r"cs-\S{43}", created.stdout.strip()), created.output
    assert '[keys] store = "shared"' in created.stderr
    listed = json.loads(run("list", "--json", "--config", str(file)).stdout)
    assert [key["name"] for key in listed["keys"]] == ["team-a"]
    assert listed["store"] == f"the keys on the shared server {server.url}"
    assert run("revoke", "team-a", "--config", str(file)).exit_code == 0
    assert "is valid" in run("list", "--shared", server.url).stderr
    refused = run("list", "--store", "shared")
    assert (refused.exit_code, "[shared]" in refused.stderr) == (2, True)
    refused = run("list", "--store", "x.sqlite3", "--shared", server.url)
    assert (refused.exit_code, "not both" in refused.stderr) == (2, True)
    away = run("list", "--shared", f"unix://{tmp_path}/none")
    assert (away.exit_code, away.stderr[:6], "Traceback" in away.output) == (2, "Error:", False)


def test_a_check_of_a_gateway_asks_the_server(server, tmp_path, monkeypatch):
    server.clear()
    monkeypatch.setenv("CALLSHEET_SHARED_URL", server.url)

    def check(*more):
        line = ["serve", "--check", "--provider", "builtin", "--listen", "127.0.0.1:0", *more]
        done = CliRunner(env={"COLUMNS": "300"}).invoke(main, line)
        return done.exit_code, " ".join(done.output.split())

    status, text = check()
    assert (status, "limits, budgets and responses are shared there" in text) == (0, True)
    status, text = check("--keys", "shared")
    assert (status, "there are none; create a first key" in text) == (2, True)
    CliRunner().invoke(main, ["keys", "create", "team-a", "--store", "shared"])
    assert "1 valid key" in check("--keys", "shared")[1]
    status, text = check("--shared", f"unix://{tmp_path}/none")
    assert (status, "no call is sent before that" in text) == (0, True)
    server.cli("CONFIG", "SET", "appendonly", "no")
    try:
        status, text = check("--keys", "shared")
        assert (status, "set appendonly yes" in text) == (2, True)
    finally:
        server.cli("CONFIG", "SET", "appendonly", "yes")
    status, text = check("--shared", "http://word-that-is-secret@host")
    assert (status, "word-that-is-secret" in text) == (2, False)
