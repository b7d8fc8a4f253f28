"""How rows and their ends travel between the holder of a run and its workers, as bytes.

A row is its request with the ids of its call; its end is a response, or the error of the call. What
is decoded is what was encoded, but for Python code, which no queue can carry: of a class of results
(`Request.returns`) the schema travels, and of a tool what the model is told. The holder reads the
results, so that `Response.parsed` is None on the way.

The bytes are a head (the version of this format, and the length of the JSON), the JSON, and the
vectors of embeddings in binary. They contain no key: a `Request` refuses headers that are secrets.
"""

import json
import struct
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, TypeVar, final

import attrs

from ...actors import (
    CallContext,
    ChatMessage,
    Json,
    OutputSchema,
    Request,
    Response,
    Tool,
    class_of_output,
)
from .outcome_fields import (
    changed_fields,
    default_fields,
    error_fields,
    error_of,
    plain_value,
    response_fields,
    response_of,
)

WIRE_VERSION = 1
"""The first byte of what this module encodes."""

_HEAD = struct.Struct("<BI")  # the version, and the length of the JSON
_ValueT = TypeVar("_ValueT")


@attrs.frozen
class CallEnd:
    """How the call of a row has ended at a worker.

    Args:
        outcome: the response, or the error that the call ended with.
        worker: the worker that has it, for messages.
        earlier: how many times the row was given to workers that did not answer, which may have
            been billed for it.
    """

    outcome: Response | Exception
    worker: str = ""
    earlier: int = 0


class UnsendableRow(ValueError):
    """A request that no queue can carry; the text names the part and the remedy."""


# ------------------------------------------------------------------------------------------- rows


def encode_call(
    request: Request,
    context: CallContext,
    *,
    idempotency_key: str | None = None,
    is_restricted: bool = True,
) -> bytes:
    """Encode the request of a row, with the ids of its call.

    Times on the clock of this process are left out: `CallContext.asked_at` and `came`.

    Args:
        request: the request to send.
        context: the ids of the call, which is not a shared one.
        idempotency_key: the key to send instead of that of the request; None for its own.
        is_restricted: whether `CallContext.allowed` holds for workers, too.

    Raises:
        UnsendableRow: a part of the request is not JSON.
    """
    fields = changed_fields(request, _PLAIN_FIELDS)
    if idempotency_key is not None:
        fields["idempotency_key"] = idempotency_key
    fields["messages"] = [_message_fields(message) for message in request.messages]
    if request.tools:
        fields["tools"] = [_tool_fields(tool) for tool in request.tools]
    if request.returns is not None and (output := request.output_schema) is not None:
        fields["returns"] = _output_fields(output)
    ids = changed_fields(context, _ID_FIELDS)
    if is_restricted and context.allowed is not None:
        ids["allowed"] = sorted(context.allowed)
    try:
        return _packed({"request": fields, "call": ids})
    except (TypeError, ValueError, RecursionError) as error:
        raise UnsendableRow(
            f"the request cannot be given to other workers: {error}; give its schemas, tools and "
            "extra_body as JSON values"
        ) from None


def decode_call(value: bytes) -> tuple[Request, CallContext]:
    """Decode what `encode_call` has encoded.

    Args:
        value: the bytes that were encoded.

    Raises:
        ValueError: the bytes are something else, or of another version of this format.
    """
    return _decoded(value, "row", _call_of)


def _call_of(fields: dict[str, Any], _: memoryview) -> tuple[Request, CallContext]:
    given: dict[str, Any] = fields["request"]
    messages = tuple(_message(*one) for one in given.pop("messages"))
    tools = tuple(_tool(*one) for one in given.pop("tools", ()))
    returns = given.pop("returns", None)
    request: Request = Request(
        messages=messages,
        tools=tools,
        returns=None if returns is None else _class_of(*returns),
        **given,
    )
    ids: dict[str, Any] = fields["call"]
    if "allowed" in ids:
        ids["allowed"] = frozenset(ids["allowed"])
    return request, CallContext(**ids)


def _message_fields(message: ChatMessage) -> tuple[object, ...]:
    """Return role and content, and the other fields if there are any."""
    if message.extra is None and message.native is None:
        return (message.role, message.content)
    return (message.role, message.content, message.extra, message.native)


def _message(
    role: Any,  # noqa: ANN401  # JSON
    content: str,
    extra: dict[str, Json] | None = None,
    native: dict[str, Json] | None = None,
) -> ChatMessage:
    return ChatMessage(role, content, extra=extra, native=native)


