"""One request as the app sees it: the body within its bounds, the response, and the disconnect."""

import logging
import re
from collections.abc import Awaitable, Callable, Generator, MutableMapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from http import HTTPStatus
from typing import Final, Protocol, final

import trio
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Scope

from .limits import ServingLimits
from .proxies import ForgedProxyHeaders, TrustedProxies

LOG = logging.getLogger("callsheet.serving")
_SLICE: Final = 16 * 1024
_MAX_UNREAD: Final = 256 * 1024  # bytes of a body that wait for the app before no more are taken
_HEADER_EXTRA: Final = len(b": \r\n")
_NAME: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_NOT_IN_VALUES: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_VERSIONS: Final = ("1.0", "1.1", "2")
_DISCONNECT: Final = "http.disconnect"


class ClientConnection(Protocol):
    """What a request needs of its connection.

    Attributes:
        is_holding: whether what is to be sent waits, so that it is sent with what follows it.
    """

    is_holding: bool

    async def flush(self) -> None:
        """Send what waits for what follows it."""
        ...

    @property
    def is_draining(self) -> bool:
        """Whether the connection ends after its running requests."""
        ...

    def cut(self) -> None:
        """Close the connection at once."""


class BadHeader(ValueError):
    """The app has sent a header that no header may be; nothing of it was sent."""


