"""End the work of a request when its client goes away (R4)."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from .request import ServedRequest

T = TypeVar("T")
_GONE = "the client went away before its response was made"


class Gone(ClientDisconnect):
    """The client went away before its response was made; a server does not log it."""


async def call_until_gone(receive: Receive, work: Callable[[], Awaitable[T]]) -> T:
    """Run an async function, and cancel it when the client of the request goes away.

    For a handler that has read the body of its request. No other task may receive meanwhile.

    Args:
        receive: the `receive` of the ASGI request.
        work: an async function without arguments.

    Returns:
        What `work` returns, also if it returned at the moment at which the client went away.

    Raises:
        Gone: the client went away, and `work` was cancelled.
        Exception: what `work` raised, as it is.
    """
    request = getattr(receive, "__self__", None)
    if isinstance(request, ServedRequest) and request.has_read:
        with request.cancelled_when_gone():
            return await work()
        raise Gone(_GONE)
    result: list[T] = []
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_cancel_when_gone, receive, nursery.cancel_scope)
        try:
            result.append(await work())
        except Exception as error:  # noqa: BLE001  # raised below, outside the nursery's group
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None:
        try:
            raise failure
        finally:
            del failure  # it refers to this frame
    if not result:
        raise Gone(_GONE)
    return result[0]


async def _cancel_when_gone(receive: Receive, scope: trio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
