"""Open the source of an input: a file or standard input, plain or packed, in any encoding.

Changes of a file while it is read are detected: rows of two versions must not be mixed.
"""

import bz2
import gzip
import importlib
import io
import lzma
import os
import shutil
import stat
import sys
import tempfile
import zipfile
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast, final

import attrs

from ...actors import how_to_install
from .errors import BROKEN, InputChanged, InputError, cannot_read
from .text import UTF_8, encoding_of, in_order, read_some, recoded

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


STDIN = "-"
ZIP = b"PK\x03\x04"
"""How a zip archive begins; a workbook is one."""

_ENCRYPTED = 1  # the flag of a file in an archive
_BLANK = b"\xef\xbb\xbf \t\r\n"
_HEAD_BYTES = 64 * 1024  # of a file
_PACKED_HEAD_BYTES = 1024 * 1024  # of a packed one, of which the rest is not looked at
_PIECE_BYTES = 64 * 1024  # of a pipe
_FILE_PIECE_BYTES = 1024 * 1024  # of a file
_BUFFER_BYTES = 256 * 1024
_COMPARED_BYTES = 4096  # at each end of what a file had before it grew


@attrs.frozen
class FileState:
    """What a regular file was at one time, so that it can be read again as it was then.

    Args:
        was: the size, the times and the identity of the file.
        ends: the first and the last bytes.
    """

    was: os.stat_result
    ends: tuple[bytes, bytes]


@final
class SteadyFile(io.RawIOBase):
    """A file reader that raises if the file changes. Pipes are read without this check.

    A file that only grows is read to the end that it had when it was opened, if that was the end of
    a line. Changes are detected by size and modification time. File systems record the time in
    steps of some milliseconds, so a change right after opening that keeps the size is not detected.

    Args:
        path: the path of the file.
        state: what the file was when it was read before; it is read as it was then.
        descriptor: the descriptor of the file, if it is open; `path` is its name for error texts.

    Attributes:
        is_regular: False for a pipe or a device.
        state: what the file was when it was opened.

    Raises:
        OSError: the file cannot be read.
        InputChanged: the file was changed, or was replaced by the time it ends. Bytes that were
            read after the change are not returned.
    """

    def __init__(
        self, path: Path, state: FileState | None = None, *, descriptor: int | None = None
    ) -> None:
        super().__init__()
        self._path = path
        self._file = io.FileIO(path if descriptor is None else os.dup(descriptor))
        now = os.fstat(self._file.fileno())
        self._was = self._seen = now if state is None else state.was
        self.is_regular = stat.S_ISREG(now.st_mode)
        # The system's own files, as in /proc, are regular, have content, and a size of 0.
        self._is_sized = self.is_regular and self._was.st_size > 0
        if state is not None:
            self._ends = state.ends
            self._check_since(now)
        else:
            self._ends = self._read_ends() if self._is_sized else (b"", b"")
        self.state = FileState(self._was, self._ends)

    def buffered(self) -> BinaryIO:
        """Return a buffered reader of the file."""
        return io.BufferedReader(self, _BUFFER_BYTES)

    def pieces(self) -> Iterator[bytes]:
        """Yield a regular file from its beginning in pieces; the place of reading stays."""
        at = 0
        while piece := self._read_at(at, _FILE_PIECE_BYTES):
            at += len(piece)
            yield piece

    @property
    def has_grown(self) -> bool:
        """Whether the file was found to be longer than when it was opened."""
        return self._is_sized and self._seen.st_size > self._was.st_size

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        """See `io.RawIOBase`."""
        view = memoryview(buffer)
        if self._is_sized:
            view = view[: max(0, self._was.st_size - self._file.tell())]
        size = self._file.readinto(view) or 0 if view else 0
        self.check(is_end=not size, may_grow=True)
        return size

    def check(self, *, is_end: bool = False, may_grow: bool = False) -> None:
        """Check that the file has not changed.

        Args:
            is_end: True if the whole file was read; then its path is checked, too.
            may_grow: True if lines may have been added at its end.

        Raises:
            InputChanged: the file was changed or replaced.
        """
        if not self.is_regular:
            return
        now = os.fstat(self._file.fileno())
        if (now.st_size, now.st_mtime_ns) != (self._seen.st_size, self._seen.st_mtime_ns):
            if not (may_grow and now.st_size > self._was.st_size and self._only_grew()):
                raise InputChanged(f"{self._path} was written to while it was read")
            self._seen = now
        if is_end and self._is_replaced():
            raise InputChanged(f"{self._path} was replaced while it was read")

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()

    def _check_since(self, now: os.stat_result) -> None:
        """Check that the file is the one that was read before, or has only grown since."""
        try:
            if os.path.samestat(now, self._was):
                self.check(may_grow=True)
                return
            reason = f"{self._path} was replaced after the run began"
        except InputChanged as error:
            reason = str(error)
        self.close()
        raise InputChanged(f"{reason}; run the same command again")

    def _only_grew(self) -> bool:
        """Return whether what the file had is there still, as whole lines."""
        return self._is_sized and self._ends[-1].endswith(b"\n") and self._read_ends() == self._ends

    def _read_ends(self) -> tuple[bytes, bytes]:
        size = min(_COMPARED_BYTES, self._was.st_size)
        return self._read_at(0, size), self._read_at(self._was.st_size - size, size)

    def _read_at(self, place: int, size: int) -> bytes:
        here = self._file.tell()
        try:
            self._file.seek(place)
            return self._file.read(size) or b""
        finally:
            self._file.seek(here)

    def _is_replaced(self) -> bool:
        try:
            return not os.path.samestat(self._path.stat(), self._was)
        except OSError:
            return False  # it was removed after it was read to its end


