"""Measure actors that only wait: time to start and to stop, and memory.

    python -m runtime_bench.idle actors 100000 --trace

prints one JSON object. The measurement runs in its own process, so that its memory and its tracing
do not affect other figures.
"""

import json
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import attrs
import click
import trio

from bench_kit.figures import Figure
from bench_kit.processes import resident_bytes, run_module
from bench_kit.sampling import alternate
from callsheet.runtime import Actor, Message, handles, open_runtime

__all__ = ["IdleCost", "figures_of_idle"]

Kind = Literal["actors", "woken", "tasks"]

_COUNT, _TRACED = 100_000, 10_000
_START_AT_MOST_S, _EACH_AT_MOST_KIB = 5.0, 4.0
_WARM_UP = 100
_PLACES = 14  # lines of code that are named for what they allocate


@attrs.frozen
class IdleCost:
    """The cost of actors or tasks that only wait.

    Args:
        start_s: CPU seconds for all of them to start.
        stop_s: CPU seconds for all of them to stop.
        each_bytes: bytes of memory for each: as Python allocates it if traced, else resident
            memory.
        places: line of code and bytes allocated there for each, the largest first, if traced.
    """

    start_s: float
    stop_s: float
    each_bytes: float
    places: tuple[tuple[str, float], ...] = ()


@attrs.frozen
class Nothing(Message[None]):
    """Sent only to wake an actor."""


class Idler(Actor):
    """An actor without state and hooks, which has no task before its first message."""

    @handles(Nothing)
    async def nothing(self, message: Nothing) -> None:
        """Do nothing."""


def figures_of_idle(rounds: int, scale: float) -> tuple[list[Figure], dict[Kind, IdleCost]]:
    """Return the figures, and what allocates the memory, traced once."""
    count, few = int(_COUNT * scale), int(_TRACED * scale)
    samples = alternate(
        {
            "actors": lambda: _measure("actors", count),
            "woken": lambda: _measure("woken", few),
            "tasks": lambda: _measure("tasks", count),
        },
        rounds,
    )
    traced: dict[Kind, IdleCost] = {
        "actors": _measure("actors", few, "--trace"),
        "tasks": _measure("tasks", few, "--trace"),
    }
    own = _own_bytes()
    ours, woken, bare = samples["actors"], samples["woken"], samples["tasks"]
    name, task = f"{count:,} idle actors", "bare task"
    return [
        Figure(
            f"{name}, start",
            "s",
            [cost.start_s for cost in ours],
            task,
            [cost.start_s for cost in bare],
            at_most=_START_AT_MOST_S * scale,
            is_ratio=False,
        ),
        Figure(
            f"{name}, stop",
            "s",
            [cost.stop_s for cost in ours],
            task,
            [cost.stop_s for cost in bare],
        ),
        Figure(
            "each beyond its own state, resident",
            "KiB",
            [(cost.each_bytes - own) / 1024 for cost in ours],
            task,
            [cost.each_bytes / 1024 for cost in bare],
            at_most=_EACH_AT_MOST_KIB,
            is_ratio=False,
        ),
        Figure(
            f"each of {few:,} once a message came, resident",
            "KiB",
            [(cost.each_bytes - own) / 1024 for cost in woken],
            task,
            [cost.each_bytes / 1024 for cost in bare],
        ),
        Figure(
            "each beyond its own state, allocated",
            "KiB",
            [(traced["actors"].each_bytes - own) / 1024],
            task,
            [traced["tasks"].each_bytes / 1024],
            at_most=_EACH_AT_MOST_KIB,
            is_ratio=False,
        ),
    ], traced


def _measure(kind: Kind, count: int, *options: str) -> IdleCost:
    """Measure in a process of its own.

    Raises:
        subprocess.CalledProcessError: the process failed; its errors are on stderr.
    """
    output = run_module("runtime_bench.idle", kind, str(count), *options)
    cost = json.loads(output)
    places = cost.pop("places")
    return IdleCost(**cost, places=tuple((where, size) for where, size in places))


def _own_bytes() -> int:
    """Return the bytes of an actor object without state, its attributes included."""
    idler = Idler()
    return sys.getsizeof(idler) + sys.getsizeof(vars(idler))


async def actors(count: int, measured: Callable[[], None]) -> None:
    """Start actors, one after another."""
    async with open_runtime("bench", seed="bench", drain_s=600.0) as runtime:
        for number in range(count):
            await runtime.spawn(str(number), Idler)
        measured()


async def woken(count: int, measured: Callable[[], None]) -> None:
    """Start actors, and let each handle a message, which starts its task."""
    async with open_runtime("bench", seed="bench", drain_s=600.0) as runtime:
        for number in range(count):
            ref = await runtime.spawn(str(number), Idler)
            await ref.ask(Nothing())
        measured()


async def tasks(count: int, measured: Callable[[], None]) -> None:
    """Start tasks that do nothing, one after another."""

    async def idle(task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        for _ in range(count):
            await nursery.start(idle)
        measured()
        nursery.cancel_scope.cancel()


def _places(count: int) -> tuple[tuple[str, float], ...]:
    """Return the lines of code that allocated the traced memory that is still in use."""
    places: list[tuple[str, float]] = []
    for statistic in tracemalloc.take_snapshot().statistics("lineno")[:_PLACES]:
        frame = statistic.traceback[0]
        where = "/".join(Path(frame.filename).parts[-2:])
        places.append((f"{where}:{frame.lineno}", statistic.size / count))
    return tuple(places)


@click.command()
@click.argument("kind", type=click.Choice(["actors", "woken", "tasks"]))
@click.argument("count", type=int)
@click.option("--trace", is_flag=True, help="What Python allocates, and where; slow.")
def main(kind: Kind, count: int, *, trace: bool) -> None:
    """Measure in this process, and print the result as JSON."""
    start_some = {"actors": actors, "woken": woken, "tasks": tasks}[kind]
    trio.run(start_some, _WARM_UP, lambda: None)
    started: list[IdleCost] = []
    started_at = 0.0

    def measured() -> None:
        nonlocal started_at
        start_s = time.process_time() - start
        if trace:
            each, places = tracemalloc.get_traced_memory()[0] / count, _places(count)
        else:
            each, places = (resident_bytes() - before) / count, ()
        started.append(IdleCost(start_s, 0.0, each, places))
        started_at = time.process_time()

    before = resident_bytes()
    if trace:
        tracemalloc.start()
    start = time.process_time()
    trio.run(start_some, count, measured)
    cost = attrs.evolve(started[0], stop_s=time.process_time() - started_at)
    click.echo(json.dumps(attrs.asdict(cost)))


if __name__ == "__main__":
    main()
