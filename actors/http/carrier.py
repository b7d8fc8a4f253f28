"""How a POST request reaches an endpoint: straight over the transport of ours, or through httpx.

How httpx reaches an endpoint: the client, and the transport that fits.
"""

import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from importlib.metadata import version
from typing import Protocol, cast, final

import attrs
import httpx

from ..vendors import Endpoint
from .body import ResponseBody
from .head import RequestHead
from .transport import LeanTransport

__all__ = [
    "Configure",
    "HttpCarrier",
    "HttpResponse",
    "HttpxCarrier",
    "LeanCarrier",
    "carrier_over",
    "proxy_for",
    "transport_for",
]


Seconds = Mapping[str, float | None]


@final
@attrs.frozen
class HttpResponse:
    """An answer whose head is there.

    Args:
        status: its number.
        raw_headers: names and values, as they came.
        body: its pieces, as they come; still packed if the server packed them.
        aclose: gives the connection up, unless the body was read to its end.
    """

    status: int
    raw_headers: list[tuple[bytes, bytes]]
    body: AsyncIterator[bytes]
    aclose: Callable[[], Awaitable[None]]

    @classmethod
    def of(cls, response: httpx.Response) -> "HttpResponse":
        """An answer of httpx's."""
        stream = cast("httpx.AsyncByteStream", response.stream)
        return cls(response.status_code, response.headers.raw, aiter(stream), response.aclose)

    def header(self, name: bytes) -> str:
        """The value of a header; "" if there is none.

        Args:
            name: in lower case.
        """
        for given, value in self.raw_headers:
            if len(given) == len(name) and given.lower() == name:
                return value.decode("latin-1")
        return ""

    @property
    def headers(self) -> Mapping[str, str]:
        """All of them, by name in any case."""
        return httpx.Headers(self.raw_headers)

    @property
    def limit_headers(self) -> Mapping[str, str]:
        """Those that tell of the provider's limits, by lower-case name; and the date."""
        found = {
            name.lower().decode("latin-1"): value.decode("latin-1")
            for name, value in self.raw_headers
            if b"ratelimit-" in name.lower()
        }
        if found:
            found["date"] = self.header(b"date")
        return found

    @property
    def request_id(self) -> str:
        """By which the provider knows the request; empty if it does not say."""
        return self.header(b"x-request-id") or self.header(b"request-id")  # the latter Anthropic's

    @property
    def is_all(self) -> bool:
        """Whether the end of the body has been received, as far as one knows."""
        return isinstance(self.body, ResponseBody) and self.body.is_all


class HttpCarrier(Protocol):
    """Takes requests to an endpoint."""

    async def post(
        self, url: httpx.URL, headers: Mapping[str, str], key: str, body: bytes
    ) -> HttpResponse:
        """Send a request, and wait for the head of its answer.

        Args:
            url: where it goes.
            headers: by name; mostly the same again and again.
            key: the idempotency key.
            body: the JSON text.

        Raises:
            httpx.RequestError: there is no answer.
            httpx.HTTPStatusError: somebody else than this project has looked at its status.
        """
        ...

    async def aclose(self) -> None:
        """Close every connection."""
        ...


@final
class LeanCarrier:
    """Straight over the transport of ours, without httpx's requests and responses.

    Nobody's cookies, redirects or hooks need looking after, and that makes a tenth of the work.

    Args:
        transport: carries the requests.
        timeouts: in seconds, as httpx names them.
        headers: those that every request has.
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
    """Through httpx: a client of the user's, or a transport that is not ours.

    Args:
        send: sends a request, and returns when the head of the answer is there.
        close: closes every connection.
        timeouts: in seconds, as httpx names them.
        headers: those that every request has.
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
"""Makes a client over a transport: with event hooks, authentication or headers of one's own."""


def carrier_over(
    transport: httpx.AsyncBaseTransport,
    timeouts: Mapping[str, float | None],
    configure: Configure | None = None,
) -> HttpCarrier:
    """Through the user's client, or straight over the transport.

    Args:
        transport: carries the requests.
        timeouts: in seconds, as httpx names them.
        configure: makes the client.
    """
    if configure is not None:
        client = configure(transport)

        async def send(request: httpx.Request) -> httpx.Response:
            # A redirect is an error: wherever it leads, the key does not go there (L8).
            return await client.send(request, stream=True, follow_redirects=False)

        return HttpxCarrier(send, client.aclose, timeouts, client.headers)
    headers = {"accept": "*/*", "user-agent": f"callsheet/{version('callsheet')}"}
    if isinstance(transport, LeanTransport):
        return LeanCarrier(transport, timeouts, headers)
    return HttpxCarrier(transport.handle_async_request, transport.aclose, timeouts, headers)


def transport_for(endpoint: Endpoint, connections: int) -> httpx.AsyncBaseTransport:
    """How to reach an endpoint.

    Plain HTTP/1.1 goes over `LeanTransport`; HTTP/2, proxies and Unix sockets over httpx's own.

    Args:
        endpoint: whom.
        connections: how many may be open at a time.
    """
    proxy = endpoint.proxy
    if proxy is None and not endpoint.is_loopback:
        proxy = proxy_for(endpoint.base_url)
    if not (endpoint.http2 or proxy or endpoint.uds):
        return LeanTransport(max_connections=connections, verify=endpoint.ssl_context or "certifi")
    return httpx.AsyncHTTPTransport(
        verify=endpoint.ssl_context or httpx.create_ssl_context(),
        http2=endpoint.http2,
        proxy=proxy or None,
        uds=endpoint.uds,
        trust_env=False,
        limits=httpx.Limits(
            max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=4.0
        ),
    )


def proxy_for(url: str) -> str | None:
    """The proxy that the environment has for a URL (HTTPS_PROXY and its like); None for none."""
    parts = urllib.parse.urlsplit(url)
    if urllib.request.proxy_bypass(parts.hostname or ""):
        return None
    proxies = urllib.request.getproxies()
    return proxies.get(parts.scheme) or proxies.get("all")
