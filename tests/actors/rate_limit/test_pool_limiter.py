"""The limiter of a pool: limits of each member, the member that can serve a call first, health."""

from collections import Counter
from math import inf

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from one_lane import ProviderBucket

from callsheet.actors import Lane, Limits
from callsheet.actors.permit import Report
from callsheet.actors.pool_health import PoolHealth
from callsheet.actors.rate_limit.limits import Cost, Impossible, PermitRequest, TooLate
from callsheet.actors.rate_limit.pool import PoolLimiter
from callsheet.actors.rate_limit.simulation import Grant
from callsheet.actors.rate_limit.spread import PoolMember


@attrs.define(eq=False)
class Waiter:
    name: str = ""
    done: bool = False


class Pool:
    """A limiter of a pool, its health, and the instants of its grants."""

    def __init__(self, members="ab", now=0.0, own=(), weights=(), **limits):
        self.health = PoolHealth(members)
        own, weights = dict(own), dict(weights)
        members = [
            PoolMember(name=name, limits=own.get(name), weight=weights.get(name, 1.0))
            for name in members
        ]
        self.limiter = PoolLimiter(members, self.health, Limits(**limits), now)
        self.grants = []  # (when, member, reservation)

    def push(self, now=0.0, name="", model="m", lane="", deadline=inf, **cost):
        request = PermitRequest(model, Cost(**cost), lane, deadline)
        return self.limiter.push(Waiter(name), request, now)

    def run(self, until, now=0.0):
        """Admit what the limits allow up to an instant; return the members, in order."""
        found = []
        while now <= until:
            result = self.limiter.advance(now)
            if isinstance(result, Grant):
                found.append(result.reservation.member)
                self.grants.append((now, result.reservation.member, result.reservation))
            elif result == inf:
                break
            else:
                assert result > now  # it never polls (L4)
                now = result
        return found


# ------------------------------------------------------------------ limits


def test_each_member_has_the_limits_for_itself():
    pool = Pool(rpm=60, burst_s=0.0)
    for _ in range(6):
        pool.push()
    pool.run(10.0)
    assert [(at, member) for at, member, _ in pool.grants] == [
        (0.0, "a"),
        (0.0, "b"),
        (pytest.approx(1.0), "a"),
        (pytest.approx(1.0), "b"),
        (pytest.approx(2.0), "a"),
        (pytest.approx(2.0), "b"),
    ]


def test_a_call_goes_to_the_member_that_can_serve_it_first():
    pool = Pool(rpm=60, burst_s=0.0, own={"b": Limits(rpm=240, burst_s=0.0)})
    for _ in range(10):
        pool.push()
    assert Counter(pool.run(1.5)) == {"a": 2, "b": 7}


def test_calls_in_flight_are_bounded_for_all_members_together_and_for_each():
    pool = Pool("abc", in_flight=5, own={"c": Limits(in_flight=1)})
    for _ in range(10):
        pool.push()
    assert Counter(pool.run(1.0)) == {"a": 2, "b": 2, "c": 1}
    assert pool.limiter.in_flight == 5
    pool.limiter.release(pool.grants[0][2], 1.0)
    assert pool.run(2.0, now=1.0) == ["a"]


def test_a_learned_limit_holds_for_its_member_alone():
    pool = Pool()
    pool.push()
    pool.run(0.0)
    pool.limiter.report(
        pool.grants[0][2], [Report("requests", 60, 60, 60.0, 60.0, source="x")], 0.0
    )
    for _ in range(20):
        pool.push()
    assert set(pool.run(0.5)) == {"b"}
    (bucket,) = pool.limiter.snapshot(0.0).buckets
    assert (bucket.member, bucket.source) == ("a", "learned")


def test_a_refusal_pauses_its_member_alone():
    pool = Pool()
    pool.push()
    pool.run(0.0)
    pool.limiter.refused(pool.grants[0][2], "too_fast", None, pause_s=30.0, now=0.0)
    for _ in range(3):
        pool.push()
    assert pool.run(1.0) == ["b", "b", "b"]


def test_a_call_that_only_one_member_can_ever_admit_waits_for_it():
    pool = Pool(own={"a": Limits(tpm=100), "b": Limits(tpm=1000, in_flight=1)})
    pool.push(tokens=500)
    pool.push(tokens=500)
    assert pool.run(1.0) == ["b"]
    pool.limiter.release(pool.grants[0][2], 1.0)
    assert pool.run(100.0, now=1.0) == ["b"]


def test_a_call_that_no_member_can_ever_admit_is_refused():
    pool = Pool(tpm=100)
    with pytest.raises(Impossible, match="100 tokens a minute"):
        pool.push(tokens=500)
    with pytest.raises(Impossible):
        pool.limiter.try_admit(PermitRequest("m", Cost(tokens=500)), 0.0)


