"""Write the kinds of text."""

import random
import re
from collections.abc import Callable, Mapping, Sequence

from ..chance import random_of
from .ask import PromptIntent, TextKind, as_sentence, as_title
from .lexicon import OUTLINE, SENTENCES, field_of, label_of

META_CHARACTERS = 155
_COUNTS = ("three", "four", "six", "eight", "nine", "twelve")


def write_text(ask: PromptIntent, chance: random.Random) -> str:
    """Write the text that a prompt asks for.

    Args:
        ask: what the prompt asks for.
        chance: the random source of the wording (R13).
    """
    return _FORMS[ask.kind](_Writer(ask, chance))


class _Writer:
    """Fills the gaps of sentences about one subject."""

    def __init__(self, ask: PromptIntent, chance: random.Random) -> None:
        self.ask = ask
        self.chance = chance
        field = field_of(ask.subject)
        self._words = {
            "people": field.people,
            "things": field.things,
            "risk": field.risks,
            "measure": field.measures,
            "place": field.places,
            "number": _COUNTS,
        }

    def say(self, name: str) -> str:
        """Return one sentence of a kind."""
        return self.fill(self.chance.choice(SENTENCES[name]))

    def turn(self, name: str, number: int) -> list[str]:
        """Return `number` sentences of a kind that earlier sections do not use."""
        known = SENTENCES[name]
        order = random_of("order", name, self.ask.subject).sample(known, len(known))
        start = (self.ask.part - 1) * number
        return [self.fill(order[i % len(order)]) for i in range(start, start + number)]

    def fill(self, sentence: str) -> str:
        """Return the sentence with its gaps filled, differently each time."""
        subject = self.ask.subject
        gaps = {name: self.chance.choice(words) for name, words in self._words.items()}
        gaps |= {as_sentence(name): as_sentence(word) for name, word in gaps.items()}
        return sentence.format(
            s=subject,
            S=as_sentence(subject),
            T=as_title(subject),
            title=self.ask.title or as_title(subject),
            percent=self.chance.randrange(11, 48),
            tags=f"#{_tag(subject)} #{_tag(gaps['things'])}",
            **gaps,
        )

    def flip(self) -> bool:
        """Return a random boolean."""
        return self.chance.choice((True, False))


def _keywords(writer: _Writer) -> str:
    ask = writer.ask
    first, *others = SENTENCES["keywords"]
    writer.chance.shuffle(others)
    found = [writer.fill(pattern).lower() for pattern in (first, *others)]
    return (", " if ask.comma_separated else "\n").join(_exactly(ask.count, found))


def _image(writer: _Writer) -> str:
    return f"{writer.say('images')}, {writer.say('image_styles')}."


def _introduction(writer: _Writer) -> str:
    return f"{writer.say('intro_situations')}\n\n{writer.say('intro_promises')}"


def _conclusion(writer: _Writer) -> str:
    return f"{writer.say('conclusions')} {writer.say('next_steps')}"


def _outline(writer: _Writer) -> str:
    # A title from each stage of an argument, in order; after the last stage, from the first again.
    stages = [writer.chance.sample(stage, len(stage)) for stage in OUTLINE]
    titles = [
        as_title(writer.fill(stage[turn]))
        for turn in range(max(map(len, stages)))
        for stage in stages
        if turn < len(stage)
    ]
    found = _exactly(writer.ask.count, titles)
    return "\n".join(f"{i}. {title}" for i, title in enumerate(found, 1))


def _section(writer: _Writer) -> str:
    reasons = writer.turn("reasons", 5)
    opening = " ".join([*writer.turn("openings", 1), *reasons[:2]])
    example = " ".join([*writer.turn("examples", 1), reasons[2]])
    [closing] = writer.turn("closings", 1)
    if writer.flip():
        return f"{opening}\n\n{example} {closing}"
    return f"{opening}\n\n{example}\n\n{' '.join([*reasons[3:], closing])}"


def _meta(writer: _Writer) -> str:
    text = writer.say("meta")
    if len(text) <= META_CHARACTERS:
        return text
    return text[: META_CHARACTERS - 1].rsplit(" ", 1)[0].rstrip(",;:.") + "."


def _general(writer: _Writer) -> str:
    first, *others = SENTENCES["general"]
    rest = writer.chance.sample(others, 2 if writer.flip() else 1)
    return " ".join(map(writer.fill, [first, *rest]))


_FORMS: Mapping[TextKind, Callable[[_Writer], str]] = {
    "headline": lambda writer: writer.say("headlines"),
    "keywords": _keywords,
    "image": _image,
    "social": lambda writer: writer.say("social"),
    "introduction": _introduction,
    "outline": _outline,
    "section": _section,
    "conclusion": _conclusion,
    "meta": _meta,
    "label": lambda writer: label_of(writer.ask.review, writer.ask.labels),
    "general": _general,
}


def _exactly(count: int, found: Sequence[str]) -> list[str]:
    """Return `count` different items, with numbered repetitions if there are too few."""
    different = list(dict.fromkeys(found))
    repeated = [f"{different[0]} ({i})" for i in range(2, count - len(different) + 2)]
    return (different + repeated)[:count]


def _tag(words: str) -> str:
    return re.sub(r"\W", "", "".join(map(as_sentence, re.split(r"[\s-]+", words))))
