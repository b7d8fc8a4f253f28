"""One client, which makes calls for a window whenever it is told to.

    python -m aio_bench.client callsheet.aio http://127.0.0.1:8000/v1 --in-flight 50

makes one window for each line on its standard input, and prints a `Stretch` as JSON. So all clients
stay alive and take turns, and changes in the speed of the machine affect all of them alike.
"""

import asyncio
import json
import sys
import time

import attrs
import click
import trio

from aio_bench.ways import TRIO, WAYS, Call, Plan
from bench_kit.sampling import cpu_s, settle

__all__ = ["Stretch"]


@attrs.frozen
class Stretch:
    """The measurements of one client in one window.

    Args:
        calls: number of responses.
        pieces: number of their pieces.
        wall_s: length in seconds.
        cpu_s: CPU seconds of the client, all its threads together.
    """

    calls: int
    pieces: int
    wall_s: float
    cpu_s: float

    @property
    def cpu_us(self) -> float:
        """CPU microseconds of a call."""
        return self.cpu_s / self.calls * 1e6

    @property
    def piece_us(self) -> float:
        """CPU microseconds of a piece, with its share of the call."""
        return self.cpu_s / self.pieces * 1e6


class Counting:
    """Counts the calls of one window, which has whole rounds of all calls in flight.

    Args:
        in_flight: number of concurrent calls.
        seconds: the least length of the window, in seconds.
    """

    def __init__(self, in_flight: int, seconds: float) -> None:
        self.stretch: Stretch | None = None
        self._in_flight = in_flight
        self._seconds = seconds
        self._calls = self._pieces = 0
        self._began, self._cpu_began = time.perf_counter(), cpu_s()

    async def keep_calling(self, call: Call) -> None:
        """Call until the window is over; one task of all those in flight."""
        while self.stretch is None:
            self._count(await call())

    def _count(self, pieces: int) -> None:
        self._calls += 1
        self._pieces += pieces
        now = time.perf_counter()
        is_over = self._calls % self._in_flight == 0 and now - self._began >= self._seconds
        if is_over and self.stretch is None:
            self.stretch = Stretch(
                self._calls, self._pieces, now - self._began, cpu_s() - self._cpu_began
            )

    def report(self) -> None:
        """Print the measurements."""
        if self.stretch is None:
            raise AssertionError("the calls end with the window")
        print(json.dumps(attrs.asdict(self.stretch)), flush=True)


async def run_under_trio(name: str, plan: Plan, seconds: float) -> None:
    """Make a window for each line on the standard input, under Trio."""
    async with WAYS[name](plan) as call:
        while await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
            settle()
            counting = Counting(plan.in_flight, seconds)
            async with trio.open_nursery() as nursery:
                for _ in range(plan.in_flight):
                    nursery.start_soon(counting.keep_calling, call)
            counting.report()


async def run_under_asyncio(name: str, plan: Plan, seconds: float) -> None:
    """Make a window for each line on the standard input, under asyncio."""
    async with WAYS[name](plan) as call:
        while await asyncio.to_thread(sys.stdin.readline):
            settle()
            counting = Counting(plan.in_flight, seconds)
            async with asyncio.TaskGroup() as group:
                for _ in range(plan.in_flight):
                    group.create_task(counting.keep_calling(call))
            counting.report()


@click.command()
@click.argument("way", type=click.Choice(list(WAYS)))
@click.argument("base_url")
@click.option("--in-flight", type=click.IntRange(1), required=True)
@click.option("--seconds", type=float, default=0.4, help="The least length of a window.")
@click.option("--streams", is_flag=True, help="Read responses piece by piece.")
def main(way: str, base_url: str, *, in_flight: int, seconds: float, streams: bool) -> None:
    """Make a window of calls for each line on the standard input."""
    plan = Plan(base_url, in_flight, streams)
    if way == TRIO:
        trio.run(run_under_trio, way, plan, seconds)
    else:
        asyncio.run(run_under_asyncio(way, plan, seconds))


if __name__ == "__main__":
    main()
