"""One HTTP request to a provider and its answer: whole, or piece by piece."""

import os
import re
import ssl
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import Protocol, Self, cast

import attrs
import httpx
import trio

from .client import Way
from .endpoint import Endpoint, Timeouts
from .errors import (
    AuthenticationFailed,
    BadRequest,
    Billed,
    CallFailed,
    ConnectionFailed,
    MalformedAnswer,
    RateLimited,
)
from .messages import Delta, Request
from .refusal import classify, is_retried
from .retry import retry_after_s, should_retry
from .transport import ResponseBody, may_have_run
from .wire import (
    Answer,
    ApiError,
    BrokeOff,
    Malformed,
    SseParser,
    StreamFailed,
    WireFormat,
    dumps,
    loads,
)

__all__ = ["Exchange", "Exchanged", "Prepared", "Refusal"]

_MESSAGE_CHARS = 300  # of a provider's error text: enough to see what it is about
_MAX_ERROR_BYTES = 64 * 1024
_ERROR_S = 5.0  # for a body that says what went wrong
_MAX_ANSWER_BYTES = 256 * 1024 * 1024  # 2,048 embeddings of 3,072 floats are 130 MB
_TAKE = Callable[[Delta], Awaitable[None]]


@attrs.frozen
class Refusal(Exception):
    """One attempt failed.

    Args:
        error: what the caller gets if it was the last attempt.
        is_final: whether another attempt at the same target could only fail the same way.
        server_s: how long the provider asks one to wait, in seconds.
        throttled: the provider said "too fast", which concerns everybody.
        wants_whole: the server does not know how to stream; it may answer in one piece.
    """

    error: CallFailed
    is_final: bool = False
    server_s: float | None = None
    throttled: bool = False
    wants_whole: bool = False


@attrs.frozen(kw_only=True)
class Prepared:
    """A request as it goes over the wire: byte for byte the same at each attempt.

    Args:
        request: what is asked, of the target's own model.
        form: the wire format.
        url: where it goes.
        body: the JSON text.
        stream: whether the answer is asked for piece by piece.
    """

    request: Request
    form: WireFormat
    url: httpx.URL
    body: bytes
    stream: bool


@attrs.frozen
class Exchanged:
    """An answer, and how long it took.

    Args:
        answer: what the provider said.
        seconds: from the first byte sent to the last one received.
        first_byte_s: from the first byte sent to the first of the answer's body.
    """

    answer: Answer
    seconds: float
    first_byte_s: float | None


class _Closable(Protocol):
    async def aclose(self) -> None: ...


