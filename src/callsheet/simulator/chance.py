"""Repeatable randomness: every draw is a hash of the parts that identify it (R13)."""

import random
from hashlib import blake2b


def _digest(parts: tuple[object, ...], size: int) -> bytes:
    text = "\x1f".join(map(str, parts))
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=size).digest()


def fraction_of(*parts: object) -> float:
    """Return a number in [0, 1), the same for the same parts in every process."""
    # 53 bits are what a float holds; 64 could round up to 1.0.
    return (int.from_bytes(_digest(parts, 8), "big") >> 11) / 2**53


def random_of(*parts: object) -> random.Random:
    """Return a random generator that is seeded by the parts."""
    return random.Random(int.from_bytes(_digest(parts, 8), "big"))  # noqa: S311 - not for secrets


def hex_of(*parts: object, length: int = 32) -> str:
    """Return an id of `length` hexadecimal digits (at most 128)."""
    return _digest(parts, (length + 1) // 2).hex()[:length]
