"""The transport: send requests over pooled HTTP/1.1 connections."""

from collections.abc import Mapping
from typing import cast, final

import httpx
import trio

from .body import ResponseBody, check_length
from .connections import Connections, Connector, OpenStream, Verify
from .head import Outgoing, encode, origin_of
from .pool import Origin, PoolStatistics
from .response_parser import Head

_UNLIMITED: Mapping[str, float | None] = {}


@final
class LeanTransport(httpx.AsyncBaseTransport):
    """An httpx transport for HTTP/1.1 with very many concurrent requests, each at constant cost.

        async with httpx.AsyncClient(transport=LeanTransport(max_connections=1000)) as client:
            response = await client.get("https://example.com/")

    It has no HTTP/2, no proxies and no Unix sockets; httpx's own transport has them. Timeouts are
    those of the request, as httpx sets them, and errors are httpx's. `may_have_run` returns whether
    the server may have acted upon a request that failed. No request is sent twice. A response that
    is neither read to its end nor closed keeps its connection.

    Args:
        max_connections: how many may be open at a time, over all origins. More requests wait, and
            are served in order of arrival.
        max_idle_s: how long an idle connection is kept, in seconds. The default is a little less
            than the five seconds after which common servers close an idle connection, so that
            the client closes it first.
        verify: the certificate authorities to trust: those of "certifi" (or of SSL_CERT_FILE,
            SSL_CERT_DIR or REQUESTS_CA_BUNDLE in the environment), those of the "system", or those
            of a context.
        max_header_bytes: the bound on the head of a response, in bytes.
        max_body_bytes: the bound on the body of a response before decompression, in bytes; None for
            no bound.
        open_stream: connects to a host and port; by default over TCP.

    Raises:
        ValueError: an argument is out of its range; the message names it.
    """

    def __init__(
        self,
        *,
        max_connections: int = 100,
        max_idle_s: float = 4.0,
        verify: Verify = "certifi",
        max_header_bytes: int = 64 * 1024,
        max_body_bytes: int | None = None,
        open_stream: OpenStream = trio.open_tcp_stream,
    ) -> None:
        _check_at_least("max_connections", max_connections, 1)
        _check_at_least("max_idle_s", max_idle_s, 0)
        _check_at_least("max_header_bytes", max_header_bytes, 1)
        if max_body_bytes is not None:
            _check_at_least("max_body_bytes", max_body_bytes, 0)
        self._max_body_bytes = max_body_bytes
        self._connections = Connections(
            Connector(open_stream, verify),
            max_connections=max_connections,
            max_idle_s=max_idle_s,
            max_header_bytes=max_header_bytes,
        )

    def __repr__(self) -> str:
        now = self.statistics()
        return f"<LeanTransport {now.open} open, {now.idle} idle, {now.waiting} waiting>"

    def statistics(self) -> PoolStatistics:
        """Return how many connections there are, and how many requests wait for one."""
        return self._connections.statistics()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request, and wait for the head of its response, whose body is a `ResponseBody`.

        Args:
            request: the httpx request to send.

        Raises:
            httpx.TransportError: there is no response; the subclass states why.
        """
        timeouts = request.extensions.get("timeout") or _UNLIMITED
        timeouts = cast("Mapping[str, float | None]", timeouts)
        head, stream = await self.exchange(origin_of(request.url), encode(request), timeouts)
        return httpx.Response(
            head.status,
            headers=head.headers,
            stream=stream,
            extensions={
                "http_version": b"HTTP/" + head.version.encode(),
                "reason_phrase": head.reason,
            },
        )

    async def exchange(
        self, origin: Origin, outgoing: Outgoing, timeouts: Mapping[str, float | None]
    ) -> tuple[Head, ResponseBody]:
        """Send a request, and wait for the head of its response, without httpx's classes.

        Args:
            origin: scheme, host and port.
            outgoing: the encoded request to send.
            timeouts: in seconds, by httpx's names, and "between" two pieces of the body.

        Raises:
            httpx.TransportError: there is no response; the subclass states why.
        """
        read_s = timeouts.get("read")
        between_s = timeouts.get("between", read_s)
        connections, max_bytes = self._connections, self._max_body_bytes
        connection = await connections.acquire(origin, timeouts)
        try:
            head = await connection.exchange(outgoing, write=timeouts.get("write"), read=read_s)
            first, is_all = connection.available()
            check_length(len(first), max_bytes)
        except BaseException:
            await connections.drop(connection)
            raise
        if is_all:
            await connections.give_back(connection)
        rest = None if is_all else connection
        body = ResponseBody(first, connections, rest, read_s, max_bytes, between_s=between_s)
        return head, body

    async def aclose(self) -> None:
        """Close every connection. Requests in flight fail."""
        await self._connections.aclose()


def _check_at_least(name: str, value: float, least: int) -> None:
    if not value >= least:
        raise ValueError(f"{name} must be at least {least}, not {value}")
