"""Answers as streams of server-sent events (PROVIDERS, section 1.3)."""

from collections.abc import Iterable, Mapping

from .jsontext import Json, compact

__all__ = ["DONE", "event", "pieces_of"]

DONE = b"data: [DONE]\n\n"
MOST_PIECES = 40


def event(value: Mapping[str, Json]) -> bytes:
    """One event: a line of data and a blank one."""
    return b"data: " + compact(value) + b"\n\n"


def pieces_of(text: str) -> Iterable[str]:
    """The text in the pieces that a stream hands out: whole words, at most 40 pieces."""
    words = text.split(" ")
    step = -(-len(words) // MOST_PIECES)
    for start in range(0, len(words), step):
        piece = " ".join(words[start : start + step])
        yield piece if start == 0 else f" {piece}"
