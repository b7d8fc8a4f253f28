"""Measure the memory that many failed and expired asks leave behind."""

import gc
import resource
import sys
from functools import partial

import attrs
import trio

from bench_kit.figures import Figure
from callsheet.runtime import (
    Actor,
    AskTimedOut,
    Message,
    Ref,
    ReplySlot,
    defers,
    handles,
    open_runtime,
)

__all__ = ["figures_of_failures"]

_ASKS = 1_000_000  # half of them fail, half of them expire
_WARM_UP = 100_000
_CALLERS = 500  # at the same time
_TIMEOUT_S = 0.001
_AT_MOST_MIB = 2.0  # of growth after the warm-up


class Refused(Exception):
    """The error that the handler declares."""


@attrs.frozen
class Fail(Message[None]):
    """Is replied to with an error."""


@attrs.frozen
class Ignore(Message[None]):
    """Is never replied to."""


class Failing(Actor):
    """Fails each ask in one of two ways."""

    @handles(Fail, raises=(Refused,))
    async def fail(self, _: Fail) -> None:
        """Raise the declared error."""
        raise Refused

    @defers(Ignore)
    async def ignore(self, message: Ignore, slot: ReplySlot[None]) -> None:
        """Send no reply."""


async def _call(ref: Ref, asks: int) -> None:
    for number in range(asks):
        try:
            if number % 2:
                await ref.ask(Fail())
            else:
                await ref.ask(Ignore(), timeout=_TIMEOUT_S)
        except (Refused, AskTimedOut):
            continue


def _peak_mib() -> float:
    """Return the largest resident memory of this process so far."""
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


async def grow(asks: int) -> float:
    """Return the MiB by which the process grows while asks fail and expire.

    The garbage collector is off, so that whatever an ask leaves in a reference cycle is counted.
    """
    async with open_runtime("bench", seed="bench") as runtime:
        ref = await runtime.spawn("failing", Failing, capacity=_CALLERS)
        gc.collect()
        gc.disable()
        try:
            await _burst(ref, max(_CALLERS, asks * _WARM_UP // _ASKS))
            before = _peak_mib()
            await _burst(ref, asks)
            return _peak_mib() - before
        finally:
            gc.enable()


async def _burst(ref: Ref, asks: int) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(_CALLERS):
            nursery.start_soon(_call, ref, asks // _CALLERS)


def figures_of_failures(scale: float) -> list[Figure]:
    """Return the growth of the process's memory over many failed and expired asks."""
    asks = int(_ASKS * scale)
    return [
        Figure(
            f"memory left by {asks:,} failed and expired asks, without garbage collection",
            "MiB",
            [trio.run(partial(grow, asks))],
            at_most=_AT_MOST_MIB,
            is_ratio=False,
        )
    ]
