"""Many HTTP connections at a constant cost each.

httpcore's pool looks at all of its connections whenever a request begins or ends, and for each
idle one at all of them again. With 500 connections that takes 15 ms a request, more than the
request itself. Here every connection is a pool of one, so that there is nothing to look through.
"""

import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Callable
from typing import cast

import httpx
import trio

__all__ = ["LanedTransport", "proxy_for"]


class LanedTransport(httpx.AsyncBaseTransport):
    """Carries each request over a connection of its own, and keeps connections for later ones.

    The connection that was used last is used first, so that no more are open than were needed at
    a time. It does not read proxies from the environment; see `proxy_for`.

    Args:
        connections: how many may be open; as many requests are under way at a time, and more wait.
        proxy: the URL of a proxy that all requests go through; None for none.
    """

    def __init__(self, connections: int, *, proxy: str | None = None) -> None:
        self._proxy = proxy
        self._places = trio.Semaphore(connections)
        self._context = httpx.create_ssl_context()  # once: it takes 20 ms to read the authorities
        self._lanes: list[httpx.AsyncHTTPTransport] = []
        self._idle: list[httpx.AsyncHTTPTransport] = []

    def __repr__(self) -> str:
        return f"<LanedTransport {len(self._lanes)} open, {len(self._idle)} idle>"

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and wait for the head of its answer."""
        await self._places.acquire()
        lane = self._idle.pop() if self._idle else self._open()
        try:
            response = await lane.handle_async_request(request)
        except BaseException:
            self._give_back(lane)
            raise
        stream = cast("httpx.AsyncByteStream", response.stream)
        return httpx.Response(
            response.status_code,
            headers=response.headers,
            stream=_LaneStream(stream, lambda: self._give_back(lane)),
            extensions=response.extensions,
        )

    async def aclose(self) -> None:
        """Close every connection."""
        for lane in self._lanes:
            await lane.aclose()

    def _open(self) -> httpx.AsyncHTTPTransport:
        limits = httpx.Limits(max_connections=1, max_keepalive_connections=1)
        lane = httpx.AsyncHTTPTransport(
            verify=self._context, limits=limits, trust_env=False, proxy=self._proxy
        )
        self._lanes.append(lane)
        return lane

    def _give_back(self, lane: httpx.AsyncHTTPTransport) -> None:
        self._idle.append(lane)
        self._places.release()


def proxy_for(url: str) -> str | None:
    """The proxy that the environment has for a URL (HTTPS_PROXY and its like); None for none."""
    parts = urllib.parse.urlsplit(url)
    if urllib.request.proxy_bypass(parts.hostname or ""):
        return None
    proxies = urllib.request.getproxies()
    return proxies.get(parts.scheme) or proxies.get("all")


class _LaneStream(httpx.AsyncByteStream):
    """An answer's body, which occupies its lane until it is closed."""

    def __init__(self, stream: httpx.AsyncByteStream, release: Callable[[], None]) -> None:
        self._stream = stream
        self._release: Callable[[], None] | None = release

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._stream:
            yield piece

    async def aclose(self) -> None:
        """The body was read, or nobody wants it; the lane is free."""
        release, self._release = self._release, None
        if release is None:
            return
        try:
            await self._stream.aclose()
        finally:
            release()
