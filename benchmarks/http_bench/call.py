"""The call that all contenders make: the same chat completion, whose response is checked."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import attrs

__all__ = [
    "ANSWER",
    "API_KEY",
    "CALM_S",
    "LONG_TOKENS",
    "MODEL",
    "PATH",
    "PROMPT",
    "SHORT_TOKENS",
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
)  # the pieces of the streamed response; about twenty tokens
ANSWER = "".join(PIECES)
CALM_S = 0.2  # between the garbage collection and the window
SHORT_TOKENS, LONG_TOKENS = 40, 1_000
TIMEOUT_S = 600.0  # the default of the OpenAI SDK; no call here takes as long
TICK_S = 0.05  # between two checks whether the window is over

Ask = Callable[[], Awaitable[None]]
"""Makes one call and checks the response."""


@attrs.frozen
class Target:
    """The provider to call.

    Args:
        base_url: the URL up to and including the version.
        in_flight: number of concurrent calls.
        ca: the file of the authority that signed the provider's certificate; None without TLS.
        max_tokens: the bound on the response. Callsheet requests a response as a stream only if it
            may be long.
    """

    base_url: str
    in_flight: int
    ca: str | None
    max_tokens: int = SHORT_TOKENS


Contender = Callable[[Target], AbstractAsyncContextManager[Ask]]


def request_body() -> dict[str, Any]:
    """Return the JSON body, for contenders that send it as it is."""
    return {
        "model": MODEL,
        "messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": PROMPT}],
        "max_tokens": SHORT_TOKENS,
    }


def check(text: object) -> None:
    """Check the text of a response, so that no contender is measured at other work.

    Raises:
        ValueError: the text is not `ANSWER`.
    """
    if text != ANSWER:
        raise ValueError(f"the response must be {ANSWER!r}, not {text!r}")
