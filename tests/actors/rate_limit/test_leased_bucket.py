"""The bucket of a limit that processes share: what is leased, and from when it may be used."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors.rate_limit import LeasedBucket
from callsheet.actors.rate_limit.bucket import Bucket
from callsheet.actors.rate_limit.leased_limits import LeasedLimits
from callsheet.actors.rate_limit.limits import Rate
from callsheet.actors.rate_limit.shared import UNUSED_S
from callsheet.actors.rate_limit.shared.shared_bucket import SharedBucket

RATE, DEPTH = 10.0, 9.0


def bucket_with(*leases, processes=1, now=0.0):
    bucket = LeasedBucket("requests/60", RATE, DEPTH, now)
    bucket.processes = processes
    for amount, at_once in leases:
        bucket.lease(amount, at_once, RATE, now)
    return bucket


def reported(bucket, now):
    return [(one.amount, one.age_s, one.unused) for one in bucket.corrections(now)]


def test_nothing_is_allowed_before_something_is_leased():
    bucket = bucket_with()
    assert bucket.ready_at(1.0, 0.0) == inf
    assert bucket.ready_at(0.0, 0.0) == 0.0


def test_a_lease_may_be_used_from_its_place_in_line_on():
    bucket = bucket_with((3.0, -1.0))
    assert bucket.ready_at(1.0, 0.0) == pytest.approx(0.2)
    assert bucket.ready_at(3.0, 0.0) == pytest.approx(0.4)
    assert bucket.ready_at(3.5, 0.0) == inf


def test_leases_are_used_one_after_another():
    bucket = bucket_with((2.0, 2.0), (2.0, -2.0))
    assert bucket.ready_at(2.0, 0.0) == 0.0
    assert bucket.ready_at(3.0, 0.0) == pytest.approx(0.3)
    bucket.take(3.0, 0.3)
    assert bucket.ready_at(1.0, 0.3) == pytest.approx(0.4)


def test_a_call_of_more_than_the_depth_needs_all_of_its_lease_and_as_much_as_the_depth_usable():
    bucket = bucket_with((20.0, 4.0))
    assert bucket.ready_at(20.0, 0.0) == pytest.approx(0.5)
    assert bucket.ready_at(20.1, 0.0) == inf


def test_what_is_not_used_is_lost_as_the_shared_bucket_fills():
    bucket = bucket_with((5.0, 9.0))  # which is full in half a second
    assert bucket.leased(0.0) == 5.0
    assert bucket.leased(0.25) == 5.0  # a busy machine is a little late
    assert bucket.leased(0.4) == pytest.approx(3.5)
    assert bucket.leased(1.0) == 0.0


def test_what_is_not_used_stays_while_others_use_the_limit():
    bucket = bucket_with((5.0, 5.0), processes=2)
    bucket.report_full(0.9, 0.0)
    assert bucket.leased(0.3) == 5.0


def test_what_is_used_beyond_the_leases_is_reported():
    bucket = bucket_with((2.0, 2.0))
    bucket.take(5.0, 0.0)
    assert bucket.owed == 3.0
    assert reported(bucket, 0.1) == [(3.0, 0.0, False)]
    assert not bucket.is_active
    assert reported(bucket, 0.2) == []


def test_refunds_are_reported_with_the_age_of_the_oldest():
    bucket = bucket_with((5.0, 5.0))
    bucket.take(5.0, 0.0)
    bucket.give_back(1.0, 0.0, 1.0)
    bucket.give_back(2.0, 0.5, 1.0)
    assert reported(bucket, 2.0) == [(-3.0, 2.0, False)]


def test_unused_leases_are_returned_but_for_what_is_kept():
    bucket = bucket_with((5.0, 0.0), processes=2)
    bucket.report_full(1.0, 0.0)
    bucket.surrender(2.0, 0.1)
    assert bucket.leased(0.1) == pytest.approx(2.0)
    assert reported(bucket, 0.1) == [(pytest.approx(-3.0), 0.1, True)]


def test_while_the_store_is_away_it_is_a_bucket_of_its_own_that_begins_empty():
    bucket = bucket_with((5.0, 5.0), processes=2)
    bucket.divide(0.0, 0.0)
    assert bucket.is_divided
    assert bucket.ready_at(1.0, 0.0) == pytest.approx(0.2)
    bucket.take(1.0, 0.2)
    assert bucket.ready_at(1.0, 0.2) == pytest.approx(0.4)
    assert bucket.full_s(0.2) == pytest.approx((4.5 + 1.0 - 1.0) / 5.0)
    bucket.rejoin()
    assert bucket.ready_at(1.0, 0.2) == inf


def test_the_phase_of_a_process_delays_its_first_call():
    bucket = bucket_with(processes=3)
    bucket.divide(0.5, 0.0)
    assert bucket.ready_at(1.0, 0.0) == pytest.approx((1.0 + 0.5 * 3.0) / (RATE / 3.0))


def test_a_copy_forecasts_its_leases_and_its_part_of_the_rest():
    bucket = bucket_with((4.0, 4.0), processes=2)
    bucket.part = 0.5
    bucket.report_full(0.9, 0.0)
    copied = bucket.copy(0.0)
    assert type(copied) is Bucket
    assert copied.ready_at(4.0, 0.0) == 0.0
    assert copied.ready_at(5.0, 0.0) == pytest.approx(0.2)
    assert bucket.flow(0, 0.0).rate == 5.0
    assert bucket.ready_at(5.0, 0.0) == inf


amounts = st.floats(0.1, 8.0)
steps = st.lists(
    st.tuples(st.sampled_from(["lease", "take", "wait", "give", "return"]), amounts), max_size=40
)


@given(steps)
def test_no_more_is_used_than_leased_and_reported_and_never_before_its_time(steps):
    """The sum of leases, taken as one bucket that is debited at once, allows all that is used."""
    now, bucket = 0.0, bucket_with()
    exact = Bucket(RATE, DEPTH, now)  # the shared bucket
    leased = taken = returned = 0.0
    for step, amount in steps:
        if step == "wait":
            now += amount / 4
        elif step == "lease":
            at_once = DEPTH - exact.used(now)
            exact.take(amount, now)
            bucket.lease(amount, at_once, RATE, now)
            leased += amount
        elif step == "take":
            ready_at = bucket.ready_at(amount, now)
            if ready_at < inf:
                now = max(now, ready_at)
                if bucket.leased(now) >= amount:
                    bucket.take(amount, now)
                    taken += amount
        elif step == "return":
            before = bucket.leased(now)
            bucket.surrender(before / 2, now)
            returned += before / 2
        assert bucket.owed <= 1e-6
        assert taken + returned + bucket.leased(now) <= leased + 1e-6
        assert bucket.leased(now) <= max(0.0, exact.used(now) + UNUSED_S * RATE) + 1e-6


@given(
    rate=st.floats(4.0, 200.0),
    burst_s=st.floats(0.5, 5.0),
    gaps=st.lists(st.floats(0.0, 0.5), max_size=30),
    late=st.lists(st.floats(0.0, UNUSED_S), min_size=31, max_size=31),
)
def test_leases_that_are_used_late_keep_to_the_limit_of_the_provider(rate, burst_s, gaps, late):
    depth = rate * burst_s
    own = LeasedLimits("a").bucket("", Rate("requests", 60 * rate), rate, depth, 0.0)
    shared = SharedBucket(own.rate, own.depth, 0.0, 0.0)
    now, sent = 0.0, []
    for gap, later in zip([0.0, *gaps], late, strict=False):
        now += gap
        at_once = shared.lease("a", 1.0, 1.0, now)
        turn = now + max(0.0, min(1.0, shared.depth) - at_once) / rate
        sent.append(turn + later)
    sent.sort()
    provider, refused = Bucket(rate, depth, sent[0]), 0
    for at in sent:
        refused += provider.ready_at(1.0, at) > at + 1e-6
        provider.take(1.0, at)
    assert not refused


def test_at_least_half_of_the_depth_is_shared():
    own = LeasedLimits("a").bucket("", Rate("requests", 60.0), 1.0, 0.1, 0.0)
    assert own.depth == 0.05
