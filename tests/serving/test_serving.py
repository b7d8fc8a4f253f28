"""The server on real sockets: many clients, the end of it, and clients that stall."""

import socket
import struct
import subprocess
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path

import httpx
import pytest
import trio
from serving_kit import GET, App, all_gone, connect, exchange, read_all, serving, until

from callsheet.serving import CannotServe, Listen, ServingLimits, TrustedProxies, serve

pytestmark = pytest.mark.sockets


async def answer_time(server):
    """Return how long another client waits for its answer, in seconds."""
    began = trio.current_time()
    received = await exchange(server, GET[:-2] + b"Connection: close\r\n\r\n")
    assert received.startswith(b"HTTP/1.1 200")
    return trio.current_time() - began


async def test_an_app_is_served_on_a_port_and_on_a_path(tmp_path):
    for listen in (Listen("localhost"), Listen(path=f"{tmp_path}/app.sock")):
        async with serving(App(), listen) as server:
            path = listen.path or None
            transport = httpx.AsyncHTTPTransport(uds=path)
            url = "http://app" if path else server.url
            async with httpx.AsyncClient(transport=transport, trust_env=False) as client:
                answer = await client.get(url)
            expected = {"bytes": 0, "client": None if path else "127.0.0.1", "scheme": "http"}
            assert answer.json() == expected
            assert server.url == (f"unix:{path}" if path else f"http://{server.listen}")
    assert not list(tmp_path.iterdir())


async def test_what_cannot_listen_ends_before_it_starts():
    async with serving(App()) as server, trio.open_nursery() as nursery:
        with pytest.raises(CannotServe, match="choose another port"):
            await nursery.start(partial(serve, App(), server.listen))


async def test_the_true_client_is_named_by_a_trusted_proxy():
    head = GET[:-2] + b"X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\n%b\r\n\r\n"
    trusted = TrustedProxies.parse(["127.0.0.0/8"])
    async with serving(App(), trusted_proxies=trusted) as server:
        received = await exchange(server, head % b"Connection: close")
        assert received.endswith(b'{"bytes":0,"client":"1.2.3.4","scheme":"https"}')
        received = await exchange(server, head % b"Forwarded: for=127.0.0.1")
        assert received.startswith(b"HTTP/1.1 400")
    async with serving(App()) as server:
        received = await exchange(server, head % b"Connection: close")
        assert received.endswith(b'{"bytes":0,"client":"127.0.0.1","scheme":"http"}')


# ---------------------------------------------------------------------------------- many clients


async def test_too_many_clients_are_told_so_and_then_closed(monkeypatch):
    monkeypatch.setattr("callsheet.serving.server._MAX_REFUSALS", 2)
    async with serving(App(), limits=ServingLimits(max_connections=3)) as server:
        kept = [await connect(server) for _ in range(3)]
        await until(lambda: server.statistics().connections == 3)
        received = await exchange(server, GET)
        assert received.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nretry-after: 1\r\n" in received
        assert received.endswith(b"too many clients are connected\n")
        silent = [await connect(server) for _ in range(2)]
        await until(lambda: server.statistics().connections == 5)
        assert await exchange(server, b"") == b"[reset]"
        assert server.statistics().refused == 4
        for stream in [*kept, *silent]:
            await stream.aclose()
        await all_gone(server)
        await answer_time(server)


IDLE = """
import resource, socket, sys
port, count = map(int, sys.argv[1:])
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(count)]
for client in clients[::2]:
    client.send(b"GET / HT")
print("connected", flush=True)
sys.stdin.read()
"""


