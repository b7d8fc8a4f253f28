"""The client of a shared server, with a real one: what it answers, and how it fails."""

import gc
import socket
import time
from contextlib import contextmanager

import pytest
import trio
import trustme
from valkey_server import ValkeyServer, needs_server, valkey_server

from callsheet.actors.valkey import (
    ServerAway,
    ServerScript,
    ServerUrl,
    UnsuitableServer,
    client,
    open_valkey,
    pool,
)

ADD = ServerScript("return redis.call('INCRBY', KEYS[1], ARGV[1])")
REFUSE = ServerScript("return redis.error_reply('too late in the day')")


@pytest.fixture(scope="module")
def shared():
    with valkey_server() as server:
        yield server


@pytest.fixture
def server(shared):
    """A server that runs and is empty."""
    shared.clear()
    return shared


@pytest.fixture
def soon(monkeypatch):
    """Give up after a fifth of a second: these servers answer within a millisecond, or never."""
    monkeypatch.setattr(client, "_COMMAND_S", 0.2)
    monkeypatch.setattr(client, "_HINT_S", 0.05)
    monkeypatch.setattr(pool, "_OPEN_S", 0.2)


@contextmanager
def stopped(server):
    server.stop()
    try:
        yield
    finally:
        server.go_on()


def at(server, **more):
    return open_valkey(ServerUrl(socket=str(server.socket), **more))


def connections(server):
    return len(server.cli("CLIENT", "LIST").splitlines()) - 1  # that of the question


async def in_background(nursery, function, *arguments):
    """Start a command, and let it be sent."""
    nursery.start_soon(function, *arguments)
    await trio.sleep(0.05)


# ------------------------------------------------------------------ what it answers


async def test_replies_are_as_the_server_gives_them(server):
    async with at(server) as valkey:
        assert await valkey.command("SET", "a", b"\xff\0") == b"OK"
        assert await valkey.command("GET", "a") == b"\xff\0"
        assert await valkey.command("get", "none") is None
        assert await valkey.command("HSET", "h", "x", 1, "y", 2.5) == 2
        assert await valkey.command("HGETALL", "h") == {b"x": b"1", b"y": b"2.5"}
        assert await valkey.command("MGET", "a", "none") == [b"\xff\0", None]
        with pytest.raises(UnsuitableServer, match="wrong kind of value"):
            await valkey.command("INCR", "h")


async def test_a_script_is_sent_when_the_server_does_not_know_it(server):
    async with at(server) as valkey:
        assert await valkey.run(ADD, ["n"], [2]) == 2
        await valkey.command("SCRIPT", "FLUSH")
        assert await valkey.run(ADD, ["n"], [3]) == 5
        assert await valkey.command("GET", "n") == b"5"
        with pytest.raises(UnsuitableServer, match="too late in the day"):
            await valkey.run(REFUSE, [], [])


async def test_ordinary_commands_share_a_connection_and_blocking_ones_have_their_own(server):
    async with at(server) as valkey:
        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(valkey.command, "INCR", "n")
        assert connections(server) == 1
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                await in_background(nursery, valkey.command, "blpop", "none", 5)
            assert await valkey.command("GET", "n") == b"100"
            assert connections(server) == 3
            nursery.cancel_scope.cancel()


async def test_a_command_that_blocks_may_take_longer_than_others(server, soon):
    async with at(server) as valkey:
        start = time.perf_counter()
        assert await valkey.command("BLPOP", "none", 0.4, wait_s=0.4) is None
        assert time.perf_counter() - start >= 0.4


# ------------------------------------------------------------------ a server that fails


async def test_it_opens_without_a_server_and_works_when_there_is_one(server):
    server.kill()
    async with at(server) as valkey:
        with pytest.raises(ServerAway, match="reached: Connection refused; start the server"):
            await valkey.command("PING")
        server.start()
        assert await valkey.command("PING") == b"PONG"
        server.kill()
        with pytest.raises(ServerAway):
            await valkey.run(ADD, ["n"], [2])
        server.start()
        assert await valkey.run(ADD, ["n"], [2]) == 2


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("unix:///no/such/socket", "No such file or directory"),
        ("redis://127.0.0.1:1", "Connection refused"),
        ("rediss://127.0.0.1:1", "Connection refused"),
    ],
)
async def test_why_a_server_cannot_be_reached_is_told(url, reason):
    async with open_valkey(ServerUrl.parse(url)) as valkey:
        with pytest.raises(ServerAway) as caught:
            await valkey.command("PING")
    assert caught.value.reason == f"it cannot be reached: {reason}"


