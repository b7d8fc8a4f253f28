"""Show the progress of a run: a live tree on a terminal, plain lines elsewhere.

Both displays are observers of call events. Neither uses a thread.
"""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

import trio
from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text
from trio_util import RepeatedEvent, periodic

from ..actors import CallEvent, Observer
from ..runtime import open_collapsing_nursery
from ..trace.timeline import CallRecord, Timeline
from ..wording import printable, seconds
from .live import board

__all__ = ["LiveDisplay", "PlainDisplay", "open_display"]


_TICK_S = 1 / 8  # between two drawings when no event arrives, so that durations advance
_REPORTED_PAUSE_S = 2.0  # without a line, a longer pause would look like a stopped run
_FRAME_S = 1 / 10  # minimum between two drawings: a burst of events must not slow the calls down


class LiveDisplay:
    """Draws a tree of the posts and their calls in place, while `run` runs.

    Args:
        console: the terminal to draw on, usually stderr.
        posts: the topics, by post id.
        steps: the names of the steps of each post, in order.
        clock: returns the current time in seconds, on the same clock as the events.
    """

    def __init__(
        self,
        console: Console,
        posts: Mapping[str, str],
        steps: Sequence[str],
        clock: Callable[[], float] = trio.current_time,
    ) -> None:
        self._console = console
        self._posts = dict(posts)
        self._steps = tuple(steps)
        self._clock = clock
        self._timeline = Timeline()
        self._changed = RepeatedEvent()

    def observe(self, event: CallEvent) -> None:
        """Record one event; this method is an `Observer`."""
        self._timeline.observe(event)
        self._changed.set()

    def draw(self) -> RenderableType:
        """Return the tree as it is now."""
        return board(
            self._timeline,
            self._posts,
            self._steps,
            now=self._clock(),
            size=self._console.size,
        )

    async def run(self) -> None:
        """Redraw the tree until cancelled, then remove it from the terminal."""
        with Live(
            console=self._console,
            get_renderable=self.draw,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,  # results are written there, and it may be a file
        ) as live:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._draw_changes, live)
                async for _ in periodic(_TICK_S):
                    live.refresh()

    async def _draw_changes(self, live: Live) -> None:
        while True:
            await self._changed.wait()
            live.refresh()
            await trio.sleep(_FRAME_S)  # events in the meantime are drawn at the next tick


class PlainDisplay:
    """Prints a line for each call that ends or waits long for a retry; for pipes and log files.

    The first retry of a run always gets a line, because it explains why the run is slow.

    Args:
        console: the console to print on, usually stderr.
        posts: the topics, by post id.
    """

    def __init__(self, console: Console, posts: Mapping[str, str]) -> None:
        self._console = console
        self._posts = dict(posts)
        self._timeline = Timeline()
        self._min_pause_s = 0.0  # shorter pauses get no line

    def observe(self, event: CallEvent) -> None:
        """Print a line if the event needs one; this method is an `Observer`."""
        self._timeline.observe(event)
        call = self._timeline.call(event.context.call)
        message = _message(event, call, self._min_pause_s)
        if event.stage == "retrying":
            self._min_pause_s = _REPORTED_PAUSE_S
        if message is not None:
            at = event.at - self._timeline.started_at
            line = printable(f"{self._name(call)} {message}")
            # A Text, because the console interprets markup, emoji and numbers in a str.
            self._console.print(Text(f"[{at:5.2f}s] {line}"), soft_wrap=True)

    def _name(self, call: CallRecord) -> str:
        post = call.post
        return call.label if post is None else f"{self._posts.get(post, post)}: {call.label}"


def _message(event: CallEvent, call: CallRecord, min_pause_s: float) -> str | None:
    """Return the text of the line for an event; None if the event gets no line."""
    took = seconds(call.seconds(event.at))
    match event.stage:
        case "answered":
            tokens = "" if call.usage is None else f", {call.usage.total_tokens:,} tokens"
            return f"done in {took}{tokens}"
        case "shared":
            return f"shared in {took}"
        case "failed":
            return f"failed after {took}: {event.error}"
        case "retrying" if event.delay is not None and event.delay >= min_pause_s:
            return f"retrying in {seconds(event.delay)}: {event.error}"
        case _:
            return None


@asynccontextmanager
async def open_display(
    console: Console,
    posts: Mapping[str, str],
    steps: Sequence[str],
    clock: Callable[[], float] = trio.current_time,
) -> AsyncGenerator[Observer]:
    """Display a run while the block runs; yield the observer to pass every call event to.

    Args:
        console: a terminal gets the live tree, any other stream gets plain lines.
        posts: the topics, by post id.
        steps: the names of the steps of each post, in order.
        clock: returns the current time in seconds, on the same clock as the events.
    """
    if not console.is_terminal or console.is_dumb_terminal:
        yield PlainDisplay(console, posts).observe
        return
    display = LiveDisplay(console, posts, steps, clock)
    async with open_collapsing_nursery() as nursery:
        nursery.start_soon(display.run)
        yield display.observe
        nursery.cancel_scope.cancel()
