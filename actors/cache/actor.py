"""Answers that were given before, to whoever asks the very same again.

The calls that have gone on, by what they ask. Pure (R14).

What one may ask of a cache, besides answers.
"""

import time
from collections.abc import Callable
from decimal import Decimal
from functools import partial

import attrs
import trio

from ...runtime import Actor, Message, Outcome, Ref, ReplySlot, defers, handles
from ..calls import Complete, Stream
from ..identity import cache_key
from ..messages import Request, Response
from .file import SqliteStore
from .memory import MemoryCache
from .policy import CachePolicy
from .store import CachedResponse, CacheStore, FailOpenStore, Holding
from .stored import for_keeping, from_cache, is_kept, size_in_memory

__all__ = [
    "CacheActor",
    "CacheStatistics",
    "ClearCache",
    "Flight",
    "GetCacheStatistics",
    "PeekCache",
    "SingleFlight",
]


@attrs.define(eq=False)
class Flight:
    """Identical requests that have gone on, for one answer.

    Attributes:
        key: what they have in common.
        members: how many of them are still under way.
        is_answered: the answer has come to one of them.
    """

    key: str
    members: int = 0
    is_answered: bool = False


class SingleFlight:
    """Knows which keys nobody need look up: their answer is on its way."""

    def __init__(self) -> None:
        self._single_flight: dict[str, Flight] = {}

    def __len__(self) -> int:
        return len(self._single_flight)

    def __contains__(self, key: str) -> bool:
        return key in self._single_flight

    def __repr__(self) -> str:
        members = sum(flight.members for flight in self._single_flight.values())
        return f"<Flights {members} calls with {len(self)} keys>"

    def join(self, key: str) -> Flight:
        """One more request goes on."""
        flight = self._single_flight.setdefault(key, Flight(key))
        flight.members += 1
        return flight

    def finish(self, flight: Flight, *, is_answered: bool) -> bool:
        """One of them has ended.

        Args:
            flight: that it was of.
            is_answered: it has an answer that may serve others.

        Returns:
            Whether that is the answer to keep. The first one is the one that was paid for; those
            of the others are copies of it.
        """
        flight.members -= 1
        if not flight.members:
            del self._single_flight[flight.key]
        is_first = is_answered and not flight.is_answered
        flight.is_answered |= is_answered
        return is_first


@attrs.frozen(kw_only=True)
class CacheStatistics:
    """What a `CacheActor` has done since it began, and what it holds.

    Args:
        memory_hits: requests answered from memory.
        disk_hits: requests answered from the store behind it.
        misses: cacheable requests that went on.
        stored: answers that were taken in.
        saved_usd: what the answers of all hits had cost, as far as that is known.
        memory: what is in memory.
        disk: what is in the store; None if there is none, or it cannot be used.
    """

    memory_hits: int
    disk_hits: int
    misses: int
    stored: int
    saved_usd: Decimal
    memory: Holding
    disk: Holding | None

    @property
    def is_on_disk(self) -> bool:
        """Whether answers outlive the program."""
        return self.disk is not None


@attrs.frozen
class GetCacheStatistics(Message[CacheStatistics]):
    """Ask a `CacheActor` what it has done."""


@attrs.frozen
class PeekCache(Message[bool]):
    """Ask whether a request would be answered at once if it came now. Nothing is changed."""

    request: Request


@attrs.frozen
class ClearCache(Message[None]):
    """Have a `CacheActor` drop every answer that it holds."""


_MOST_USED = 1000  # answers whose use is not yet written down


@attrs.frozen
class _LookUp(Message[None]):
    """Requests have gathered while others were looked up."""


@attrs.frozen
class _Write(Message[None]):
    """There are answers to be written."""


@attrs.frozen
class _Asked:
    """One who asked, and what for."""

    message: Complete
    slot: ReplySlot[Response]


