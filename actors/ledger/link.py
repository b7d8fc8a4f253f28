"""The link of a process's accounts to the store of shared budgets: who asks, when, and what if not.

A call that a shared budget concerns is sent when it is in the ledger of the process and the store
has granted it. All that wait share one exchange, and what has ended goes along with it, or a moment
later. While the store is away, such calls are held: nothing is spent that others may have spent.
"""

import secrets
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import islice
from math import inf
from typing import TYPE_CHECKING, final

import trio

from callsheet.runtime import get_logger

from ..errors import CallFailed
from ..storage import DamagedFile, StorageError
from ..valkey import UnsuitableServer
from .refusals import store_unavailable
from .shared import Attempt, BudgetShare, CellNeed, CellTotal, LedgerReport

if TYPE_CHECKING:
    from .shared import LedgerStore

_SOON_S = 0.01  # for which the end of a call waits for the next reservation
_BEAT_S = 1.0  # between two exchanges of a process that has nothing to say
_HOLD_S = 5.0  # for which calls wait for a store that is away, such as one that is restarted
_LONGEST_DELAY_S = 1.0  # between two tries
_MOST_WATCHED = 500
_MOST_BEAT = 50
_LEAVE_S = 1.0
_log = get_logger("callsheet.actors")


@final
class LedgerLink:
    """Keeps the accounts of a process in step with the store of shared budgets.

    Args:
        store: the store of the budgets.
        commit: runs a commit of the accounts whose report has all cells, or what has changed.
        waits: whether calls wait until the store is back, however long it is away; else they fail
            when it has been away for 5 seconds.
        process: the name of this process, which no other one has; by default a random one.

    Attributes:
        share: what this process has to say, and what it has heard.
        reports: of the commits; taken in before the next exchange.
        is_needed: whether there are budgets that can be shared.
    """

    def __init__(
        self,
        store: "LedgerStore",
        commit: Callable[[bool], Awaitable[None]],
        *,
        waits: bool = False,
        process: str = "",
    ) -> None:
        self.share = BudgetShare(process or secrets.token_hex(12))
        self.reports: deque[LedgerReport] = deque()
        self.is_needed = False
        self._store = store
        self._waits = waits
        self._commit = commit
        self._lock = trio.Lock()  # held by the task that asks
        self._news = trio.Event()
        self._is_checked = False
        self._unusable: StorageError | None = None  # until it is another server
        self._error: StorageError | None = None  # of the last exchange
        self._away_since = inf
        self._retry_at = -inf
        self._delay_s = 0.0

    def __repr__(self) -> str:
        return f"<LedgerLink to {self._store.name}: {self.share!r}>"

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        """Open the store for the length of a block.

        Raises:
            UnsuitableServer: there are budgets, and the store may lose them.
        """
        async with self._store.open():
            if self.is_needed:
                with suppress(StorageError):
                    await self._check()
                if self._unusable is not None:
                    raise self._unusable
            yield

    def notify(self) -> None:
        """Have `keep` report soon."""
        self._news.set()

    async def keep(self) -> None:
        """Report what has ended, and that the process lives, until it is cancelled."""
        beat_at = _now()
        while True:
            with trio.move_on_at(beat_at):
                await self._news.wait()
            if self._news.is_set():
                await trio.sleep(_SOON_S)
            self._news = trio.Event()
            if beat_at > _now() and not self._has_changes:
                continue
            beat_at = _now() + _BEAT_S
            if self.is_needed:
                with suppress(StorageError):
                    await self._report()

    async def leave(self, *, is_last: bool) -> None:
        """Report for the last time, if the store answers.

        Args:
            is_last: whether no other process uses the ledger now.
        """
        if not self.is_needed or self._error is not None:
            return
        with trio.move_on_after(_LEAVE_S), suppress(StorageError):
            async with self._lock:
                if is_last:
                    await self._commit(True)  # noqa: FBT003  # a callback has no names
                await self._exchange()
                while self.share.has_changes:
                    await self._exchange()
                await self._exchange(leaves=True, is_last=is_last)

    async def confirm(self, attempts: Sequence[Attempt]) -> list[CellNeed | CallFailed | None]:
        """Wait until the store has decided on attempts that are in the ledger.

        Args:
            attempts: what waits for a verdict.

        Returns:
            For each attempt None if it may be sent, the need that its cell has no room for, or the
            error of a store that does not answer.
        """
        share = self.share
        try:
            while True:
                async with self._lock:
                    self._take()
                    waiting = [share.is_undecided(attempt) for attempt in attempts]
                    if not any(waiting):
                        return [share.refusal(attempt) for attempt in attempts]
                    if (error := self._given_up()) is not None:
                        return [
                            error if is_waiting else share.refusal(attempt)
                            for attempt, is_waiting in zip(attempts, waiting, strict=True)
                        ]
                    next_at = self._retry_at
                    if next_at <= _now():
                        with suppress(StorageError):
                            next_at = _now() + await self._exchange()
                await trio.sleep_until(max(next_at, self._retry_at))
        finally:
            for attempt in attempts:
                share.refusal(attempt)

    async def refresh(self, cells: Sequence[str]) -> dict[str, CellTotal]:
        """Return the totals of cells, as new as the store has them if it answers.

        Args:
            cells: the names of the cells.
        """
        if self._retry_at <= _now():
            with trio.move_on_after(_LEAVE_S), suppress(StorageError):
                async with self._lock:
                    await self._exchange(cells[:_MOST_WATCHED])
        known = self.share.totals
        return {cell: known[cell] for cell in cells if cell in known}

    # ----------------------------------------------------------------

    @property
    def _has_changes(self) -> bool:
        return bool(self.reports) or self.share.has_changes

    async def _report(self) -> None:
        # The totals that were not heard of for longest, for the states of budgets.
        watched = tuple(islice(self.share.totals, _MOST_BEAT))
        while True:
            async with self._lock:  # between two questions, calls may ask
                if self._retry_at > _now():
                    return
                await self._exchange(watched)
            if not self.share.has_changes:
                return
            watched = ()

    def _take(self) -> None:
        while self.reports:
            self.share.take(self.reports.popleft())

    async def _exchange(
        self, watched: Sequence[str] = (), *, leaves: bool = False, is_last: bool = False
    ) -> float:
        """Ask the store; return the seconds until it decides.

        Raises:
            StorageError: there is no answer.
        """
        share = self.share
        try:
            if not self._is_checked:
                await self._check()
            if share.must_report_all or share.unverified is not None:
                await self._commit(share.must_report_all)
            self._take()
            if share.is_copy:
                raise DamagedFile(
                    "the ledger",
                    "it is a copy of a ledger that has reported to the store of shared budgets",
                    "use the original, or begin a new ledger",
                )
            ask = share.question(watched, leaves=leaves, is_last=is_last)
            answer = await self._store.ask(ask)
        except StorageError as error:
            self._failed(error)
            raise
        share.answered(ask, answer)
        self._succeeded()
        return answer.opens_in_s

    async def _check(self) -> None:
        """Check the store, once.

        Raises:
            StorageError: it is not suitable, or away.
        """
        try:
            await self._store.check()
        except UnsuitableServer as error:
            self._unusable = error
            raise
        self._is_checked, self._unusable = True, None

    def _given_up(self) -> CallFailed | None:
        """Return the error of a call that does not wait any longer for the store."""
        error = self._unusable
        if error is None and not self._waits and _now() - self._away_since >= _HOLD_S:
            error = self._error
        return None if error is None else store_unavailable(error)

    def _failed(self, error: StorageError) -> None:
        self._is_checked = False  # it may be another server when it is back
        self._unusable = error if isinstance(error, UnsuitableServer | DamagedFile) else None
        if self._error is None:
            self._away_since = _now()
            _log.warning("shared_budgets_unavailable", store=self._store.name, error=str(error))
        self._error = error
        self._delay_s = min(2 * self._delay_s or 0.05, _LONGEST_DELAY_S)
        # Another part for each process, so that not all of them come back at once.
        part = int.from_bytes(self.share.process.encode()[:2]) / 2**16
        self._retry_at = _now() + self._delay_s * (1 + part) / 2

    def _succeeded(self) -> None:
        if self._error is not None:
            _log.warning("shared_budgets_back", store=self._store.name)
        self._error, self._away_since, self._retry_at, self._delay_s = None, inf, -inf, 0.0


def _now() -> float:
    return trio.current_time()
