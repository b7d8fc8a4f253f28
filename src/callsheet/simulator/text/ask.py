"""Detect what a prompt asks for: the kind of text, its subject, and the number of items."""

import re
from collections import Counter
from typing import Literal

import attrs

from .lexicon import SENTENCES, SENTIMENTS, STOCK_WORDS, WORDS

MAX_CHARACTERS = 4000
LONGEST_PHRASE = 4

_SMALL = WORDS["small"]
_STOP = _SMALL | WORDS["stop"]
# Common beginnings and ends of topics, around the subject.
_OPENING = re.compile(
    r"^(?:(?:the|an|a)\s+)?(?:(?:quiet |true |real |hidden )?(?:rise|future|impact|art|state|case|"
    r"history|evolution|promise|power|basics|limits|role|importance|benefits|guide|introduction)"
    r"\s+(?:of|for|to)\s+|how to \w+\s+|(?:why|how|when|what|understanding|introducing|"
    r"rethinking|exploring|mastering|demystifying)\s+(?:(?:to|we|you|is|are|do|does|should)\s+)*)",
    re.IGNORECASE,
)
_ENDING = re.compile(
    r"(?:\s+(?:(?:still |really )?matters?|works|wins|fails|explained|in \d{4}|today|now|"
    r"beyond .+|innovations?)|['\u2019]s (?:evolution|future|rise|impact))[?!.]*$",
    re.IGNORECASE,
)
_PATTERNS = tuple(
    re.compile(
        "^" + re.escape(headline).replace(re.escape("{T}"), "(?P<topic>.+)") + "$", re.IGNORECASE
    )
    for headline in SENTENCES["headlines"]
)


def subject_of(topic: str) -> str:
    """Return the subject of a topic or headline, in the form for the middle of a sentence."""
    text = " ".join(topic.split()).strip(" \"'.,;:!?“”")
    for pattern in _PATTERNS:  # a headline of the simulator contains its subject
        if found := pattern.match(text):
            text = found["topic"]
            break
    head = text.split(": ")[0]
    head = _OPENING.sub("", head)
    head = _ENDING.sub("", head) or text
    return _lowered(head.strip()) or "this subject"


def _lowered(text: str) -> str:
    words = text.split()
    titled = all(not word[0].islower() or word in _SMALL for word in words)

    def lowered(word: str) -> str:
        # Keep "AI" and "IoT", but not "Next-Gen".
        inner = any(letter.isupper() for part in word.split("-") for letter in part[1:])
        return word if inner else word.lower()

    return " ".join(lowered(word) if titled or not i else word for i, word in enumerate(words))


def as_sentence(text: str) -> str:
    """Return the text with an upper-case first letter."""
    return text[:1].upper() + text[1:]


def as_title(text: str) -> str:
    """Return the text in title case: "quantum computing" becomes "Quantum Computing"."""
    words = text.split()
    return " ".join(
        word if i and word.lower() in _SMALL else "-".join(map(as_sentence, word.split("-")))
        for i, word in enumerate(words)
    )


def main_phrase(text: str) -> str:
    """Return the phrase of one to four words that a text repeats most."""
    words = re.findall(r"[^\W\d_][\w'\u2019-]*", text[:MAX_CHARACTERS])
    lower = [word.lower() for word in words]
    counts = Counter(
        tuple(lower[start:end])
        for start in range(len(words))
        for end in range(start + 1, min(start + LONGEST_PHRASE, len(words)) + 1)
        if lower[start] not in _STOP and lower[end - 1] not in _STOP
    )
    if not counts:
        return ""
    if max(counts.values()) == 1:  # nothing is repeated: take the longest word
        best = (max(lower, key=len),)
    else:
        # Prefer repeated phrases, then phrases that generated texts do not use by themselves, then
        # longer ones, then more frequent ones.
        best = max(
            counts,
            key=lambda phrase: (
                counts[phrase] > 1,
                not STOCK_WORDS.issuperset(phrase),
                len(phrase),
                counts[phrase],
            ),
        )
    places = [i for i in range(len(words)) if tuple(lower[i : i + len(best)]) == best]
    article = "the " if all(i and lower[i - 1] == "the" for i in places) else ""
    return article + " ".join(words[places[0] : places[0] + len(best)])


TextKind = Literal[
    "headline", "keywords", "image", "social", "conclusion", "introduction", "outline", "section",
    "meta", "label", "general",
]  # fmt: skip

