"""The signals of a command: what ends it, and which of them are one and the same.

A signal for a process group reaches a command twice if its parent forwards it, as `uv run` and
`npm run` do. So the signals of a moment count as one.
"""

import signal
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from math import inf
from typing import TypeVar, final

import trio

from ..runtime import open_collapsing_nursery

__all__ = ["STOP_SIGNALS", "SignalBurst", "open_signals", "run_until_signal"]

T = TypeVar("T")

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""The signals that end a command."""

_MOMENT_S = 0.3  # a forwarded signal takes milliseconds; a person needs longer for a second one


@final
class SignalBurst:
    """Tells a signal from its repetitions: those within a moment after it. Pure (R14)."""

    def __init__(self) -> None:
        self.ends_at = -inf
        """The end of the moment, in seconds on Trio's clock."""

    def starts(self, now: float) -> bool:
        """Return whether a signal is a new one, and not a repetition.

        Args:
            now: the time of the signal, in seconds on Trio's clock.
        """
        if now < self.ends_at:
            return False
        self.ends_at = now + _MOMENT_S
        return True


@asynccontextmanager
async def open_signals(
    on_stop: Callable[[], None],
    *,
    stops: Collection[int] = STOP_SIGNALS,
    others: Collection[int] = (),
    on_other: Callable[[int], Awaitable[None]] | None = None,
) -> AsyncGenerator[None]:
    """Handle signals until the block ends, and until the repetitions of the last one have come.

    Args:
        on_stop: called when a signal is to end the command; once for those of a moment.
        stops: the signals that end the command.
        others: signals with another meaning.
        on_other: called with the number of such a signal, each time.
    """
    burst = SignalBurst()

    async def handle(task_status: trio.TaskStatus[trio.CancelScope]) -> None:
        # Shielded: a signal that nothing receives is raised again when the receiver is closed.
        with (
            trio.CancelScope(shield=True) as scope,
            trio.open_signal_receiver(*stops, *others) as signals,
        ):
            task_status.started(scope)
            async for number in signals:
                if number in others:
                    if on_other is not None:
                        await on_other(number)
                elif burst.starts(trio.current_time()):
                    on_stop()

    async with open_collapsing_nursery() as nursery:
        handling = await nursery.start(handle)
        try:
            yield
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep_until(max(burst.ends_at, trio.current_time()))
            handling.cancel()


async def run_until_signal(run: Callable[[], Awaitable[T]]) -> T | None:
    """Run a function, which the first signal cancels.

    Args:
        run: the function, which does not return None.

    Returns:
        What the function returns; None if a signal stopped it.
    """
    found: T | None = None
    with trio.CancelScope() as scope:
        async with open_signals(scope.cancel):
            found = await run()
    return found
