"""Write the messages of a chat in Gemini's shape, from OpenAI's. Pure (R14).

{"role": "system"} at the start                  {"systemInstruction": {"parts": [{"text"}]}}
{"role": "assistant", "tool_calls": [...]}       {"role": "model", "parts": [{"functionCall"}]}
{"role": "tool", "tool_call_id", "content"}      {"role": "user", "parts": [{"functionResponse"}]}
{"type": "image_url"}, {"type": "input_audio"}   {"inlineData": {"mimeType", "data"}}
"""

import re
from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import final

from ..chat_message import ChatMessage
from ..json_value import Json
from .decoding import loads, object_of, text_of
from .format import UnsupportedField

_DATA_URL = re.compile(r"data:([\w.+/-]+)(?:;[\w=.+-]+)*;base64,(.*)", re.DOTALL)
# Members of a message that a chat gets from a response of OpenAI's format. What Gemini does not
# have of them, such as reasoning, it does not need.
_OF_A_RESPONSE = frozenset(
    {
        *("content", "tool_calls", "refusal", "annotations"),
        *("reasoning", "reasoning_content", "reasoning_details"),
    }
)


def gemini_chat(messages: Sequence[ChatMessage], format_name: str) -> dict[str, Json]:
    """Return the members ``contents`` and, for system messages at the start, their own member.

    Args:
        messages: the messages of the chat.
        format_name: name of the format, for the error.

    Raises:
        UnsupportedField: there is a later system message, or there are only system messages, or a
            message has a role or a member that Gemini does not have.
    """
    system = list(takewhile(_is_system, messages))
    if len(system) == len(messages):
        raise UnsupportedField("a chat of system messages only", format_name, "add a user message")
    for name in (name for one in system if not one.is_text for name in one.extra or ()):
        how = "send its text only" if name == "content" else "leave it out"
        raise UnsupportedField(f"{name!r:.40} in a system message", format_name, how)
    writer = _GeminiWriter(format_name)
    for message in messages[len(system) :]:
        writer.add(message)
    members: dict[str, Json] = {"contents": writer.contents}
    if system:
        parts = [part for message in system for part in writer.parts(message)]
        members["systemInstruction"] = {"parts": parts}
    return members


def _is_system(message: ChatMessage) -> bool:
    return message.role in ("system", "developer")


