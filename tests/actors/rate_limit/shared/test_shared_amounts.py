"""How much processes may use of a shared limit: never more than it, and nothing is lost."""

import itertools
from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lease_user import SOON, WORKER, LeaseUser, excess

from callsheet.actors.rate_limit import Bucket
from callsheet.actors.rate_limit.shared import UNUSED_S, SharedLimits
from callsheet.actors.rate_limit.shared.shared_bucket import SharedBucket

PART = st.sampled_from([0.1, 0.5, 1.0])
STEP = st.one_of(
    st.tuples(st.just("wait"), SOON),
    st.tuples(st.just("ask"), WORKER, st.sampled_from([0.0, 1.0, 5.0, 40.0])),
    st.tuples(st.just("lose"), WORKER, st.sampled_from([1.0, 5.0, 40.0])),
    st.tuples(st.just("repeat"), WORKER),
    st.tuples(st.just("use"), WORKER, PART),
    st.tuples(st.just("give back"), WORKER),
    st.tuples(st.just("refund"), WORKER, PART),
    st.tuples(st.just("restart"), WORKER),
    st.tuples(st.just("jump"), st.sampled_from([-0.1, -3600.0])),
)


def most_overdrawn(steps, rate, depth):
    """Return by how much several processes together overdraw a limit."""
    core, now, jumped, names = SharedLimits(), 1000.0, 0.0, itertools.count()
    everyone = [LeaseUser(f"w{next(names)}", rate, depth) for _ in range(4)]
    gone = []
    for kind, *details in steps:
        if kind == "wait":
            now += details[0]
            continue
        if kind == "jump":
            jumped += details[0]
            continue
        user = everyone[details[0]]
        if kind in ("ask", "lose"):
            first = min(1.0, details[1], depth)
            grant = core.ask(user.question(details[1], first), now + jumped, "epoch")
            if kind == "ask":
                user.apply(grant, now)
        elif kind == "repeat" and user.last is not None:
            again = core.ask(user.last, now + jumped, "epoch")
            if not user.leases:
                user.apply(again, now)
        elif kind == "use":
            user.use(details[1], now)
        elif kind == "give back":
            user.give_back(now)
        elif kind == "refund":
            user.refund(details[1], now)
        elif kind == "restart":
            gone += user.used
            everyone[details[0]] = LeaseUser(f"w{next(names)}", rate, depth)
    used = [tuple(one) for user in everyone for one in user.used]
    return excess([*used, *map(tuple, gone)], rate, depth)


def repeats_are_taken_once(steps):
    """Leave out a repeat of what was used already: a process uses a lease once."""
    fresh, kept = set(), []
    for step in steps:
        if step[0] == "lose":
            fresh.add(step[1])
        elif step[0] in ("ask", "restart"):
            fresh.discard(step[1])
        elif step[0] == "repeat":
            if step[1] not in fresh:
                continue
            fresh.discard(step[1])
        kept.append(step)
    return kept


def check_never_too_much(steps, rate, depth):
    # Leased units are used late by up to UNUSED_S, and those of a repeated lease by twice that.
    allowed = 2.0 * UNUSED_S * rate
    assert most_overdrawn(repeats_are_taken_once(steps), rate, depth) <= allowed + 1e-6


@given(st.lists(STEP, max_size=60), st.sampled_from([1.0, 10.0, 100.0]), st.sampled_from([1, 9]))
def test_processes_together_never_use_more_than_the_limit(steps, rate, depth):
    check_never_too_much(steps, rate, float(depth))


@pytest.mark.slow
@settings(max_examples=1_000, deadline=None)
@given(
    st.lists(STEP, min_size=20, max_size=150),
    st.sampled_from([1.0, 10.0, 100.0]),
    st.sampled_from([1, 9, 300]),
)
def test_processes_together_never_use_more_than_the_limit_in_many_ways(steps, rate, depth):
    check_never_too_much(steps, rate, float(depth))


CALL_STEP = st.one_of(
    st.tuples(st.just("wait"), SOON),
    st.tuples(st.just("ask"), WORKER, st.sampled_from([1.0, 4.0, 10.0, 25.0])),
    st.tuples(st.just("call"), WORKER, PART),
    st.tuples(st.just("refund"), WORKER),
    st.tuples(st.just("leave"), WORKER),
)


