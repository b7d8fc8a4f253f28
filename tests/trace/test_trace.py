"""The records of a run: the phases of its calls, the trace file, and the page."""

import json
import re
from decimal import Decimal
from html.parser import HTMLParser
from itertools import pairwise
from typing import get_args

import pytest
from callstream import done, event, post_events, retried
from hypothesis import given, settings
from hypothesis import strategies as st

from callsheet.actors.events import CallStage
from callsheet.actors.responses import Usage
from callsheet.trace import trace_format, write_trace
from callsheet.trace.timeline import CallTotals, Timeline

STAGES = get_args(CallStage)
QUICK = settings(
    max_examples=settings.default.max_examples, deadline=None
)  # a page takes long on a busy machine
PATH = tuple(f"p1/{name}" for name in ("headline", "intro", "outline", "sections[2]"))


def folded(events):
    timeline = Timeline()
    for happened in events:
        timeline.observe(happened)
    return timeline


def whole_post(start=100.0):
    return folded(post_events(start=start))


@st.composite
def streams(draw):
    """Generate events in the order of their times, with any phases of the calls."""
    at = draw(st.floats(0, 1e6))
    events = []
    for _ in range(draw(st.integers(0, 30))):
        at += draw(st.floats(0, 50))
        post = draw(st.sampled_from(["p1", "p2", None]))
        call = f"{post}/{draw(st.integers(1, 4))}"
        stage = draw(st.sampled_from(STAGES))
        error = "boom" if stage in {"failed", "retrying"} else None
        usage = Usage(3, 4) if stage == "answered" else None
        events.append(event(stage, at, call, post=post, error=error, usage=usage))
    return events


# --- the fold -------------------------------------------------------------------------------


def test_a_call_is_followed_from_asked_to_done():
    timeline = folded(done("c1", 10.0, 12.5, queued=0.5))
    (call,) = timeline.calls
    assert [(phase.state, phase.start, phase.end) for phase in call.phases] == [
        ("waiting", 10.0, 10.0),
        ("queued", 10.0, 10.5),
        ("waiting", 10.5, 10.5),
        ("in flight", 10.5, 12.5),
    ]
    assert (call.state, call.seconds(99.0), call.working(99.0)) == ("done", 2.5, 2.0)
    assert call.usage == Usage(40, 18)
    assert (timeline.started_at, timeline.ended_at) == (10.0, 12.5)


def test_a_call_that_has_not_ended_lasts_until_now():
    timeline = folded(done("c1", 10.0, 12.0)[:-1])
    (call,) = timeline.calls
    assert (call.state, call.finished_at, call.seconds(13.0)) == ("in flight", None, 3.0)


def test_each_attempt_of_a_retried_call_keeps_its_own_error():
    (call,) = folded(retried("c1", 0.0, 4.0)).calls
    assert [attempt.error for attempt in call.attempts] == ["429 Too Many Requests", None]
    assert call.error is None
    assert call.spent("retrying", 4.0) == 1.0


@pytest.mark.parametrize("stage", ["sent", "answered", "cancelled", "retrying", "asked"])
def test_later_events_of_a_failed_call_change_nothing(stage):
    events = [event("sent", 0.0, "c1"), event("failed", 1.0, "c1", error="refused")]
    timeline = folded([*events, event(stage, 2.0, "c1")])
    assert timeline.calls == folded(events).calls


def test_totals_add_up_and_an_unknown_price_makes_the_cost_unknown():
    events = post_events()
    totals = CallTotals.of(folded(events).calls, 10.0)
    assert (totals.calls, totals.ended, totals.http_requests, totals.retries) == (11, 11, 12, 1)
    assert (totals.input_tokens, totals.output_tokens) == (440, 198)
    assert totals.cost_usd == Decimal("0.00055")
    assert totals.sequential_s == pytest.approx(19.005)
    unpriced = folded([*events, *done("p1/x", 9.0, 9.5, cost=None)])
    assert CallTotals.of(unpriced.calls, 10.0).cost_usd is None