@final
class ServedRequest:
    """A request that is being served.

    Hypercorn puts the parts of the body and the disconnect in, the app receives them; the app sends
    the response, which Hypercorn writes.

    Args:
        scope: the ASGI scope, which the app gets as well.
        send: sends to Hypercorn; None says that the app has returned.
        connection: the connection of its client.
        limits: the bounds on clients.
        proxies: the proxies that name the true client.
        resume: called when the app has read some of the body, to let more of it come; None if it
            comes by itself.
    """

    def __init__(
        self,
        scope: MutableMapping[str, object],
        send: Callable[[Message | None], Awaitable[None]],
        *,
        connection: ClientConnection,
        limits: ServingLimits,
        proxies: TrustedProxies,
        resume: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._resume = resume
        self._scope: Scope = scope
        self._send = send
        self._connection = connection
        self._limits = limits
        self._proxies = proxies
        self._is_http2 = scope["http_version"] == "2"

        self._chunks: list[bytes] = []  # of the body, not yet received by the app
        self._unread = 0
        self._length = 0  # of what came
        self._is_complete = False
        self._is_handed_over = False  # the app has received the end of the body
        self._waited_s = 0.0  # by the app, for its body
        self._refusal: tuple[HTTPStatus, str] | None = None  # not yet sent

        self._is_gone = False
        self._is_started = False
        self._is_over = False  # the response is complete, or the app has returned
        self._changed = trio.lowlevel.ParkingLot()
        self._work: trio.CancelScope | None = None  # ends when the client goes away

    def __repr__(self) -> str:
        return f"<ServedRequest {self._scope['method']} {self._length} bytes of body>"

    @property
    def is_complete(self) -> bool:
        """Whether the whole body has come."""
        return self._is_complete

    # ------------------------------------------------------------------ Hypercorn's side

    async def put(self, message: Message) -> None:
        """Take a message for the app. It waits while the app reads its body slower than it comes.

        Args:
            message: a part of the body, or the disconnect.
        """
        if message["type"] == _DISCONNECT:
            self.leave()
            return
        body: bytes = message["body"]
        self._length += len(body)
        self._is_complete = not message["more_body"]
        if self._is_over or self._refusal is not None:
            return
        if self._length > self._limits.max_body_bytes:
            self._refuse_later(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, self._too_large())
            return
        if body:
            self._chunks.append(body)
            self._unread += len(body)
        self._changed.unpark_all()
        while self._is_held_up():
            await self._changed.park()

    def _is_held_up(self) -> bool:
        """Whether the client may send no more yet; windows of HTTP/2 do so for each stream."""
        is_wanted = not (self._is_http2 or self._is_over or self._is_gone)
        return is_wanted and self._unread > _MAX_UNREAD

    def leave(self) -> None:
        """Tell the app that the client is gone."""
        self._is_gone = True
        self._changed.unpark_all()
        if self._work is not None:
            self._work.cancel()

    # ------------------------------------------------------------------------ its course

    async def run(self, app: ASGIApp) -> None:
        """Let the app answer, unless the head is refused.

        Args:
            app: the ASGI app.
        """
        try:
            refusal = self._check_head()
            if refusal is not None:
                await self._refuse(*refusal)
            else:
                await app(self._scope, self.receive, self.send)
        except ClientDisconnect:
            if not self._is_gone:
                LOG.exception("the app failed at %s", self._scope["method"])
        except Exception:
            LOG.exception("the app failed at %s %r", self._scope["method"], self._scope["path"])
        finally:
            self._is_over = True
            self._chunks.clear()
            self._changed.unpark_all()
        try:
            await self._connection.flush()
            await self._pass_on(None)
        finally:
            self._send = _send_nothing  # else the request and Hypercorn's stream are a cycle

    def _check_head(self) -> tuple[HTTPStatus, str] | None:
        """Return why the request is refused before its body comes, if it is."""
        if self._scope["http_version"] not in _VERSIONS:
            return HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "use HTTP/1.1 or HTTP/2"
        headers: list[tuple[bytes, bytes]] = self._scope["headers"]
        path = len(self._scope["raw_path"]) + len(self._scope["query_string"])
        size = path + sum(len(name) + len(value) + _HEADER_EXTRA for name, value in headers)
        if size > self._limits.max_header_bytes:
            status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            return status, f"the head is larger than {self._limits.max_header_bytes} bytes"
        lengths = [value for name, value in headers if name == b"content-length"]
        if lengths and any(name == b"transfer-encoding" for name, _ in headers):
            return HTTPStatus.BAD_REQUEST, "the length of the body is given in two ways"
        if lengths and int(lengths[0]) > self._limits.max_body_bytes:
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE, self._too_large()
        try:
            client = self._proxies.client(self._scope["client"], headers)
        except ForgedProxyHeaders as error:
            return HTTPStatus.BAD_REQUEST, str(error)
        if client is not None:
            self._scope["client"] = (client.host, client.port)
            self._scope["scheme"] = client.scheme or self._scope["scheme"]
        return None

    def _too_large(self) -> str:
        return f"the body is larger than {self._limits.max_body_bytes} bytes"

    # ----------------------------------------------------------------------- the app's side

    async def receive(self) -> Message:
        """Return the next part of the body, and after its end the disconnect.

        A body that comes too slowly or is too large is refused here; the app gets a disconnect.
        """
        while True:
            if self._refusal is not None:
                await self._refuse(*self._refusal)
            elif self._chunks or (self._is_complete and not self._is_handed_over):
                part = self._next_part()
                if self._resume is not None:
                    with trio.CancelScope(shield=True):  # or else the part would be lost
                        await self._resume()
                return part
            if self._is_gone or self._is_over:
                await trio.lowlevel.checkpoint()
                return {"type": _DISCONNECT}
            if self._is_handed_over:
                await self._changed.park()
            else:
                await self._wait_for_body()

    def _next_part(self) -> Message:
        body = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self._unread = 0
        self._is_handed_over = self._is_complete
        self._changed.unpark_all()
        return {"type": "http.request", "body": body, "more_body": not self._is_complete}

    async def _wait_for_body(self) -> None:
        limits, began = self._limits, trio.current_time()
        patience_s = limits.header_timeout_s + self._length / limits.min_body_rate
        patience_s = min(patience_s, limits.body_timeout_s) - self._waited_s
        with trio.move_on_after(max(0.0, patience_s)) as scope:
            await self._changed.park()
        self._waited_s += trio.current_time() - began
        if scope.cancelled_caught and not (self._chunks or self._is_complete or self._is_gone):
            self._refuse_later(HTTPStatus.REQUEST_TIMEOUT, "the body came too slowly")

    @property
    def has_read(self) -> bool:
        """Whether the app has received the whole body, and so waits for nothing but the end."""
        return self._is_handed_over

    @contextmanager
    def cancelled_when_gone(self) -> Generator[trio.CancelScope]:
        """Cancel the block when the client goes away. Only one block of a request can be open."""
        with trio.CancelScope() as scope:
            if self._is_gone:
                scope.cancel()
            self._work = scope
            try:
                yield scope
            finally:
                self._work = None

    async def send(self, message: Message) -> None:
        """Send a part of the response. Nothing is sent to a client that is gone or was refused.

        Args:
            message: the start, or a part of the body.

        Raises:
            BadHeader: a header has a line break, or another character that none may have.
        """
        if self._is_over:
            await trio.lowlevel.checkpoint()
            return
        if message["type"] == "http.response.start":
            message = self._start(message)
            # The head of a whole response goes out with its body, in one segment.
            is_whole = any(name.lower() == b"content-length" for name, _ in message["headers"])
            await self._pass_on_held(message, is_held=is_whole)
            self._is_started = True
            return
        body: bytes = message.get("body", b"")
        if self._is_http2 and len(body) > _SLICE:  # each part has its time limit
            whole = range(0, len(body) - _SLICE, _SLICE)
            for start in whole:
                part = body[start : start + _SLICE]
                await self._pass_on({**message, "body": part, "more_body": True})
            message = {**message, "body": body[len(whole) * _SLICE :]}
        is_last = message["type"] == "http.response.body" and not message.get("more_body", False)
        await self._pass_on_held(message, is_held=is_last)  # with the mark of the end
        if is_last:
            await self._connection.flush()
            self._is_over = True
            self._changed.unpark_all()

    def _start(self, message: Message) -> Message:
        headers = [(bytes(name), bytes(value)) for name, value in message.get("headers", ())]
        check_headers(headers)
        if self._connection.is_draining and not self._is_http2:
            headers = [pair for pair in headers if pair[0].lower() != b"connection"]
            headers.append((b"connection", b"close"))
        return {**message, "headers": headers}

    async def _pass_on_held(self, message: Message, *, is_held: bool) -> None:
        """Send to Hypercorn; what it writes then waits on the connection, if it is held."""
        is_held = is_held and not self._is_http2  # others use the connection as well
        if is_held:
            self._connection.is_holding = True
        try:
            await self._pass_on(message)
        finally:
            if is_held:
                self._connection.is_holding = False

    async def _pass_on(self, message: Message | None) -> None:
        """Send to Hypercorn. A client of HTTP/2 that opens no window counts as gone."""
        if not self._is_http2 or message is None:  # the transport has a deadline
            await self._send(message)
        elif self._is_gone:
            await trio.lowlevel.checkpoint()
        else:
            with trio.move_on_after(self._limits.write_timeout_s) as scope:
                await self._send(message)
            if scope.cancelled_caught:
                self.leave()  # the stream is reset when the app has returned

    # -------------------------------------------------------------------------------- refusals

    def _refuse_later(self, status: HTTPStatus, reason: str) -> None:
        """Refuse the request when the app receives next; the rest of the body is dropped."""
        self._refusal = (status, reason)
        self._chunks.clear()
        self._unread = 0
        self._changed.unpark_all()

    async def _refuse(self, status: HTTPStatus, reason: str) -> None:
        """Answer in the place of the app."""
        self._refusal = None
        if self._is_started:
            self._connection.cut()
        else:
            body = f"{reason}\n".encode()
            headers = [
                (b"content-type", b"text/plain; charset=utf-8"),
                (b"content-length", b"%d" % len(body)),
            ]
            if not self._is_http2:
                headers.append((b"connection", b"close"))
            await self._pass_on(
                {"type": "http.response.start", "status": int(status), "headers": headers}
            )
            await self._pass_on({"type": "http.response.body", "body": body})
        self._is_over = True
        self._is_gone = True  # for the app


async def _send_nothing(_: Message | None) -> None:
    """Take what is sent after the end of a request."""


def check_headers(headers: Sequence[tuple[bytes, bytes]]) -> None:
    """Check the headers of a response.

    Args:
        headers: names and values.

    Raises:
        BadHeader: a name is no token, or a value has a line break or another control character.
    """
    for name, _ in headers:
        if not _is_token(name):
            raise BadHeader(f"the name of a header of the response is no token: {name!r:.60}")
    if _NOT_IN_VALUES.search(b"".join([value for _, value in headers])) is None:  # nearly always
        return
    for name, value in headers:
        if _NOT_IN_VALUES.search(value):
            raise BadHeader(f"the header {name.decode()} has a control character: {value!r:.60}")


@lru_cache(256)
def _is_token(name: bytes) -> bool:
    return _NAME.fullmatch(name) is not None
