"""One budget pays for retries, hedges and fallbacks, of a call and of all calls together."""

from math import inf
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from callsheet.actors import RetryPolicy
from callsheet.actors.request.retry import RetryBudget, RetryDecision, RetryThrottle, ThrottlePolicy

EXTRAS = st.sampled_from(["hedge", "fallback"])


class Spending(RuleBasedStateMachine):
    """Calls that each have a budget and share one throttle."""

    @initialize(
        attempts=st.integers(1, 6),
        share=st.sampled_from([0.0, 0.1, 0.2, 1.0, 2.5]),
        min_per_s=st.sampled_from([0.0, 0.5, 10.0]),
        burst=st.sampled_from([1.0, 3.0, 100.0]),
        start=st.sampled_from([0.0, 1e6]),
        seed=st.integers(),
    )
    def begin(self, *, attempts, share, min_per_s, burst, start, seed):
        self.policy = RetryPolicy(max_attempts=attempts, max_server_s=60)
        self.limits = ThrottlePolicy(share=share, min_per_s=min_per_s, burst=burst)
        self.now = self.start = start
        self.random = Random(seed)
        self.throttle = RetryThrottle(self.limits, start)
        self.calls = []
        self.allowed = 0

    @rule(seconds=st.floats(0, 20))
    def time_passes(self, seconds):
        self.now += seconds

    @rule(many=st.integers(1, 12))
    def calls_begin(self, many):
        self.calls += [RetryBudget(self.policy, self.now, self.throttle) for _ in range(many)]

    @precondition(lambda self: self.calls)
    @rule(data=st.data(), extra=EXTRAS, reserve=st.integers(0, 3))
    def one_is_sent_at_once(self, data, extra, reserve):
        call = data.draw(st.sampled_from(self.calls))
        left = call.left
        if call.take(extra, self.now, reserve=reserve):
            self.allowed += 1
            assert left > reserve
            assert call.left == left - 1
        else:
            assert call.left == left, "what was refused costs nothing"

    @precondition(lambda self: self.calls)
    @rule(
        data=st.data(),
        server_s=st.none() | st.floats(0, 120) | st.just(inf),
        left_s=st.floats(0, 120) | st.just(inf),
        reserve=st.integers(0, 3),
    )
    def one_is_tried_again(self, data, server_s, left_s, reserve):
        call = data.draw(st.sampled_from(self.calls))
        before = call.statistics()
        found = call.retry(self.now, self.random, server_s=server_s, left_s=left_s, reserve=reserve)
        after = call.statistics()
        if found.gives_up is not None:
            assert after == before, "what was refused costs nothing"
        if server_s is not None and server_s > 60:
            assert found == RetryDecision(server_s, "server")
        elif before.left <= reserve:
            assert found.gives_up == "attempts"
        elif found.gives_up == "deadline":
            assert found.pause_s >= left_s
        elif found.gives_up is None:
            self.allowed += 1
            assert (server_s or 0.0) <= found.pause_s < left_s
            assert after.retries == before.retries + 1
            assert after.waited_s == before.waited_s + found.pause_s

    @invariant()
    def no_call_is_sent_more_often_than_its_budget_allows(self):
        for call in getattr(self, "calls", []):
            seen = call.statistics()
            assert seen.attempts == 1 + seen.retries + seen.hedges + seen.fallbacks
            assert seen.attempts + seen.left == self.policy.max_attempts
            assert seen.left >= 0

    @invariant()
    def all_calls_together_are_not_sent_more_often_than_the_throttle_allows(self):
        if not hasattr(self, "throttle"):
            return
        limits, seen = self.limits, self.throttle.statistics(self.now)
        assert seen.calls == len(self.calls)
        assert seen.taken == self.allowed
        assert 0 <= seen.level <= limits.burst
        most = limits.burst + limits.share * seen.calls
        most += limits.min_per_s * (self.now - self.start)
        assert seen.taken <= most + 1e-6


Spending.TestCase.settings = settings(max_examples=20, stateful_step_count=30, deadline=None)
TestSpending = Spending.TestCase


def test_a_burst_of_calls_may_be_followed_by_its_share_of_retries_and_no_more():
    throttle = RetryThrottle(ThrottlePolicy(share=0.25, min_per_s=0, burst=1), 0.0)
    assert throttle.take(0.0)
    assert not throttle.take(0.0)
    for _ in range(4):
        throttle.deposit(0.0)
    assert throttle.take(0.0)
    assert not throttle.take(0.0)
    assert throttle.statistics(0.0).refused == 2


