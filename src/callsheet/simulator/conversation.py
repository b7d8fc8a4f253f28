"""The messages of a conversation, for the chats of both vendors."""

from collections.abc import Mapping

import attrs

from .apierror import RequestRefused
from .jsontext import Json
from .tokens import IMAGE_TOKENS, MESSAGE_TOKENS, PRIMING_TOKENS, count_tokens

_IMAGES = ("image_url", "image")


@attrs.frozen
class ConversationMessage:
    """One message.

    Args:
        role: the role of its author.
        text: its whole text.
        images: the number of images in it.
    """

    role: str
    text: str
    images: int = 0


@attrs.frozen
class Conversation:
    """Messages in order, and their tokens."""

    messages: tuple[ConversationMessage, ...] = attrs.field(repr=False)

    @property
    def tokens(self) -> int:
        """The billed tokens of all messages."""
        tokens = sum(
            MESSAGE_TOKENS + count_tokens(message.text) + IMAGE_TOKENS * message.images
            for message in self.messages
        )
        return tokens + PRIMING_TOKENS

    @property
    def estimated_tokens(self) -> int:
        """The tokens that a limiter estimates from the characters."""
        text = sum(len(message.text) for message in self.messages)
        return -(-text // 4) + IMAGE_TOKENS * sum(message.images for message in self.messages)

    @property
    def system(self) -> str:
        """The text of the system messages."""
        return "\n".join(m.text for m in self.messages if m.role in ("system", "developer"))

    @property
    def question(self) -> str:
        """The text of the last user message."""
        texts = (m.text for m in reversed(self.messages) if m.role == "user")
        return next(texts, self.messages[-1].text)


def read_message(where: str, message: Json) -> ConversationMessage:
    """Parse one item of `messages`.

    Args:
        where: its path, for the error text.
        message: the JSON value.

    Raises:
        RequestRefused: 400, it has no role, or no valid content.
    """
    if not isinstance(message, Mapping) or not isinstance(role := message.get("role"), str):
        raise RequestRefused(
            400, f"Missing required parameter: '{where}.role'.", param=f"{where}.role"
        )
    content = message.get("content")
    if content is None and role == "assistant":  # the message has tool calls instead
        return ConversationMessage(role, "")
    return text_of(f"{where}.content", role, content)


def text_of(where: str, role: str, content: Json) -> ConversationMessage:
    """Parse a string, or a list of text and image blocks.

    Raises:
        RequestRefused: 400, it is neither.
    """
    match content:
        case str() as text:
            return ConversationMessage(role, text)
        case list() as parts:
            blocks = [part for part in parts if isinstance(part, dict)]
            texts = [str(block["text"]) for block in blocks if "text" in block]
            images = sum(block.get("type") in _IMAGES for block in blocks)
            return ConversationMessage(role, "\n".join(texts), images)
        case _:
            raise RequestRefused(
                400,
                f"Invalid type for '{where}': expected one of a string or array of objects.",
                param=where,
                code="invalid_type",
            )
