"""Measure how long a supervisor takes to restart one of many children."""

import attrs
import structlog
import trio

from bench_kit.figures import Figure
from bench_kit.sampling import cpu_s, settle
from callsheet.runtime import Actor, Message, Ref, RestartPolicy, Runtime, handles, open_runtime
from runtime_bench.echo import ECHO, Echo

__all__ = ["figures_of_restarts"]

_FEW = 10
_COUNTS = (1_000, 10_000)
_CRASHES = 100  # of each tree in each round
_AT_MOST = 1.3  # no dependence on the number, plus noise
_TIMEOUT_S = 10.0


@attrs.frozen
class Crash(Message[None]):
    """Makes the actor crash."""


class Fragile(Actor):
    """A child."""

    @handles(Echo)
    async def echo(self, message: Echo) -> int:
        """Reply, which shows that the actor runs again."""
        return message.number

    @handles(Crash)
    async def crash(self, _: Crash) -> None:
        """Crash."""
        raise RuntimeError("asked to crash")


async def crash_in_turn(children: list[Ref], crashes: int) -> float:
    """Return the mean seconds from a crash to the next reply, over children in all positions."""
    spread = children[:: max(1, len(children) // _FEW)]
    seconds = 0.0
    for number in range(crashes):
        child = spread[number % len(spread)]
        start = cpu_s()
        child.tell_nowait(Crash())
        await child.ask(ECHO, timeout=_TIMEOUT_S)  # handled after the restart
        seconds += cpu_s() - start
    return seconds / crashes


async def spawn_family(runtime: Runtime, count: int) -> list[Ref]:
    """Start a supervisor with a number of children."""
    policy = RestartPolicy(max_restarts=1_000_000, base_s=0.0)
    parent = await runtime.supervise(f"of {count}", restarts=policy)
    return [await parent.spawn(f"child {number}", Fragile) for number in range(count)]


async def restart(rounds: int, scale: float) -> dict[int, list[float]]:
    """Return the seconds per restart by number of children; all trees are in one process."""
    crashes = max(_FEW, int(_CRASHES * scale))
    samples: dict[int, list[float]] = {_FEW: [], **{count: [] for count in _COUNTS}}
    async with open_runtime("bench", seed="bench", drain_s=60.0) as runtime:
        families = {count: await spawn_family(runtime, count) for count in samples}
        for children in families.values():
            await crash_in_turn(children, _FEW)  # the warm-up
        for _ in range(rounds):
            for count, children in families.items():
                settle()
                samples[count].append(await crash_in_turn(children, crashes))
    return samples


def figures_of_restarts(rounds: int, scale: float) -> list[Figure]:
    """Return the time from a crash to the next reply."""
    with structlog.testing.capture_logs():  # keeps the log of the crashes off the output
        samples = trio.run(restart, rounds, scale)
    in_us = {count: [seconds * 1e6 for seconds in values] for count, values in samples.items()}
    few = in_us.pop(_FEW)
    return [
        Figure(
            f"restart of one of {count:,} children",
            "us",
            values,
            f"of {_FEW}",
            few,
            at_most=_AT_MOST,
        )
        for count, values in in_us.items()
    ]
