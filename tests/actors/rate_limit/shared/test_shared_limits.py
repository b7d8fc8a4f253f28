"""The core of shared limits: never too much, fair, idempotent, and bounded in memory."""

import heapq
import itertools
import random
from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lease_user import LeaseUser, excess

from callsheet.actors.rate_limit import Bucket
from callsheet.actors.rate_limit.shared import (
    UNUSED_S,
    Correction,
    LaneDemand,
    LeaseAsk,
    LimitAsk,
    PlacesAsk,
    SharedLimits,
    SharedRate,
    SharedRefusal,
)
from callsheet.actors.rate_limit.shared.shared_bucket import SharedBucket

SOON = st.sampled_from([0.0, 0.001, 0.01, 0.1, 0.2, 0.5, 1.0, 3.0, 11.0])
WORKER = st.integers(0, 3)
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


# ------------------------------------------------------------------------------------ shares


def served(weights, rate, depth, for_s, round_trip_s=0.001):
    """Return the calls of processes that always have calls, by process, and the questions."""
    core = SharedLimits()
    users = [
        LeaseUser(f"w{at}", rate, depth, lanes, seconds=5.0) for at, lanes in enumerate(weights)
    ]
    calls, asked, order = [0] * len(users), 0, itertools.count()
    events = [(0.0, next(order), "ask", at, None) for at in range(len(users))]
    asking = [True] * len(users)
    while events:
        now, _, kind, at, grant = heapq.heappop(events)
        if now > for_s:
            break
        user = users[at]
        if kind == "ask":
            asked += 1
            grant = core.ask(user.question(2.0 * rate, age_s=now), now, "epoch")
            heapq.heappush(events, (now + round_trip_s, next(order), "granted", at, grant))
            continue
        if kind == "granted":
            user.apply(grant, now)
            asking[at] = False
        done = user.use_calls(now)
        calls[at] += done * (now > for_s / 4)  # not the burst at the start
        least = max([held.amount for held in user.leases], default=0.0) / 2.0
        if not asking[at] and user.left < max(1.0, least):
            asking[at] = True
            heapq.heappush(events, (now + round_trip_s, next(order), "ask", at, None))
        if (then := user.next_call_at(now)) is not None:
            heapq.heappush(events, (then + 1e-6, next(order), "use", at, None))
    return calls, asked


@pytest.mark.parametrize(
    ("rate", "lanes", "for_s"),
    [
        (100.0, [{"a": 1.0}, {"b": 1.0}, {"c": 1.0}, {"d": 1.0}], 8.0),
        (100.0, [{"a": 1.0}, {"b": 2.0}, {"c": 4.0}], 8.0),
        (10.0, [{"a": 1.0}, {"b": 3.0}], 80.0),
        (10.0, [{"a": 1.0, "b": 1.0}, {"a": 1.0}, {"c": 1.0}], 80.0),
    ],
)
def test_all_is_used_and_processes_have_parts_by_the_weights_of_their_lanes(rate, lanes, for_s):
    calls, _ = served(lanes, rate, rate - 1.0, for_s)
    assert sum(calls) >= 0.98 * rate * 0.75 * for_s
    claims = {name: sum(name in one for one in lanes) for one in lanes for name in one}
    due = [sum(weight / claims[name] for name, weight in one.items()) for one in lanes]
    service = [count / part for count, part in zip(calls, due, strict=True)]
    jain = sum(service) ** 2 / (len(service) * sum(one * one for one in service))
    assert jain >= 0.98


@pytest.mark.parametrize(
    ("users", "a_minute", "for_s", "most"),
    [(1, 6_000, 4.0, 0.06), (8, 60_000, 1.2, 0.06), (4, 600, 60.0, 1.2)],
)
def test_a_lease_is_for_many_calls(users, a_minute, for_s, most):
    rate = a_minute / 60.0
    lanes = [{"lane": 1.0}] * users
    calls, asked = served(lanes, rate, rate - 1.0, for_s)
    assert asked / (sum(calls) / 0.75) <= most


def test_a_process_that_asks_often_has_no_more():
    core, often, seldom = SharedLimits(), LeaseUser("often", 10, 1.0), LeaseUser("seldom", 10, 1.0)
    leased = {"often": 0.0, "seldom": 0.0}
    for tick in range(2000):
        now = tick * 0.01
        for user in (often, seldom) if tick % 20 == 0 else (often,):
            grant = core.ask(user.question(20.0), now, "epoch")
            leased[user.name] += sum(one.amount for one in grant.leases)
    assert leased["often"] <= 1.1 * leased["seldom"]


def test_a_long_limit_with_much_left_does_not_shrink_leases():
    core = SharedLimits()
    rates = (SharedRate("minute", 100.0, 99.0), SharedRate("day", 1.0, 86_400.0))
    amounts = {"minute": 40.0, "day": 40.0}
    ask = LimitAsk(
        worker="w",
        number=1,
        rates=rates,
        leases=(LeaseAsk("", amounts, {"minute": 1.0, "day": 1.0}),),
        lanes=(LaneDemand("", "", 1.0, 40.0),),
    )
    assert {one.limit: one.amount for one in core.ask(ask, 0.0, "e").leases} == amounts