@final
class _GeminiWriter:
    """Writes messages one after the other.

    Args:
        name: name of the format, for errors.

    Attributes:
        contents: those that were written.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self.contents: list[Json] = []
        self._functions: dict[str, str] = {}  # {id of a call: name of its function}
        self._sent: set[str] = set()  # ids of calls that were sent
        self._results: list[Json] | None = None  # parts of the last content, if of results

    def add(self, message: ChatMessage) -> None:
        """Write a message."""
        if message.role == "tool":
            self._add_result(message)
            return
        self._results = None
        if message.role == "assistant":
            self.contents.append({"role": "model", "parts": self._model_parts(message)})
        elif message.role == "user":
            native = message.body_with("parts").get("parts")
            if not isinstance(native, list):
                self._check_members(message, frozenset({"content"}))
                native = self.parts(message)
            self.contents.append({"role": "user", "parts": native})
        elif _is_system(message):
            field = "a system message after the first user message"
            raise UnsupportedField(field, self._name, "move it to the beginning")
        else:
            field = f"a message with the role {message.role!r}"
            raise UnsupportedField(field, self._name, "send the result with the role 'tool'")

    def _check_members(self, message: ChatMessage, known: frozenset[str]) -> None:
        for member in message.extra or ():
            if member not in known:
                raise UnsupportedField(f"{member!r:.40} in a message", self._name)

    def parts(self, message: ChatMessage) -> list[Json]:
        """Return the content of a message as parts: texts, and data that the message contains.

        Args:
            message: one message of the chat.
        """
        content = message.body["content"]
        if not isinstance(content, list):
            return [{"text": content}]
        return [self._part(part) for part in content]

    def _part(self, part: Json) -> Json:
        members = part if isinstance(part, dict) else {}
        kind = text_of(members, "type")
        if kind == "text" and members.keys() == {"type", "text"}:
            return {"text": members["text"]}
        inner = members.get(kind)
        own = inner if isinstance(inner, dict) else {"url": inner}
        if kind == "input_audio":
            data = {"mimeType": f"audio/{text_of(own, 'format')}", "data": own.get("data")}
            return {"inlineData": data}
        url = text_of(own, {"image_url": "url", "file": "file_data"}.get(kind, ""))
        if found := _DATA_URL.fullmatch(url):
            return {"inlineData": {"mimeType": found[1], "data": found[2]}}
        why = "send a text, or its data as a data URL with base64"
        field = f"a part of the type {kind!r:.40} in this form"
        raise UnsupportedField(field, self._name, why)

    def _model_parts(self, message: ChatMessage) -> list[Json]:
        native = message.body_with("parts").get("parts")
        if isinstance(native, list):
            for part in native:
                if isinstance(part, dict):
                    self._sent.add(text_of(object_of(part, "functionCall"), "id"))
            self._functions |= {call.id: call.name for call in message.tool_calls}
            return native
        self._check_members(message, _OF_A_RESPONSE)
        parts = self.parts(message) if message.body["content"] else []
        calls = message.body.get("tool_calls")
        for call in calls if isinstance(calls, list) else ():
            if not isinstance(call, dict):
                raise UnsupportedField("a tool call that is no object", self._name)
            parts.append({"functionCall": self._call(call), **_signature(call)})
        return parts or [{"text": ""}]

    def _call(self, call: Mapping[str, Json]) -> dict[str, Json]:
        function = object_of(call, "function")
        name, written = text_of(function, "name"), function.get("arguments")
        try:
            given = loads(written.encode()) if isinstance(written, str) and written else written
        except ValueError:
            given = written
        if given and not isinstance(given, dict):
            why = "its arguments must be a JSON object"
            raise UnsupportedField("a tool call in this form", self._name, why)
        call_id = text_of(call, "id")
        self._functions[call_id] = name
        self._sent.add(call_id)
        return {**self._id(call_id), "name": name, "args": given or {}}

    def _id(self, call_id: str) -> dict[str, Json]:
        """Return the id of a call if the call was sent with it. Older models have none."""
        return {"id": call_id} if call_id and call_id in self._sent else {}

    def _add_result(self, message: ChatMessage) -> None:
        """Write the result of a tool. All results of a turn are in one content."""
        self._check_members(message, frozenset({"content", "tool_call_id", "name"}))
        call_id = text_of(message.body, "tool_call_id")
        name = self._functions.get(call_id) or text_of(message.body, "name")
        if not name:
            why = "the call with its tool_call_id must be in an earlier message"
            raise UnsupportedField("a tool result without its call", self._name, why)
        parts = self.parts(message)
        text = "\n".join(text_of(part, "text") for part in parts if isinstance(part, dict))
        response: Json = {**self._id(call_id), "name": name, "response": _object_in(text)}
        if self._results is None:
            self._results = []
            self.contents.append({"role": "user", "parts": self._results})
        self._results.append({"functionResponse": response})


def _signature(call: Mapping[str, Json]) -> dict[str, Json]:
    """Return the signature of a call, where OpenAI's clients of Google's API have it."""
    google = object_of(object_of(call, "extra_content"), "google")
    signature = google.get("thought_signature")
    return {"thoughtSignature": signature} if signature else {}


def _object_in(text: str) -> dict[str, Json]:
    """Return the object that a result is or, because Gemini takes no text, one that has it."""
    if text.lstrip().startswith("{"):
        try:
            value = loads(text.encode(errors="replace"))
        except ValueError:
            value = None
        if isinstance(value, dict):
            return value
    return {"result": text}
