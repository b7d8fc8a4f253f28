"""What the client says of servers that answer oddly, or not at all."""

import sys

import pytest
import trio
from strange_server import strange_server

from callsheet.actors.valkey import (
    ServerAway,
    ServerUrl,
    UnsuitableServer,
    client,
    open_valkey,
    pool,
)

HELLO = b"%3\r\n+proto\r\n:3\r\n+version\r\n+7.0.0\r\n+id\r\n:7\r\n"
CLUSTER = "give the URL of a server without cluster mode"


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(client, "_COMMAND_S", 0.3)
    monkeypatch.setattr(pool, "_OPEN_S", 0.2)


def info(**fields):
    text = "".join(f"{name}:{value}\r\n" for name, value in fields.items())
    return f"${len(text)}\r\n{text}\r\n".encode()


async def error_of(kind, *answers, action=lambda valkey: valkey.command("PING")):
    async with strange_server(*answers) as url, open_valkey(ServerUrl.parse(url)) as valkey:
        with pytest.raises(kind) as caught:
            await action(valkey)
    return str(caught.value)


@pytest.mark.parametrize(
    ("answer", "remedy"),
    [
        (b"-NOAUTH Authentication required.\r\n", "wants a password, and none is given; put user"),
        (
            b"-NOAUTH HELLO must be called with the client\r\n",
            "wants a password, and none is given",
        ),
        (b"-WRONGPASS that user is disabled.\r\n", "disabled; check the user name and password"),
        (b"-WRONGPASS invalid username-password pair\r\n", "check the user name and password"),
        (b"-NOPERM this user has no permissions\r\n", "give the user of the URL the right"),
        (b"-ERR unknown command 'HELLO'\r\n", "use Valkey, or Redis 6 or later"),
        (b"-MOVED 3999 127.0.0.1:6381\r\n", CLUSTER),
        (b"-ASK 3999 127.0.0.1:6381\r\n", CLUSTER),
        (b"-ERR something else\r\n", "give another URL"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "give the URL of a Valkey or Redis server"),
    ],
)
async def test_an_unsuitable_server_is_named_with_the_remedy(answer, remedy):
    assert remedy in await error_of(UnsuitableServer, answer)
    assert remedy in await error_of(UnsuitableServer, HELLO, answer)


@pytest.mark.parametrize(
    "answer",
    [
        b"-OOM command not allowed when used memory > 'maxmemory'.\r\n",
        b"-MISCONF Redis is configured to save RDB snapshots\r\n",
        b"-LOADING Redis is loading the dataset in memory\r\n",
        b"-BUSY Redis is busy running a script.\r\n",
        b"-CLUSTERDOWN The cluster is down\r\n",
        b"-MASTERDOWN Link with MASTER is down\r\n",
        b"-READONLY You can't write against a read only replica.\r\n",
        b"",  # it closes the connection
        None,  # it says nothing
    ],
)
async def test_what_may_pass_is_told_as_away(answer):
    await error_of(ServerAway, HELLO, answer)


@pytest.mark.parametrize("answer", [b"", None])
async def test_a_server_that_never_says_hello_is_away(answer):
    await error_of(ServerAway, answer)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"redis_version": "5.0.14"}, "it has version 5.0.14"),
        ({"redis_version": "rubbish"}, "it has version rubbish"),
        ({}, "it has version 0"),
        ({"redis_version": "7.0.0", "redis_mode": "cluster"}, CLUSTER),
        ({"redis_version": "7.0.0", "role": "slave"}, "give the URL of its primary"),
        (
            {"redis_version": "7.2.4", "maxmemory": "1", "maxmemory_policy": "allkeys-lru"},
            "set maxmemory-policy noeviction",
        ),
        ({"redis_version": "7.2.4", "aof_enabled": "0"}, "set appendonly yes"),
    ],
)
async def test_a_server_that_would_lose_something_is_refused(fields, reason):
    answers = (HELLO, info(**fields))
    assert reason in await error_of(
        UnsuitableServer, *answers, action=lambda valkey: valkey.check(keeps=True)
    )


async def test_a_valkey_server_is_known_by_its_own_version():
    fields = {"redis_version": "7.2.4", "valkey_version": "8.1.0", "role": "master"}
    async with (
        strange_server(HELLO, info(**fields)) as url,
        open_valkey(ServerUrl.parse(url)) as valkey,
    ):
        await valkey.check(keeps=False)


async def test_a_connection_that_went_dead_without_an_error_is_replaced():
    async with (
        strange_server(HELLO, b"+one\r\n", None) as url,
        open_valkey(ServerUrl.parse(url)) as valkey,
    ):
        assert await valkey.command("PING") == b"one"
        with pytest.raises(ServerAway, match=r"no answer in 0\.3 s"):
            await valkey.command("PING")
        assert await valkey.command("PING") == b"one"


async def test_commands_wait_for_one_connection_that_is_being_opened():
    async with strange_server(None) as url, open_valkey(ServerUrl.parse(url)) as valkey:
        start = trio.current_time()
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(fails, valkey)
        assert trio.current_time() - start < 0.6


async def fails(valkey):
    with pytest.raises(ServerAway):
        await valkey.command("PING")


async def test_without_coredis_the_error_names_the_extra_and_no_password(monkeypatch):
    monkeypatch.setitem(sys.modules, "coredis.connection", None)
    with pytest.raises(UnsuitableServer, match="uv sync --inexact --extra valkey") as caught:
        async with open_valkey(ServerUrl.parse("redis://:hunter2@localhost")):
            pass
    assert "hunter2" not in str(caught.value)
