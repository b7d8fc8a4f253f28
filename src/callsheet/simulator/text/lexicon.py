"""The words and sentences of generated texts, read once from the files in `data`."""

import re
import tomllib
from importlib.resources import files
from typing import cast

import attrs

SHORTEST_BEGINNING = 4


def _read(name: str) -> dict[str, object]:
    return tomllib.loads((files("callsheet.simulator.text") / "data" / name).read_text("utf-8"))


@attrs.frozen
class Field:
    """The vocabulary of one field; each list has words for the same gaps."""

    marks: list[str]
    people: list[str]
    things: list[str]
    risks: list[str]
    measures: list[str]
    places: list[str]

    def matches(self, words: list[str]) -> int:
        """Return how many of the words belong to this field."""
        # Short marks match whole words only: "ai" does not match "aid".
        return sum(
            any(
                word == mark or (len(mark) >= SHORTEST_BEGINNING and word.startswith(mark))
                for mark in self.marks
            )
            for word in words
        )


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


def field_of(subject: str) -> Field:
    """Return the field that most words of a subject belong to, or the general one."""
    words = re.findall(r"[\w-]+", subject.lower())
    best = max(_FIELDS, key=lambda field: field.matches(words))
    return best if best.matches(words) else _FIELDS[-1]