def test_what_was_paid_for_a_call_before_it_failed_counts():
    paid = event("failed", 1.0, "c1", usage=Usage(7, 3), cost_usd=Decimal("0.5"))
    events = [event("sent", 0.0, "c1"), paid, event("failed", 1.0, "c2")]
    totals = CallTotals.of(folded(events).calls, 10.0)
    assert (totals.failed, totals.input_tokens, totals.cost_usd) == (2, 7, Decimal("0.5"))


def test_calls_of_one_step_are_numbered_and_others_are_not():
    names = [call.label for call in whole_post().calls]
    assert {"headline", "sections 1", "sections 2", "sections 3"} <= {*names}
    (alone,) = folded(done("job[7]", 0.0, 1.0, post=None)).calls
    assert (alone.label, alone.number) == ("job[7]", None)


def test_calls_that_start_together_stand_in_the_order_of_their_names():
    events = [
        event("asked", 7.0 + n / 1e5, f"p1/{name}")
        for n, name in enumerate(["s[10]", "s[2]", "b", "s[1]", "a"])
    ]
    calls = folded([event("asked", 6.0, "p1/z"), *events]).of_post("p1")
    assert [call.label for call in calls] == ["z", "a", "b", "s 1", "s 2", "s 10"]


@QUICK
@given(streams())
def test_phases_are_in_order_for_any_events(events):
    for call in folded(events).calls:
        for phase in call.phases[:-1]:
            assert phase.end is not None
            assert phase.end >= phase.start
        assert all(before.end <= after.start for before, after in pairwise(call.phases))
        assert (call.finished_at is None) == (call.phases[-1].end is None)


# --- Chrome trace events --------------------------------------------------------------------


def written(tmp_path, timeline, titles=None, critical=None):
    path = tmp_path / "trace.json"
    write_trace(path, timeline, titles=titles or {}, critical=critical or {})
    return json.loads(path.read_text())


def slices(trace, category):
    return [e for e in trace["traceEvents"] if e["ph"] == "X" and e["cat"] == category]


def assert_well_formed(trace):
    """Check the rules of Perfetto and chrome://tracing for a file."""
    assert trace["displayTimeUnit"] == "ms"
    events = [e for e in trace["traceEvents"] if e["ph"] != "M"]
    assert [e["ts"] for e in events] == sorted(e["ts"] for e in events)
    for e in trace["traceEvents"]:
        assert {"name", "ph", "ts", "pid", "tid", "args"} <= e.keys()
        assert all(type(e[key]) is int and e[key] >= 0 for key in ("ts", "pid", "tid"))
        if e["ph"] == "X":
            assert type(e["dur"]) is int
            assert e["dur"] >= 0
        if e["ph"] == "i":
            assert e["s"] == "t"
    by_lane = {}
    for call in slices(trace, "call"):
        by_lane.setdefault(call["tid"], []).append(call)
    for calls in by_lane.values():
        assert len({call["pid"] for call in calls}) == 1
        for before, after in pairwise(calls):
            assert before["ts"] + before["dur"] <= after["ts"]
        for inner in [e for e in events if e.get("cat") != "call" and e["tid"] == calls[0]["tid"]]:
            end = inner["ts"] + inner.get("dur", 0)
            assert any(c["ts"] <= inner["ts"] and end <= c["ts"] + c["dur"] for c in calls)


def test_a_post_becomes_a_process_whose_lanes_hold_its_calls(tmp_path):
    trace = written(tmp_path, whole_post(), {"p1": "Why backpressure matters"}, {"p1": PATH})
    assert_well_formed(trace)
    names = [e["args"]["name"] for e in trace["traceEvents"] if e["name"] == "process_name"]
    assert names == ["Why backpressure matters"]
    calls = slices(trace, "call")
    assert len(calls) == 11
    assert len({call["tid"] for call in calls}) == 5  # as many as ran at a time
    headline = calls[[call["name"] for call in calls].index("headline")]
    assert (headline["ts"], headline["dur"]) == (0, 1_920_000)
    assert headline["args"] == {
        "call": "p1/headline",
        "state": "done",
        "model": "gpt-5.4-nano",
        "input_tokens": 40,
        "output_tokens": 18,
        "cost_usd": 0.00005,
        "error": None,
        "critical_path": True,
    }
    assert sum(call["args"]["critical_path"] for call in calls) == 4
    assert trace["otherData"]["http_requests"] == 12