def test_the_priority_with_the_oldest_call_is_served_first():
    core = SharedLimits()

    def ask(worker, number, priority, age_s):
        return LimitAsk(
            worker=worker,
            number=number,
            rates=(SharedRate("limit", 10.0, 1.0),),
            leases=(LeaseAsk("", {"limit": 9.0}, {"limit": 1.0}),),
            lanes=(LaneDemand("", worker, 1.0, 9.0, age_s, priority),),
        )

    core.ask(ask("high", 1, 1, 30.0), 0.0, "e")
    assert not core.ask(ask("low", 1, 0, 1.0), 0.0, "e").leases
    assert core.ask(ask("low", 2, 0, 60.0), 0.1, "e").leases


# ------------------------------------------------------------------------------------ places


def places(core, worker, number, now, held, wanted, most=10.0):  # noqa: PLR0917
    ask = LimitAsk(worker=worker, number=number, places=(PlacesAsk("", most, held, wanted),))
    return core.ask(ask, now, "epoch").places[""]


@given(
    st.lists(st.tuples(WORKER, SOON, st.integers(0, 12), st.integers(0, 12)), max_size=80),
    st.integers(1, 12),
)
def test_no_more_calls_are_in_flight_than_there_are_places(steps, most):
    core, now, given_to, held, asked = SharedLimits(), 0.0, {}, {}, {}
    for number, (at, wait_s, ended, wanted) in enumerate(steps, start=1):
        now += wait_s
        worker = f"w{at}"
        for name, when in asked.items():
            if when + 10.0 <= now:  # it is dead, and so are its calls
                given_to[name] = held[name] = 0
        held[worker] = max(0, held.get(worker, 0) - ended)
        given_to[worker] = places(core, worker, number, now, held[worker], wanted, most)
        asked[worker] = now
        held[worker] = max(held[worker], given_to[worker])
        assert sum(held.values()) <= most


@pytest.mark.parametrize(
    ("count", "most", "takes_s"), [(4, 1, 0.7), (4, 3, 0.7), (4, 10, 0.7), (8, 4, 2.0)]
)
def test_places_go_round_and_none_is_idle(count, most, takes_s):
    """The processes want more places than there are."""
    core, running = SharedLimits(), [[] for _ in range(count)]
    served, number = [0] * count, itertools.count(1)
    for tick in range(600):
        now = tick * 0.1
        for at in range(count):
            running[at] = [end for end in running[at] if end > now + 1e-9]
            given_now = places(core, f"w{at}", next(number), now, len(running[at]), 9, most)
            while len(running[at]) < given_now:
                running[at].append(now + takes_s)
                served[at] += 1
    assert sum(served) >= 0.85 * most * 60.0 / takes_s
    assert min(served) >= 0.75 * sum(served) / count


def test_the_places_of_a_dead_process_are_free_after_10_s():
    core = SharedLimits()
    assert places(core, "dies", 1, 0.0, 0, 10) == 10
    assert places(core, "lives", 1, 1.0, 0, 10) == 0
    assert places(core, "lives", 2, 9.9, 0, 10) == 0
    news = core.news
    assert places(core, "lives", 3, 10.0, 0, 10) == 10
    assert core.news > news


def test_places_are_divided_by_the_weights_of_lanes():
    core, found = SharedLimits(), {}
    for number in range(1, 40):
        for name, weight in (("one", 1.0), ("three", 3.0)):
            held = found.get(name, 0)
            ask = LimitAsk(
                worker=name,
                number=number,
                lanes=(LaneDemand("", name, weight, 5.0),),
                places=(PlacesAsk("", 20.0, min(held, 3), 50),),
            )
            found[name] = core.ask(ask, number * 0.2, "epoch").places[""]
    assert found == {"one": 5, "three": 15}


# ------------------------------------------------------------------------------------ refusals


@given(st.lists(st.tuples(WORKER, st.booleans(), SOON), max_size=60))
def test_each_refusal_reaches_each_other_process_once(steps):
    core, now, seen = SharedLimits(), 0.0, dict.fromkeys(range(4), (0, ""))
    told, reported = {at: [] for at in range(4)}, []
    for number, (at, is_refused, wait_s) in enumerate(steps, start=1):
        now += min(wait_s, 1.0)
        refusals = (SharedRefusal(f"call {number}", "too_fast", 5.0),) if is_refused else ()
        if is_refused:
            reported.append((at, f"call {number}"))
        last, epoch = seen[at]
        ask = LimitAsk(worker=f"w{at}", number=number, epoch=epoch, seen=last, refusals=refusals)
        grant = core.ask(ask, now, "epoch")
        seen[at] = grant.seen, grant.epoch
        told[at] += [one.scope for one in grant.refusals]
    if now >= 60.0 or len(reported) > 32:
        return
    for at in range(4):
        grant = core.ask(
            LimitAsk(worker=f"w{at}", number=1000, epoch=seen[at][1], seen=seen[at][0]), now, "e"
        )
        told[at] += [one.scope for one in grant.refusals]
        assert told[at] == [call for by, call in reported if by != at]


