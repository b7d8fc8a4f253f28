"""Where a provider is, the key it is opened with, and how it is reached."""

import ipaddress
import re
import ssl
from collections.abc import Callable, Iterable, Mapping
from typing import cast

import attrs
import httpx
from attrs.validators import gt, instance_of, optional

from ..messages import Request
from .catalog import Vendor, vendor_at, vendor_named
from .format import WireFormat

__all__ = [
    "Endpoint",
    "Key",
    "Timeouts",
]


Key = str | Callable[[], str]
"""An API key, or what returns the one of the moment."""

_KEYS_REMEMBERED = 1000  # to scrub; more than are ever in flight

_TELLING = 12  # characters of a key: fewer are often its vendor's, or chance
_UNMISTAKABLE = 16  # characters of a key, which no text has by chance

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")


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


def _proxy_url(_: object, field: "attrs.Attribute[str]", value: str) -> None:
    if not value:
        return
    try:
        url = httpx.URL(value)
    except (httpx.InvalidURL, TypeError) as error:
        raise ValueError(f"{field.name} is not a URL: {_shown(value)} ({error})") from None
    if url.scheme not in ("http", "https", "socks5", "socks5h") or not url.host:
        raise ValueError(f"{field.name} must look like http://proxy:3128, not {_shown(value)}")


def _shown(value: str | None) -> str:
    """A URL in quotes without the password that may be in it (L8)."""
    return repr(value and re.sub(r"//[^/@]*@", "//***@", value))


def _names_shown(values: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{name!r}: ***" for name in values) + "}"


def _header_text(name: str, value: str) -> None:
    if not (value.isascii() and value.isprintable() and value.strip() == value):
        raise ValueError(
            f"{name} has characters that no header can carry (line breaks, blanks at its ends or "
            "letters outside ASCII); copy it again"
        )


def _checked_key(value: str) -> str:
    if not value:
        raise ValueError("api_key is empty; give None for no key")
    _header_text("api_key", value)
    return value


def _key(_: object, __: object, value: Key | None) -> None:
    if isinstance(value, str):
        _checked_key(value)
    elif value is not None and not callable(cast("object", value)):
        raise TypeError("api_key must be a text or a function that returns one")


def _headers(
    _: object, field: "attrs.Attribute[Mapping[str, str]]", values: Mapping[str, str]
) -> None:
    for name, value in values.items():
        if not _HEADER_NAME.fullmatch(name):
            raise ValueError(f"{field.name} has a name that no header can have: {name!r:.60}")
        _header_text(f"{field.name}[{name!r}]", value)


def _strip_slash(value: str) -> str:
    return value.strip().rstrip("/")


def _lower(values: Mapping[str, str] | Iterable[tuple[str, str]]) -> dict[str, str]:
    return {name.lower(): value for name, value in dict(values).items()}


def _vendor(value: str | Vendor) -> Vendor:
    return vendor_named(value) if isinstance(value, str) else value


