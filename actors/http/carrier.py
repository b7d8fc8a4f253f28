"""Carry POST requests to an endpoint: over `LeanTransport` directly, or through httpx."""

import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import cache
from importlib.metadata import version
from typing import Any, Protocol, cast, final

import attrs
import httpx

from ..vendors import Endpoint
from .body import ResponseBody
from .environment import default_tls_context, proxy_of
from .head import RequestHead
from .transport import LeanTransport

Seconds = Mapping[str, float | None]

_THROUGH = "through the proxy "
_LIMIT_HEADER = re.compile(rb"ratelimit|rate-limit|tokenlimit")


@final
@attrs.frozen
class HttpResponse:
    """A response whose head has arrived.

    Args:
        status: the HTTP status.
        raw_headers: names and values, as they arrived.
        body: the pieces, as they arrive; still compressed if the server compressed them.
        aclose: closes the connection, unless the body was read to its end.
    """

    status: int
    raw_headers: list[tuple[bytes, bytes]]
    body: AsyncIterator[bytes]
    aclose: Callable[[], Awaitable[None]]
    _values: Mapping[bytes, bytes] = attrs.field(  # {name in lower case: the first value}
        default=attrs.Factory(lambda self: _first_values(self.raw_headers), takes_self=True),
        init=False,
        repr=False,
    )

    @classmethod
    def of(cls, response: httpx.Response) -> "HttpResponse":
        """Wrap a response of httpx.

        Args:
            response: one whose body has not been read.
        """
        stream = cast("httpx.AsyncByteStream", response.stream)
        return cls(response.status_code, response.headers.raw, aiter(stream), response.aclose)

    def header(self, name: bytes) -> str:
        """Return the value of a header; "" if there is none.

        Args:
            name: the header's name in lower case.
        """
        return self._values.get(name, b"").decode("latin-1")

    @property
    def headers(self) -> Mapping[str, str]:
        """All headers, by name in any case."""
        return httpx.Headers(self.raw_headers)

    def limit_headers(self, usual_names: Mapping[str, str]) -> Mapping[str, str]:
        """Return the headers that report the provider's limits, by lower-case name, and the date.

        Headers of the same name are one list.

        Args:
            usual_names: {name of a header of the provider's own: the usual name of what it says}.
        """
        found: dict[str, str] = {}
        for raw_name, raw_value in self.raw_headers:
            lower = raw_name.lower()
            name = usual_names.get(lower.decode("latin-1"), "") if usual_names else ""
            if not name and b"limit" in lower and _LIMIT_HEADER.search(lower):
                name = lower.decode("latin-1")
            if name:
                value = raw_value.decode("latin-1")
                found[name] = f"{found[name]}, {value}" if name in found else value
        if found:
            found["date"] = self.header(b"date")
        return found

    @property
    def request_id(self) -> str:
        """The provider's id of the request; empty if it sends none."""
        return self.header(b"x-request-id") or self.header(
            b"request-id"
        )  # the latter is Anthropic's

    def linger(self, seconds: float) -> None:
        """Let each piece of the body after the first one take in what follows soon.

        Args:
            seconds: for how long.
        """
        if isinstance(self.body, ResponseBody):
            self.body.linger_s = seconds

    @property
    def has_arrived(self) -> bool:
        """Whether the whole body is known to have arrived."""
        return isinstance(self.body, ResponseBody) and self.body.has_arrived

    @property
    def is_all(self) -> bool:
        """Whether the whole body is known to have been read."""
        return isinstance(self.body, ResponseBody) and self.body.is_all


def _first_values(headers: list[tuple[bytes, bytes]]) -> Mapping[bytes, bytes]:
    """Return the first value of each header, by the name in lower case."""
    return {name.lower(): value for name, value in reversed(headers)}


class HttpCarrier(Protocol):
    """Carries requests to an endpoint."""

    async def post(
        self, url: httpx.URL, headers: Mapping[str, str], key: str, body: bytes
    ) -> HttpResponse:
        """Send a request, and wait for the head of its response.

        Args:
            url: where the request is sent.
            headers: the values by name; a carrier may cache what it makes of the same mapping.
            key: the idempotency key.
            body: the JSON text.

        Raises:
            httpx.RequestError: there is no response.
            httpx.HTTPStatusError: a hook of the user's client rejected the status.
        """
        ...

    async def aclose(self) -> None:
        """Close every connection."""
        ...


@final
class LeanCarrier:
    """Carry requests over a `LeanTransport`, without httpx's requests and responses.

    Without cookies, redirects and hooks a request takes a tenth of the CPU time.

    Args:
        transport: sends the requests.
        timeouts: in seconds, by httpx's names.
        headers: headers of every request.
    """

    def __init__(
        self, transport: LeanTransport, timeouts: Seconds, headers: Mapping[str, str]
    ) -> None:
        self._transport = transport
        self._timeouts = timeouts
        self._headers = headers
        self._request_head: RequestHead | None = None
        self._is_for: tuple[httpx.URL, Mapping[str, str]] | None = None

    async def post(
        self, url: httpx.URL, headers: Mapping[str, str], key: str, body: bytes
    ) -> HttpResponse:
        """See `HttpCarrier`."""
        request_head = self._request_head
        if request_head is None or self._is_for != (url, headers):
            given = {**self._headers, **headers}
            self._request_head = request_head = RequestHead.of(
                httpx.Request("POST", url, headers=given)
            )
            self._is_for = (url, headers)
        outgoing = request_head.with_body(body, (b"idempotency-key", key.encode()))
        head, stream = await self._transport.exchange(request_head.origin, outgoing, self._timeouts)
        return HttpResponse(head.status, head.headers, stream, stream.aclose)

    async def aclose(self) -> None:
        """See `HttpCarrier`."""
        await self._transport.aclose()


