"""A troupe for programs that run asyncio."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from decimal import Decimal
from math import inf
from typing import TYPE_CHECKING, Literal, TypeVar, final, overload

from .. import actors
from ..actors import CallContext, Request, Response, StreamPiece, Troupe, TroupeSettings
from ..doors import check_buffer
from ..runtime import RestartPolicy
from ..sync import BlockingTroupe
from ..sync.door import BlockingDoor
from .bridge import AsyncioDoor
from .opening import AsyncioOpening
from .stream import AsyncioStream
from .tools import with_tools_in_loop

if TYPE_CHECKING:
    from ..actors import (
        BatchApiStatistics,
        BatchingStatistics,
        Budget,
        CacheStatistics,
        CallPlan,
        CostStatistics,
        LaneShare,
        LimiterStatistics,
        Limits,
        Post,
        PromptCacheStatistics,
        Reading,
        RequestStatistics,
        ToolRun,
    )

T = TypeVar("T")
ResultT_co = TypeVar("ResultT_co", covariant=True)


def open_troupe(
    settings: TroupeSettings,
    *,
    restarts: RestartPolicy | None = None,
    drain_s: float = 10.0,
    seed: str | None = None,
) -> AbstractAsyncContextManager["AsyncioTroupe"]:
    """Open a troupe for asyncio, which runs in a Trio thread of its own.

        async with open_troupe(settings) as troupe:
            response = await troupe.complete(Request.of("Say hello.", model="gpt-5-nano"))

    Any number of event loops may use it at the same time. The observer, the transport and other
    functions of the settings are called in the Trio thread.

    Args:
        settings: the settings of the troupe.
        restarts: when a crashed actor is restarted, and when the crash ends the troupe instead;
            None for the default of `open_runtime`.
        drain_s: seconds that calls in flight may take to finish when the block is left.
        seed: seed of the random numbers for jitter, so that a test can repeat a run; None for a
            random seed.

    Raises:
        ValueError: see `cast_troupe`.
        RuntimeError: the current thread runs no loop of asyncio.
    """
    return AsyncioOpening(
        lambda: actors.open_troupe(settings, restarts=restarts, drain_s=drain_s, seed=seed),
        "troupe",
        AsyncioTroupe,
    )


@final
class AsyncioTroupe:
    """A troupe that tasks of asyncio call; `callsheet.aio.open_troupe` makes one.

    The methods are those of `Troupe`. A call raises, besides, `DoorClosed` if the troupe is closed
    or its Trio thread has ended. If the task of a call is cancelled, it ends at once, and the call
    is cancelled at the provider a moment later.

    Args:
        door: the calls to the Trio thread.
    """

    def __init__(self, door: AsyncioDoor[Troupe]) -> None:
        self._door = door

    def __repr__(self) -> str:
        return f"<AsyncioTroupe in {self._door.thread!r}>"

    @property
    def blocking(self) -> BlockingTroupe:
        """The same troupe for threads, such as those of FastAPI's endpoints that are not async."""
        return BlockingTroupe(BlockingDoor(self._door.thread))

    async def compose(
        self, topic: str, *, timeout: float = inf, post: str = "", lane: str = ""
    ) -> "Post":
        """Write a post; see `Troupe.compose`."""
        return await self._call(
            lambda troupe: troupe.compose(topic, timeout=timeout, post=post, lane=lane)
        )

    async def complete(
        self,
        request: Request[ResultT_co],
        *,
        timeout: float = inf,
        call: str = "",
        lane: str = "",
        context: CallContext | None = None,
    ) -> Response[ResultT_co]:
        """Make one call and wait for the complete response; see `Troupe.complete`."""
        return await self._call(
            lambda troupe: troupe.complete(
                request, timeout=timeout, call=call, lane=lane, context=context
            )
        )

    async def run_tools(
        self,
        request: Request[ResultT_co],
        *,
        max_rounds: int = 8,
        max_cost_usd: Decimal | str | int | None = None,
        max_parallel: int = 16,
        timeout: float = inf,
        call: str = "",
        lane: str = "",
    ) -> "ToolRun[ResultT_co]":
        """Call a model and the tools that it requests, until it answers; see `Troupe.run_tools`.

        Async tools run in the current event loop; others run in threads.
        """
        moved = with_tools_in_loop(request, self._door.bridge())
        return await self._call(
            lambda troupe: troupe.run_tools(
                moved,
                max_rounds=max_rounds,
                max_cost_usd=max_cost_usd,
                max_parallel=max_parallel,
                timeout=timeout,
                call=call,
                lane=lane,
            )
        )

    @overload
    def stream(
        self,
        request: Request[ResultT_co],
        *,
        timeout: float = inf,
        call: str = "",
        lane: str = "",
        context: CallContext | None = None,
        buffer: int = 64,
        events: Literal[False] = False,
    ) -> AsyncioStream[ResultT_co]: ...

    @overload
    def stream(
        self,
        request: Request[ResultT_co],
        *,
        timeout: float = inf,
        call: str = "",
        lane: str = "",
        context: CallContext | None = None,
        buffer: int = 64,
        events: bool,
    ) -> AsyncioStream[ResultT_co, StreamPiece]: ...

    def stream(
        self,
        request: Request[ResultT_co],
        *,
        timeout: float = inf,
        call: str = "",
        lane: str = "",
        context: CallContext | None = None,
        buffer: int = 64,
        events: bool = False,
    ) -> AsyncioStream[ResultT_co, StreamPiece]:
        """Make one call and receive the response piece by piece; see `Troupe.stream`.

            async with troupe.stream(request) as pieces:
                async for piece in pieces:
                    ...  # each Delta, and at the end the Response

        Leaving the block cancels the call. Iterating raises all errors of the call.
        """
        buffer = check_buffer(buffer)
        return AsyncioStream(
            self._door,
            lambda troupe: troupe.stream(
                request,
                timeout=timeout,
                call=call,
                lane=lane,
                context=context,
                buffer=buffer // 2,
                events=events,
            ),
            window=max(1, buffer - buffer // 2),
        )

    async def acknowledge(self, calls: Iterable[str]) -> None:
        """State that responses are stored elsewhere; see `Troupe.acknowledge`."""
        done = tuple(calls)
        await self._call(lambda troupe: troupe.acknowledge(done))

    async def request_statistics(self) -> "RequestStatistics":
        """Return the state of breakers, hedging, retries; see `Troupe.request_statistics`."""
        return await self._call(lambda troupe: troupe.request_statistics())

    async def limiter_statistics(self) -> "LimiterStatistics":
        """Return the state of each limit; see `Troupe.limiter_statistics`."""
        return await self._call(lambda troupe: troupe.limiter_statistics())

    async def batching_statistics(self) -> "BatchingStatistics":
        """Return how many requests shared calls; see `Troupe.batching_statistics`."""
        return await self._call(lambda troupe: troupe.batching_statistics())

    async def cache_statistics(self) -> "CacheStatistics":
        """Return the hits and misses of the cache; see `Troupe.cache_statistics`."""
        return await self._call(lambda troupe: troupe.cache_statistics())

    async def batch_api_statistics(self) -> "BatchApiStatistics":
        """Return the batches at the provider by phase; see `Troupe.batch_api_statistics`."""
        return await self._call(lambda troupe: troupe.batch_api_statistics())

    async def prompt_cache_statistics(self) -> "PromptCacheStatistics":
        """Return the use of the provider's prompt cache; see `Troupe.prompt_cache_statistics`."""
        return await self._call(lambda troupe: troupe.prompt_cache_statistics())

    async def costs(self) -> "CostStatistics":
        """Return the costs recorded in the ledger; see `Troupe.costs`."""
        return await self._call(lambda troupe: troupe.costs())

    async def reading(self) -> "Reading":
        """Return one reading of everything; see `Troupe.reading`."""
        return await self._call(lambda troupe: troupe.reading())

    async def explain(self, request: Request, *, lane: str = "") -> "CallPlan":
        """Estimate the route, cost and duration of a call; see `Troupe.explain`."""
        return await self._call(lambda troupe: troupe.explain(request, lane=lane))

    async def share(self, model: str, *, lane: str = "") -> "LaneShare":
        """Return the part of the limits that a lane has; see `Troupe.share`."""
        return await self._call(lambda troupe: troupe.share(model, lane=lane))

    async def change_limits(self, limits: "Limits") -> None:
        """Replace the limits; see `Troupe.change_limits`."""
        await self._call(lambda troupe: troupe.change_limits(limits))

    async def change_budgets(self, budgets: "Sequence[Budget]") -> None:
        """Replace the budgets; see `Troupe.change_budgets`."""
        await self._call(lambda troupe: troupe.change_budgets(budgets))

    async def _call(self, work: Callable[[Troupe], Awaitable[T]]) -> T:
        return await self._door.call(work)