def most_short(steps, rate, depth):
    """Return how much a provider's bucket lacked for a call, at most, and the calls.

    Calls reserve up to more than the depth, and use less. A call of more than the depth needs the
    whole bucket.
    """
    core, now, worst, calls = SharedLimits(), 1000.0, 0.0, 0
    everyone = [LeaseUser(f"w{at}", rate, depth) for at in range(4)]
    missing, last = 0.0, now
    for kind, *details in steps:
        if kind == "wait":
            now += details[0]
            continue
        user = everyone[details[0]]
        if kind == "ask":
            user.apply(core.ask(user.question(details[1], details[1]), now, "epoch"), now)
        elif kind == "refund":
            user.refund_calls(now)
        elif kind == "leave":
            user.leave_line(now)
        elif (cost := user.call(details[1], now)) is not None:
            missing = max(0.0, missing - rate * (now - last))
            last = now
            worst = max(worst, missing + min(cost, depth) - depth)
            missing += cost
            calls += 1
    return worst, calls


def check_calls_are_never_refused(steps, rate, depth):
    worst, _ = most_short(steps, rate, depth)
    assert worst <= UNUSED_S * rate + 1e-6


@given(st.lists(CALL_STEP, max_size=60), st.sampled_from([1.0, 10.0]), st.sampled_from([1, 9]))
def test_calls_of_any_size_find_room_at_the_provider(steps, rate, depth):
    check_calls_are_never_refused(steps, rate, float(depth))


@pytest.mark.slow
@settings(max_examples=1_000, deadline=None)
@given(
    st.lists(CALL_STEP, min_size=20, max_size=150),
    st.sampled_from([1.0, 10.0, 100.0]),
    st.sampled_from([1, 9, 30]),
)
def test_calls_of_any_size_find_room_at_the_provider_in_many_ways(steps, rate, depth):
    check_calls_are_never_refused(steps, rate, float(depth))


@given(
    st.lists(
        st.tuples(st.sampled_from(["take", "back"]), SOON, st.sampled_from([0.5, 2.0, 7.0]), SOON),
        max_size=80,
    )
)
def test_a_refund_never_exceeds_that_of_an_exact_bucket(steps):
    """Nothing is in line here, so that the two say the same."""
    exact, shared, now = Bucket(2.0, 10.0, 0.0), SharedBucket(2.0, 10.0, 0.0, 0.0), 0.0
    for kind, wait_s, amount, age_s in steps:
        now += wait_s
        if kind == "take":
            exact.take(amount, now)
            shared.take(amount, now)
        else:
            exact.give_back(amount, now - age_s, now)
            shared.give_back(amount, now - age_s, now)
        assert shared.used(now) >= exact.used(now) - 1e-9
        assert len(shared.lows) <= 32


@given(
    st.lists(
        st.tuples(SOON, st.sampled_from([0.5, 4.0, 25.0]), st.sampled_from([0.5, 4.0, 25.0])),
        max_size=60,
    )
)
def test_leases_alone_are_the_debits_of_a_bucket(steps):
    exact, shared, now = Bucket(2.0, 10.0, 0.0), SharedBucket(2.0, 10.0, 0.0, 0.0), 0.0
    for number, (wait_s, amount, first) in enumerate(steps):
        now += wait_s
        expected = 10.0 - exact.used(now)
        exact.take(amount, now)
        found = shared.lease(f"w{number % 3}", amount, min(amount, first), now)
        assert found == pytest.approx(expected, abs=1e-6)
        assert shared.used(now) == pytest.approx(exact.used(now), abs=1e-6)
        assert len(shared.line) <= 16


def test_what_is_in_line_is_given_back_as_if_it_had_never_been_leased():
    bucket = SharedBucket(10.0, 10.0, 0.0, 0.0)
    assert bucket.lease("one", 10.0, 1.0, 0.0) == 10.0
    assert bucket.lease("other", 20.0, 1.0, 0.0) == 0.0
    assert bucket.leave_line("other", 20.0, 0.0) == (20.0, 2.0, 20.0)
    assert bucket.lease("other", 1.0, 1.0, 0.5) == pytest.approx(5.0)


def test_who_leaves_the_line_does_not_let_others_overtake_those_behind():
    bucket = SharedBucket(10.0, 10.0, 0.0, 0.0)
    bucket.lease("one", 10.0, 1.0, 0.0)
    assert bucket.lease("leaves", 30.0, 1.0, 0.0) == 0.0
    assert bucket.lease("behind", 30.0, 1.0, 0.0) == -30.0  # from 3 s to 6 s
    bucket.leave_line("leaves", 30.0, 0.0)
    # The bucket is full from 1 s to 3 s, and so is again when those behind have used theirs. The
    # last call of theirs takes 0.1 s more.
    assert bucket.full_at == pytest.approx(6.1)


