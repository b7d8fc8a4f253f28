"""Tie a call to the client of a web app, so that it is not paid for when the client goes away."""

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from starlette.requests import Request

T = TypeVar("T")

CLIENT_GONE = 499  # the status that nginx logs for this


async def while_connected(request: "Request", call: Awaitable[T]) -> T:
    """Await a call in a handler of FastAPI or Starlette, and cancel it when the client goes away.

    These frameworks end a response that is being streamed when its client goes away, but not a
    handler that still computes its response. The body of the request must have been read, as that
    of a handler of FastAPI has been: what is left of it is dropped.

    Args:
        request: the request of the client.
        call: what to await, such as ``troupe.complete(...)`` or ``troupe.run_tools(...)``.

    Raises:
        starlette.exceptions.HTTPException: the client went away, and the call is cancelled. The
            status is 499, which no client receives.
    """
    from starlette.exceptions import HTTPException  # noqa: PLC0415  # only web apps need it

    work = asyncio.ensure_future(call)
    gone = asyncio.ensure_future(_disconnection(request))
    try:
        await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            return work.result()
        gone.result()  # an error of the server is raised here
        raise HTTPException(CLIENT_GONE, "the client went away")
    finally:
        work.cancel()
        gone.cancel()
        await asyncio.gather(work, gone, return_exceptions=True)


async def _disconnection(request: "Request") -> None:
    """Wait until the client goes away."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
