"""What was seen before and where, of millions of things, in 12 to 36 bytes each."""

from array import array

__all__ = ["Seen"]

_SMALLEST = 1024


class Seen:
    """Digests of 64 bits, and the number of the row that each was first seen in.

    A hash table of two arrays (open addressing, linear probing), at most two thirds full: a set of
    Python's takes three times as much, without the numbers. It goes by the digest alone. Among a
    million things, two have the same one with a chance of 1 in 40 million.
    """

    def __init__(self) -> None:
        self._digests = array("Q", [0]) * _SMALLEST
        self._numbers = array("I", [0]) * _SMALLEST
        self._mask = _SMALLEST - 1
        self._room = _SMALLEST * 2 // 3

    def first(self, digest: bytes, number: int) -> int | None:
        """The number of the row that it was first seen in; None if that is this one.

        Args:
            digest: 8 bytes.
            number: of this row.
        """
        value = int.from_bytes(digest, "little") or 1  # 0 is for a place that is free
        at = self._place(value)
        if self._digests[at]:
            return self._numbers[at]
        if not self._room:
            self._grow()
            at = self._place(value)
        self._digests[at] = value
        self._numbers[at] = number
        self._room -= 1
        return None

    def get(self, digest: bytes) -> int | None:
        """The number of the row that it was first seen in, if it was."""
        at = self._place(int.from_bytes(digest, "little") or 1)
        return self._numbers[at] if self._digests[at] else None

    def _place(self, value: int) -> int:
        digests, mask = self._digests, self._mask
        at = value & mask
        while (there := digests[at]) and there != value:
            at = (at + 1) & mask
        return at

    def _grow(self) -> None:
        digests, numbers = self._digests, self._numbers
        size = 2 * len(digests)
        self._digests = array("Q", [0]) * size
        self._numbers = array("I", [0]) * size
        self._mask = size - 1
        self._room += size * 2 // 3 - len(digests) * 2 // 3
        for digest, number in zip(digests, numbers, strict=True):
            if digest:
                at = self._place(digest)
                self._digests[at] = digest
                self._numbers[at] = number
