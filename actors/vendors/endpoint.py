"""An endpoint: address, API key and connection settings of one provider; and timeouts of a send."""

import ipaddress
import os
import re
import ssl
from collections.abc import Iterable, Mapping, Sequence
from math import inf
from pathlib import Path
from typing import cast

import attrs
import httpx
from attrs.validators import and_, optional

from ..json_value import kind_of
from ..messages import Api, Request
from ..redaction import keys_in, looks_like_key, shown_url
from ..validation import deep_mapping, gt, in_, instance_of, listed, lt, not_empty
from .catalog import vendor_at, vendor_named
from .endpoint_identity import identity_of
from .endpoint_values import (
    Key,
    check_headers,
    check_http_url,
    check_key,
    check_proxy_url,
    checked_key,
    names_only,
    redacted_url,
)
from .format import WireFormat
from .secret_texts import SecretTexts
from .vendor import Vendor

_KEYS_REMEMBERED = 1000  # for `scrub`; more than can be in flight

_SECRET_NAME = re.compile(r"auth|key|token|secret|cookie|password|credential")  # of a header


def _strip_slash(value: str) -> str:
    if not isinstance(value, str):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
        raise TypeError(f"base_url must be a string, not {kind_of(value)}")
    return value.strip().rstrip("/")


def _lower(values: Mapping[str, str] | Iterable[tuple[str, str]]) -> dict[str, str]:
    try:
        return {name.lower(): value for name, value in dict(values).items()}
    except (TypeError, ValueError, AttributeError):
        # The values may be secrets (L8).
        raise TypeError("headers must be a mapping of names to values, which are strings") from None


def _lower_names(names: Iterable[str]) -> frozenset[str]:
    found = listed(names, "secret_names")
    for name in found:
        if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
            raise TypeError(f"secret_names must be strings, not {kind_of(name)}")
    return frozenset(name.lower() for name in found)


def _members(value: "Iterable[Endpoint]") -> "tuple[Endpoint, ...]":
    return listed(value, "members")


def _vendor(value: str | Vendor) -> Vendor:
    return vendor_named(value) if isinstance(value, str) else value


