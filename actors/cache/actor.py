"""The actor of the response cache, and the requests in flight by their cache key."""

import time
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from functools import partial

import attrs
import trio

from ...runtime import Actor, Message, Outcome, Ref, ReplySlot, defers, handles
from ..calls import Complete, Stream
from ..identity import cache_keys
from ..messages import Request
from ..responses import Response
from .memory import MemoryCache
from .policy import CachePolicy
from .store import CachedResponse, CacheStore, CacheUsage, FailOpenStore
from .stored import for_storing, from_cache, is_storable, size_in_memory


@attrs.define(eq=False)
class MissInFlight:
    """Identical requests in flight.

    Attributes:
        key: their cache key.
        members: the number of them that are in flight.
        stored: the keys under which responses to them were stored. They differ when different
            targets responded.
    """

    key: str
    members: int = 0
    stored: set[str] = attrs.field(factory=set[str])


class MissesInFlight:
    """The cache keys of requests in flight, which need no lookup. Pure (R14)."""

    def __init__(self) -> None:
        self._by_key: dict[str, MissInFlight] = {}

    def __len__(self) -> int:
        return len(self._by_key)

    def __contains__(self, key: str) -> bool:
        return key in self._by_key

    def __repr__(self) -> str:
        members = sum(miss.members for miss in self._by_key.values())
        return f"<MissesInFlight {members} calls with {len(self)} keys>"

    def join(self, key: str) -> MissInFlight:
        """Add a request that goes to the next stage."""
        miss = self._by_key.setdefault(key, MissInFlight(key))
        miss.members += 1
        return miss

    def finish(self, miss: MissInFlight, key: str | None) -> bool:
        """Remove a request that has ended.

        Args:
            miss: what `join` returned for it.
            key: the key under which its response can be stored; None if it cannot.

        Returns:
            Whether to store that response. The first response of a target to identical requests
            was paid for; the others are copies of it.
        """
        miss.members -= 1
        if not miss.members:
            del self._by_key[miss.key]
        if key is None or key in miss.stored:
            return False
        miss.stored.add(key)
        return True


@attrs.frozen(kw_only=True)
class CacheStatistics:
    """The counts of a `CacheActor` since it started, and what it contains.

    Args:
        memory_hits: requests with a response in memory.
        disk_hits: requests with a response in the store.
        misses: cacheable requests that went to the next stage.
        stored: responses that were stored.
        saved_usd: the cost in USD of the responses of all hits, as far as it is known.
        memory: how much is in memory.
        disk: how much is in the store; None without a store, or when it cannot be used.
    """

    memory_hits: int
    disk_hits: int
    misses: int
    stored: int
    saved_usd: Decimal
    memory: CacheUsage
    disk: CacheUsage | None

    @property
    def is_on_disk(self) -> bool:
        """Whether responses are stored on disk."""
        return self.disk is not None


@attrs.frozen
class GetCacheStatistics(Message[CacheStatistics]):
    """Ask a `CacheActor` for its `CacheStatistics`."""


@attrs.frozen
class PeekCache(Message[bool]):
    """Ask whether a request would be a hit now. Nothing is changed.

    Args:
        request: the request; it is not sent.
    """

    request: Request


@attrs.frozen
class ClearCache(Message[None]):
    """Tell a `CacheActor` to delete all responses."""


_MAX_USED = 1000  # responses whose use is not written yet


@attrs.frozen
class _LookUp(Message[None]):
    """Requests have arrived during a lookup."""


@attrs.frozen
class _Write(Message[None]):
    """Responses are to be written."""


@attrs.frozen
class _Waiter:
    """A request that waits for its lookup."""

    message: Complete
    slot: ReplySlot[Response]
    keys: tuple[str, ...]


