"""Read the tools of a request, which of them may or must be called, and the results of calls."""

import re
from collections.abc import Mapping, Sequence

from .body import RequestBody, RequestRefused, invalid_type
from .generation import OfferedTool, ToolOffer
from .prompt import count_tokens
from .wire import Json, canonical

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_CHOICES = ("auto", "none", "required")


def read_tool(item: RequestBody, schema: str, name: re.Pattern[str] = _NAME) -> OfferedTool:
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
    return OfferedTool(given, item.object(schema).members)


def tool_tokens(tools: Json) -> int:
    """Return the tokens of the definitions of tools, as sent."""
    return count_tokens(canonical(tools)) if tools else 0


def offer_of(body: RequestBody, tools: list[OfferedTool], choice: Json) -> ToolOffer:
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


def check_chat_results(messages: Sequence[Json]) -> None:
    """Check that the results of tools follow their calls in the messages of a chat.

    Raises:
        RequestRefused: 400, a call has no result, or a result no call.
    """
    open_calls: list[str] = []
    for message in (*messages, {"role": "end"}):
        members = message if isinstance(message, dict) else {}
        if members.get("role") == "tool":
            called = str(members.get("tool_call_id"))
            if called not in open_calls:
                raise RequestRefused(
                    400,
                    "Invalid parameter: messages with role 'tool' must be a response to a "
                    "preceding message with 'tool_calls'.",
                    param="messages",
                )
            open_calls.remove(called)
            continue
        if open_calls:
            raise RequestRefused(
                400,
                "An assistant message with 'tool_calls' must be followed by tool messages "
                "responding to each 'tool_call_id'. The following tool_call_ids did not have "
                f"response messages: {', '.join(open_calls)}",
                param="messages",
            )
        open_calls = _ids(members.get("tool_calls"), "id")


def check_block_results(messages: Sequence[Json]) -> None:
    """Check that each message with calls of tools is followed by all their results, as blocks.

    Raises:
        RequestRefused: 400, a call has no result in the next message, or a result no call.
    """
    called: list[str] = []
    for i, message in enumerate(messages):
        content = message.get("content") if isinstance(message, dict) else None
        results = _ids(content, "tool_use_id", "tool_result")
        for result in results:
            if result not in called:
                raise RequestRefused(
                    400,
                    f"unexpected `tool_use_id` found in `tool_result` blocks: {result}. Each "
                    "`tool_result` block must have a corresponding `tool_use` block in the "
                    "previous message.",
                    param=f"messages[{i}]",
                )
        _refuse_open_blocks(i - 1, [call for call in called if call not in results])
        called = _ids(content, "id", "tool_use")
    _refuse_open_blocks(len(messages) - 1, called)


def check_item_results(items: Sequence[Json]) -> None:
    """Check that each call of a function has its output among the items of a response.

    Raises:
        RequestRefused: 400, a call has no output, or an output no call.
    """
    called = _ids(items, "call_id", "function_call")
    outputs = _ids(items, "call_id", "function_call_output")
    for call in called:
        if call not in outputs:
            raise RequestRefused(
                400, f"No tool output found for function call {call}.", param="input"
            )
    for output in outputs:
        if output not in called:
            raise RequestRefused(
                400,
                f"No tool call found for function call output with call_id {output}.",
                param="input",
            )


def _ids(items: Json | Sequence[Json], name: str, kind: str | None = None) -> list[str]:
    """Return a member of each object of a list, of one type only if `kind` is given."""
    objects = [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []
    return [str(item.get(name)) for item in objects if kind in (None, item.get("type"))]


def _refuse_open_blocks(index: int, calls: list[str]) -> None:
    if calls:
        raise RequestRefused(
            400,
            "`tool_use` ids were found without `tool_result` blocks immediately after: "
            f"{', '.join(calls)}. Each `tool_use` block must have a corresponding `tool_result` "
            "block in the next message.",
            param=f"messages[{index}]",
        )
