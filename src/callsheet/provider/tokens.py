"""An estimate of tokens from characters.

English text has about 4 characters a token, and OpenAI's own limiter estimates a request so
(PROVIDERS, section 3). Rounded up; no tokenizer is needed, and a client can predict it.
"""

__all__ = ["IMAGE_TOKENS", "MESSAGE_TOKENS", "PRIMING_TOKENS", "count_tokens", "cut_to_tokens"]

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