class Exchange:
    """Asks one endpoint once, and says what came of it. It retries nothing.

    Args:
        endpoint: whom to ask.
        way: takes the HTTP requests there.
        timeouts: how long the provider may be silent.

    Attributes:
        host: the endpoint's, for messages.
    """

    def __init__(self, endpoint: Endpoint, way: Way, timeouts: Timeouts) -> None:
        self.host = endpoint.host
        self._endpoint = endpoint
        self._way = way
        self._extensions = {
            "timeout": {
                "connect": timeouts.connect_s,
                "read": timeouts.first_byte_s,
                "between": timeouts.between_bytes_s,  # LeanTransport's
                "write": timeouts.write_s,
                "pool": None,  # the deadline counts the wait
            }
        }
        self._urls: dict[str, httpx.URL] = {}  # a URL takes longer to parse than to use
        headers = httpx.Headers(way.headers)
        for name, value in (
            ("host", self.host),
            ("content-type", "application/json"),
            ("accept-encoding", "identity"),  # nothing to unpack, piece by piece, for each call
        ):
            headers[name] = value
        self._headers = dict(headers)

    def prepare(self, request: Request, *, stream: bool) -> Prepared:
        """Write a request.

        Raises:
            BadRequest: the provider's format cannot say it.
        """
        try:
            form = self._endpoint.format_for(request)
            stream = stream and form.streams
            body = dumps(form.encode(request, stream=stream))
            address = self._endpoint.url(request, stream=stream)
        except (ValueError, TypeError) as error:
            raise BadRequest(f"nothing was sent: {error}") from None
        url = self._urls.get(address)
        if url is None:
            if len(self._urls) > 100:  # noqa: PLR2004  # Gemini's have the model in them
                self._urls.clear()
            url = self._urls[address] = httpx.URL(address)
        return Prepared(request=request, form=form, url=url, body=body, stream=stream)

    async def ask(
        self, prepared: Prepared, *, idempotency_key: str, attempt: int, take: _TAKE | None = None
    ) -> Exchanged:
        """Send a request and read the whole answer.

        Args:
            prepared: what to send.
            idempotency_key: the same for every attempt of one call.
            attempt: which one it is, for error texts.
            take: is given each piece of a streamed answer, and may wait.

        Raises:
            Refusal: there is no answer.
        """
        headers = self._headers | self._headers_with_key(attempt)
        headers["idempotency-key"] = idempotency_key
        headers["content-length"] = str(len(prepared.body))
        request = httpx.Request(
            "POST",
            prepared.url,
            headers=headers,
            stream=httpx.ByteStream(prepared.body),
            extensions=self._extensions,
        )
        start = trio.current_time()
        try:
            response = await self._way.send(request)
            try:
                if response.status_code != HTTPStatus.OK:
                    raise await self._refused(response, prepared, attempt)
                body = _Body(response, start)
                kind = response.headers.get("content-type", "")
                if prepared.stream and kind.startswith("text/event-stream"):
                    answer = await self._read_events(body, prepared, attempt, take)
                else:
                    answer = await self._read_whole(body, prepared, attempt)
            finally:
                await response.aclose()
        except httpx.HTTPStatusError as error:  # raised by a hook of the user's client
            raise await self._refused(error.response, prepared, attempt) from error
        except httpx.RequestError as error:
            raise self._no_response(error, attempt) from error
        return Exchanged(answer, trio.current_time() - start, body.first_byte_s)

    async def _read_events(
        self, body: "_Body", prepared: Prepared, attempt: int, take: _TAKE | None
    ) -> Answer:
        parser, decoder = SseParser(), prepared.form.stream_decoder(prepared.request)
        try:
            async with body:
                while not decoder.done:
                    piece = await body.read(_MAX_ANSWER_BYTES)
                    events = parser.feed(piece) if piece else parser.end()
                    for event in events:
                        deltas = decoder.feed(event)
                        if take is not None:
                            for delta in deltas:
                                await take(delta)
                    if not piece:
                        break
                else:
                    await body.skip()  # to its end, so that the connection can be used again
            return decoder.end()
        except StreamFailed as failed:
            raise self._failed_within(failed.error, attempt) from None
        except BrokeOff as error:
            text = f"{self.host} broke off in the middle of the answer: {error}"
            raise Refusal(ConnectionFailed(text, attempts=attempt, billed="maybe")) from None
        except ValueError as error:
            raise self._malformed(str(error), attempt) from None

    async def _read_whole(self, body: "_Body", prepared: Prepared, attempt: int) -> Answer:
        raw = b""
        try:
            raw = await body.read_all(_MAX_ANSWER_BYTES)
            answer = prepared.form.decode(loads(raw), prepared.request)
        except ValueError as error:
            is_telling = isinstance(error, Malformed | _TooLarge)
            raise self._malformed(
                str(error) if is_telling else f"it is {self._quote(body.kind(raw))}", attempt
            ) from None
        if isinstance(answer, ApiError):  # OpenRouter reports generation errors so
            raise self._failed_within(answer, attempt)
        return answer

    def _malformed(self, why: str, attempt: int) -> Refusal:
        text = f"{self.host} answered 200, but not with a completion: {self._quote(why)}"
        return Refusal(MalformedAnswer(text, attempts=attempt, billed="maybe"))

    def _failed_within(self, said: ApiError, attempt: int) -> Refusal:
        """An error that came with status 200: in the body, or in the middle of a stream."""
        kind, remedy = classify(HTTPStatus.OK, said)
        words = self._quote(said.message or said.type or said.code) or "no reason given"
        text = f"{self.host} answered with an error: {words}{remedy}"
        return Refusal(
            kind(text, attempts=attempt, billed="maybe"),
            is_final=not is_retried(kind, should_retry=None),
            server_s=retry_after_s({}, said.message, said.details),
            throttled=issubclass(kind, RateLimited),
        )

    async def _refused(self, response: httpx.Response, prepared: Prepared, attempt: int) -> Refusal:
        status, host = response.status_code, self.host
        said, instead = ApiError(), "no reason given"
        body, raw = _Body(response, 0.0), b""
        try:
            with trio.fail_after(_ERROR_S):  # what it says is not worth waiting for
                raw = await body.read_all(_MAX_ERROR_BYTES)
            said = prepared.form.decode_error(loads(raw))
        except ValueError:
            instead = f"no reason given, only {self._quote(body.kind(raw))}"
        except (httpx.RequestError, httpx.StreamError, trio.TooSlowError):
            instead = "no reason given, for it broke off"
        if response.has_redirect_location:
            instead = f"it redirects to {self._quote(response.headers['location'])}"
        kind, remedy = classify(status, said)
        retried = is_retried(kind, should_retry=should_retry(response.headers))
        if issubclass(kind, AuthenticationFailed):
            remedy += self._where_the_key_is
        wants_whole = (
            prepared.stream
            and issubclass(kind, BadRequest)
            and re.search(r"\bstream(ing|_options)?\b", said.message) is not None
        )
        return Refusal(
            kind(
                f"{host} answered {status}: {self._quote(said.message) or instead}{remedy}",
                attempts=attempt,
                status=status,
            ),
            is_final=not retried,
            server_s=retry_after_s(response.headers, said.message, said.details)
            if retried
            else None,
            throttled=issubclass(kind, RateLimited),
            wants_whole=wants_whole,
        )

    @property
    def _where_the_key_is(self) -> str:
        variables = self._endpoint.vendor.key_variables
        return f" ({variables[0]})" if variables else ""

    def _headers_with_key(self, attempt: int) -> dict[str, str]:
        """The headers that say who asks, with the key of the moment.

        Raises:
            Refusal: there is none.
        """
        try:
            return self._endpoint.auth_headers()
        except Exception as error:  # noqa: BLE001  # a function of the user's may raise anything
            # Its type only: its text may have the key in it (L8).
            text = f"nothing was sent: api_key gave no key ({type(error).__name__})"
            raise Refusal(AuthenticationFailed(text, attempts=attempt), is_final=True) from None

    def _no_response(self, error: httpx.RequestError, attempt: int) -> Refusal:
        host, name = self.host, type(error).__name__
        words = self._quote(str(error)) or name
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout):
            cause = _root(error)
            why = self._quote(_words_of(cause))
            text = f"cannot connect to {host} ({why}); is the address right, the server up?"
            is_final = isinstance(cause, ssl.SSLCertVerificationError)
            return Refusal(ConnectionFailed(text, attempts=attempt), is_final=is_final)
        if isinstance(error, httpx.UnsupportedProtocol | httpx.ProxyError):
            text = f"cannot reach {host}: {words}"
            return Refusal(ConnectionFailed(text, attempts=attempt), is_final=True)
        # The provider may work, and charge, for what was sent whole (L3).
        text = f"{host} broke off without a whole answer ({words})"
        billed: Billed = "maybe" if may_have_run(error) else "no"
        return Refusal(ConnectionFailed(text, attempts=attempt, billed=billed))

    def _quote(self, words: str) -> str:
        """What a provider said, on one line, not too long, and without the key (L8)."""
        line = self._endpoint.scrub(" ".join(words.split()))
        return line if len(line) <= _MESSAGE_CHARS else f"{line[:_MESSAGE_CHARS]}..."