def test_a_call_is_late_only_if_it_is_at_every_member():
    pool = Pool(rpm=1, burst_s=0.0)
    pool.push()
    pool.run(0.0)
    pool.push(deadline=10.0)
    pool.run(0.0)
    with pytest.raises(TooLate):
        pool.push(deadline=10.0)


def test_no_later_call_overtakes_at_a_limit_of_all_models():
    pool = Pool("a", tpm=600, burst_s=1.0)
    pool.push(tokens=300, model="big")
    pool.push(tokens=600, model="big", name="first")
    pool.push(tokens=1, model="small")
    pool.run(300.0)
    assert [reservation.model for _, _, reservation in pool.grants] == ["big", "big", "small"]


def test_lanes_share_the_pool_fairly():
    pool = Pool(rpm=60, burst_s=0.0, lanes={"many": Lane(), "few": Lane()})
    for _ in range(100):
        pool.push(lane="many")
    pool.push(lane="few")
    pool.run(1.5)
    assert len(pool.grants) == 4
    assert pool.limiter.snapshot(1.5).scopes[-1].waiting == {"many": 97}


def test_new_limits_apply_to_members_without_limits_of_their_own():
    pool = Pool(rpm=1, burst_s=0.0, own={"b": Limits(rpm=1, burst_s=0.0)})
    for _ in range(10):
        pool.push()
    pool.run(0.0)
    assert pool.limiter.change(Limits(rpm=6_000), 0.0) == []
    assert set(pool.run(0.5)) == {"a"}


def test_new_limits_refuse_the_calls_that_no_member_can_admit_any_more():
    pool = Pool(in_flight=1)
    pool.push(tokens=1)
    pool.push(tokens=500, name="large")
    pool.run(0.0)
    ((waiter, error),) = pool.limiter.change(Limits(tpm=100), 0.0)
    assert waiter.name == "large"
    assert "100 tokens a minute" in str(error)


# ------------------------------------------------------------------ health


def test_a_member_that_is_left_out_gets_no_calls_until_it_is_tried_with_one():
    pool = Pool()
    pool.health.refused("a", "", 0.0)
    for _ in range(4):
        pool.push()
    assert pool.run(1.0) == ["b"] * 4
    for _ in range(4):
        pool.push(60.0)
    assert Counter(pool.run(61.0, now=60.0)) == {"a": 1, "b": 3}
    pool.health.answered("a", "m")
    for _ in range(4):
        pool.push(62.0)
    assert set(pool.run(63.0, now=62.0)) == {"a", "b"}


def test_a_probe_that_ends_without_a_result_lets_another_one_try():
    pool = Pool("a")
    pool.health.failed("a", 5.0)
    pool.push()
    pool.push()
    assert pool.run(10.0) == ["a"]
    assert pool.grants[0][0] == 5.0
    pool.limiter.release(pool.grants[0][2], 11.0, happened=False)
    assert pool.run(12.0, now=11.0) == ["a"]


def test_calls_wait_for_a_member_that_failed_if_there_is_no_other():
    pool = Pool()
    pool.health.failed("a", 20.0)
    pool.health.failed("b", 10.0)
    explained = pool.limiter.explain(PermitRequest("m", Cost()), 0.0)
    assert (explained.because, explained.member) == ("a member of the pool that works", "b")
    pool.push()
    assert pool.run(30.0) == ["b"]
    assert pool.grants[0][0] == 10.0


def test_a_call_that_no_member_can_be_tried_with_before_its_deadline_is_late_at_once():
    pool = Pool()
    pool.health.failed("a", 20.0)
    pool.push(deadline=5.0)
    pool.health.failed("b", 10.0)
    with pytest.raises(TooLate, match=r"all members of the pool fail; .* in 10\.0 s"):
        pool.push(deadline=5.0)
    pool.push(deadline=10.0)


# ------------------------------------------------------------------ calls in flight


def renew(pool, reservation, not_before, **more):
    pool.limiter.push_renewal(Waiter(), reservation, not_before, **more)


def test_a_renewal_may_move_to_another_member_at_once():
    pool = Pool()
    pool.push()
    pool.run(0.0)
    renew(pool, pool.grants[0][2], 30.0, moves=["b"])
    assert pool.run(1.0) == ["b"]
    states = {scope.member: scope.in_flight for scope in pool.limiter.snapshot(1.0).scopes}
    assert states == {"a": 0, "b": 1}
    pool.limiter.release(pool.grants[1][2], 2.0)
    assert pool.limiter.in_flight == 0


