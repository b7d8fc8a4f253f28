"""The keys, passwords and marked values of an endpoint, and their removal from texts (L8). Pure."""

import re
from collections.abc import Iterable
from typing import final

HIDDEN = "***"

_LEAST_KEY = 8  # characters; a shorter key is a placeholder, such as "none" or "EMPTY"
_LEAST_MARKED = 4  # characters of a password, or of a value that the user marks
_CERTAIN = 16  # characters of a key that no text contains by chance
_PREFIX = 12  # characters; shorter beginnings are common to keys, or chance


@final
class SecretTexts:
    """Texts that must not be shown.

    One of 16 characters or more is removed wherever it is, and its beginning, too, because a text
    may have been cut off. A shorter one is removed where it is a whole word. One that is too short
    to be a secret is shown.

    Args:
        keys: API keys, which are secrets from 8 characters on.
        marked: passwords and values that the user marks, which are secrets from 4 characters on.
    """

    def __init__(self, keys: Iterable[str], marked: Iterable[str] = ()) -> None:
        found = {key for key in keys if len(key) >= _LEAST_KEY}
        found |= {text for text in marked if len(text) >= _LEAST_MARKED}
        # The longest first, because one may contain another.
        self._texts = sorted(found, key=len, reverse=True)
        self._certain = [text for text in self._texts if len(text) >= _CERTAIN]
        self._starts = [text[:_CERTAIN].encode() for text in self._certain]

    def scrub(self, text: str) -> str:
        """Return a text with "***" for every secret.

        Args:
            text: a text that may quote a secret.
        """
        for secret in self._texts:
            if secret[:_PREFIX] not in text:
                continue
            if len(secret) < _CERTAIN:
                whole = rf"(?<![^\W_]){re.escape(secret)}(?![^\W_])"
                text = re.sub(whole, HIDDEN, text)
            else:
                text = _without(secret, text)
        return text

    def is_quoted_in(self, raw: bytes) -> bool:
        """Return whether a body contains a secret, or the beginning of one.

        Short ones are not searched for, because a body may contain the same text by chance.

        Args:
            raw: the body of a response.
        """
        return any(map(raw.__contains__, self._starts))

    def held_back(self, text: str) -> int:
        """Return how many characters at the end of a text may be the beginning of a secret.

        Args:
            text: what has arrived so far of a text. Short secrets are not searched for.
        """
        return max([_overlap(text, secret) for secret in self._certain], default=0)


def _without(secret: str, text: str) -> str:
    text = text.replace(secret, HIDDEN)
    while (at := text.find(secret[:_PREFIX])) >= 0:
        size = _PREFIX
        while size < len(secret) and text.startswith(secret[: size + 1], at):
            size += 1
        text = f"{text[:at]}{HIDDEN}{text[at + size :]}"
    return text


def _overlap(text: str, secret: str) -> int:
    """Return the length of the longest end of a text that a longer secret begins with."""
    if text[-2:] not in secret and text[-1:] != secret[0]:  # nearly always
        return 0
    at = text.find(secret[0], max(0, len(text) - len(secret) + 1))
    while at >= 0 and not secret.startswith(text[at:]):
        at = text.find(secret[0], at + 1)
    return len(text) - at if at >= 0 else 0
