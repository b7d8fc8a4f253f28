"""Translate requests in Anthropic's words into OpenAI's chats. Pure (R14).

{"type": "tool_use", "id", "name", "input"}     {"tool_calls": [{"id", "function": {"name"}}]}
{"type": "tool_result", "tool_use_id"}          {"role": "tool", "tool_call_id"}
{"type": "image"}, {"type": "document"}         {"type": "image_url"}, {"type": "file"}

Thinking, which only Anthropic can read again, and marks for its cache are left out.
"""

from collections.abc import Mapping

from ..chat_message import ChatMessage
from ..json_value import Json
from ..messages import Request
from .decoding import json_text, object_of, text_of
from .format import UnsupportedField

_LEFT_OUT = frozenset({"thinking", "redacted_thinking"})
_WITHOUT_EFFECT = frozenset({"cache_control", "inference_geo", "metadata"})
_USUAL = {"service_tier": "standard_only", "speed": "standard"}
_OPENAIS = frozenset(
    {
        *("prompt_cache_key", "prompt_cache_options", "prompt_cache_retention"),
        *("service_tier", "serviceTier"),
        "top_k",  # `translated` refuses it for a chat
    }
)
_SEE_BELOW = "The image is in the next message."
_SERIAL = "disable_parallel_tool_use"
_BUDGETS = ((4096, "low"), (16384, "medium"))
"""(tokens of thinking, effort): the effort of a budget below so many tokens; above, it is high."""


def chat_of_anthropic(request: Request, format_name: str) -> tuple[ChatMessage, ...]:
    """Return the messages of a request as those of a chat.

    Args:
        request: a request in Anthropic's words.
        format_name: name of the wire format that it is for, for errors.

    Raises:
        UnsupportedField: a block of a message has no equivalent.
    """
    messages: list[ChatMessage] = []
    for message in request.messages:
        if message.role in ("system", "developer"):
            messages.append(ChatMessage(message.role, message.content))
            continue
        content = message.body_with("content").get("content")
        if not isinstance(content, list):
            messages.append(ChatMessage(message.role, message.content))
        elif message.role == "assistant":
            messages.append(_said(content, format_name))
        else:
            messages += _asked(content, format_name)
    return tuple(messages)


def _said(content: list[Json], format_name: str) -> ChatMessage:
    """Return a message of the assistant: its text, and its tool calls."""
    texts: list[str] = []
    calls: list[Json] = []
    for block in content:
        members = block if isinstance(block, dict) else {}
        kind = text_of(members, "type")
        if kind == "text":
            texts.append(text_of(members, "text"))
        elif kind == "tool_use":
            arguments = json_text(object_of(members, "input"))
            function: Json = {"name": text_of(members, "name"), "arguments": arguments}
            calls.append({"id": text_of(members, "id"), "type": "function", "function": function})
        elif kind not in _LEFT_OUT:
            raise UnsupportedField(f"a block of the type {kind!r:.40}", format_name)
    text = "".join(texts)
    if not calls:
        return ChatMessage("assistant", text)
    extra: dict[str, Json] = {"tool_calls": calls}
    return ChatMessage("assistant", text, extra=extra if text else {"content": None, **extra})


def _asked(content: list[Json], format_name: str) -> list[ChatMessage]:
    """Return the messages for one of the user: the results of tools, then what else it has.

    A result of a chat is a text. Images in it follow in the message after the results.
    """
    results: list[ChatMessage] = []
    parts: list[Json] = []
    texts: list[str] = []
    for block in content:
        members = block if isinstance(block, dict) else {}
        if members.get("type") == "tool_result":
            result, images = _result(members, format_name)
            results.append(result)
            parts += images
            continue
        parts.append(_part(members, format_name))
        texts.append(text_of(members, "text"))
    if not parts:
        return results
    text = "\n".join(filter(None, texts))
    if len(parts) == 1 and text:
        return [*results, ChatMessage("user", text)]
    return [*results, ChatMessage("user", text, extra={"content": parts})]


