"""How much memory a request takes, by what may be large in it. Pure (R14)."""

from collections.abc import Mapping, Sequence

from ..actors.messages import Json, Request

__all__ = ["size_of"]


def size_of(request: Request) -> int:
    """Characters of its texts: of the prompt, and of what is sent as it is."""
    size = sum(len(turn.content) for turn in request.messages) + sum(map(len, request.inputs))
    for given in (request.extra, request.json_schema, *(turn.extra for turn in request.messages)):
        if given:
            size += _chars(given)
    return size


def _chars(value: "Json | Mapping[str, Json]") -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        return sum(map(_chars, value.values()))
    if isinstance(value, Sequence):
        return sum(map(_chars, value))
    return 0
