"""Render a run as one self-contained HTML page: figures, a Gantt chart and a table for each post.

This module computes the geometry, in percent of the chart's width and in rows; the template only
places it. Texts from topics and providers are escaped.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise

import attrs

from .._version import __version__
from ..templates import PageFigure, page_template
from ..wording import dollars, printable, retries, seconds
from .timeline import CallPhase, CallRecord, CallTotals, Timeline

_OPEN_POSTS = 3  # with more of them, only the first is unfolded
_MAX_TICKS = 12
_NEAR_ZERO = 0.02  # share of the width: an axis that would start below it starts at zero
_VISIBLE = 0.1  # percent of the width: a shorter wait is not visible, and not drawn
_NOT_ENDED = "not ended"


def trace_page(
    timeline: Timeline, titles: Mapping[str, str], critical: Mapping[str, tuple[str, ...]]
) -> str:
    """Return the HTML page of a run; it loads no other file and runs no script.

    Args:
        timeline: the calls of the run.
        titles: the topics, by post id.
        critical: the call ids on the critical path of each post, by post id.
    """
    posts = [
        _PostChart.of(
            title="Calls" if post is None else printable(titles.get(post, post)),
            calls=calls,
            critical=critical.get(post or "", ()),
            timeline=timeline,
        )
        for post, calls in timeline.by_post(titles)
    ]
    return page_template("trace.html.j2").render(
        title=posts[0].title if len(posts) == 1 else f"{len(posts)} posts",
        figures=_figures(timeline, posts),
        kinds={bar.kind for post in posts for row in post.rows for bar in row.bars},
        posts=posts,
        unfolded=len(posts) if len(posts) <= _OPEN_POSTS else 1,
        version=__version__,
    )


@attrs.frozen
class _Scale:
    """The time axis of a chart: from `start` to `end`, in seconds on Trio's clock."""

    zero: float  # the start of the run
    start: float
    end: float

    @classmethod
    def of(cls, zero: float, start: float, end: float) -> "_Scale":
        """The axis of one post; it starts at zero if the post starts soon after the run."""
        return cls(zero, zero if start - zero < _NEAR_ZERO * (end - zero) else start, end)

    def at(self, time: float) -> float:
        """Return the position of a time, in percent of the width."""
        width = self.end - self.start
        return 100 * (time - self.start) / width if width > 0 else 0.0

    def ticks(self) -> list[tuple[float, str]]:
        """Return round times of the run along the axis: (percent, text)."""
        width = self.end - self.start
        if width <= 0:
            return [(0.0, "0 s")]
        power = 10 ** math.floor(math.log10(width / _MAX_TICKS))
        step = next(n * power for n in (1, 2, 5, 10, 20) if width / (n * power) <= _MAX_TICKS)
        first = math.ceil((self.start - self.zero) / step - 1e-9)
        last = math.floor((self.end - self.zero) / step + 1e-9)
        places = max(0, -math.floor(math.log10(step)))
        return [
            (self.at(self.zero + n * step), f"{n * step:.{places}f} s")
            for n in range(first, last + 1)
        ]


@attrs.frozen
class _Bar:
    left: float
    width: float
    kind: str
    title: str

    @classmethod
    def of(cls, call: CallRecord, phase: CallPhase, attempt: int, scale: _Scale) -> "_Bar":
        end = scale.end if phase.end is None else phase.end
        kind: str
        match phase.state:
            case "queued":
                kind, what = "queued", "queued at the limiter"
            case "in flight":
                last = phase is call.phases[-1]
                kind = "cancelled" if last and call.state == "cancelled" else "flight"
                kind = "failed" if phase.error is not None else kind
                what = f"HTTP attempt {attempt}"
            case "retrying":
                kind, what = "backoff", "backing off before the next attempt"
            case "waiting":
                shared = call.state == "shared"
                kind = "shared" if shared else "waiting"
                what = "shares an identical call" if shared else "waiting"
        error = "" if phase.error is None else f": {printable(phase.error)}"
        title = f"{what}, {seconds(end - phase.start)}{error}"
        left = scale.at(phase.start)
        return cls(left, scale.at(end) - left, kind, title)


