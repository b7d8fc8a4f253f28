"""The provider's pen: deterministic, believable short texts in the shape a prompt asks for."""

import json
from collections.abc import Mapping

import attrs

from ..chance import random_of
from ..jsontext import Json
from .ask import TextKind, read_ask
from .packed import answer_items
from .prose import write
from .structured import value_for

__all__ = [
    "write_answer",
]


# Names of properties that are themselves the name of a kind of text.
_KINDS: Mapping[str, TextKind] = {
    "headline": "headline", "title": "headline", "image_prompt": "image", "social_blurb": "social",
    "conclusion": "conclusion", "intro": "introduction", "introduction": "introduction",
    "section": "section", "meta_description": "meta",
}  # fmt: skip


def write_answer(
    system: str, user: str, *, seed: int, choice: int = 0, schema: dict[str, Json] | None = None
) -> str:
    """Answer a prompt.

    Args:
        system: what the system turns say, or nothing.
        user: the last user turn.
        seed: the provider's.
        choice: which of the n choices it is; each says it in another way.
        schema: when given, the answer is JSON that this schema allows.
    """
    ask = read_ask(system, user)
    chance = random_of("answer", seed, choice, system, user)
    if schema is None:
        return write(ask, chance)

    def say(name: str) -> str:
        kind = _KINDS.get(name.lower())
        wanted = ask if kind is None else attrs.evolve(ask, kind=kind)
        return write(wanted, chance)

    def answer(text: str, own: dict[str, Json] | None) -> Json:
        said = write_answer(system, text, seed=seed, choice=choice, schema=own)
        return said if own is None else json.loads(said)

    packed = answer_items(schema, user, answer)
    value = value_for(schema, say, chance) if packed is None else packed
    return json.dumps(value, ensure_ascii=False)
