"""Format responses as streams of server-sent events.

Source: docs/providers.md, OpenAI: streams; Anthropic: streams.
"""

from collections.abc import Mapping
from itertools import pairwise

from .jsontext import Json, compact

DONE = b"data: [DONE]\n\n"
"""The end mark of OpenAI's streams; Anthropic's have none."""


def event(value: Mapping[str, Json], *, named: bool = False) -> bytes:
    """Format one event: a line of data and a blank line.

    Args:
        value: the data of the event, as JSON.
        named: True to put a line with the event's name, the data's "type", before it.
    """
    name = f"event: {value['type']}\n".encode() if named else b""
    return name + b"data: " + compact(value) + b"\n\n"


def pieces_of(text: str, most: int) -> list[str]:
    """Split a text into whole words for a stream, in at most `most` pieces."""
    words = text.split(" ")
    number = min(most, len(words))
    ends = [len(words) * i // number for i in range(number + 1)]
    pieces = [" ".join(words[start:end]) for start, end in pairwise(ends)]
    return [piece if i == 0 else f" {piece}" for i, piece in enumerate(pieces)]