def test_a_renewal_that_may_not_move_waits_for_its_member():
    pool = Pool()
    pool.push()
    pool.run(0.0)
    renew(pool, pool.grants[0][2], 30.0)
    assert pool.run(40.0) == ["a"]
    assert pool.grants[1][0] == 30.0
    assert pool.limiter.in_flight == 1


def test_a_renewal_after_a_pause_goes_to_any_member():
    pool = Pool()
    pool.push()
    pool.run(0.0)
    renew(pool, pool.grants[0][2], 30.0, moves=())
    assert pool.run(40.0) == ["b"]
    assert pool.grants[1][0] == 30.0


def test_a_renewal_returns_to_its_member_if_that_is_ready_first():
    pool = Pool(rpm=1, burst_s=0.0)
    pool.push()
    pool.push()
    pool.run(0.0)
    first = pool.grants[0][2]
    pool.limiter.refused(first, "too_fast", None, pause_s=5.0, now=0.0)
    pool.limiter.refused(pool.grants[1][2], "too_fast", None, pause_s=300.0, now=0.0)
    renew(pool, first, 5.0, moves=["b"])
    assert pool.run(100.0) == ["a"]


def test_what_was_not_sent_is_returned_to_the_member_that_the_call_leaves():
    pool = Pool(rpm=1, burst_s=0.0)
    pool.push()
    pool.run(0.0)
    assert pool.grants[0][1] == "a"
    renew(pool, pool.grants[0][2], 0.0, moves=["b"], was_sent=False)
    pool.health.failed("a", 5.0)
    assert pool.run(1.0) == ["b"]
    pool.push(5.0)
    assert pool.run(6.0, now=5.0) == ["a"]


def test_the_explanation_names_the_member_and_its_limit():
    pool = Pool(rpm=1, burst_s=0.0, own={"b": Limits(rpm=2, burst_s=0.0)})
    for _ in range(2):
        pool.push()
    pool.run(0.0)
    explained = pool.limiter.explain(PermitRequest("m", Cost()), 0.0)
    assert explained.member == "b"
    assert explained.wait_s == pytest.approx(30.0)
    assert explained.because == "the limit of 2 requests a minute of b"
    assert pool.limiter.in_flight == 2  # nothing has changed


# ------------------------------------------------------------------ any order of events

EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["arrive", "arrive", "arrive", "end", "refuse", "fail", "work", "move"]),
        st.integers(0, 9),
        st.floats(0.0, 20.0),
    ),
    max_size=60,
)


@settings(max_examples=2 * settings.default.max_examples, deadline=None)
@given(EVENTS, st.integers(1, 20))
def test_no_member_is_sent_more_than_its_limits_or_while_it_is_out(events, in_flight):
    rpm = {"a": 60, "b": 120, "c": 30}
    own = {name: Limits(rpm=each, burst_s=2.0) for name, each in rpm.items()}
    pool = Pool("abc", own=own, in_flight=in_flight)
    buckets = {name: ProviderBucket(each, 2.0) for name, each in rpm.items()}
    held, now, arrived, granted = [], 0.0, 0, 0

    def advance(until):
        nonlocal now, granted
        while now <= until:
            result = pool.limiter.advance(now)
            if isinstance(result, Grant):
                member = result.reservation.member
                assert buckets[member].admits(1.0, now)
                assert member in pool.health.may_serve("m", now)[0]
                held.append(result.reservation)
                granted += result.reservation.is_first
                assert len(held) <= in_flight
                continue
            assert result > now
            if result > until:
                break
            now = result
        now = max(now, until)

    for kind, number, seconds in events:
        if kind == "arrive":
            pool.push(now)
            arrived += 1
        elif kind == "work":
            pool.health.answered("abc"[number % 3], "m")
            pool.health.recovered("abc"[number % 3])
        elif kind == "fail":
            pool.health.failed("abc"[number % 3], now + seconds)
        elif kind == "refuse":
            pool.health.refused("abc"[number % 3], "", now)
        elif held:
            reservation = held.pop(number % len(held))
            if kind == "end":
                pool.limiter.release(reservation, now)
            else:
                renew(pool, reservation, now + seconds, moves=["a"])
        advance(now + seconds)
        in_hand = len(held) + len(pool.limiter._renewals)
        assert pool.limiter.in_flight == in_hand
    for name in "abc":  # in the end every member is taken up again, and every call is admitted
        pool.health.answered(name, "m")
        pool.health.recovered(name)
    for _ in range(1_000):
        if not pool.limiter.waiting:
            break
        for reservation in held:
            pool.limiter.release(reservation, now)
        held.clear()
        advance(now + 10.0)
    assert granted == arrived
