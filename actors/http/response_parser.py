"""Parse responses from the bytes that a server sends, with llhttp (through httptools). Pure (R14).

h11 takes 25 times as long for a response in chunks, which is more than all the actors together take
for a call. llhttp is the parser of Node.js.
"""

from typing import final

import attrs
import httptools

_MAX_INFORMATIONAL = 100  # responses like "102 Processing" before the final one
_SWITCHING = 101
_OK = 200  # below this a response is informational
_VERSIONS = ("1.1", "1.0")  # llhttp also accepts others
_TRANSFER_ENCODING = b"transfer-encoding"
_FRAMING = (_TRANSFER_ENCODING, b"content-length")


class ProtocolError(ValueError):
    """The bytes are no whole response in HTTP/1.1; the text quotes none of them."""


@final
@attrs.frozen
class Head:
    """The head of a response.

    Args:
        status: the HTTP status.
        reason: the reason phrase.
        version: the version of HTTP, "1.1" or "1.0".
        headers: names and values, as they arrived.
    """

    status: int
    reason: bytes
    version: str
    headers: list[tuple[bytes, bytes]]

    @property
    def is_framed(self) -> bool:
        """Whether it states where the body ends; otherwise the body ends with the connection."""
        return any(name.lower() in _FRAMING for name, _ in self.headers)


@final
class ResponseParser:
    """Parse the responses on one connection, one after another.

    Args:
        max_header_bytes: the bound on the head of a response, and on the trailers, in bytes.

    Attributes:
        head: the head of the response; None until it is whole. Informational responses are skipped.
        is_complete: whether the response has ended.
        keeps_alive: whether another response may follow: the server keeps the connection open, and
            has sent nothing beyond this response.
    """

    def __init__(self, max_header_bytes: int) -> None:
        self._max = max_header_bytes
        self._parser = self._new_parser()
        self._is_closed = False
        self._is_used_up = False  # it waits for a body that a response to HEAD does not have
        self._pieces: list[bytes] = []
        self.begin(b"")

    def begin(self, method: bytes) -> None:
        """Prepare for the response to a request; the previous one must be complete.

        Args:
            method: the request's method; a response to ``b"HEAD"`` has no body.
        """
        if self._is_used_up:
            self._parser = self._new_parser()
            self._is_used_up = False
        self._is_head = method == b"HEAD"
        self._informational = 0
        self._unread = 0  # bytes received that are not yet part of a head or body
        self.head: Head | None = None
        self.is_complete = False
        self.keeps_alive = False

    def feed(self, data: bytes | bytearray) -> None:
        """Parse some bytes.

        Args:
            data: what the server has sent.

        Raises:
            ProtocolError: they are no response.
        """
        if self._is_closed:
            raise ProtocolError("the connection is closed")
        self._unread += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            raise ProtocolError("the server switches to another protocol") from None
        except httptools.HttpParserError as error:
            if self.is_complete:  # bytes beyond the response
                self.keeps_alive = False
                return
            if isinstance(error.__context__, ProtocolError):  # raised by a callback below
                raise error.__context__ from None
            raise ProtocolError(str(error)) from None
        if self._unread > self._max and not self.is_complete:
            raise self._too_long

    def end(self) -> None:
        """Note that the server has closed the connection.

        Raises:
            ProtocolError: the response has not ended.
        """
        if self.is_complete:
            return
        if self.head is None or self.head.is_framed:
            raise ProtocolError("the connection was closed in the middle of a response")
        self.is_complete = True

    def close(self) -> None:
        """Let go of llhttp, after the last response; nothing more can be fed."""
        if not self._is_closed:
            self._is_closed = True
            del self._parser  # it calls this object, so that the two are a reference cycle

    def take(self) -> bytes:
        """Return what has arrived of the body since the last call."""
        pieces = self._pieces
        if len(pieces) == 1:
            return pieces.pop()
        body = b"".join(pieces)
        pieces.clear()
        return body

    # ---------------------------------------------------------------- callbacks of llhttp

    def on_message_begin(self) -> None:
        """A response begins."""
        self.keeps_alive = False  # after a complete response, this one was not requested
        self._reason = b""
        self._headers: list[tuple[bytes, bytes]] = []

    def on_status(self, reason: bytes) -> None:
        """A piece of the reason phrase."""
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header or a trailer."""
        if self.head is None:
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The head, or the trailers, are whole."""
        unread, self._unread = self._unread, 0
        if self.head is not None:
            return
        self._check_headers(unread)
        status, version = self._parser.get_status_code(), self._parser.get_http_version()
        if version not in _VERSIONS:
            raise ProtocolError(f"the version is HTTP/{version}")
        if status < _OK:
            self._skip_informational(status)
            return
        self.head = Head(status, self._reason, version, self._headers)
        if self._is_head:
            self.is_complete = self._is_used_up = True
            self.keeps_alive = self._parser.should_keep_alive()

    def on_body(self, piece: bytes) -> None:
        """A piece of the body."""
        self._unread = 0
        if self.is_complete:
            self.keeps_alive = False
        else:
            self._pieces.append(piece)

    def on_message_complete(self) -> None:
        """A response has ended."""
        if self.head is not None and not self.is_complete:
            self.is_complete = True
            self.keeps_alive = self._parser.should_keep_alive()

    # ----------------------------------------------------------------

    def _new_parser(self) -> httptools.HttpResponseParser:
        parser = httptools.HttpResponseParser(self)
        # Some servers end lines without a carriage return; RFC 9112, section 2.2 allows it.
        parser.set_dangerous_leniencies(lenient_optional_cr_before_lf=True)
        return parser

    def _skip_informational(self, status: int) -> None:
        if status == _SWITCHING:
            raise ProtocolError("the server switches to another protocol")
        self._informational += 1
        if self._informational > _MAX_INFORMATIONAL:
            raise ProtocolError(
                f"{self._informational} informational responses came without a final one"
            )

    def _check_headers(self, unread: int) -> None:
        """Check the length of the head, and how the body is sent.

        Args:
            unread: bytes received since the last head, this one included.
        """
        headers = self._headers
        if unread > self._max or self._informational:  # else the head is certainly shorter
            size = sum(len(name) + len(value) for name, value in headers)
            if size > self._max:
                raise self._too_long
        for name, value in headers:
            is_coding = len(name) == len(_TRANSFER_ENCODING) and name.lower() == _TRANSFER_ENCODING
            if is_coding and value.strip().lower() != b"chunked":
                raise ProtocolError("the transfer encoding is not chunked")

    @property
    def _too_long(self) -> ProtocolError:
        return ProtocolError(f"the headers are too long: more than {self._max} bytes")
