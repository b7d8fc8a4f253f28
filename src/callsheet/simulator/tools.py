"""Read the tools of a request, and which of them the model may or must call."""

import re
from collections.abc import Mapping

from .body import RequestBody, RequestRefused, invalid_type
from .generation import Tool, ToolOffer
from .prompt import count_tokens
from .wire import Json, canonical

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_CHOICES = ("auto", "none", "required")


def read_tool(item: RequestBody, schema: str, name: re.Pattern[str] = _NAME) -> Tool:
    """Return one tool.

    Args:
        item: the object with its name and schema.
        schema: the member with the JSON schema of its arguments.
        name: the pattern of valid names.

    Raises:
        RequestRefused: 400, the name is missing or invalid, or the schema is no object.
    """
    given = item.required("name")
    if not isinstance(given, str) or not name.fullmatch(given):
        raise RequestRefused(
            400,
            f"Invalid '{item.at}name': expected a string that matches '^{name.pattern}$'.",
            param=f"{item.at}name",
            code="invalid_value",
        )
    return Tool(given, item.object(schema).members)


def tool_tokens(tools: Json) -> int:
    """Return the tokens of the definitions of tools, as sent."""
    return count_tokens(canonical(tools)) if tools else 0


def offer_of(body: RequestBody, tools: list[Tool], choice: Json) -> ToolOffer:
    """Return the tools that the model may call.

    Args:
        body: the body of the request.
        tools: the tools of the request.
        choice: "auto", "none", "required", {"name": the only tool that may be called}, or None.

    Raises:
        RequestRefused: 400, the choice is invalid, or names no tool of the request.
    """
    in_parallel = body.members.get("parallel_tool_calls") is not False
    if isinstance(choice, Mapping):
        found = [tool for tool in tools if tool.name == choice.get("name")]
        if not found:
            raise RequestRefused(
                400,
                f"Tool choice '{choice.get('name')}' not found in 'tools' parameter.",
                param="tool_choice",
            )
        return ToolOffer(tuple(found), is_forced=True, in_parallel=False)
    if choice is None or choice == "auto":
        return ToolOffer(tuple(tools), in_parallel=in_parallel)
    if not isinstance(choice, str):
        raise invalid_type("tool_choice", "a string or an object", choice)
    if choice not in _CHOICES:
        raise RequestRefused.unsupported("tool_choice", choice, _CHOICES)
    if not tools:
        raise RequestRefused(
            400, "'tool_choice' is only allowed when 'tools' are specified.", param="tool_choice"
        )
    if choice == "none":
        return ToolOffer()
    return ToolOffer(tuple(tools), is_forced=True, in_parallel=in_parallel)
