"""The texts of calls in the form that the GenAI conventions have for them, as JSON."""

import json
from collections.abc import Callable, Iterable
from typing import TypeAlias, cast

from ..actors import ChatMessage, Choice, Request, redact_secrets
from . import names

_Part: TypeAlias = dict[str, object]
_SYSTEM_ROLES = ("system", "developer")


def hide_keys(text: str) -> str:
    """Replace what looks like a key in a text with ``***`` (L8).

    Args:
        text: a text of a message.
    """
    return str(redact_secrets(None, "", {"text": text})["text"])


def input_content(request: Request, redact: Callable[[str], str]) -> dict[str, str]:
    """Return the attributes with the texts of a request as it is sent.

    Args:
        request: the request after all stages.
        redact: changes each text before it is recorded.
    """
    system: list[_Part] = []
    messages: list[_Part] = [
        {"role": "user", "parts": [_text(text, redact)]} for text in request.inputs
    ]
    for message in request.messages:
        parts = _parts_of(message, redact)
        if message.role in _SYSTEM_ROLES:
            system += parts
        else:
            messages.append({"role": message.role, "parts": parts})
    found = {names.INPUT_MESSAGES: _json(messages)}
    if system:
        found[names.SYSTEM_INSTRUCTIONS] = _json(system)
    if request.tools:
        tools: list[_Part] = [
            {"type": "function", "name": tool.name, "description": redact(tool.description)}
            for tool in request.tools
        ]
        found[names.TOOL_DEFINITIONS] = _json(tools)
    return found


def output_content(choices: Iterable[Choice], redact: Callable[[str], str]) -> dict[str, str]:
    """Return the attributes with the texts of a response as it arrived.

    Args:
        choices: what the model generated.
        redact: changes each text before it is recorded.
    """
    messages: list[_Part] = []
    for choice in choices:
        parts: list[_Part] = []
        if choice.reasoning:
            parts.append({"type": "reasoning", "content": redact(choice.reasoning)})
        if text := choice.text or choice.refusal:
            parts.append(_text(text, redact))
        parts += (
            _tool_call(call.id, call.name, call.arguments, redact) for call in choice.tool_calls
        )
        reason = choice.finish_reason or "error"
        messages.append({"role": "assistant", "parts": parts, "finish_reason": reason})
    return {names.OUTPUT_MESSAGES: _json(messages)} if messages else {}


def _parts_of(message: ChatMessage, redact: Callable[[str], str]) -> list[_Part]:
    body = message.body
    if message.role == "tool":
        id_, result = body.get("tool_call_id"), redact(message.content)
        return [{"type": "tool_call_response", "id": id_, "response": result}]
    content = body.get("content")
    if isinstance(content, list):
        parts = [_part(part, redact) for part in content]
    else:
        parts = [_text(message.content, redact)] if message.content else []
    calls = message.tool_calls
    return [*parts, *(_tool_call(call.id, call.name, call.arguments, redact) for call in calls)]


def _part(part: object, redact: Callable[[str], str]) -> _Part:
    """Return a part of a message. Of what is no text, only the kind is recorded."""
    members = cast("dict[str, object]", part) if isinstance(part, dict) else {}
    text = members.get("text")
    if isinstance(text, str):
        return _text(text, redact)
    return {"type": str(members.get("type", "unknown"))}


def _text(text: str, redact: Callable[[str], str]) -> _Part:
    return {"type": "text", "content": redact(text)}


def _tool_call(id_: str, name: str, arguments: str, redact: Callable[[str], str]) -> _Part:
    return {"type": "tool_call", "id": id_, "name": name, "arguments": redact(arguments)}


def _json(value: list[_Part]) -> str:
    return json.dumps(value)  # in ASCII, since texts may have invalid Unicode
