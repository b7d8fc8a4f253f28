"""The data of a run's report, whose size does not depend on the number of rows."""

import math
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors.rate_limit.explanation import BucketState, LimiterSnapshot
from callsheet.actors.responses import Usage
from callsheet.bulk.progress import Progress, RowEnded
from callsheet.bulk.watching.series import (
    MAX_BUCKETS,
    RELATIVE_ERROR,
    Histogram,
    Series,
    TimeBuckets,
)
from callsheet.compare.run import nearest_rank


def ended(number=1, at=0.0, **more):
    return RowEnded(**({"at": at, "number": number, "custom_id": f"row-{number}"} | more))


def summed(*rows):
    series = Series(0.0)
    for row in rows:
        series.observe(row)
    return series


# --- latency ----------------------------------------------------------------------------------


@given(
    times=st.lists(st.floats(0.001, 600_000), min_size=1, max_size=300),
    percent=st.integers(1, 100),
)
def test_the_error_of_a_percentile_is_within_its_bound(times, percent):
    histogram = Histogram()
    for time in times:
        histogram.add(time)
    exact = nearest_rank(times, percent)
    assert histogram.percentile(percent) == pytest.approx(exact, rel=RELATIVE_ERROR + 1e-9)


@given(st.lists(st.floats(0, 1e9), max_size=200), st.integers(1, 60))
def test_bins_hold_every_time_without_a_gap(times, most):
    histogram = Histogram()
    for time in times:
        histogram.add(time)
    bins = list(histogram.bins(most))
    assert len(bins) <= most
    assert sum(count for _, _, count in bins) == len(times)
    assert all(before[1] == pytest.approx(after[0]) for before, after in pairwise(bins))


def test_without_times_there_are_no_percentiles():
    assert Histogram().percentile(50) is None
    assert list(Histogram().bins(10)) == []
    assert RELATIVE_ERROR < 0.02


def test_a_histogram_stays_small_and_knows_the_extremes():
    histogram = Histogram()
    for n in range(20_000):
        histogram.add(math.exp(n / 800 - 10))
    assert len(histogram._counts) < 530
    assert (histogram.least, histogram.most) == (math.exp(-10), math.exp(19_999 / 800 - 10))
    assert histogram.percentile(100) <= histogram.most


# --- over time --------------------------------------------------------------------------------


@given(st.lists(st.floats(-10, 1e7), max_size=100))
def test_however_long_it_lasts_the_strip_is_short_and_loses_nothing(times):
    buckets = TimeBuckets(0.0)
    for time in times:
        buckets.at(time).answered += 1
    assert len(buckets) <= MAX_BUCKETS
    assert sum(bucket.answered for bucket in buckets) == len(times)
    coarse = buckets.coarser(40)
    assert len(coarse) <= 40
    assert sum(bucket.answered for bucket in coarse) == len(times)


def test_a_row_stays_at_its_time_when_buckets_get_wider():
    buckets = TimeBuckets(100.0)
    for second in range(1000):
        buckets.at(100.0 + second).answered += 1
    assert buckets.width_s == pytest.approx(3.2) or buckets.width_s == pytest.approx(1.6)
    whole = int(1000 / buckets.width_s) - 1
    rates = [bucket.answered / buckets.width_s for bucket in list(buckets)[:whole]]
    assert sum(rates) / len(rates) == pytest.approx(1.0, abs=0.01)
    assert min(rates) > 0


@given(st.floats(0.01, 5))
def test_a_steady_run_is_as_fast_at_its_end_as_before(lasts):
    buckets, step = TimeBuckets(0.0), 0.01
    for n in range(int(lasts / step)):
        buckets.at(n * step).answered += 1
    rates = buckets.rates([bucket.answered for bucket in buckets])
    assert all(rate <= 1 / step * 1.5 for rate in rates)
    assert all(rate >= 1 / step * 0.5 for rate in rates[1:])


