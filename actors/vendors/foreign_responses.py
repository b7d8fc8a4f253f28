"""Translate requests in the words of OpenAI's Responses into its chats. Pure (R14).

{"type": "function_call", "call_id"}             {"tool_calls": [{"id", "function"}]}
{"type": "function_call_output", "call_id"}      {"role": "tool", "tool_call_id"}
{"type": "input_text"}, {"type": "input_image"}  {"type": "text"}, {"type": "image_url"}
{"instructions": "..."}                          {"role": "system", "content": "..."}

Reasoning, which only its provider can read again, is left out.
"""

from collections.abc import Mapping
from typing import final

from ..chat_members import Role
from ..chat_message import ChatMessage
from ..json_value import Json
from ..messages import Request
from .decoding import object_of, text_of
from .format import UnsupportedField

_WITHOUT_EFFECT = frozenset(
    {
        *("instructions", "max_tool_calls", "metadata", "prompt_cache_key"),
        *("prompt_cache_options", "prompt_cache_retention", "safety_identifier", "store"),
        *("stream_options", "user"),
    }
)
"""Members that have no effect on the text of a response, or that are translated elsewhere."""

_USUAL: Mapping[str, tuple[Json, ...]] = {
    "background": (False,),
    "include": ([], ["reasoning.encrypted_content"]),
    "truncation": ("disabled",),
}
_AUTHORS: Mapping[str, Role] = {"user": "user", "system": "system", "developer": "developer"}
_KEPT = frozenset(
    {"parallel_tool_calls", "service_tier", "serviceTier", "tool_choice", "tools", "top_logprobs"}
)


def chat_of_responses(request: Request, format_name: str) -> tuple[ChatMessage, ...]:
    """Return the messages of a request as those of a chat.

    Args:
        request: a request in the words of OpenAI's Responses.
        format_name: name of the wire format that it is for, for errors.

    Raises:
        UnsupportedField: an item or a part has no equivalent.
    """
    writer = _ChatWriter(format_name)
    instructions = request.extra_body.get("instructions")
    if isinstance(instructions, str) and instructions:
        writer.messages.append(ChatMessage("system", instructions))
    for message in request.messages:
        output = None if message.native is None else message.native.get("output")
        if not isinstance(output, list):
            writer.add_message(message.role, message.content)
        for item in output if isinstance(output, list) else ():
            writer.add(item if isinstance(item, dict) else {})
    return tuple(writer.messages)


