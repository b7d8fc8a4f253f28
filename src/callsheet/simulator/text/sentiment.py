"""Label a review by its words alone, so that copies get the same label."""

import re
from collections.abc import Sequence

from ..chance import fraction_of
from .lexicon import WORDS

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
