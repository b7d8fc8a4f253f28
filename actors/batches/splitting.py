"""Lines out of bytes that come in any pieces. Pure (R14)."""

from typing import final

__all__ = ["LineSplitter", "LineTooLong"]

_MAX_LINE_BYTES = 256 * 1024 * 1024  # 2,048 embeddings of 3,072 floats are 130 MB


class LineTooLong(ValueError):
    """A line is longer than any result is."""


@final
class LineSplitter:
    """Takes a file's bytes in any pieces, and gives its lines, of which none is empty.

    Lines end in a line feed and nothing else: JSON may have other line separators in its texts.

    Args:
        max_bytes: that one line may have.
    """

    def __init__(self, max_bytes: int = _MAX_LINE_BYTES) -> None:
        self._max = max_bytes
        self._tail: list[bytes] = []
        self._size = 0

    def feed(self, piece: bytes) -> list[bytes]:
        """The lines that are whole now.

        Raises:
            LineTooLong: one has no end.
        """
        first, *more = piece.split(b"\n")
        self._tail.append(first)
        self._size += len(first)
        if self._size > self._max:
            raise LineTooLong(f"a line has more than {self._max} bytes")
        if not more:
            return []
        lines = [b"".join(self._tail), *more[:-1]]
        self._tail, self._size = [more[-1]], len(more[-1])
        return [line for line in lines if line.strip()]

    def end(self) -> list[bytes]:
        """What is left when the file has ended."""
        rest = b"".join(self._tail)
        self._tail, self._size = [], 0
        return [rest] if rest.strip() else []