class _TooLarge(ValueError):
    """A body has more bytes than it may; its text says so."""


class _Body:
    """The bytes of an answer: unpacked, bounded, and ended when nobody reads on.

    httpx reads bodies through async generators, and Trio reports one that is left suspended; so
    this is a context that ends it.

    Args:
        response: whose body it is.
        start: when the request was sent, on Trio's clock.
    """

    def __init__(self, response: httpx.Response, start: float) -> None:
        self._response = response
        self._pieces: AsyncIterator[bytes] = aiter(cast("httpx.AsyncByteStream", response.stream))
        self._unpack = _unpacker(response.headers)
        self._size = 0
        self._start = start
        self.first_byte_s: float | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        close = getattr(self._pieces, "aclose", None)
        if close is not None:
            await cast("_Closable", self._pieces).aclose()

    async def read(self, most: int) -> bytes:
        """The next bytes; none at the end.

        Raises:
            _TooLarge: there are more than `most`, unpacked.
            ValueError: they are not packed as the header says.
        """
        async for piece in self._pieces:
            if self.first_byte_s is None:
                self.first_byte_s = trio.current_time() - self._start
            data = piece if self._unpack is None else self._unpack(piece, most - self._size + 1)
            self._size += len(data)
            if self._size > most:
                raise _TooLarge(f"it is longer than {most:,} bytes")
            if data:
                return data
        return b""

    async def read_all(self, most: int) -> bytes:
        """All of it; raises as `read` does."""
        async with self:
            pieces: list[bytes] = []
            while piece := await self.read(most):
                pieces.append(piece)
        return b"".join(pieces)

    async def skip(self) -> None:
        """Read on to the end, which is expected at once; whatever else comes is nobody's."""
        stream = self._response.stream
        if isinstance(stream, ResponseBody) and stream.is_all:
            return
        with suppress(httpx.RequestError), trio.move_on_after(_END_S):
            async for _ in self._pieces:
                pass

    def kind(self, raw: bytes) -> str:
        """What the body is, for somebody who expected JSON."""
        kind = self._response.headers.get("content-type", "").partition(";")[0].strip()
        start = raw[:200].lstrip().lower()
        if "html" in kind or start.startswith((b"<!doctype", b"<html")):
            return "a web page (HTML); is this the base URL of an API?"
        if not raw:
            return "an empty body" if not self._size else "more than it may be"
        return f"{kind or 'something'} that is not whole JSON"


