"""The ways of running a workload, under the names by which they are compared.

This project: the troupe, with its usual settings.

Concurrency in waves, which two of the ways have in common.

The processor of the story: a queue, and batches of a fixed size or after a fixed time.

One blocking call after another, as a web service of threads runs them.

Concurrency as it is usually written first: a wave of calls, wait for all, the next wave.
"""

from collections import deque
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Literal, get_args

import attrs
import httpx
import trio

from ..actors import (
    Endpoint,
    Limits,
    Recipe,
    Request,
    StepCall,
    Troupe,
    TroupeSettings,
    Usage,
    open_troupe,
)
from .environment import CALL_TIMEOUT, Environment, Perform, SendRequest, Way, open_ask
from .execution import (
    BadAnswer,
    Execution,
    Item,
    ItemOutcome,
    PlainReply,
    gist,
    path_of,
    read_reply,
    write_body,
)
from .workloads import Workload

__all__ = [
    "LOOK_S",
    "MODES",
    "MOST_IN_A_BATCH",
    "WAYS",
    "WINDOW_S",
    "BatchProcessor",
    "Mode",
    "callsheet",
    "fixed_window",
    "perform_in_waves",
    "sequential",
    "staged",
]


@asynccontextmanager
async def callsheet(venue: Environment, workload: Workload) -> AsyncGenerator[Perform]:
    """Topics are composed, requests are completed; the provider sets no limit."""
    settings = TroupeSettings(
        endpoint=Endpoint(venue.base_url),
        limits=Limits(in_flight=workload.in_flight),
        recipe=workload.recipe,
        max_concurrent_posts=len(workload.items),
        transport=venue.transport,
    )
    async with open_troupe(settings, seed="compare") as troupe:

        async def perform(item: Item) -> ItemOutcome:
            return await _perform_with_troupe(troupe, item)

        yield perform


async def _perform_with_troupe(troupe: Troupe, item: Item) -> ItemOutcome:
    if isinstance(item, str):
        post = await troupe.compose(item)
        usage = Usage(post.stats.input_tokens, post.stats.output_tokens)
        return ItemOutcome(post.results, usage, post.stats.cost_usd)
    completion = await troupe.complete(item)
    answer = gist(completion.text, completion.embeddings)
    return ItemOutcome({"answer": answer}, completion.usage, completion.cost_usd)


async def perform_in_waves(item: Item, recipe: Recipe, ask: SendRequest) -> ItemOutcome:
    """Make all calls that can be made now, wait for all of them, and again."""
    performance = Execution(item, recipe)

    async def make(call: StepCall) -> None:
        performance.note(call, await ask(call.request))

    while wave := performance.ready():
        async with trio.open_nursery() as nursery:
            for call in wave:
                nursery.start_soon(make, call)
    return performance.outcome()


MOST_IN_A_BATCH = 10
WINDOW_S = 0.5
LOOK_S = 0.01


@attrs.define(eq=False)
class _QueuedRequest:
    """A request in the queue, and in the end its answer or its error."""

    request: Request
    answered: trio.Event = attrs.field(factory=trio.Event, init=False)
    reply: PlainReply | None = attrs.field(default=None, init=False)
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

    _ask: SendRequest
    _window_s: float = WINDOW_S
    _look_s: float = LOOK_S
    _queue: deque[_QueuedRequest] = attrs.field(factory=deque[_QueuedRequest], init=False)

    async def ask(self, request: Request) -> PlainReply:
        """Queue a request, and wait for its answer."""
        waiting = _QueuedRequest(request)
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

    async def _send(self, waiting: _QueuedRequest) -> None:
        try:
            waiting.reply = await self._ask(waiting.request)
        except (httpx.HTTPError, BadAnswer) as error:
            waiting.error = error


@asynccontextmanager
async def fixed_window(venue: Environment, workload: Workload) -> AsyncGenerator[Perform]:
    """All items through one processor, each in waves; window and look are at the venue's pace."""
    async with open_ask(venue, workload.in_flight) as ask, trio.open_nursery() as nursery:
        processor = BatchProcessor(ask, WINDOW_S * venue.time_scale, LOOK_S * venue.time_scale)
        nursery.start_soon(processor.run)

        async def perform(item: Item) -> ItemOutcome:
            return await perform_in_waves(item, workload.recipe, processor.ask)

        yield perform
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def sequential(venue: Environment, workload: Workload) -> AsyncGenerator[Perform]:
    """Each item in a thread, its calls one after another, each after those it needs.

    All threads share one client, which keeps a connection open for each of them. Threads need
    sockets and real time: `Environment.transport` does not reach them.
    """
    threads = trio.CapacityLimiter(workload.threads)
    limits = httpx.Limits(
        max_connections=workload.threads, max_keepalive_connections=workload.threads
    )
    with httpx.Client(
        base_url=venue.base_url, timeout=CALL_TIMEOUT, limits=limits, trust_env=False
    ) as client:

        async def perform(item: Item) -> ItemOutcome:
            # A thread that nobody waits for any more ends with the client, at its next call.
            return await trio.to_thread.run_sync(
                _perform, client, item, workload.recipe, limiter=threads, abandon_on_cancel=True
            )

        yield perform


def _perform(client: httpx.Client, item: Item, recipe: Recipe) -> ItemOutcome:
    performance = Execution(item, recipe)
    while calls := performance.ready():
        for call in calls:
            request = call.request
            response = client.post(path_of(request), json=write_body(request))
            performance.note(call, read_reply(response, request))
    return performance.outcome()


@asynccontextmanager
async def staged(venue: Environment, workload: Workload) -> AsyncGenerator[Perform]:
    """Each item in waves; items do not wait for each other's."""
    async with open_ask(venue, workload.in_flight) as ask:

        async def perform(item: Item) -> ItemOutcome:
            return await perform_in_waves(item, workload.recipe, ask)

        yield perform


Mode = Literal["sequential", "staged", "fixed_window", "callsheet"]
MODES: tuple[Mode, ...] = get_args(Mode)

WAYS: Mapping[Mode, Way] = {
    "sequential": sequential,
    "staged": staged,
    "fixed_window": fixed_window,
    "callsheet": callsheet,
}
