"""Which responses are stored, and how a response is encoded."""

import json
import struct
from collections.abc import Mapping
from decimal import Decimal
from sys import getsizeof
from typing import Any, cast

import attrs

from ..messages import Choice, Json, Response, Usage

_FORMAT = 1
_HEAD = struct.Struct("<BI")  # the format, and the length of the JSON, which the vectors follow
_OBJECTS_BYTES = 1024  # of a response without its texts and vectors, approximately
_FLOAT_BYTES = 32  # of a float and its place in a tuple


def is_storable(response: Response) -> bool:
    """Return whether a response may answer later requests.

    Each choice must have ended by itself: a response that was cut off or filtered may be better the
    next time. Embeddings have no finish reason.
    """
    if response.embeddings:
        return response.finish_reason in (None, "stop")
    reasons = [choice.finish_reason for choice in response.choices] or [response.finish_reason]
    return all(reason == "stop" for reason in reasons)


def for_storing(response: Response) -> Response:
    """Return the response without a redundant body: the body of embeddings only repeats them."""
    return attrs.evolve(response, body=None) if response.embeddings else response


def from_cache(response: Response) -> Response:
    """Return the response as a cache hit: without tokens, cost and requests."""
    return attrs.evolve(
        response,
        usage=Usage(),
        cost_usd=Decimal(0),
        http_requests=0,
        maybe_billed=0,
        seconds=0.0,
        first_byte_s=None,
        route="cache",
    )


def size_in_memory(response: Response) -> int:
    """Return the approximate bytes that a response takes in memory."""
    texts = [choice.text for choice in response.choices] or [response.text]
    floats = sum(len(vector) for vector in response.embeddings)
    sizes = sum(getsizeof(text) for text in texts) + _FLOAT_BYTES * floats
    return _OBJECTS_BYTES + sizes + _size_of_body(response.body, set(map(id, texts)))


def _size_of_body(body: Mapping[str, Json] | None, counted: set[int]) -> int:
    """Return the bytes of a body, without texts that are counted. It may be too deep to recurse."""
    size, left = 0, [] if body is None else [cast("Json", body)]
    while left:
        value = left.pop()
        if id(value) not in counted:
            size += getsizeof(value)
        if isinstance(value, Mapping):
            left += value.values()  # the names are mostly shared objects
        elif isinstance(value, list):
            left += value
    return size


def encode(response: Response) -> bytes:
    """Encode a response: JSON, followed by the embeddings in binary.

    The bytes contain the response and its usage, and nothing of the request (L8).
    """
    choices, text = response.choices, response.text
    is_first_choice = bool(choices) and choices[0].text == text
    fields: dict[str, object] = {
        "text": None if is_first_choice else text,
        "model": response.model,
        "finish_reason": response.finish_reason,
        "usage": attrs.asdict(response.usage),
        "cost_usd": None if response.cost_usd is None else str(response.cost_usd),
        "choices": [(choice.text, choice.finish_reason) for choice in choices],
        "vectors": [len(vector) for vector in response.embeddings],
        "host": response.host,
        "body": response.body,
        "request_id": response.request_id,
    }
    # The standard library's JSON: a text may contain half a surrogate pair.
    try:
        head = json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
    except RecursionError:  # the body is nested too deeply
        fields["body"] = None
        head = json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
    document = head.encode("utf-8", "surrogatepass")
    vectors = (struct.pack(f"<{len(vector)}d", *vector) for vector in response.embeddings)
    return b"".join((_HEAD.pack(_FORMAT, len(document)), document, *vectors))


def decode(value: bytes) -> Response:
    """Decode a response that `encode` has encoded.

    Raises:
        ValueError: the bytes are something else.
    """
    try:
        return _decode(value)
    except (LookupError, TypeError, ArithmeticError, struct.error) as error:
        raise ValueError(f"not an encoded response: {type(error).__name__}") from None


def _decode(value: bytes) -> Response:
    form, length = _HEAD.unpack_from(value)
    if form != _FORMAT:
        raise ValueError(f"the format is {form}, not {_FORMAT}")
    at = _HEAD.size + length
    document = value[_HEAD.size : at].decode("utf-8", "surrogatepass")
    fields = cast("dict[str, Any]", json.loads(document))
    choices = tuple(Choice(text, reason) for text, reason in fields["choices"])
    vectors: list[tuple[float, ...]] = []
    for count in fields["vectors"]:
        vectors.append(struct.unpack_from(f"<{count}d", value, at))
        at += 8 * count
    text, cost_usd = fields["text"], fields["cost_usd"]
    return Response(
        text=choices[0].text if text is None else text,
        model=fields["model"],
        finish_reason=fields["finish_reason"],
        usage=Usage(**fields["usage"]),
        cost_usd=None if cost_usd is None else Decimal(cost_usd),
        choices=choices,
        embeddings=tuple(vectors),
        host=fields["host"],
        body=fields.get("body"),
        request_id=fields.get("request_id", ""),
    )
