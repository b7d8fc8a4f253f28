"""The body of an answer: unpacked, bounded, and ended when nobody reads on."""

import zlib
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Protocol, Self, cast

import httpx
import trio

from ..vendors import Malformed
from .carrier import HttpResponse

__all__ = [
    "ResponseReader",
    "TooLarge",
]


_END_S = 1.0  # after the last event nothing is worth waiting for, but a connection is


class TooLarge(ValueError):
    """A body has more bytes than it may; its text says so."""


class ResponseReader:
    """The bytes of an answer: unpacked, bounded, and ended when nobody reads on.

    httpx reads bodies through async generators, and Trio reports one that is left suspended; so
    this is a context that ends it.

    Args:
        response: whose body it is.
        start: when the request was sent, on Trio's clock.

    Attributes:
        kind: the media type that the header says, as it is written.
        first_byte_s: seconds from `start` to the first piece; None until then.
    """

    def __init__(self, response: HttpResponse, start: float) -> None:
        self._response = response
        self._pieces = response.body
        self._unpack = _unpacker(response.header(b"content-encoding"))
        self._size = 0
        self._start = start
        self.kind = response.header(b"content-type")
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
            TooLarge: there are more than `most`, unpacked.
            ValueError: they are not packed as the header says.
        """
        async for piece in self._pieces:
            if self.first_byte_s is None:
                self.first_byte_s = trio.current_time() - self._start
            data = piece if self._unpack is None else self._unpack(piece, most - self._size + 1)
            self._size += len(data)
            if self._size > most:
                raise TooLarge(f"it is longer than {most:,} bytes")
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
        if self._response.is_all:
            return
        with suppress(httpx.RequestError), trio.move_on_after(_END_S):
            async for _ in self._pieces:
                pass

    def describe(self, raw: bytes) -> str:
        """What the body is, for somebody who expected JSON."""
        kind = self.kind.partition(";")[0].strip()
        start = raw[:200].lstrip().lower()
        if "html" in kind or start.startswith((b"<!doctype", b"<html")):
            return "a web page (HTML); is this the base URL of an API?"
        if not raw:
            return "an empty body" if not self._size else "more than it may be"
        return f"{kind or 'something'} that is not whole JSON"


class _Closable(Protocol):
    async def aclose(self) -> None: ...


def _unpacker(written: str) -> Callable[[bytes, int], bytes] | None:
    """How a body is unpacked, if the server packed it although it was asked not to."""
    written = written.strip()
    encoding = written.lower()
    if encoding in ("", "identity"):
        return None
    if encoding not in ("gzip", "x-gzip", "deflate"):
        return partial(_cannot_unpack, written)
    packed = zlib.decompressobj(wbits=47)  # 32 + 15: gzip or zlib, as its head says

    def unpack(piece: bytes, most: int) -> bytes:
        try:
            return packed.decompress(piece, max(1, most))  # no bomb goes off beyond the bound
        except zlib.error as error:
            raise Malformed(f"it is not the {encoding} that it says ({error})") from None

    return unpack


def _cannot_unpack(encoding: str, _: bytes, __: int) -> bytes:
    raise Malformed(f"it is packed with {encoding!r:.40}, which was not asked for")
