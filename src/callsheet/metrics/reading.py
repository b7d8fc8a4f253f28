"""Reads what the actors of a troupe report, by messages to them."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import attrs
import trio

from ..actors import (
    BatchApiStatistics,
    BatchingStatistics,
    CacheStatistics,
    CostStatistics,
    LimiterStatistics,
    PromptCacheStatistics,
    RequestStatistics,
    Troupe,
)
from ..runtime import AskFailed, Runtime, RuntimeSnapshot

READ_S = 2.0
"""Seconds that an actor may take to report. A scrape of Prometheus ends after ten by default."""


@attrs.frozen(kw_only=True)
class StageReports:
    """What a troupe and its runtime report at one moment.

    A part is None if the troupe has no such stage, or if the stage did not report within `READ_S`.

    Args:
        tree: the tree of actors.
        limiter: the limits and the calls that wait.
        requests: breakers, hedges and connections.
        batching: calls that are shared.
        cache: hits, misses and the content of the cache.
        batches: the batches at the provider.
        prompt_cache: the stage of the provider's cache.
        costs: the sums of the ledger.
    """

    tree: RuntimeSnapshot
    limiter: LimiterStatistics | None = None
    requests: RequestStatistics | None = None
    batching: BatchingStatistics | None = None
    cache: CacheStatistics | None = None
    batches: BatchApiStatistics | None = None
    prompt_cache: PromptCacheStatistics | None = None
    costs: CostStatistics | None = None


async def read_stages(runtime: Runtime, troupe: Troupe) -> StageReports:
    """Ask each stage of a troupe for its statistics, all at the same time.

    The statistics are urgent messages, so a stage answers them also while its mailbox is full.

    Args:
        runtime: the runtime of the troupe.
        troupe: the troupe to read.
    """
    found: dict[str, Any] = {}

    async def ask(part: str, report: Callable[[], Awaitable[object]]) -> None:
        with trio.move_on_after(READ_S), suppress(AskFailed):  # it has crashed, or has stopped
            found[part] = await report()

    async with trio.open_nursery() as nursery:
        start = nursery.start_soon
        start(ask, "limiter", troupe.limiter_statistics)
        start(ask, "requests", troupe.request_statistics)
        start(ask, "batching", troupe.batching_statistics)
        if troupe.cache is not None:
            start(ask, "cache", troupe.cache_statistics)
        if troupe.batches is not None:
            start(ask, "batches", troupe.batch_api_statistics)
        if troupe.prompt_cache is not None:
            start(ask, "prompt_cache", troupe.prompt_cache_statistics)
        if troupe.ledger is not None:
            start(ask, "costs", troupe.costs)
    return StageReports(tree=runtime.snapshot(), **found)
