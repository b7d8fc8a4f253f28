"""What is the same in writing a request in any wire format."""

from collections.abc import Mapping

import attrs

from ..messages import ChatMessage, Json, Request
from .format import UnsupportedField

__all__ = [
    "EVERYWHERE",
    "add_extra",
    "expected_answers",
    "refuse_unless_expressed",
    "system_and_turns",
]


EVERYWHERE = frozenset(
    {"model", "task", "extra_body", "cacheable", "packable", "deadline", "idempotency_key"}
)
"""Fields that say what is asked of whom, or are never in a body; every format copes with them."""

_DEFAULTS: tuple[tuple[str, object], ...] = tuple(
    (field.name, () if field.name in ("messages", "inputs", "stop") else field.default)
    for field in attrs.fields(Request)
    if field.name not in EVERYWHERE
)


def refuse_unless_expressed(
    request: Request,
    format_name: str,
    expressed: frozenset[str],
    unknown: frozenset[str] = frozenset(),
) -> None:
    """Refuse a request that sets a field which the format, or the server, has no word for.

    Args:
        request: the request.
        format_name: the format's name, for the error.
        expressed: the fields it has a word for.
        unknown: those of them that the server does not know.

    Raises:
        UnsupportedField: names the field and the format.
    """
    for name, default in _DEFAULTS:
        if (name in expressed and name not in unknown) or getattr(request, name) == default:
            continue
        if name in unknown:
            format_name += ", as this server speaks it,"
        raise UnsupportedField(name, format_name)


def add_extra(
    body: dict[str, Json], request: Request, format_name: str, reserved: frozenset[str]
) -> dict[str, Json]:
    """`body` with the request's extra members, which win; objects are merged member by member.

    Args:
        body: what the fields of the request say.
        request: the request.
        format_name: the format's name, for the error.
        reserved: members by which the answer is read, so that they have to be set elsewhere.

    Raises:
        UnsupportedField: `extra_body` has a reserved member.
    """
    for name in request.extra_body:
        if name in reserved:
            why = "it decides how the answer is read, so set it in the request's own field"
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


def expected_answers(request: Request) -> int:
    """How many answers a request asks for."""
    return request.n * max(1, len(request.inputs))


def system_and_turns(
    request: Request, format_name: str
) -> tuple[tuple[str, ...], tuple[ChatMessage, ...]]:
    """The texts of the system turns a chat begins with, and the turns after them.

    For formats where they stand apart. A later one cannot be moved there: it would come to mean
    all that was said before it, too.

    Raises:
        UnsupportedField: a system turn stands later on, there are only system turns, or a turn
            no such format has.
    """
    turns = request.messages
    first = next((at for at, turn in enumerate(turns) if not _is_system(turn)), len(turns))
    if first == len(turns):
        raise UnsupportedField("messages of system turns alone", format_name, "add a user turn")
    if any(_is_system(turn) for turn in turns[first:]):
        field = "messages with a system turn after the first user turn"
        raise UnsupportedField(field, format_name, "move it to the beginning")
    if any(turn.extra for turn in turns[:first]):
        raise UnsupportedField("extra of a system turn", format_name)
    for turn in turns[first:]:
        if turn.role not in ("user", "assistant"):
            raise UnsupportedField(f"a turn of the role {turn.role!r}", format_name)
    return tuple(turn.content for turn in turns[:first]), turns[first:]


def _is_system(turn: ChatMessage) -> bool:
    return turn.role in ("system", "developer")
