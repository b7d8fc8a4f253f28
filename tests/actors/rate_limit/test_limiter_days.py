"""The limiter over random days: a provider with the same limits refuses no call (L4)."""

from math import inf

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from one_lane import Limiter, ProviderBucket, Waiter, bucket_of, tokens_of

from callsheet.actors import Limits


class Day:
    """A limiter and a clock that advances to the times that the limiter returns."""

    def __init__(self, limits):
        self.limits = limits
        self.limiter = Limiter(limits, 0.0)
        self.now = 0.0
        self.parked_until = -inf
        self.waiting = []
        self.went = []
        self.under_way = []
        self.wakes = 0
        self.idle_wakes = 0

    def push(self, tokens):
        waiter = Waiter(len(self.waiting), tokens_of(tokens))
        self.waiting.append(waiter)
        self.limiter.push(waiter, waiter.cost, self.now)

    def renew(self, at, delay):
        if not self.under_way:
            return
        cost = self.under_way[at % len(self.under_way)].cost
        waiter = Waiter(len(self.waiting), cost, self.now + delay, is_renewal=True)
        self.waiting.append(waiter)
        self.limiter.push_renewal(waiter, cost, waiter.not_before)

    def cancel(self, at):
        left = [waiter for waiter in self.waiting if not waiter.done and waiter.went_at is None]
        if left:
            left[at % len(left)].done = True

    def release(self, at):
        if self.under_way:
            waiter = self.under_way.pop(at % len(self.under_way))
            self.limiter.release(waiter, self.now)

    def park(self, seconds):
        self.parked_until = max(self.parked_until, self.now + seconds)
        self.limiter.park(self.now + seconds)

    def let_through(self):
        """Admit all calls that the limits allow; return when to call this again."""
        while (waiter := self.limiter.pop(self.now)) is not None:
            assert not waiter.done, "its caller has given it up"
            assert waiter.went_at is None
            assert self.now >= max(self.parked_until, waiter.not_before)
            waiter.went_at = self.now
            self.went.append(waiter)
            if not waiter.is_renewal:
                self.under_way.append(waiter)
            assert self.limiter.in_flight == len(self.under_way) <= self.limits.in_flight
        back_at = self.limiter.next_at(self.now)
        assert back_at > self.now, "a wake-up without progress would be repeated for ever"
        if 1e-3 < back_at - self.now < inf:
            half = self.limiter.pop((self.now + back_at) / 2)
            assert half is None, "it could have gone before next_at"
        return back_at

    def until(self, end):
        """Advance the clock, only to the times that the limiter returns."""
        idle = 0
        while (back_at := self.let_through()) <= end and back_at < inf:
            self.now = back_at
            self.wakes += 1
            before = len(self.went)
            self.let_through()
            idle = idle + 1 if len(self.went) == before else 0
            assert idle <= 2, "it wakes repeatedly without admitting a call"
            self.idle_wakes += idle > 0
        self.now = end if end < inf else self.now

    def check(self):
        """Calls were admitted in order, and a provider with the same limits accepts them all."""
        first_time = [waiter.number for waiter in self.went if not waiter.is_renewal]
        assert first_time == sorted(first_time), "first come, first served"
        burst_s = self.limits.burst_s
        for per_minute, amount in (
            (self.limits.rpm, lambda cost: cost.requests),
            (self.limits.tpm, lambda cost: cost.tokens),
        ):
            if per_minute is None:
                continue
            provider = ProviderBucket(per_minute, burst_s)
            for waiter in self.went:
                assert provider.admits(amount(waiter.cost), waiter.went_at)
            self._check_every_interval(bucket_of(per_minute, burst_s, 0.0), amount)

    def _check_every_interval(self, bucket, amount):
        """Check that no interval has more than depth and refill, apart from the last call."""
        for first in range(len(self.went)):
            sum_before = 0.0
            for last in self.went[first:]:
                cost = amount(last.cost)
                seconds = last.went_at - self.went[first].went_at
                allowed = bucket.depth + bucket.rate * seconds
                assert sum_before + min(cost, bucket.depth) <= allowed + 1e-6 * bucket.depth
                sum_before += cost


some_limits = st.builds(
    Limits,
    rpm=st.none() | st.sampled_from([1.0, 6.0, 60.0, 600.0, 6000.0]),
    tpm=st.none() | st.sampled_from([100.0, 1_000.0, 60_000.0]),
    in_flight=st.integers(1, 5),
    burst_s=st.sampled_from([0.0, 0.5, 1.0, 10.0, 60.0]),
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.integers(0, 100)),
        st.tuples(st.just("push"), st.integers(0, 100)),
        st.tuples(st.just("renew"), st.integers(0, 9), st.sampled_from([0.0, 0.3, 2.0, 30.0])),
        st.tuples(st.just("cancel"), st.integers(0, 9)),
        st.tuples(st.just("release"), st.integers(0, 9)),
        st.tuples(st.just("park"), st.sampled_from([0.0, 0.7, 5.0])),
        st.tuples(st.just("pass"), st.sampled_from([0.0, 0.01, 0.1, 1.0, 7.0])),
    ),
    max_size=60,
)


@settings(max_examples=4 * settings.default.max_examples, deadline=None)
@given(some_limits, steps)
def test_on_any_day_the_provider_rejects_no_call_and_none_is_forgotten(limits, steps):
    day = Day(limits)
    for name, *arguments in steps:
        if name == "pass":
            day.until(day.now + arguments[0])
        else:
            getattr(day, name)(*arguments)
            day.let_through()
    while True:
        day.until(inf)
        if not day.under_way:
            break
        while day.under_way:
            day.release(0)
    left = [waiter for waiter in day.waiting if not waiter.done and waiter.went_at is None]
    assert not left, "no starvation: every call that still waited was admitted"
    assert day.limiter.waiting == 0
    assert day.limiter.in_flight == 0
    day.check()


@given(some_limits, st.lists(st.integers(0, 100), min_size=1, max_size=40))
def test_a_crowd_wakes_the_limiter_once_for_each_admitted_call(limits, tokens):
    day = Day(attrs.evolve(limits, in_flight=100))
    for cost in tokens:
        day.push(cost)
    day.until(inf)
    assert len(day.went) == len(tokens)
    assert day.wakes <= len(tokens)
    assert day.idle_wakes == 0, "it wakes at the instant at which a call may be sent (L4)"


@given(
    rpm=st.floats(1, 1e6),
    burst_s=st.floats(0, 60),
    start=st.floats(0, 1e6),
    count=st.integers(2, 60),
)
def test_waiting_calls_are_sent_as_fast_as_the_limit_allows(rpm, burst_s, start, count):
    limiter = Limiter(Limits(rpm=rpm, burst_s=burst_s, in_flight=1000), start)
    for number in range(count):
        limiter.push(Waiter(number, tokens_of(0)), tokens_of(0))
    now, went, looks = start, 0, 0
    while went < count:
        looks += 1
        if limiter.pop(now) is None:
            now = limiter.next_at(now)
        else:
            went += 1
    depth = bucket_of(rpm, burst_s, 0.0).depth
    shortest = max(0.0, count - depth) * 60 / rpm
    assert now - start == pytest.approx(shortest, rel=1e-6, abs=1e-6)
    assert looks <= 4 * count