async def test_a_server_that_hangs_costs_a_time_out_and_no_command_is_done_twice(server, soon):
    async with at(server) as valkey:
        await valkey.command("PING")
        with stopped(server):
            start = time.perf_counter()
            with pytest.raises(ServerAway, match=r"no answer in 0\.2 s"):
                await valkey.command("INCR", "n")
            with pytest.raises(ServerAway):
                await valkey.run(ADD, ["n"], [1])
            assert time.perf_counter() - start < 0.6
        assert await valkey.command("GET", "n") in (b"1", None)


async def test_what_hangs_or_is_cancelled_uses_up_no_connection(server, soon):
    """The pools of coredis have 64 places, and each of these would take one with it."""
    async with at(server) as valkey:
        with stopped(server):
            for _ in range(3):
                async with trio.open_nursery() as nursery:
                    for _ in range(30):
                        nursery.start_soon(give_up_soon, valkey, "PING")
        for _ in range(100):
            await give_up_soon(valkey, "BLPOP", "none", 5)
        assert await valkey.command("PING") == b"PONG"
        await trio.sleep(0.05)
        assert connections(server) <= 2


async def give_up_soon(valkey, *command):
    with trio.move_on_after(0.002):
        await valkey.command(*command)


async def test_a_full_server_is_away_and_one_that_forgets_is_unsuitable(server):
    async with at(server) as valkey:
        await valkey.check(keeps=False)
        with pytest.raises(UnsuitableServer, match="set appendonly yes"):
            await valkey.check(keeps=True)
        await valkey.command("CONFIG", "SET", "appendonly", "yes")
        await valkey.check(keeps=True)
        await valkey.command("CONFIG", "SET", "maxmemory", "1")
        try:
            await valkey.check(keeps=True)
            with pytest.raises(ServerAway, match="make room"):
                await valkey.command("SET", "a", "b")
            with pytest.raises(ServerAway, match="make room"):
                await valkey.run(ADD, ["n"], [1])
            await valkey.command("CONFIG", "SET", "maxmemory-policy", "volatile-ttl")
            with pytest.raises(UnsuitableServer, match="set maxmemory-policy noeviction"):
                await valkey.check(keeps=False)
        finally:
            server.cli("CONFIG", "SET", "maxmemory", "0")
            server.cli("CONFIG", "SET", "maxmemory-policy", "noeviction")
            server.cli("CONFIG", "SET", "appendonly", "no")


async def test_who_may_not_is_told_apart_from_who_is_not_known(server, log):
    server.cli("ACL", "SETUSER", "ada", "on", ">hunter2", "~*", "+get")
    async with at(server, username="ada", password="hunter2") as valkey:
        assert await valkey.command("GET", "a") is None
        with pytest.raises(UnsuitableServer, match="give the user of the URL the right") as denied:
            await valkey.command("SET", "a", "b")
    async with at(server, username="ada", password="zebra-7") as valkey:
        with pytest.raises(UnsuitableServer, match="check the user name and password") as unknown:
            await valkey.command("GET", "a")
        assert "zebra-7" not in f"{valkey!r} {valkey.name} {unknown.value!r} {denied.value!r}"
    assert log == []


# ------------------------------------------------------------------ hints


async def test_hints_come_and_come_again_after_the_server_was_away(server, soon):
    async with at(server) as valkey, valkey.hints("news") as hints:
        assert await hints.wait() is None
        assert await hint_of(valkey, hints, "one") == b"one"
        server.kill()
        assert await hints.wait() is None
        server.start()
        assert await hint_of(valkey, hints, "two") == b"two"
    await trio.sleep(0.05)
    assert connections(server) == 0


async def test_a_subscription_that_hears_nothing_asks_whether_it_is_alive(
    server, soon, monkeypatch
):
    monkeypatch.setattr(client, "_PING_S", 0.05)
    async with at(server) as valkey, valkey.hints("news") as hints:
        assert await hint_of(valkey, hints, "one") == b"one"
        await trio.sleep(0.2)
        before = server.cli("CLIENT", "LIST", "TYPE", "PUBSUB").split()[0]
        with stopped(server):
            await trio.sleep(0.4)
        assert await hint_of(valkey, hints, "two") == b"two"
        assert server.cli("CLIENT", "LIST", "TYPE", "PUBSUB").split()[0] != before


