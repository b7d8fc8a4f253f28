"""Remove secrets from log events (L8)."""

import re
from collections.abc import Callable, Mapping, MutableMapping
from typing import cast

_HIDDEN = "***"

# The names of members that contain a secret, in lower case and with underscores.
_SECRET_NAME = re.compile(
    r"(.*_)?(authorization|api_?key|x_goog_api_key|secret(_key)?|password|passwd|cookie"
    r"|(access|auth|bearer|refresh|id|session|security)_token|credentials?)"
)
# Texts that look like a key.
_SECRET_TEXT = re.compile(
    r"\b(?:sk|gsk|csk|pk|rk|tgp|hf)[-_][A-Za-z0-9_\-]{8,}"  # OpenAI and vendors with similar keys
    r"|\bcs-[A-Za-z0-9_\-]{40,}"  # Callsheet's own gateway
    r"|\bAIza[A-Za-z0-9_\-]{20,}"  # Google
    r"|(?<=//)[^/@\s:]*:[^/@\s]+(?=@)"  # user and password in a URL
    r"|(?<=://)[^/@\s:\"']{16,}(?=@)"  # a token in a URL
    r"|(?i:(?<=[?&]key=)|(?<=[?&]api-key=)|(?<=[?&]api_key=)|(?<=[?&]apikey=)|(?<=[?&]token=)"
    r"|(?<=[?&]access_token=)|(?<=[?&]subscription-key=)|(?<=[?&]sig=))[^&\s\"']+"
    r"|(?i:(?<=bearer )|(?<=basic ))[A-Za-z0-9._~+/=\-]{6,}"
)
# A segment of a path that is a random text, such as a key of a gateway.
_RANDOM_SEGMENT = re.compile(r"(?=(?:\D*\d){4})(?=.*[A-Za-z])[A-Za-z0-9]{32,}")
# A word of a path; after "=" all up to the next parameter is one.
_WORD = re.compile(r"(?<==)[^;&/]+|[^;,:&=/]+")
# What is in the place of a port, and is no number.
_NO_PORT = re.compile(r"^((?:[^/:@]*://)?[^/:\[\]]*):(?!//)(?!\d*(?:/|$))[^/]*")
_DEEPEST = 20  # levels; this also ends a structure that contains itself


# Headers and parameters that contain a key, by the end of their names. "x-portkey-config" does not.
_KEY_NAME = re.compile(
    r"(auth|authorization|key|token|secret|cookie|passw(or)?d|credentials?|sig|signature)$"
)


def names_secret(name: str) -> bool:
    """Return whether a header or a parameter has a key as its value, by its name.

    Args:
        name: the name in lower case.
    """
    return _KEY_NAME.search(name) is not None


def looks_like_key(text: str) -> bool:
    """Return whether a text is a key by its form, such as ``sk-...`` or 32 random characters.

    Args:
        text: one word, such as a segment of the path of a URL.
    """
    return _SECRET_TEXT.fullmatch(text) is not None or _RANDOM_SEGMENT.fullmatch(text) is not None


def keys_in(path: str) -> list[str]:
    """Return what may be a key in the path of a URL; see `replace_keys`.

    Args:
        path: the path, which may be malformed.
    """
    found: list[str] = []

    def keep(key: str) -> str:
        found.append(key)
        return key

    replace_keys(path, keep)
    return found


def replace_keys(path: str, replacement: Callable[[str], str]) -> str:
    """Replace what may be a key in the path of a URL: by its form, or as in ``v1;key=...``.

    Args:
        path: the path, which may be malformed.
        replacement: returns what to write instead of a key.
    """

    def replaced(word: re.Match[str]) -> str:
        is_value = path[: word.start()].endswith("=")
        return replacement(word[0]) if is_value or looks_like_key(word[0]) else word[0]

    return _WORD.sub(replaced, path)


def shown_url(url: str) -> str:
    """Return a URL with ``***`` for user, password, keys in its path, query values and fragment.

    Args:
        url: the URL, which may be malformed.
    """
    url = re.sub(r"^([^/@]*//)?.*@", rf"\1{_HIDDEN}@", url)
    url, fragment_mark, fragment = url.partition("#")
    url, mark, query = url.partition("?")
    url = re.sub(_NO_PORT, rf"\1:{_HIDDEN}", url)  # such as a password without a host
    query = re.sub(r"(=|^)[^&=]+(?=&|$)", rf"\1{_HIDDEN}", query)
    path = replace_keys(url, lambda _: _HIDDEN)
    return f"{path}{mark}{query}{fragment_mark}{fragment and _HIDDEN}"


def redact_text(text: str) -> str:
    """Return a text with ``***`` for everything in it that has the form of a key.

    Args:
        text: any text, such as the message of an error.
    """
    return _SECRET_TEXT.sub(_HIDDEN, text)


def redact_secrets(
    logger: object,  # noqa: ARG001  # the three arguments of a structlog processor
    method: str,  # noqa: ARG001
    event: MutableMapping[str, object],
) -> MutableMapping[str, object]:
    """Replace everything that is a secret, or looks like one, with ``***``. A structlog processor.

    It recognizes the names of members ("authorization", "api_key", "x-api-key" and so on) and the
    form of texts ("sk-...", "Bearer ..."), up to 20 levels deep. Place it directly before the
    renderer, after the processor that turns exceptions into text.

    Args:
        logger: ignored; structlog passes it.
        method: ignored; structlog passes it.
        event: the event, which is changed in place.
    """
    for name, value in list(event.items()):
        event[name] = _redacted(name, value, _DEEPEST)
    return event


def _redacted(name: str, value: object, levels: int) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    if _SECRET_NAME.fullmatch(name.lower().replace("-", "_")):
        return _HIDDEN
    if isinstance(value, str):
        return _SECRET_TEXT.sub(_HIDDEN, value)
    return _redacted_inside(value, levels - 1) if levels else "..."


def _redacted_inside(value: object, levels: int) -> object:
    if isinstance(value, Mapping):
        members = cast("Mapping[object, object]", value)
        return {
            _SECRET_TEXT.sub(_HIDDEN, name) if isinstance(name, str) else name: _redacted(
                str(name), member, levels
            )
            for name, member in members.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        items = [_item(item, levels) for item in cast("list[object]", value)]
        return tuple(items) if isinstance(value, tuple) else items
    shown = value.decode(errors="replace") if isinstance(value, bytes) else repr(value)
    return _SECRET_TEXT.sub(_HIDDEN, shown) if _SECRET_TEXT.search(shown) else value


def _item(item: object, levels: int) -> object:
    """Redact an item of a sequence; a pair of texts is the name and the value of a header."""
    pair = _pair(item)
    if pair is None:
        return _redacted("", item, levels)
    name, value = pair
    word = name if isinstance(name, str) else name.decode(errors="replace")
    return name, _redacted(word, value, levels)


def _pair(item: object) -> tuple[str | bytes, object] | None:
    found = cast("tuple[object, ...]", item) if isinstance(item, tuple) else ()
    if len(found) == 2 and isinstance(found[0], str | bytes):  # noqa: PLR2004  # a name and a value
        return found[0], found[1]
    return None
