"""The members of a body that offer tools, in each wire format. Pure (R14).

A tool that was given in the words of a provider's API goes there unchanged. A function goes to the
other formats by its name, its description and its schema.
"""

from collections.abc import Mapping
from types import MappingProxyType

from ..json_value import Json
from ..messages import Request
from ..tools import Tool, ToolDialect, function_of

# {choice of a request: Anthropic's}
_ANTHROPIC_CHOICES = {"auto": "auto", "none": "none", "required": "any"}
_GEMINI_CHOICES = {"auto": "AUTO", "none": "NONE", "required": "ANY"}
_OPENAI_CHOICES = frozenset({"auto", "none", "required"})


def chat_tools(request: Request, *, strict: bool) -> dict[str, Json]:
    """Return the members of OpenAI's chat format; none for a request without tools.

    Args:
        request: the request to encode.
        strict: whether the strict mode is used for schemas that allow it.
    """
    members: dict[str, Json] = {}
    if request.tools:
        members["tools"] = [
            _unchanged(tool, "chat")
            or {"type": "function", "function": _strict(tool) if strict else _function(tool)}
            for tool in request.tools
        ]
    if request.tool_choice is not None:
        members["tool_choice"] = _openai_choice(request, is_flat=False)
    return members


def responses_tools(request: Request, *, strict: bool) -> dict[str, Json]:
    """Return the members of OpenAI's Responses format; none for a request without tools.

    Args:
        request: the request to encode.
        strict: whether the strict mode is used for schemas that allow it.
    """
    members: dict[str, Json] = {}
    if request.tools:
        members["tools"] = [
            _unchanged(tool, "responses")
            or {
                "type": "function",
                "strict": False,
                **(_strict(tool) if strict else _function(tool)),
            }
            for tool in request.tools
        ]
    if request.tool_choice is not None:
        members["tool_choice"] = _openai_choice(request, is_flat=True)
    return members


def anthropic_tools(request: Request) -> dict[str, Json]:
    """Return the members of Anthropic's format; none for a request without tools."""
    members: dict[str, Json] = {}
    if request.tools:
        members["tools"] = [
            _unchanged(tool, "anthropic") or _function(tool, "input_schema")
            for tool in request.tools
        ]
    choice = request.tool_choice
    if choice is not None:
        kind = _ANTHROPIC_CHOICES.get(choice)
        members["tool_choice"] = {"type": kind} if kind else {"type": "tool", "name": choice}
    return members


def gemini_tools(request: Request) -> dict[str, Json]:
    """Return the members of Gemini's format; none for a request without tools."""
    members: dict[str, Json] = {}
    functions, others = list[Json](), list[Json]()
    for tool in request.tools:
        unchanged = _unchanged(tool, "gemini")
        if unchanged is None:
            functions.append(_function(tool, "parametersJsonSchema"))
        elif tool.dialect == "gemini":
            functions.append(dict(function_of(unchanged)))
        else:
            others.append(unchanged)
    if request.tools:
        declared: list[Json] = [{"functionDeclarations": functions}] if functions else []
        members["tools"] = [*declared, *others]
    choice = request.tool_choice
    if choice is not None:
        config: dict[str, Json] = {"mode": _GEMINI_CHOICES.get(choice, "ANY")}
        if choice not in _GEMINI_CHOICES:
            config["allowedFunctionNames"] = [choice]
        members["toolConfig"] = {"functionCallingConfig": config}
    return members


def _unchanged(tool: Tool, dialect: ToolDialect) -> dict[str, Json] | None:
    """Return the definition of a tool if it can be sent as it is: a function in this shape only."""
    if tool.definition is None or tool.dialect not in (dialect, None):
        return None
    return dict(tool.definition)


def _function(tool: Tool, schema: str = "parameters") -> dict[str, Json]:
    written: dict[str, Json] = {"name": tool.name}
    if tool.description:
        written["description"] = tool.description
    # Gemini refuses an object without members as a schema.
    if schema != "parametersJsonSchema" or tool.parameters.get("properties"):
        written[schema] = tool.schema
    return written


def _strict(tool: Tool) -> dict[str, Json]:
    """Return a function for OpenAI's strict mode if its schema allows that."""
    written = _function(tool)
    if tool.strict_schema is None:
        return written
    return {**written, "parameters": dict(tool.strict_schema), "strict": True}


def _openai_choice(request: Request, *, is_flat: bool) -> Json:
    choice = request.tool_choice
    if choice is None or choice in _OPENAI_CHOICES:
        return choice
    definitions = (tool.definition for tool in request.tools if tool.name == choice)
    kind = (next(definitions, None) or _FUNCTION).get("type", "function")
    if is_flat or not isinstance(kind, str):
        return {"type": kind, "name": choice}
    return {"type": kind, kind: {"name": choice}}


_FUNCTION: Mapping[str, Json] = MappingProxyType({"type": "function"})