# ------------------------------------------------------------------------------------ the state


@given(st.lists(st.tuples(WORKER, SOON, st.sampled_from([1.0, 30.0]), st.booleans()), max_size=50))
def test_a_repeated_question_changes_nothing(steps):
    once, twice, now = SharedLimits(), SharedLimits(), 0.0
    users = [LeaseUser(f"w{at}", 10.0, 9.0) for at in range(4)]
    for at, wait_s, amount, again in steps:
        now += wait_s
        user = users[at]
        user.corrections = [Correction("limit", -0.5, 0.5)]
        question = user.question(amount)
        grant = once.ask(question, now, "epoch")
        assert twice.ask(question, now, "epoch") == grant
        user.apply(grant, now)
        if again:
            assert twice.ask(question, now, "epoch") == grant


def test_a_lease_that_is_repeated_late_is_smaller():
    """What could be used by then may be leased by others, too."""
    core, user = SharedLimits(), LeaseUser("w", 10.0, 2.0)
    core.ask(user.question(2.0), 0.0, "epoch")
    question = user.question(2.0)
    assert [one.at_once for one in core.ask(question, 0.0, "epoch").leases] == [0.0]
    again = core.ask(question, 0.4, "epoch").leases
    assert [(one.amount, one.at_once) for one in again] == [pytest.approx((0.5, 2.5))]


def test_a_state_that_was_lost_begins_empty():
    core, user = SharedLimits(), LeaseUser("w", 10.0, 9.0)
    grant = user.apply(core.ask(user.question(5.0), 0.0, "first"), 0.0)
    assert grant.leases[0].at_once == 9.0
    core = SharedLimits()
    user.full_s = 3.0
    grant = core.ask(user.question(5.0), 1.0, "second")
    assert grant.epoch == "second"
    assert grant.leases[0].at_once == pytest.approx(9.0 - 30.0)  # 3 s until it is full
    newcomer = LimitAsk(
        worker="new",
        number=1,
        rates=(SharedRate("other", 10.0, 9.0),),
        leases=(LeaseAsk("", {"other": 1.0}, {"other": 1.0}),),
    )
    assert core.ask(newcomer, 2.0, "x").leases[0].at_once == 0.0


def test_what_was_used_while_the_store_was_away_counts():
    core = SharedLimits()
    rate = SharedRate("limit", 10.0, 9.0, least_full_s=2.0)
    grant = core.ask(LimitAsk(worker="w", number=1, rates=(rate,)), 0.0, "epoch")
    assert grant.full == {"limit": 2.0}


def test_a_clock_that_jumps_back_freezes_nothing():
    core, user = SharedLimits(), LeaseUser("w", 10.0, 1.0)
    leased = 0.0
    for tick in range(200):
        now = tick * 0.1 - 3600.0 * (tick > 100)
        grant = core.ask(user.question(20.0), now, "epoch")
        leased += sum(one.amount for one in grant.leases)
    assert leased == pytest.approx(200.0, rel=0.05)


def test_the_state_does_not_grow():
    core, rng = SharedLimits(), random.Random(1)
    now = 0.0
    for number in range(700):
        now += 0.4
        ask = LimitAsk(
            worker=f"w{rng.randrange(10_000)}",
            number=number,
            rates=(SharedRate(f"limit {number}", 10.0, 9.0),),
            leases=(LeaseAsk(f"s{number % 5}", {f"limit {number}": 1.0}, {}),),
            lanes=tuple(
                LaneDemand(f"s{number % 5}", f"l{number}-{at}", 1.0, 1.0) for at in range(9)
            ),
            places=(PlacesAsk(f"s{number % 5}", 1000.0, 0, 5),),
            refusals=(SharedRefusal("", "too_fast", 1.0),),
        )
        core.ask(ask, now, "epoch")
    assert len(core._live) <= 26
    assert len(core._live) + len(core._dead) <= 301
    assert len(core._graves) <= 301
    assert len(core._limits) <= 310
    assert len(core._refusals) <= 32
    assert max(len(demand.lanes) for demand in core._demands.values()) <= 129
    core.ask(LimitAsk(worker="last", number=1), now + 1000.0, "epoch")
    core.ask(LimitAsk(worker="last", number=2), now + 1100.0, "epoch")
    assert len(core._live) == 1
    assert len(core._graves) <= 1
    for what in (core._dead, core._demands, core._places, core._limits, core._refusals):
        assert not what
