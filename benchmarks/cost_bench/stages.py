"""Measure the batcher and the cache alone: a fake provider responds without a network."""

import statistics
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from decimal import Decimal
from functools import partial
from pathlib import Path

import attrs
import trio

from callsheet import Actor, Ref, Request, Response, handles, open_runtime
from callsheet.actors import (
    BatcherActor,
    BatchLimits,
    CacheActor,
    CachePolicy,
    CallContext,
    Complete,
    ListStrategy,
    Usage,
)

__all__ = ["StageFigures", "measure_stages"]

_IDENTICAL = 1_000
_TURNS = 300
_PAUSE_S = 0.002  # between two lone requests: longer than the batcher's window


@attrs.frozen
class StageFigures:
    """The measurements.

    Args:
        lone_ms: milliseconds that the batcher adds to a lone request that could share a call.
        identical_calls: number of calls made for a thousand concurrent identical requests.
        identical_replies: number of replies to these requests.
        memory_us: microseconds from the ask to the reply for a cache hit in memory.
        disk_us: microseconds from the ask to the reply for a cache hit on disk.
    """

    lone_ms: float
    identical_calls: int
    identical_replies: int
    memory_us: float
    disk_us: float


class _Provider(Actor):
    """A fake provider stage, which replies at once or after a delay."""

    def __init__(self, calls: list[str], seconds: float = 0.0) -> None:
        self._calls = calls
        self._seconds = seconds

    @handles(Complete)
    async def complete(self, message: Complete) -> Response:
        self._calls.append(message.context.call)
        if self._seconds:
            await trio.sleep(self._seconds)
        return Response(
            text="x" * 2000,
            model=message.request.model,
            finish_reason="stop",
            usage=Usage(500, 500),
            cost_usd=Decimal("0.001"),
            embeddings=tuple((0.5,) for _ in message.request.inputs),
        )


def measure_stages() -> StageFigures:
    """Make all measurements."""
    lone_ms = trio.run(_lone_ms)
    calls, replies = trio.run(_identical)
    memory_us, disk_us = trio.run(_cache_us)
    return StageFigures(lone_ms, calls, replies, memory_us, disk_us)


def _call(prompt: str, *, cacheable: bool = False) -> Complete:
    return Complete(Request.of(prompt, model="m", cacheable=cacheable), CallContext(prompt))


@asynccontextmanager
async def _batcher(calls: list[str], seconds: float) -> AsyncGenerator[tuple[Ref, Ref]]:
    async with open_runtime() as runtime:
        provider = await runtime.spawn("provider", partial(_Provider, calls, seconds))
        lists = [ListStrategy("embedding", BatchLimits(max_size=2048))]
        yield provider, await runtime.spawn("batcher", partial(BatcherActor, provider, None, lists))


async def _lone_ms() -> float:
    """Return the milliseconds that the batcher adds: the difference of the medians."""
    async with _batcher([], 0.0) as (provider, batcher):
        found: dict[str, list[float]] = {"alone": [], "batcher": []}
        for number in range(_TURNS):
            for name, to in (("alone", provider), ("batcher", batcher)):
                request = Request.embedding(f"text {number}", model="m")
                found[name].append(await _seconds(to, Complete(request, CallContext("a"))))
                await trio.sleep(_PAUSE_S)
    medians = {name: statistics.median(times) for name, times in found.items()}
    return (medians["batcher"] - medians["alone"]) * 1000


async def _identical() -> tuple[int, int]:
    calls: list[str] = []
    replies = 0
    async with _batcher(calls, 0.5) as (_, batcher), trio.open_nursery() as nursery:

        async def ask() -> None:
            nonlocal replies
            await batcher.ask(_call("Hi", cacheable=True))
            replies += 1

        for _ in range(_IDENTICAL):
            nursery.start_soon(ask)
    return len(calls), replies


async def _cache_us() -> tuple[float, float]:
    """Return the microseconds of a hit in memory, and of a hit in a file of an earlier cache."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "answers.sqlite"
        calls: list[str] = []
        messages = [_call(f"prompt {number}", cacheable=True) for number in range(_TURNS)]

        async def take(policy: CachePolicy) -> list[float]:
            async with open_runtime() as runtime:
                provider = await runtime.spawn("provider", partial(_Provider, calls))
                cache = await runtime.spawn(
                    "cache", partial(CacheActor, provider, "scope", policy), concurrency=8
                )
                return [await _seconds(cache, message) for message in (*messages, *messages)]

        memory = (await take(CachePolicy(path=path)))[_TURNS:]
        disk = await take(CachePolicy(path=path, memory_bytes=0))
    if len(calls) != _TURNS:
        raise AssertionError(f"{len(calls)} calls were made for {_TURNS} different requests")
    return statistics.median(memory) * 1e6, statistics.median(disk) * 1e6


async def _seconds(to: Ref, message: Complete) -> float:
    start = time.perf_counter()
    await to.ask(message)
    return time.perf_counter() - start
