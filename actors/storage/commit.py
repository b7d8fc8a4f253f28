"""How blocking work reaches a thread, and how callers that wait for the disk wait together."""

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Generic, Protocol, TypeVar, final

import attrs
import trio

T = TypeVar("T")


class InThread(Protocol):
    """Runs a function that blocks, so that the event loop goes on."""

    async def __call__(
        self,
        function: Callable[[], T],
        /,
        *,
        abandon_on_cancel: bool = False,
        limiter: trio.CapacityLimiter | None = None,
    ) -> T:
        """Run the function and return its result.

        Args:
            function: what to run. It runs to its end, even if the caller is cancelled.
            abandon_on_cancel: on cancellation, return at once and leave the thread running.
            limiter: bounds how many functions run at a time.
        """
        ...


async def in_worker_thread(
    function: Callable[[], T],
    /,
    *,
    abandon_on_cancel: bool = False,
    limiter: trio.CapacityLimiter | None = None,
) -> T:
    """Run a function in one of Trio's worker threads, so that the event loop goes on.

    Args:
        function: what to run. It runs to its end, even if the caller is cancelled.
        abandon_on_cancel: on cancellation, return at once and leave the thread running.
        limiter: bounds how many functions run at a time; None for Trio's default limiter.

    Returns:
        The result of the function.

    Raises:
        Exception: what the function raises.
    """
    has_begun = False

    def run() -> T:
        nonlocal has_begun
        has_begun = True
        return function()

    try:
        return await trio.to_thread.run_sync(
            run, abandon_on_cancel=abandon_on_cancel, limiter=limiter
        )
    except RuntimeError:
        if has_begun:
            raise
        # Python 3.12 starts no thread at the exit of the interpreter, where files are still closed.
        return function()


async def in_place(
    function: Callable[[], T],
    /,
    *,
    abandon_on_cancel: bool = False,  # noqa: ARG001  # nothing is left running
    limiter: trio.CapacityLimiter | None = None,  # noqa: ARG001  # nothing runs beside it
) -> T:
    """Run a function in the event loop: for memory, and for virtual time; see `InThread`."""
    await trio.lowlevel.checkpoint()
    return function()


@attrs.define(eq=False)
class _Group(Generic[T]):
    """Jobs that are committed together, and the error if the commit failed."""

    jobs: list[T] = attrs.field(factory=list[T])
    is_awaited: bool = False
    is_begun: bool = False
    is_over: bool = False
    error: BaseException | None = None


@final
class GroupCommit(Generic[T]):
    """Commits jobs in groups: what is added while one group is committed makes the next group.

    One group is committed at a time, in the order in which the jobs were added. A caller that is
    cancelled while it waits takes nothing back: its job is committed with the next group.

    Args:
        commit: commits the jobs of a group; it blocks. What it raises reaches every caller that
            waits for the group.
        in_thread: runs `commit` outside the event loop, one group at a time.
    """

    def __init__(self, commit: Callable[[list[T]], None], in_thread: InThread) -> None:
        self._commit = commit
        self._in_thread = in_thread
        self._groups: deque[_Group[T]] = deque()  # those that are not over, the oldest first
        self._limiter = trio.CapacityLimiter(1)
        self._lock = trio.Lock()

    def __len__(self) -> int:
        return sum(len(group.jobs) for group in self._groups)

    def __repr__(self) -> str:
        return f"<GroupCommit {len(self)} jobs waiting>"

    def add(self, *jobs: T) -> None:
        """Add jobs, and do not wait for them."""
        self._gather(jobs)

    async def do(self, *jobs: T) -> None:
        """Add jobs, and return when they, and all jobs added before, are committed.

        Raises:
            Exception: what `commit` raised for the group of these jobs, or for a group of jobs that
                were only added.
        """
        own = self._gather(jobs)
        error: BaseException | None = None
        if own is not None:
            own.is_awaited = True
        async with self._lock:
            while self._groups:
                group = self._groups[0]
                await self._commit_first()
                error = error if group.is_awaited else group.error
        if own is not None and own.error is not None:
            error = own.error
        if error is not None:
            raise error

    def do_now(self) -> bool:
        """Commit what was added, here and now, unless a group is being committed.

        Returns:
            Whether it was committed. If not, the caller of `do` that commits does it next.

        Raises:
            Exception: what `commit` raised.
        """
        if self._lock.locked():
            return False
        while self._groups:
            group = self._groups.popleft()
            self._commit_group(group)
            if group.error is not None:
                raise group.error
        return True

    async def alone(self, function: Callable[[], object]) -> None:
        """Run something else that uses the same file, such as closing it, between two groups."""
        async with self._lock:
            await self._in_thread(function, limiter=self._limiter)

    def _gather(self, jobs: Sequence[T]) -> _Group[T] | None:
        if not jobs:
            return None
        # The event loop adds no job to a group that a thread may be committing.
        if not self._groups or self._groups[-1].is_begun:
            self._groups.append(_Group())
        self._groups[-1].jobs.extend(jobs)
        return self._groups[-1]

    async def _commit_first(self) -> None:
        group = self._groups[0]
        group.is_begun = True
        try:
            await self._in_thread(partial(self._commit_group, group), limiter=self._limiter)
        finally:
            # Not over: this caller was cancelled before the commit began. The next caller does it.
            if group.is_over:
                self._groups.popleft()

    def _commit_group(self, group: _Group[T]) -> None:
        try:
            self._commit(group.jobs)
        except BaseException as error:  # noqa: BLE001  # it is raised in every caller that waits
            group.error = error
        finally:
            group.is_over = True
