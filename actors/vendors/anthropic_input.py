"""Write the messages of a chat in Anthropic's shape, from OpenAI's or their own. Pure (R14).

{"role": "system", "content": "..."} at the start   {"system": "..."}, or blocks with cache_control
{"role": "assistant", "tool_calls": [{"function"}]} {"content": [{"type": "tool_use", "input"}]}
{"role": "tool", "tool_call_id", "content"}         {"role": "user", "content": [{"tool_result"}]}
{"type": "image_url"}, {"type": "file"}             {"type": "image"}, {"type": "document"}

Blocks in Anthropic's own shape are sent unchanged.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import takewhile

from ..chat_message import ChatMessage
from ..json_value import Json
from .decoding import loads, object_of, text_of
from .encoding import tool_calls_in
from .format import UnsupportedField

_CACHE = "cache_control"
_DATA_URL = re.compile(r"data:([\w.+/-]+)(?:;[\w=.+-]+)*;base64,(.*)", re.DOTALL)
# What only the API of OpenAI has in a message. Reasoning has no signature there, which Anthropic
# requires; it is not needed.
_OF_OPENAI = frozenset(
    {
        *("content", "tool_calls", "tool_call_id", _CACHE, "refusal", "annotations", "audio"),
        *("reasoning", "reasoning_content", "reasoning_details", "function_call"),
    }
)


def anthropic_chat(
    messages: Sequence[ChatMessage], format_name: str
) -> tuple[str | list[Json], list[Json]]:
    """Return the member ``system``, which may be empty, and the member ``messages``.

    System messages at the beginning become ``system``. A later one stays in its place with the role
    "system": some models accept it there, and the others refuse it in words of their own.

    Args:
        messages: the messages of the chat.
        format_name: name of the format, for the error.

    Raises:
        UnsupportedField: there are only system messages, or a message has a part, a role or a tool
            call that Anthropic does not have.
    """
    leading = list(takewhile(_is_system, messages))
    if len(leading) == len(messages):
        raise UnsupportedField("a chat of system messages only", format_name, "add a user message")
    writer = _TurnWriter(format_name)
    for message in messages[len(leading) :]:
        writer.add(message.body_with("content"))
    return _system(leading, writer), writer.messages


def _is_system(message: ChatMessage) -> bool:
    return message.role in ("system", "developer")


def _system(leading: Sequence[ChatMessage], writer: "_TurnWriter") -> str | list[Json]:
    if not any(message.extra for message in leading):
        return "\n\n".join(message.content for message in leading)
    for name in (name for message in leading for name in message.extra or ()):
        if name not in ("role", "content", _CACHE):
            raise UnsupportedField(f"{name!r:.40} in a system message", writer.name)
    return [block for message in leading for block in writer.blocks(message.body)]


class _TurnWriter:
    """Writes messages one after the other.

    Args:
        name: name of the format, for errors.

    Attributes:
        name: name of the format, for errors.
        messages: those that were written.
    """

    def __init__(self, name: str) -> None:
        self.messages: list[Json] = []
        self.name = name
        self._results: list[Json] | None = None  # content of the last message, if of tool results

    def add(self, message: dict[str, Json]) -> None:
        """Write a message."""
        role = message.get("role")
        if role == "tool":
            self._add_result(message)
        elif role == "user" and self._results is not None:
            self._results += self.blocks(message)  # in one message, after all results
            self._results = None
        elif role in ("user", "assistant", "system", "developer"):
            self._results = None
            self._add_turn("system" if role == "developer" else role, message)
        else:
            field = f"a message with the role {role!r:.40}"
            raise UnsupportedField(field, self.name, "send the result with the role 'tool'")

    def _add_turn(self, role: str, message: dict[str, Json]) -> None:
        content, calls = message.get("content"), message.get("tool_calls")
        if message.get("function_call"):
            raise UnsupportedField("function_call in a message", self.name, "use tool_calls")
        if calls or not isinstance(content, str) or message.get(_CACHE):
            content = self.blocks(message)
        more = {name: value for name, value in message.items() if name not in _OF_OPENAI}
        self.messages.append({**more, "role": role, "content": content})

    def _add_result(self, message: dict[str, Json]) -> None:
        """Write the result of a tool. All results of a turn must be in one message."""
        content = message.get("content")
        written = content if isinstance(content, str) else self._parts(content)
        result: dict[str, Json] = {
            "type": "tool_result",
            "tool_use_id": text_of(message, "tool_call_id"),
            "content": written,
        }
        result |= {name: message[name] for name in ("is_error", _CACHE) if name in message}
        if self._results is None:
            self._results = []
            self.messages.append({"role": "user", "content": self._results})
        self._results.append(result)

    def blocks(self, message: Mapping[str, Json]) -> list[Json]:
        """Return the content of a message as blocks; ``cache_control`` is put on the last one."""
        blocks = self._parts(message.get("content"))
        refusal = message.get("refusal")
        if isinstance(refusal, str) and refusal and not blocks:
            blocks.append({"type": "text", "text": refusal})
        blocks += [self._call(call) for call in tool_calls_in(message, self.name)]
        mark = message.get(_CACHE)
        if mark and blocks and isinstance(last := blocks[-1], dict):
            blocks[-1] = {_CACHE: mark, **last}
        return blocks

    def _parts(self, content: Json) -> list[Json]:
        if isinstance(content, str):
            return [{"type": "text", "text": content}] if content else []
        if content is not None and not isinstance(content, list):
            raise UnsupportedField("content that is neither text nor parts", self.name)
        return [self._part(part) if isinstance(part, dict) else part for part in content or ()]

    def _part(self, part: dict[str, Json]) -> Json:
        kind = text_of(part, "type")
        more = {name: value for name, value in part.items() if name not in ("type", kind)}
        if kind == "image_url":
            image = part.get(kind)
            members = image if isinstance(image, dict) else {"url": image}
            if members.get("detail") not in (None, "auto"):
                raise UnsupportedField("the detail of an image", self.name)
            return {"type": "image", "source": self._source(text_of(members, "url")), **more}
        if kind == "file":
            members = object_of(part, kind)
            name = members.get("filename")
            source = self._source(text_of(members, "file_data"))
            return {
                "type": "document",
                "source": source,
                **({"title": name} if name else {}),
                **more,
            }
        if kind == "refusal":
            return {"type": "text", "text": part.get(kind), **more}
        if kind.startswith(("input_", "output_")) or kind.endswith("_url"):
            raise UnsupportedField(f"a part of the type {kind!r:.40} in a message", self.name)
        return part

    def _source(self, url: str) -> Json:
        if url.startswith(("http://", "https://")):
            return {"type": "url", "url": url}
        if found := _DATA_URL.fullmatch(url):
            return {"type": "base64", "media_type": found[1], "data": found[2]}
        why = "send its data as a data URL with base64, or its HTTP URL"
        raise UnsupportedField("an image or a file in this form", self.name, why)

    def _call(self, call: Mapping[str, Json]) -> Json:
        function = object_of(call, "function")
        written = function.get("arguments")
        try:
            given = (
                loads((written.strip() or "{}").encode()) if isinstance(written, str) else written
            )
        except ValueError:
            given = None
        if not isinstance(given, dict):
            why = "its arguments must be a JSON object"
            raise UnsupportedField("a tool call in this form", self.name, why)
        head = {"type": "tool_use", "id": text_of(call, "id"), "name": function.get("name")}
        mark = {_CACHE: call[_CACHE]} if _CACHE in call else {}
        return {**head, "input": given, **mark}
