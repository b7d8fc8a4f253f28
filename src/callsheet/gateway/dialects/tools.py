"""Read the tools of a body, and the choice among them, as fields of a request."""

from functools import lru_cache
from typing import cast

import orjson

from ...actors import Json, Tool
from ...bodies import wrong_kind

_CHOICES = frozenset({"auto", "none", "required"})
_MAX_BYTES = 64 * 1024  # of tools that are remembered


def take_tools(fields: dict[str, object], extra: dict[str, Json], dialect: str) -> bool:
    """Read the tools of a body as fields, where a provider of the same dialect gets the same ones.

    Otherwise they stay in `extra`, which is sent unchanged.

    Args:
        fields: the fields of the request.
        extra: the other members of the body.
        dialect: what `Tool.dialect` is of a function in the body.

    Returns:
        Whether the tools are fields now.

    Raises:
        InvalidBody: they are no list.
    """
    given = extra.get("tools")
    if given is None:
        extra.pop("tools", None)
        return False
    if not isinstance(given, list):
        raise wrong_kind("tools", "a list", given)
    tools = _known_tools(given, dialect)
    if tools is None:
        return False
    fields["tools"] = tools
    del extra["tools"]
    return True


def _known_tools(given: list[Json], dialect: str) -> tuple[Tool, ...] | None:
    """Return tools; None if they cannot be fields.

    An agent sends the same tools with each of its calls, and reading them takes longer than all
    else that is read.
    """
    try:
        text = orjson.dumps(given)
    except TypeError:  # nested too deeply, or half of a surrogate pair
        return _tools_of(given, dialect)
    return _remembered(text, dialect) if len(text) <= _MAX_BYTES else _tools_of(given, dialect)


@lru_cache(maxsize=128)
def _remembered(text: bytes, dialect: str) -> tuple[Tool, ...] | None:
    return _tools_of(orjson.loads(text), dialect)


def _tools_of(given: list[Json], dialect: str) -> tuple[Tool, ...] | None:
    tools: dict[str, Tool] = {}
    for one in given:
        try:
            found = Tool.defined(one)
        except (ValueError, TypeError):
            return None
        if len(found) != 1 or found[0].definition != one or found[0].name in tools:
            return None
        if found[0].dialect not in (dialect, None):
            return None
        tools[found[0].name] = found[0]
    return tuple(tools.values()) or None


def take_choice(fields: dict[str, object], extra: dict[str, Json], *, is_flat: bool) -> None:
    """Read OpenAI's ``tool_choice`` as a field, if the tools are one.

    Args:
        fields: the fields of the request.
        extra: the other members of the body.
        is_flat: whether it has the shape of Responses.
    """
    given = extra.get("tool_choice")
    if given is None:
        extra.pop("tool_choice", None)
        return
    tools = cast("tuple[Tool, ...]", fields.get("tools", ()))
    if not tools:
        return
    if isinstance(given, str):
        choice = given if given in _CHOICES else ""
    else:
        choice = _named(given, tools, is_flat=is_flat)
    if choice:
        fields["tool_choice"] = choice
        del extra["tool_choice"]


def _named(choice: Json, tools: tuple[Tool, ...], *, is_flat: bool) -> str:
    """Return the name of the tool that a choice is; "" for any other choice."""
    if not isinstance(choice, dict):
        return ""
    kind = choice.get("type")
    inner: Json = choice if is_flat or not isinstance(kind, str) else choice.get(kind)
    name = inner.get("name") if isinstance(inner, dict) else None
    for tool in tools:
        if tool.name == name and tool.name not in _CHOICES and tool.definition is not None:
            named: dict[str, Json] = {"name": name}
            written = named if is_flat else {str(kind): named}
            if choice == {"type": kind, **written} and tool.definition.get("type") == kind:
                return tool.name
    return ""
