"""What all wire formats share when they encode a request."""

from collections.abc import Mapping

import attrs

from ..json_value import Json
from ..messages import Request
from .format import UnsupportedField

_EVERYWHERE = frozenset(
    {
        *("model", "task", "api", "dialect", "extra_body", "extra_headers", "max_tokens_name"),
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


def tool_calls_in(message: Mapping[str, Json], format_name: str) -> list[dict[str, Json]]:
    """Return the tool calls of a message in OpenAI's shape.

    Raises:
        UnsupportedField: they have another shape.
    """
    calls = message.get("tool_calls") or []
    found = [call for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []
    is_sound = all(isinstance(it.get("function") or it.get("custom"), dict) for it in found)
    if not isinstance(calls, list) or len(found) < len(calls) or not is_sound:
        why = "each must have a function with a name and arguments"
        raise UnsupportedField("a tool call in this form", format_name, why)
    return found
