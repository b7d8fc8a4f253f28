"""Estimate tokens from characters.

English text has about 4 characters per token, and OpenAI's limiter estimates requests this way
(docs/providers.md, OpenAI: limits and headers). The estimate is rounded up; it needs no tokenizer,
and a client can predict it.
"""

from collections.abc import Sequence

import attrs

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
