"""The requests of all contenders: the same small chats, each different."""

import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import attrs

__all__ = ["CONCURRENT", "MODEL", "RPM", "TPM", "Chat", "Run", "Sent", "chats"]

MODEL = "gpt-4o-mini"
RPM, TPM = 600, 90_000
CONCURRENT = 50
_TOKENS = (50, 230)  # range of the response's `max_tokens`; both limits bind equally at 150


@attrs.frozen
class Chat:
    """One request.

    Args:
        prompt: the text of the user message.
        max_tokens: the bound of the response in tokens, which the provider counts.
    """

    prompt: str
    max_tokens: int

    def body(self) -> dict[str, Any]:
        """Return the JSON body, for contenders that send it as it is."""
        messages = [{"role": "user", "content": self.prompt}]
        return {"model": MODEL, "messages": messages, "max_tokens": self.max_tokens}


Sent = Callable[[float], None]
"""Gets the time at which an accepted request was sent, in seconds of the loop's clock."""

Run = Callable[[str, Sequence[Chat], Sent], Awaitable[int]]
"""Sends all chats to a base URL, and returns the number that it gave up."""


def chats(count: int, seed: int = 0) -> list[Chat]:
    """Return a number of chats, whose token counts follow from the seed."""
    source = random.Random(seed)  # noqa: S311  # no secrets
    return [
        Chat(f"Say hello to guest {seed}-{number}.", source.randrange(*_TOKENS))
        for number in range(count)
    ]
