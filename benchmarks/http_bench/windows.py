"""Measure CPU time over real sockets in short windows, in shuffled order.

    python -m http_bench.windows callsheet http://127.0.0.1:8000/v1 --in-flight 100

measures one window for each line on its standard input, and prints a `Window` as JSON. All clients
stay alive and take turns, so that changes in the speed of the machine affect all of them alike. A
window covers whole rounds of all calls in flight, because these may run in step.
"""

import json
import random
import subprocess
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import attrs
import click
import trio

from bench_kit.processes import next_answer, open_answering
from bench_kit.sampling import cpu_s, settle
from http_bench.call import LONG_TOKENS, SHORT_TOKENS, Ask, Target
from http_bench.contenders import CONTENDERS

__all__ = ["Window", "measure_windows"]


@attrs.frozen
class Window:
    """The measurements of one contender in one window.

    Args:
        calls: number of responses.
        wall_s: length in seconds.
        cpu_s: CPU seconds of the client.
    """

    calls: int
    wall_s: float
    cpu_s: float

    @property
    def cpu_ms(self) -> float:
        """CPU milliseconds of a call."""
        return self.cpu_s / self.calls * 1_000

    @property
    def per_s(self) -> float:
        """Calls a second."""
        return self.calls / self.wall_s


def measure_windows(
    base_url: str,
    contenders: Sequence[str],
    *,
    in_flight: int,
    is_long: bool,
    rounds: int,
    window_s: float = 0.3,
) -> Mapping[str, Sequence[Window]]:
    """Measure each contender once in every round, in shuffled order.

    Args:
        base_url: the URL of the provider up to and including the version.
        contenders: keys of `CONTENDERS` that run on Trio.
        in_flight: number of concurrent calls.
        is_long: whether the requests allow long responses.
        rounds: windows of each contender.
        window_s: the least length of a window, in seconds.
    """
    options = ["--in-flight", f"{in_flight}", "--seconds", f"{window_s}"]
    options += ["--long"] if is_long else []
    windows: dict[str, list[Window]] = {name: [] for name in contenders}
    order, rng = [*contenders], random.Random(0)  # noqa: S311  # the order of windows is no secret
    with ExitStack() as stack:
        clients = {
            name: stack.enter_context(_open_client(name, base_url, options)) for name in contenders
        }
        for number in range(rounds + 1):
            rng.shuffle(order)
            for name in order:
                window = _next_window(clients[name])
                if number:  # the first round connects, and fills caches
                    windows[name].append(window)
    return windows


@contextmanager
def _open_client(
    name: str, base_url: str, options: Sequence[str]
) -> Generator["subprocess.Popen[str]"]:
    with open_answering("http_bench.windows", name, base_url, *options) as process:
        yield process


def _next_window(client: "subprocess.Popen[str]") -> Window:
    return Window(**json.loads(next_answer(client)))


class _Round:
    """Makes calls until a window is over.

    Args:
        ask: makes one call.
        in_flight: number of concurrent calls.
        window_s: the least length of the window, in seconds.
    """

    def __init__(self, ask: Ask, in_flight: int, window_s: float) -> None:
        self._ask = ask
        self._in_flight = in_flight
        self._window_s = window_s
        self._calls = 0
        self._began = self._cpu_began = 0.0
        self.window: Window | None = None

    async def run(self) -> None:
        """Make the calls; the first round of all in flight is no part of the window."""
        async with trio.open_nursery() as nursery:
            for _ in range(self._in_flight):
                nursery.start_soon(self._keep_asking)

    async def _keep_asking(self) -> None:
        while self.window is None:
            await self._ask()
            self._calls += 1
            if self._calls % self._in_flight == 0:
                self._end_round()

    def _end_round(self) -> None:
        now = time.perf_counter()
        if self._calls == self._in_flight:
            self._began, self._cpu_began = now, cpu_s()
        elif self.window is None and now - self._began >= self._window_s:
            calls = self._calls - self._in_flight
            self.window = Window(calls, now - self._began, cpu_s() - self._cpu_began)


async def _measure(name: str, target: Target, window_s: float) -> None:
    async with CONTENDERS[name].load()(target) as ask:
        while await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
            settle()
            one = _Round(ask, target.in_flight, window_s)
            await one.run()
            if one.window is None:
                raise AssertionError("the round ends with a window")
            print(json.dumps(attrs.asdict(one.window)), flush=True)


@click.command()
@click.argument("contender", type=click.Choice(list(CONTENDERS)))
@click.argument("base_url")
@click.option("--in-flight", type=click.IntRange(1), required=True)
@click.option("--seconds", type=float, default=0.3, help="The least length of a window.")
@click.option("--long", "is_long", is_flag=True, help="Allow long responses.")
def main(contender: str, base_url: str, *, in_flight: int, seconds: float, is_long: bool) -> None:
    """Measure a window for each line on the standard input."""
    max_tokens = LONG_TOKENS if is_long else SHORT_TOKENS
    trio.run(_measure, contender, Target(base_url, in_flight, None, max_tokens), seconds)


if __name__ == "__main__":
    main()
