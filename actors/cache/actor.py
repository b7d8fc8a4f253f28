"""The actor of the response cache."""

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from decimal import Decimal
from functools import partial
from math import inf

import attrs
import trio

from ...runtime import Actor, Message, Outcome, Ref, ReplySlot, defers, handles
from ..calls import Complete, Stream
from ..errors import TurnTooLate
from ..identity import cache_keys
from ..messages import Request
from ..responses import Response
from .claims import CallsElsewhere, ClaimAsk, SharedCache
from .memory import MemoryCache
from .messages import CacheStatistics, ClearCache, GetCacheStatistics, PeekCache
from .misses import MissesInFlight, MissInFlight
from .policy import CachePolicy
from .store import CachedResponse, CacheStore, CacheUsage, FailOpenStore
from .stored import for_storing, from_cache, is_storable, size_in_memory

_MAX_USED = 1000  # responses whose use is not written yet
_LATER, _ALONE = ".later", ".alone"  # at the end of a claim


@attrs.frozen
class _LookUp(Message[None]):
    """Requests have arrived during a lookup."""


@attrs.frozen
class _Write(Message[None]):
    """Responses are to be written."""


@attrs.frozen(eq=False)
class _Waiter:
    """A request that waits for its lookup, or for the call of another process.

    Args:
        message: what is forwarded if there is no response.
        slot: filled with the response, or forwarded.
        keys: those under which its response may be stored, by scope.
        turn_by: when its patience ends, in seconds on Trio's clock.
    """

    message: Complete
    slot: ReplySlot[Response]
    keys: tuple[str, ...]
    turn_by: float

    @property
    def claim(self) -> str:
        """What the process claims that makes the call.

        A call with a deadline may go to a Batch API, for which others do not wait. One that may not
        join another call claims nothing.
        """
        if not self.message.context.allows("join"):
            return self.keys[0] + _ALONE
        return self.keys[0] if self.message.request.deadline is None else self.keys[0] + _LATER


