"""Members of JSON objects that strangers wrote: each may be missing, or something else."""

import math
from collections.abc import Mapping
from typing import cast

from ..messages import Json
from .format import ApiError, Malformed
from .jsontext import dumps, loads

__all__ = ["count_of", "object_of", "read_error", "read_event", "text_of"]


def object_of(members: Mapping[str, Json], name: str) -> dict[str, Json]:
    """A member that is an object; an empty one for anything else."""
    value = members.get(name)
    return value if isinstance(value, dict) else {}


def text_of(members: Mapping[str, Json], name: str) -> str:
    """A member that is a text or a whole number, as a text; "" for anything else."""
    value = members.get(name)
    if isinstance(value, str):
        return value
    # Error codes come as numbers, too (vLLM, llama.cpp, OpenRouter).
    return str(value) if isinstance(value, int) and abs(value) < 1 << 64 else ""


def count_of(members: Mapping[str, Json], name: str) -> int | None:
    """A number of tokens; None for what is none, such as 1e999, which JSON can say."""
    value = members.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return max(0, int(value))


def read_error(body: Json) -> ApiError:
    """The error in a body in any of its shapes: an object, a text, or nothing known."""
    if isinstance(body, list) and body:  # Gemini puts its error into a list of one
        body = body[0]
    error: Json = body.get("error", body) if isinstance(body, dict) else body
    if isinstance(error, str):
        return ApiError(message=error)
    if not isinstance(error, dict):
        return ApiError()
    more = error.get("details") or error.get("metadata")
    return ApiError(
        text_of(error, "message"),
        text_of(error, "type"),
        text_of(error, "code"),
        text_of(error, "status"),
        _json_text(more) if more else "",
    )


def read_event(data: bytes) -> dict[str, Json]:
    """The object in an event of a stream.

    Raises:
        Malformed: it is none.
    """
    try:
        said = loads(data)
    except ValueError as error:
        raise Malformed(f"an event of the stream is not whole JSON ({error})") from None
    if not isinstance(said, dict):
        raise Malformed("an event of the stream is JSON, but not an object")
    return said


def _json_text(value: Json) -> str:
    try:
        return dumps(cast("Mapping[str, Json]", value)).decode()
    except (ValueError, TypeError):
        return ""
