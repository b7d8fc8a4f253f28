"""Make the calls of contenders that need asyncio or are mostly used on it."""

import asyncio

from bench_kit.sampling import settle
from http_bench.call import CALM_S, TICK_S, Contender, Target
from http_bench.meter import Meter, Plan, Say

__all__ = ["run"]


def run(contender: Contender, target: Target, meter: Meter, plan: Plan, say: Say) -> None:
    """Measure a contender for one window.

    Args:
        contender: opens the client.
        target: the provider to call.
        meter: counts the calls.
        plan: the length of the window.
        say: gets the sample.
    """
    asyncio.run(_run(contender, target, meter, plan, say))


async def _run(contender: Contender, target: Target, meter: Meter, plan: Plan, say: Say) -> None:
    warm = asyncio.Event()

    async with contender(target) as ask:

        async def keep_asking() -> None:
            is_cold = True
            while True:
                since = meter.now
                try:
                    await ask()
                except Exception as error:  # noqa: BLE001  # every error counts as a failure
                    meter.failed(error)
                    await asyncio.sleep(0)
                    continue
                meter.answered(since)
                if is_cold:
                    is_cold = False
                    if meter.warmed():
                        warm.set()

        await ask()
        meter.idle()
        meter.begin()
        async with asyncio.TaskGroup() as group:
            for _ in range(target.in_flight):
                group.create_task(keep_asking())
            try:
                async with asyncio.timeout(plan.warm_up_s):
                    await warm.wait()
            except TimeoutError:
                pass  # the sample has `is_warm` false
            if meter.is_warm:
                settle()
                await asyncio.sleep(CALM_S)
                meter.begin()
            while not meter.is_over(plan):  # noqa: ASYNC110  # a clock
                await asyncio.sleep(TICK_S)
            say(meter.finish())