_LABELLING = re.compile(r"\b(?:classif\w*|sentiment|categori[sz]e\w*|labels?)\b", re.IGNORECASE)
# The first noun of an instruction is the kind of text; later ones are its context.
_NOUNS: dict[TextKind, str] = {
    "meta": r"meta[- ]description",
    "image": r"(?:describe|image|picture|illustration|cover)\b",
    "social": r"(?:social|tweet|blurb|teaser)\b",
    "keywords": r"key-?words?|key ?phrases?|tags",
    "headline": r"headlines?|(?:a|the|one) title\b",
    "outline": r"outline",
    "conclusion": r"conclusion|closing paragraph",
    "introduction": r"introduction|intro\b|opening paragraph",
    "section": r"section\b",
}
_KIND = re.compile(
    r"\b(?:" + "|".join(f"(?P<{kind}>{nouns})" for kind, nouns in _NOUNS.items()) + ")",
    re.IGNORECASE,
)
_VERB = re.compile(
    r"\b(?:write|give|suggest|create|compose|draft|generate|list|describe|outline|propose|produce|"
    r"name|provide|make|come up)\b",
    re.IGNORECASE,
)
_QUOTED = re.compile(r'"([^"\n]+)"|“([^”\n]+)”')
_ABOUT = re.compile(
    r"\b(?:about|on|regarding|topic:?|titled|of|for)\s+(?:the topic\s+)?(?:of\s+)?:?\s*(.+)",
    re.IGNORECASE,
)
_QUESTION = re.compile(
    r"^(?:(?:please|can|could|would|you|tell|me|explain|what|who|why|how|when|where|is|are|was|do|"
    r"does|did|say|describe|write|give|a|an|the|to|i|hi|hello|in|one|word|words|sentence)\b\W*)+",
    re.IGNORECASE,
)
_NUMBERS = [
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
    "twenty",
]
_COUNT = re.compile(rf"\b(\d{{1,3}}|{'|'.join(_NUMBERS)})\b", re.IGNORECASE)
_LABEL_LIST = re.compile(
    r"(?:one of|labels?|categor(?:y|ies)|either|as|into)\b(?:\s+(?:are|is|words?|the))*\W*"
    r"((?:[\w-]+['\"]?\s*(?:,|\bor\b|\band\b|/|\|)[\s,or'\"]*)+[\w-]+)",
    re.IGNORECASE,
)
MAX_ITEMS = 50


@attrs.frozen(kw_only=True)
class PromptIntent:
    """What a prompt asks for.

    Args:
        kind: the kind of text.
        subject: the subject, in the form for the middle of a sentence.
        title: the title of the section to write.
        part: the number of the section in the post, from 1.
        count: the number of keywords or sections.
        comma_separated: True for a list on one line.
        labels: the labels of a classification.
        review: the text to classify.
    """

    kind: TextKind
    subject: str
    title: str = ""
    part: int = 1
    count: int = 0
    comma_separated: bool = False
    labels: tuple[str, ...] = ()
    review: str = ""


def read_ask(system: str, user: str) -> PromptIntent:
    """Detect what is asked for from the first paragraph of the prompt.

    Later paragraphs may quote other responses, so only the first one is an instruction.
    """
    if _LABELLING.search(system):
        return _labelling(system, user)
    head = user.strip().split("\n\n", 1)[0][:1000]
    kind, instruction = _kind(head), head
    if kind is None and _LABELLING.search(_blanked(head)):
        return _labelling(user, _review_in(user))
    if kind is None and _KIND.search(system[:1000]):
        kind, instruction = _kind(system[:1000]), system[:1000]
    quotes = [one or other for one, other in _QUOTED.findall(head)]
    title = quotes.pop(0) if kind == "section" and quotes else ""
    return PromptIntent(
        kind=kind or "general",
        subject=_subject(head, user, quotes, kind) if quotes or not title else subject_of(title),
        title=title,
        part=_part(user),
        count=_count(instruction, 10 if kind == "keywords" else 5),
        comma_separated="comma" in instruction.lower(),
    )


def _blanked(text: str) -> str:
    return _QUOTED.sub(lambda found: " " * len(found[0]), text)


def _kind(head: str) -> TextKind | None:
    text = _blanked(head)
    found = _KIND.search(text)
    if found is None or not (_VERB.match(text) or _VERB.search(text[: found.start()])):
        return None
    return next(kind for kind in _NOUNS if kind == found.lastgroup)


def _subject(head: str, user: str, quotes: list[str], kind: TextKind | None) -> str:
    if quotes:
        for quote in quotes:  # prefer a topic to a title
            before = head[: head.index(quote)].rstrip(' "“').lower()
            if before.endswith(("about", "topic", "topic:", "on", "regarding")):
                return subject_of(quote)
        return subject_of(quotes[-1])
    _, _, rest = user.strip().partition("\n\n")
    if kind is not None and rest:
        return subject_of(main_phrase(rest))
    line = re.split(r"(?<=[.?!])\s|\n", head, maxsplit=1)[0]
    if (kind is not None or _VERB.match(line)) and (found := _ABOUT.search(line)):
        return subject_of(found[1])
    return subject_of(_QUESTION.sub("", line)[:80])


def _count(instruction: str, default: int) -> int:
    found = _COUNT.search(_blanked(instruction).split("\n", 1)[0])
    if found is None:
        return default
    word = found[1].lower()
    number = int(word) if word.isdecimal() else _NUMBERS.index(word) + 1
    return min(number, MAX_ITEMS) or default


def _part(user: str) -> int:
    found = re.search(r"\bsection (\d{1,3}) of\b", _blanked(user))
    return int(found[1]) if found else 1


def _labelling(instruction: str, review: str) -> PromptIntent:
    named = [label for label in SENTIMENTS if re.search(rf"\b{label}\b", instruction.lower())]
    if not named and (found := _LABEL_LIST.search(instruction)):
        named = [w for w in re.findall(r"[\w-]+", found[1].lower()) if w not in ("or", "and")]
    return PromptIntent(
        kind="label",
        subject="the review",
        labels=tuple(dict.fromkeys(named)) or SENTIMENTS,
        review=review,
    )


def _review_in(prompt: str) -> str:
    """Return the review of a prompt that begins with the instruction."""
    marked = re.split(r"\b(?:review|text|comment|input)\s*:\s*", prompt, flags=re.IGNORECASE)
    if len(marked) > 1:
        return marked[-1]
    quotes = _QUOTED.findall(prompt)
    if quotes:
        return "".join(quotes[-1])
    return prompt.rsplit("\n\n", maxsplit=1)[-1]
