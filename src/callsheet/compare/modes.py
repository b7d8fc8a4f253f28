"""The modes of running a workload that are compared, by name.

- sequential: each item in a thread that makes one blocking call after another.
- staged: each item in waves; all calls that are ready run concurrently, then the next wave.
- fixed_window: a queue that sends batches of a fixed size, or after a fixed time.
- callsheet: this project, with its default settings.
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
from .environment import CALL_TIMEOUT, Environment, OpenMode, RunItem, SendRequest, open_plain_http
from .execution import (
    BadAnswer,
    Execution,
    Item,
    ItemOutcome,
    PlainReply,
    comparable_text,
    path_of,
    read_reply,
    write_body,
)
from .workloads import Workload


@asynccontextmanager
async def callsheet(environment: Environment, workload: Workload) -> AsyncGenerator[RunItem]:
    """Run items with a troupe: compose topics, complete requests. The provider has no limits."""
    settings = TroupeSettings(
        endpoint=Endpoint(environment.base_url),
        limits=Limits(in_flight=workload.in_flight),
        recipe=workload.recipe,
        max_concurrent_posts=len(workload.items),
        transport=environment.transport,
    )
    async with open_troupe(settings, seed="compare") as troupe:

        async def run_item(item: Item) -> ItemOutcome:
            return await _run_with_troupe(troupe, item)

        yield run_item


async def _run_with_troupe(troupe: Troupe, item: Item) -> ItemOutcome:
    if isinstance(item, str):
        post = await troupe.compose(item)
        usage = Usage(post.stats.input_tokens, post.stats.output_tokens)
        return ItemOutcome(post.results, usage, post.stats.cost_usd)
    completion = await troupe.complete(item)
    answer = comparable_text(completion.text, completion.embeddings)
    return ItemOutcome({"answer": answer}, completion.usage, completion.cost_usd)


async def run_in_waves(item: Item, recipe: Recipe, ask: SendRequest) -> ItemOutcome:
    """Run an item in waves: send all calls that are ready, wait for all of them, repeat.

    Args:
        item: the topic or the request.
        recipe: the steps of a post.
        ask: sends one request.
    """
    execution = Execution(item, recipe)

    async def make(call: StepCall) -> None:
        execution.record(call, await ask(call.request))

    while wave := execution.ready():
        async with trio.open_nursery() as nursery:
            for call in wave:
                nursery.start_soon(make, call)
    return execution.outcome()


MAX_BATCH_SIZE = 10
WINDOW_S = 0.5
POLL_S = 0.01


@attrs.define(eq=False)
class _QueuedRequest:
    """A request in the queue; later also its reply or its error."""

    request: Request
    answered: trio.Event = attrs.field(factory=trio.Event, init=False)
    reply: PlainReply | None = attrs.field(default=None, init=False)
    error: Exception | None = attrs.field(default=None, init=False)


@attrs.define(eq=False)
class BatchProcessor:
    """Polls its queue, and sends the queued requests in batches.

    A batch is sent when it is full, or when the window has passed since the previous batch was
    sent; its requests are sent concurrently. The next batch waits until every request of this one
    has its reply: the usual implementation of this pattern holds a lock while a batch runs.

    Args:
        ask: sends one request.
        window_s: seconds after which a batch is sent although it is not full.
        poll_s: seconds between two checks of the queue.
    """

    _ask: SendRequest
    _window_s: float = WINDOW_S
    _poll_s: float = POLL_S
    _queue: deque[_QueuedRequest] = attrs.field(factory=deque[_QueuedRequest], init=False)

    async def ask(self, request: Request) -> PlainReply:
        """Queue a request, wait for its reply, and return it.

        Raises:
            httpx.HTTPError: the request failed.
            BadAnswer: the response cannot be used.
        """
        waiting = _QueuedRequest(request)
        self._queue.append(waiting)
        await waiting.answered.wait()
        if waiting.reply is None:
            raise waiting.error or AssertionError("neither a reply nor an error")
        return waiting.reply

    async def run(self) -> None:
        """Poll the queue and send batches until cancelled."""
        last = trio.current_time()
        while True:
            await trio.sleep(self._poll_s)
            now = trio.current_time()
            full = len(self._queue) >= MAX_BATCH_SIZE
            if full or (self._queue and now - last >= self._window_s):
                last = now
                await self._send_batch()

    async def _send_batch(self) -> None:
        size = min(MAX_BATCH_SIZE, len(self._queue))
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
async def fixed_window(environment: Environment, workload: Workload) -> AsyncGenerator[RunItem]:
    """Run each item in waves; one processor batches the calls of all items.

    The window and the poll interval are multiplied by the environment's time scale.
    """
    async with (
        open_plain_http(environment, workload.in_flight) as ask,
        trio.open_nursery() as nursery,
    ):
        processor = BatchProcessor(
            ask, WINDOW_S * environment.time_scale, POLL_S * environment.time_scale
        )
        nursery.start_soon(processor.run)

        async def run_item(item: Item) -> ItemOutcome:
            return await run_in_waves(item, workload.recipe, processor.ask)

        yield run_item
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def sequential(environment: Environment, workload: Workload) -> AsyncGenerator[RunItem]:
    """Run each item in a thread that makes its calls one after another.

    All threads share one client, which keeps one connection open for each thread. Threads need
    sockets and real time, so this mode ignores `Environment.transport`.
    """
    threads = trio.CapacityLimiter(workload.threads)
    limits = httpx.Limits(
        max_connections=workload.threads, max_keepalive_connections=workload.threads
    )
    with httpx.Client(
        base_url=environment.base_url, timeout=CALL_TIMEOUT, limits=limits, trust_env=False
    ) as client:

        async def run_item(item: Item) -> ItemOutcome:
            # An abandoned thread ends at its next call, because the client is closed by then.
            return await trio.to_thread.run_sync(
                _run_in_thread,
                client,
                item,
                workload.recipe,
                limiter=threads,
                abandon_on_cancel=True,
            )

        yield run_item


def _run_in_thread(client: httpx.Client, item: Item, recipe: Recipe) -> ItemOutcome:
    execution = Execution(item, recipe)
    while calls := execution.ready():
        for call in calls:
            request = call.request
            response = client.post(path_of(request), json=write_body(request))
            execution.record(call, read_reply(response, request))
    return execution.outcome()


@asynccontextmanager
async def staged(environment: Environment, workload: Workload) -> AsyncGenerator[RunItem]:
    """Run each item in waves; items do not wait for each other."""
    async with open_plain_http(environment, workload.in_flight) as ask:

        async def run_item(item: Item) -> ItemOutcome:
            return await run_in_waves(item, workload.recipe, ask)

        yield run_item


Mode = Literal["sequential", "staged", "fixed_window", "callsheet"]
MODES: tuple[Mode, ...] = get_args(Mode)

OPEN_MODE: Mapping[Mode, OpenMode] = {
    "sequential": sequential,
    "staged": staged,
    "fixed_window": fixed_window,
    "callsheet": callsheet,
}
