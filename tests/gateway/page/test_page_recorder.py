"""What is recorded of calls for the page: complete, bounded, without texts, and cheap (R14, L8)."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors import CallContext, CallEvent, RateLimited, Request, Response, Usage
from callsheet.gateway.page import CallRecorder, recorder
from callsheet.gateway.page.recorder import STAGES

USAGE = Usage(100, 20)
COST = Decimal("0.001")


class Calls:
    """Sends events to a recorder, as a troupe does."""

    def __init__(self, *, keeps_text=False):
        self.recorder = CallRecorder(keeps_text=keeps_text)
        self.observe = self.recorder.observer("main")
        self.number = 0

    def event(self, context, stage, at, **more):
        self.observe(CallEvent(stage=stage, at=at, context=context, model="gpt-5-nano", **more))

    def make(
        self, at=0.0, *, seconds=3.0, end="answered", call="", lane="team-a", request=None, **more
    ):
        """Make a call that queues for a second and is in flight for the rest."""
        self.number += 1
        context = CallContext(call or f"call-{self.number}", lane=lane)
        self.event(context, "asked", at, request=request)
        self.event(context, "queued", at)
        self.event(context, "admitted", at + 1)
        self.event(context, "sent", at + 1, attempt=1)
        if end == "answered":
            response = Response(
                text="secret text",
                model="gpt-5-nano",
                finish_reason="stop",
                usage=USAGE,
                cost_usd=COST,
                first_byte_s=0.5,
            )
            more = {"response": response, "usage": USAGE, "cost_usd": COST} | more
        self.event(context, end, at + seconds, attempt=1, **more)
        return context

    def summaries(self, which, now=10.0, most=1000):
        return self.recorder.calls(which, most, now)


@pytest.fixture
def calls():
    return Calls()


def test_a_call_is_summed_up_and_has_a_timeline(calls):
    calls.make(at=2.0, call="req-1")
    (summary,) = calls.summaries("recent", now=10.0)
    assert (summary.call, summary.endpoint, summary.lane) == ("req-1", "main", "team-a")
    assert (summary.state, summary.route, summary.attempts) == ("answered", "live", 1)
    assert (summary.seconds, summary.queued_s, summary.flight_s) == (3.0, 1.0, 2.0)
    assert (summary.ended_s, summary.cost_usd) == (5.0, "0.001")
    assert (summary.input_tokens, summary.output_tokens) == (100, 20)
    timeline = calls.recorder.timeline("req-1", 10.0)
    assert timeline.summary == summary
    assert timeline.first_byte_s == 0.5
    assert [(phase.state, phase.start_s, phase.seconds) for phase in timeline.phases] == [
        ("waiting", 0.0, 0.0),
        ("queued", 0.0, 1.0),
        ("waiting", 1.0, 0.0),
        ("in flight", 1.0, 2.0),
    ]


def test_an_open_call_has_a_timeline_up_to_now(calls):
    context = CallContext("req-1")
    calls.event(context, "asked", 1.0)
    calls.event(context, "queued", 1.0)
    timeline = calls.recorder.timeline("req-1", 5.0)
    assert (timeline.summary.state, timeline.summary.seconds) == ("open", 4.0)
    assert timeline.phases[-1].seconds == 4.0
    assert calls.summaries("recent") == []
    assert calls.recorder.timeline("req-2", 5.0) is None


def test_two_calls_with_one_id_are_two_calls(calls):
    calls.make(at=0.0, call="same", lane="team-a")
    calls.make(at=1.0, call="same", lane="team-b")
    assert [call.lane for call in calls.summaries("recent")] == ["team-b", "team-a"]
    assert calls.recorder.timeline("same", 9.0).summary.lane == "team-b"


def test_failed_calls_are_listed_and_their_errors_counted_by_kind(calls):
    for number in range(3):
        failure = RateLimited(f"try again in {number} s")
        calls.make(at=number, end="failed", error=str(failure), failure=failure)
    (error,) = calls.recorder.errors(10.0)
    assert (error.kind, error.failed, error.text) == ("RateLimited", 3, "try again in 2 s")
    assert [call.state for call in calls.summaries("failed")] == ["failed"] * 3
    assert calls.summaries("failed", most=1)[0].call == "call-3"


def test_no_secret_and_no_text_of_a_request_or_response_is_kept(calls):
    """L8; the texts of calls are not on the page."""
    error = "refused: Incorrect API key sk-abcdefghijklmnop"
    calls.make(end="failed", error=error, failure=RateLimited(error), call="sk-abcdefghijklmnop")
    calls.make()
    shown = repr([calls.summaries("recent"), calls.recorder.errors(9.0)])
    assert "sk-abc" not in shown
    assert "secret text" not in shown
    assert "secret text" not in repr(calls.recorder.timeline("call-2", 9.0))
    assert "refused: Incorrect API key ***" in shown
    assert calls.recorder.timeline("***", 9.0).summary.state == "failed"


def test_texts_are_kept_if_the_settings_say_so_without_secrets_and_cut():
    """L8."""
    calls = Calls(keeps_text=True)
    asked = Request(model="m", messages=[{"role": "user", "content": "key sk-abcdefghijklmnop"}])
    calls.make(request=asked, call="req-1")
    timeline = calls.recorder.timeline("req-1", 9.0)
    assert (timeline.prompt, timeline.response) == ("key ***", "secret text")
    calls.make(request=Request(model="m", task="embedding", inputs=["a" * 9000]), call="req-2")
    assert len(calls.recorder.timeline("req-2", 9.0).prompt) == 2000
    calls.make(end="cancelled", call="req-3")
    assert calls.recorder.timeline("req-3", 9.0).response is None


def test_the_slowest_calls_are_those_of_the_last_hour(calls):
    calls.make(at=0.0, seconds=500.0, call="long ago")
    for number in range(40):
        calls.make(at=4000.0, seconds=1.0 + number, call=f"{number}")
    slowest = calls.summaries("slowest", now=4050.0, most=3)
    assert [call.call for call in slowest] == ["39", "38", "37"]
    assert "long ago" in {call.call for call in calls.summaries("slowest", now=500.0)}


def test_traffic_and_spend_count_each_call_once(calls):
    for number in range(4):
        calls.make(at=number)
    calls.make(at=31.0, end="cancelled")
    calls.make(at=31.0, end="shared", usage=USAGE, cost_usd=Decimal(0))
    calls.make(at=31.0, end="failed", error="no", failure=RateLimited("no"), lane="team-b")
    traffic = calls.recorder.traffic(40.0)
    assert (traffic.answered[-2:], traffic.failed[-1], traffic.cancelled[-1]) == ([4, 1], 1, 1)
    assert (traffic.tokens[-2], traffic.usd[-2], traffic.last_s) == (480, 0.004, 10.0)
    spend = calls.recorder.spend()
    assert (spend.source, spend.known_usd, spend.unpriced) == ("calls", "0.004", 0)
    (tenant,) = spend.tenants
    assert (tenant.name, tenant.calls, tenant.input_tokens) == ("team-a", 4, 400)
    assert [model.name for model in spend.models] == ["gpt-5-nano"]


def test_the_cost_of_a_response_without_a_price_stays_unknown(calls):
    """L13."""
    calls.make(usage=USAGE, cost_usd=None)
    calls.make()
    (tenant,) = calls.recorder.spend().tenants
    assert (tenant.calls, tenant.known_usd, tenant.unpriced) == (2, "0.001", 1)
    assert calls.summaries("recent")[1].cost_usd is None


def test_memory_is_bounded(calls):
    for number in range(5000):
        calls.make(at=number, lane=f"lane-{number}", end=("answered", "failed")[number % 2])
    context = CallContext("retried for ever")
    calls.event(context, "asked", 5000.0)
    for number in range(1000):
        calls.event(context, "retrying", 5000.0 + number, error=f"e{number}")
    found = calls.recorder
    assert len(found._recent) == 1000
    assert len(found._failed) == 200
    assert len(list(found._slowest.kept())) <= 120
    assert len(found.spend().tenants) == 101
    assert sum(row.calls for row in found.spend().tenants) == 2500
    assert found.spend().tenants[-1].name == "others"
    assert found.timeline("retried for ever", 7000.0).left_out == 900
    assert len(found.errors(7000.0)) <= 50


def test_of_too_many_open_calls_the_latest_have_timelines(calls, monkeypatch):
    monkeypatch.setattr(recorder, "_MAX_OPEN", 3)
    contexts = [CallContext(f"call-{number}") for number in range(5)]
    for context in contexts:
        calls.event(context, "asked", 0.0)
    assert calls.recorder.timeline("call-1", 1.0) is None
    assert calls.recorder.timeline("call-2", 1.0) is not None
    for context in contexts:
        calls.event(context, "cancelled", 1.0)
    assert len(calls.summaries("recent")) == 3
    assert calls.recorder.traffic(1.0).cancelled[-1] == 5


ENDS = ("answered", "shared", "failed", "cancelled")


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(sorted(STAGES))), max_size=60))
def test_any_order_of_events_leaves_no_call_open_that_has_ended(steps):
    """R14: also events of calls that were asked for before the recorder was there."""
    calls = Calls()
    contexts = [CallContext(f"call-{number}") for number in range(4)]
    ended = begun = 0
    is_open = [False] * 4
    for at, (number, stage) in enumerate(steps):
        calls.event(contexts[number], stage, float(at))
        if stage == "asked":
            is_open[number] = True
        elif stage in ENDS:
            ended += 1
            begun += is_open[number]
            is_open[number] = False
    assert len(calls.recorder._open) == sum(is_open)
    assert len(calls.summaries("recent", now=100.0)) == begun
    traffic = calls.recorder.traffic(float(len(steps)))
    assert sum(traffic.answered) + sum(traffic.failed) + sum(traffic.cancelled) == ended
