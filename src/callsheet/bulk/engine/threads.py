"""Run blocking disk and pipe access in threads; tests replace it."""

from collections.abc import Callable
from typing import Protocol, TypeVar

import trio

__all__ = [
    "InThread",
    "in_worker_thread",
]


T = TypeVar("T")


class InThread(Protocol):
    """Runs a blocking function."""

    async def __call__(
        self,
        function: Callable[[], T],
        /,
        *,
        abandon_on_cancel: bool = False,
        limiter: trio.CapacityLimiter | None = None,
    ) -> T:
        """Run the function and return its result."""
        ...


async def in_worker_thread(
    function: Callable[[], T],
    /,
    *,
    abandon_on_cancel: bool = False,
    limiter: trio.CapacityLimiter | None = None,
) -> T:
    """Run the function in one of Trio's worker threads."""
    return await trio.to_thread.run_sync(
        function, abandon_on_cancel=abandon_on_cancel, limiter=limiter
    )
