"""A nursery whose one error comes out as itself."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import cast

import trio

__all__ = ["is_cancellation", "open_collapsing_nursery"]


@asynccontextmanager
async def open_collapsing_nursery() -> AsyncGenerator[trio.Nursery]:
    """A nursery that is nobody's concern but its owner's.

    If one task of it, or the block, fails, the error comes out without a group around it; which
    task it was is no concern of the user's. Several errors come out as a group, without
    the cancellations among them.
    """
    try:
        async with trio.open_nursery() as nursery:
            yield nursery
    except BaseExceptionGroup as group:
        # What was cancelled because of a failure, or at the same moment, is not one.
        failures = group.split(trio.Cancelled)[1] or group
        error, *others = failures.exceptions
        if others:
            raise failures from failures.__cause__
        raise error from error.__cause__


def is_cancellation(error: BaseException) -> bool:
    """Whether it is nothing but one, or a group of them."""
    if not isinstance(error, BaseExceptionGroup):
        return isinstance(error, trio.Cancelled)
    group = cast("BaseExceptionGroup[BaseException]", error)
    return group.split(trio.Cancelled)[1] is None
