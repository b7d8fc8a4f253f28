"""Many askers at a time."""

from collections.abc import Awaitable, Callable

import trio

from bench_kit.sampling import cpu_s, settle

__all__ = ["Asker", "time_crowd"]

Asker = Callable[[int], Awaitable[None]]
"""Asks so many times, one after another."""

_WARM_UP = 3  # asks of each asker, at least
_WARM_UP_IN_ALL = 1_000


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