def test_a_refund_while_another_is_in_line_counts_when_that_leaves_the_line():
    bucket = SharedBucket(1000.0, 1000.0, 0.0, 0.0)
    assert bucket.lease("one", 4000.0, 4000.0, 0.0) == 1000.0  # more than the depth: at once
    assert bucket.lease("other", 4000.0, 4000.0, 0.0) == -3000.0  # admitted after 4 s
    bucket.give_back(3000.0, 0.0, 0.5)
    assert bucket.full_at == pytest.approx(8.0)  # the other one is used after 4 s all the same
    bucket.leave_line("other", 4000.0, 0.5)
    assert bucket.full_at == pytest.approx(1.0)
    assert bucket.lease("other", 4000.0, 4000.0, 0.5) == pytest.approx(500.0)


def test_those_in_line_keep_their_order_when_a_refund_lets_them_be_earlier():
    bucket = SharedBucket(1000.0, 1000.0, 0.0, 0.0)
    bucket.lease("one", 4000.0, 4000.0, 0.0)
    assert bucket.lease("a", 4000.0, 4000.0, 0.0) == -3000.0  # admitted after 4 s
    assert bucket.lease("b", 4000.0, 4000.0, 0.0) == -7000.0
    assert not bucket.lets_wait(at_once=True)
    bucket.give_back(3000.0, 0.0, 0.5)
    assert bucket.lets_wait(at_once=True)
    for name, told, at_once in (("b", 8.0, -6500.0), ("a", 4.0, 500.0), ("b", 8.0, -3500.0)):
        _, *place = bucket.leave_line(name, 4000.0, 0.5)
        assert place == [told, 4000.0]
        assert bucket.lease(name, 4000.0, 4000.0, 0.5, tuple(place)) == at_once
    assert not bucket.lets_wait(at_once=True)


def test_a_lease_that_grows_is_the_last_in_line():
    bucket = SharedBucket(1000.0, 1000.0, 0.0, 0.0)
    for name in ("one", "a", "b"):
        bucket.lease(name, 4000.0, 4000.0, 0.0)
    _, *place = bucket.leave_line("a", 4000.0, 0.0)
    assert bucket.lease("a", 5000.0, 5000.0, 0.0, tuple(place)) == -11000.0


def test_what_a_process_keeps_of_its_place_in_line_was_used():
    bucket = SharedBucket(1000.0, 1000.0, 0.0, 0.0)
    bucket.lease("one", 1000.0, 1000.0, 0.0)
    bucket.lease("two calls", 1000.0, 600.0, 0.0)
    assert bucket.leave_line("two calls", 400.0, 0.6)[0] == 400.0
    assert bucket.used(0.6) == 1000.0


def calls_in(bucket, lease, for_s):
    """Return how many calls of 8 a bucket lets through that report 2 s later that they used 4."""
    calls, sent, now = 0, deque(), 0.0
    while now < for_s:
        sent.append(now)
        now += max(0.0, (8.0 - lease(now)) / 100.0)
        calls += 1
        while sent[0] <= now - 2.0:
            bucket.give_back(4.0, sent.popleft(), now)
    return calls


def test_late_refunds_are_hardly_less_than_those_of_an_exact_bucket():
    exact, shared = Bucket(100.0, 99.0, 0.0), SharedBucket(100.0, 99.0, 0.0, 0.0)

    def take(now):
        at_once = 99.0 - exact.used(now)
        exact.take(8.0, now)
        return at_once

    def lease(now):
        return shared.lease("w", 8.0, 8.0, now)

    assert calls_in(shared, lease, 20.0) >= 0.97 * calls_in(exact, take, 20.0)


def test_nothing_is_refunded_of_what_was_used_before_the_bucket_was_full():
    bucket = SharedBucket(10.0, 10.0, 0.0, 0.0)
    bucket.lease("one", 5.0, 5.0, 0.0)
    assert bucket.lease("other", 30.0, 30.0, 0.0) == 5.0  # in line for the whole bucket
    bucket.give_back(5.0, 0.0, 2.0)
    assert bucket.full_at == pytest.approx(3.5)
