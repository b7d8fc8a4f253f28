"""The text generator: deterministic, plausible short texts in the form that a prompt asks for."""

import json
from collections.abc import Mapping
from typing import cast

import attrs

from ..chance import random_of
from ..wire import Json
from .ask import TextKind, read_ask
from .prose import write_text
from .structured import answer_items, answer_lines, value_for

__all__ = ["prose_about", "subject_in", "value_for", "write_answer"]


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

    def answer(text: str, own: dict[str, Json] | None) -> Json:
        if own is None:
            return alone(text)
        said = write_answer(system, text, seed=seed, choice=choice, schema=own)
        return cast("Json", json.loads(said))

    def alone(text: str) -> str:
        return write_text(read_ask(system, text), random_of("answer", seed, choice, system, text))

    if schema is None:
        lines = answer_lines(system, user, alone)
        return write_text(ask, chance) if lines is None else lines

    def say(name: str) -> str:
        kind = _KINDS.get(name.lower())
        wanted = ask if kind is None else attrs.evolve(ask, kind=kind)
        return write_text(wanted, chance)

    packed = answer_items(schema, user, answer)
    value = value_for(schema, say, chance) if packed is None else packed
    return json.dumps(value, ensure_ascii=False)


def prose_about(user: str, seed: int) -> str:
    """Write a text about the subject of a prompt, as reasoning before its response.

    Args:
        user: the last user message.
        seed: the provider's seed.
    """
    ask = attrs.evolve(read_ask("", user), kind="general")
    return write_text(ask, random_of("reasoning", seed, user))


def subject_in(user: str) -> str:
    """Return the subject of a prompt.

    Args:
        user: the last user message.
    """
    return read_ask("", user).subject