def _result(block: Mapping[str, Json], format_name: str) -> tuple[ChatMessage, list[Json]]:
    """Return the result of a tool as a text, and the images in it."""
    content = block.get("content")
    texts: list[str] = []
    images: list[Json] = []
    for part in content if isinstance(content, list) else [content]:
        if isinstance(part, dict) and part.get("type") == "image":
            images.append(_part(part, format_name))
        elif isinstance(part, dict) and part.get("type") == "text":
            texts.append(text_of(part, "text"))
        elif part is None or isinstance(part, str):
            texts.append(part or "")
        else:
            raise UnsupportedField("a tool result that is no text", format_name)
    extra: dict[str, Json] = {"tool_call_id": text_of(block, "tool_use_id")}
    text = "\n".join(texts) or (_SEE_BELOW if images else "")
    return ChatMessage("tool", text, extra=extra), images


def _part(block: Mapping[str, Json], format_name: str) -> Json:
    kind, source = text_of(block, "type"), object_of(block, "source")
    if kind == "text":
        return {"type": "text", "text": text_of(block, "text")}
    data = f"data:{text_of(source, 'media_type')};base64,{text_of(source, 'data')}"
    form = text_of(source, "type")
    if kind == "image" and form in ("base64", "url"):
        url = data if form == "base64" else text_of(source, "url")
        return {"type": "image_url", "image_url": {"url": url}}
    if kind == "document" and form == "text":
        return {"type": "text", "text": text_of(source, "data")}
    if kind == "document" and form == "base64":
        name = text_of(block, "title") or "document.pdf"
        return {"type": "file", "file": {"filename": name, "file_data": data}}
    raise UnsupportedField(f"a block of the type {kind!r:.40} in this form", format_name)


def chat_members_of_anthropic(request: Request, format_name: str) -> dict[str, Json]:
    """Return the further members of a request as those of a chat.

    Args:
        request: a request in Anthropic's words.
        format_name: name of the wire format that it is for, for errors.

    Raises:
        UnsupportedField: a member has no equivalent; names it.
    """
    written: dict[str, Json] = {}
    for name, value in request.extra_body.items():
        if _has_no_effect(name, value):
            continue
        if name == "thinking" and isinstance(value, dict):
            if (asked := _effort(value)) is not None:
                written.setdefault("reasoning_effort", asked)
        elif name == "output_config" and isinstance(value, dict) and set(value) <= {"effort"}:
            if (effort := value.get("effort")) is not None:
                written["reasoning_effort"] = effort
        elif name == "tool_choice" and isinstance(value, dict) and set(value) == {_SERIAL}:
            if request.tools:
                written["parallel_tool_calls"] = not value[_SERIAL]
        elif name in _OPENAIS:
            written[name] = value
        else:
            raise UnsupportedField(name, format_name)
    if request.json_schema is not None and not _is_strict(request.json_schema):
        written["response_format"] = {"json_schema": {"strict": False}}
    return written


def _has_no_effect(name: str, value: Json) -> bool:
    """Return whether a member has no effect on the text, or says what happens without it."""
    if value is None or name in _WITHOUT_EFFECT or value == _USUAL.get(name):
        return True
    return name == "context_management" and _is_about_thinking(value)


def _is_about_thinking(management: Json) -> bool:
    """Return whether the context is edited in its thinking only, which is left out anyway."""
    edits = management.get("edits") if isinstance(management, dict) else None
    return isinstance(edits, list) and all(
        isinstance(edit, dict) and text_of(edit, "type").startswith("clear_thinking")
        for edit in edits
    )


def _is_strict(schema: Json | Mapping[str, Json]) -> bool:
    """Return whether OpenAI's strict mode takes a schema: no member of an object is optional."""
    if isinstance(schema, list):
        return all(map(_is_strict, schema))
    if not isinstance(schema, Mapping):
        return True
    members, needed = schema.get("properties"), schema.get("required")
    if isinstance(members, dict):
        is_open = schema.get("additionalProperties") is not False
        if is_open or not isinstance(needed, list) or any(name not in needed for name in members):
            return False
    return all(map(_is_strict, schema.values()))


def _effort(thinking: Mapping[str, Json]) -> str | None:
    """Return the effort of a budget; None if thinking is off, or as the model sees fit."""
    if thinking.get("type") != "enabled":
        return None
    budget = thinking.get("budget_tokens")
    tokens = budget if isinstance(budget, int) else 0
    return next((effort for below, effort in _BUDGETS if tokens < below), "high")