_END_S = 1.0  # after the last event nothing is worth waiting for, but a connection is


def _unpacker(headers: Mapping[str, str]) -> Callable[[bytes, int], bytes] | None:
    """How a body is unpacked, if the server packed it although it was asked not to."""
    encoding = headers.get("content-encoding", "").strip().lower()
    if encoding in ("", "identity"):
        return None
    if encoding not in ("gzip", "x-gzip", "deflate"):
        return partial(_cannot_unpack, encoding)
    packed = zlib.decompressobj(wbits=47)  # 32 + 15: gzip or zlib, as its head says

    def unpack(piece: bytes, most: int) -> bytes:
        try:
            return packed.decompress(piece, max(1, most))  # no bomb goes off beyond the bound
        except zlib.error as error:
            raise Malformed(f"it is not the {encoding} that it says ({error})") from None

    return unpack


def _cannot_unpack(encoding: str, _: bytes, __: int) -> bytes:
    raise Malformed(f"it is packed with {encoding!r:.40}, which was not asked for")


def _root(error: BaseException) -> BaseException:
    """What is at the bottom of what Trio and httpx wrapped around it."""
    below = error.__cause__ or error.__context__
    if isinstance(below, BaseExceptionGroup):
        below = cast("BaseExceptionGroup[BaseException]", below).exceptions[0]
    return error if below is None else _root(below)


def _words_of(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror and not isinstance(error, ssl.SSLError):
        return os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
    return str(error) or type(error).__name__
