"""The text generator: deterministic, plausible short texts in the form that a prompt asks for."""

import json
from collections.abc import Mapping
from typing import Literal

import attrs

from ..chance import random_of
from ..prompt import count_tokens, cut_to_tokens
from ..wire import Json
from .ask import TextKind, read_ask
from .prose import write_text
from .structured import answer_items, value_for

__all__ = ["Written", "write", "write_answer"]


# Names of properties that are also kinds of text.
_KINDS: Mapping[str, TextKind] = {
    "headline": "headline", "title": "headline", "image_prompt": "image", "social_blurb": "social",
    "conclusion": "conclusion", "intro": "introduction", "introduction": "introduction",
    "section": "section", "meta_description": "meta",
}  # fmt: skip


def write_answer(
    system: str, user: str, *, seed: int, choice: int = 0, schema: dict[str, Json] | None = None
) -> str:
    """Write the response to a prompt.

    Args:
        system: the text of the system messages; "" for none.
        user: the last user message.
        seed: the provider's seed.
        choice: the index of the choice; each has another wording.
        schema: a JSON schema for the response; None for text.
    """
    ask = read_ask(system, user)
    chance = random_of("answer", seed, choice, system, user)
    if schema is None:
        return write_text(ask, chance)

    def say(name: str) -> str:
        kind = _KINDS.get(name.lower())
        wanted = ask if kind is None else attrs.evolve(ask, kind=kind)
        return write_text(wanted, chance)

    def answer(text: str, own: dict[str, Json] | None) -> Json:
        said = write_answer(system, text, seed=seed, choice=choice, schema=own)
        return said if own is None else json.loads(said)

    packed = answer_items(schema, user, answer)
    value = value_for(schema, say, chance) if packed is None else packed
    return json.dumps(value, ensure_ascii=False)


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
