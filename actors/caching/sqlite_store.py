"""The file behind a cache, in worker threads: the event loop never waits for a disk."""

import sqlite3
from collections.abc import Callable, Sequence
from typing import TypeVar, TypeVarTuple

import trio

from .policy import CachePolicy
from .sqlite_file import ForeignFile, SqliteFile
from .store import Entry, Holding, StoreUnavailable

__all__ = ["SqliteStore"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_MOVE = "move the file away, or give another path, and a new one is made"
_REMEDIES = {  # {SQLite's name of an error, without what follows a second underscore: what to do}
    "SQLITE_CORRUPT": _MOVE,
    "SQLITE_NOTADB": _MOVE,
    "SQLITE_BUSY": "end the program that keeps it locked, or give another path",
    "SQLITE_FULL": "make room on the disk",
}
_OTHERWISE = "give a path to a file that may be read and written, in a directory that is the same"


class SqliteStore:
    """A `CacheStore` in one file, which several programs may share.

    A file that cannot be used is left as it is: nothing here deletes it, or makes it anew.

    Args:
        policy: has the path, and the bounds.

    Raises:
        ValueError: the policy has no path.
    """

    def __init__(self, policy: CachePolicy) -> None:
        if policy.path is None:
            raise ValueError("path must be given for a cache on disk")
        self._file = SqliteFile(policy.path, policy.ttl_s, policy.max_bytes)
        # A connection is for one thread at a time; these let in one, and the next after it.
        self._reading = trio.CapacityLimiter(1)
        self._writing = trio.CapacityLimiter(1)

    def __repr__(self) -> str:
        return f"<SqliteStore {self.name}>"

    @property
    def name(self) -> str:
        """The path."""
        return str(self._file.path)

    async def open(self) -> None:
        """Open the file, and make it if there is none.

        Raises:
            StoreUnavailable: it cannot be used; says why, and the remedy.
        """
        try:
            await _run(self._writing, self._file.open)
        except StoreUnavailable:
            await self.close()
            raise

    async def get_many(self, keys: Sequence[str], now: float) -> Sequence[Entry]:
        """See `CacheStore`."""
        return await _run(self._reading, self._file.get_many, keys, now)

    async def put_many(self, entries: Sequence[Entry], used: Sequence[str], now: float) -> None:
        """See `CacheStore`; one transaction."""
        await _run(self._writing, self._file.put_many, entries, used, now)

    async def count(self) -> Holding:
        """See `CacheStore`."""
        return await _run(self._reading, self._file.count)

    async def clear(self) -> None:
        """See `CacheStore`."""
        await _run(self._writing, self._file.clear)

    async def close(self) -> None:
        """Let go of the file when what is under way has ended, even if cancelled meanwhile."""
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(self._file.close_reader, limiter=self._reading)
            await trio.to_thread.run_sync(self._file.close_writer, limiter=self._writing)


async def _run(limiter: trio.CapacityLimiter, function: Callable[[*Ts], T], *args: *Ts) -> T:
    """Run it in a thread; it is never left there half done."""
    try:
        return await trio.to_thread.run_sync(function, *args, limiter=limiter)
    except (sqlite3.Error, OSError) as error:
        raise StoreUnavailable(str(error), _remedy(error)) from error


def _remedy(error: sqlite3.Error | OSError) -> str:
    if isinstance(error, ForeignFile):
        return _MOVE
    if isinstance(error, OSError):
        return _OTHERWISE
    name = getattr(error, "sqlite_errorname", "")  # not of errors that Python itself finds
    return _REMEDIES.get("_".join(name.split("_")[:2]), _OTHERWISE)