def test_queueing_attempts_and_retries_lie_inside_their_call(tmp_path):
    trace = written(tmp_path, whole_post())
    (queued,) = [e for e in slices(trace, "limiter") if e["dur"]]
    assert queued["dur"] == 400_000
    assert sorted({e["name"] for e in slices(trace, "http")}) == ["attempt 1", "attempt 2"]
    (retry,) = [e for e in trace["traceEvents"] if e["ph"] == "i"]
    assert (retry["name"], retry["args"]["error"]) == ("retry", "429 Too Many Requests")


def test_a_call_that_has_not_ended_reaches_to_the_end_of_the_trace(tmp_path):
    timeline = folded([event("sent", 1.0, "c1", attempt=1), *done("c2", 2.0, 5.0)])
    calls = {e["args"]["call"]: e for e in slices(written(tmp_path, timeline), "call")}
    assert calls["c1"]["dur"] == 4_000_000
    assert calls["c1"]["args"]["state"] == "in flight"


def test_a_run_without_a_call_is_a_trace_without_events(tmp_path):
    assert written(tmp_path, Timeline())["traceEvents"] == []


@QUICK
@given(streams())
def test_the_trace_is_well_formed_for_any_events(tmp_path_factory, events):
    assert_well_formed(written(tmp_path_factory.getbasetemp(), folded(events)))


# --- the page -------------------------------------------------------------------------------


class Page(HTMLParser):
    """The tags of a page, and its text without the style sheet."""

    def __init__(self, path):
        super().__init__()
        self.tags = []  # (tag, {attribute: value})
        self.words = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.tags and self.tags[-1][0] != "style":
            self.words.append(data.strip())

    def classed(self, *names):
        return [
            attrs for _, attrs in self.tags if {*names} <= {*(attrs.get("class") or "").split()}
        ]


def page(tmp_path, timeline, titles=None, critical=None):
    path = tmp_path / "trace.html"
    write_trace(path, timeline, titles=titles or {}, critical=critical or {})
    return Page(path)


def test_the_page_has_the_figures_of_the_run_and_a_line_for_each_call(tmp_path):
    shown = page(tmp_path, whole_post(), {"p1": "Why backpressure matters"}, {"p1": PATH})
    text = "\n".join(shown.words)
    figures = ("8.35 s", "wall time is 1.00 x", "including 1 retry", "440 in, 198 out")
    for words in (*figures, "11 calls"):
        assert words in text
    assert len(shown.classed("track")) == 11
    assert {"headline", "sections 3", "meta_description"} <= {*shown.words}
    assert [tag for tag, _ in shown.tags].count("tr") == 12


def test_the_critical_path_is_highlighted_and_joined(tmp_path):
    shown = page(tmp_path, whole_post(), critical={"p1": PATH})
    assert len(shown.classed("track", "critical")) == 4
    assert [link["style"].split(";")[0] for link in shown.classed("link")] == [
        f"left:{100 * end / 8.35:.3f}%" for end in (1.92, 4.31, 6.02)
    ]
    plain = page(tmp_path, whole_post())
    assert plain.classed("link") == plain.classed("track", "critical") == []


def test_each_kind_of_phase_has_its_bar_and_its_tooltip(tmp_path):
    ends = [
        event("sent", 100.0, "p1/f", attempt=1),
        event("failed", 103.0, "p1/f", error="refused <b>"),
        event("sent", 100.0, "p1/c", attempt=1),
        event("cancelled", 103.0, "p1/c"),
        event("asked", 100.0, "p1/s"),
        event("shared", 103.0, "p1/s"),
        event("asked", 100.0, "p1/w"),
    ]
    shown = page(tmp_path, folded([*post_events(start=100.0), *ends]))
    for kind in ("flight", "queued", "waiting", "backoff", "failed", "shared", "cancelled"):
        bars = [bar for bar in shown.classed("bar", kind) if "style" in bar]
        assert bars, kind
        assert all(bar["title"] for bar in bars)
    titles = [attrs["title"] for attrs in shown.classed("bar", "failed") if "title" in attrs]
    assert "f: HTTP attempt 1, 3.00 s: refused <b>" in titles
    assert "1 failed" in shown.words


