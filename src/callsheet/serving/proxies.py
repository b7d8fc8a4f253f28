"""Who the client is behind proxies that are trusted (pure)."""

import ipaddress
import re
from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias, final

import attrs

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
Headers: TypeAlias = Iterable[tuple[bytes, bytes]]

UNKNOWN: Final = "unknown"  # the host of a client that a proxy does not name
UNIX: Final = "unix"
_MAX_LENGTH: Final = 4096
_SCHEMES: Final = ("http", "https")
# One pair of an element of `Forwarded`: its name, and its value, quoted or not (RFC 7239).
_PAIR = re.compile(r'\s*([\w!#$%&\'*+.^`|~-]+)=(?:"((?:[^"\\]|\\.)*)"|([^",;\s]*))\s*')


class ForgedProxyHeaders(Exception):
    """No proxy has written these headers; the text says why."""


@final
@attrs.frozen
class Client:
    """The other side of a request.

    Args:
        host: its address; "unknown" if a trusted proxy does not name it.
        port: its port; 0 if it is not known.
        scheme: "http" or "https", as the client has it; "" if no proxy says so.
    """

    host: str
    port: int
    scheme: str = ""


@final
@attrs.frozen
class TrustedProxies:
    """The proxies whose headers `Forwarded` and `X-Forwarded-*` are believed.

    Args:
        networks: the networks in which they are.
        unix: whether programs that connect over a Unix socket are proxies.
    """

    networks: tuple[Network, ...] = ()
    unix: bool = False

    @classmethod
    def parse(cls, texts: Sequence[str]) -> "TrustedProxies":
        """Read a list such as `["10.0.0.0/8", "::1", "unix"]`.

        Args:
            texts: networks and addresses, and "unix" for what connects over a Unix socket.

        Raises:
            ValueError: one of them is no network.
        """
        networks: list[Network] = []
        for text in texts:
            if text != UNIX:
                try:
                    networks.append(ipaddress.ip_network(text))
                except ValueError as error:
                    raise ValueError(
                        f"{text!r:.60} is no network of proxies: {error}; write one such as "
                        '10.0.0.0/8, or "unix"'
                    ) from None
        return cls(tuple(networks), UNIX in texts)

    def client(self, peer: tuple[str, int] | None, headers: Headers) -> Client | None:
        """Return the client of a request: the rightmost hop that is no trusted proxy.

        Args:
            peer: the address of the other side of the connection; None for a Unix socket.
            headers: those of the request, with names in lower case.

        Returns:
            The client, or None if the peer is no trusted proxy or names no client.

        Raises:
            ForgedProxyHeaders: `Forwarded` and `X-Forwarded-For` name different clients, so one of
                them is not from a proxy, or they are too long to be from proxies.
        """
        if not (self.unix if peer is None else self.networks and self._trusts(peer[0])):
            return None
        forwarded = _joined(headers, b"forwarded")
        hosts = _joined(headers, b"x-forwarded-for")
        schemes = _joined(headers, b"x-forwarded-proto")
        if len(forwarded) + len(hosts) + len(schemes) > _MAX_LENGTH:  # each hop takes time
            raise ForgedProxyHeaders("Forwarded and X-Forwarded-* are too long")
        if forwarded and hosts:
            one = self._rightmost(*_read_forwarded(forwarded))
            other = self._rightmost(_split(hosts), _split(schemes))
            if one.host != other.host:
                raise ForgedProxyHeaders("Forwarded and X-Forwarded-For name different clients")
            return other
        if forwarded:
            return self._rightmost(*_read_forwarded(forwarded))
        if hosts:
            return self._rightmost(_split(hosts), _split(schemes))
        if schemes and peer is not None:
            return Client(*peer, _scheme(_split(schemes)[-1]))
        return None

    def _trusts(self, host: str) -> bool:
        address = address_of(host)
        return address is not None and any(
            address.version == network.version and address in network for network in self.networks
        )

    def _rightmost(self, hops: list[str], schemes: list[str]) -> Client:
        index = len(hops) - 1
        while index > 0 and self._trusts(_split_port(hops[index])[0]):
            index -= 1
        host, port = _split_port(hops[index])
        address = address_of(host)
        is_each = len(schemes) == len(hops)
        scheme = _scheme(schemes[index if is_each else -1]) if schemes else ""
        if address is None:
            return Client(UNKNOWN, 0, scheme)
        return Client(str(address), port, scheme)


def address_of(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return an address, that of IPv4 if it is mapped into IPv6; None for what is no address.

    Args:
        host: the text of an address.
    """
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _joined(headers: Headers, wanted: bytes) -> str:
    return ",".join(value.decode("latin-1") for name, value in headers if name == wanted)


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")] if text else []


def _scheme(text: str) -> str:
    return text.lower() if text.lower() in _SCHEMES else ""


def _split_port(hop: str) -> tuple[str, int]:
    """Split "1.2.3.4:5", "[::1]:5", or either without a port."""
    host, port = hop, ""
    if hop.startswith("["):
        host, _, rest = hop[1:].partition("]")
        port = rest.removeprefix(":")
    elif hop.count(":") == 1:
        host, _, port = hop.partition(":")
    is_port = port.isascii() and port.isdecimal() and len(port) <= len("65535")
    return host, int(port) if is_port else 0


def _read_forwarded(text: str) -> tuple[list[str], list[str]]:
    """Return the clients and the schemes of the elements of `Forwarded`, one of each."""
    hops: list[str] = []
    schemes: list[str] = []
    for element in _elements(text):
        pairs = {name.lower(): quoted or plain for name, quoted, plain in _PAIR.findall(element)}
        hops.append(pairs.get("for", UNKNOWN))
        schemes.append(pairs.get("proto", ""))
    return hops, schemes


def _elements(text: str) -> list[str]:
    """Split at the commas outside quotes."""
    elements: list[str] = []
    start, is_quoted, is_escaped = 0, False, False
    for index, sign in enumerate(text):
        if is_escaped:
            is_escaped = False
        elif sign == "\\" and is_quoted:
            is_escaped = True
        elif sign == '"':
            is_quoted = not is_quoted
        elif sign == "," and not is_quoted:
            elements.append(text[start:index])
            start = index + 1
    return [*elements, text[start:]]
