"""Estimate the memory that a request takes. Pure (R14)."""

from collections.abc import Mapping, Sequence

from ...actors import Json, Request

_DIMENSIONS = 3072  # the longest vector of current embedding models
_CHARS_PER_NUMBER = 128  # memory: as received text, twice as a number, as text to write


def size_of(request: Request) -> int:
    """Return the characters of the prompt, of extra members, and of the expected vectors."""
    size = sum(len(message.content) for message in request.messages) + sum(map(len, request.inputs))
    for given in (
        request.extra_body,
        None if request.output_schema is None else request.output_schema.schema,
        *(message.extra for message in request.messages),
        *(message.native for message in request.messages),
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
