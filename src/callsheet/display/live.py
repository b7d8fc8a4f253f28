"""Draw a run for a terminal: a tree of posts and their calls, and a progress bar.

Pure (R14): each drawing is computed from the timeline. It is never higher than the screen. If the
whole tree does not fit, only running calls are shown; if these do not fit either, each running
post gets one line, for as many posts as fit.
"""

from collections.abc import Iterator, Mapping, Sequence

import attrs
from rich.cells import cell_len, set_cell_size
from rich.console import ConsoleDimensions, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from ..trace.timeline import CallRecord, CallTotals, Timeline
from ..wording import dollars, printable, seconds

_STYLES = {
    "waiting": "dim",
    "queued": "yellow",
    "in flight": "cyan",
    "retrying": "bold yellow",
    "done": "green",
    "shared": "green",
    "failed": "bold red",
    "cancelled": "dim",
    "skipped": "dim",
}
_STATE_WIDTH = max(map(len, _STYLES))
_TIME_WIDTH = 12
_NAME_WIDTH = 28  # at most
_BAR_WIDTH = 28  # at most
_BELOW = 3  # lines below the tree: the totals, the bar, the cursor


def board(
    timeline: Timeline,
    posts: Mapping[str, str],
    steps: Sequence[str],
    *,
    now: float,
    size: ConsoleDimensions,
) -> RenderableType:
    """Draw a run at one moment.

    Args:
        timeline: the run so far.
        posts: the topics of all posts, by post id.
        steps: the names of the steps of each post, in order.
        now: the current time, in seconds on Trio's clock.
        size: the columns and lines that the drawing must fit into.
    """
    drawn = list(_posts(timeline, posts, steps))
    bar = _bar(timeline, drawn, now, size.width)
    room = max(1, size.height - _BELOW)
    if sum(1 + len(post.rows) for post in drawn) <= room:
        return Group(*(_tree(post, post.rows, now, size.width) for post in drawn), bar)
    running = [post for post in drawn if post.running]
    if sum(1 + len(post.running) for post in running) <= room:
        trees = (_tree(post, post.running, now, size.width) for post in running)
        return Group(*trees, _totals(drawn, hidden=0), bar)
    error = _latest_error(running)
    room -= 1 if error and room > 1 else 0
    lines = [_brief(post, now, size.width) for post in running[:room]]
    if error:
        lines.append(_line((f"retrying: {printable(error)}", _STYLES["retrying"])))
    return Group(*lines, _totals(drawn, hidden=max(0, len(running) - room)), bar)


@attrs.frozen
class _TreeRow:
    """A call, or a step that has no call yet."""

    name: str
    state: str
    call: CallRecord | None = None

    @property
    def running(self) -> bool:
        return self.call is not None and self.call.finished_at is None

    @property
    def ended(self) -> bool:
        return self.call is not None and self.call.finished_at is not None


@attrs.frozen
class _PostTree:
    title: str
    rows: tuple[_TreeRow, ...]

    @property
    def known(self) -> int:
        """The number of calls made so far, plus the steps that are still to come."""
        return sum(row.state != "skipped" for row in self.rows)

    @property
    def ended(self) -> int:
        return sum(row.ended for row in self.rows)

    @property
    def running(self) -> tuple[_TreeRow, ...]:
        return tuple(row for row in self.rows if row.running)

    @property
    def started(self) -> bool:
        return any(row.call is not None for row in self.rows)

    @property
    def finished(self) -> bool:
        return self.started and self.ended == self.known

    @property
    def failed(self) -> bool:
        return self.finished and any(row.state == "failed" for row in self.rows)

    def seconds(self, now: float) -> float:
        """Seconds from the start of the first call to the end of the last one, or to now."""
        calls = [row.call for row in self.rows if row.call is not None]
        ends = [now if call.finished_at is None else call.finished_at for call in calls]
        end = max(ends, default=now) if self.finished else now
        return end - min((call.asked_at for call in calls), default=end)


def _posts(
    timeline: Timeline, posts: Mapping[str, str], steps: Sequence[str]
) -> Iterator[_PostTree]:
    """Yield the given posts in their order, and then any other posts of the timeline."""
    for post in dict.fromkeys([*posts, *timeline.posts]):
        title = "calls" if post is None else posts.get(post, post)
        yield _PostTree(printable(title), tuple(_rows(timeline.of_post(post), steps)))