def test_the_initial_balance_is_spent_once():
    throttle = RetryThrottle(ThrottlePolicy(share=0, min_per_s=0, burst=20), 0.0)
    assert sum(throttle.take(0.0) for _ in range(50)) == 20


def test_rare_calls_may_be_retried_nevertheless():
    throttle = RetryThrottle(ThrottlePolicy(share=0, min_per_s=2, burst=1), 0.0)
    assert [throttle.take(now) for now in (0.0, 0.4, 0.5, 0.9, 1.0)] == [
        True,
        False,
        True,
        False,
        True,
    ]


def test_a_clock_that_stands_still_or_is_late_gives_nothing():
    throttle = RetryThrottle(ThrottlePolicy(share=0, min_per_s=10, burst=1), 100.0)
    assert throttle.take(100.0)
    assert not throttle.take(50.0)
    assert not throttle.take(100.0), "the seconds from 50 to 100 were paid for before"


def test_without_a_throttle_a_call_has_all_its_attempts():
    budget = RetryBudget(RetryPolicy(max_attempts=4), 0.0)
    assert [budget.take("hedge", 0.0) for _ in range(5)] == [True, True, True, False, False]
    assert budget.retry(0.0, Random(0)).gives_up == "attempts"


def test_retries_hedges_and_fallbacks_come_from_one_budget():
    budget = RetryBudget(RetryPolicy(max_attempts=4), 0.0)
    assert budget.retry(0.0, Random(0)).gives_up is None
    assert budget.take("hedge", 0.0)
    assert budget.take("fallback", 0.0)
    assert not budget.take("fallback", 0.0)
    seen = budget.statistics()
    assert (seen.attempts, seen.left) == (4, 0)
    assert (seen.retries, seen.hedges, seen.fallbacks) == (1, 1, 1)


def test_what_is_kept_for_the_targets_behind_is_not_spent_on_this_one():
    budget = RetryBudget(RetryPolicy(max_attempts=4), 0.0)
    assert budget.retry(0.0, Random(0), reserve=2).gives_up is None
    assert budget.retry(0.0, Random(0), reserve=2).gives_up == "attempts"
    assert not budget.take("hedge", 0.0, reserve=2)
    assert budget.take("fallback", 0.0, reserve=1)
    assert budget.take("fallback", 0.0)


def test_the_back_off_doubles_and_begins_anew_with_the_next_target():
    class Latest(Random):
        def uniform(self, a, b):
            return b

    policy = RetryPolicy(max_attempts=9, base_s=1.0, cap_s=6.0)
    budget = RetryBudget(policy, 0.0)
    pauses = [budget.retry(0.0, Latest()).pause_s for _ in range(4)]
    assert pauses == [1.0, 2.0, 4.0, 6.0]
    assert budget.take("hedge", 0.0)
    assert budget.retry(0.0, Latest()).pause_s == 6.0
    assert budget.take("fallback", 0.0)
    assert budget.retry(0.0, Latest()).pause_s == 1.0
    assert budget.statistics().waited_s == 20.0


def test_a_pause_that_ends_at_the_deadline_leaves_no_time_for_an_attempt():
    budget = RetryBudget(RetryPolicy(base_s=0.0), 0.0)
    assert budget.retry(0.0, Random(0), server_s=5.0, left_s=5.0) == RetryDecision(5.0, "deadline")
    assert budget.retry(0.0, Random(0), server_s=5.0, left_s=5.1) == RetryDecision(5.0)


@given(st.floats(0, 1e6), st.integers())
def test_a_throttle_that_is_empty_ends_a_call_with_attempts_left(start, seed):
    throttle = RetryThrottle(ThrottlePolicy(share=0, min_per_s=0, burst=1), start)
    budget = RetryBudget(RetryPolicy(), start, throttle)
    assert budget.retry(start, Random(seed)).gives_up is None
    assert budget.retry(start, Random(seed)).gives_up == "throttle"
    assert budget.left == 3


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"share": -0.1}, "share"),
        ({"share": float("nan")}, "share"),
        ({"min_per_s": -1}, "min_per_s"),
        ({"burst": 0.5}, "burst"),
        ({"burst": inf}, "burst"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(settings, field):
    with pytest.raises(ValueError, match=field):
        ThrottlePolicy(**settings)


def test_a_repr_shows_the_balance():
    throttle = RetryThrottle(ThrottlePolicy(), 0.0)
    assert "100.0 left" in repr(throttle)
    assert "1 of 5" in repr(RetryBudget(RetryPolicy(), 0.0, throttle))
