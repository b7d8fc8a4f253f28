"""JSON as this provider reads and writes it."""

import json
from collections.abc import Mapping, Sequence

__all__ = [
    "Json",
    "canonical",
    "compact",
]


Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


def compact(value: Mapping[str, Json]) -> bytes:
    """The bytes of an answer's body."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode(
        "utf-8",
        "replace",  # a lone surrogate that a client sent escaped cannot be sent back raw
    )


def canonical(value: Json | Sequence[Mapping[str, Json]]) -> str:
    """One text for one value, whatever the order of the members it was written in."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
