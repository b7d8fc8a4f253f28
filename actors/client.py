"""How httpx reaches an endpoint: the client, and the transport that fits."""

import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from importlib.metadata import version

import httpx

from .endpoint import Endpoint
from .transport.lean import LeanTransport
from .way import HttpxWay, LeanWay, Way

__all__ = ["Configure", "proxy_for", "transport_for", "way_over"]

Configure = Callable[[httpx.AsyncBaseTransport], httpx.AsyncClient]
"""Makes a client over a transport: with event hooks, authentication or headers of one's own."""


def way_over(
    transport: httpx.AsyncBaseTransport,
    timeouts: Mapping[str, float | None],
    configure: Configure | None = None,
) -> Way:
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

        return HttpxWay(send, client.aclose, timeouts, client.headers)
    headers = {"accept": "*/*", "user-agent": f"callsheet/{version('callsheet')}"}
    if isinstance(transport, LeanTransport):
        return LeanWay(transport, timeouts, headers)
    return HttpxWay(transport.handle_async_request, transport.aclose, timeouts, headers)


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