@final
@attrs.frozen(kw_only=True)
class SentTool(Tool):
    """A tool whose function is in another process.

    Args:
        strict: the schema for a strict mode; see `Tool.strict_schema`.
    """

    strict: Mapping[str, Json] = attrs.field(hash=False)

    @property
    def strict_schema(self) -> Mapping[str, Json]:
        """The schema for a strict mode, as the function's process has made it."""
        return self.strict


def _tool_fields(tool: Tool) -> tuple[object, ...]:
    return (
        tool.name,
        tool.description,
        tool.parameters,
        tool.definition,
        tool.strict_schema,
    )


def _tool(
    name: str,
    description: str,
    parameters: dict[str, Json],
    definition: dict[str, Json] | None,
    strict: dict[str, Json] | None,
) -> Tool:
    if strict is None:
        return Tool(
            name=name, description=description, parameters=parameters, definition=definition
        )
    return SentTool(
        name=name,
        description=description,
        parameters=parameters,
        definition=definition,
        strict=strict,
    )


def _output_fields(output: OutputSchema) -> tuple[object, ...]:
    # The schema as a text, by which the other side finds the class that it has made for it.
    schema = json.dumps(output.schema, default=plain_value, separators=(",", ":"))
    return (output.name, schema, output.not_strict, output.is_recursive)


@lru_cache(maxsize=64)
def _class_of(name: str, schema: str, not_strict: str, is_recursive: bool) -> type[dict[str, Json]]:  # noqa: FBT001  # as in the bytes
    return class_of_output(OutputSchema(name, json.loads(schema), not_strict, is_recursive))


# ------------------------------------------------------------------------------------------- ends


def encode_end(end: CallEnd) -> bytes:
    """Encode how the call of a row has ended.

    Args:
        end: the response or the error, with the worker. An error that is none of a call, such as
            that of a bug, becomes a `CallFailed` whose class has its name.
    """
    fields: dict[str, object] = {"worker": end.worker, "earlier": end.earlier}
    vectors: tuple[tuple[float, ...], ...] = ()
    if isinstance(end.outcome, Response):
        fields["response"] = response_fields(end.outcome)
        vectors = end.outcome.embeddings
    else:
        fields["error"] = error_fields(end.outcome)
    try:
        return _packed(fields, vectors)
    except RecursionError:  # the body is nested too deeply, also for OUTPUT
        if not isinstance(end.outcome, Response):
            raise
        return encode_end(attrs.evolve(end, outcome=attrs.evolve(end.outcome, body=None)))


def decode_end(value: bytes) -> CallEnd:
    """Decode what `encode_end` has encoded.

    Args:
        value: the bytes that were encoded.

    Raises:
        ValueError: the bytes are something else, or of another version of this format.
    """
    return _decoded(value, "answer", _end_of)


def _end_of(fields: dict[str, Any], rest: memoryview) -> CallEnd:
    outcome: Response | Exception
    if "response" in fields:
        outcome = response_of(fields["response"], rest)
    else:
        outcome = error_of(fields["error"])
    return CallEnd(outcome, fields["worker"], fields["earlier"])


# ------------------------------------------------------------------------------------------- bytes

_PLAIN_FIELDS = default_fields(Request, "messages", "tools", "returns")
_ID_FIELDS = default_fields(CallContext, "allowed", "came", "asked_at", "shared_by", "shared_as")


def _packed(fields: dict[str, object], vectors: Iterable[tuple[float, ...]] = ()) -> bytes:
    # The standard library's JSON: a text may contain half a surrogate pair, and a number may be
    # infinite or longer than 64 bits.
    document = _ENCODER.encode(fields).encode("utf-8", "surrogatepass")
    binary = (struct.pack(f"<{len(vector)}d", *vector) for vector in vectors)
    return b"".join((_HEAD.pack(WIRE_VERSION, len(document)), document, *binary))


_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=plain_value)


def _decoded(
    value: bytes, what: str, read: Callable[[dict[str, Any], memoryview], _ValueT]
) -> _ValueT:
    try:
        version, length = _HEAD.unpack_from(value)
    except struct.error:
        raise ValueError(f"this is no {what} of a shared run") from None
    if version != WIRE_VERSION:
        raise ValueError(
            f"a {what} of the run has format {version}, and this Callsheet reads format "
            f"{WIRE_VERSION}; use the same version of Callsheet on all machines"
        )
    rest = memoryview(value)[_HEAD.size :]
    try:
        fields: dict[str, Any] = json.loads(bytes(rest[:length]).decode("utf-8", "surrogatepass"))
        return read(fields, rest[length:])
    except (LookupError, TypeError, ArithmeticError, AttributeError, struct.error) as error:
        raise ValueError(f"this is no {what} of a shared run: {type(error).__name__}") from None
    except ValueError as error:
        raise ValueError(f"this is no {what} of a shared run: {error}") from None
