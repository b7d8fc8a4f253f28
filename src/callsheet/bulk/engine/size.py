"""How much memory a request takes, by what may be large in it. Pure (R14)."""

from collections.abc import Mapping, Sequence

from ...actors import Json, Request

__all__ = [
    "size_of",
]


_DIMENSIONS = 3072  # of a vector, at most as models have them
_CHARS_PER_NUMBER = 128  # of memory: as a text when it comes, twice as a number, as a text again


def size_of(request: Request) -> int:
    """Characters of its texts: of the prompt, of what is sent as it is, and of vectors to come."""
    size = sum(len(turn.content) for turn in request.messages) + sum(map(len, request.inputs))
    for given in (
        request.extra_body,
        request.json_schema,
        *(turn.extra for turn in request.messages),
    ):
        if given:
            size += _chars(given)
    if request.task == "embedding":
        size += len(request.inputs) * (request.dimensions or _DIMENSIONS) * _CHARS_PER_NUMBER
    return size


def _chars(value: "Json | Mapping[str, Json]") -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        return sum(map(_chars, value.values()))
    if isinstance(value, Sequence):
        return sum(map(_chars, value))
    return 0