class CacheActor(Actor):
    """Replies with a stored response, or forwards the request to the next stage.

    Only requests that are declared cacheable are looked up, and only complete responses are stored
    (L6). Identical requests that arrive together share one lookup. If it finds nothing, all of them
    are forwarded, and the batcher makes one call of them. A response is in memory when it arrives,
    and on disk a moment later: a cache may lose it (L7 is for other files).

    Spawn it with `concurrency=8`: one worker may wait for the file to be read, one for it to be
    written, and others for room in the next stage. With 1, which is enough for memory alone, other
    requests wait meanwhile. `max_deferred` is the number of requests that may wait for a lookup.

    Args:
        to: the next stage, the batcher.
        scope: identifies the endpoint, such as its base URL, without secrets; part of every key.
        members: such identities of the members of a pool, by host and name of the key. A response
            is stored by that of the member that sent it, and looked up by those of all.
        fallbacks: the other targets that may respond, in order: the model that is used there, None
            for the requested one, and the identity of the endpoint. A response from there is
            stored as the response to a request of that model at that endpoint.
        policy: the file and the bounds; by default in memory only.
        store: used instead of the file that the policy names.
        now: Unix time in seconds. Trio's clock starts anew with every program, and the age of a
            response must be right across programs.

    Raises:
        ValueError: the scope is empty.
    """

    def __init__(
        self,
        to: Ref,
        scope: str,
        policy: CachePolicy | None = None,
        *,
        members: Mapping[str, str] | None = None,
        fallbacks: Sequence[tuple[str | None, str]] = (),
        store: CacheStore | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        if not scope:
            raise ValueError("scope must name the endpoint, such as by its base URL")
        policy = policy or CachePolicy(path=None)
        if store is None and policy.path is not None:
            from .file import SqliteStore  # noqa: PLC0415  # loads SQLite, which memory does not need

            store = SqliteStore(policy)
        self._to = to
        self._members = members or {}
        self._fallbacks = fallbacks
        self._scopes = tuple(dict.fromkeys(self._members.values())) or (scope,)
        self._now = now
        self._memory: MemoryCache[CachedResponse] = MemoryCache(
            policy.memory_bytes, policy.memory_entries, policy.ttl_s
        )
        self._store = FailOpenStore(store)
        self._waiting: dict[str, list[_Waiter]] = {}  # {key: requests that wait for its lookup}
        self._unread: list[str] = []  # keys that no running lookup reads
        self._is_reading = False
        self._in_flight = MissesInFlight()
        self._all_finished = trio.Event()  # no request is in flight
        self._unwritten: dict[str, CachedResponse] = {}
        self._used: dict[str, None] = {}  # keys whose use is to be written, oldest first
        self._is_writing = False
        self._clearings = 0
        self._memory_hits = self._disk_hits = self._misses = self._stored = 0
        self._saved_usd = Decimal(0)
        self._is_over = False

    async def started(self) -> None:
        """Open the store."""
        await self._store.open()

    async def draining(self) -> None:
        """Wait for the responses of requests in flight, and write them: they were paid for."""
        while self._in_flight and self._store.is_usable:
            self._all_finished = trio.Event()
            await self._all_finished.wait()
        await self._write()

    async def stopped(self) -> None:
        """Write what is left, and close the store."""
        self._is_over = True
        try:
            await self._write()
        finally:
            await self._store.close()

    # ---------------------------------------------------------------- requests

    @defers(Complete)
    async def complete(self, message: Complete, slot: ReplySlot[Response]) -> None:
        """Reply to a call from the cache, or forward it."""
        keys: tuple[str, ...] = ()
        if message.context.allows("cache"):
            keys = cache_keys(self._scopes, message.request)
        if not keys:
            await slot.forward(self._to, message)
            return
        now = self._now()
        for key in keys:
            if (cached := self._memory.get(key, now)) is not None:
                self._memory_hits += 1
                self._hit(key, cached, slot)
                return
        key = keys[0]
        if key in self._in_flight or not self._store.is_usable:
            self._miss(keys, message.request, slot)
            await slot.forward(self._to, message)
        elif key in self._waiting:
            self._waiting[key].append(_Waiter(message, slot, keys))
        else:
            self._waiting[key] = [_Waiter(message, slot, keys)]
            self._unread += keys
            if not self._is_reading:
                await self._look_up()

    @defers(Stream)
    async def pass_on(self, message: Stream, slot: ReplySlot[None]) -> None:
        """Forward a streaming call; it is not looked up."""
        await slot.forward(self._to, message)

    @handles(_LookUp)
    async def look_up(self, message: _LookUp) -> None:  # noqa: ARG002  # it has no fields
        """Look up the requests that wait."""
        await self._look_up()

    async def _look_up(self) -> None:
        """Look up all requests that wait; those that arrive meanwhile wait for the next lookup."""
        keys, self._unread = self._unread, []
        clearings, now = self._clearings, self._now()
        self._is_reading = True
        found = await self._store.get_many(keys, now)
        if clearings != self._clearings:
            found = {}  # it may have been cleared meanwhile
        self._is_reading = bool(self._unread)
        if self._is_reading:
            self.send_after(0.0, _LookUp())  # in another worker: this one may wait below
        missed: list[_Waiter] = []
        for first in keys[:: len(self._scopes)]:
            waiting = self._waiting.pop(first)
            key = next((key for key in waiting[0].keys if key in found), None)
            if key is not None:
                self._remember(key, found[key])
            for one in waiting:
                if key is not None:
                    self._disk_hits += 1
                    self._hit(key, found[key], one.slot)
                else:
                    self._miss(one.keys, one.message.request, one.slot)
                    missed.append(one)
        for one in missed:
            await one.slot.forward(self._to, one.message)

    def _hit(self, key: str, cached: CachedResponse, slot: ReplySlot[Response]) -> None:
        self._saved_usd += cached.response.cost_usd or 0
        slot.reply(from_cache(cached.response))
        if self._store.is_usable:
            self._used.pop(key, None)
            self._used[key] = None
            if len(self._used) >= _MAX_USED:
                self._write_soon()

    def _miss(self, keys: tuple[str, ...], request: Request, slot: ReplySlot[Response]) -> None:
        self._misses += 1
        miss = self._in_flight.join(keys[0])
        slot.on_settled(partial(self._finished, miss, keys, request))

    # ---------------------------------------------------------------- responses

    def _finished(
        self,
        miss: MissInFlight,
        keys: tuple[str, ...],
        request: Request,
        slot: ReplySlot[Response],
    ) -> None:
        """Store the response of a request that was forwarded and has ended."""
        response = slot.value if slot.outcome is Outcome.REPLIED else None
        key = None
        if response is not None and is_storable(response):
            key = self._key_of(response, keys, request)
        is_first = self._in_flight.finish(miss, key)
        if not self._in_flight:
            self._all_finished.set()
        if response is None or key is None or not is_first:
            return
        self._stored += 1
        cached = CachedResponse(for_storing(response), self._now())
        self._remember(key, cached)
        if self._store.is_usable and not self._is_over:
            self._unwritten[key] = cached
            self._write_soon()

    def _key_of(self, response: Response, keys: tuple[str, ...], request: Request) -> str | None:
        """Return the key of the target that responded; None if it is not known."""
        if response.fallback is None:
            return None
        if response.fallback:
            model, identity = self._fallbacks[response.fallback - 1]
            there = request if model is None else attrs.evolve(request, model=model)
            return cache_keys((identity,), there)[0]
        if not self._members:
            return keys[0]
        sender = self._members.get(f"{response.host} {response.key_name}")
        return None if sender is None else keys[self._scopes.index(sender)]

    def _remember(self, key: str, cached: CachedResponse) -> None:
        size = size_in_memory(cached.response)
        self._memory.put(key, cached, size=size, written_at=cached.written_at)

    def _write_soon(self) -> None:
        if not self._is_writing:
            self._is_writing = True
            self.send_after(0.0, _Write())

    @handles(_Write)
    async def write(self, message: _Write) -> None:  # noqa: ARG002  # it has no fields
        """Write what is to be written."""
        await self._write()

    async def _write(self) -> None:
        """Write all responses; those that arrive during a transaction are in the next one."""
        self._is_writing = True
        while self._unwritten or self._used:
            cached, self._unwritten = self._unwritten, {}
            used, self._used = self._used, {}
            await self._store.put_many(cached, used, self._now())
        self._is_writing = False

    # ---------------------------------------------------------------- questions

    @handles(GetCacheStatistics, urgent=True)
    async def count(self, message: GetCacheStatistics) -> CacheStatistics:  # noqa: ARG002  # it has no fields
        """Return the counts, and how much is stored."""
        return CacheStatistics(
            disk=await self._store.usage(),
            memory=CacheUsage(len(self._memory), self._memory.bytes, self._memory.evicted),
            memory_hits=self._memory_hits,
            disk_hits=self._disk_hits,
            misses=self._misses,
            stored=self._stored,
            saved_usd=self._saved_usd,
        )

    @handles(PeekCache, urgent=True)
    async def peek(self, message: PeekCache) -> bool:
        """Return whether a request would be a hit."""
        keys, now = cache_keys(self._scopes, message.request), self._now()
        if any(self._memory.peek(key, now) is not None for key in keys):
            return True
        return bool(keys) and bool(await self._store.get_many(keys, now))

    @handles(ClearCache, urgent=True, uninterruptible=True)
    async def clear(self, message: ClearCache) -> None:  # noqa: ARG002  # it has no fields
        """Delete all responses."""
        self._clearings += 1
        self._memory.clear()
        self._unwritten.clear()
        self._used.clear()
        await self._store.clear()
