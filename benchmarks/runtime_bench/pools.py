"""Measure a pool beside a bare Trio channel with as many readers."""

from collections.abc import Awaitable, Callable
from functools import partial

import attrs
import trio
import trio.testing

from bench_kit.figures import Figure
from bench_kit.sampling import alternate, cpu_s, settle
from callsheet.runtime import Actor, Message, handles, open_runtime

__all__ = ["figures_of_pools"]

_MESSAGES = 20_000
_READERS = 4
_CAPACITY = 64
_AT_MOST = {False: 1.0, True: 1.4}  # by whether the handler waits once


@attrs.frozen
class Work(Message[int]):
    """A message; `waits` says whether its handler waits once."""

    waits: bool


class Hand(Actor):
    """A member of the pool."""

    @handles(Work)
    async def work(self, message: Work) -> int:
        """Wait once, or not at all."""
        if message.waits:
            await trio.lowlevel.checkpoint()
        return 0


async def _tell_pool(messages: int, message: Work) -> float:
    async with open_runtime("bench", seed="bench", drain_s=100) as runtime:
        pool = await runtime.spawn_pool("pool", Hand, size=_READERS, capacity=_CAPACITY)
        settle()
        start = cpu_s()
        for _ in range(messages):
            await pool.tell(message)
        await pool.ask(message)
    return (cpu_s() - start) / messages


async def _send_channel(messages: int, message: Work) -> float:
    sending, receiving = trio.open_memory_channel[Work](_CAPACITY)

    async def read() -> None:
        async for item in receiving:
            if item.waits:
                await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        for _ in range(_READERS):
            nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        settle()
        start = cpu_s()
        async with sending:
            for _ in range(messages):
                await sending.send(message)
    return (cpu_s() - start) / messages


async def _ask(messages: int, ask: Callable[[], Awaitable[object]]) -> float:
    """Ask from twice as many tasks as there are readers."""

    async def client(count: int) -> None:
        for _ in range(count):
            await ask()

    settle()
    start = cpu_s()
    async with trio.open_nursery() as nursery:
        for _ in range(2 * _READERS):
            nursery.start_soon(client, messages // (2 * _READERS))
    return (cpu_s() - start) / messages


async def _ask_pool(messages: int, message: Work) -> float:
    async with open_runtime("bench", seed="bench") as runtime:
        pool = await runtime.spawn_pool("pool", Hand, size=_READERS, capacity=_CAPACITY)
        return await _ask(messages, partial(pool.ask, message))


async def _ask_channel(messages: int, message: Work) -> float:
    """Each ask has a channel for its reply."""
    sending, receiving = trio.open_memory_channel[tuple[Work, trio.MemorySendChannel[int]]](
        _CAPACITY
    )

    async def read() -> None:
        async for item, reply in receiving:
            if item.waits:
                await trio.lowlevel.checkpoint()
            await reply.send(0)

    async def ask() -> int:
        reply, replies = trio.open_memory_channel[int](1)
        await sending.send((message, reply))
        return await replies.receive()

    async with trio.open_nursery() as nursery:
        for _ in range(_READERS):
            nursery.start_soon(read)
        seconds = await _ask(messages, ask)
        nursery.cancel_scope.cancel()
    return seconds


def _run(measure: Callable[[int, Work], Awaitable[float]], messages: int, work: Work) -> float:
    return trio.run(measure, messages, work)


def figures_of_pools(rounds: int, scale: float) -> list[Figure]:
    """Return a figure for tells and for asks, with handlers that do and that do not wait."""
    messages = int(_MESSAGES * scale)
    figures: list[Figure] = []
    for what, ours, raw in (
        ("tell", _tell_pool, _send_channel),
        ("ask", _ask_pool, _ask_channel),
    ):
        for waits, at_most in _AT_MOST.items():
            samples = alternate(
                {
                    "ours": partial(_run, ours, messages, Work(waits)),
                    "raw": partial(_run, raw, messages, Work(waits)),
                },
                rounds,
            )
            figures.append(
                Figure(
                    f"{what} to a pool of {_READERS}, handlers wait {'once' if waits else 'never'}",
                    "us",
                    [seconds * 1e6 for seconds in samples["ours"]],
                    f"raw channel, {_READERS} readers",
                    [seconds * 1e6 for seconds in samples["raw"]],
                    at_most=at_most,
                )
            )
    return figures