def test_what_others_wrote_is_text_on_the_page(tmp_path):
    evil = "<script>alert(1)</script>\" onload='x' \x1b[31m\ud800"
    events = [
        event("sent", 0.0, "c1", post="p1", step=evil),
        event("failed", 1.0, "c1", post="p1", step=evil, error=evil),
    ]
    shown = page(tmp_path, folded(events), {"p1": evil})
    assert "script" not in {tag for tag, _ in shown.tags}
    assert not any("onload" in attrs for _, attrs in shown.tags)
    assert "<script>alert(1)</script>\" onload='x'" in shown.words


def test_the_page_needs_nothing_from_anywhere(tmp_path):
    shown = page(tmp_path, whole_post(), {"p1": "topic"})
    for tag, attrs in shown.tags:
        assert tag not in {"script", "link", "img", "iframe", "object", "base", "form"}
        assert not {"src", "href", "srcset", "data"} & attrs.keys()
    text = (tmp_path / "trace.html").read_text()
    assert "://" not in text
    assert "url(" not in text
    assert "@import" not in text


def test_posts_stand_in_the_order_of_their_titles(tmp_path):
    timeline = folded([*done("p2/x", 0.0, 1.0, post="p2"), *done("p1/x", 0.001, 1.0)])
    titles = {"p0": "Never begun", "p1": "First", "p2": "Second"}
    shown = page(tmp_path, timeline, titles)
    assert [attrs["title"] for attrs in shown.classed("topic")] == ["First", "Second"]
    processes = written(tmp_path, timeline, titles)["traceEvents"]
    names = [e["args"]["name"] for e in processes if e["name"] == "process_name"]
    assert names == ["First", "Second"]


def test_each_chart_has_round_seconds_of_the_run_along_its_axis(tmp_path):
    events = [*post_events("p1", 100.0), *post_events("p2", 100.01), *post_events("p3", 120.0)]
    words = page(tmp_path, folded(events)).words
    ticks = [word for word in words if re.fullmatch(r"\d+ s", word)]
    assert ticks == [f"{n} s" for n in (*range(9), *range(9), *range(20, 29))]


@pytest.mark.parametrize(("posts", "unfolded"), [(1, 1), (3, 3), (4, 1), (50, 1)])
def test_with_many_posts_only_the_first_is_unfolded(tmp_path, posts, unfolded):
    events = [e for n in range(posts) for e in post_events(f"p{n}")]
    shown = page(tmp_path, folded(events))
    folds = [attrs for tag, attrs in shown.tags if tag == "details"]
    assert len(folds) == posts
    assert ["open" in attrs for attrs in folds] == [n < unfolded for n in range(posts)]


@QUICK
@given(streams())
def test_bars_stay_inside_their_chart_for_any_events(tmp_path_factory, events):
    shown = page(tmp_path_factory.getbasetemp(), folded(events))
    for bar in shown.classed("bar"):
        if "style" in bar:
            left, width = (float(part.split(":")[1][:-1]) for part in bar["style"].split(";"))
            assert left >= 0
            assert width >= 0
            assert left + width <= 100.01


# --- the file -------------------------------------------------------------------------------


def test_another_suffix_is_refused_with_the_two_that_are_not(tmp_path):
    with pytest.raises(ValueError, match=r"trace\.txt.*\.json or \.html"):
        write_trace(tmp_path / "trace.txt", Timeline(), titles={}, critical={})
    assert trace_format(tmp_path / "A.JSON") == "json"


def test_a_trace_that_cannot_be_written_leaves_nothing_behind(tmp_path):
    (tmp_path / "trace.json").mkdir()
    with pytest.raises(OSError, match=r"trace\.json"):
        write_trace(tmp_path / "trace.json", whole_post(), titles={}, critical={})
    assert [path.name for path in tmp_path.iterdir()] == ["trace.json"]
    with pytest.raises(FileNotFoundError):
        write_trace(tmp_path / "none" / "trace.json", whole_post(), titles={}, critical={})


def test_a_trace_takes_the_place_of_an_older_one(tmp_path):
    (tmp_path / "trace.json").write_text("old")
    assert written(tmp_path, whole_post())["otherData"]["calls"] == 11
    assert [path.name for path in tmp_path.iterdir()] == ["trace.json"]
