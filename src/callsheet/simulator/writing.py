"""Write the text of one response, and end it at its natural end, a limit, or a stop sequence."""

from collections.abc import Mapping
from typing import Literal

import attrs

from .jsontext import Json
from .text import write_answer
from .tokens import count_tokens, cut_to_tokens


@attrs.frozen
class Written:
    """A text, and the reason of its end.

    Args:
        text: the text as it was generated.
        ended: "end" for a complete text, "limit" for one cut to its tokens, "stop" for one cut at a
            stop sequence, which is not part of the text.
        stop: the stop sequence.
    """

    text: str
    ended: Literal["end", "limit", "stop"] = "end"
    stop: str | None = None

    @property
    def tokens(self) -> int:
        """The tokens of the text."""
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
    """Write the response to a prompt.

    Args:
        system: the text of the system messages; "" for none.
        user: the last user message.
        seed: the provider's seed.
        choice: the index of the choice.
        schema: a JSON schema for the response; None for text.
        max_tokens: the maximum of output tokens.
        stops: the stop sequences.
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
