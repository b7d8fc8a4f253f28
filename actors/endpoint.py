"""Where a provider is, and the key it is opened with."""

import ipaddress
import re

import attrs
import httpx
from attrs.validators import gt, optional

__all__ = ["Endpoint", "Timeouts"]


def _http_url(_: object, field: "attrs.Attribute[str]", value: str) -> None:
    try:
        url = httpx.URL(value)
    except (httpx.InvalidURL, TypeError) as error:
        raise ValueError(f"{field.name} is not a URL: {_shown(value)} ({error})") from None
    if url.scheme not in ("http", "https") or not url.host or url.query or url.fragment:
        raise ValueError(
            f"{field.name} must look like https://api.openai.com/v1 or http://127.0.0.1:8080/v1, "
            f"not {_shown(value)}"
        )


def _shown(value: str) -> str:
    """A URL in quotes without the password that may be in it (L8)."""
    return repr(re.sub(r"//[^/@]*@", "//***@", value))


def _header_text(_: object, field: "attrs.Attribute[str]", value: str) -> None:
    if not value:
        raise ValueError(f"{field.name} is empty; give None for no key")
    if not (value.isascii() and value.isprintable() and value.strip() == value):
        raise ValueError(
            f"{field.name} has characters that no key has (line breaks, blanks at its ends or "
            "letters outside ASCII); copy it again"
        )


def _strip_slash(value: str) -> str:
    return value.strip().rstrip("/")


@attrs.frozen
class Endpoint:
    """An OpenAI-compatible API.

    Args:
        base_url: up to and with the version, such as ``https://api.openai.com/v1``.
        api_key: sent as a bearer token; None sends none. It is in no repr and no message (L8).

    Raises:
        ValueError: `base_url` is no HTTP URL, or `api_key` could not be sent in a header.
    """

    base_url: str = attrs.field(converter=_strip_slash, validator=_http_url, repr=_shown)
    api_key: str | None = attrs.field(default=None, repr=False, validator=optional(_header_text))

    @property
    def host(self) -> str:
        """Host and port, for messages."""
        return httpx.URL(self.base_url).netloc.decode("ascii").rpartition("@")[2]

    @property
    def is_loopback(self) -> bool:
        """Whether it is on this machine, where no proxy is needed."""
        host = httpx.URL(self.base_url).host
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"

    def scrub(self, text: str) -> str:
        """`text` without the key, should a provider have quoted it (L8)."""
        return text.replace(self.api_key, "***") if self.api_key else text


@attrs.frozen(kw_only=True)
class Timeouts:
    """How long one attempt may be silent; the total is the caller's deadline (L1).

    Args:
        connect_s: until the connection is there, in seconds.
        read_s: between two pieces of the answer, the first included, in seconds.
        write_s: between two pieces of the request, in seconds.

    Raises:
        ValueError: a value is not above 0; the message names it.
    """

    connect_s: float = attrs.field(default=10.0, validator=gt(0))
    read_s: float = attrs.field(default=300.0, validator=gt(0))
    write_s: float = attrs.field(default=30.0, validator=gt(0))