@attrs.frozen
class Endpoint:
    """An API that answers requests.

    No key, password or header value is in its repr, and `scrub` takes them out of what others
    write (L8).

    Args:
        base_url: up to and with the version, such as ``https://api.openai.com/v1``.
        api_key: sent in the header that the vendor wants it in; None sends none. A function is
            asked anew at every attempt, so that a key that was changed is picked up by a retry.
        vendor: whose API it is, a `Vendor` or the name of one in `VENDORS`. By default, whose
            address it is; "compatible" for an address that is nobody's.
        headers: further headers of every request; they win over the vendor's.
        query: further parameters of every URL, such as Azure's ``api-version``.
        ssl_context: how the connection is secured; by default as httpx does it.
        proxy: a proxy's URL; None takes the environment's (HTTPS_PROXY and so on), "" takes none.
        uds: the path of a Unix socket to connect to, instead of the host in `base_url`.
        http2: use HTTP/2 if the server speaks it.

    Raises:
        ValueError: `base_url` is no HTTP URL, `api_key` could not be sent in a header, and so on.
    """

    base_url: str = attrs.field(converter=_strip_slash, validator=_http_url, repr=_shown)
    api_key: Key | None = attrs.field(default=None, repr=False, validator=_key)
    vendor: Vendor = attrs.field(
        default=attrs.Factory(lambda self: vendor_at(self.base_url), takes_self=True),
        converter=_vendor,
        validator=instance_of(Vendor),
        repr=lambda vendor: repr(vendor.name),
    )
    headers: Mapping[str, str] = attrs.field(
        factory=dict[str, str],
        converter=_lower,
        validator=_headers,
        repr=_names_shown,
        hash=False,
        kw_only=True,
    )
    query: Mapping[str, str] = attrs.field(
        factory=dict[str, str], repr=_names_shown, hash=False, kw_only=True
    )
    ssl_context: ssl.SSLContext | None = attrs.field(
        default=None, validator=optional(instance_of(ssl.SSLContext)), repr=False, kw_only=True
    )
    proxy: str | None = attrs.field(
        default=None, validator=optional(_proxy_url), repr=_shown, kw_only=True
    )
    uds: str | None = attrs.field(default=None, kw_only=True)
    http2: bool = attrs.field(default=False, validator=instance_of(bool), kw_only=True)
    _handed_out: dict[str, None] = attrs.field(
        factory=dict[str, None], init=False, repr=False, eq=False
    )

    _known: dict[str, list[str]] = attrs.field(
        factory=dict[str, list[str]], init=False, repr=False, eq=False
    )

    def __attrs_post_init__(self) -> None:
        if self.uds is not None and self.proxy:
            raise ValueError("uds and proxy exclude each other; a proxy opens no Unix socket")

    @classmethod
    def of(cls, vendor: str | Vendor, api_key: Key | None = None) -> "Endpoint":
        """A vendor's own address.

        Raises:
            ValueError: no such vendor, or it has no address that is the same for all.
        """
        vendor = _vendor(vendor)
        if vendor.base_url is None:
            raise ValueError(f"{vendor.title} has no address that is the same for all; give one")
        return cls(vendor.base_url, api_key, vendor)

    @property
    def host(self) -> str:
        """Host and port, for messages."""
        return httpx.URL(self.base_url).netloc.decode("ascii").rpartition("@")[2]

    @property
    def identity(self) -> str:
        """What tells it from others and has no secret in it: for caches and journals (L6, L8)."""
        url = httpx.URL(self.base_url)
        return f"{url.scheme}://{self.host}{url.path}"

    @property
    def is_loopback(self) -> bool:
        """Whether it is on this machine, where no proxy is needed."""
        if self.uds is not None:
            return True
        host = httpx.URL(self.base_url).host
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"

    def format_for(self, request: Request) -> WireFormat:
        """The format that such a request is sent in.

        Raises:
            Inexpressible: the vendor takes no requests of this task.
        """
        return self.vendor.format_for(request.task)

    def url(self, request: Request, *, stream: bool = False) -> str:
        """Where to send a request.

        Raises:
            Inexpressible: the vendor takes no requests of this task.
        """
        url = self.base_url + self.format_for(request).path(request, stream=stream)
        if not self.query:
            return url
        return f"{url}{'&' if '?' in url else '?'}{httpx.QueryParams(dict(self.query))}"

    def auth_headers(self) -> dict[str, str]:
        """The headers of one attempt: the key as it is now, the vendor's and further ones.

        Raises:
            ValueError: the function that was given as `api_key` returned what is no key.
        """
        headers = dict(self.vendor.headers)
        if self.api_key is not None:
            key = self.api_key if isinstance(self.api_key, str) else _checked_key(self.api_key())
            self._remember(key)
            headers[self.vendor.key_header] = f"{self.vendor.key_prefix}{key}"
        return headers | dict(self.headers)

    def is_quoted_in(self, raw: bytes) -> bool:
        """Whether a provider's answer quotes a key, or the beginning of one.

        A short one is not looked for: it might be a word that an answer is about.
        """
        return any(
            secret[:_UNMISTAKABLE].encode() in raw
            for secret in self._secrets()
            if len(secret) >= _UNMISTAKABLE
        )

    def scrub(self, text: str) -> str:
        """`text` without any key that was sent, should a provider have quoted it (L8).

        Nor has it the beginning of one, which is left where a text was cut off.
        """
        for secret in self._secrets():
            text = text.replace(secret, "***")
            while len(secret) > _TELLING and (at := text.find(secret[:_TELLING])) >= 0:
                size = _TELLING
                while size < len(secret) and text.startswith(secret[: size + 1], at):
                    size += 1
                text = f"{text[:at]}***{text[at + size :]}"
        return text

    def _remember(self, key: str) -> None:
        handed_out = self._handed_out
        if handed_out.pop(key, "new") is not None:  # the latest is the last
            self._known.clear()
        handed_out[key] = None
        if len(handed_out) > _KEYS_REMEMBERED:
            del handed_out[next(iter(handed_out))]

    def _secrets(self) -> list[str]:
        """The longest first: one may be a part of another."""
        if "secrets" not in self._known:
            self._known["secrets"] = self._all_secrets()
        return self._known["secrets"]

    def _all_secrets(self) -> list[str]:
        found = set(self._handed_out)
        if isinstance(self.api_key, str):
            found.add(self.api_key)
        for name, value in (*self.headers.items(), *self.query.items()):
            if re.search(r"auth|key|token|secret|cookie", name.lower()):
                found |= {value, value.removeprefix("Bearer ")}
        for url in (self.base_url, self.proxy or ""):
            found.add(httpx.URL(url).password)
            found.add(
                httpx.URL(url).userinfo.decode("ascii").partition(":")[2]
            )  # as it was written
        return sorted(found - {""}, key=len, reverse=True)


@attrs.frozen(kw_only=True)
class Timeouts:
    """How long one attempt may be silent; the total is the caller's deadline (L1).

    Args:
        connect_s: until the connection is there, in seconds.
        first_byte_s: from the whole request to the first byte of the answer, in seconds. A model
            may think this long before it says anything.
        between_bytes_s: between two pieces of the answer, in seconds.
        write_s: between two pieces of the request, in seconds.

    Raises:
        ValueError: a value is not above 0; the message names it.
    """

    connect_s: float = attrs.field(default=10.0, validator=gt(0))
    first_byte_s: float = attrs.field(default=300.0, validator=gt(0))
    between_bytes_s: float = attrs.field(default=60.0, validator=gt(0))
    write_s: float = attrs.field(default=30.0, validator=gt(0))

    @property
    def by_httpx_name(self) -> dict[str, float | None]:
        """As the extension of a request that httpx and `LeanTransport` know."""
        return {
            "connect": self.connect_s,
            "read": self.first_byte_s,
            "between": self.between_bytes_s,  # LeanTransport's
            "write": self.write_s,
            "pool": None,  # the deadline counts the wait
        }
