"""Read the body of a response: decompressed, bounded, and closed in time."""

import re
import zlib
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Protocol, Self, cast

import httpx
import trio

from ..vendors import Malformed
from .carrier import HttpResponse

_TITLE = re.compile(rb"<title[^>]*>([^<]{1,200})</title>", re.IGNORECASE)
_END_S = 1.0  # the longest wait for the end of a body that only saves its connection


class TooLarge(ValueError):
    """A body has more bytes than allowed; the text states it."""


class ResponseReader:
    """Read the body of a response: decompressed and bounded.

    Leaving its context closes the body: httpx's bodies are async generators, and Trio reports one
    that is left suspended.

    Args:
        response: the response whose body is read.
        start: when the request was sent, on Trio's clock.

    Attributes:
        first_byte_s: seconds from `start` to the first piece; None until then.
    """

    def __init__(self, response: HttpResponse, start: float) -> None:
        self._response = response
        self._pieces = response.body
        self._decompress = _decompressor(response.header(b"content-encoding"))
        self._size = 0
        self._start = start
        self.first_byte_s: float | None = None

    @property
    def has_arrived(self) -> bool:
        """Whether the rest of the body is known to have arrived, so that no read waits."""
        return self._response.has_arrived

    @property
    def is_all(self) -> bool:
        """Whether the whole body is known to have been read."""
        return self._response.is_all

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        close = getattr(self._pieces, "aclose", None)
        if close is not None:
            await cast("_Closable", self._pieces).aclose()

    async def read(self, max_bytes: int) -> bytes:
        """Return the next bytes; none at the end.

        Args:
            max_bytes: the bound on the decompressed body, in bytes.

        Raises:
            TooLarge: the body is longer than `max_bytes`.
            ValueError: the body is not compressed as its header states.
        """
        async for piece in self._pieces:
            if self.first_byte_s is None:
                self.first_byte_s = trio.current_time() - self._start
            data = (
                piece
                if self._decompress is None
                else self._decompress(piece, max_bytes - self._size + 1)
            )
            self._size += len(data)
            if self._size > max_bytes:
                raise TooLarge(f"it is longer than {max_bytes:,} bytes")
            if data:
                return data
        return b""

    async def read_all(self, max_bytes: int) -> bytes:
        """Return the whole body, and close it; raises as `read` does.

        Args:
            max_bytes: the bound on the decompressed body, in bytes.
        """
        async with self:
            pieces: list[bytes] = []
            while piece := await self.read(max_bytes):
                pieces.append(piece)
        return b"".join(pieces)

    async def skip(self) -> None:
        """Read to the end, which is due now, and discard what arrives."""
        if self.is_all:
            return
        with suppress(httpx.RequestError), trio.move_on_after(_END_S):
            async for _ in self._pieces:
                pass

    def describe(self, raw: bytes) -> str:
        """Describe the body, for the error that it is no JSON.

        Args:
            raw: what was read of it.
        """
        kind = self._kind
        if self._is_page(raw):
            title = _TITLE.search(raw)
            named = "" if title is None else f" {title[1].decode(errors='replace').strip()!r:.100}"
            return f"a web page (HTML){named}"
        if not raw:
            return "an empty body" if not self._size else "longer than allowed"
        return f"{kind or 'something'} that is not whole JSON"

    def text_of(self, raw: bytes) -> str | None:
        """Return a body that is plain text, for people to read; None if it is something else.

        Args:
            raw: what was read of it, which is no JSON.
        """
        if self._is_page(raw) or "json" in self._kind:
            return None
        text = " ".join(raw.decode(errors="replace").split())
        return text if text.isprintable() and "\N{REPLACEMENT CHARACTER}" not in text else None

    @property
    def _kind(self) -> str:
        return self._response.header(b"content-type").partition(";")[0].strip()

    def _is_page(self, raw: bytes) -> bool:
        start = raw[:200].lstrip().lower()
        return "html" in self._kind or start.startswith((b"<!doctype", b"<html"))


class _Closable(Protocol):
    async def aclose(self) -> None: ...


def _decompressor(header: str) -> Callable[[bytes, int], bytes] | None:
    """Return what decompresses a body; None if the server sent it uncompressed, as requested."""
    header = header.strip()
    encoding = header.lower()
    if encoding in ("", "identity"):
        return None
    if encoding not in ("gzip", "x-gzip", "deflate"):
        return partial(_refuse, header)
    decompressor = zlib.decompressobj(wbits=47)  # 32 + 15: gzip or zlib, by its first bytes

    def decompress(piece: bytes, max_bytes: int) -> bytes:
        try:
            return decompressor.decompress(
                piece, max(1, max_bytes)
            )  # a decompression bomb stops at the bound
        except zlib.error as error:
            raise Malformed(f"it is not {encoding}, as its header states ({error})") from None

    return decompress


def _refuse(encoding: str, _: bytes, __: int) -> bytes:
    raise Malformed(f"it is compressed with {encoding!r:.40}, which was not requested")
