"""Translate requests that are written in the words of one API for another one. Pure (R14).

A `Request` whose `dialect` is set has messages and further members in the words of that API. For a
provider with the same wire format they are sent as they are. For another one they are translated in
two steps, from their own words to those of OpenAI's chats, and from these to its words:

    anthropic, responses -> chat -> anthropic, responses, gemini

Members that have no effect on the text of a response are left out (docs/requests.md lists them). A
member that has one, and that the other API does not have, is refused by its name: it is never
dropped in silence.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import attrs

from ..chat_message import ChatMessage
from ..json_value import Json
from ..messages import Request
from ..tools import Tool, function_of
from .foreign_anthropic import chat_members_of_anthropic, chat_of_anthropic
from .foreign_responses import chat_members_of_responses, chat_of_responses
from .format import UnsupportedField
from .members_from_chat import FROM_CHAT


class _Reading(NamedTuple):
    """How requests in the words of an API become chats.

    Args:
        messages: translates the messages.
        members: translates the further members.
    """

    messages: Callable[[Request, str], tuple[ChatMessage, ...]]
    members: Callable[[Request, str], dict[str, Json]]


_CARRIED = "thinking_blocks"
"""The member of a chat's message that has the blocks of Anthropic's thinking."""

_READINGS: Mapping[str, _Reading] = {
    "anthropic": _Reading(chat_of_anthropic, chat_members_of_anthropic),
    "responses": _Reading(chat_of_responses, chat_members_of_responses),
}


def translated(request: Request, form: str, format_name: str) -> Request:
    """Return a request in the words of a wire format.

    Args:
        request: the request to encode.
        form: the short name of the wire format; see `WireFormat.form`.
        format_name: the name of the format, for errors.

    Raises:
        UnsupportedField: a part of the request cannot be translated; names it.
    """
    source = request.dialect
    if source is None or source == form:
        return request
    reading = _READINGS.get(source)
    messages, members = request.messages, dict(request.extra_body)
    if reading is None:
        messages = tuple(_message(message, form) for message in messages)
    else:
        messages, members = (
            reading.messages(request, format_name),
            reading.members(request, format_name),
        )
    members = {name: value for name, value in members.items() if value is not None}
    write = FROM_CHAT.get(form)
    if write is not None:
        members = write(request, members, format_name)
    elif source == "anthropic" and "top_k" in members:  # Gemini has it; a chat of OpenAI has not
        raise UnsupportedField("top_k", format_name)
    return attrs.evolve(
        request,
        dialect=None,
        messages=messages,
        extra_body=members,
        tools=tuple(_tool(tool, form, format_name) for tool in request.tools),
    )


def _message(message: ChatMessage, form: str) -> ChatMessage:
    """Return a message of a chat with the thinking that goes back to Anthropic; see `_CARRIED`."""
    blocks = None if message.extra is None else message.extra.get(_CARRIED)
    if blocks is None:
        return message
    extra = {name: value for name, value in (message.extra or {}).items() if name != _CARRIED}
    if form == "anthropic" and isinstance(blocks, list):
        content = extra.get("content", message.content)
        said: list[Json] = content if isinstance(content, list) else []
        if isinstance(content, str) and content:
            said = [{"type": "text", "text": content}]
        extra["content"] = [*blocks, *said]
    return attrs.evolve(message, extra=extra or None)


def _tool(tool: Tool, form: str, format_name: str) -> Tool:
    """Return a tool that the format can express: a function, or a tool of OpenAI's with a text."""
    definition = tool.definition
    if definition is None or tool.dialect is not None:
        return tool
    if definition.get("type") != "custom" or form not in ("chat", "responses"):
        raise UnsupportedField(f"the tool {tool.name!r:.60}", format_name, "it is no function")
    own = dict(function_of(definition))
    own.pop("type", None)
    written: dict[str, Json] = {"custom": own} if form == "chat" else own
    return attrs.evolve(tool, definition={"type": "custom", **written})