@pytest.mark.slow
async def test_ten_thousand_idle_connections_delay_no_other_client():
    count = 10_000
    async with serving(App(), limits=ServingLimits(max_connections=count + 10)) as server:
        before = sorted([await answer_time(server) for _ in range(200)])
        small = memory_in_use()
        command = [sys.executable, "-c", IDLE, str(server.listen.port), str(count)]
        async with trio.open_nursery() as nursery:
            clients = await nursery.start(
                partial(trio.run_process, command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            )
            assert await clients.stdout.receive_some() == b"connected\n"
            await until(lambda: server.statistics().connections == count, within_s=60)
            times = sorted([await answer_time(server) for _ in range(200)])
            each = (memory_in_use() - small) / count
            print(f"\n{before[100] * 1e3:.2f} ms alone, {times[100] * 1e3:.2f} ms beside {count}")
            print(f"{each / 1024:.1f} KiB for each")
            assert times[190] < before[190] + 0.02
            assert each < 64 * 1024
            await clients.stdin.aclose()
        await all_gone(server, within_s=60)


def memory_in_use():
    """Return the memory of this process, in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


async def test_clients_of_every_bad_kind_delay_no_other_and_leave_nothing():
    app = App()
    limits = ServingLimits(header_timeout_s=0.3, keep_alive_s=0.3, body_timeout_s=0.3)
    parts = [
        *(b"", b"GET", GET[:-1], GET * 30, bytes(100_000), b"\x16\x03\x01\x02\x00\x01"),
        b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\nabc",
        b"POST /unread HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n" + bytes(100_000),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]),
    ]
    async with serving(app, limits=limits) as server:
        streams = []
        for part in parts * 4:
            stream = await connect(server)
            with suppress(trio.BrokenResourceError), trio.move_on_after(0.05):
                await stream.send_all(part)
            streams.append(stream)
            assert await answer_time(server) < 5
        half_closed, reset, closed, _ = (streams[i::4] for i in range(4))
        for stream in half_closed:
            with suppress(trio.BrokenResourceError, OSError):
                await stream.send_eof()
        for stream in reset:
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            stream.socket.close()
        for stream in closed:
            await stream.aclose()
        await trio.sleep(0.5)
        for stream in streams:
            await stream.aclose()
        await all_gone(server, app)


async def test_a_fault_of_the_server_ends_one_connection_only(monkeypatch, caplog):
    async with serving(App()) as server:
        with monkeypatch.context() as patch:
            patch.setattr("callsheet.serving.server.ServedConnection", None)
            assert await exchange(server, GET) in (b"", b"[reset]")
        await answer_time(server)
    assert "a connection of None has failed: TypeError" in caplog.text


# ---------------------------------------------------------------------------------------- the end


async def test_a_drain_lets_running_requests_end_and_closes_idle_connections():
    app = App()
    async with serving(app) as server:
        idle, half, running = [await connect(server) for _ in range(3)]
        await half.send_all(GET[:10])
        await running.send_all(b"GET /wait?s=0.2 HTTP/1.1\r\nHost: x\r\n\r\n")
        await until(lambda: app.running == 1)
        async with trio.open_nursery() as nursery:
            began = trio.current_time()
            nursery.start_soon(server.drain, 10)
            assert await idle.receive_some() == b""
            assert await half.receive_some() == b""
            assert app.running == 1
            with pytest.raises(OSError, match="all attempts to connect"):
                await connect(server)
            received = await read_all(running)
        assert received.startswith(b"HTTP/1.1 200 ")
        assert b"\r\nconnection: close\r\n" in received
        assert received.endswith(b"done")
        assert trio.current_time() - began < 8
        assert server.statistics().connections == 0
        await server.drain(0)  # it has ended
        for stream in (idle, half, running):
            await stream.aclose()


async def test_a_drain_at_the_end_of_a_response_closes_the_connection():
    """The response has promised to keep it open, and its app has not returned yet."""

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})
        await trio.sleep(0.1)

    async with serving(app) as server, await connect(server) as stream:
        await stream.send_all(GET)
        received = await stream.receive_some()
        while b"done" not in received:
            received += await stream.receive_some()
        began = trio.current_time()
        await server.drain(10)
        assert trio.current_time() - began < 8


async def test_a_drain_ends_at_its_deadline():
    app = App()
    async with serving(app) as server, await connect(server) as stream:
        await stream.send_all(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
        await until(lambda: app.running == 1)
        began = trio.current_time()
        await server.drain(0.1)
        assert trio.current_time() - began < 8
        assert app.running == 0
        assert await read_all(stream) == b"[reset]"


@pytest.mark.parametrize("how", ["drain", "cancel"])
async def test_a_reader_that_stalls_holds_up_nothing(how):
    """Hypercorn's own worker waits until the client closes its connection."""
    app = App()
    async with serving(app) as server:
        stalled = await connect(server)
        await stalled.send_all(b"GET /large?n=20000000 HTTP/1.1\r\nHost: x\r\n\r\n")
        await until(lambda: app.running == 1)
        await trio.sleep(0.05)
        began = trio.current_time()
        if how == "drain":
            await server.drain(0.1)
            assert trio.current_time() - began < 8
    assert trio.current_time() - began < 8
    assert app.running == 0
    await stalled.aclose()


async def test_a_reader_that_stalls_is_cut():
    app = App()
    limits = ServingLimits(write_timeout_s=0.2)
    async with serving(app, limits=limits) as server, await connect(server) as stalled:
        await stalled.send_all(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
        await until(lambda: app.gone)
        await all_gone(server, app)


async def test_a_client_that_leaves_is_noticed_at_once():
    app = App()
    async with serving(app) as server:
        for close in (trio.SocketStream.aclose, trio.SocketStream.send_eof):
            stream = await connect(server)
            await stream.send_all(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
            await until(lambda: app.running == 1)
            now = trio.current_time()
            await close(stream)
            await until(lambda: app.gone)
            assert app.gone.pop() - now < 5
            await stream.aclose()
        await all_gone(server, app)


async def test_the_answer_to_a_body_that_is_too_large_arrives():
    """A socket that is closed with unread bytes sends a reset, which can overtake the answer."""
    async with serving(App(), limits=ServingLimits(max_body_bytes=100_000)) as server:
        async with httpx.AsyncClient(trust_env=False) as client:

            async def chunks():
                for _ in range(100):
                    yield b"x" * 10_000

            for content in (b"x" * 900_000, chunks()):
                with suppress(httpx.WriteError):
                    answer = await client.post(server.url, content=content)
                    assert answer.status_code == 413
        await all_gone(server)


async def test_too_few_open_files_are_said(monkeypatch, caplog):
    import resource

    monkeypatch.setattr(resource, "getrlimit", lambda _: (300, 400))
    changed = []
    monkeypatch.setattr(resource, "setrlimit", lambda _, both: changed.append(both))
    async with serving(App()) as server:
        assert server.statistics().connections == 0
    assert changed == [(400, 400)]
    assert "400 open files, which is enough for 144 connections of 10000; raise" in caplog.text