async def test_a_client_with_a_subscription_ends_at_once_and_without_an_error(server, soon):
    start = time.perf_counter()
    for _ in range(10):
        async with at(server) as valkey, valkey.hints("news") as hints:
            await hint_of(valkey, hints, "one")
    with trio.move_on_after(0.2):
        async with at(server) as valkey, valkey.hints("news") as hints:
            await trio.sleep_forever()
    assert time.perf_counter() - start < 2


async def hint_of(valkey, hints, text):
    for _ in range(60):
        await valkey.command("PUBLISH", "news", text)
        if (hint := await hints.wait()) is not None:
            return hint
    raise AssertionError("no hint came")


async def test_a_client_that_reads_no_hints_holds_few_of_them(server, soon):
    async with at(server) as valkey, valkey.hints("news") as hints:
        await hint_of(valkey, hints, "first")
        for number in range(100):
            await valkey.command("PUBLISH", "news", number)
        await trio.sleep(0.05)
        held = 0
        while await hints.wait() is not None:
            held += 1
        assert held == 64


# ------------------------------------------------------------------ the block


async def test_an_error_of_the_block_comes_out_as_it_is(server):
    for error in (KeyError("mine"), ExceptionGroup("mine", [KeyError("one")])):
        with pytest.raises(type(error)) as caught:
            async with at(server) as valkey, valkey.hints("news"):
                await valkey.command("PING")
                raise error
        assert caught.value is error
    server.kill()
    with pytest.raises(ServerAway):
        async with at(server) as valkey:
            await valkey.command("PING")
    server.start()


async def test_a_cancelled_block_ends_at_once_also_while_the_server_hangs(server):
    start = time.perf_counter()
    with stopped(server):
        for when in (0.0, 0.01, 0.1):
            with trio.move_on_after(when) as scope:
                async with at(server) as valkey, valkey.hints("news"):
                    await valkey.command("PING")
            assert scope.cancelled_caught
        async with at(server), trio.open_nursery() as nursery:
            nursery.cancel_scope.cancel()
    assert time.perf_counter() - start < 1


async def test_a_closed_client_says_so(server):
    async with at(server) as valkey:
        await valkey.command("PING")
    with pytest.raises(ServerAway, match="the client is closed"):
        await valkey.command("PING")


async def test_a_client_leaves_no_reference_cycle_and_no_connection(server):
    async with at(server) as valkey:
        await valkey.command("PING")
    gc.collect()
    assert connections(server) == 0


# ------------------------------------------------------------------ TLS


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture(scope="module")
def encrypted(authority, tmp_path_factory):
    needs_server()
    folder = tmp_path_factory.mktemp("tls")
    certificate = authority.issue_cert("localhost")
    certificate.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = {"tls-port": str(port), "bind": "127.0.0.1", "tls-auth-clients": "no"}
    files = {"tls-cert-file": str(folder / "cert.pem"), "tls-key-file": str(folder / "key.pem")}
    server = ValkeyServer(**options, **files)
    yield port
    server.close()


@pytest.fixture
def trusted(authority, tmp_path, monkeypatch):
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))


async def test_tls_works_with_a_certificate_that_is_trusted(encrypted, trusted):
    async with open_valkey(ServerUrl.parse(f"valkeys://localhost:{encrypted}")) as valkey:
        assert await valkey.command("PING") == b"PONG"


async def test_a_certificate_of_another_host_or_authority_is_refused(
    encrypted, trusted, tmp_path, monkeypatch
):
    with pytest.raises(UnsuitableServer, match="IP address mismatch"):
        async with open_valkey(ServerUrl.parse(f"rediss://127.0.0.1:{encrypted}")) as valkey:
            await valkey.command("PING")
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "other.pem"))
    with pytest.raises(UnsuitableServer, match=r"unable to get local issuer.*SSL_CERT_FILE"):
        async with open_valkey(ServerUrl.parse(f"rediss://localhost:{encrypted}")) as valkey:
            await valkey.command("PING")


async def test_plain_text_to_an_encrypted_port_fails(encrypted):
    with pytest.raises(ServerAway):
        async with open_valkey(ServerUrl.parse(f"redis://localhost:{encrypted}")) as valkey:
            await valkey.command("PING")