def test_two_buckets_become_one_with_all_that_was_in_them():
    series = summed(
        ended(1, 0.0, usage=Usage(1, 2), cost_usd=Decimal(1), attempts=2),
        ended(2, 0.15, error="Timeout", attempts=3),
        ended(3, 0.15, is_reused=True),
    )
    (whole,) = series.buckets.coarser(1)
    assert (whole.answered, whole.failed, whole.reused, whole.attempts) == (1, 1, 1, 5)
    assert (whole.tokens, whole.cost_usd, whole.errors) == (3, Decimal(1), {"Timeout": 1})


def test_the_limit_of_a_time_is_that_of_all_or_of_each_model_together():
    def limiter(*buckets):
        states = [
            BucketState(
                scope=scope,
                dimension=dimension,
                limit=limit,
                per_s=60.0,
                used=0.0,
                depth=1.0,
                source="set",
                member=member[0] if member else "",
            )
            for scope, dimension, limit, *member in buckets
        ]
        return LimiterSnapshot(
            in_flight=0,
            max_in_flight=1,
            waiting=0,
            next_wake_s=None,
            buckets=tuple(states),
            scopes=(),
        )

    def allowed(*buckets):
        series = Series(0.0)
        series.sample(Progress(started_at=0.0, now=0.0, limits=limiter(*buckets)))
        (bucket,) = series.buckets
        return bucket.request_limit, bucket.token_limit

    assert allowed() == (None, None)
    assert allowed(("", "requests", 60.0), ("", "tokens", 600.0)) == (1.0, 10.0)
    assert allowed(("a", "requests", 60.0), ("b", "requests", 120.0)) == (3.0, None)
    assert allowed(("a", "requests", 600.0), ("", "requests", 120.0)) == (2.0, None)
    assert allowed(("a", "requests", 600.0), ("a", "requests", 60.0)) == (1.0, None)
    two = [("", "requests", 60.0, "key 1"), ("a", "requests", 30.0, "key 1")]
    assert allowed(*two, ("", "requests", 120.0, "key 2")) == (2.5, None)


# --- sums -------------------------------------------------------------------------------------


def test_rows_add_up_and_old_rows_count_for_nothing_else():
    series = summed(
        ended(
            1, seconds=2.0, attempts=1, route="live", usage=Usage(10, 5), cost_usd=Decimal("0.5")
        ),
        ended(2, seconds=3.0, attempts=2, route="batch", cost_usd=None),
        ended(3, seconds=9.0, attempts=4, error="Timeout", message="too slow"),
        ended(4, is_reused=True, seconds=0.0),
    )
    assert (series.answered, series.failed, series.reused, series.attempts) == (2, 1, 1, 7)
    assert (series.usage, series.cost_usd, series.unpriced) == (Usage(10, 5), Decimal("0.5"), 1)
    assert series.routes == {"live": 1, "batch": 1}
    assert series.latency.count == 2
    assert [slow.custom_id for slow in series.slowest] == ["row-2", "row-1"]
    assert series.examples == {"Timeout": "too slow"}


@given(st.lists(st.floats(0, 1000), max_size=100))
def test_the_slowest_are_the_slowest(times):
    series = summed(*(ended(n, seconds=time) for n, time in enumerate(times, 1)))
    assert [slow.seconds for slow in series.slowest] == sorted(times, reverse=True)[:20]


def test_names_of_any_number_and_length_do_not_fill_the_memory():
    series = summed(
        *(ended(n, error=f"Error {n}" * 100, message="x" * 10_000) for n in range(100)),
        *(ended(n, custom_id="y" * 10_000, route=f"route {n}") for n in range(100)),
    )
    assert len(series.errors) == 21
    assert series.errors["other"] == 80
    assert len(series.routes) == 21
    assert all(len(text) <= 200 for text in [*series.examples.values(), *series.examples])
    assert all(len(slow.custom_id) <= 200 for slow in series.slowest)


def test_the_text_of_an_error_is_kept_without_the_key():
    series = summed(ended(error="Unauthorized", message="wrong key: sk-abcdefghijklmnop"))
    assert series.examples == {"Unauthorized": "wrong key: ***"}
