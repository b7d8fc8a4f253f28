"""Open the source of an input: a file or standard input, plain or gzipped."""

import gzip
import io
import sys
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

import attrs

from .errors import InputError
from .lines import BROKEN
from .steady import SteadyFile

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


STDIN = "-"

_GZIP = b"\x1f\x8b"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_LOOK_BYTES = 4096
_BLANK_BYTES = 1024 * 1024  # maximum of leading blank lines to skip
_BUFFER_BYTES = 256 * 1024


@attrs.frozen
class Source:
    """An open input.

    Args:
        path: the path of the file; None for standard input.
        stream: the bytes, unpacked.
        head: the first bytes, at least up to the end of the first line that is not blank.
        is_gzip: True if the input is gzipped.
        file: the file that is read; None for standard input.
    """

    path: Path | None
    stream: BinaryIO
    head: bytes
    is_gzip: bool
    file: SteadyFile | None

    @property
    def name(self) -> str:
        """The name of the input, for error texts."""
        return "standard input" if self.path is None else str(self.path)

    def check(self, *, is_end: bool) -> None:
        """Check for changes; see `SteadyFile.check`. For data that is not read from `stream`."""
        if self.file is not None:
            self.file.check(is_end=is_end)


@contextmanager
def open_source(source: str | Path) -> Generator[Source]:
    """Open an input while the block runs. Standard input stays open.

    Raises:
        InputError: the input cannot be read, or is UTF-16.
    """
    path = None if str(source) == STDIN else Path(source)
    name = "standard input" if path is None else str(path)
    if path is None and sys.stdin is None:
        raise InputError("there is no standard input; give the path of a file")
    with ExitStack() as stack:
        try:
            file = None if path is None else stack.enter_context(SteadyFile(path))
            raw: BinaryIO = sys.stdin.buffer if file is None else file.buffered()
            head, stream = _look(raw)
            if is_gzip := head.startswith(_GZIP):
                head, stream = _look(cast("BinaryIO", gzip.GzipFile(fileobj=stream)))
        except BROKEN as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(f"cannot read {name}: {reason}") from None
        except ValueError as error:  # a NUL in the path
            raise InputError(f"cannot read {name!r}: {error}") from None
        if head.startswith(_UTF_16):
            remedy = "convert it with iconv -f UTF-16 -t UTF-8"
            raise InputError(f"{name} is encoded in UTF-16; {remedy}")
        yield Source(path, stream, head, is_gzip, file)


def _look(stream: BinaryIO) -> tuple[bytes, BinaryIO]:
    """Return the beginning of a stream, and a stream that starts there again; it may be a pipe."""
    head = b""
    while not head.strip(b"\xef\xbb\xbf \t\r\n") and len(head) < _BLANK_BYTES:
        piece = stream.readline(_LOOK_BYTES)
        if not piece:
            break
        head += piece
    return head, io.BufferedReader(_Rejoined(head, stream), _BUFFER_BYTES)


class _Rejoined(io.RawIOBase):
    """A stream with its first bytes put back."""

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        super().__init__()
        self._head = head
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        view = memoryview(buffer)
        # Return what a pipe has now, rather than wait until the buffer is full.
        data = self._head[: len(view)] or _read_some(self._rest, len(view))
        self._head = self._head[len(data) :]
        view[: len(data)] = data
        return len(data)


def _read_some(stream: BinaryIO, size: int) -> bytes:
    read1 = getattr(stream, "read1", stream.read)
    return cast("bytes", read1(size))
