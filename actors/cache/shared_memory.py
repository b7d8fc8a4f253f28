"""A shared cache in memory, for the troupes of one process: tests of programs, and of Callsheet."""

from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from typing import final

import trio

from ..valkey import ServerAway
from .claims import ClaimAsk, ClaimState, ClaimTable
from .memory import MemoryCache
from .policy import CachePolicy
from .store import CacheEntry, CacheUsage

_HINT_S = 1.0
_ENTRIES = 10**9  # bytes are the bound


@final
class SharedMemory:
    """What the troupes of one process share of their caches.

    Args:
        clock: returns the time in seconds on Trio's clock.

    Attributes:
        is_away: whether every question fails, as if it were a server that is away.
        answer_s: seconds that every question takes.
        entries: the responses, by key.
        claims: the claims of calls.
    """

    def __init__(self, clock: Callable[[], float] = trio.current_time) -> None:
        self.is_away = False
        self.answer_s = 0.0
        self.entries: MemoryCache[CacheEntry] | None = None
        self.claims = ClaimTable()
        self.clock = clock
        self.owners = 0
        self.ended: trio.Event = trio.Event()
        self.last_ended: frozenset[str] = frozenset()

    def lose(self) -> None:
        """Lose all data, as a server does that keeps nothing on disk."""
        self.claims = ClaimTable()
        if self.entries is not None:
            self.entries.clear()


@final
class MemorySharedCache:
    """A `SharedCache` in memory.

    Args:
        memory: what it shares with others.
        policy: how long responses are valid, and the bytes that all may take.
    """

    name = "the shared memory"

    def __init__(self, memory: SharedMemory, policy: CachePolicy) -> None:
        self._memory = memory
        memory.owners += 1
        self._owner = str(memory.owners)
        if memory.entries is None:
            memory.entries = MemoryCache(policy.max_bytes, _ENTRIES, policy.ttl_s)
        self._entries = memory.entries

    def __repr__(self) -> str:
        return f"<MemorySharedCache {len(self._entries)} responses, {self._memory.claims}>"

    @asynccontextmanager
    async def session(self) -> AsyncGenerator[None]:
        """See `SharedCache`."""
        yield

    async def open(self) -> None:
        """See `CacheStore`."""
        await self._reach()

    async def get_many(self, keys: Sequence[str], now: float) -> Sequence[CacheEntry]:
        """See `CacheStore`."""
        await self._reach()
        found = (self._entries.peek(key, now) for key in keys)
        return [entry for entry in found if entry is not None]

    async def put_many(
        self, entries: Sequence[CacheEntry], used: Sequence[str], now: float
    ) -> None:
        """See `CacheStore`."""
        await self._reach()
        for key in used:
            self._entries.get(key, now)
        for entry in entries:
            size = len(entry.value)
            self._entries.put(entry.key, entry, size=size, written_at=entry.written_at)

    async def usage(self) -> CacheUsage:
        """See `CacheStore`."""
        await self._reach()
        return CacheUsage(len(self._entries), self._entries.bytes, self._entries.evicted)

    async def clear(self) -> None:
        """See `CacheStore`."""
        await self._reach()
        self._entries.clear()

    async def set_aside(self) -> str | None:
        """See `CacheStore`."""
        return None

    async def close(self) -> None:
        """See `CacheStore`."""

    # ---------------------------------------------------------------- claims

    async def claim(self, asked: Sequence[ClaimAsk]) -> Sequence[ClaimState]:
        """See `CallClaims`."""
        await self._reach()
        return [
            "stored"
            if any(key in self._entries for key in one.keys)
            else self._memory.claims.claim(one.claim, self._owner, self._memory.clock())
            for one in asked
        ]

    async def renew(self, claims: Sequence[str]) -> None:
        """See `CallClaims`."""
        await self._reach()
        for claim in claims:
            self._memory.claims.renew(claim, self._owner, self._memory.clock())

    async def release(self, claims: Sequence[str], *, free: bool) -> None:
        """See `CallClaims`."""
        await self._reach()
        table, now = self._memory.claims, self._memory.clock()
        awaited = [one for one in claims if table.release(one, self._owner, now, free=free)]
        if awaited:
            self._memory.last_ended = frozenset(awaited)
            self._memory.ended.set()
            self._memory.ended = trio.Event()

    async def wait_for_ends(self) -> Collection[str]:
        """See `CallClaims`."""
        await self._reach()
        with trio.move_on_after(_HINT_S):
            await self._memory.ended.wait()
            return self._memory.last_ended
        return ()

    async def _reach(self) -> None:
        await trio.sleep(self._memory.answer_s)
        if self._memory.is_away:
            raise ServerAway(self.name, "a test has taken it away")