@final
class HttpxCarrier:
    """Carry requests through httpx: over the user's client, or over any transport.

    Args:
        send: sends a request, and returns when the head of the response has arrived.
        close: closes every connection.
        timeouts: in seconds, by httpx's names.
        headers: headers of every request.
    """

    def __init__(
        self,
        send: Callable[[httpx.Request], Awaitable[httpx.Response]],
        close: Callable[[], Awaitable[None]],
        timeouts: Seconds,
        headers: Mapping[str, str],
    ) -> None:
        self._send = send
        self._close = close
        self._extensions = {"timeout": timeouts}
        self._headers = httpx.Headers(headers)

    async def post(
        self, url: httpx.URL, headers: Mapping[str, str], key: str, body: bytes
    ) -> HttpResponse:
        """See `HttpCarrier`."""
        given = self._headers.copy()
        given.update(headers)
        given["idempotency-key"] = key
        given["content-length"] = str(len(body))
        request = httpx.Request(
            "POST",
            url,
            headers=given,
            stream=httpx.ByteStream(body),
            extensions=self._extensions,
        )
        return HttpResponse.of(await self._send(request))

    async def aclose(self) -> None:
        """See `HttpCarrier`."""
        await self._close()


Configure = Callable[[httpx.AsyncBaseTransport], httpx.AsyncClient]
"""Makes an httpx client over a transport, with event hooks, authentication or headers."""


def carrier_over(
    transport: httpx.AsyncBaseTransport,
    timeouts: Mapping[str, float | None],
    configure: Configure | None = None,
) -> HttpCarrier:
    """Return what carries requests over a transport: through a client, or directly.

    Args:
        transport: sends the requests.
        timeouts: in seconds, by httpx's names.
        configure: makes the client; None to send over the transport directly.
    """
    if configure is not None:
        client = configure(transport)

        async def send(request: httpx.Request) -> httpx.Response:
            # A redirect is an error: the key is not sent to another address (L8).
            return await client.send(request, stream=True, follow_redirects=False)

        return HttpxCarrier(send, client.aclose, timeouts, client.headers)
    headers = {"accept": "*/*", "user-agent": _user_agent()}
    if isinstance(transport, LeanTransport):
        return LeanCarrier(transport, timeouts, headers)
    return HttpxCarrier(transport.handle_async_request, transport.aclose, timeouts, headers)


@cache
def _user_agent() -> str:
    return f"callsheet/{version('callsheet')}"  # reads and parses a file


def transport_for(endpoint: Endpoint, connections: int) -> httpx.AsyncBaseTransport:
    """Return a transport to an endpoint.

    Plain HTTP/1.1 uses `LeanTransport`; HTTP/2, proxies and Unix sockets use httpx's transport.

    Args:
        endpoint: the endpoint to connect to.
        connections: how many may be open at a time.

    Raises:
        ValueError: the proxy, or the authorities that the environment names, cannot be used.
    """
    proxy = proxy_of(endpoint)
    if not (endpoint.http2 or proxy or endpoint.uds):
        return LeanTransport(max_connections=connections, verify=endpoint.ssl_context or "certifi")
    context = endpoint.ssl_context or default_tls_context()
    limits = httpx.Limits(
        max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=4.0
    )
    settings: dict[str, Any] = {
        "verify": context,
        "http2": endpoint.http2,
        "uds": endpoint.uds,
        "trust_env": False,
        "limits": limits,
    }
    if not proxy:
        return httpx.AsyncHTTPTransport(**settings)
    return ProxiedTransport(proxy=_proxy(proxy, context), **settings)


@final
class ProxiedTransport(httpx.AsyncHTTPTransport):
    """Names the proxy in the errors of its connections, which are those of httpx otherwise."""

    def __init__(self, *, proxy: httpx.Proxy, **settings: Any) -> None:  # noqa: ANN401  # httpx's
        super().__init__(proxy=proxy, **settings)
        self._host = proxy.url.netloc.decode("ascii", "replace")

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request.

        Raises:
            httpx.RequestError: see httpx. A note names the proxy if there is no connection.
        """
        try:
            return await super().handle_async_request(request)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            error.add_note(f"{_THROUGH}{self._host}")
            raise


def proxy_in(error: BaseException) -> str:
    """Return the proxy that a note of an error names; "" without one.

    Args:
        error: what a transport of `transport_for` raised.
    """
    notes: list[str] = getattr(error, "__notes__", [])
    return next((note.removeprefix(_THROUGH) for note in notes if note.startswith(_THROUGH)), "")


def _proxy(url: str, context: ssl.SSLContext) -> httpx.Proxy:
    is_secure = httpx.URL(url).scheme == "https"
    return httpx.Proxy(url, ssl_context=context if is_secure else None)
