"""Extract the subject from a topic: "The Rise of Quantum Computing" gives "quantum computing"."""

import re
from collections import Counter

from .lexicon import SENTENCES, STOCK_WORDS, WORDS

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
