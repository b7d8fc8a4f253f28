"""Read the body of a request within bounds."""

from collections.abc import Mapping
from typing import Final, cast

import orjson
import trio
from starlette.types import Receive

from ...actors import Json
from ...serving import Gone
from ..errors import InvalidBody, Refusal, Refused

MOST_PARTS: Final = 50_000
"""Objects, lists, and texts in lists of a body. One with more would delay other clients."""

_MOST_VALUES: Final = 500_000  # of those, members and items; token ids are numbers in lists
# Characters that begin a part, or a value: what has more, even in texts, is not decoded.
_MOST_BRACKETS: Final = 500_000
_MOST_COMMAS: Final = 2_000_000


async def read_body(
    receive: Receive, headers: Mapping[str, str], *, max_bytes: int, within_s: float
) -> bytes:
    """Return the body of a request.

    Args:
        receive: receives messages from the client, as ASGI has them.
        headers: the headers of the request, by names in lower case.
        max_bytes: the most bytes of a body.
        within_s: seconds in which it must be complete.

    Raises:
        Refused: it is too large, too slow, or compressed.
        Gone: the client went away.
    """
    coding = headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("", "identity"):
        text = f"the body is compressed ({coding:.20}); send it as it is"
        raise Refused(Refusal(status=415, kind="invalid_request", message=text))
    length = headers.get("content-length", "")
    if length.isascii() and length.isdecimal() and int(length) > max_bytes:
        raise _too_large(max_bytes)
    chunks: list[bytes] = []
    size = 0
    with trio.move_on_after(within_s):
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Gone
            chunk: bytes = message.get("body", b"")
            size += len(chunk)
            if size > max_bytes:
                raise _too_large(max_bytes)
            chunks.append(chunk)
            if not message.get("more_body", False):
                return chunks[0] if len(chunks) == 1 else b"".join(chunks)
    text = f"the body was not complete within {within_s:g} seconds"
    raise Refused(Refusal(status=408, kind="timeout", message=text, should_retry=True))


def read_json(body: bytes) -> Mapping[str, Json]:
    """Return the JSON object of a body.

    Args:
        body: the bytes of the body.

    Raises:
        InvalidBody: it is no JSON object; the text says where it ends to be one.
        Refused: it has too many parts.
    """
    brackets, commas = body.count(b"{") + body.count(b"["), body.count(b",")
    if brackets > _MOST_BRACKETS or commas > _MOST_COMMAS:
        raise _too_many()
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        reason = "it is empty" if not body.strip() else str(error)
        raise InvalidBody(f"the body is not JSON: {reason:.200}") from None
    if not isinstance(value, dict):
        raise InvalidBody("the body must be a JSON object")
    found = cast("dict[str, Json]", value)
    if max(brackets, commas) > MOST_PARTS:  # else it has no more parts
        _bound_parts(found)
    return found


def _bound_parts(value: Json) -> None:
    """Count the objects, lists and texts of lists in a value, and all values.

    Raises:
        Refused: there are too many.
    """
    open_parts: list[Json] = [value]
    parts = values = 0
    while open_parts:
        part = open_parts.pop()
        if not isinstance(part, dict | list):
            continue
        parts, values = parts + 1, values + len(part)
        if values <= _MOST_VALUES and isinstance(part, list):
            parts += sum([isinstance(one, str) for one in part])
        if parts > MOST_PARTS or values > _MOST_VALUES:
            raise _too_many()
        within = part.values() if isinstance(part, dict) else part
        open_parts += [one for one in within if isinstance(one, dict | list)]


def _too_many() -> Refused:
    text = (
        f"the body has more than {MOST_PARTS:,} objects, lists and texts in lists, or "
        f"more than {_MOST_VALUES:,} values, the most that this gateway accepts"
    )
    return Refused(Refusal(status=413, kind="too_large", message=text, should_retry=False))


def _too_large(max_bytes: int) -> Refused:
    text = f"the body has more than {max_bytes:,} bytes, the most that this gateway accepts"
    return Refused(Refusal(status=413, kind="too_large", message=text, should_retry=False))
