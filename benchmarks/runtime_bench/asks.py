"""What an ask costs, with more and more askers at a time."""

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

import trio

from bench_kit.figures import Figure
from bench_kit.sampling import alternate
from callsheet.runtime import Actor, handles, open_runtime
from runtime_bench.crowd import Asker, time_crowd
from runtime_bench.echo import ECHO, Echo, check
from runtime_bench.neighbours import Neighbour

__all__ = ["figures_of_asks"]

_TIMEOUT_S = 10.0
_TARGETS = {1: 1.0, 100: 0.45, 1_000: 0.40}  # askers at a time: ours / raw channels
_FEW, _MANY, _MANY_TO_FEW = 100, 10_000, 1.3
_ASKS_OF_ONE, _ASKS_OF_A_CROWD, _ASKS_OF_MANY = 5_000, 20_000, 100_000
_DEFAULT_CAPACITY = 64
_AT_A_TIME = 64  # messages an actor handles before it lets others run


class Echoer(Actor):
    """The actor that is asked."""

    @handles(Echo)
    async def echo(self, message: Echo) -> int:
        """The answer is the number."""
        return message.number


async def full_ask(askers: int, asks: int, capacity: int) -> float:
    """Seconds for an ask of a supervised actor, cancellable and with a deadline."""
    async with open_runtime("bench", seed="bench") as runtime:
        ref = await runtime.spawn("echoer", Echoer, capacity=capacity)

        async def ask(times: int) -> None:
            answer = 0
            for _ in range(times):
                answer = await ref.ask(ECHO, timeout=_TIMEOUT_S)
            check(answer)

        return await time_crowd(lambda: ask, askers, asks)


async def raw_channels(askers: int, asks: int) -> float:
    """Seconds for a round trip over two Trio channels with a buffer of 1, and nothing else."""
    requests, incoming = trio.open_memory_channel[tuple[Echo, trio.MemorySendChannel[int]]](1)

    async def serve() -> None:
        async for message, reply in incoming:
            await reply.send(message.number)

    def make_asker() -> Asker:
        reply, replies = trio.open_memory_channel[int](1)

        async def ask(times: int) -> None:
            answer = 0
            for _ in range(times):
                await requests.send((ECHO, reply))
                answer = await replies.receive()
            check(answer)

        return ask

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        seconds = await time_crowd(make_asker, askers, asks)
        nursery.cancel_scope.cancel()
    return seconds


async def usual_ask(askers: int, asks: int) -> float:
    """Seconds for what is usually written: a channel for each ask, and `fail_after` around it."""
    requests, incoming = trio.open_memory_channel[tuple[Echo, trio.MemorySendChannel[int]]](1)

    async def serve() -> None:
        async for message, reply in incoming:
            await reply.send(message.number)

    async def ask(times: int) -> None:
        answer = 0
        for _ in range(times):
            reply, replies = trio.open_memory_channel[int](1)
            with trio.fail_after(_TIMEOUT_S):
                await requests.send((ECHO, reply))
                answer = await replies.receive()
        check(answer)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        seconds = await time_crowd(lambda: ask, askers, asks)
        nursery.cancel_scope.cancel()
    return seconds


async def bare_wake(askers: int, asks: int) -> float:
    """Seconds for the least that an ask can be: a task sleeps, another one finds it and wakes it.

    There is no deadline in it, no bound, no supervision: only how Trio puts tasks to sleep. What
    more askers cost here, no runtime on Trio can save.
    """
    asleep: deque[trio.lowlevel.Task] = deque()
    idle: list[trio.lowlevel.Task] = []

    def abort(_: object) -> trio.lowlevel.Abort:
        return trio.lowlevel.Abort.SUCCEEDED

    async def serve() -> None:
        while True:
            if not asleep:
                idle.append(trio.lowlevel.current_task())
                await trio.lowlevel.wait_task_rescheduled(abort)
            for _ in range(min(len(asleep), _AT_A_TIME)):
                trio.lowlevel.reschedule(asleep.popleft())
            await trio.lowlevel.checkpoint()

    async def ask(times: int) -> None:
        for _ in range(times):
            asleep.append(trio.lowlevel.current_task())
            if idle:
                trio.lowlevel.reschedule(idle.pop())
            await trio.lowlevel.wait_task_rescheduled(abort)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        seconds = await time_crowd(lambda: ask, askers, asks)
        nursery.cancel_scope.cancel()
    return seconds


def figures_of_asks(rounds: int, scale: float, neighbours: Sequence[Neighbour]) -> list[Figure]:
    """An ask with few askers and with many, and how it grows with them."""
    figures: list[Figure] = []
    for askers, target in _TARGETS.items():
        asks = int((_ASKS_OF_ONE if askers == 1 else _ASKS_OF_A_CROWD) * scale)
        figures += _beside_others(rounds, askers, max(askers, asks), target, neighbours)
    figures += _many_to_few(rounds, max(_MANY, int(_ASKS_OF_MANY * scale)))
    return figures


def _beside_others(
    rounds: int, askers: int, asks: int, target: float, neighbours: Sequence[Neighbour]
) -> list[Figure]:
    """The bound of the mailbox is the number of askers; of a second one, the default."""
    capacity = max(askers, _DEFAULT_CAPACITY)
    contenders: dict[str, Callable[[], float]] = {
        "ours": lambda: trio.run(full_ask, askers, asks, capacity),
        "raw channels": lambda: trio.run(raw_channels, askers, asks),
        "usual ask": lambda: trio.run(usual_ask, askers, asks),
        **{one.name: partial(one.ask, askers, asks) for one in neighbours},
    }
    if capacity > _DEFAULT_CAPACITY:
        contenders["small"] = lambda: trio.run(full_ask, askers, asks, _DEFAULT_CAPACITY)
    samples = _in_us(alternate(contenders, rounds))
    ours, raw, small = samples.pop("ours"), samples.pop("raw channels"), samples.pop("small", None)
    name = f"ask, {askers:,} in flight"
    figures = [Figure(name, "us", ours, "raw channels", raw, at_most=target)]
    if small is not None:
        name_of_small = f"{name}, mailbox of {_DEFAULT_CAPACITY}"
        figures.append(Figure(name_of_small, "us", small, "raw channels", raw))
    return figures + [Figure(name, "us", ours, other, theirs) for other, theirs in samples.items()]


def _many_to_few(rounds: int, asks: int) -> list[Figure]:
    samples = _in_us(
        alternate(
            {
                "many": lambda: trio.run(full_ask, _MANY, asks, _MANY),
                "few": lambda: trio.run(full_ask, _FEW, asks, _MANY),
                "many wakes": lambda: trio.run(bare_wake, _MANY, asks),
                "few wakes": lambda: trio.run(bare_wake, _FEW, asks),
            },
            rounds,
        )
    )
    beside = f"{_FEW} in flight"
    return [
        Figure(
            f"ask, {_MANY:,} in flight",
            "us",
            samples["many"],
            beside,
            samples["few"],
            at_most=_MANY_TO_FEW,
        ),
        Figure(
            f"bare wake-up of a task, {_MANY:,} in flight",
            "us",
            samples["many wakes"],
            beside,
            samples["few wakes"],
        ),
    ]


def _in_us(samples: dict[str, list[float]]) -> dict[str, list[float]]:
    return {name: [seconds * 1e6 for seconds in values] for name, values in samples.items()}
