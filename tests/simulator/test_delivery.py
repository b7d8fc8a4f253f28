import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callsheet.simulator.call import ModelAnswer, Piece
from callsheet.simulator.delivery import delivered, inject_fault
from callsheet.simulator.faults import FAULT_KINDS, REFUSALS, Fault, Faults

PIECES = st.lists(st.builds(Piece, st.binary(min_size=1, max_size=200), st.integers(0, 9)))
ANSWERS = st.builds(
    ModelAnswer, PIECES.filter(len).map(tuple), st.integers(0, 99), end=st.binary(min_size=2)
)
LATENCIES = st.floats(0, 100)


def plan_of(answer, *, stream=True, latency_s=1.0, first=1 / 3):
    return delivered(answer, stream=stream, latency_s=latency_s, first=first)


def body_of(plan):
    return b"".join(step.data for step in plan.steps)


@settings(deadline=None)
@given(ANSWERS, st.booleans(), LATENCIES, st.floats(0, 1))
def test_a_plan_ends_when_the_answer_would_and_leaves_nothing_out(answer, stream, latency_s, first):
    plan = plan_of(answer, stream=stream, latency_s=latency_s, first=first)
    assert body_of(plan) == answer.body
    assert sum(step.output_tokens for step in plan.steps) == answer.output_tokens
    times = [step.at for step in plan.steps]
    assert times[-1] == latency_s
    assert times == sorted(times) or math.isclose(times[-2], times[-1])
    if stream:
        assert times[0] == pytest.approx(first * latency_s)


@settings(deadline=None)
@given(
    ANSWERS,
    st.booleans(),
    st.sampled_from(sorted(FAULT_KINDS.keys() - REFUSALS)),
    st.sampled_from(["html", "json"]),
)
def test_no_fault_bills_more_than_the_answer_or_ends_before_it_began(answer, stream, kind, body):
    plan = plan_of(answer, stream=stream)
    found = inject_fault(plan, Fault(kind, body=body), Faults(), error_body=b"{}", error_event=b"e")
    assert sum(step.output_tokens for step in found.steps) <= answer.output_tokens
    assert found.input_tokens <= answer.input_tokens
    assert found.stream == stream
    assert all(step.at >= 0 for step in found.steps)
    assert found.steps or found.ending == "reset"
    # A connection that ends short has promised more than it sends.
    if not stream and found.ending == "broken":
        assert int(found.all_headers["content-length"]) > len(body_of(found))


@settings(deadline=None)
@given(ANSWERS)
def test_what_breaks_off_is_a_beginning_of_the_whole(answer):
    for kind in ("truncate", "reset_body", "cut"):
        found = inject_fault(
            plan_of(answer), Fault(kind), Faults(), error_body=b"", error_event=b""
        )
        assert answer.body.startswith(body_of(found))
        assert len(body_of(found)) < len(answer.body)
