"""Watch a bulk run: one task reads its progress at an interval and passes it on."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, nullcontext

from rich.console import Console
from trio_util import periodic

from ...runtime import open_collapsing_nursery
from ..progress import Progress
from .outlook import History
from .views import LiveView, PlainView, ProgressView

ProgressObserver = Callable[[Progress], None]


@asynccontextmanager
async def open_watch(
    progress: Callable[[], Progress],
    console: Console | None,
    *,
    every_s: float = 0.25,
    log_every_s: float = 10.0,
    observers: Sequence[ProgressObserver] = (),
) -> AsyncGenerator[None]:
    """Show a run while the block runs; its last state stays on the screen.

    Args:
        progress: returns the progress of the run.
        console: a terminal gets a live display, any other stream gets plain lines; None shows
            nothing.
        every_s: seconds between two readings of the progress.
        log_every_s: seconds between two plain lines.
        observers: called with each reading, the first and the last included; for example
            `Series.sample` and `EventLog.sample`.
    """
    view = _view(console, log_every_s)
    history = History(progress())

    def update(*, is_over: bool = False) -> None:
        history.add(progress())
        for observer in observers:
            observer(history.latest)
        if view is not None:
            view.show(history, is_over=is_over)

    async def update_repeatedly() -> None:
        async for _ in periodic(every_s):
            update()

    with view or nullcontext():
        update()
        try:
            async with open_collapsing_nursery() as nursery:
                nursery.start_soon(update_repeatedly)
                yield
                nursery.cancel_scope.cancel()
        finally:
            update(is_over=True)


def _view(console: Console | None, log_every_s: float) -> ProgressView | None:
    if console is None:
        return None
    if console.is_terminal and not console.is_dumb_terminal:
        return LiveView(console)
    return PlainView(console, log_every_s)
