"""The turns of a conversation, as both vendors' chats have them."""

from collections.abc import Mapping

import attrs

from .apierror import RequestRefused
from .jsontext import Json
from .tokens import IMAGE_TOKENS, MESSAGE_TOKENS, PRIMING_TOKENS, count_tokens

__all__ = [
    "Conversation",
    "ConversationTurn",
    "read_turn",
    "text_of",
]


_IMAGES = ("image_url", "image")


@attrs.frozen
class ConversationTurn:
    """What one side says once.

    Args:
        role: who says it.
        text: all its text.
        images: how many pictures are with it.
    """

    role: str
    text: str
    images: int = 0


@attrs.frozen
class Conversation:
    """Turns in their order, and what they cost."""

    turns: tuple[ConversationTurn, ...] = attrs.field(repr=False)

    @property
    def tokens(self) -> int:
        """Billed tokens of all turns."""
        turns = sum(
            MESSAGE_TOKENS + count_tokens(turn.text) + IMAGE_TOKENS * turn.images
            for turn in self.turns
        )
        return turns + PRIMING_TOKENS

    @property
    def estimated_tokens(self) -> int:
        """The same as a limiter sees it: the characters alone."""
        text = sum(len(turn.text) for turn in self.turns)
        return -(-text // 4) + IMAGE_TOKENS * sum(turn.images for turn in self.turns)

    @property
    def system(self) -> str:
        """What the system says."""
        return "\n".join(t.text for t in self.turns if t.role in ("system", "developer"))

    @property
    def question(self) -> str:
        """What the user said last."""
        said = (turn.text for turn in reversed(self.turns) if turn.role == "user")
        return next(said, self.turns[-1].text)


def read_turn(where: str, message: Json) -> ConversationTurn:
    """Read one member of `messages`.

    Args:
        where: its name, for the error.
        message: what was sent.

    Raises:
        RequestRefused: 400, it has no role, or no content that can be read.
    """
    if not isinstance(message, Mapping) or not isinstance(role := message.get("role"), str):
        raise RequestRefused(
            400, f"Missing required parameter: '{where}.role'.", param=f"{where}.role"
        )
    content = message.get("content")
    if content is None and role == "assistant":  # it called tools instead
        return ConversationTurn(role, "")
    return text_of(f"{where}.content", role, content)


def text_of(where: str, role: str, content: Json) -> ConversationTurn:
    """Read a text, or a list of blocks of text and images.

    Raises:
        RequestRefused: 400, it is neither.
    """
    match content:
        case str() as text:
            return ConversationTurn(role, text)
        case list() as parts:
            blocks = [part for part in parts if isinstance(part, dict)]
            texts = [str(block["text"]) for block in blocks if "text" in block]
            images = sum(block.get("type") in _IMAGES for block in blocks)
            return ConversationTurn(role, "\n".join(texts), images)
        case _:
            raise RequestRefused(
                400,
                f"Invalid type for '{where}': expected one of a string or array of objects.",
                param=where,
                code="invalid_type",
            )