@attrs.frozen
class _ChartRow:
    """One call: a row of the chart, and a row of the table."""

    label: str
    call: CallRecord
    critical: bool
    bars: tuple[_Bar, ...]
    ends: float  # percent
    asked: str
    took: str
    queued: str
    flight: str
    state: str
    model: str
    error: str
    cost: str
    title: str

    @classmethod
    def of(cls, call: CallRecord, scale: _Scale, *, critical: bool) -> "_ChartRow":
        attempts = 0
        bars: list[_Bar] = []
        for phase in call.phases:
            attempts += phase.state == "in flight"
            bar = _Bar.of(call, phase, attempts, scale)
            if phase.state == "in flight" or bar.width >= _VISIBLE:
                bars.append(bar)
        took = seconds(call.seconds(scale.end))
        state = call.state if call.finished_at is not None else f"{call.state}, {_NOT_ENDED}"
        tokens = "" if call.usage is None else f", {call.usage.total_tokens} tokens"
        error = "" if call.error is None else printable(call.error)
        label = printable(call.label)
        return cls(
            label=label,
            call=call,
            critical=critical,
            bars=tuple(bars),
            ends=scale.at(scale.end if call.finished_at is None else call.finished_at),
            asked=seconds(call.asked_at - scale.zero),
            took=took,
            queued=seconds(call.spent("queued", scale.end)),
            flight=seconds(call.spent("in flight", scale.end)),
            state=state,
            model=printable(call.model),
            error=error,
            cost=dollars(call.cost_usd) if call.is_paid else "",
            title=f"{label}: {state}, {took}{tokens}{error and ': '}{error}",
        )


@attrs.frozen
class _Link:
    """A step on the critical path: a vertical line from one row to another."""

    left: float  # percent
    top: int  # rows from the first
    rows: int


@attrs.frozen
class _PostChart:
    title: str
    rows: tuple[_ChartRow, ...]
    links: tuple[_Link, ...]
    ticks: list[tuple[float, str]]
    totals: CallTotals
    wall: str
    cost: str
    critical_s: float | None
    left: float  # start within the run, percent
    width: float

    @classmethod
    def of(
        cls, title: str, calls: tuple[CallRecord, ...], critical: Iterable[str], timeline: Timeline
    ) -> "_PostChart":
        run = _Scale(timeline.started_at, timeline.started_at, timeline.ended_at)
        ends = [run.end if call.finished_at is None else call.finished_at for call in calls]
        start = min(call.asked_at for call in calls)
        scale = _Scale.of(run.zero, start, max(ends))
        path = frozenset(critical)
        rows = tuple(_ChartRow.of(call, scale, critical=call.call in path) for call in calls)
        totals = CallTotals.of(calls, run.end)
        return cls(
            title=title,
            rows=rows,
            links=tuple(_links(rows)),
            ticks=scale.ticks(),
            totals=totals,
            wall=seconds(max(ends) - start),
            cost=dollars(totals.cost_usd),
            critical_s=sum(r.call.working(run.end) for r in rows if r.critical) if path else None,
            left=run.at(start),
            width=run.at(max(ends)) - run.at(start),
        )


def _links(rows: tuple[_ChartRow, ...]) -> Iterator[_Link]:
    path = sorted((at for at, row in enumerate(rows) if row.critical), key=lambda at: rows[at].ends)
    for above, below in pairwise(path):
        yield _Link(rows[above].ends, min(above, below), abs(below - above))


def _figures(timeline: Timeline, posts: list[_PostChart]) -> Iterator[PageFigure]:
    totals = CallTotals.of(timeline.calls, timeline.ended_at)
    wall = timeline.ended_at - timeline.started_at
    yield PageFigure("Wall time", seconds(wall))
    ratio = f"{totals.sequential_s / wall:.1f} x wall time" if wall > 0 else ""
    yield PageFigure("Sequential time", seconds(totals.sequential_s), ratio)
    if paths := [post.critical_s for post in posts if post.critical_s is not None]:
        longest = max(paths)
        ratio = f"wall time is {wall / longest:.2f} x this" if longest > 0 else ""
        note = ratio if len(posts) == 1 else "of the slowest post"
        yield PageFigure("Critical path", seconds(longest), note)
    failed = f"{totals.failed:,} failed" if totals.failed else ""
    yield PageFigure("Calls", f"{totals.calls:,}", failed)
    yield PageFigure("HTTP requests", f"{totals.http_requests:,}", retries(totals.retries))
    tokens = f"{totals.input_tokens:,} in, {totals.output_tokens:,} out"
    yield PageFigure("Tokens", f"{totals.input_tokens + totals.output_tokens:,}", tokens)
    yield PageFigure("Cost", dollars(totals.cost_usd))
