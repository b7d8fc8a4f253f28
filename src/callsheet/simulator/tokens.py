"""An estimate of tokens from characters.

English text has about 4 characters a token, and OpenAI's own limiter estimates a request so
(PROVIDERS, section 3). Rounded up; no tokenizer is needed, and a client can predict it.
"""

from collections.abc import Sequence

import attrs

__all__ = [
    "IMAGE_TOKENS",
    "MESSAGE_TOKENS",
    "PRIMING_TOKENS",
    "Texts",
    "count_tokens",
    "cut_to_tokens",
]


CHARACTERS_PER_TOKEN = 4

MESSAGE_TOKENS = 4
"""What each turn of a chat costs besides its text: its role and the marks around it."""

PRIMING_TOKENS = 3
"""What each chat costs besides its turns: the opening of the assistant's answer."""

IMAGE_TOKENS = 765
"""What an image in a turn costs, whatever its size."""


def count_tokens(text: str) -> int:
    """Tokens of a text: a quarter of its characters, rounded up."""
    return -(-len(text) // CHARACTERS_PER_TOKEN)


def cut_to_tokens(text: str, tokens: int) -> str:
    """The beginning of a text, at most so many tokens of it."""
    return text[: tokens * CHARACTERS_PER_TOKEN]


@attrs.frozen
class Texts:
    """Several prompts or inputs of one call.

    Args:
        items: each a text, or token ids, which cannot be read back without a tokenizer.
        key: canonical JSON of what was sent.
    """

    items: Sequence[str | list[int]] = attrs.field(repr=False)
    key: str = attrs.field(repr=False)

    @property
    def sizes(self) -> list[int]:
        """Tokens of each."""
        return [count_tokens(i) if isinstance(i, str) else len(i) for i in self.items]

    @property
    def tokens(self) -> int:
        """Tokens of all of them."""
        return sum(self.sizes)

    @property
    def longest(self) -> int:
        """Tokens of the longest."""
        return max(self.sizes)
