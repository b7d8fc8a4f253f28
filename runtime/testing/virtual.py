"""A Trio run in virtual time, in an order that a seed repeats (R13)."""

from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from typing import TypeVar, TypeVarTuple

import trio
import trio.testing
from trio._core import _run as scheduler

__all__ = ["run_virtual"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


def run_virtual(
    async_fn: Callable[[*Ts], Awaitable[T]],
    *args: *Ts,
    seed: int | str = 0,
    instruments: Sequence[trio.abc.Instrument] = (),
) -> T:
    """Run an async function to its end, as `trio.run` does, in virtual time and a seeded order.

    The clock jumps on whenever every task waits, so an hour costs nothing. Where several tasks
    could run, the seed decides: the same seed gives the same order again, another one a different
    order that Trio allows, too. (Trio orders what expires at the very same instant by where it
    lies in memory; only that is not repeated.)

    Args:
        async_fn: what to run.
        *args: its arguments.
        seed: of the order.
        instruments: Trio's own, as for `trio.run`.

    Raises:
        Exception: whatever `async_fn` raises.
    """
    clock = trio.testing.MockClock(autojump_threshold=0)
    with _seeded_order(seed):
        return trio.run(async_fn, *args, clock=clock, instruments=instruments)


@contextmanager
def _seeded_order(seed: int | str) -> Generator[None]:
    # Private, because Trio promises no order to anyone; its own tests, Hypothesis and pytest-trio
    # set the same two, and nothing public does.
    was_allowed = scheduler._ALLOW_DETERMINISTIC_SCHEDULING  # noqa: SLF001  # see above
    state = scheduler._r.getstate()  # noqa: SLF001  # see above
    _allow(is_allowed=True)
    scheduler._r.seed(seed)  # noqa: SLF001  # see above
    try:
        yield
    finally:
        scheduler._r.setstate(state)  # noqa: SLF001  # see above
        _allow(is_allowed=was_allowed)


def _allow(*, is_allowed: bool) -> None:
    scheduler._ALLOW_DETERMINISTIC_SCHEDULING = is_allowed  # type: ignore[misc]  # noqa: SLF001  # Final, but for tests
