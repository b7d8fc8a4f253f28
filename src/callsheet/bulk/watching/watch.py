"""Watching a bulk run: one task looks at it every so often and tells whoever wants to know."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, nullcontext

from rich.console import Console
from trio_util import periodic

from ...runtime import open_collapsing_nursery
from ..progress import Progress
from .faces import LiveView, PlainView, ProgressView
from .history import History

__all__ = ["ProgressObserver", "open_watch"]

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
    """Show a run for as long as the block lasts, and leave on the screen how it ended.

    Args:
        progress: says how the run stands.
        console: a terminal gets a live display; anything else, plain lines; None, nothing.
        every_s: seconds between two looks at it.
        log_every_s: seconds between two plain lines.
        observers: are told of how it stands at every look, the first and the last included, such
            as `Series.sample` and `EventLog.sample`.
    """
    face = _face(console, log_every_s)
    history = History(progress())

    def look(*, is_over: bool = False) -> None:
        history.add(progress())
        for observer in observers:
            observer(history.latest)
        if face is not None:
            face.show(history, is_over=is_over)

    async def keep_looking() -> None:
        async for _ in periodic(every_s):
            look()

    with face or nullcontext():
        look()
        try:
            async with open_collapsing_nursery() as nursery:
                nursery.start_soon(keep_looking)
                yield
                nursery.cancel_scope.cancel()
        finally:
            look(is_over=True)


def _face(console: Console | None, log_every_s: float) -> ProgressView | None:
    if console is None:
        return None
    if console.is_terminal and not console.is_dumb_terminal:
        return LiveView(console)
    return PlainView(console, log_every_s)
