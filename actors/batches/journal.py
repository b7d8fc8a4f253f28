"""The journal as actors use it: its writes wait for the disk in a thread, one after another."""

import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol, TypeVar, final

import trio

from .store import Store

__all__ = ["Journal", "OpenJournal", "Run", "at_once", "in_thread", "open_journal"]

T = TypeVar("T")


class Run(Protocol):
    """Runs what waits for the disk."""

    async def __call__(self, function: Callable[[], T], /) -> T:
        """Run it to its end, even if the caller is cancelled meanwhile."""
        ...


async def in_thread(function: Callable[[], T], /) -> T:
    """In a thread of Trio's, so that the event loop goes on."""
    return await trio.to_thread.run_sync(function)


async def at_once(function: Callable[[], T], /) -> T:
    """Here and now: for what only waits for memory."""
    await trio.lowlevel.checkpoint()
    return function()


@final
class Journal:
    """A `Store` that one task after another uses.

    Args:
        store: opens it.
        run: runs what waits for the disk.
        is_durable: whether it outlives the process.
    """

    def __init__(
        self, store: Callable[[], Store], run: Run = in_thread, *, is_durable: bool = True
    ) -> None:
        self.is_durable = is_durable
        self._open = store
        self._store: Store | None = None
        self._run = run
        self._turn = trio.Lock()

    async def open(self) -> Store:
        """Open it.

        Raises:
            JournalInUse, sqlite3.Error: see `Store`.
        """
        self._store = await self._run(self._open)
        return self._store

    async def do(self, function: Callable[[Store], T]) -> T:
        """Read or write; what was written is on disk when this returns."""
        store = self._store
        if store is None:
            raise RuntimeError("the journal is not open")
        async with self._turn:
            return await self._run(lambda: function(store))

    async def close(self) -> None:
        """Close it, if it is open."""
        store, self._store = self._store, None
        if store is not None:
            async with self._turn:
                await self._run(store.close)


OpenJournal = Callable[[Path | None, str, float], Journal]
"""Makes a journal out of its file, the account and how long it keeps answers, in seconds."""


def open_journal(path: Path | None, account: str, keep_s: float) -> Journal:
    """The journal of a file; or, without one, of memory alone."""
    run: Callable[[Callable[[], object]], Awaitable[object]]
    run = at_once if path is None else in_thread
    return Journal(
        lambda: Store(path, account, keep_s, time.time), run, is_durable=path is not None
    )