@final
class _ChatWriter:
    """Writes items as messages. The calls after a message of the assistant belong to it.

    Args:
        name: name of the wire format, for errors.

    Attributes:
        messages: those that were written.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self.messages: list[ChatMessage] = []

    def add(self, item: Mapping[str, Json]) -> None:
        """Write an item."""
        kind = text_of(item, "type") or "message"
        if kind == "message":
            self.add_message(text_of(item, "role"), item.get("content"))
        elif kind == "function_call":
            own: dict[str, Json] = {
                "name": text_of(item, "name"),
                "arguments": text_of(item, "arguments"),
            }
            self._add_call(item, {"type": "function", "function": own})
        elif kind == "custom_tool_call":
            own = {"name": text_of(item, "name"), "input": text_of(item, "input")}
            self._add_call(item, {"type": "custom", "custom": own})
        elif kind in ("function_call_output", "custom_tool_call_output"):
            extra: dict[str, Json] = {"tool_call_id": text_of(item, "call_id")}
            text = self._result_text(item.get("output"))
            self.messages.append(ChatMessage("tool", text, extra=extra))
        elif kind != "reasoning":
            raise UnsupportedField(f"an item of the type {kind!r:.40}", self._name)

    def add_message(self, role: str, content: Json) -> None:
        """Write a message.

        Args:
            role: the author of the message.
            content: its text, or its parts.
        """
        if role == "assistant":
            self.messages.append(self._said(content))
            return
        author = _AUTHORS.get(role)
        if author is None:
            raise UnsupportedField(f"a message with the role {role!r:.40}", self._name)
        parts = content if isinstance(content, list) else None
        if parts is None:
            self.messages.append(ChatMessage(author, content if isinstance(content, str) else ""))
            return
        written = [self._part(part if isinstance(part, dict) else {}) for part in parts]
        texts = [text_of(part, "text") for part in written]
        if len(written) == 1 and texts[0]:
            self.messages.append(ChatMessage(author, texts[0]))
            return
        extra: dict[str, Json] = {"content": list[Json](written)}
        self.messages.append(ChatMessage(author, "\n".join(filter(None, texts)), extra=extra))

    def _said(self, content: Json) -> ChatMessage:
        texts: list[str] = []
        for part in content if isinstance(content, list) else [{"text": content}]:
            members = part if isinstance(part, dict) else {}
            texts.append(text_of(members, "text") or text_of(members, "refusal"))
        return ChatMessage("assistant", "".join(texts))

    def _add_call(self, item: Mapping[str, Json], members: Mapping[str, Json]) -> None:
        call: Json = {"id": text_of(item, "call_id"), **members}
        last = self.messages[-1] if self.messages else None
        if last is None or last.role != "assistant":
            self.messages.append(
                ChatMessage("assistant", "", extra={"content": None, "tool_calls": [call]})
            )
            return
        earlier = (last.extra or {}).get("tool_calls")
        calls = [*(earlier if isinstance(earlier, list) else ()), call]
        extra: dict[str, Json] = {**(last.extra or {}), "tool_calls": calls}
        self.messages[-1] = ChatMessage("assistant", last.content, extra=extra)

    def _result_text(self, output: Json) -> str:
        texts: list[str] = []
        for part in output if isinstance(output, list) else [output]:
            if isinstance(part, dict) and part.get("type") != "input_text":
                raise UnsupportedField("a tool result that is no text", self._name)
            texts.append(text_of(part, "text") if isinstance(part, dict) else str(part or ""))
        return "\n".join(texts)

    def _part(self, part: Mapping[str, Json]) -> dict[str, Json]:
        kind = text_of(part, "type")
        if kind in ("input_text", "output_text", "text"):
            return {"type": "text", "text": text_of(part, "text")}
        if kind == "input_image" and (url := text_of(part, "image_url")):
            detail = part.get("detail")
            image: dict[str, Json] = {"url": url, **({} if detail is None else {"detail": detail})}
            return {"type": "image_url", "image_url": image}
        if kind == "input_file" and part.get("file_data"):
            names = ("filename", "file_data")
            own: dict[str, Json] = {name: part[name] for name in names if name in part}
            return {"type": "file", "file": own}
        raise UnsupportedField(f"a part of the type {kind!r:.40} in this form", self._name)


def chat_members_of_responses(request: Request, format_name: str) -> dict[str, Json]:
    """Return the further members of a request as those of a chat.

    Args:
        request: a request in the words of OpenAI's Responses.
        format_name: name of the wire format that it is for, for errors.

    Raises:
        UnsupportedField: a member has no equivalent; names it.
    """
    written: dict[str, Json] = {}
    for name, value in request.extra_body.items():
        if value is None or name in _WITHOUT_EFFECT or value in _USUAL.get(name, ()):
            continue
        if name == "reasoning" and isinstance(value, dict):
            if (effort := value.get("effort")) is not None:
                written["reasoning_effort"] = effort
        elif name == "text" and isinstance(value, dict):
            written |= _text_members(request, value)
        elif name in _KEPT:
            written[name] = value
        else:
            raise UnsupportedField(name, format_name)
    return written


def _text_members(request: Request, text: Mapping[str, Json]) -> dict[str, Json]:
    """Return what ``text`` says. The schema itself is a field of the request."""
    written: dict[str, Json] = {}
    if (verbosity := text.get("verbosity")) is not None:
        written["verbosity"] = verbosity
    if "format" in text:
        wanted: Json = object_of(text, "format")
        is_named = request.json_schema is not None
        written["response_format"] = {"json_schema": wanted} if is_named else wanted
    return written
