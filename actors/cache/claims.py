"""Single-flight over processes: one of them makes a call, the others wait for its response.

A process claims the key of a request before it makes the call, renews the claim meanwhile, and ends
it when the response is stored or there is none. A claim that is not renewed ends after 10 seconds,
so that the requests that wait for a process that died go on.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from math import inf
from typing import Literal, Protocol, final

import attrs
import trio

from .store import CacheStore, FailOpenStore

LEASE_S = 10.0
"""Seconds after which a claim that is not renewed ends."""

FREE_S = 3.0
"""Seconds for which all may make a call whose response cannot be shared."""

_RENEW_S = 3.0
_POLL_S = 1.0  # how late a response may be found if the hint was lost
_GIVE_BACK_S = 1.0  # for the claims of a process that ends

ClaimState = Literal["mine", "stored", "elsewhere", "free"]
"""This process makes the call; there is a response; another process makes it; all may make it."""


@attrs.frozen
class ClaimAsk:
    """A call that a process wants to make.

    Args:
        claim: what it claims: identical calls have the same.
        keys: the keys under which a response may be stored meanwhile.
    """

    claim: str
    keys: tuple[str, ...]


class CallClaims(Protocol):
    """The claims of all processes that share a cache. Each method may raise `StorageError`.

    To repeat a method does no harm.
    """

    async def claim(self, asked: Sequence[ClaimAsk]) -> Sequence[ClaimState]:
        """Claim calls that no other process makes, and that have no response in the store."""
        ...

    async def renew(self, claims: Sequence[str]) -> None:
        """Hold claims of this process for 10 more seconds, also if they were lost meanwhile."""
        ...

    async def release(self, claims: Sequence[str], *, free: bool) -> None:
        """End claims of this process.

        Args:
            claims: the claims to end; those of other processes are left as they are.
            free: whether all that wait shall go on, because the response cannot be shared. If not,
                one of them claims the call if there is no response.
        """
        ...

    async def wait_for_ends(self) -> Collection[str]:
        """Return claims for which others wait, and that have ended; none after a second.

        Some may be missed.
        """
        ...


class SharedCache(CacheStore, CallClaims, Protocol):
    """A store of responses, and the claims of calls, that processes share."""

    def session(self) -> AbstractAsyncContextManager[None]:
        """Hold the connection for the length of a block, in which all else is used."""
        ...


@attrs.define
class _Claim:
    owner: str
    until: float
    is_awaited: bool = False


@final
class ClaimTable:
    """The claims of all processes. Pure (R14); the script of `ValkeyCache` does the same."""

    def __init__(self) -> None:
        self._claims: dict[str, _Claim] = {}  # the owner "" stands for all

    def __len__(self) -> int:
        return len(self._claims)

    def __repr__(self) -> str:
        return f"<ClaimTable {len(self)} claims>"

    def claim(self, claim: str, owner: str, now: float) -> ClaimState:
        """Claim a call.

        Args:
            claim: what is claimed.
            owner: the name of the process that asks.
            now: the time in seconds.

        Returns:
            "mine", "elsewhere" or "free".
        """
        held = self._held(claim, now)
        if held is None or held.owner == owner:
            is_awaited = held is not None and held.is_awaited
            self._claims[claim] = _Claim(owner, now + LEASE_S, is_awaited)
            return "mine"
        if not held.owner:
            return "free"
        held.is_awaited = True
        return "elsewhere"

    def renew(self, claim: str, owner: str, now: float) -> None:
        """Hold a claim of the owner for longer; claim it again if nothing is known of it."""
        held = self._held(claim, now)
        if held is None:
            self._claims[claim] = _Claim(owner, now + LEASE_S)
        elif held.owner == owner:
            held.until = now + LEASE_S

    def release(self, claim: str, owner: str, now: float, *, free: bool) -> bool:
        """End a claim of the owner; see `CallClaims.release`.

        Returns:
            Whether others wait for it.
        """
        held = self._held(claim, now)
        if held is None or held.owner != owner:
            return False
        if free:
            self._claims[claim] = _Claim("", now + FREE_S)
        else:
            del self._claims[claim]
        return held.is_awaited

    def _held(self, claim: str, now: float) -> _Claim | None:
        held = self._claims.get(claim)
        if held is not None and held.until <= now:
            del self._claims[claim]
            return None
        return held


@final
class CallsElsewhere:
    """The claims of one process, and those of other processes that requests here wait for.

    Its two tasks, `keep` and `watch`, run as long as it is used. While the store is away it claims
    nothing; requests that wait already go on by themselves when it has been away for 10 seconds.

    Args:
        claims: the claims of all processes; None if nothing is shared, and then all calls are free.
        store: the same store, which knows whether it can be used.
        look_again: called with awaited claims that may have ended, or are to be given up.
    """

    def __init__(
        self,
        claims: CallClaims | None,
        store: FailOpenStore,
        look_again: Callable[[Collection[str]], None],
    ) -> None:
        self._claims = claims
        self._store = store
        self._look_again = look_again
        self._mine: set[str] = set()
        self._ending: dict[str, bool] = {}  # claim: whether it is free for all
        self._awaited: set[str] = set()
        self._changed = trio.Event()  # in what this process claims
        self._is_awaiting = trio.Event()
        self._heard_at = -inf  # when the store last answered

    def __repr__(self) -> str:
        return f"<CallsElsewhere {len(self._mine)} here, {len(self._awaited)} elsewhere>"

    def __contains__(self, claim: str) -> bool:
        """Return whether requests here wait for a call of another process."""
        return claim in self._awaited

    async def claim(self, asked: Sequence[ClaimAsk]) -> Mapping[str, ClaimState]:
        """Claim calls, and await those that other processes make.

        Returns:
            The state of each claim. While the store cannot be used, calls are free, and those of
            other processes are awaited until it has been away for 10 seconds.
        """
        claims = self._claims
        if claims is None or not asked:
            return {}
        for one in asked:
            self._ending.pop(one.claim, None)
        states = await self._store.attempt(lambda: claims.claim(asked))
        found: dict[str, ClaimState]
        if states is None:
            is_over = trio.current_time() - self._heard_at >= LEASE_S
            awaited = () if is_over else self._awaited
            found = {one.claim: "elsewhere" if one.claim in awaited else "free" for one in asked}
        else:
            self._heard_at = trio.current_time()
            found = {one.claim: state for one, state in zip(asked, states, strict=True)}
        for claim, state in found.items():
            if state == "elsewhere":
                self._awaited.add(claim)
                self._is_awaiting.set()
            else:
                self._awaited.discard(claim)
            if state == "mine":
                self._mine.add(claim)
                self._changed.set()
        return found

    def forget(self, claim: str) -> None:
        """Await a claim no longer."""
        self._awaited.discard(claim)

    def end(self, claims: Iterable[str], *, free: bool) -> None:
        """End claims of this process a moment later; see `CallClaims.release`."""
        for claim in claims:
            if claim in self._mine:
                self._mine.discard(claim)
                self._ending[claim] = free
                self._changed.set()

    async def keep(self) -> None:
        """Renew the claims of this process, and end those whose calls have ended."""
        if (claims := self._claims) is None:
            return
        renew_at = trio.current_time() + _RENEW_S
        while True:
            with trio.move_on_at(renew_at if self._mine else inf):
                await self._changed.wait()
            self._changed = trio.Event()
            await self._end_all(claims)
            if trio.current_time() >= renew_at:
                if self._mine:
                    await self._store.attempt(partial(claims.renew, list(self._mine)))
                is_kept = self._store.is_usable
                renew_at = trio.current_time() + (_RENEW_S if is_kept else _POLL_S)

    async def watch(self) -> None:
        """Look again for responses of other processes: at a hint, and each second."""
        if (claims := self._claims) is None:
            return
        while True:
            if not self._awaited:
                self._is_awaiting = trio.Event()
                await self._is_awaiting.wait()
            polled_at = trio.current_time() + _POLL_S
            while self._awaited and trio.current_time() < polled_at:
                with trio.move_on_at(polled_at):
                    ended = await self._store.attempt(claims.wait_for_ends)
                    if ended is None:
                        await trio.sleep_until(polled_at)
                    elif now := self._awaited.intersection(ended):
                        self._look_again(now)
            # A server that was away may have lost the claims: until the lease is over, let their
            # processes claim them again.
            silent_s = trio.current_time() - self._heard_at
            if (self._store.is_usable and silent_s < _RENEW_S) or silent_s >= LEASE_S:
                self._look_again(frozenset(self._awaited))

    async def close(self) -> None:
        """End all claims of this process, if that takes no more than a second."""
        self.end(list(self._mine), free=False)
        if self._claims is not None:
            with trio.move_on_after(_GIVE_BACK_S):
                await self._end_all(self._claims)

    async def _end_all(self, claims: CallClaims) -> None:
        for free in (False, True):
            ending = [claim for claim, is_free in self._ending.items() if is_free is free]
            for claim in ending:
                del self._ending[claim]
            if ending:
                await self._store.attempt(partial(claims.release, ending, free=free))
