"""Answers out of the bytes that a server sends, in any pieces (llhttp, through httptools).

Pure (R14). h11 takes 25 times as long over an answer that comes in chunks, which is more than all
the actors together take over a call; llhttp is what Node.js reads HTTP with.
"""

from typing import final

import attrs
import httptools

__all__ = [
    "Head",
    "ProtocolError",
    "ResponseParser",
]


_MAX_INFORMATIONAL = 100  # answers like "102 Processing" before the one that counts
_SWITCHING = 101
_OK = 200  # from here on an answer is not informational
_VERSIONS = ("1.1", "1.0")  # llhttp reads others, too
_TRANSFER_ENCODING = b"transfer-encoding"
_FRAMING = (_TRANSFER_ENCODING, b"content-length")


class ProtocolError(ValueError):
    """The bytes are no answer in HTTP/1.1, or not all of one; its text quotes none of them."""


@final
@attrs.frozen
class Head:
    """What an answer begins with.

    Args:
        status: its number.
        reason: the words after it.
        version: of HTTP: "1.1" or "1.0".
        headers: names and values, as they came.
    """

    status: int
    reason: bytes
    version: str
    headers: list[tuple[bytes, bytes]]

    @property
    def is_framed(self) -> bool:
        """Whether it says how long the body is; one that does not is as long as the connection."""
        return any(name.lower() in _FRAMING for name, _ in self.headers)


@final
class ResponseParser:
    """Reads the answers on one connection, one after another.

    Args:
        max_header_bytes: of the head of an answer, and of the trailers behind its body.

    Attributes:
        head: of the answer; None until it is whole. Informational answers are passed over.
        is_complete: whether the answer's end has come.
        keeps_alive: whether another answer may follow: the server says so, and has not sent it
            already.
    """

    def __init__(self, max_header_bytes: int) -> None:
        self._max = max_header_bytes
        self._parser = self._new_parser()
        self._is_used_up = False  # it waits for the body of an answer that has none
        self._pieces: list[bytes] = []
        self.begin(b"")

    def begin(self, method: bytes) -> None:
        """Get ready for the answer to a request; the one before is complete."""
        if self._is_used_up:
            self._parser = self._new_parser()
            self._is_used_up = False
        self._is_head = method == b"HEAD"
        self._informational = 0
        self._unread = 0  # bytes that came and have not become a part of an answer
        self.head: Head | None = None
        self.is_complete = False
        self.keeps_alive = False

    def feed(self, data: bytes | bytearray) -> None:
        """What has come.

        Raises:
            ProtocolError: it is no answer.
        """
        self._unread += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            raise ProtocolError("it wants to switch to another protocol") from None
        except httptools.HttpParserError as error:
            if self.is_complete:  # whatever this is, nobody has asked for it
                self.keeps_alive = False
                return
            if isinstance(error.__context__, ProtocolError):  # ours, out of one of those below
                raise error.__context__ from None
            raise ProtocolError(str(error)) from None
        if self._unread > self._max and not self.is_complete:
            raise self._too_long

    def end(self) -> None:
        """The server has closed.

        Raises:
            ProtocolError: in the middle of an answer.
        """
        if self.is_complete:
            return
        if self.head is None or self.head.is_framed:
            raise ProtocolError("it closed the connection in the middle of an answer")
        self.is_complete = True

    def take(self) -> bytes:
        """What has come of the body since the last time."""
        pieces = self._pieces
        if len(pieces) == 1:
            return pieces.pop()
        body = b"".join(pieces)
        pieces.clear()
        return body

    # ---------------------------------------------------------------- what llhttp calls

    def on_message_begin(self) -> None:
        """An answer begins."""
        self.keeps_alive = False  # if one has ended, this one was not asked for
        self._reason = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._header_bytes = 0

    def on_status(self, reason: bytes) -> None:
        """A piece of what stands behind the status."""
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer."""
        if self.head is not None:
            return
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > self._max:
            raise self._too_long
        if len(name) == len(_TRANSFER_ENCODING) and name.lower() == _TRANSFER_ENCODING:
            self._check_transfer_encoding(value)
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._unread = 0
        status, version = self._parser.get_status_code(), self._parser.get_http_version()
        if self.head is not None:
            return
        if version not in _VERSIONS:
            raise ProtocolError(f"it speaks HTTP/{version}")
        if status < _OK:
            self._pass_over(status)
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
        """An answer has ended."""
        if self.head is not None and not self.is_complete:
            self.is_complete = True
            self.keeps_alive = self._parser.should_keep_alive()

    # ----------------------------------------------------------------

    def _new_parser(self) -> httptools.HttpResponseParser:
        parser = httptools.HttpResponseParser(self)
        # Some servers end lines without a carriage return, as RFC 9112, section 2.2 lets them.
        parser.set_dangerous_leniencies(lenient_optional_cr_before_lf=True)
        return parser

    def _pass_over(self, status: int) -> None:
        if status == _SWITCHING:
            raise ProtocolError("it wants to switch to another protocol")
        self._informational += 1
        if self._informational > _MAX_INFORMATIONAL:
            raise ProtocolError(f"it sent {self._informational} informational answers and no other")

    @staticmethod
    def _check_transfer_encoding(value: bytes) -> None:
        if value.strip().lower() != b"chunked":
            raise ProtocolError("it transfers the body in another encoding than chunked")

    @property
    def _too_long(self) -> ProtocolError:
        return ProtocolError(f"its headers are too long: more than {self._max} bytes")
