"""The lower bound of a lone piece: another thread wakes an event loop every 20 ms."""

import asyncio
import threading
import time

from bench_kit.sampling import cpu_s, settle

__all__ = ["wake_up_us"]

_GAP_S = 0.02
_WAKE_UPS = 50


def wake_up_us() -> float:
    """Return the CPU microseconds of one wake-up, those of the thread that sleeps included."""
    settle()
    return asyncio.run(_wake_ups())


async def _wake_ups() -> float:
    loop = asyncio.get_running_loop()
    woken = asyncio.Event()

    def wake() -> None:
        for _ in range(_WAKE_UPS):
            time.sleep(_GAP_S)
            loop.call_soon_threadsafe(woken.set)

    thread = threading.Thread(target=wake)
    began = cpu_s()
    thread.start()
    for _ in range(_WAKE_UPS):
        await woken.wait()
        woken.clear()
    used_s = cpu_s() - began
    thread.join()
    return used_s / _WAKE_UPS * 1e6
