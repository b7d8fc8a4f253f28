"""Prompts: the messages of a conversation, or lists of texts, and their tokens.

Tokens are estimated from characters. English text has about 4 characters per token, and OpenAI's
limiter estimates requests this way (docs/providers.md, OpenAI: limits and headers). The estimate is
rounded up; it needs no tokenizer, and a client can predict it.
"""

import sys
from collections.abc import Mapping, Sequence
from typing import cast

import attrs

from .body import RequestBody, RequestRefused, invalid_type
from .wire import Json, canonical

CHARACTERS_PER_TOKEN = 4

MESSAGE_TOKENS = 4
"""The tokens of each message besides its text: its role and separators."""

PRIMING_TOKENS = 3
"""The tokens of each chat besides its messages: the start of the response."""

IMAGE_TOKENS = 765
"""The tokens of an image in a message, of any size."""


def count_tokens(text: str) -> int:
    """Return the tokens of a text: a quarter of its characters, rounded up."""
    return -(-len(text) // CHARACTERS_PER_TOKEN)


def cut_to_tokens(text: str, tokens: int) -> str:
    """Return the beginning of a text, with at most `tokens` tokens."""
    return text[: tokens * CHARACTERS_PER_TOKEN]


@attrs.frozen
class Texts:
    """The prompts or inputs of one call.

    Args:
        items: texts, or lists of token ids, which cannot be decoded without a tokenizer.
        key: canonical JSON of what was sent.
    """

    items: Sequence[str | list[int]] = attrs.field(repr=False)
    key: str = attrs.field(repr=False)

    @property
    def sizes(self) -> list[int]:
        """The tokens of each item."""
        return [count_tokens(i) if isinstance(i, str) else len(i) for i in self.items]

    @property
    def tokens(self) -> int:
        """The tokens of all items."""
        return sum(self.sizes)

    @property
    def longest(self) -> int:
        """The tokens of the longest item."""
        return max(self.sizes)


def read_texts(body: RequestBody, name: str, most: int = sys.maxsize) -> Texts:
    """Return a `prompt` or `input`: a string, token ids, or a list of either.

    Args:
        body: the body of the request.
        name: the name of the member.
        most: the maximum number of items.

    Raises:
        RequestRefused: 400, the member is missing or invalid.
    """
    value = body.required(name)
    if isinstance(value, str):
        return Texts([value], canonical(value))
    if not isinstance(value, list):
        raise invalid_type(body.at + name, "a string or an array", value)
    if _are_tokens(value):
        return Texts([cast("list[int]", value)], canonical(value))
    for item in body.items(name, most):
        if not (isinstance(item, str) or (isinstance(item, list) and _are_tokens(item))):
            raise invalid_type(body.at + name, "strings or arrays of token ids", item)
    return Texts(cast("list[str | list[int]]", value), canonical(value))


def _are_tokens(value: list[Json]) -> bool:
    return bool(value) and all(type(item) is int for item in value)


_IMAGES = ("image_url", "image", "input_image")


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
    """Messages in order, and their tokens.

    Args:
        messages: those of the request, with system messages first or where they stand.
        tool_tokens: the tokens of the definitions of tools.
    """

    messages: tuple[ConversationMessage, ...] = attrs.field(repr=False)
    tool_tokens: int = 0

    @property
    def tokens(self) -> int:
        """The billed tokens of all messages."""
        tokens = sum(
            MESSAGE_TOKENS + count_tokens(message.text) + IMAGE_TOKENS * message.images
            for message in self.messages
        )
        return tokens + PRIMING_TOKENS + self.tool_tokens

    @property
    def estimated_tokens(self) -> int:
        """The tokens that a limiter estimates from the characters."""
        text = sum(len(message.text) for message in self.messages)
        images = IMAGE_TOKENS * sum(message.images for message in self.messages)
        return -(-text // 4) + images + self.tool_tokens

    @property
    def system(self) -> str:
        """The text of the system messages."""
        return "\n".join(m.text for m in self.messages if m.role in ("system", "developer"))

    @property
    def question(self) -> str:
        """The text of the last user message."""
        texts = (m.text for m in reversed(self.messages) if m.role == "user")
        return next(texts, self.messages[-1].text)

    @property
    def told(self) -> str:
        """The text of the last message; "" if it is the result of a tool, which tells nothing."""
        last = self.messages[-1]
        return last.text if last.role == "user" else ""


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
    calls = message.get("tool_calls")
    said = canonical(calls) if calls else ""
    if content is None and role == "assistant":  # the message has tool calls instead
        return ConversationMessage(role, said)
    found = text_of(f"{where}.content", role, content)
    return attrs.evolve(found, text=found.text + said) if said else found


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
            for block in blocks:
                match block.get("type"):
                    case "tool_result":
                        role = "tool"
                        texts.append(canonical(block.get("content")))
                    case "tool_use":
                        texts.append(canonical(block.get("input")))
                    case _:
                        pass
            return ConversationMessage(role, "\n".join(texts), images)
        case _:
            raise RequestRefused(
                400,
                f"Invalid type for '{where}': expected one of a string or array of objects.",
                param=where,
                code="invalid_type",
            )
