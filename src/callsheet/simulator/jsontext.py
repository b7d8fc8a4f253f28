"""Write JSON for response bodies and for keys."""

import json
from collections.abc import Mapping, Sequence

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


def compact(value: Mapping[str, Json]) -> bytes:
    """Return the bytes of a response body."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode(
        "utf-8",
        "replace",  # a lone surrogate, which a client can send escaped, cannot be encoded
    )


def canonical(value: Json | Sequence[Mapping[str, Json]]) -> str:
    """Return the same text for equal values, whatever the order of their members."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