class CacheActor(Actor):
    """Answers a request that was answered before, and lets every other one go on.

    Only requests that are declared cacheable are looked up, and only whole answers are kept (L6).
    Identical requests that come at once lead to one lookup; if it finds nothing all of them go on,
    and the batcher makes them one call. The answer is in memory as soon as it is there, and on disk
    a moment later: this is a cache and no ledger (L7 is kept elsewhere).

    Spawn it with a `concurrency` of 8: one worker may wait for the file to be read, one for it to
    be written, and some for room in the next stage; with 1, which is right for memory alone, all
    is as correct, but no request is answered meanwhile. `max_deferred` bounds how many requests
    may wait here for their lookup, as it does for the limiter. Its `capacity` is that of any stage.

    Args:
        to: where the calls go next; the batcher.
        scope: which endpoint answers, such as its base URL, without secrets: part of every key.
        policy: what is kept, and where; in memory only by default.
        store: what stands behind the memory, instead of the file that the policy names.
        now: the wall clock, in seconds since 1970. Trio's begins anew with every program, and how
            old an answer is must be true over all of them.

    Raises:
        ValueError: the scope is empty.
    """

    def __init__(
        self,
        to: Ref,
        scope: str,
        policy: CachePolicy | None = None,
        *,
        store: CacheStore | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        if not scope:
            raise ValueError("scope must name the endpoint, such as by its base URL")
        policy = policy or CachePolicy(path=None)
        if store is None and policy.path is not None:
            store = SqliteStore(policy)
        self._to = to
        self._scope = scope
        self._now = now
        self._memory: MemoryCache[CachedResponse] = MemoryCache(
            policy.memory_bytes, policy.memory_entries, policy.ttl_s
        )
        self._store = FailOpenStore(store)
        self._asked: dict[str, list[_Asked]] = {}  # {key: who waits for its lookup}
        self._unread: list[str] = []  # keys of them that no lookup under way is for
        self._is_reading = False
        self._single_flight = SingleFlight()
        self._landed = trio.Event()  # nothing is under way
        self._unwritten: dict[str, CachedResponse] = {}
        self._used: dict[str, None] = {}  # keys whose use is to be written, the longest ago first
        self._is_writing = False
        self._clearings = 0
        self._memory_hits = self._disk_hits = self._misses = self._stored = 0
        self._saved_usd = Decimal(0)
        self._is_over = False

    async def started(self) -> None:
        """Open the file."""
        await self._store.open()

    async def draining(self) -> None:
        """Wait for the answers of what has gone on, and write them: they were paid for."""
        while self._single_flight and self._store.is_there:
            self._landed = trio.Event()
            await self._landed.wait()
        await self._write()

    async def stopped(self) -> None:
        """Write what is left, and let go of the file."""
        self._is_over = True
        try:
            await self._write()
        finally:
            await self._store.close()

    # ---------------------------------------------------------------- requests

    @defers(Complete)
    async def complete(self, message: Complete, slot: ReplySlot[Response]) -> None:
        """Answer a call, or let it go on."""
        key = cache_key(self._scope, message.request)
        if key is None:
            await slot.forward(self._to, message)
            return
        kept = self._memory.get(key, self._now())
        if kept is not None:
            self._memory_hits += 1
            self._hit(key, kept, slot)
        elif key in self._single_flight or not self._store.is_there:
            self._miss(key, slot)
            await slot.forward(self._to, message)
        elif key in self._asked:
            self._asked[key].append(_Asked(message, slot))
        else:
            self._asked[key] = [_Asked(message, slot)]
            self._unread.append(key)
            if not self._is_reading:
                await self._look_up()

    @defers(Stream)
    async def pass_on(self, message: Stream, slot: ReplySlot[None]) -> None:
        """Hand on at once a call whose asker wants to see it being written."""
        await slot.forward(self._to, message)

    @handles(_LookUp)
    async def look_up(self, message: _LookUp) -> None:  # noqa: ARG002  # it only says when
        """Look up what has gathered."""
        await self._look_up()

    async def _look_up(self) -> None:
        """One lookup for all that wait for one; who comes meanwhile gathers for the next."""
        keys, self._unread = self._unread, []
        clearings, now = self._clearings, self._now()
        self._is_reading = True
        found = await self._store.get_many(keys, now)
        if clearings != self._clearings:
            found = {}  # it may be what has been cleared meanwhile
        self._is_reading = bool(self._unread)
        if self._is_reading:
            self.send_after(0.0, _LookUp())  # not by this worker, which may have to wait below
        missed: list[_Asked] = []
        for key in keys:
            asked, kept = self._asked.pop(key), found.get(key)
            if kept is not None:
                self._remember(key, kept)
            for one in asked:
                if kept is not None:
                    self._disk_hits += 1
                    self._hit(key, kept, one.slot)
                else:
                    self._miss(key, one.slot)
                    missed.append(one)
        for one in missed:
            await one.slot.forward(self._to, one.message)

    def _hit(self, key: str, kept: CachedResponse, slot: ReplySlot[Response]) -> None:
        self._saved_usd += kept.response.cost_usd or 0
        slot.reply(from_cache(kept.response))
        if self._store.is_there:
            self._used.pop(key, None)
            self._used[key] = None
            if len(self._used) >= _MOST_USED:
                self._write_soon()

    def _miss(self, key: str, slot: ReplySlot[Response]) -> None:
        self._misses += 1
        flight = self._single_flight.join(key)
        slot.on_settled(partial(self._landed_with, flight))

    # ---------------------------------------------------------------- answers

    def _landed_with(self, flight: Flight, slot: ReplySlot[Response]) -> None:
        """One of the calls that have gone on has its answer, or needs none any more."""
        response = slot.value if slot.outcome is Outcome.REPLIED else None
        if response is not None and not is_kept(response):
            response = None
        is_first = self._single_flight.finish(flight, is_answered=response is not None)
        if not self._single_flight:
            self._landed.set()
        if response is None or not is_first:
            return
        self._stored += 1
        kept = CachedResponse(for_keeping(response), self._now())
        self._remember(flight.key, kept)
        if self._store.is_there and not self._is_over:
            self._unwritten[flight.key] = kept
            self._write_soon()

    def _remember(self, key: str, kept: CachedResponse) -> None:
        self._memory.put(key, kept, size=size_in_memory(kept.response), written_at=kept.written_at)

    def _write_soon(self) -> None:
        if not self._is_writing:
            self._is_writing = True
            self.send_after(0.0, _Write())

    @handles(_Write)
    async def write(self, message: _Write) -> None:  # noqa: ARG002  # it only says when
        """Write what there is to be written."""
        await self._write()

    async def _write(self) -> None:
        """Each transaction has all that has gathered during the one before it."""
        self._is_writing = True
        while self._unwritten or self._used:
            kept, self._unwritten = self._unwritten, {}
            used, self._used = self._used, {}
            await self._store.put_many(kept, used, self._now())
        self._is_writing = False

    # ---------------------------------------------------------------- questions

    @handles(GetCacheStatistics, urgent=True)
    async def count(self, message: GetCacheStatistics) -> CacheStatistics:  # noqa: ARG002  # it only asks
        """Say what was done, and what there is."""
        return CacheStatistics(
            disk=await self._store.count(),
            memory=Holding(len(self._memory), self._memory.bytes, self._memory.evicted),
            memory_hits=self._memory_hits,
            disk_hits=self._disk_hits,
            misses=self._misses,
            stored=self._stored,
            saved_usd=self._saved_usd,
        )

    @handles(PeekCache, urgent=True)
    async def peek(self, message: PeekCache) -> bool:
        """Say whether a request would be answered at once."""
        key, now = cache_key(self._scope, message.request), self._now()
        if key is None:
            return False
        if self._memory.peek(key, now) is not None:
            return True
        return key in await self._store.get_many((key,), now)

    @handles(ClearCache, urgent=True, uninterruptible=True)
    async def clear(self, message: ClearCache) -> None:  # noqa: ARG002  # it only says when
        """Drop every answer."""
        self._clearings += 1
        self._memory.clear()
        self._unwritten.clear()
        self._used.clear()
        await self._store.clear()
