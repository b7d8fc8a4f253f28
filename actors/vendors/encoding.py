"""What all wire formats share when they encode a request."""

from collections.abc import Mapping

import attrs

from ..json_value import Json
from ..messages import ChatMessage, Request
from .format import UnsupportedField

_EVERYWHERE = frozenset(
    {
        *("model", "task", "api", "extra_body", "max_tokens_name"),
        *("cacheable", "packable", "deadline", "idempotency_key"),
    }
)
"""Fields that every format handles itself, or that are never in a body."""

_DEFAULTS: tuple[tuple[str, object], ...] = tuple(
    (field.name, () if field.name in ("messages", "inputs", "stop", "tools") else field.default)
    for field in attrs.fields(Request)
    if field.name not in _EVERYWHERE
)


def check_supported(
    request: Request,
    format_name: str,
    supported: frozenset[str],
    unknown: frozenset[str] = frozenset(),
) -> None:
    """Check that the format and the server support every field that a request sets.

    Args:
        request: the request to encode.
        format_name: name of the format, for the error.
        supported: the fields that the format supports.
        unknown: those of them that the server does not support.

    Raises:
        UnsupportedField: one of them does not support a field; names both.
    """
    for name, default in _DEFAULTS:
        if (name in supported and name not in unknown) or getattr(request, name) == default:
            continue
        if name in unknown:
            format_name += " on this server"
        raise UnsupportedField(name, format_name)


def add_extra(
    body: dict[str, Json], request: Request, format_name: str, reserved: frozenset[str]
) -> dict[str, Json]:
    """Return `body` with the members of `extra_body`, which win; objects are merged recursively.

    Args:
        body: the body by the fields of the request; it is changed.
        request: the request that has the `extra_body`.
        format_name: name of the format, for the error.
        reserved: members that must be set by the request's own fields, because they decide how
            the response is decoded.

    Raises:
        UnsupportedField: `extra_body` has a reserved member.
    """
    for name in request.extra_body:
        if name in reserved:
            why = "it decides how the response is decoded: set it by the request's own field"
            raise UnsupportedField(f"extra_body[{name!r}]", format_name, why)
    return _merged(body, request.extra_body) if request.extra_body else body


def _merged(body: dict[str, Json], extra: Mapping[str, Json]) -> dict[str, Json]:
    for name, value in extra.items():
        known = body.get(name)
        body[name] = (
            _merged(dict(known), value)
            if isinstance(known, dict) and isinstance(value, Mapping)
            else value
        )
    return body


def expected_choices(request: Request) -> int:
    """Return how many choices a request asks for."""
    return request.n * max(1, len(request.inputs))


def split_system(
    request: Request, format_name: str
) -> tuple[tuple[str, ...], tuple[ChatMessage, ...]]:
    """Split a chat into the texts of its leading system messages, and the messages after them.

    This is for formats that send system messages separately. A later system message cannot be
    moved there, because it would then apply to the messages before it, too.

    Raises:
        UnsupportedField: there is a later system message, there are only system messages, or a
            message has a role or members that such a format does not support.
    """
    messages = request.messages
    first = next(
        (at for at, message in enumerate(messages) if not _is_system(message)), len(messages)
    )
    if first == len(messages):
        raise UnsupportedField("a chat of system messages only", format_name, "add a user message")
    if any(_is_system(message) for message in messages[first:]):
        field = "a system message after the first user message"
        raise UnsupportedField(field, format_name, "move it to the beginning")
    if any(message.extra for message in messages[:first]):
        raise UnsupportedField("extra in a system message", format_name)
    for message in messages[first:]:
        if message.role not in ("user", "assistant"):
            raise UnsupportedField(f"a message with the role {message.role!r}", format_name)
    return tuple(message.content for message in messages[:first]), messages[first:]


def _is_system(message: ChatMessage) -> bool:
    return message.role in ("system", "developer")
