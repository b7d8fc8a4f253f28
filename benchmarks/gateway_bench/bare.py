"""The lower bound: an ASGI app on Hypercorn that forwards each request over Callsheet's transport.

    python -m gateway_bench.bare --port 4000 --base-url http://127.0.0.1:8080/v1

reads no body: no keys, no limits, no retries, no costs. It passes the bytes on as they come.
"""

import resource
from functools import partial
from typing import cast

import click
import httpx
import trio
from hypercorn.config import Config
from hypercorn.trio import serve  # pyright: ignore[reportUnknownVariableType] - its type of WSGI apps
from hypercorn.typing import ASGIFramework
from starlette.types import Message, Receive, Scope, Send

from callsheet.actors.http import HttpCarrier, carrier_over, transport_for
from callsheet.actors.vendors import Endpoint

__all__ = ["Forwarder"]

_CONNECTIONS = 2_000


class Forwarder:
    """Forwards each POST to the same path of the provider.

    Args:
        base_url: the URL of the provider up to and including the version.
        carrier: carries the requests.
    """

    def __init__(self, base_url: str, carrier: HttpCarrier) -> None:
        self._base_url = base_url
        self._carrier = carrier
        self._headers = {
            "host": httpx.URL(base_url).netloc.decode(),
            "content-type": "application/json",
            "accept-encoding": "identity",
            "authorization": "Bearer sk-benchmark",
        }
        self._url = httpx.URL(f"{base_url}/chat/completions")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward one request."""
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        body = b""
        is_more = True
        while is_more:
            message: Message = await receive()
            body += message.get("body", b"")
            is_more = message.get("more_body", False)
        response = await self._carrier.post(self._url, self._headers, "bare", body)
        try:
            headers = [
                (name.lower(), value)
                for name, value in response.raw_headers
                if name.lower() in (b"content-type", b"content-length", b"x-request-id")
            ]
            await send(
                {"type": "http.response.start", "status": response.status, "headers": headers}
            )
            async for piece in response.body:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            await response.aclose()


async def _live(receive: Receive, send: Send) -> None:
    for _ in range(2):  # the start and the end
        await send({"type": f"{(await receive())['type']}.complete"})


async def run(port: int, base_url: str) -> None:
    """Serve until the process is ended.

    Args:
        port: the port to listen on.
        base_url: the URL of the provider.
    """
    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.keep_alive_timeout = 600
    config.backlog = 4_096
    transport = transport_for(Endpoint(base_url), _CONNECTIONS)
    timeouts = {"connect": 10.0, "read": None, "write": 10.0, "pool": None}
    app = Forwarder(base_url, carrier_over(transport, timeouts))
    await serve(cast("ASGIFramework", app), config)  # Starlette and Hypercorn have other types


@click.command()
@click.option("--port", type=int, required=True)
@click.option("--base-url", required=True)
def main(*, port: int, base_url: str) -> None:
    """Forward requests to a provider."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    trio.run(partial(run, port, base_url))


if __name__ == "__main__":
    main()
