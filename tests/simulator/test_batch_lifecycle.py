"""The life of a batch as a pure function of the time."""

import math

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.simulator.batch_api.engine import ENDS, Lifecycle

ORDER = ["validating", "in_progress", "finalizing", "cancelling", *sorted(ENDS)]
durations = st.floats(0, 1000) | st.just(0.0)

lifecycles = st.builds(
    Lifecycle,
    lines=st.integers(0, 50),
    created=st.floats(0, 1000),
    validating_s=durations,
    work_s=durations | st.just(math.inf),
    finalizing_s=durations,
    cancelling_s=durations,
    expires=st.floats(1001, 3000),
    is_valid=st.booleans(),
)
times = st.lists(st.floats(0, 10_000), min_size=1, max_size=8).map(sorted)


def plain(**more):
    return Lifecycle(
        **{
            "lines": 10,
            "created": 0.0,
            "validating_s": 10.0,
            "work_s": 80.0,
            "finalizing_s": 10.0,
            "cancelling_s": 10.0,
            "expires": 1000.0,
        }
        | more
    )


@pytest.mark.parametrize(
    ("now", "status", "done"),
    [
        (0, "validating", 0),
        (9.9, "validating", 0),
        (10, "in_progress", 0),
        (18, "in_progress", 1),
        (89.9, "in_progress", 9),
        (90, "finalizing", 10),
        (100, "completed", 10),
        (5000, "completed", 10),
    ],
)
def test_a_batch_passes_through_its_statuses(now, status, done):
    moment = plain().at(now)
    assert (moment.status, moment.done) == (status, done)


def test_a_line_is_done_at_its_time():
    batch = plain(lines=7)
    for place in range(7):
        assert batch.at(batch.done_at(place)).done == place + 1
        assert batch.at(batch.done_at(place) - 0.01).done == place


@given(share=st.floats(0, 0.99), lines=st.integers(1, 50))
def test_a_batch_that_is_too_slow_expires_with_its_share_done(share, lines):
    batch = plain(lines=lines).expiring(share)
    assert batch.at(999.0).status == "in_progress"
    moment = batch.at(1000.0)
    assert moment.status == "expired"
    assert moment.done == pytest.approx(lines * share, abs=1)
    assert batch.at(9999.0).done == moment.done < lines


@given(lifecycles, times, st.data())
def test_its_status_never_goes_back_and_its_counts_only_grow(batch, later, data):
    cancel_at = data.draw(st.none() | st.sampled_from(later))
    before = batch.at(batch.created)
    for now in [batch.created + seconds for seconds in later]:
        moment = batch.at(now)
        assert ORDER.index(moment.status) >= ORDER.index(before.status)
        assert not before.has_ended or moment == before
        assert before.done <= moment.done <= batch.lines
        assert before.since.items() <= moment.since.items()
        assert list(moment.since.values()) == sorted(moment.since.values())
        if moment.status in ("finalizing", "completed"):
            assert moment.done == batch.lines
        if moment.status in ("validating", "failed"):
            assert moment.done == 0
        if cancel_at is not None and now == batch.created + cancel_at:
            batch = batch.cancel(now)
            moment = batch.at(now)
        before = moment


@given(lifecycles, durations)
def test_a_cancelled_batch_does_no_more(batch, seconds):
    now = batch.created + seconds
    moment = batch.at(now)
    stopped = batch.cancel(now)
    if moment.has_ended:
        assert stopped == batch
        return
    assert stopped.at(now + batch.cancelling_s).status == "cancelled"
    assert stopped.at(1e9).done == moment.done
    assert stopped.cancel(now + 1) == stopped
    assert attrs.evolve(stopped, cancelled=None) == batch
