"""An app for tests of the server, and clients that write bytes as they like."""

from contextlib import asynccontextmanager, suppress
from functools import partial

import trio
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route
from trio.testing import memory_stream_pair

from callsheet.serving import (
    Gone,
    Listen,
    ServingLimits,
    TrustedProxies,
    call_until_gone,
    serve,
)
from callsheet.serving.connection import ServedConnection, Service
from callsheet.serving.protocols import ServerConfig
from callsheet.serving.transport import ClientStream

LOOPBACK = Listen("127.0.0.1", 0)
NO_PROXIES = TrustedProxies()
USUAL = ServingLimits()
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Endless:
    """A response without end, for as long as its client is there.

    The iterator of a `StreamingResponse` is not closed if its client goes away during a send.
    """

    async def __call__(self, scope, receive, send):
        async def pieces():
            await send({"type": "http.response.start", "status": 200, "headers": []})
            while True:
                await send(
                    {"type": "http.response.body", "body": b"x" * 100_000, "more_body": True}
                )
                await trio.sleep(0.01)

        with suppress(Gone):
            await call_until_gone(receive, pieces)


class App:
    """An app that records when its handlers begin and end."""

    def __init__(self):
        self.begun = 0
        self.gone = []  # when
        self.ended = 0
        self.starlette = Starlette(
            routes=[
                Route("/", self.echo, methods=["GET", "POST"]),
                Route("/wait", self.wait, methods=["GET", "POST"]),
                Route("/endless", self.endless),
                Route("/large", self.large),
                Route("/unread", self.unread, methods=["POST"]),
                Route("/headers", self.headers),
                Route("/crash", self.crash),
            ]
        )

    async def __call__(self, scope, receive, send):
        self.begun += 1
        try:
            await self.starlette(scope, receive, send)
        finally:
            self.ended += 1
            if scope["path"] == "/endless":
                self.gone.append(trio.current_time())

    @property
    def running(self):
        return self.begun - self.ended

    async def echo(self, request):
        body = await request.body()
        client = request.client and request.client.host
        return JSONResponse({"bytes": len(body), "client": client, "scheme": request.url.scheme})

    async def wait(self, request):
        await request.body()
        seconds = float(request.query_params.get("s", "60"))
        try:
            await call_until_gone(request.receive, partial(trio.sleep, seconds))
        except Gone:
            self.gone.append(trio.current_time())
            raise
        return PlainTextResponse("done")

    async def endless(self, request):
        return Endless()

    async def large(self, request):
        return PlainTextResponse("x" * int(request.query_params["n"]))

    async def unread(self, request):
        return PlainTextResponse("not read")

    async def headers(self, request):
        response = PlainTextResponse("")
        for value in request.query_params.getlist("value"):
            response.raw_headers.append((b"x-value", value.encode("latin-1")))
        return response

    async def crash(self, request):
        async def pieces():
            yield b"begun"
            raise ValueError("half-way")

        if "stream" in request.query_params:
            return StreamingResponse(pieces())
        raise ValueError("at once")


class Talk:
    """A client that is connected without a socket, on the virtual clock."""

    def __init__(self, app, limits, proxies=NO_PROXIES):
        config = ServerConfig(max_header_bytes=limits.max_header_bytes)
        self.service = Service(app, limits, proxies, config)
        self.stream, stream = memory_stream_pair()
        reset = partial(reset_pair, self.stream, stream)
        self.transport = ClientStream(stream, reset, linger_s=limits.linger_s)
        peers = {"peer": ("10.0.0.9", 4711), "own": ("10.0.0.1", 80)}
        self.connection = ServedConnection(self.service, self.transport, self.transport, **peers)
        self.ended_at = None

    async def run(self):
        await self.connection.run()
        self.ended_at = trio.current_time()
        assert self.connection.requests == 0

    async def send(self, data, every_s=0):
        """Send bytes, at once or one by one."""
        for part in [data] if not every_s else [data[i : i + 1] for i in range(len(data))]:
            await trio.sleep(every_s)
            await self.stream.send_all(part)

    async def read(self):
        """Return what comes next."""
        return await self.stream.receive_some()

    async def answer(self, data):
        """Send a request, and return its response."""
        await self.send(data)
        received = await self.read()
        while not received.endswith(b"}") and b"content-length: 0" not in received:
            received += await self.read()
        return received

    async def read_all(self):
        return await read_all(self.stream)


def reset_pair(*streams):
    for stream in streams:
        stream.send_stream.close()
        stream.receive_stream.close()


@asynccontextmanager
async def talking(app, limits=USUAL, **options):
    """Serve one client; at the end, check that it has ended by itself."""
    talk = Talk(app, limits, **options)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(talk.run)
        yield talk


@asynccontextmanager
async def serving(app, listen=LOOPBACK, **options):
    """Serve an app; at the end, check that nothing of it is left."""
    async with trio.open_nursery() as nursery:
        server = await nursery.start(partial(serve, app, listen, **options))
        yield server
        nursery.cancel_scope.cancel()
    assert server.statistics().connections == 0


async def connect(server):
    return await trio.open_tcp_stream("127.0.0.1", server.listen.port)


async def read_all(stream):
    received = b""
    try:
        while data := await stream.receive_some():
            received += data
    except trio.BrokenResourceError:
        received += b"[reset]"
    return received


async def exchange(server, data):
    """Send bytes, and return what comes until the end."""
    async with await connect(server) as stream:
        await stream.send_all(data)
        return await read_all(stream)


async def all_gone(server, app=None, within_s=9):
    """Wait until no client is connected and no handler runs."""
    await until(lambda: not server.statistics().connections and not (app and app.running), within_s)
    assert server.statistics().requests == 0


async def until(condition, within_s=9):
    """Wait until something is true that has no event."""
    with trio.fail_after(within_s):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.002)
