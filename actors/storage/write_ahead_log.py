"""The write-ahead log of a database file: where it is, and whether it is damaged. Pure (R14).

SQLite reads a log up to the first frame that does not have its checksum, and takes the rest for
what a power cut has left. So rot in the middle would silently take away all later transactions.

The format is that of https://www.sqlite.org/fileformat2.html#walformat.
"""

import struct
from collections.abc import Iterator
from pathlib import Path

_HEADER = struct.Struct(">8I")  # magic, format, page size, number, 2 salts, 2 checksums
_FRAME = struct.Struct(">6I")  # page, size of the file after a commit or 0, 2 salts, 2 checksums
_MAGIC = 0x377F0682  # the last bit: checksums are of big-endian words
_LEAST_PAGE, _MOST_PAGE = 512, 65536
_MASK = 0xFFFFFFFF

_Checksum = tuple[int, int]


def log_of(path: Path) -> Path:
    """Return the path of the write-ahead log of a file."""
    return path.with_name(f"{path.name}-wal")


def shared_index_of(path: Path) -> Path:
    """Return the path of the index of the log, which the processes that share a file share."""
    return path.with_name(f"{path.name}-shm")


def beside(path: Path) -> tuple[Path, ...]:
    """Return the paths of a database file and of the files that SQLite keeps beside it."""
    return path, log_of(path), shared_index_of(path)


def is_damaged(log: bytes) -> bool:
    """Return whether transactions follow something that is damaged.

    A log that merely ends early is not damaged: a process that died, or a power cut, leaves one.
    Each transaction is on disk before the next one is written, if synchronous is "full".

    Args:
        log: the whole log.
    """
    if len(log) <= _HEADER.size + _FRAME.size:
        return False  # no frame
    magic, _, page_bytes, _, *salts, first, second = _HEADER.unpack_from(log)
    words = ">" if magic & 1 else "<"
    if (
        magic & ~1 != _MAGIC
        or not _LEAST_PAGE <= page_bytes <= _MOST_PAGE
        or _sum((0, 0), log[: _HEADER.size - 8], words) != (first, second)
    ):
        return True  # the header is on disk before the first frame
    is_broken = has_ended = False
    for is_whole, is_commit in _frames(log, page_bytes, salts, (first, second), words):
        if not is_whole:
            is_broken = True
        elif is_broken and has_ended:
            return True  # a later transaction than the one with the broken frame
        has_ended |= is_broken and is_commit
    return False


def _frames(
    log: bytes, page_bytes: int, salts: list[int], before: _Checksum, words: str
) -> Iterator[tuple[bool, bool]]:
    """Yield of each frame whether it is whole, and whether it says that a transaction ends."""
    size = _FRAME.size + page_bytes
    for at in range(_HEADER.size, len(log) - size + 1, size):
        _, commit, *own, first, second = _FRAME.unpack_from(log, at)
        if own != salts:
            yield False, False  # rot, or of an earlier use of the log
            before = (first, second)
            continue
        found = _sum(before, log[at : at + 8], words)
        found = _sum(found, log[at + _FRAME.size : at + size], words)
        yield found == (first, second), bool(commit)
        before = (first, second)  # so that the next frame is judged by itself


def _sum(before: _Checksum, data: bytes, words: str) -> _Checksum:
    one, two = before
    for first, second in struct.iter_unpack(f"{words}II", data):
        one = (one + first + two) & _MASK
        two = (two + second + one) & _MASK
    return one, two
