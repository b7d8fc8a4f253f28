"""Time concurrent callers."""

from collections.abc import Awaitable, Callable

import trio

from bench_kit.sampling import cpu_s, settle

__all__ = ["Caller", "time_callers"]

Caller = Callable[[int], Awaitable[None]]
"""Makes a given number of asks, one after another."""

_WARM_UP = 3  # asks of each caller, at least
_WARM_UP_IN_ALL = 1_000


async def time_callers(make_caller: Callable[[], Caller], callers: int, asks: int) -> float:
    """Return the seconds per ask, with a number of concurrent callers.

    The start and end of the callers' tasks, and the first asks of each, are not counted.

    Args:
        make_caller: makes what one caller needs; called once for each caller.
        callers: number of tasks that ask.
        asks: number of asks of all callers together; each makes the same number.
    """
    each = asks // callers
    warm_up = max(_WARM_UP, _WARM_UP_IN_ALL // callers)
    ready, done, begin = trio.Event(), trio.Event(), trio.Event()
    left = {"ready": callers, "done": callers}

    async def one() -> None:
        caller = make_caller()
        await caller(warm_up)
        left["ready"] -= 1
        if not left["ready"]:
            ready.set()
        await begin.wait()
        await caller(each)
        left["done"] -= 1
        if not left["done"]:
            done.set()

    async with trio.open_nursery() as nursery:
        for _ in range(callers):
            nursery.start_soon(one)
        await ready.wait()
        settle()
        started = cpu_s()
        begin.set()
        await done.wait()
        seconds = cpu_s() - started
    return seconds / (each * callers)