def state_of(path: str | Path) -> FileState | None:
    """Return what a file is now; None for a pipe or a device, and if it cannot be read.

    Args:
        path: the path of the file.
    """
    try:
        if stat.S_ISREG(Path(path).stat().st_mode):  # opening a pipe waits for its writer
            with SteadyFile(Path(path)) as file:
                return file.state
    except (OSError, ValueError):
        pass  # opening it again raises the error
    return None


@attrs.frozen
class Source:
    """An open input.

    Args:
        path: the path of the file; None for standard input.
        stream: the bytes, unpacked.
        head: the first bytes: at least up to the end of the first line that is not blank.
        packing: the name of the format that the input is packed in; "" if it is not.
        file: the file that is read; None for a pipe on standard input.
        place: the input as a file to read at any place, if it was opened as one.
        inner: the name of the file in an archive; "" if the input is none.
    """

    path: Path | None
    stream: BinaryIO
    head: bytes
    packing: str
    file: SteadyFile | None
    place: Path | BinaryIO | None = None
    inner: str = ""

    @property
    def name(self) -> str:
        """The name of the input, for error texts."""
        return _name(self.path)

    def check(self, *, is_end: bool) -> None:
        """Check for changes; see `SteadyFile.check`. For data that is not read from `stream`."""
        if self.file is not None:
            self.file.check(is_end=is_end)

    def as_text(self, encoding: str | None) -> tuple["Source", str]:
        """Return the input in UTF-8, and the name of its encoding.

        Args:
            encoding: the encoding of the input; None to find it.
        """
        if encoding is None:
            plain = self.file if self._is_plain() else None
            encoding = encoding_of(self.head, (self.head,) if plain is None else plain.pieces())
        encoding = in_order(encoding, self.head)
        # Excel for Macintosh has a form of CSV whose lines end in a carriage return alone.
        ends_in_cr = b"\r" in self.head and b"\n" not in self.head
        if encoding == UTF_8 and not ends_in_cr:
            return self, encoding
        text = recoded(self.stream, encoding, ends_in_cr=ends_in_cr)
        head, stream = _look(text, _HEAD_BYTES if self._is_plain() else 1)
        return attrs.evolve(self, head=head, stream=stream), encoding

    @contextmanager
    def seekable(self) -> Generator[Path | BinaryIO]:
        """Provide the input as a file to read at any place: itself, or a temporary copy.

        Raises:
            InputError: the input cannot be read to its end.
        """
        if self.place is not None:
            yield self.place
            return
        if self.path is not None and self._is_plain():
            yield self.path
            return
        with tempfile.TemporaryFile() as copy:
            try:
                shutil.copyfileobj(self.stream, copy)
            except BROKEN as error:
                raise cannot_read(self.name, error) from None
            copy.seek(0)
            yield cast("BinaryIO", copy)

    def _is_plain(self) -> bool:
        """Return whether the input is a file on a disk, and its bytes are those of the stream."""
        return self.file is not None and self.file.is_regular and not self.packing


@contextmanager
def open_source(source: str | Path, state: FileState | None = None) -> Generator[Source]:
    """Open an input while the block runs. Standard input stays open.

    Args:
        source: the path of a file, or "-" for standard input.
        state: what the file was when it was read before; it is read as it was then.

    Raises:
        InputError: the input cannot be read, or has not only grown since it had that state.
    """
    path = None if str(source) == STDIN else Path(source)
    name = _name(path)
    if path is None and sys.stdin is None:
        raise InputError("there is no standard input; give the path of a file")
    with ExitStack() as stack:
        try:
            found = _redirected() if path is None else SteadyFile(path, state)
            file = None if found is None else stack.enter_context(found)
            raw: BinaryIO = sys.stdin.buffer if file is None else file.buffered()
            # A pipe is not waited for longer than for its first line.
            size = _HEAD_BYTES if file is not None and file.is_regular else 1
            head, stream = _look(raw, size)
            packing = _packing_of(head)
            if packing:
                size = size if size == 1 else _PACKED_HEAD_BYTES
                head, stream = _look(_UNPACK[packing](stream, name), size)
        except BROKEN as error:
            raise cannot_read(name, error) from None
        except ValueError as error:  # a NUL in the path
            raise InputError(f"cannot read {name!r}: {error}") from None
        opened = Source(path, stream, head, packing, file)
        yield _unzipped(opened, stack) if head.startswith(ZIP) else opened


