"""Asks the store of shared limits, for one limiter, and goes on without it while it is away."""

from collections.abc import Callable
from random import Random
from typing import Protocol, final

import attrs
import trio

from ...runtime import get_logger
from ..storage import StorageError
from .leased_limits import LeasedLimits
from .shared import LimitAsk, LimitGrant, LimitStore

_log = get_logger("callsheet.limits")

_AWAY_S = 0.5  # without an answer, after which the store is away
_FIRST_RETRY_S, _LAST_RETRY_S = 0.05, 1.0
_SPREAD_S = 0.2  # over which processes lease again when the store is back
_LEAVE_S = 0.5  # that a process spends on saying that it ends


@attrs.frozen(eq=False)
class SharedLimiting:
    """What a limiter shares with those of other processes. It outlives the actor (R2).

    Args:
        store: the store of the limits.
        divides: whether the limits are divided among the processes while the store is away;
            otherwise calls wait.
        leased: what this process has leased.
    """

    store: LimitStore
    divides: bool
    leased: LeasedLimits


class LeaseKeeping(Protocol):
    """Decides what is asked, and applies what is granted; see `LeaseKeeper`."""

    leased: LeasedLimits

    def due_at(self, now: float) -> float:
        """Return when the next question is to be asked."""
        ...

    def ask(self, now: float) -> LimitAsk | None:
        """Return the question to ask, the last one again if it has no answer; None for none."""
        ...

    def granted(self, grant: LimitGrant, now: float) -> None:
        """Apply the answer to the last question."""
        ...

    def heard(self, *, is_hint: bool) -> None:
        """Record that another process may have refused calls or given places back."""
        ...

    def divide(self, phase: float, now: float) -> None:
        """Go on without the store."""
        ...

    def leave(self, now: float) -> LimitAsk:
        """Return the last question, with which the process ends."""
        ...


@final
class LeaseExchange:
    """Exchanges questions and grants with the store, one at a time.

    Args:
        shared: the store, and what was leased so far.
        keeper: decides what is asked, and applies what is granted.
        random: the source of random delays.
        wake: called when calls may be admitted, or wait for something else.
        limits: which limits these are, for logs.
    """

    def __init__(
        self,
        shared: SharedLimiting,
        keeper: LeaseKeeping,
        random: Random,
        wake: Callable[[], None],
        *,
        limits: str = "of the provider",
    ) -> None:
        self.keeper = keeper
        self._limits = limits
        self._store = shared.store
        self._divides = shared.divides
        self._random = random
        self._wake = wake
        self._poked = trio.Event()
        self._sleeps_until = float("-inf")  # the exchange wakes by itself then

    def poke(self) -> None:
        """Look whether something is to be asked earlier: calls have come, ended or been refused."""
        now = trio.current_time()
        if self._sleeps_until > now and self.keeper.due_at(now) < self._sleeps_until:
            self._sleeps_until = now
            self._poked.set()

    async def run(self) -> None:
        """Ask whenever something is due, for ever."""
        keeper = self.keeper
        while True:
            now = trio.current_time()
            due_at = keeper.due_at(now)
            ask = keeper.ask(now) if due_at <= now else None
            if ask is not None:
                keeper.granted(await self._answer(ask), trio.current_time())
                self._wake()
                continue
            self._poked = trio.Event()
            self._sleeps_until = due_at if due_at > now else keeper.due_at(now)
            with trio.move_on_at(self._sleeps_until):
                await self._poked.wait()
            self._sleeps_until = float("-inf")

    async def listen(self) -> None:
        """Ask when other processes have news, for ever."""
        while True:
            is_hint = await self._store.wait_for_news()
            self.keeper.heard(is_hint=is_hint)
            self.poke()

    async def leave(self) -> None:
        """Return what is leased: this process ends."""
        leased = self.keeper.leased
        if not leased.epoch or leased.is_away:
            return
        with trio.move_on_after(_LEAVE_S) as scope:
            scope.shield = True
            try:
                if leased.asked is not None:
                    self.keeper.granted(
                        await self._store.ask(leased.asked.again(trio.current_time())),
                        trio.current_time(),
                    )
                await self._store.ask(self.keeper.leave(trio.current_time()))
            except StorageError as error:
                _log.debug("shared_limits_not_left", store=self._store.name, reason=str(error))

    # ----------------------------------------------------------------

    async def _answer(self, ask: LimitAsk) -> LimitGrant:
        """Return the answer to a question, which is asked until there is one."""
        keeper, leased = self.keeper, self.keeper.leased
        asked_at, delay_s = trio.current_time(), _FIRST_RETRY_S
        while True:
            try:
                grant = await self._store.ask(ask)
                break
            except StorageError as error:
                if trio.current_time() - asked_at >= _AWAY_S:
                    self._go_on_without(error)
            await trio.sleep(delay_s * self._random.uniform(0.5, 1.0))
            delay_s = min(_LAST_RETRY_S, 2 * delay_s)
            now = trio.current_time()
            again = keeper.ask(now)
            ask = ask if again is None else again
        if not leased.is_away:
            return grant
        return await self._come_back(grant)

    def _go_on_without(self, error: StorageError) -> None:
        leased, store = self.keeper.leased, self._store.name
        if not leased.is_away:
            leased.is_away = True
            waits = not (self._divides and leased.processes)
            _log.warning(
                "shared_limits_unavailable",
                limits=self._limits,
                store=store,
                reason=error.reason,
                remedy=error.remedy,
                goes_on="waits" if waits else f"with 1/{leased.processes} of each limit",
            )
            if self._divides:
                now = trio.current_time()
                self.keeper.divide(self._random.random(), now)
                self._wake()

    async def _come_back(self, grant: LimitGrant) -> LimitGrant:
        """Lease again, not at the same time as all other processes."""
        keeper, leased = self.keeper, self.keeper.leased
        leased.is_away = False
        _log.warning("shared_limits_back", limits=self._limits, store=self._store.name)
        if leased.is_divided and leased.asked is not None and not leased.asked.reports_use:
            keeper.granted(grant, trio.current_time())
            await trio.sleep(_SPREAD_S * self._random.random())
            ask = keeper.ask(trio.current_time())
            if ask is not None:
                return await self._answer(ask)
        return grant
