"""An app for tests of the server, and clients that write bytes as they like."""

from contextlib import asynccontextmanager
from functools import partial

import trio
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route

from callsheet.serving import Gone, Listen, call_until_gone, serve

LOOPBACK = Listen("127.0.0.1", 0)
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


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
        async def pieces():
            try:
                while True:
                    yield b"x" * 100_000
            finally:
                self.gone.append(trio.current_time())

        return StreamingResponse(pieces())

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


async def all_gone(server, app=None):
    """Wait until no client is connected and no handler runs."""
    with trio.fail_after(5):
        while server.statistics().connections or (app is not None and app.running):  # noqa: ASYNC110  # no event says so
            await trio.sleep(0.01)
    assert server.statistics().requests == 0
