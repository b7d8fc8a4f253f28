"""Shared limits of the troupes of one process, for tests."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import final

import trio

from ...storage import StorageError
from .core import SharedLimits
from .exchange import LimitAsk, LimitGrant, trimmed

_NEWS_S = 1.0


@final
class MemoryLimitStore:
    """A store that a test can take away, and whose answers it can delay and lose.

    Args:
        name: what it is, for logs.
        clock: returns the time in seconds.

    Attributes:
        away: whether every question fails at once and is not heard.
        loses_answers: whether questions are heard, and their answers fail.
        delay_s: seconds that a question takes, half of them before it is heard.
        asked: the number of questions that were heard.
    """

    def __init__(
        self, name: str = "the shared memory", *, clock: Callable[[], float] = trio.current_time
    ) -> None:
        self.away = False
        self.loses_answers = False
        self.delay_s = 0.0
        self.asked = 0
        self._name = name
        self._clock = clock
        self._limits = SharedLimits()
        self._epochs = 1
        self._waiting = trio.Event()

    @property
    def name(self) -> str:
        """See `LimitStore`."""
        return self._name

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        """Open the store for the length of a block; several may have it open."""
        yield

    async def ask(self, ask: LimitAsk) -> LimitGrant:
        """Answer a question, in two halves of `delay_s`.

        Args:
            ask: what the process needs and reports.

        Raises:
            StorageError: the store is away, or loses its answers.
        """
        await trio.sleep(self.delay_s / 2)
        if self.away:
            raise StorageError(self._name, "it is away", "wait until it is back")
        self.asked += 1
        news = self._limits.news
        grant = self._limits.ask(trimmed(ask), self._clock(), f"memory-{self._epochs}")
        if self._limits.news != news:
            self._waiting.set()
            self._waiting = trio.Event()
        await trio.sleep(self.delay_s / 2)
        if self.loses_answers:
            raise StorageError(self._name, "its answer was lost", "ask again")
        return grant

    async def wait_for_news(self) -> bool:
        """See `LimitStore`."""
        with trio.move_on_after(_NEWS_S):
            await self._waiting.wait()
            return True
        return False

    def lose_state(self) -> None:
        """Forget everything, as a server does that was started again without its data."""
        self._limits = SharedLimits()
        self._epochs += 1
