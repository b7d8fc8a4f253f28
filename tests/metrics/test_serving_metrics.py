"""Scrapes over HTTP, from other threads, and through the doors."""

import asyncio
import threading
from contextlib import suppress
from types import SimpleNamespace

import httpx
import prometheus_client
import pytest
import trio
from door_fakes import Provider, request, settings_for
from scraped import Scrape

from callsheet import aio, sync
from callsheet.actors import open_troupe
from callsheet.metrics import CannotServe, Metrics, actor, serve
from callsheet.serving import ServingLimits

pytestmark = pytest.mark.sockets
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def fetch(url, **headers):
    with httpx.Client(trust_env=False) as client:
        return client.get(url, headers=headers)


async def get(url, method="GET"):
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.request(method, url)


async def test_a_server_answers_as_long_as_its_nursery_is_open():
    metrics = Metrics()
    async with trio.open_nursery() as nursery:
        url = await nursery.start(
            lambda task_status: serve(metrics, port=0, task_status=task_status)
        )
        before = Scrape((await get(url)).text)
        async with open_troupe(settings_for(Provider(), metrics=metrics)) as troupe:
            await troupe.complete(request())
            seen = Scrape((await get(url)).text)
        assert (before("troupe_open"), seen("troupe_open")) == (0, 1)
        assert seen("calls_total", "gpt-4o", "answered") == 1
        assert url.startswith("http://127.0.0.1:")
        home = url.removesuffix("/metrics")
        assert (await get(home)).status_code == 200
        assert (await get(f"{home}/secrets")).status_code == 404
        assert (await get(url, "POST")).status_code == 405
        head = await get(url, "HEAD")
        assert (head.status_code, head.text) == (200, "")
        nursery.cancel_scope.cancel()
    with pytest.raises(httpx.ConnectError):
        await get(url)


async def test_a_reader_that_never_reads_does_not_delay_the_end():
    metrics = Metrics()
    async with trio.open_nursery() as nursery:
        url = await nursery.start(
            lambda task_status: serve(metrics, port=0, task_status=task_status)
        )
        stream = await trio.open_tcp_stream("127.0.0.1", int(url.split(":")[2].split("/")[0]))
        for _ in range(200):
            with trio.move_on_after(0.05):
                await stream.send_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 20)
        before = trio.current_time()
        nursery.cancel_scope.cancel()
    assert trio.current_time() - before < 5
    await stream.aclose()


PARTS = {
    "half a request": b"GET /metrics HTTP/1.1\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
    "zeros": bytes(70_000),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(50),
    "a long path": b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
    "half a body": b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc",
    "a web socket": b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket"
    b"\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
}


@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
async def test_what_is_no_scrape_does_not_stop_the_server(part, monkeypatch):
    monkeypatch.setattr(actor, "LIMITS", ServingLimits(max_connections=8))
    metrics = Metrics(listen="127.0.0.1:0")
    async with open_troupe(settings_for(Provider(), metrics=metrics)):
        port = int(metrics.address.rpartition(":")[2])
        for _ in range(3):
            for _ in range(6):
                stream = await trio.open_tcp_stream("127.0.0.1", port)
                with suppress(trio.BrokenResourceError), trio.move_on_after(0.02):
                    await stream.send_all(part)
                    await stream.receive_some(100)
                stream.socket.close()
            await trio.sleep(0.3)
        assert (await get(f"http://{metrics.address}/metrics")).status_code == 200


async def test_a_port_that_is_taken_is_named():
    metrics = Metrics(listen="127.0.0.1:0")
    async with open_troupe(settings_for(Provider(), metrics=metrics)):
        taken = metrics.address
        with pytest.raises(CannotServe, match=f"at {taken}: .*; choose another port"):
            async with open_troupe(settings_for(Provider(), metrics=Metrics(listen=taken))):
                pass
        host, _, port = taken.rpartition(":")
        with pytest.raises(CannotServe, match="choose another port"):
            await serve(Metrics(), host=host, port=int(port))
    assert metrics.address == ""


