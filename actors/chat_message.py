"""One message of a chat, in the shape of OpenAI's SDK and beside it as its provider wrote it."""

from collections.abc import Iterable, Mapping
from typing import cast

import attrs
from attrs.validators import optional

from .chat_members import Role, calls_in, is_texts, members_of_response, read_message
from .json_value import Json, is_json_object, kind_of
from .responses import Response, ToolCall
from .validation import instance_of


@attrs.frozen
class ChatMessage:
    """One message of a chat.

    Args:
        role: the author of the message; "tool" and "function" are for the result of a tool call.
        content: the text of the message.
        extra: further members of the message, sent unchanged, such as `name`, `tool_calls`, or a
            `content` of several parts. They override `role` and `content`.
        native: a member of the provider's own response, which goes back unchanged to a provider
            with the same wire format instead of `content` and `extra`: it may have signed
            reasoning. ``content`` of Anthropic, ``output`` of OpenAI's Responses, ``parts`` of
            Gemini. `from_response` sets it.
    """

    role: Role
    content: str = attrs.field(validator=instance_of(str))
    extra: Mapping[str, Json] | None = attrs.field(
        default=None, kw_only=True, hash=False, validator=optional(is_json_object)
    )
    native: Mapping[str, Json] | None = attrs.field(
        default=None, kw_only=True, hash=False, repr=False
    )

    @classmethod
    def of(cls, message: object, name: str = "message") -> "ChatMessage":
        """Return a message that is given as the SDKs of OpenAI and Anthropic take it.

        Null members and empty lists are left out: a response used as a message has some.

        Args:
            message: the JSON object.
            name: what it is called in an error.

        Raises:
            ValueError: it is no such message; the text names the member that is wrong.
        """
        role, content, extra, _ = read_message(message, name)
        return cls(role, content, extra=extra)

    @classmethod
    def from_response(cls, response: Response) -> "ChatMessage":
        """Return a response as a message, for the request that continues the chat.

        Args:
            response: the response to a chat. If it has several choices, the first one counts.
        """
        role, content, extra, native = members_of_response(response)
        return cls(role, content, extra=extra, native=native)

    @classmethod
    def tool_result(cls, call: ToolCall, text: str) -> "ChatMessage":
        """Return the message with the result of a tool call.

        Args:
            call: the call, from `tool_calls` of the message before, so that it has an id.
            text: the result for the model.
        """
        return cls("tool", text, extra={"tool_call_id": call.id})

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The tool calls in `extra`, each with the id that its result must name."""
        return tuple(calls_in(self.extra))

    def body_with(self, member: str) -> dict[str, Json]:
        """Return `body`, or the native message if it has a member.

        Args:
            member: the member that the messages of a wire format have.
        """
        if self.native is None or member not in self.native:
            return self.body
        return {"role": self.role, **self.native}

    @property
    def body(self) -> dict[str, Json]:
        """The message as a JSON object in the format of OpenAI and Anthropic."""
        body: dict[str, Json] = {"role": self.role, "content": self.content}
        if self.extra is not None:
            body.update(self.extra)
        return body

    @property
    def is_text(self) -> bool:
        """Whether the message is a text alone, or parts that are texts, which `content` joins."""
        if self.native:
            return False
        extra = self.extra
        return not extra or (set(extra) == {"content"} and is_texts(extra["content"]))

    @property
    def attachments(self) -> int:
        """The number of parts that are images, sounds or files, those in tool results included."""
        return 0 if self.extra is None else _attachments(self.extra.get("content"))


# The types of such parts begin with one of these.
_ATTACHED = ("image", "input_image", "input_audio", "audio", "file", "document", "video")


def _attachments(parts: Json) -> int:
    count = 0
    for part in parts if isinstance(parts, list) else ():
        if isinstance(part, dict):
            kind = part.get("type")
            count += isinstance(kind, str) and kind.startswith(_ATTACHED)
            count += _attachments(part.get("content"))
    return count


def chat_messages(
    given: Iterable[ChatMessage | Mapping[str, object]],
) -> tuple[ChatMessage, ...]:
    """Return messages that may be given as the SDKs take them.

    Args:
        given: the messages of a chat.

    Raises:
        TypeError: it is no list.
        ValueError: a message is wrong; the text names its index and member.
    """
    if isinstance(given, tuple) and set(map(type, given)) == {ChatMessage}:  # as `of` gives them
        return cast("tuple[ChatMessage, ...]", given)
    if isinstance(given, str | Mapping):
        kind = "a string" if isinstance(given, str) else "an object"
        raise TypeError(f"messages must be a list, not {kind}")
    if not isinstance(cast("object", given), Iterable):
        raise TypeError(f"messages must be a list, not {kind_of(given)}")
    found = list(given)
    for at, one in enumerate(found):
        if not isinstance(one, ChatMessage):
            found[at] = ChatMessage.of(one, f"messages[{at}]")
    return cast("tuple[ChatMessage, ...]", tuple(found))