@attrs.frozen
class _PatienceOver(Message[None]):
    """The patience of a request that waits for another process has ended."""

    waiter: _Waiter


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
        shared: used instead of a file, by several processes: only one of them makes a call, and
            the others wait for its response.
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
        shared: SharedCache | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        if not scope:
            raise ValueError("scope must name the endpoint, such as by its base URL")
        policy = policy or CachePolicy(path=None)
        if shared is not None:
            store = shared
        elif store is None and policy.path is not None:
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
        self._shared = shared
        self._elsewhere = CallsElsewhere(shared, self._store, self._look_again)
        self._waiting: dict[str, list[_Waiter]] = {}  # {claim: requests that wait for a response}
        self._unread: list[str] = []  # claims of which no running lookup reads the keys
        self._is_reading = False
        self._in_flight = MissesInFlight()
        self._all_finished = trio.Event()  # no request is in flight
        self._unwritten: dict[str, CachedResponse] = {}
        self._ending: list[tuple[str, bool]] = []  # keys whose claims end after the next write
        self._used: dict[str, None] = {}  # keys whose use is to be written, oldest first
        self._is_writing = False
        self._clearings = 0
        self._memory_hits = self._disk_hits = self._misses = self._stored = self._waits = 0
        self._saved_usd = Decimal(0)
        self._is_over = False

    async def started(self) -> None:
        """Open the store."""
        if self._shared is not None:
            await self.enter_async_context(self._shared.session())
            for task in (self._store.try_again, self._elsewhere.keep, self._elsewhere.watch):
                self.nursery.start_soon(task)
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
            await self._elsewhere.close()
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
        if keys[0] in self._in_flight or not self._store.is_usable:
            self._miss(keys, message.request, slot)
            await slot.forward(self._to, message)
            return
        waiter = _Waiter(message, slot, keys, message.context.turn_by(trio.current_time()))
        if waiter.claim in self._waiting:
            self._waiting[waiter.claim].append(waiter)
            if waiter.claim in self._elsewhere:
                self._wait(waiter)
        else:
            self._waiting[waiter.claim] = [waiter]
            self._unread.append(waiter.claim)
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
        unread, self._unread = dict.fromkeys(self._unread), []
        clearings = self._clearings
        self._is_reading = True
        waiting_for = (claim for claim in unread if claim in self._waiting)
        asked = [ClaimAsk(claim, self._waiting[claim][0].keys) for claim in waiting_for]
        awaited = [one.claim for one in asked if one.claim in self._elsewhere]
        found = await self._read(asked)
        missing = [one for one in asked if found.keys().isdisjoint(one.keys)]
        states = await self._elsewhere.claim(
            [one for one in missing if not one.claim.endswith(_ALONE)]
        )
        if stored := [one for one in missing if states.get(one.claim) == "stored"]:
            found |= await self._read(stored)  # since the first lookup
        if clearings != self._clearings:
            found = {}  # it may have been cleared meanwhile
        self._is_reading = bool(self._unread)
        if self._is_reading:
            self.send_after(0.0, _LookUp())  # in another worker: this one may wait below
        missed: list[_Waiter] = []
        for one in asked:
            waiting = [waiter for waiter in self._waiting.pop(one.claim) if not waiter.slot.done]
            key = next((key for key in one.keys if key in found), None)
            if key is not None:
                self._remember(key, found[key])
                for waiter in waiting:
                    self._disk_hits += 1
                    self._hit(key, found[key], waiter.slot)
            elif not waiting:
                self._elsewhere.end([one.claim], free=False)
            elif states.get(one.claim) == "elsewhere":
                self._waiting[one.claim] = waiting
                for waiter in waiting if one.claim not in awaited else ():
                    self._wait(waiter)
                continue
            else:
                for waiter in waiting:
                    self._miss(waiter.keys, waiter.message.request, waiter.slot)
                missed += waiting
            self._elsewhere.forget(one.claim)
        for waiter in missed:
            await waiter.slot.forward(self._to, waiter.message)

    async def _read(self, asked: Iterable[ClaimAsk]) -> dict[str, CachedResponse]:
        keys = [key for one in asked for key in one.keys]
        return await self._store.get_many(keys, self._now()) if keys else {}

    # ---------------------------------------------------------------- calls of other processes

    def _wait(self, waiter: _Waiter) -> None:
        """Have a request wait for the call of another process, as long as it has patience."""
        self._waits += 1
        if waiter.turn_by < inf:
            after = max(0.0, waiter.turn_by - trio.current_time())
            self.send_after(after, _PatienceOver(waiter))

    @handles(_PatienceOver)
    async def end_waiting(self, message: _PatienceOver) -> None:
        """Fail a request that still waits when its patience has ended."""
        waiter = message.waiter
        if waiter.claim in self._elsewhere and waiter in self._waiting.get(waiter.claim, ()):
            waiter.slot.fail(
                TurnTooLate(
                    f"another process makes this call, and there is no response after "
                    f"{waiter.message.context.patience_s:g} s of patience; allow more"
                )
            )

    def _look_again(self, claims: Collection[str]) -> None:
        """Look again for responses of other processes, or claim the calls."""
        self._unread += [
            claim for claim in claims if claim in self._waiting and claim not in self._unread
        ]
        if self._unread and not self._is_reading:
            self._is_reading = True
            self.send_after(0.0, _LookUp())

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
            if response is not None and key is None:
                self._end_claims(keys[0], free=True)
            elif not miss.members and not miss.stored:
                self._end_claims(keys[0], free=False)
            return
        self._stored += 1
        cached = CachedResponse(for_storing(response), self._now())
        self._remember(key, cached)
        if self._store.is_usable and not self._is_over:
            self._unwritten[key] = cached
            self._ending.append((keys[0], key in keys))
            self._write_soon()

    def _end_claims(self, key: str, *, free: bool) -> None:
        self._elsewhere.end((key, key + _LATER), free=free)

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
        while self._unwritten or self._used or self._ending:
            cached, self._unwritten = self._unwritten, {}
            used, self._used = self._used, {}
            ending, self._ending = self._ending, []
            await self._store.put_many(cached, used, self._now())
            for key, is_found in ending:
                self._end_claims(key, free=not is_found)
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
            elsewhere=self._waits,
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
