"""What all contenders do: the same small chats, each different, answered in the end."""

import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import attrs

__all__ = ["CONCURRENT", "MODEL", "RPM", "TPM", "Chat", "Run", "Sent", "chats"]

MODEL = "gpt-4o-mini"
RPM, TPM = 600, 90_000
CONCURRENT = 50
_TOKENS = (50, 230)  # that an answer may have; the limits bind at 150


@attrs.frozen
class Chat:
    """One request.

    Args:
        prompt: what it says.
        max_tokens: of the answer; what the provider counts it for.
    """

    prompt: str
    max_tokens: int

    def body(self) -> dict[str, Any]:
        """For those that are given the JSON body."""
        messages = [{"role": "user", "content": self.prompt}]
        return {"model": MODEL, "messages": messages, "max_tokens": self.max_tokens}


Sent = Callable[[float], None]
"""Is told when a request went out that was let in, in seconds of the loop's clock."""

Run = Callable[[str, Sequence[Chat], Sent], Awaitable[int]]
"""Has all chats answered by a base URL, and says how many it gave up."""


def chats(count: int, seed: int = 0) -> list[Chat]:
    """So many chats; their tokens follow from the seed."""
    source = random.Random(seed)  # noqa: S311  # no secrets
    return [
        Chat(f"Say hello to guest {seed}-{number}.", source.randrange(*_TOKENS))
        for number in range(count)
    ]