def _redirected() -> SteadyFile | None:
    """Return standard input, if it is redirected to a regular file, from the place it is at."""
    try:
        number = sys.stdin.fileno()
        is_regular = stat.S_ISREG(os.fstat(number).st_mode)
    except OSError:  # a program has put something else in its place
        return None
    return SteadyFile(Path(_name(None)), descriptor=number) if is_regular else None


def _unzipped(opened: Source, stack: ExitStack) -> Source:
    """Return the only file in a zip archive; the archive itself if it is a workbook, or has more.

    Raises:
        InputError: the archive is damaged.
    """
    place = stack.enter_context(opened.seekable())
    try:
        archive = stack.enter_context(zipfile.ZipFile(place))
        files = [it for it in archive.namelist() if not it.endswith("/") and "__MACOSX/" not in it]
        if len(files) != 1 or archive.getinfo(files[0]).flag_bits & _ENCRYPTED:
            return attrs.evolve(opened, place=place)
        inner = cast("BinaryIO", stack.enter_context(archive.open(files[0])))
        head, stream = _look(inner, _PACKED_HEAD_BYTES)
    except (zipfile.BadZipFile, NotImplementedError, *BROKEN) as error:
        raise cannot_read(opened.name, error) from None
    return attrs.evolve(opened, stream=stream, head=head, packing="zip", inner=files[0])


def _name(path: Path | None) -> str:
    return "standard input" if path is None else str(path)


def _packing_of(head: bytes) -> str:
    return next((name for start, name in _PACKED.items() if head.startswith(start)), "")


def _look(stream: BinaryIO, size: int) -> tuple[bytes, BinaryIO]:
    """Return the beginning of a stream, and a stream that starts there again; it may be a pipe.

    Args:
        stream: the bytes of a file or a pipe, or those that were packed.
        size: the number of bytes to read, if the stream has so many; more are read until a line
            that is not blank has ended.
    """
    head, error = b"", None
    while len(head) < size or (len(head) < _PACKED_HEAD_BYTES and b"\n" not in head.lstrip(_BLANK)):
        try:
            piece = read_some(stream, _PIECE_BYTES)
        except BROKEN as broken:
            if not head:
                raise
            error = broken
            break
        if not piece:
            break
        head += piece
    return head, io.BufferedReader(_Rejoined(head, stream, error), _BUFFER_BYTES)


class _Rejoined(io.RawIOBase):
    """A stream with its first bytes put back, and the error that came after them."""

    def __init__(self, head: bytes, rest: BinaryIO, error: Exception | None) -> None:
        super().__init__()
        self._error = error
        self._head = memoryview(head)
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        view = memoryview(buffer)
        if not self._head and self._error is not None:
            raise self._error
        # Return what a pipe has now, rather than wait until the buffer is full.
        data = self._head[: len(view)] or read_some(self._rest, len(view))
        self._head = self._head[len(data) :]
        view[: len(data)] = data
        return len(data)


def _ungzipped(stream: BinaryIO, _: str) -> BinaryIO:
    return cast("BinaryIO", gzip.GzipFile(fileobj=stream))


def _unbzipped(stream: BinaryIO, _: str) -> BinaryIO:
    return cast("BinaryIO", bz2.BZ2File(stream))


def _unxzipped(stream: BinaryIO, _: str) -> BinaryIO:
    return cast("BinaryIO", lzma.LZMAFile(stream))


def _unzstd(stream: BinaryIO, name: str) -> BinaryIO:
    for module in ("compression.zstd", "backports.zstd"):  # the first one is Python 3.14's own
        try:
            return io.BufferedReader(_Zstd(importlib.import_module(module), stream), _BUFFER_BYTES)
        except ImportError:
            continue
    how = how_to_install("tables")
    raise InputError(f"{name} is packed with zstd, which needs backports.zstd; {how}")


class _Zstd(io.RawIOBase):
    """A stream that is unpacked with zstd, and whose errors are of `BROKEN`."""

    def __init__(self, library: Any, stream: BinaryIO) -> None:  # noqa: ANN401  # a module
        super().__init__()
        self._file = library.ZstdFile(stream)
        self._error: type[Exception] = library.ZstdError

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        try:
            size: int = self._file.readinto1(buffer)
        except self._error as error:
            raise OSError(str(error)) from None
        return size


_PACKED = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\xfd7zXZ\x00": "xz",
    b"BZh": "bzip2",
}
_UNPACK: dict[str, Callable[[BinaryIO, str], BinaryIO]] = {
    "gzip": _ungzipped,
    "zstd": _unzstd,
    "xz": _unxzipped,
    "bzip2": _unbzipped,
}