@attrs.frozen
class Endpoint:
    """The address of an API, with its key and connection settings.

    Its repr contains no key, password or header value, and `scrub` removes them from other texts
    (L8). `pool` makes one endpoint of several.

    Args:
        base_url: address up to and including the version, such as ``https://api.openai.com/v1``.
        api_key: the key, sent in the vendor's header; None sends no key. A function is called for
            every attempt, so that a retry uses a changed key.
        vendor: a `Vendor`, or the name of one in `VENDORS`. By default the vendor of the address;
            "compatible" for an unknown address.
        headers: further headers of every request; they replace the vendor's.
        query: further parameters of every URL, such as Azure's ``api-version``.
        ssl_context: TLS settings; None uses httpx's default.
        proxy: URL of a proxy; None uses the environment's (HTTPS_PROXY and so on), "" uses none.
        uds: path of a Unix socket to connect to, instead of the host in `base_url`.
        http2: use HTTP/2 if the server supports it.
        api: "chat" (chat completions) or "responses", for chats at a vendor that has both APIs;
            None for the vendor's usual one. `Request.api` overrides it.
        secret_names: names of headers and query parameters whose values are secret, besides those
            whose names say so, such as "x-api-key".
        deployment: replaces the model that a request names, such as the name of an Azure
            deployment; None to keep it.
        key_name: the name of the key in logs, statistics and ledgers, where the key never appears.
        weight: its part of the calls of a pool, relative to the other members.
        members: the members of a pool; `pool` sets them. Empty for a single endpoint.
        key_variable: the environment variable that `api_key` is from, so that the workers of a
            shared run on other machines can take it from there; "" if it is from none.

    Raises:
        ValueError: a value is invalid, such as a `base_url` that is not an HTTP URL, or an
            `api_key` that cannot be sent in a header; the message names it.
        TypeError: a value has the wrong type; the message names it.
    """

    base_url: str = attrs.field(converter=_strip_slash, validator=check_http_url, repr=redacted_url)
    api_key: Key | None = attrs.field(default=None, repr=False, validator=check_key)
    vendor: Vendor = attrs.field(
        default=attrs.Factory(lambda self: vendor_at(self.base_url), takes_self=True),
        converter=_vendor,
        validator=instance_of(Vendor),
        repr=lambda vendor: repr(vendor.name),
    )
    headers: Mapping[str, str] = attrs.field(
        factory=dict[str, str],
        converter=_lower,
        validator=check_headers,
        repr=names_only,
        hash=False,
        kw_only=True,
    )
    query: Mapping[str, str] = attrs.field(
        factory=dict[str, str],
        validator=deep_mapping(instance_of(str), instance_of(str)),
        repr=names_only,
        hash=False,
        kw_only=True,
    )
    ssl_context: ssl.SSLContext | None = attrs.field(
        default=None, validator=optional(instance_of(ssl.SSLContext)), repr=False, kw_only=True
    )
    proxy: str | None = attrs.field(
        default=None, validator=optional(check_proxy_url), repr=redacted_url, kw_only=True
    )
    uds: str | None = attrs.field(default=None, kw_only=True, validator=optional(instance_of(str)))
    http2: bool = attrs.field(default=False, validator=instance_of(bool), kw_only=True)
    api: Api | None = attrs.field(
        default=None, validator=in_((None, "chat", "responses")), kw_only=True
    )
    secret_names: frozenset[str] = attrs.field(
        default=frozenset[str](), converter=_lower_names, kw_only=True
    )
    deployment: str | None = attrs.field(
        default=None, validator=optional(and_(instance_of(str), not_empty)), kw_only=True
    )
    key_name: str = attrs.field(default="", validator=instance_of(str), kw_only=True)
    weight: float = attrs.field(default=1.0, validator=[gt(0.0), lt(inf)], kw_only=True)
    members: "tuple[Endpoint, ...]" = attrs.field(default=(), converter=_members, kw_only=True)
    key_variable: str = attrs.field(
        default="", validator=instance_of(str), repr=False, eq=False, kw_only=True
    )
    _handed_out: dict[str, None] = attrs.field(
        factory=dict[str, None], init=False, repr=False, eq=False
    )
    _known: list[SecretTexts] = attrs.field(
        factory=list[SecretTexts], init=False, repr=False, eq=False
    )  # at most one, until a new key is handed out

    def __attrs_post_init__(self) -> None:
        if self.uds is not None and self.proxy:
            raise ValueError("uds and proxy exclude each other; a proxy cannot use a Unix socket")

    @classmethod
    def of(
        cls,
        vendor: str | Vendor,
        api_key: Key | None = None,
        *,
        api: Api | None = None,
        deployment: str | None = None,
        key_name: str = "",
        weight: float = 1.0,
    ) -> "Endpoint":
        """Return the endpoint at a vendor's own address.

        Where each customer has another address, it is that in the vendor's environment variable,
        such as ``AZURE_OPENAI_ENDPOINT``.

        Args:
            vendor: a `Vendor`, or the name of one in `VENDORS`.
            api_key: the key, or a function that returns it; None sends no key.
            api: the API for chats, where the vendor has two.
            deployment: replaces the model that a request names; None to keep it.
            key_name: the name of the key; see `Endpoint`.
            weight: its part of the calls of a pool, relative to the other members.

        Raises:
            ValueError: the name is unknown, or the vendor has no address of its own, and no
                environment variable names one.
        """
        vendor = _vendor(vendor)
        names = () if vendor.base_url else vendor.url_variables
        url = vendor.base_url or next(filter(None, map(os.environ.get, names)), None)
        if url is None:
            raise ValueError(
                f"{vendor.title} has a different address for each customer; "
                f"use Endpoint(url, vendor={vendor.name!r})"
                + (f" or set {names[0]}" if names else "")
            )
        return cls(
            vendor.whole_url(url),
            api_key,
            vendor,
            api=api,
            deployment=deployment,
            key_name=key_name,
            weight=weight,
        )

    @classmethod
    def pool(cls, members: "Sequence[Endpoint]") -> "Endpoint":
        """Return one endpoint of several: keys, deployments or hosts that serve the same models.

        The first member decides what depends on one vendor, such as the Batch API.

        Args:
            members: the endpoints. One without `key_name` is named "key 1", "key 2" and so on, by
                its place.

        Raises:
            ValueError: there are none, two have the same name, or one is a pool itself.
            TypeError: a member is no endpoint.
        """
        for member in members:
            if not isinstance(cast("object", member), Endpoint):
                kind = type(member).__name__
                raise TypeError(f"a member of a pool must be an Endpoint, not a {kind}")
        if not members:
            raise ValueError("a pool needs at least one endpoint")
        if any(member.members for member in members):
            raise ValueError("a member of a pool cannot be a pool itself; list its members")
        named = [
            member if member.key_name else attrs.evolve(member, key_name=f"key {number}")
            for number, member in enumerate(members, 1)
        ]
        names = [member.key_name for member in named]
        if len(set(names)) < len(names):
            raise ValueError(f"each key_name in a pool must be unique, not {', '.join(names)}")
        return attrs.evolve(named[0], members=tuple(named))

    @property
    def each(self) -> "tuple[Endpoint, ...]":
        """The members of a pool; the endpoint itself if it is no pool."""
        return self.members or (self,)

    @property
    def host(self) -> str:
        """Host and port, and the Unix socket if it has one, for texts and ledgers."""
        host = httpx.URL(self.base_url).netloc.decode("ascii").rpartition("@")[2]
        return host if self.uds is None else f"{host} ({Path(self.uds).absolute()})"

    @property
    def shown_url(self) -> str:
        """The URL for texts, without user name, password and keys (L8)."""
        return shown_url(self.base_url)

    @property
    def shown_headers(self) -> dict[str, str]:
        """The further headers whose values are no secrets (L8)."""
        return self._shown(self.headers)

    @property
    def shown_query(self) -> dict[str, str]:
        """The further parameters whose values are no secrets (L8)."""
        return self._shown(self.query)

    def _shown(self, values: Mapping[str, str]) -> dict[str, str]:
        return {
            name: value
            for name, value in values.items()
            if name.lower() not in self.secret_names
            and not _SECRET_NAME.search(name.lower())
            and not looks_like_key(value)
        }

    @property
    def identity(self) -> str:
        """A key of the endpoint for caches and journals: the whole way, without keys (L8, L12)."""
        vendor, usual = self.vendor, vendor_at(self.base_url)
        headers = dict(vendor.headers) | dict(self.headers)
        headers.pop(vendor.key_header, None)
        return identity_of(
            self.base_url,
            query=self.query,
            headers=headers,
            named={
                "socket": None if self.uds is None else str(Path(self.uds).absolute()),
                "vendor": None if vendor.name == usual.name else vendor.name,
                "api": self.api,
                "deployment": self.deployment,
            },
            secret_names=self.secret_names,
        )

    @property
    def label(self) -> str:
        """The host and the name of the key, such as "api.openai.com key 2" (L8)."""
        return f"{self.host} {self.key_name}" if self.key_name else self.host

    @property
    def is_loopback(self) -> bool:
        """Whether it is on this machine, so that no proxy is used."""
        if self.uds is not None:
            return True
        host = httpx.URL(self.base_url).host
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"

    def request_there(self, request: Request) -> Request:
        """Return the request as it is sent there: for the deployment, if there is one.

        Args:
            request: the request, with the model that the caller names.
        """
        return request if self.deployment is None else attrs.evolve(request, model=self.deployment)

    def format_for(self, request: Request) -> WireFormat:
        """Return the wire format for a request.

        Args:
            request: the request to encode; its task, its API and its dialect decide.

        Raises:
            UnsupportedField: the vendor does not support the request's task or API.
        """
        return self.vendor.format_for(request.task, request.api or self._api_of(request))

    def _api_of(self, request: Request) -> Api | None:
        """Return the API in whose words the request is, if the vendor has it; else the usual."""
        chat = self.vendor.formats.get("chat")
        if request.dialect == "responses" and self.vendor.responses is not None:
            return "responses"
        if request.dialect == "chat" and chat != self.vendor.responses:
            return "chat"
        return self.api

    def url(self, request: Request, form: WireFormat | None = None, *, stream: bool = False) -> str:
        """Return the URL for a request.

        Args:
            request: the request to send; its task decides the path.
            form: its wire format, if it is known already.
            stream: whether the response is streamed.

        Raises:
            UnsupportedField: the vendor does not support the request's task or API.
        """
        url = self.base_url + (form or self.format_for(request)).path(request, stream=stream)
        if not self.query:
            return url
        return f"{url}{'&' if '?' in url else '?'}{httpx.QueryParams(dict(self.query))}"

    def auth_headers(self) -> dict[str, str]:
        """Return the headers of one attempt: the current key, the vendor's and further ones.

        Raises:
            ValueError: the function `api_key` returned an invalid key.
        """
        headers, further, vendor = dict(self.vendor.headers), dict(self.headers), self.vendor
        if self.api_key is not None:
            key = self.api_key if isinstance(self.api_key, str) else checked_key(self.api_key())
            self._remember(key)
            if vendor.tokens is None or not key.startswith(vendor.tokens.prefix):
                headers[vendor.key_header] = f"{vendor.key_prefix}{key}"
            else:
                headers["authorization"] = f"Bearer {key}"
                for name, value in vendor.tokens.headers.items():  # a list of features
                    further[name] = f"{further[name]},{value}" if name in further else value
        return headers | further

    def is_quoted_in(self, raw: bytes) -> bool:
        """Return whether a response contains a key, or the beginning of one.

        Args:
            raw: the body of the response.
        """
        if not self.members:
            return self._secrets.is_quoted_in(raw)
        return any(member.is_quoted_in(raw) for member in self.members)

    def held_back(self, text: str) -> int:
        """Return how many characters at the end of a text may be the beginning of a key.

        Args:
            text: what has arrived so far of a text in a response.
        """
        return self._secrets.held_back(text)

    def scrub(self, text: str) -> str:
        """Return a text with ``***`` for every key that was sent, and every other secret (L8).

        Args:
            text: a text that may quote a key, such as a provider's error.
        """
        if not self.members:
            return self._secrets.scrub(text)
        for member in self.members:
            text = member.scrub(text)
        return text

    def _remember(self, key: str) -> None:
        handed_out = self._handed_out
        if handed_out.pop(key, "new") is not None:  # the most recently used is the last
            self._known.clear()
        handed_out[key] = None
        if len(handed_out) > _KEYS_REMEMBERED:
            del handed_out[next(iter(handed_out))]

    @property
    def _secrets(self) -> SecretTexts:
        if not self._known:
            self._known.append(self._all_secrets())
        return self._known[0]

    def _all_secrets(self) -> SecretTexts:
        keys, marked = set(self._handed_out), set[str]()
        if isinstance(self.api_key, str):
            keys.add(self.api_key)
        for name, value in (*self.headers.items(), *self.query.items()):
            if name.lower() in self.secret_names:
                marked.add(value)
            elif _SECRET_NAME.search(name.lower()):
                keys |= {value, value.removeprefix("Bearer ")}
        for url in map(httpx.URL, (self.base_url, self.proxy or "")):
            written = url.userinfo.decode("ascii")
            # Without a password, the name is a token.
            marked |= {url.password or url.username, written.partition(":")[2] or written}
            keys |= set(keys_in(url.path))
        return SecretTexts(keys, marked)


