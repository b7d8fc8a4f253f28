"""Providers for asyncio: the endpoint of a configured one, or the built-in one."""

from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

from .. import endpoints
from ..actors import Endpoint
from .opening import AsyncioOpening

if TYPE_CHECKING:
    from ..endpoints import EndpointChoice
    from ..simulator import ProviderSettings


def open_endpoint(
    provider: "EndpointChoice | str | None" = None,
) -> AbstractAsyncContextManager[Endpoint]:
    """Open the endpoint of a provider. The built-in provider runs until the block ends.

    Args:
        provider: "builtin", the name of a vendor, such as "openai", or what `choose_endpoint`
            returned. By default the environment decides, as `choose_endpoint` describes. If that
            comes to the built-in provider, the log has a warning, because its texts are made up.

    Raises:
        ValueError: see `choose_endpoint`.
        RuntimeError: the current thread runs no loop of asyncio.
    """
    return AsyncioOpening(
        lambda: endpoints.open_endpoint(provider), "endpoint", lambda door: door.thread.resource
    )


def open_builtin_provider(
    settings: "ProviderSettings | None" = None,
) -> AbstractAsyncContextManager[Endpoint]:
    """Serve the built-in provider on a free port of the loopback interface until the block ends.

    Args:
        settings: its latency, limits and faults; by default a response takes 1 to 3 seconds.

    Raises:
        RuntimeError: the current thread runs no loop of asyncio.
    """
    return AsyncioOpening(
        lambda: endpoints.open_builtin_provider(settings),
        "provider",
        lambda door: door.thread.resource,
    )
