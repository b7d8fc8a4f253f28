"""Convert a run to Chrome trace events, which Perfetto and chrome://tracing open.

The format is Google's "Trace Event Format" in its object form. A post is a process. Its threads
are lanes: calls that overlap are in different lanes. Times are integer microseconds from the first
event of the run.
"""

from collections.abc import Iterable, Iterator, Mapping
from heapq import heappop, heappush

import attrs

from .._version import __version__
from ..actors import Json
from .timeline import CallRecord, CallTotals, Timeline

_MICROSECONDS = 1_000_000


def chrome_trace(
    timeline: Timeline, titles: Mapping[str, str], critical: Mapping[str, tuple[str, ...]]
) -> dict[str, Json]:
    """Return the trace of a run as a JSON object.

    Args:
        timeline: the calls of the run.
        titles: the topics, by post id.
        critical: the call ids on the critical path of each post, by post id.
    """
    names: list[Json] = []
    marks: list[tuple[_Mark, int, int]] = []  # (mark, process, thread)
    tid = 0  # counts through all posts, because viewers expect unique thread ids
    for pid, (post, calls) in enumerate(timeline.by_post(titles), 1):
        title = "calls" if post is None else titles.get(post, post)
        names.append(_name("process_name", title, pid))
        on_path = critical.get(post or "", ())
        for lane, members in enumerate(_lanes(calls, timeline), 1):
            tid += 1
            names.append(_name("thread_name", f"lane {lane}", pid, tid))
            for call in members:
                args = _args(call) | {"critical_path": call.call in on_path}
                marks += [(m, pid, tid) for m in _marks(call, args, timeline)]
    # Of slices with the same start the outer one is first: viewers nest in file order.
    marks.sort(key=lambda mark: (mark[0].start, -mark[0].end))
    return {
        "traceEvents": names + [mark.json(pid, tid) for mark, pid, tid in marks],
        "displayTimeUnit": "ms",
        "otherData": _about(timeline),
    }


@attrs.frozen
class _Mark:
    """A slice of a lane, or an instant in it; times are microseconds since the run began."""

    name: str
    category: str
    start: int
    end: int
    args: dict[str, Json]
    instant: bool = False

    def json(self, pid: int, tid: int) -> dict[str, Json]:
        kind: dict[str, Json] = (
            {"ph": "i", "s": "t"} if self.instant else {"ph": "X", "dur": self.end - self.start}
        )
        return {
            "name": self.name,
            "cat": self.category,
            "ts": self.start,
            **kind,
            "pid": pid,
            "tid": tid,
            "args": self.args,
        }


def _marks(call: CallRecord, args: dict[str, Json], timeline: Timeline) -> Iterator[_Mark]:
    yield _Mark(call.label, "call", *_extent(call, timeline), args)
    attempt = 0
    for phase in call.phases:
        start = _ticks(phase.start, timeline)
        end = _ticks(timeline.ended_at if phase.end is None else phase.end, timeline)
        match phase.state:
            case "queued":
                yield _Mark("queued", "limiter", start, end, {})
            case "in flight":
                attempt += 1
                yield _Mark(f"attempt {attempt}", "http", start, end, {"error": phase.error})
            case "retrying":
                yield _Mark("retry", "http", start, start, {"error": phase.error}, instant=True)
            case "waiting":
                pass  # between two actors; the slice of the call covers it


def _lanes(calls: Iterable[CallRecord], timeline: Timeline) -> list[list[CallRecord]]:
    """Sort calls into lanes without overlap, as few as the largest number of concurrent calls."""
    lanes: list[list[CallRecord]] = []
    free: list[int] = []  # a heap of free lanes
    busy: list[tuple[int, int]] = []  # (end of the last call in it, lane)
    for call in sorted(calls, key=lambda call: call.asked_at):
        start, end = _extent(call, timeline)
        while busy and busy[0][0] <= start:
            heappush(free, heappop(busy)[1])
        if free:
            lane = heappop(free)
        else:
            lane = len(lanes)
            lanes.append([])
        lanes[lane].append(call)
        heappush(busy, (max(end, start + 1), lane))  # a call of length zero occupies its lane, too
    return lanes


def _extent(call: CallRecord, timeline: Timeline) -> tuple[int, int]:
    end = timeline.ended_at if call.finished_at is None else call.finished_at
    return _ticks(call.asked_at, timeline), _ticks(max(end, call.asked_at), timeline)


def _ticks(at: float, timeline: Timeline) -> int:
    """Microseconds since the run began, rounded so that adjacent slices share one boundary."""
    return round((at - timeline.started_at) * _MICROSECONDS)


def _name(kind: str, name: str, pid: int, tid: int = 0) -> dict[str, Json]:
    return {"name": kind, "ph": "M", "ts": 0, "pid": pid, "tid": tid, "args": {"name": name}}


def _args(call: CallRecord) -> dict[str, Json]:
    usage = call.usage
    return {
        "call": call.call,
        "state": call.state,
        "model": call.model,
        "input_tokens": None if usage is None else usage.input_tokens,
        "output_tokens": None if usage is None else usage.output_tokens,
        "cost_usd": None if call.cost_usd is None else float(call.cost_usd),
        "error": call.error,
    }


def _about(timeline: Timeline) -> dict[str, Json]:
    totals = CallTotals.of(timeline.calls, timeline.ended_at)
    return {
        "made_by": f"callsheet {__version__}",
        "calls": totals.calls,
        "http_requests": totals.http_requests,
        "retries": totals.retries,
        "input_tokens": totals.input_tokens,
        "output_tokens": totals.output_tokens,
        "cost_usd": None if totals.cost_usd is None else float(totals.cost_usd),
        "wall_s": timeline.ended_at - timeline.started_at,
        "sequential_s": totals.sequential_s,
    }
