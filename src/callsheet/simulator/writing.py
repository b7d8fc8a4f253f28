"""Writing one answer's text, and where it ends: at its own end, at a limit, or at a stop word."""

from collections.abc import Mapping
from typing import Literal

import attrs

from .jsontext import Json
from .text import write_answer
from .tokens import count_tokens, cut_to_tokens

__all__ = [
    "Written",
    "write",
]


@attrs.frozen
class Written:
    """A text, and why it ends where it does.

    Args:
        text: the text.
        ended: "end" when it was all said, "limit" when it was cut to its tokens, "stop" when a
            stop sequence came up, which is not part of the text.
        stop: that sequence.
    """

    text: str
    ended: Literal["end", "limit", "stop"] = "end"
    stop: str | None = None

    @property
    def tokens(self) -> int:
        """What it costs."""
        return count_tokens(self.text)


def write(
    system: str,
    user: str,
    *,
    seed: int,
    choice: int = 0,
    schema: Mapping[str, Json] | None = None,
    max_tokens: int | None = None,
    stops: tuple[str, ...] = (),
) -> Written:
    """Answer a prompt.

    Args:
        system: what the system turns say, or nothing.
        user: the last user turn.
        seed: the provider's.
        choice: which of the n choices it is.
        schema: when given, the answer is JSON that this schema allows.
        max_tokens: where to cut it off.
        stops: where to stop: before the first of these that comes up.
    """
    allowed = None if schema is None else dict(schema)
    whole = write_answer(system, user, seed=seed, choice=choice, schema=allowed)
    stopped = _stopped(whole, stops)
    if max_tokens is None or stopped.tokens <= max_tokens:
        return stopped
    return Written(cut_to_tokens(stopped.text, max_tokens), "limit")


def _stopped(text: str, stops: tuple[str, ...]) -> Written:
    found = [(place, stop) for stop in stops if (place := text.find(stop)) >= 0]
    if not found:
        return Written(text)
    place, stop = min(found)
    return Written(text[:place], "stop", stop)
