"""Signals, where the app asks for them: SIGINT and SIGTERM stop, SIGUSR1 shows the tree."""

import signal
import sys
from collections.abc import Callable, Sequence

import trio

__all__ = ["watch_signals"]


async def watch_signals(
    stop: Sequence[trio.CancelScope],
    show: Callable[[], None] | None,
    task_status: trio.TaskStatus[None],
) -> None:
    """Act on signals until cancelled.

    Args:
        stop: what SIGINT and SIGTERM cancel, one at each signal; the last one, together with all
            before it, is what stops at once. Empty: they are left alone.
        show: what SIGUSR1 calls; None: it is left alone.
        task_status: is told when signals are acted on.
    """
    wanted = [signal.SIGINT, signal.SIGTERM] if stop else []
    if show is not None and sys.platform != "win32":
        wanted.append(signal.SIGUSR1)
    if not wanted:  # there is no SIGUSR1 on Windows
        task_status.started()
        return
    left = list(stop)
    with trio.open_signal_receiver(*wanted) as signals:
        task_status.started()
        async for number in signals:
            if number in (signal.SIGINT, signal.SIGTERM):
                if left:
                    left.pop(0).cancel()
            elif show is not None:
                show()
