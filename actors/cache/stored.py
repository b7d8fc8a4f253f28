"""Which responses are stored, and how a response is encoded."""

import json
import struct
from collections.abc import Mapping
from decimal import Decimal
from sys import getsizeof
from typing import Any, cast

import attrs

from ..json_value import Json
from ..responses import Choice, Response, TokenLogprob, ToolCall, Usage

_FORMAT = 1
_HEAD = struct.Struct("<BI")  # the format, and the length of the JSON, which the vectors follow
_OBJECTS_BYTES = 1024  # of a response without its texts and vectors, approximately
_FLOAT_BYTES = 32  # of a float and its place in a tuple
_TOKEN_FLOATS = 6  # of a token with its log probability, in the bytes of a float


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
        queued_s=0.0,
        route="cache",
    )


def size_in_memory(response: Response) -> int:
    """Return the approximate bytes that a response takes in memory."""
    tokens = 0
    texts = [response.text]
    for choice in response.choices:
        texts += (choice.text, choice.reasoning, *(call.arguments for call in choice.tool_calls))
        tokens += len(choice.logprobs) + sum(len(token.top) for token in choice.logprobs)
    floats = tokens * _TOKEN_FLOATS + sum(len(vector) for vector in response.embeddings)
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
        "choices": [_choice_fields(choice) for choice in choices],
        "vectors": [len(vector) for vector in response.embeddings],
        "host": response.host,
        "body": response.body,
        "is_assembled": response.is_assembled,
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


def _choice_fields(choice: Choice) -> tuple[object, ...]:
    """Return text and finish reason, and the other fields if there are any."""
    more: dict[str, object] = {}
    if choice.tool_calls:
        more["tool_calls"] = [attrs.astuple(call) for call in choice.tool_calls]
    if choice.reasoning:
        more["reasoning"] = choice.reasoning
    if choice.refusal is not None:
        more["refusal"] = choice.refusal
    if choice.logprobs:
        more["logprobs"] = [attrs.astuple(token) for token in choice.logprobs]
    if choice.annotations:
        more["annotations"] = list(choice.annotations)
    return (choice.text, choice.finish_reason, *([more] if more else []))


def _choice(text: str, reason: str | None, more: dict[str, Any] | None = None) -> Choice:
    more = more or {}
    return Choice(
        text,
        reason,
        tool_calls=tuple(ToolCall(*fields) for fields in more.get("tool_calls", ())),
        reasoning=more.get("reasoning", ""),
        refusal=more.get("refusal"),
        logprobs=tuple(_token(*fields) for fields in more.get("logprobs", ())),
        annotations=tuple(more.get("annotations", ())),
    )


def _token(token: str, logprob: float | None, top: list[tuple[str, float]]) -> TokenLogprob:
    return TokenLogprob(token, logprob, tuple((name, value) for name, value in top))


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
    choices = tuple(_choice(*one) for one in fields["choices"])
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
        is_assembled=fields.get("is_assembled", False),
        request_id=fields.get("request_id", ""),
    )