async def test_a_crash_of_the_server_leaves_the_calls_alone(monkeypatch):
    async def crash(app, listen, *, limits, task_status):
        task_status.started(SimpleNamespace(listen=listen))
        await trio.sleep(0.01)
        raise OSError("the socket is gone")

    monkeypatch.setattr(actor, "serve", crash)
    metrics = Metrics(listen="127.0.0.1:0")
    async with open_troupe(settings_for(Provider(), metrics=metrics)) as troupe:
        call = await troupe.complete(request("say Hello after 0.1"))
        assert call.text == "Hello"
        seen = Scrape((await metrics.exposition()).body.decode())
    assert (seen("troupe_open"), metrics.address) == (0, "")
    assert seen("calls_total", "gpt-4o", "answered") == 1


@pytest.mark.parametrize("text", ["here", "127.0.0.1", "localhost:http", "1:65536", "a:-1"])
def test_what_is_no_address_is_refused(text):
    with pytest.raises(ValueError, match="is no address: write HOST:PORT"):
        Metrics(listen=text)


# ------------------------------------------------------------------------ threads and doors


def test_a_troupe_for_threads_is_scraped_over_http_and_in_a_thread():
    metrics = Metrics(listen="127.0.0.1:0")
    with sync.open_troupe(settings_for(Provider(), metrics=metrics)) as troupe:
        troupe.complete(request())
        scrapes = [
            fetch(f"http://{metrics.address}/metrics").text,
            metrics.exposition_in_thread().body.decode(),
            prometheus_client.generate_latest(metrics.registry).decode(),
        ]
    for text in scrapes:
        seen = Scrape(text)
        assert (seen("troupe_open"), seen("calls_total", "gpt-4o", "answered")) == (1, 1)
    after = Scrape(metrics.exposition_in_thread().body.decode())
    assert (after("troupe_open"), after("calls_total", "gpt-4o", "answered")) == (0, 1)


def test_threads_scrape_while_calls_run_and_the_troupe_is_closed():
    metrics = Metrics()
    seen, failures = [], []

    def scrape():
        try:
            while not done.is_set():
                seen.append(Scrape(metrics.exposition_in_thread().body.decode()))
        except BaseException as error:
            failures.append(error)
            raise

    done = threading.Event()
    threads = [threading.Thread(target=scrape) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(2):
        with sync.open_troupe(settings_for(Provider(), metrics=metrics)) as troupe:
            for number in range(10):
                troupe.complete(request(f"say {number}"))
    done.set()
    for thread in threads:
        thread.join()
    assert not failures
    counts = [each("calls_total", "gpt-4o", "answered") for each in seen]
    assert max(counts) <= 20
    assert {each("troupe_open") for each in seen} == {0, 1}


def test_an_asyncio_program_awaits_an_exposition_and_mounts_the_app():
    from starlette.applications import Starlette
    from starlette.routing import Mount, Route

    async def main():
        metrics = Metrics()
        app = Starlette(routes=[Route("/metrics", metrics.app), Mount("/below", metrics.app)])
        async with aio.open_troupe(settings_for(Provider(), metrics=metrics)) as troupe:
            await troupe.complete(request())
            own = (await metrics.exposition()).body.decode()
            transport = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
                route = await client.get("/metrics", headers={"Accept": "text/plain"})
                mounted = await client.get("/below/", headers={"Accept": OPENMETRICS})
        assert route.headers["content-type"].startswith("text/plain")
        assert mounted.headers["content-type"].startswith("application/openmetrics-text")
        for text in (own, route.text, mounted.text):
            seen = Scrape(text)
            assert (seen("troupe_open"), seen("calls_total", "gpt-4o", "answered")) == (1, 1)

    asyncio.run(main())


async def test_the_thread_of_the_troupe_is_not_blocked():
    metrics = Metrics()
    async with open_troupe(settings_for(Provider(), metrics=metrics)):
        with pytest.raises(RuntimeError, match="would block the thread of the troupe"):
            prometheus_client.generate_latest(metrics.registry)
