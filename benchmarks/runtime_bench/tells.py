"""Measure tells to a busy actor: the time to send them, and the time to handle them later."""

from collections.abc import Callable, Sequence
from functools import partial

import attrs
import trio

from bench_kit.figures import Figure
from bench_kit.sampling import alternate, cpu_s, settle
from callsheet.runtime import Actor, Message, handles, open_runtime
from runtime_bench.echo import ECHO, Echo
from runtime_bench.libraries import Library, TellCost

__all__ = ["figures_of_tells"]

_MESSAGES = 50_000
_AT_MOST_US = 1.2


@attrs.frozen
class Busy(Message[None]):
    """Sets `began`, then keeps the actor busy until `release`."""

    began: trio.Event
    release: trio.Event


@attrs.frozen
class Last(Message[None]):
    """The last message, whose handler ends the measurement."""

    handled: trio.Event


class Listener(Actor):
    """The actor that receives the messages."""

    @handles(Echo)
    async def hear(self, message: Echo) -> int:  # noqa: ARG002  # only received
        """Do nothing; no caller waits for a reply."""
        return 0

    @handles(Busy)
    async def be_busy(self, message: Busy) -> None:
        """Wait."""
        message.began.set()
        await message.release.wait()

    @handles(Last)
    async def finish(self, message: Last) -> None:
        """Record that all messages before this one are handled."""
        message.handled.set()


async def tell(messages: int) -> TellCost:
    """Return the seconds per message of a supervised actor with a bounded mailbox."""
    async with open_runtime("bench", seed="bench") as runtime:
        ref = await runtime.spawn("listener", Listener, capacity=messages + 1)
        for count in (messages // 10, messages):  # the first is the warm-up
            began, release, handled = trio.Event(), trio.Event(), trio.Event()
            ref.tell_nowait(Busy(began, release))
            await began.wait()
            settle()
            start = cpu_s()
            for _ in range(count):
                ref.tell_nowait(ECHO)
            sent = cpu_s()
            ref.tell_nowait(Last(handled))
            release.set()
            await handled.wait()
            end = cpu_s()
    return TellCost((sent - start) / messages, (end - sent) / messages)


async def raw_channel(messages: int) -> TellCost:
    """Return the seconds per message of a Trio channel with room for all messages."""
    sending, receiving = trio.open_memory_channel[Echo](messages)

    async def drain(count: int) -> None:
        for _ in range(count):
            await receiving.receive()

    for count in (messages // 10, messages):  # the first is the warm-up
        settle()
        start = cpu_s()
        for _ in range(count):
            sending.send_nowait(ECHO)
        sent = cpu_s()
        await drain(count)
        end = cpu_s()
    return TellCost((sent - start) / messages, (end - sent) / messages)


def figures_of_tells(rounds: int, scale: float, libraries: Sequence[Library]) -> list[Figure]:
    """Return figures for sending, draining and their sum; the target applies to the last two."""
    messages = int(_MESSAGES * scale)
    contenders: dict[str, Callable[[], TellCost]] = {
        "ours": lambda: trio.run(tell, messages),
        "raw channel": lambda: trio.run(raw_channel, messages),
    }
    for library in libraries:
        contenders[library.name] = partial(library.tell, messages)
    samples = alternate(contenders, rounds)
    ours = samples.pop("ours")
    raw = samples.pop("raw channel")

    def figure(part: str, us: Callable[[TellCost], float], *, is_target: bool) -> Figure:
        return Figure(
            f"tell to a busy actor, {part}",
            "us",
            [us(cost) for cost in ours],
            "raw channel",
            [us(cost) for cost in raw],
            at_most=_AT_MOST_US if is_target else None,
            is_ratio=False,
        )

    return [
        figure("sending", lambda cost: cost.sending_s * 1e6, is_target=False),
        figure("draining", lambda cost: cost.draining_s * 1e6, is_target=True),
        figure("sum", lambda cost: cost.sum_s * 1e6, is_target=True),
        *(
            Figure(
                "tell to a busy actor, sum",
                "us",
                [cost.sum_s * 1e6 for cost in ours],
                name,
                [cost.sum_s * 1e6 for cost in theirs],
            )
            for name, theirs in samples.items()
        ),
    ]
