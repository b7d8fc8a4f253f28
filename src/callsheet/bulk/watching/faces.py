"""How a run is put before a person: drawn in place on a terminal, or line by line elsewhere."""

from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.control import Control
from rich.live import Live
from rich.segment import ControlType, Segment
from rich.text import Text

from .history import History
from .log_line import log_line
from .outlook import outlook
from .panel import panel, standing

__all__ = ["LiveView", "PlainView", "ProgressView"]


class ProgressView(Protocol):
    """Shows a run for as long as it is entered."""

    def __enter__(self) -> object: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def show(self, history: History, *, is_over: bool) -> None:
        """Show the run as it stands."""
        ...


class LiveView:
    """Draws a run in place, and leaves the last drawing where it is.

    Args:
        console: the terminal.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(
            console=console,
            auto_refresh=False,  # that would take a thread
            redirect_stdout=False,  # results go there, and it may well be a file
        )
        self._widths: list[int] = []  # of the lines on the screen

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
        """Draw the run as it stands."""
        console, progress = self._console, history.latest
        lines = panel(progress, outlook(history), console.size, is_over=is_over)
        self._take_back_wrapped(console.width)
        self._widths = [_width(console, line) for line in lines]
        self._live.update(Group(*lines), refresh=True)

    def _take_back_wrapped(self, width: int) -> None:
        """Go up by as many lines as the terminal made more of when it became narrower."""
        more = sum(max(0, -(-drawn // max(1, width)) - 1) for drawn in self._widths)
        erase_and_up = ((ControlType.ERASE_IN_LINE, 2), (ControlType.CURSOR_UP, 1))
        self._console.control(*(Control(code) for _ in range(more) for code in erase_and_up))


class PlainView:
    """Prints a line every so often, whenever the run is paused or resumed, and at the end.

    Args:
        console: where the lines go.
        every_s: how often, in seconds.
    """

    def __init__(self, console: Console, every_s: float) -> None:
        self._console = console
        self._every_s = every_s
        self._next_at: float | None = None
        self._stood = "running"

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
        """Print a line, if it is time for one."""
        progress = history.latest
        stands = standing(progress, is_over=is_over)
        if self._next_at is None:
            self._next_at = progress.now + self._every_s
        if stands == self._stood and progress.now < self._next_at:
            return
        self._stood, self._next_at = stands, progress.now + self._every_s
        # A Text and no str: the console looks for markup, emoji and numbers in a str.
        line = Text(log_line(progress, outlook(history), is_over=is_over))
        self._console.print(line, soft_wrap=True)


def _width(console: Console, line: RenderableType) -> int:
    """How many columns a line takes when it is drawn."""
    drawn = console.render_lines(line, pad=False)
    return max((Segment.get_line_length(segments) for segments in drawn), default=0)
