"""What all contenders do: the same chat completion, its answer read and looked at."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import attrs

__all__ = [
    "ANSWER",
    "API_KEY",
    "CALM_S",
    "MODEL",
    "PATH",
    "PROMPT",
    "SYSTEM",
    "TICK_S",
    "TIMEOUT_S",
    "Ask",
    "Contender",
    "Target",
    "check",
    "request_body",
]

MODEL = "gpt-4o-mini"
API_KEY = "sk-benchmark"
PATH = "/v1/chat/completions"
SYSTEM = "You are the host of a dinner. Be brief."
PROMPT = "Say hello to guest 17, who comes from afar, and show them to their table by the window."
PIECES = (
    "Welcome",
    ", dear guest 17",
    "! You have come a long way",
    "; your table by the window",
    " is ready, and so is the soup.",
)  # as an answer that is streamed comes; about twenty tokens
ANSWER = "".join(PIECES)
CALM_S = 0.2  # between the collection of garbage and the window
TIMEOUT_S = 600.0  # what the OpenAI SDK has; nothing here takes as long
TICK_S = 0.05  # between two looks at whether the window is over

Ask = Callable[[], Awaitable[None]]
"""Makes one call and looks at the answer."""


@attrs.frozen
class Target:
    """Whom to call.

    Args:
        base_url: up to and with the version.
        in_flight: calls at a time.
        ca: the file of the authority that the provider's certificate is from; None without TLS.
    """

    base_url: str
    in_flight: int
    ca: str | None


Contender = Callable[[Target], AbstractAsyncContextManager[Ask]]


def request_body() -> dict[str, Any]:
    """For those that are given the JSON body."""
    return {
        "model": MODEL,
        "messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": PROMPT}],
        "max_tokens": 40,
    }


def check(text: object) -> None:
    """See whether somebody measures something else.

    Raises:
        ValueError: the text is not `ANSWER`.
    """
    if text != ANSWER:
        raise ValueError(f"the answer must be {ANSWER!r}, not {text!r}")
