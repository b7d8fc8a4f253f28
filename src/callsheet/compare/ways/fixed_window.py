"""The processor of the story: a queue, and batches of a fixed size or after a fixed time."""

from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import attrs
import httpx
import trio

from ...actors import Request
from ..performance import BadAnswer, Outcome, Reply
from ..script import Item
from ..venue import Ask, Perform, Venue, open_ask
from ..workloads import Workload
from .waves import perform_in_waves

__all__ = ["LOOK_S", "MOST_IN_A_BATCH", "WINDOW_S", "BatchProcessor", "fixed_window"]

MOST_IN_A_BATCH = 10
WINDOW_S = 0.5
LOOK_S = 0.01


@attrs.define(eq=False)
class _Waiting:
    """A request in the queue, and in the end its answer or its error."""

    request: Request
    answered: trio.Event = attrs.field(factory=trio.Event, init=False)
    reply: Reply | None = attrs.field(default=None, init=False)
    error: Exception | None = attrs.field(default=None, init=False)


@attrs.define(eq=False)
class BatchProcessor:
    """Looks at its queue again and again, and sends what has gathered.

    A batch goes when it is full, or when the window has passed since the last batch went; its
    requests are sent at the same time. The next batch is not looked for before every request of
    this one is answered, because the scheduler of the story holds its lock while a batch runs.
    What the story's processor does wrong besides, such as errors handed out as if they were
    answers, bears on neither time nor cost and is left out.

    Args:
        ask: makes one call.
        window_s: seconds after which a batch goes that is not full.
        look_s: seconds between two looks at the queue.
    """

    _ask: Ask
    _window_s: float = WINDOW_S
    _look_s: float = LOOK_S
    _queue: deque[_Waiting] = attrs.field(factory=deque[_Waiting], init=False)

    async def ask(self, request: Request) -> Reply:
        """Queue a request, and wait for its answer."""
        waiting = _Waiting(request)
        self._queue.append(waiting)
        await waiting.answered.wait()
        if waiting.reply is None:
            raise waiting.error or AssertionError("answered with nothing")
        return waiting.reply

    async def run(self) -> None:
        """Send batches until cancelled."""
        last = trio.current_time()
        while True:
            await trio.sleep(self._look_s)
            now = trio.current_time()
            full = len(self._queue) >= MOST_IN_A_BATCH
            if full or (self._queue and now - last >= self._window_s):
                last = now
                await self._send_batch()

    async def _send_batch(self) -> None:
        size = min(MOST_IN_A_BATCH, len(self._queue))
        batch = [self._queue.popleft() for _ in range(size)]
        async with trio.open_nursery() as nursery:
            for waiting in batch:
                nursery.start_soon(self._send, waiting)
        for waiting in batch:
            waiting.answered.set()

    async def _send(self, waiting: _Waiting) -> None:
        try:
            waiting.reply = await self._ask(waiting.request)
        except (httpx.HTTPError, BadAnswer) as error:
            waiting.error = error


@asynccontextmanager
async def fixed_window(venue: Venue, workload: Workload) -> AsyncGenerator[Perform]:
    """All items through one processor, each in waves; window and look are at the venue's pace."""
    async with open_ask(venue, workload.in_flight) as ask, trio.open_nursery() as nursery:
        processor = BatchProcessor(ask, WINDOW_S * venue.time_scale, LOOK_S * venue.time_scale)
        nursery.start_soon(processor.run)

        async def perform(item: Item) -> Outcome:
            return await perform_in_waves(item, workload.recipe, processor.ask)

        yield perform
        nursery.cancel_scope.cancel()
