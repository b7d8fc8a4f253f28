"""The provider without a socket: an httpx transport for tests under Trio's virtual clock."""

import math
from collections.abc import AsyncIterator, Generator
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from types import TracebackType
from typing import Self, cast

import httpx
import trio
from starlette.types import Message, Scope

from .app import Provider
from .sending import RESET

_CLIENT = ("127.0.0.1", 1)


class ProviderTransport(httpx.AsyncBaseTransport):
    """Passes requests to a provider in this process, and streams its responses back.

    The provider's side of every request runs in a nursery of the transport, so enter the transport
    before its clients (R1); a client may enter it again:

        async with ProviderTransport(provider) as transport:
            client = httpx.AsyncClient(transport=transport, base_url="http://provider/v1")

    Faults raise what they raise with a socket: a reset `httpx.ReadError`, an incomplete body
    `httpx.RemoteProtocolError`, a stall `httpx.ReadTimeout` after the client's read timeout.

    Args:
        provider: the provider that serves the requests.
    """

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._manager: AbstractAsyncContextManager[trio.Nursery, bool | None] = trio.open_nursery()
        self._nursery: trio.Nursery | None = None
        self._entered = 0

    async def __aenter__(self) -> Self:
        self._entered += 1
        if self._entered == 1:
            self._manager = trio.open_nursery()
            self._nursery = await self._manager.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self._entered -= 1
        if self._entered or self._nursery is None:
            return
        self._nursery.cancel_scope.cancel()
        self._nursery = None
        if _is_cancelled(exc_value):
            await self._manager.__aexit__(exc_type, exc_value, traceback)
        else:
            # The nursery does not see the caller's exception, which it would wrap in a group.
            await self._manager.__aexit__(None, None, None)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and wait for the head of the response."""
        if self._nursery is None:
            raise RuntimeError("enter the transport first: async with ProviderTransport(...)")
        body = await request.aread()
        exchange = _InProcessExchange(request, body)
        self._nursery.start_soon(exchange.run, self._provider)
        try:
            return await exchange.response()
        except BaseException:
            exchange.hang_up()
            raise


class _InProcessExchange:
    """One request to the app, with the ends of both the app and the client."""

    def __init__(self, request: httpx.Request, body: bytes) -> None:
        self._request = request
        self._body: bytes | None = body
        timeouts = cast("dict[str, float | None]", request.extensions.get("timeout", {}))
        read = timeouts.get("read")
        self._read_timeout = math.inf if read is None else read
        self._hung_up = trio.Event()
        self._reset = False
        self._started = trio.Event()
        self._status = 0
        self._headers: list[tuple[bytes, bytes]] = []
        self._complete = False
        # Unbuffered, so that the app sends only as fast as the client reads.
        self._to_client, self._from_app = trio.open_memory_channel[bytes](0)

    # The app's end

    async def run(self, provider: Provider) -> None:
        """Run the app for this request."""
        url = self._request.url
        scope: Scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": self._request.method,
            "scheme": url.scheme,
            "path": url.path,
            "raw_path": url.raw_path.partition(b"?")[0],
            "query_string": url.query,
            "root_path": "",
            "headers": [(name.lower(), value) for name, value in self._request.headers.raw],
            "client": _CLIENT,
            "server": (url.host, url.port),
            "extensions": {RESET: self._drop},
        }
        with self._to_client:
            await provider(scope, self._receive, self._send)
        self._started.set()

    async def _receive(self) -> Message:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._hung_up.wait()
        return {"type": "http.disconnect"}

    async def _send(self, event: Message) -> None:
        if event["type"] == "http.response.start":
            self._status = cast("int", event["status"])
            self._headers = cast("list[tuple[bytes, bytes]]", event["headers"])
            self._started.set()
            return
        self._complete = not event.get("more_body", False)
        if body := cast("bytes", event.get("body", b"")):
            # After the client disconnected, data is lost, as with a socket.
            with suppress(trio.BrokenResourceError):
                await self._to_client.send(body)

    def _drop(self) -> None:
        self._reset = True

    # The client's end

    async def response(self) -> httpx.Response:
        """Wait for the head of the response."""
        with self._reading():
            await self._started.wait()
        if self._reset:
            raise httpx.ReadError("connection reset by peer", request=self._request)
        if not self._status:
            raise httpx.RemoteProtocolError(
                "Server disconnected without sending a response.", request=self._request
            )
        return httpx.Response(
            self._status, headers=self._headers, stream=_BodyStream(self), request=self._request
        )

    async def piece(self) -> bytes | None:
        """Return the next piece of the body; None after the last one."""
        try:
            with self._reading():
                return await self._from_app.receive()
        except trio.EndOfChannel:
            if self._complete:
                return None
        if self._reset:
            raise httpx.ReadError("connection reset by peer", request=self._request)
        raise httpx.RemoteProtocolError(
            "peer closed connection without sending complete message body", request=self._request
        )

    def hang_up(self) -> None:
        """Close the connection."""
        self._hung_up.set()
        self._from_app.close()

    @contextmanager
    def _reading(self) -> Generator[None]:
        try:
            with trio.fail_after(self._read_timeout):
                yield
        except trio.TooSlowError:
            raise httpx.ReadTimeout("timed out", request=self._request) from None


class _BodyStream(httpx.AsyncByteStream):
    """The body of one response."""

    def __init__(self, exchange: _InProcessExchange) -> None:
        self._exchange = exchange

    # Not a generator, which only the garbage collector would close if iteration stops early.
    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        piece = await self._exchange.piece()
        if piece is None:
            raise StopAsyncIteration
        return piece

    async def aclose(self) -> None:
        self._exchange.hang_up()


def _is_cancelled(error: BaseException | None) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return any(map(_is_cancelled, cast("BaseExceptionGroup[BaseException]", error).exceptions))
    return isinstance(error, trio.Cancelled)
