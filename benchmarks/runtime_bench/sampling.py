"""How a figure is measured: contenders take turns, and each turn begins with the garbage gone.

Time is the CPU time of this process. Nothing here waits for anything outside of it, so on an idle
machine that is what the clock on the wall shows, and on a shared one it leaves out the others.
"""

import gc
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

import trio

__all__ = ["Asker", "alternate", "cpu_s", "settle", "time_crowd"]

T = TypeVar("T")

cpu_s = time.process_time

Asker = Callable[[int], Awaitable[None]]
"""Asks so many times, one after another."""

_WARM_UP = 3  # asks of each asker, at least
_WARM_UP_IN_ALL = 1_000


def alternate(contenders: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """Let everybody have a turn in every round: A B, A B, ..., so that a slow spell hits all.

    Args:
        contenders: what to measure; each call is one turn.
        rounds: turns of each.
    """
    samples: dict[str, list[T]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, measure in contenders.items():
            samples[name].append(measure())
    return samples


def settle() -> None:
    """Collect what earlier turns left, and keep what lives now out of later collections.

    The collector stays on: what it costs is part of what a contender costs.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


async def time_crowd(make_asker: Callable[[], Asker], askers: int, asks: int) -> float:
    """Seconds for each ask, with so many askers at a time.

    Starting and ending the askers' tasks is not counted, and neither are their first asks.

    Args:
        make_asker: makes what one asker needs; called once for each.
        askers: tasks that ask.
        asks: of all of them together; each asks equally often.
    """
    each = asks // askers
    warm_up = max(_WARM_UP, _WARM_UP_IN_ALL // askers)
    ready, done, begin = trio.Event(), trio.Event(), trio.Event()
    left = {"ready": askers, "done": askers}

    async def one() -> None:
        asker = make_asker()
        await asker(warm_up)
        left["ready"] -= 1
        if not left["ready"]:
            ready.set()
        await begin.wait()
        await asker(each)
        left["done"] -= 1
        if not left["done"]:
            done.set()

    async with trio.open_nursery() as nursery:
        for _ in range(askers):
            nursery.start_soon(one)
        await ready.wait()
        settle()
        started = cpu_s()
        begin.set()
        await done.wait()
        seconds = cpu_s() - started
    return seconds / (each * askers)
