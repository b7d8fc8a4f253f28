"""Watch a bulk run: read its progress at an interval, and show it.

It is drawn in place on a terminal, and printed as lines elsewhere.
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, nullcontext
from math import inf
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.control import Control
from rich.live import Live
from rich.segment import ControlType, Segment
from rich.text import Text
from trio_util import periodic

from ...runtime import open_collapsing_nursery
from ...wording import dollars, duration, percent, printable, rate
from ..progress import Progress
from .outlook import History, Outlook, limit_name, outlook
from .panel import (
    batches_text,
    bounds,
    budget_text,
    errors_text,
    is_held_by_concurrency,
    overdraft_text,
    panel,
    reused_rows,
    room_text,
    rows_text,
    run_state,
    workers_text,
)


class ProgressView(Protocol):
    """Shows a run while it is entered."""

    def __enter__(self) -> object: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def show(self, history: History, *, is_over: bool) -> None:
        """Show the current progress.

        Args:
            history: the progress of the last minute.
            is_over: True if the run has ended.
        """
        ...


class LiveView:
    """Draws a run in place, and leaves the last drawing on the screen.

    Args:
        console: the terminal to draw on.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(
            console=console,
            auto_refresh=False,  # it would need a thread
            redirect_stdout=False,  # results are written there, and it may be a file
        )
        self._widths: list[int] = []  # columns of each line on the screen

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def show(self, history: History, *, is_over: bool) -> None:
        """Draw the current progress."""
        console, progress = self._console, history.latest
        lines = panel(progress, outlook(history), console.size, is_over=is_over)
        self._take_back_wrapped(console.width)
        self._widths = [_width(console, line) for line in lines]
        self._live.update(Group(*lines), refresh=True)

    def _take_back_wrapped(self, width: int) -> None:
        """Move up over lines that the terminal wrapped when it became narrower."""
        more = sum(max(0, -(-drawn // max(1, width)) - 1) for drawn in self._widths)
        erase_and_up = ((ControlType.ERASE_IN_LINE, 2), (ControlType.CURSOR_UP, 1))
        self._console.control(*(Control(code) for _ in range(more) for code in erase_and_up))


class PlainView:
    """Prints a line at an interval, when the run is paused or resumed, and at the end.

    The first line about a failing provider is printed at once, and further ones at the interval.

    Args:
        console: the console to print on.
        every_s: the interval in seconds.
    """

    def __init__(self, console: Console, every_s: float) -> None:
        self._console = console
        self._every_s = every_s
        self._next_at: float | None = None
        self._stood = "running"
        self._trouble_from = -inf  # when trouble gets a line of its own again

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass

    def show(self, history: History, *, is_over: bool) -> None:
        """Print a line if it is due."""
        progress = history.latest
        stands = run_state(progress, is_over=is_over)
        if self._next_at is None:
            self._next_at = progress.now + self._every_s
        is_news = bool(progress.trouble) and progress.now >= self._trouble_from
        if stands == self._stood and progress.now < self._next_at and not is_news:
            return
        if progress.trouble:
            self._trouble_from = progress.now + self._every_s
        self._stood, self._next_at = stands, progress.now + self._every_s
        # A Text, because the console interprets markup, emoji and numbers in a str.
        line = Text(log_line(progress, outlook(history), is_over=is_over))
        self._console.print(line, soft_wrap=True)


def _width(console: Console, line: RenderableType) -> int:
    """Return the number of columns that a line takes."""
    drawn = console.render_lines(line, pad=False)
    return max((Segment.get_line_length(segments) for segments in drawn), default=0)


def log_line(progress: Progress, look: Outlook, *, is_over: bool = False) -> str:
    """Format the progress of a run as one line of plain text.

    Args:
        progress: the current progress.
        look: the rates and estimates.
        is_over: True if the run has ended.
    """
    share = ""
    if progress.total:
        share = f" ({percent(min(1.0, progress.ended / progress.total))})"
    parts = [f"{run_state(progress, is_over=is_over)}: {rows_text(progress)}{share}"]
    if reused := reused_rows(progress, is_over=is_over):
        parts.append(reused)
    if is_over:
        parts += [f"{rate(look.mean_rate)} rows/s on average", dollars(progress.cost_usd)]
    else:
        limits = progress.limits
        in_flight = progress.in_flight if limits is None else limits.in_flight
        why = ", the limit of --max-concurrency" if is_held_by_concurrency(progress, look) else ""
        calls = workers_text(progress) or f"{in_flight:,} in flight{why}"
        parts += [f"{rate(look.rate)} rows/s", calls]
        if batches := batches_text(progress):
            parts.append(batches)
        if progress.retrying:
            parts.append(f"{progress.retrying:,} waiting for a retry")
        parts += [
            f"{printable(limit_name(use))} at {percent(use.share)}"
            for use in look.limits[:2]  # usually requests and tokens
        ]
        parts.append(_spend(progress, look))
        if look.eta_s is not None:
            parts.append(f"{duration(look.eta_s)} left")
    if progress.trouble and not is_over:
        parts.append(f"no responses: {printable(progress.trouble)}")
    if progress.unpriced:
        parts.append(f"{progress.unpriced:,} of unknown cost")
    parts += bounds(progress)
    if progress.maybe_billed:
        parts.append(f"{progress.maybe_billed:,} may have been billed without a response")
    if errors := errors_text(progress):
        parts.append(errors)
    if budget := budget_text(progress):
        found = [] if is_over else [room_text(progress), overdraft_text(progress, look)]
        words = "; ".join(text for text in found if text)
        parts.append(f"budget {budget}" + (f" ({words})" if words else ""))
    passed = max(0.0, progress.now - progress.started_at)
    return f"[{passed:7.1f}s] {', '.join(parts)}"


def _spend(progress: Progress, look: Outlook) -> str:
    spent = dollars(progress.cost_usd)
    return spent if look.projected_usd is None else f"{spent} of {dollars(look.projected_usd)}"


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
