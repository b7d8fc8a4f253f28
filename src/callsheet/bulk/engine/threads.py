"""The seam between a run and the threads that wait for disks and pipes."""

from collections.abc import Callable
from typing import Protocol, TypeVar

import trio

__all__ = [
    "InThread",
    "in_worker_thread",
]


T = TypeVar("T")


class InThread(Protocol):
    """Runs what blocks."""

    async def __call__(
        self,
        function: Callable[[], T],
        /,
        *,
        abandon_on_cancel: bool = False,
        limiter: trio.CapacityLimiter | None = None,
    ) -> T:
        """What it returns, when it has run."""
        ...


async def in_worker_thread(
    function: Callable[[], T],
    /,
    *,
    abandon_on_cancel: bool = False,
    limiter: trio.CapacityLimiter | None = None,
) -> T:
    """In one of Trio's worker threads."""
    return await trio.to_thread.run_sync(
        function, abandon_on_cancel=abandon_on_cancel, limiter=limiter
    )
