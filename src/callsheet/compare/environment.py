"""The environment of a mode: the provider, the time scale, and the transport."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import attrs
import httpx
import trio
from attrs.validators import optional

from ..actors import LeanTransport, Request, gt, has, instance_of
from .execution import Item, ItemOutcome, PlainReply, path_of, read_reply, write_body
from .workloads import Workload

SendRequest = Callable[[Request], Awaitable[PlainReply]]
"""Sends one request and returns its reply."""

RunItem = Callable[[Item], Awaitable[ItemOutcome]]
"""Runs one item, from its first call to its last."""

CALL_TIMEOUT = httpx.Timeout(120.0)  # seconds without a byte; ten times the slowest response


@attrs.frozen(kw_only=True)
class Environment:
    """The provider that a mode runs against.

    Args:
        base_url: the provider's base URL, including "/v1".
        time_scale: the factor by which the provider multiplies its latencies. A mode multiplies
            its own waiting times by it too, so that the ratios of times do not change.
        transport: replaces the network, in tests.
    """

    base_url: str = attrs.field(validator=instance_of(str))
    time_scale: float = attrs.field(default=1.0, validator=gt(0))
    transport: httpx.AsyncBaseTransport | None = attrs.field(
        default=None,
        validator=optional(has("handle_async_request", wanted="an httpx transport")),
    )


OpenMode = Callable[[Environment, Workload], AbstractAsyncContextManager[RunItem]]
"""Opens a mode for a workload: a context manager that yields a function to run one item."""


@asynccontextmanager
async def open_plain_http(environment: Environment, in_flight: int) -> AsyncGenerator[SendRequest]:
    """Open an HTTP client with persistent connections; yield a function that sends one request.

    Args:
        environment: the address of the provider, and its time scale.
        in_flight: the number of requests in flight at a time.
    """
    async with httpx.AsyncClient(
        base_url=environment.base_url,
        transport=environment.transport or LeanTransport(max_connections=in_flight),
        timeout=CALL_TIMEOUT,
    ) as client:
        slots = trio.Semaphore(in_flight)

        async def send(request: Request) -> PlainReply:
            async with slots:
                body = write_body(request)
                return read_reply(await client.post(path_of(request), json=body), request)

        yield send
