"""The headers of a request's own: which ones may be sent, and how they join the endpoint's."""

import re
from collections.abc import Mapping
from typing import cast

from .json_value import kind_of
from .redaction import looks_like_key, names_secret

_NAME = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+")  # RFC 9110, section 5.6.2
_LISTS = frozenset({"anthropic-beta", "openai-beta"})  # of features: all of them are sent
# Headers of HTTP itself, and those that the encoding of the body decides.
_RESERVED = frozenset({
    *("accept-encoding", "connection", "content-encoding", "content-length", "content-type"),
    *("expect", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"),
})  # fmt: skip


def header_names(values: Mapping[str, str]) -> Mapping[str, str]:
    """Return headers by their name in lower case.

    Args:
        values: the headers, by name in any case.

    Raises:
        TypeError: they are no mapping of texts.
    """
    if not isinstance(cast("object", values), Mapping):
        raise TypeError(f"extra_headers must be a mapping of texts, not {kind_of(values)}")
    for pair in values.items():
        if not all(isinstance(cast("object", it), str) for it in pair):
            raise TypeError("extra_headers must have texts as names and as values")
    return {name.lower(): value for name, value in values.items()}


def check_extra_headers(_: object, __: object, values: Mapping[str, str]) -> None:
    """Validate the headers of a request; no error quotes a value (L8)."""
    for name, value in values.items():
        shown = f"extra_headers[{name!r:.60}]"
        if not _NAME.fullmatch(name):
            raise ValueError(f"{shown} is no name of a header")
        if name == "idempotency-key":
            raise ValueError(f"{shown} is sent by itself; set idempotency_key")
        if name in _RESERVED:
            raise ValueError(f"{shown} is set by the connection; leave it out")
        if names_secret(name) or looks_like_key(value):
            raise ValueError(f"{shown} may be a secret; keys belong to the Endpoint")
        if not (value.isascii() and value.isprintable() and value.strip() == value):
            raise ValueError(
                f"{shown} has characters that are not allowed in a header (line breaks, spaces at "
                "its ends, or letters outside ASCII)"
            )


def joined_headers(common: Mapping[str, str], extra: Mapping[str, str]) -> dict[str, str]:
    """Return the headers of an endpoint with those of a request, which win; lists are joined.

    Args:
        common: the headers of every request to the endpoint, by name in any case.
        extra: the headers of one request, by name in lower case.
    """
    joined = {name.lower(): value for name, value in common.items()}
    for name, value in extra.items():
        before = joined.get(name, "")
        joined[name] = f"{before},{value}" if name in _LISTS and before else value
    return joined
