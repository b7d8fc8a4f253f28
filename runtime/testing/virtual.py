"""Run Trio in virtual time, in an order of tasks that a seed repeats (R13)."""

from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from typing import TypeVar, TypeVarTuple

import trio
import trio.testing
from trio._core import _run as scheduler

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


def run_virtual(
    async_fn: Callable[[*Ts], Awaitable[T]],
    *args: *Ts,
    seed: int | str = 0,
    instruments: Sequence[trio.abc.Instrument] = (),
) -> T:
    """Run an async function like `trio.run`, in virtual time and in a seeded order of tasks.

    The clock jumps forward whenever all tasks wait, so an hour takes no time. Where several tasks
    could run, the seed decides: the same seed repeats the order, and another seed gives another
    order that Trio allows. (Deadlines at the very same instant are ordered by memory address in
    Trio; that order is not repeated.)

    Args:
        async_fn: the async function to run, such as a test.
        *args: positional arguments for `async_fn`.
        seed: seed of the order of tasks.
        instruments: Trio instruments, as for `trio.run`.

    Returns:
        The result of `async_fn`.

    Raises:
        Exception: as `async_fn`.
    """
    clock = trio.testing.MockClock(autojump_threshold=0)
    with _seeded_order(seed):
        return trio.run(async_fn, *args, clock=clock, instruments=instruments)


@contextmanager
def _seeded_order(seed: int | str) -> Generator[None]:
    # Private, since Trio promises no order. Its own tests, Hypothesis and pytest-trio set the same
    # two variables; there is no public way.
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
    scheduler._ALLOW_DETERMINISTIC_SCHEDULING = is_allowed  # type: ignore[misc]  # noqa: SLF001  # Final, but made for tests