def _rows(calls: Sequence[CallRecord], steps: Sequence[str]) -> Iterator[_TreeRow]:
    """Yield the steps in their order, each with its calls, and then calls of unknown steps."""
    by_step: dict[str | None, list[CallRecord]] = {step: [] for step in steps}
    for call in calls:
        by_step.setdefault(call.step, []).append(call)
    failed = any(call.state == "failed" for call in calls)
    stopped = failed and all(call.finished_at is not None for call in calls)
    for step, made in by_step.items():
        for call in made:
            yield _TreeRow(printable(call.label), call.state, call)
        if not made and step is not None:
            yield _TreeRow(printable(step), "skipped" if stopped else "waiting")


def _tree(post: _PostTree, rows: Sequence[_TreeRow], now: float, width: int) -> Tree:
    tail = f"  {post.ended}/{post.known}  {seconds(post.seconds(now))}"
    header = _line((_clip(post.title, width - len(tail)), "bold"), (tail, "dim"))
    names = min(_NAME_WIDTH, max((cell_len(row.name) for row in post.rows), default=0))
    tree = Tree(header, guide_style="dim")
    for row in rows:
        tree.add(_row(row, names, now))
    return tree


def _row(row: _TreeRow, names: int, now: float) -> Text:
    call, style = row.call, _STYLES[row.state]
    name = (set_cell_size(row.name, names), "dim" if call is None else "")
    state = (f"  {row.state:{_STATE_WIDTH}}", style)
    if call is None:
        return _line(name, state)
    took = (f"{seconds(call.seconds(now)):>{_TIME_WIDTH}}", "")
    if call.error is not None:
        since = "" if row.state in {"retrying", "failed"} else "after "
        return _line(name, state, took, (f"  {since}{printable(call.error)}", style))
    tokens = "" if call.usage is None else f"{call.usage.total_tokens:>8,} tokens"
    return _line(name, state, took, (tokens, "dim"))


def _brief(post: _PostTree, now: float, width: int) -> Text:
    """Draw a post as one line, with the names of its running calls."""
    title = set_cell_size(_clip(post.title, width // 2), width // 2)
    figures = f"  {post.ended:>3}/{post.known:<3}{seconds(post.seconds(now)):>{_TIME_WIDTH}}  "
    names = ", ".join(row.name for row in post.running)
    return _line((title, "bold"), (figures, "dim"), (names, _STYLES["in flight"]))


def _latest_error(posts: Sequence[_PostTree]) -> str | None:
    """Return the error of a call that waits for a retry; None if there is none."""
    calls = (row.call for post in posts for row in post.running if row.state == "retrying")
    return next((call.error for call in calls if call is not None and call.error), None)


def _totals(posts: Sequence[_PostTree], *, hidden: int) -> Text:
    """Draw the line with the numbers of posts that the tree does not show."""
    failed = sum(post.failed for post in posts)
    done = sum(post.finished for post in posts) - failed
    waiting = sum(not post.started for post in posts)
    parts = [f"{done} done", f"{waiting} waiting"]
    parts += [f"{failed} failed"] if failed else []
    parts += [f"{hidden} more running"] if hidden else []
    return _line((", ".join(parts), "dim"))


def _bar(timeline: Timeline, posts: Sequence[_PostTree], now: float, width: int) -> RenderableType:
    ended = sum(post.ended for post in posts)
    known = sum(post.known for post in posts)
    cost = dollars(CallTotals.of(timeline.calls, now).cost_usd)
    elapsed = now - timeline.started_at if timeline.calls else 0.0
    words = f"{ended}/{known} calls  {'cost ' if cost == 'unknown' else ''}{cost}  "
    text = _line((words + seconds(elapsed), ""))
    room = max(1, min(_BAR_WIDTH, width - text.cell_len - 2))
    line = Table.grid(padding=(0, 1))
    line.add_row(ProgressBar(total=max(1, known), completed=ended, width=room), text)
    return line


def _clip(text: str, width: int) -> str:
    clipped = Text(text)
    clipped.truncate(max(1, width), overflow="ellipsis")
    return clipped.plain


def _line(*parts: tuple[str, str]) -> Text:
    """One line of (text, style) parts, truncated at the screen's width; markup is not parsed."""
    return Text.assemble(*parts, no_wrap=True, overflow="ellipsis")
