"""What a person sees of a run while it lasts: a live tree on a terminal, plain lines elsewhere.

Both are observers of the calls' events. Neither uses a thread.
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

__all__ = [
    "LiveDisplay",
    "PlainDisplay",
    "open_display",
]


_TICK_S = 1 / 8  # how often seconds that run are seen to run
_WORTH_A_LINE_S = 2.0  # a pause this long looks like a standstill unless it is told
_FRAME_S = 1 / 10  # the least between two drawings: a burst of events must not slow the calls down


class LiveDisplay:
    """A tree of the posts and their calls, drawn in place for as long as `run` runs.

    Args:
        console: the terminal, stderr in general.
        posts: the topics, by post id.
        steps: the names of the steps that each post will take, in their order.
        clock: tells the time of the events, in seconds.
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
        """Take in one event; an `Observer`."""
        self._timeline.observe(event)
        self._changed.set()

    def draw(self) -> RenderableType:
        """The tree at this moment."""
        return board(
            self._timeline,
            self._posts,
            self._steps,
            now=self._clock(),
            size=self._console.size,
        )

    async def run(self) -> None:
        """Keep the tree up to date until cancelled; then the terminal is as it was."""
        with Live(
            console=self._console,
            get_renderable=self.draw,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,  # results go there, and it may well be a file
        ) as live:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._draw_changes, live)
                async for _ in periodic(_TICK_S):
                    live.refresh()

    async def _draw_changes(self, live: Live) -> None:
        while True:
            await self._changed.wait()
            live.refresh()
            await trio.sleep(_FRAME_S)  # what happens meanwhile is seen at the next tick


class PlainDisplay:
    """A line for each call that ends, or pauses for long; for pipes and log files.

    The first retry of a run has a line in any case: whoever watches a run that does not get on
    wants to know why.

    Args:
        console: where the lines go, stderr in general.
        posts: the topics, by post id.
    """

    def __init__(self, console: Console, posts: Mapping[str, str]) -> None:
        self._console = console
        self._posts = dict(posts)
        self._timeline = Timeline()
        self._least_pause_s = 0.0  # that is worth a line

    def observe(self, event: CallEvent) -> None:
        """Take in one event; an `Observer`."""
        self._timeline.observe(event)
        call = self._timeline.call(event.context.call)
        said = _words(event, call, self._least_pause_s)
        if event.stage == "retrying":
            self._least_pause_s = _WORTH_A_LINE_S
        if said is not None:
            at = event.at - self._timeline.started_at
            line = printable(f"{self._name(call)} {said}")
            # A Text and no str: the console looks for markup, emoji and numbers in a str.
            self._console.print(Text(f"[{at:5.2f}s] {line}"), soft_wrap=True)

    def _name(self, call: CallRecord) -> str:
        post = call.post
        return call.label if post is None else f"{self._posts.get(post, post)}: {call.label}"


def _words(event: CallEvent, call: CallRecord, least_pause_s: float) -> str | None:
    """What a line says of an event; None if there is no line for it."""
    took = seconds(call.seconds(event.at))
    match event.stage:
        case "answered":
            tokens = "" if call.usage is None else f", {call.usage.total_tokens:,} tokens"
            return f"done in {took}{tokens}"
        case "shared":
            return f"shared in {took}"
        case "failed":
            return f"failed after {took}: {event.error}"
        case "retrying" if event.delay is not None and event.delay >= least_pause_s:
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
    """Show a run for as long as the block lasts; what it yields is to be told of every event.

    Args:
        console: a terminal gets the live tree; anything else, plain lines.
        posts: the topics, by post id.
        steps: the names of the steps that each post will take, in their order.
        clock: tells the time of the events, in seconds.
    """
    if not console.is_terminal or console.is_dumb_terminal:
        yield PlainDisplay(console, posts).observe
        return
    display = LiveDisplay(console, posts, steps, clock)
    async with open_collapsing_nursery() as nursery:
        nursery.start_soon(display.run)
        yield display.observe
        nursery.cancel_scope.cancel()
