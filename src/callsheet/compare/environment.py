"""Where a way runs: which provider, at which pace, and how plain HTTP reaches it."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import attrs
import httpx
import trio
from attrs.validators import gt

from ..actors import LeanTransport, Request
from .execution import Item, ItemOutcome, PlainReply, path_of, read_reply, write_body
from .workloads import Workload

__all__ = [
    "CALL_TIMEOUT",
    "Environment",
    "Perform",
    "SendRequest",
    "Way",
    "open_ask",
]


SendRequest = Callable[[Request], Awaitable[PlainReply]]
"""Makes one call."""

Perform = Callable[[Item], Awaitable[ItemOutcome]]
"""Does one item, from its first call to its last."""

CALL_TIMEOUT = httpx.Timeout(120.0)  # seconds of silence; ten times the slowest answer there is


@attrs.frozen(kw_only=True)
class Environment:
    """Where a way runs.

    Args:
        base_url: the provider's, up to and with "/v1".
        time_scale: what the provider multiplies its latencies by; a way multiplies its own
            waiting times by it too, so that their ratios hold.
        transport: takes the place of the network, in tests.
    """

    base_url: str
    time_scale: float = attrs.field(default=1.0, validator=gt(0))
    transport: httpx.AsyncBaseTransport | None = None


Way = Callable[[Environment, Workload], AbstractAsyncContextManager[Perform]]
"""A way of running a workload: whatever it needs is open, and it can do items, side by side."""


@asynccontextmanager
async def open_ask(venue: Environment, in_flight: int) -> AsyncGenerator[SendRequest]:
    """Plain asynchronous HTTP with connections that are kept open.

    Args:
        venue: the provider.
        in_flight: requests under way at a time.
    """
    async with httpx.AsyncClient(
        base_url=venue.base_url,
        transport=venue.transport or LeanTransport(max_connections=in_flight),
        timeout=CALL_TIMEOUT,
    ) as client:
        places = trio.Semaphore(in_flight)

        async def ask(request: Request) -> PlainReply:
            async with places:
                body = write_body(request)
                return read_reply(await client.post(path_of(request), json=body), request)

        yield ask
