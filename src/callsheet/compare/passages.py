"""Passages of text to embed."""

import random

from .reviews import write_reviews

__all__ = ["write_passages"]

_SHORTEST, _LONGEST = 200, 1600  # characters: 50 to 400 tokens of four


def write_passages(chance: random.Random, *, count: int = 10_000) -> list[str]:
    """Write passages of 50 to 400 tokens, a token being four characters; all of them differ.

    Args:
        chance: decides what they say and how long they are.
        count: how many there are.
    """
    sentences = write_reviews(chance, count=500, copies=0)
    passages: dict[str, None] = {}  # a set that keeps its order, so that a seed repeats
    while len(passages) < count:
        passages[_passage(chance, sentences)] = None
    return list(passages)


def _passage(chance: random.Random, sentences: list[str]) -> str:
    target = chance.randint(_SHORTEST, _LONGEST)
    text = ""
    while len(text) < target:
        text = f"{text} {chance.choice(sentences)}".strip()
    return text[:target].rstrip()
