"""Shared budgets in memory, for troupes of one process: tests of programs, and of Callsheet."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import final

import trio

from ...storage import StorageError
from .core import SharedBudgets
from .exchange import LedgerAnswer, LedgerAsk


@final
class MemoryLedgerStore:
    """Shared budgets in memory.

    Args:
        clock: returns the time in seconds.
        delay_s: seconds that each of the two ways of an exchange takes.

    Attributes:
        is_away: whether every question fails, which a test can arrange.
        lost_answers: how many of the next questions arrive while their answers are lost.
        asked: how many questions have arrived.
    """

    def __init__(
        self, clock: Callable[[], float] = trio.current_time, *, delay_s: float = 0.0
    ) -> None:
        self.is_away = False
        self.lost_answers = 0
        self.asked = 0
        self._clock = clock
        self._delay_s = delay_s
        self._budgets = SharedBudgets()
        self._epochs = 0

    @property
    def name(self) -> str:
        """See `LedgerStore`."""
        return "the shared memory"

    def lose(self) -> None:
        """Lose everything, as a server that keeps nothing on disk when it is restarted."""
        self._budgets = SharedBudgets()

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        """See `LedgerStore`."""
        yield

    async def check(self) -> None:
        """See `LedgerStore`."""
        await trio.lowlevel.checkpoint()
        self._check()

    async def ask(self, ask: LedgerAsk) -> LedgerAnswer:
        """See `LedgerStore`."""
        await trio.sleep(self._delay_s)
        self._check()
        self.asked += 1
        if not self._budgets.epoch:
            self._epochs += 1
        answer = self._budgets.ask(ask, self._clock(), f"memory-{self._epochs}")
        await trio.sleep(self._delay_s)
        self._check()
        if self.lost_answers:
            self.lost_answers -= 1
            raise StorageError(self.name, "the answer was lost", "ask again")
        return answer

    def _check(self) -> None:
        if self.is_away:
            raise StorageError(self.name, "it is away", "bring it back")
