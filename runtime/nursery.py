"""A nursery whose one error comes out as itself."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import trio

__all__ = ["open_collapsing_nursery"]


@asynccontextmanager
async def open_collapsing_nursery() -> AsyncGenerator[trio.Nursery]:
    """A nursery that is nobody's concern but its owner's.

    If one task of it, or the block, fails, the error comes out without a group around it; which
    task it was is no concern of the user's. Several errors come out as a group.
    """
    try:
        async with trio.open_nursery() as nursery:
            yield nursery
    except BaseExceptionGroup as group:
        error, *others = group.exceptions
        if others:
            raise
        raise error from error.__cause__