@attrs.frozen(kw_only=True)
class Timeouts:
    """The longest times of one send to a provider; the deadline limits the total (L1).

    Args:
        connect_s: seconds until the connection is established.
        first_byte_s: seconds from the end of the request to the first byte of the response, and
            from there to its first text. A model may reason in silence for this long.
        between_bytes_s: seconds between two pieces of the response after that. Blank lines,
            comments and pings are no pieces.
        write_s: seconds between two chunks of the request.
        send_s: seconds from the permit of the send to the end of the response. A send that takes
            longer may be billed, and is not repeated.

    Raises:
        ValueError: a value is not above 0; the message names it.
    """

    connect_s: float = attrs.field(default=10.0, validator=gt(0))
    first_byte_s: float = attrs.field(default=600.0, validator=gt(0))
    between_bytes_s: float = attrs.field(default=120.0, validator=gt(0))
    write_s: float = attrs.field(default=30.0, validator=gt(0))
    send_s: float = attrs.field(default=600.0, validator=gt(0))

    @property
    def by_httpx_name(self) -> dict[str, float | None]:
        """The timeouts as the request extension of httpx and `LeanTransport`."""
        return {
            "connect": self.connect_s,
            "read": self.first_byte_s,
            "between": self.between_bytes_s,  # LeanTransport's
            "write": self.write_s,
            "pool": None,  # the deadline counts the wait
        }
