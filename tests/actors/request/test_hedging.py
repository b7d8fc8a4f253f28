"""When a call is slow enough for a second copy, and the limit of copies."""

from fractions import Fraction
from math import ceil, inf, nan
from random import Random

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from callsheet.actors.request.hedging import HedgePolicy, Hedger, LatencyWindow

seconds = st.floats(0, 600, allow_nan=False)


@given(st.lists(seconds, min_size=1, max_size=60), st.integers(1, 30), st.integers(1, 99))
def test_the_quantile_is_the_smallest_that_enough_do_not_exceed(latencies, size, percent):
    window = LatencyWindow(size)
    for each in latencies:
        window.add(each)
    latest = latencies[-size:]
    assert len(window) == len(latest)
    found = window.quantile(percent / 100)
    needed = ceil(Fraction(percent, 100) * len(latest))
    assert found in latest
    assert sum(each <= found for each in latest) >= needed
    assert sum(each < found for each in latest) < needed


def test_the_rank_is_not_one_too_high_because_a_product_was_rounded():
    assert 0.28 * 25 > 7
    window = LatencyWindow(25)
    for each in range(1, 26):
        window.add(float(each))
    assert window.quantile(0.28) == 7.0


def test_what_happened_long_ago_is_forgotten():
    window = LatencyWindow(3)
    for each in (100.0, 100.0, 1.0, 2.0, 3.0):
        window.add(each)
    assert window.quantile(0.99) == 3.0
    assert window.quantile(0.01) == 1.0


@pytest.mark.parametrize("value", [-1.0, nan, inf])
def test_what_is_no_latency_is_refused_and_changes_nothing(value):
    window = LatencyWindow(1)
    window.add(1.0)
    with pytest.raises(ValueError, match="a latency is"):
        window.add(value)
    assert window.quantile(0.5) == 1.0


class Hedging(RuleBasedStateMachine):
    """Calls of two models that begin, are slow, and end."""

    @initialize(
        percent=st.integers(0, 100),
        min_calls=st.integers(1, 5),
        burst=st.sampled_from([1, 2, 10]),
        quantile=st.sampled_from([0.5, 0.95]),
    )
    def start(self, percent, min_calls, burst, quantile):
        self.share = Fraction(percent, 100)
        self.policy = HedgePolicy(
            quantile=quantile,
            max_share=percent / 100,
            min_calls=min_calls,
            window=max(8, min_calls),
            burst=burst,
        )
        self.hedger = Hedger(self.policy)
        self.calls = {"m": 0, "n": 0}
        self.hedges = {"m": 0, "n": 0}
        self.observed = {"m": [], "n": []}
        self.in_a_row = 0

    @rule(key=st.sampled_from("mn"), many=st.integers(1, 30))
    def calls_begin(self, key, many):
        for _ in range(many):
            after_s = self.hedger.begin(key)
            self.calls[key] += 1
        self.in_a_row = 0
        latest = self.observed[key][-self.policy.window :]
        if self.share == 0 or len(latest) < self.policy.min_calls:
            assert after_s is None, "it knows too little to hedge"
        else:
            assert after_s in latest

    @rule(key=st.sampled_from("mn"), taken=seconds)
    def one_ends(self, key, taken):
        self.hedger.observe(key, taken)
        self.observed[key].append(taken)

    @rule(key=st.sampled_from("mn"), many=st.integers(1, 12))
    def many_are_slow(self, key, many):
        given = sum(self.hedger.take(key) for _ in range(many))
        self.hedges[key] += given
        self.in_a_row += given
        assert self.in_a_row <= 2 * self.policy.burst, "for two keys; no call began in between"

    @invariant()
    def there_are_never_more_hedges_than_their_share(self):
        for shown in self.hedger.statistics() if hasattr(self, "hedger") else ():
            assert shown.calls == self.calls[shown.key]
            assert shown.hedges == self.hedges[shown.key]
            assert shown.hedges <= self.policy.max_share * shown.calls
            assert shown.hedges <= self.share * shown.calls + Fraction(1, 10**9)


Hedging.TestCase.settings = settings(
    max_examples=settings.default.max_examples, stateful_step_count=25, deadline=None
)
TestHedging = Hedging.TestCase


def test_the_share_is_used_as_well_as_kept():
    """A rounded sum must not refuse the hedge that the share allows."""
    for percent in range(1, 101):
        hedger = Hedger(HedgePolicy(max_share=percent / 100))
        hedges = 0
        for calls in range(1, 301):
            hedger.begin("m")
            hedges += hedger.take("m")
            assert hedges == int(percent / 100 * calls), percent


def test_an_outage_is_not_doubled_by_what_was_saved_up():
    hedger = Hedger(HedgePolicy(max_share=0.05, burst=3))
    for _ in range(100_000):
        hedger.begin("m")
    assert sum(hedger.take("m") for _ in range(1000)) == 3
    assert hedger.statistics()[0].refused == 997


def test_nothing_is_hedged_before_enough_is_known():
    hedger = Hedger(HedgePolicy(min_calls=3, window=3, quantile=0.5))
    found = []
    for taken in (5.0, 1.0, 3.0):
        found.append(hedger.begin("m"))
        hedger.observe("m", taken)
    assert found == [None, None, None]
    assert hedger.begin("m") == 3.0
    assert hedger.begin("another model") is None


def test_no_share_means_no_hedging():
    hedger = Hedger(HedgePolicy(max_share=0, min_calls=1))
    hedger.observe("m", 1.0)
    assert hedger.begin("m") is None
    assert not hedger.take("m")


@pytest.mark.parametrize(("is_told", "low", "high"), [(True, 0.85, 0.95), (False, 0.0, 0.5)])
def test_the_quantile_sinks_unless_cancelled_calls_are_recorded(is_told, low, high):
    """Latencies are uniform up to 1 s, and every second copy wins at once."""
    random = Random(1)
    hedger = Hedger(HedgePolicy(quantile=0.9, max_share=1.0))
    for _ in range(5000):
        after_s, taken = hedger.begin("m"), random.random()
        if after_s is None or taken <= after_s:
            hedger.observe("m", taken)
        elif is_told:
            hedger.observe("m", after_s + 0.01)
    assert low < hedger.begin("m") < high


def test_what_it_does_can_be_seen():
    hedger = Hedger(HedgePolicy(max_share=0.5, min_calls=1))
    for _ in range(4):
        hedger.begin("m")
    hedger.observe("m", 2.0)
    assert [hedger.take("m") for _ in range(3)] == [True, True, False]
    (shown,) = hedger.statistics()
    assert attrs.asdict(shown) == {
        "key": "m",
        "calls": 4,
        "hedges": 2,
        "refused": 1,
        "observed": 1,
        "after_s": 2.0,
    }
    assert repr(hedger) == "<Hedger 2 of 4 calls>"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"quantile": 0}, "quantile"),
        ({"quantile": 1}, "quantile"),
        ({"max_share": -0.1}, "max_share"),
        ({"max_share": 1.1}, "max_share"),
        ({"max_share": nan}, "max_share"),
        ({"min_calls": 0}, "min_calls"),
        ({"window": 0}, "window"),
        ({"burst": 0}, "burst"),
        ({"min_calls": 501}, "min_calls is 501"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(changes, field):
    with pytest.raises(ValueError, match=field):
        HedgePolicy(**changes)
