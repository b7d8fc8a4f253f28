"""Make the calls of contenders that run on Trio."""

import trio
import trio.lowlevel

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
    trio.run(_run, contender, target, meter, plan, say)


async def _run(contender: Contender, target: Target, meter: Meter, plan: Plan, say: Say) -> None:
    warm = trio.Event()

    async with contender(target) as ask:

        async def keep_asking() -> None:
            is_cold = True
            while True:
                since = meter.now
                try:
                    await ask()
                except Exception as error:  # noqa: BLE001  # whatever it is, it is counted
                    meter.failed(error)
                    await trio.lowlevel.checkpoint()
                    continue
                meter.answered(since)
                if is_cold:
                    is_cold = False
                    if meter.warmed():
                        warm.set()

        await ask()
        meter.idle()
        meter.begin()
        async with trio.open_nursery() as nursery:
            for _ in range(target.in_flight):
                nursery.start_soon(keep_asking)
            with trio.move_on_after(plan.warm_up_s):
                await warm.wait()
            if meter.is_warm:
                settle()
                await trio.sleep(CALM_S)
                meter.begin()
            while not meter.is_over(plan):  # noqa: ASYNC110  # a clock
                await trio.sleep(TICK_S)
            say(meter.finish())
