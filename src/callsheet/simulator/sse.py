"""Answers as streams of server-sent events (PROVIDERS, sections 1.3 and 5)."""

from collections.abc import Mapping
from itertools import pairwise

from .jsontext import Json, compact

__all__ = [
    "DONE",
    "event",
    "pieces_of",
]


DONE = b"data: [DONE]\n\n"
"""The last word of OpenAI's streams; Anthropic's have none."""


def event(value: Mapping[str, Json], *, named: bool = False) -> bytes:
    """One event: a line of data and a blank one.

    Args:
        value: the data.
        named: whether a line before it has the event's name, the data's "type".
    """
    name = f"event: {value['type']}\n".encode() if named else b""
    return name + b"data: " + compact(value) + b"\n\n"


def pieces_of(text: str, most: int) -> list[str]:
    """The text in the pieces that a stream hands out: whole words, at most so many pieces."""
    words = text.split(" ")
    number = min(most, len(words))
    ends = [len(words) * i // number for i in range(number + 1)]
    pieces = [" ".join(words[start:end]) for start, end in pairwise(ends)]
    return [piece if i == 0 else f" {piece}" for i, piece in enumerate(pieces)]
