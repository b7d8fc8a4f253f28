"""What the values of an endpoint must be, and how they are shown without secrets (L8)."""

import re
from collections.abc import Callable, Mapping
from typing import cast

import attrs
import httpx

from ..redaction import shown_url
from ..validation import instance_of

Key = str | Callable[[], str]
"""An API key, or a function that returns the current one."""

_MAX_PORT = 65535

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")


def _url(name: str, value: str) -> httpx.URL:
    try:
        return httpx.URL(value)
    except (httpx.InvalidURL, TypeError) as error:
        # The reason may quote a part of the URL, which may be a part of a secret (L8).
        why = "" if shown_url(str(value)) != str(value) else f" ({error})"
        if str(value).count("[") > str(value).count("]"):
            why = " (a bracket is not closed)"
        raise ValueError(f"{name} is not a URL: {redacted_url(value)}{why}") from None


def check_http_url(_: object, field: "attrs.Attribute[str]", value: str) -> None:
    """Validate the address of an API."""
    url = _url(field.name, value)
    if url.query:
        raise ValueError(
            f"{field.name} has a query, {redacted_url(value)}: give it as `query` instead"
        )
    if url.scheme not in ("http", "https") or not url.host or url.fragment:
        raise ValueError(
            f"{field.name} must look like https://api.openai.com/v1 or http://127.0.0.1:8080/v1, "
            f"not {redacted_url(value)}"
        )
    _check_port(field.name, url)


def _check_port(name: str, url: httpx.URL) -> None:
    if url.port is not None and not 0 < url.port <= _MAX_PORT:
        raise ValueError(f"{name} has port {url.port}; a port is a number from 1 to {_MAX_PORT}")


def check_proxy_url(_: object, field: "attrs.Attribute[str]", value: str) -> None:
    """Validate the URL of a proxy; "" is none."""
    instance_of(str)(None, field, value)
    if not value:
        return
    url = _url(field.name, value)
    if url.scheme not in ("http", "https", "socks5", "socks5h") or not url.host:
        raise ValueError(
            f"{field.name} must look like http://proxy:3128, not {redacted_url(value)}"
        )
    _check_port(field.name, url)


def redacted_url(value: str | None) -> str:
    """Return a URL in quotes, without user name, password, keys and values of its query (L8)."""
    return repr(value and shown_url(str(value)))


def names_only(values: Mapping[str, str]) -> str:
    """Return the names of headers or parameters, without their values (L8)."""
    return "{" + ", ".join(f"{name!r}: ***" for name in values) + "}"


def _check_header_text(name: str, value: str) -> None:
    if not (value.isascii() and value.isprintable() and value.strip() == value):
        raise ValueError(
            f"{name} has characters that are not allowed in a header (line breaks, spaces at its "
            "ends, or letters outside ASCII); copy it again"
        )


def checked_key(value: str) -> str:
    """Return an API key that can be sent in a header.

    Raises:
        ValueError: it cannot; the message names `api_key`.
    """
    if not value:
        raise ValueError("api_key is empty; use None for no key")
    _check_header_text("api_key", value)
    return value


def check_key(_: object, __: object, value: Key | None) -> None:
    """Validate an API key, or a function that returns one."""
    if isinstance(value, str):
        checked_key(value)
    elif value is not None and not callable(cast("object", value)):
        raise TypeError("api_key must be a text or a function that returns one")


def check_headers(
    _: object, field: "attrs.Attribute[Mapping[str, str]]", values: Mapping[str, str]
) -> None:
    """Validate the names and values of headers."""
    for name, value in values.items():
        if not isinstance(value, str):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
            raise TypeError(f"{field.name}[{name!r:.60}] must be a string")
        if not _HEADER_NAME.fullmatch(name):
            raise ValueError(f"{field.name} has an invalid header name: {name!r:.60}")
        _check_header_text(f"{field.name}[{name!r}]", value)
