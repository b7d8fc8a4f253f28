"""Measure the cost of an ask with different numbers of concurrent callers."""

import itertools
from collections import deque
from collections.abc import Callable, Sequence
from contextvars import ContextVar, Token
from functools import partial

import attrs
import trio

from bench_kit.figures import Figure
from bench_kit.sampling import alternate
from callsheet.runtime import (
    Actor,
    Instrument,
    MessageBegun,
    MessageDone,
    MessageSent,
    handles,
    open_runtime,
)
from runtime_bench.callers import Caller, time_callers
from runtime_bench.echo import ECHO, Echo, check
from runtime_bench.libraries import Library

__all__ = ["figures_of_asks"]

_TIMEOUT_S = 10.0
_TARGETS = {1: 1.0, 100: 0.45, 1_000: 0.40}  # callers at a time: ours / raw channels
_FEW, _MANY, _MANY_TO_FEW = 100, 10_000, 1.3
_ASKS_OF_ONE, _ASKS_OF_SEVERAL, _ASKS_OF_MANY = 5_000, 20_000, 100_000
_DEFAULT_CAPACITY = 64
_AT_A_TIME = 64  # messages an actor handles between checkpoints


class Echoer(Actor):
    """The actor that is asked."""

    @handles(Echo)
    async def echo(self, message: Echo) -> int:
        """Reply with the number."""
        return message.number


class Timing(Instrument):
    """Adds up how long messages wait and are handled."""

    def __init__(self) -> None:
        self.done = 0
        self.queued_s = 0.0
        self.handled_s = 0.0

    def message_done(self, event: MessageDone) -> None:
        """Add the seconds of one message."""
        self.done += 1
        self.queued_s += event.queued_s
        self.handled_s += event.handled_s


class Tracing(Timing):
    """Gives each message a number below that of its cause, and handlers a context variable.

    This is what an instrument for OpenTelemetry does, without the spans.
    """

    def __init__(self) -> None:
        super().__init__()
        self._numbers = itertools.count()

    def message_sent(self, event: MessageSent) -> "Span":  # noqa: ARG002  # the base's
        """Return the span of the message."""
        return Span(next(self._numbers), current_span.get())

    def message_begun(self, event: MessageBegun) -> None:
        """Let what the handler does be below its span."""
        span = event.context
        if isinstance(span, Span):
            span.token = current_span.set(span)

    def message_done(self, event: MessageDone) -> None:
        """End the span."""
        super().message_done(event)
        span = event.context
        if isinstance(span, Span) and span.token is not None:
            current_span.reset(span.token)


@attrs.define(eq=False)
class Span:
    """What `Tracing` keeps of a message."""

    number: int
    parent: "Span | None"
    token: "Token[Span | None] | None" = None


current_span: ContextVar[Span | None] = ContextVar("current_span", default=None)


async def full_ask(
    callers: int, asks: int, capacity: int, instrument: type[Instrument] | None = None
) -> float:
    """Return the seconds per ask of a supervised actor, with cancellation and a deadline."""
    instruments = [] if instrument is None else [instrument()]
    async with open_runtime("bench", seed="bench", instruments=instruments) as runtime:
        ref = await runtime.spawn("echoer", Echoer, capacity=capacity)

        async def ask(times: int) -> None:
            answer = 0
            for _ in range(times):
                answer = await ref.ask(ECHO, timeout=_TIMEOUT_S)
            check(answer)

        return await time_callers(lambda: ask, callers, asks)


async def raw_channels(callers: int, asks: int) -> float:
    """Return the seconds per round trip over two Trio channels with a buffer of 1."""
    requests, incoming = trio.open_memory_channel[tuple[Echo, trio.MemorySendChannel[int]]](1)

    async def serve() -> None:
        async for message, reply in incoming:
            await reply.send(message.number)

    def make_caller() -> Caller:
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
        seconds = await time_callers(make_caller, callers, asks)
        nursery.cancel_scope.cancel()
    return seconds


async def usual_ask(callers: int, asks: int) -> float:
    """Return the seconds per ask as it is usually written: a channel per ask, and `fail_after`."""
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
        seconds = await time_callers(lambda: ask, callers, asks)
        nursery.cancel_scope.cancel()
    return seconds


async def bare_wake(callers: int, asks: int) -> float:
    """Return the seconds per sleep and wake-up of a task, the least that any ask costs.

    There are no deadlines, bounds or supervision in it, only Trio's own scheduling. Its growth with
    the number of callers is a cost that no runtime on Trio can avoid.
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
        seconds = await time_callers(lambda: ask, callers, asks)
        nursery.cancel_scope.cancel()
    return seconds


def figures_of_asks(rounds: int, scale: float, libraries: Sequence[Library]) -> list[Figure]:
    """Return the figures for one caller, for many, and for the growth between them."""
    figures: list[Figure] = []
    for callers, target in _TARGETS.items():
        asks = int((_ASKS_OF_ONE if callers == 1 else _ASKS_OF_SEVERAL) * scale)
        figures += _beside_others(rounds, callers, max(callers, asks), target, libraries)
    figures += _many_to_few(rounds, max(_MANY, int(_ASKS_OF_MANY * scale)))
    return figures


def _beside_others(
    rounds: int, callers: int, asks: int, target: float, libraries: Sequence[Library]
) -> list[Figure]:
    """The mailbox's capacity is the number of callers; a second measurement uses the default."""
    capacity = max(callers, _DEFAULT_CAPACITY)
    contenders: dict[str, Callable[[], float]] = {
        "ours": lambda: trio.run(full_ask, callers, asks, capacity),
        "raw channels": lambda: trio.run(raw_channels, callers, asks),
        "usual ask": lambda: trio.run(usual_ask, callers, asks),
        **{one.name: partial(one.ask, callers, asks) for one in libraries},
    }
    if capacity > _DEFAULT_CAPACITY:
        contenders["small"] = lambda: trio.run(full_ask, callers, asks, _DEFAULT_CAPACITY)
    seen = {"with an instrument": Timing, "with trace context": Tracing}
    for way, instrument in seen.items():
        ask = partial(full_ask, callers, asks, capacity, instrument)
        contenders[way] = partial(trio.run, ask)
    samples = _in_us(alternate(contenders, rounds))
    ours, raw, small = samples.pop("ours"), samples.pop("raw channels"), samples.pop("small", None)
    name = f"ask, {callers:,} in flight"
    figures = [Figure(name, "us", ours, "raw channels", raw, at_most=target)]
    if small is not None:
        name_of_small = f"{name}, mailbox of {_DEFAULT_CAPACITY}"
        figures.append(Figure(name_of_small, "us", small, "raw channels", raw))
    figures += [Figure(f"{name}, {way}", "us", samples.pop(way), "without", ours) for way in seen]
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
