"""Encode a request: its head, and the framing of its body.

h11 could encode requests too, but checks each header of each request on its own. Here the names are
checked once and cached, and all values of a request are checked at once.
"""

import re
from functools import lru_cache
from typing import cast, final

import attrs
import httpx

from .pool import Origin

_PORTS = {"http": 80, "https": 443}
_NO_VALUE = "the value of a header contains a line break or another control character"

_TOKEN = re.compile(rb"[-!#$%&'*+.^_`|~0-9A-Za-z]+")  # RFC 9110, section 5.6.2
_TARGET = re.compile(rb"[\x21-\x7e]+")
_NOT_IN_A_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")  # a line break starts a header


@final
@attrs.define
class Outgoing:
    """A request that is ready to be sent.

    Args:
        method: such as ``b"POST"``.
        data: the head, and the body if it is in memory.
        pieces: the body if it is streamed; otherwise None.
        length: the body's Content-Length in bytes; None to send it in chunks.
        keeps_alive: whether the connection may be used again.
    """

    method: bytes
    data: bytes
    pieces: httpx.AsyncByteStream | None
    length: int | None
    keeps_alive: bool

    def take(self) -> bytes:
        """Return the data and drop them: they need not stay in memory until the response."""
        data, self.data = self.data, b""
        return data

    def frame(self, piece: bytes) -> bytes:
        """Return a piece of the body as it is sent.

        Args:
            piece: some bytes of the body.

        Raises:
            httpx.LocalProtocolError: the body is longer than its Content-Length.
        """
        if self.length is None:
            return b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b""
        self.length -= len(piece)
        if self.length < 0:
            raise httpx.LocalProtocolError("the body is longer than its Content-Length")
        return piece

    def end(self) -> bytes:
        """Return the bytes to send after the last piece.

        Raises:
            httpx.LocalProtocolError: the body is shorter than its Content-Length.
        """
        if self.length is None:
            return b"0\r\n\r\n"
        if self.length:
            raise httpx.LocalProtocolError("the body is shorter than its Content-Length")
        return b""


@final
@attrs.frozen
class RequestHead:
    """The start that many requests have in common: their head without the last headers.

    Args:
        origin: where the requests are sent.
        method: such as ``b"POST"``.
        start: the request line and the common headers.
        keeps_alive: whether the connection may be used again.
    """

    origin: Origin
    method: bytes
    start: bytes
    keeps_alive: bool

    @classmethod
    def of(cls, request: httpx.Request) -> "RequestHead":
        """Return the head of requests like this one.

        Args:
            request: a request without a body.

        Raises:
            httpx.TransportError: it is no valid HTTP request; no header's value is quoted (L8).
        """
        origin = origin_of(request.url)
        raw = [one for one in request.headers.raw if one[0].lower() != b"content-length"]
        length, keeps_alive = _framing(raw)
        if length is None:
            raise httpx.LocalProtocolError("a body in memory is not sent in chunks")
        method, start = _start(request, raw)
        return cls(origin, method, start, keeps_alive)

    def with_body(self, body: bytes, *headers: tuple[bytes, bytes]) -> Outgoing:
        """Return one of the requests.

        Args:
            body: the whole body.
            headers: names and values of further headers.

        Raises:
            httpx.LocalProtocolError: the value of a header is not valid.
        """
        lines = b"".join([b"%b: %b\r\n" % header for header in headers])
        if _NOT_IN_A_VALUE.search(b"".join([value for _, value in headers])):
            raise httpx.LocalProtocolError(_NO_VALUE)
        data = b"%b%bcontent-length: %d\r\n\r\n%b" % (self.start, lines, len(body), body)
        return Outgoing(self.method, data, None, len(body), self.keeps_alive)


def origin_of(url: httpx.URL) -> Origin:
    """Return scheme, host and port of a URL.

    Raises:
        httpx.UnsupportedProtocol: the URL is not one of HTTP.
    """
    scheme = url.scheme
    port = _PORTS.get(scheme)
    if port is None:
        raise httpx.UnsupportedProtocol(f"the URL must be one of http or https, not {scheme!r}")
    host = url.raw_host.decode("ascii")
    if not host:
        raise httpx.UnsupportedProtocol("the URL has no host")
    return (scheme, host, url.port or port)


def encode(request: httpx.Request) -> Outgoing:
    """Encode a request of httpx.

    Raises:
        httpx.LocalProtocolError: it is no valid HTTP request; no header's value is quoted (L8).
    """
    raw = request.headers.raw
    length, keeps_alive = _framing(raw)
    method, start = _start(request, raw)
    head = start + b"\r\n"
    stream = request.stream
    if not isinstance(stream, httpx.ByteStream):
        pieces = cast("httpx.AsyncByteStream", stream)
        return Outgoing(method, head, pieces, length, keeps_alive)
    outgoing = Outgoing(method, head, None, length, keeps_alive)
    body = b"".join(stream)
    outgoing.data = b"".join((head, outgoing.frame(body), outgoing.end()))
    return outgoing


def _start(request: httpx.Request, raw: list[tuple[bytes, bytes]]) -> tuple[bytes, bytes]:
    """Return the method, and the request line with the headers."""
    if _NOT_IN_A_VALUE.search(b"".join([value for _, value in raw])):
        raise httpx.LocalProtocolError(_NO_VALUE)
    method, target = request.method.encode(errors="replace"), request.url.raw_path
    if not _TOKEN.fullmatch(method) or method == b"CONNECT":
        raise httpx.LocalProtocolError(f"the method {request.method!r} is not supported")
    if not _TARGET.fullmatch(target):
        raise httpx.LocalProtocolError(
            "the URL's path or query contains characters that must be quoted"
        )
    lines = b"".join([b"%b: %b\r\n" % header for header in raw])
    return method, b"%b %b HTTP/1.1\r\n%b" % (method, target, lines)


def _framing(raw: list[tuple[bytes, bytes]]) -> tuple[int | None, bool]:
    """Return the body's length (None: it is sent in chunks), and whether the connection stays."""
    hosts, length, is_chunked, keeps_alive = 0, None, False, True
    for name, value in raw:
        lower = _lower(name)
        if lower == b"host":
            hosts += 1
        elif lower == b"content-length":
            if length is not None:
                raise httpx.LocalProtocolError("there are two Content-Length headers")
            length = _length(value)
        elif lower == b"transfer-encoding":
            if is_chunked or value.lower() != b"chunked":
                raise httpx.LocalProtocolError("Transfer-Encoding can only be chunked")
            is_chunked = True
        elif lower == b"connection":
            keeps_alive = b"close" not in value.lower()
    if hosts != 1:
        raise httpx.LocalProtocolError(f"there must be one Host header, not {hosts}")
    if is_chunked and length is not None:
        raise httpx.LocalProtocolError("give one of Content-Length and Transfer-Encoding")
    return (None if is_chunked else length or 0), keeps_alive


@lru_cache(maxsize=1024)
def _lower(name: bytes) -> bytes:
    if not _TOKEN.fullmatch(name):
        raise httpx.LocalProtocolError(f"{name[:100]!r} is not a valid name of a header")
    return name.lower()


def _length(value: bytes) -> int:
    if not (value.isdigit() and len(value) < 20):  # noqa: PLR2004  # fits in 64 bits
        raise httpx.LocalProtocolError("Content-Length is not a number")
    return int(value)
