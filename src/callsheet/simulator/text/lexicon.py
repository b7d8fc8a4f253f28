"""The words and sentences of generated texts, and the sentiment of a text by its words."""

import re
import tomllib
from collections.abc import Sequence
from functools import lru_cache
from importlib.resources import files
from typing import cast

import attrs

from ..chance import fraction_of

SHORTEST_BEGINNING = 4


def _read(name: str) -> dict[str, object]:
    return tomllib.loads((files("callsheet.simulator.text") / "data" / name).read_text("utf-8"))


def _beginnings(marks: list[str]) -> tuple[str, ...]:
    return tuple(mark for mark in marks if len(mark) >= SHORTEST_BEGINNING)


@attrs.frozen
class Field:
    """The vocabulary of one field; each list has words for the same gaps."""

    marks: list[str]
    people: list[str]
    things: list[str]
    risks: list[str]
    measures: list[str]
    places: list[str]
    _whole: frozenset[str] = attrs.field(
        init=False, default=attrs.Factory(lambda self: frozenset(self.marks), takes_self=True)
    )
    _begins: tuple[str, ...] = attrs.field(
        init=False, default=attrs.Factory(lambda self: _beginnings(self.marks), takes_self=True)
    )

    def matches(self, words: list[str]) -> int:
        """Return how many of the words belong to this field."""
        # Short marks match whole words only: "ai" does not match "aid".
        return sum(word in self._whole or word.startswith(self._begins) for word in words)


_PHRASES = cast("dict[str, list[str]]", _read("phrases.toml"))

OUTLINE = cast("list[list[str]]", _PHRASES.pop("outline"))
"""Titles of sections, by stage of the argument."""

SENTENCES = _PHRASES
"""Sentences with gaps, by purpose."""

WORDS = {
    name: frozenset(words.split())
    for name, words in cast("dict[str, str]", _read("words.toml")).items()
}
"""Lists of words, by kind."""

_FIELDS = [
    Field(**field) for field in cast("list[dict[str, list[str]]]", _read("fields.toml")["fields"])
]


STOCK_WORDS = frozenset(
    word
    for texts in (
        *SENTENCES.values(),
        *(texts for f in _FIELDS for texts in (f.people, f.things, f.risks, f.measures, f.places)),
    )
    for text in texts
    for word in re.findall(r"[\w'-]+", text.lower())
)
"""The vocabulary for any subject."""


@lru_cache(maxsize=1024)
def field_of(subject: str) -> Field:
    """Return the field that most words of a subject belong to, or the general one."""
    words = re.findall(r"[\w-]+", subject.lower())
    best = max(_FIELDS, key=lambda field: field.matches(words))
    return best if best.matches(words) else _FIELDS[-1]


SENTIMENTS = ("positive", "negative", "neutral")
REACH = 3
_CLAUSE = re.compile(r"[.,;:!?]|\bbut\b")


def sentiment_of(review: str) -> str:
    """Compare positive and negative words; a negation shortly before a word inverts it."""
    score = 0
    for clause in _CLAUSE.split(review.lower().replace("\u2019", "'")):
        words = re.findall(r"[a-z]+(?:'[a-z]+)?", clause)
        for i, word in enumerate(words):
            weight = (word in WORDS["good"]) - (word in WORDS["bad"])
            before = words[max(0, i - REACH) : i]
            score += -weight if WORDS["negations"].intersection(before) else weight
    return SENTIMENTS[0] if score > 0 else SENTIMENTS[1] if score < 0 else SENTIMENTS[2]


def label_of(review: str, labels: Sequence[str]) -> str:
    """Return one of the labels: by sentiment if they are sentiments, else by a stable hash."""
    sentiment = sentiment_of(review)
    if sentiment in labels:
        return sentiment
    if "positive" in labels and "negative" in labels:  # "neutral" is not among the labels
        return "positive"
    key = " ".join(review.lower().split())
    return labels[int(fraction_of("label", key) * len(labels))]
