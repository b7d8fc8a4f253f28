"""The speed, end and cost of a run, estimated from its recent history."""

import random
from decimal import Decimal

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors.rate_limit.bucket import Bucket
from callsheet.actors.rate_limit.explanation import BucketState, LimiterSnapshot
from callsheet.bulk.progress import Progress
from callsheet.bulk.watching.outlook import History, limit_uses, outlook


def stands(now, answered=0, **more):
    return Progress(started_at=0.0, now=now, answered=answered, **more)


def after(*snapshots):
    history = History(snapshots[0])
    for one in snapshots[1:]:
        history.add(one)
    return outlook(history)


def limits(*buckets):
    return LimiterSnapshot(
        in_flight=0, max_in_flight=9, waiting=0, next_wake_s=None, buckets=buckets, scopes=()
    )


def requests(used, *, limit=600.0, per_s=60.0, **more):
    return BucketState(
        scope=more.pop("scope", ""),
        dimension="requests",
        limit=limit,
        per_s=per_s,
        used=used,
        depth=9.0,
        source="set",
        **more,
    )


# --- rates, time and money --------------------------------------------------------------------


def test_at_the_start_nothing_is_known():
    look = after(stands(0.0, total=100))
    assert (look.rate, look.mean_rate, look.eta_s, look.projected_usd) == (None, None, None, None)
    assert (look.remaining, look.limits) == (100, ())


def test_the_rate_now_is_that_of_the_last_ten_seconds():
    snapshots = [stands(float(t), 10 * min(t, 20) + 50 * max(0, t - 20)) for t in range(41)]
    look = after(*snapshots)
    assert look.rate == 50
    assert look.mean_rate == (200 + 1000) / 40


def test_the_remaining_time_follows_from_the_last_minute_and_the_price_from_the_mean_row():
    run = [stands(float(t), 10 * t, total=1200, cost_usd=Decimal(t)) for t in range(100)]
    look = after(*run)
    assert look.remaining == 1200 - 990
    assert look.eta_s == pytest.approx(21.0)
    assert look.projected_usd == pytest.approx(Decimal(120))


def test_rows_from_an_earlier_run_tell_neither_speed_nor_price():
    begun = stands(1.0, 900, reused=900, total=1000, in_flight=5)
    assert after(stands(0.0, total=1000), begun).eta_s is None
    later = stands(2.0, 910, reused=900, total=1000, in_flight=5, cost_usd=Decimal(1))
    look = after(stands(0.0, total=1000), begun, later)
    assert (look.rate, look.eta_s, look.projected_usd) == (5.0, 18.0, Decimal(10))


def test_a_run_that_only_finds_old_responses_has_a_remaining_time():
    look = after(stands(0.0, total=1000), stands(1.0, 500, reused=500, total=1000))
    assert (look.rate, look.eta_s) == (500.0, 1.0)


def test_a_run_that_stands_still_is_judged_by_its_mean():
    run = [stands(float(t), min(t, 100), total=200) for t in range(200)]
    look = after(*run)
    assert look.rate == 0
    assert look.eta_s == pytest.approx(100 / (100 / 199))


def test_a_paused_run_has_no_remaining_time_and_a_draining_one_ends_with_the_calls_in_flight():
    first = stands(0.0, total=1000)
    assert after(first, stands(1.0, 10, total=1000, is_paused=True)).eta_s is None
    draining = stands(1.0, 10, total=1000, in_flight=5, is_draining=True, cost_usd=Decimal(1))
    look = after(first, draining)
    assert (look.remaining, look.eta_s, look.projected_usd) == (5, 0.5, Decimal("1.5"))


def test_answers_of_unknown_price_are_no_reason_to_think_that_rows_are_cheap():
    look = after(
        stands(0.0, total=100), stands(1.0, 50, total=100, unpriced=40, cost_usd=Decimal(1))
    )
    assert look.projected_usd == Decimal(6)
    assert after(stands(1.0, 50, total=100, unpriced=50)).projected_usd is None


def test_without_a_total_there_is_no_remaining_time():
    look = after(stands(0.0), stands(1.0, 10, cost_usd=Decimal(1)))
    assert (look.rate, look.remaining, look.eta_s, look.projected_usd) == (10.0, None, None, None)


counts = st.integers(0, 10**9)
snapshot = st.builds(
    Progress,
    started_at=st.just(0.0),
    now=st.floats(0, 1e9),
    total=st.none() | counts,
    read=counts,
    answered=counts,
    reused=counts,
    failed=counts,
    bad=counts,
    in_flight=counts,
    unpriced=counts,
    cost_usd=st.decimals(0, 10**6, places=6),
    is_paused=st.booleans(),
    is_draining=st.booleans(),
)


@given(st.lists(snapshot, min_size=1, max_size=20))
def test_whatever_happens_no_figure_is_negative_or_endless(snapshots):
    look = after(*snapshots)
    for figure in (look.rate, look.mean_rate, look.remaining, look.eta_s):
        assert figure is None or 0 <= figure < float("inf")
    if look.projected_usd is not None:
        assert look.projected_usd >= snapshots[-1].cost_usd


@given(
    rows=st.lists(st.integers(0, 50), min_size=2, max_size=100),
    extra=st.integers(0, 10**6),
)
def test_more_remaining_rows_never_take_less_time_or_money(rows, extra):
    done, run = 0, []
    for at, count in enumerate(rows):
        done += count
        run.append(stands(float(at), done, total=5000, cost_usd=Decimal(done)))
    look = after(*run)
    longer = after(*(attrs.evolve(one, total=one.total + extra) for one in run))
    if look.eta_s is not None and longer.eta_s is not None:
        assert longer.eta_s >= look.eta_s
    if look.projected_usd is not None and longer.projected_usd is not None:
        assert longer.projected_usd >= look.projected_usd


@given(st.lists(st.floats(0.0, 5.0), max_size=600))
def test_a_history_is_short_in_order_and_knows_the_latest(steps):
    now = 0.0
    history = History(stands(now))
    for step in steps:
        now += step
        history.add(stands(now))
        times = [one.now for one in history.snapshots]
        assert times == sorted(set(times))
        assert len(times) <= 482
        assert history.latest.now == now
        assert times[-1] - times[0] <= 60 or times[-1] - times[1] < 60


def test_a_history_that_is_looked_at_all_the_time_still_knows_a_minute():
    history = History(stands(0.0))
    for tick in range(1, 20_000):
        history.add(stands(tick / 100))
    assert 60 <= history.latest.now - history.snapshots[0].now < 61
    assert len(history.snapshots) <= 482


# --- the use of limits ------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("rpm", [60.0, 600.0, 60_000.0])
def test_the_use_of_a_limit_is_the_share_that_was_taken_of_it(share, rpm):
    """Calls come at random; at 1.0 they come as fast as the bucket lets them."""
    chance = random.Random(7)
    per_s = rpm / 60
    bucket = Bucket(per_s, max(1.0, per_s - 1), 0.0)
    history = History(stands(0.0, limits=limits(requests(0.0, limit=rpm))))
    taken, now, end = 0, 0.0, 120.0
    looks = iter([0.25 * n - 0.1 for n in range(1, int(end * 4) + 1)])
    look_at = next(looks)
    while now < end:
        now += chance.expovariate(per_s * share) if 0 < share < 1 else 0.0
        now = max(now, bucket.ready_at(1.0, now)) if share else now + 1.0
        while look_at is not None and look_at <= now:
            used = bucket.used(look_at)
            history.add(stands(look_at, limits=limits(requests(used, limit=rpm))))
            look_at = next(looks, None)
        if share:
            bucket.take(1.0, now)
            taken += now > end - 60
    (use,) = limit_uses(history.snapshots)
    assert use.share == pytest.approx(taken / rpm, abs=0.1)


def test_of_a_limit_for_a_day_one_sees_how_much_is_used_up():
    day = requests(2500.0, limit=10_000.0, per_s=86_400.0)
    (use,) = limit_uses([stands(0.0, limits=limits(day))])
    assert (use.share, use.is_quota) == (0.25, True)


def test_each_model_has_its_limits_and_removed_ones_are_not_shown():
    both = limits(requests(1.0, scope="a"), requests(0.0, scope="b"))
    one = limits(requests(1.0, scope="a"))
    uses = limit_uses([stands(0.0), stands(1.0, limits=both), stands(2.0, limits=both)])
    assert [(use.scope, use.share) for use in uses] == [("a", 1.0), ("b", 0.0)]
    uses = limit_uses([stands(0.0, limits=both), stands(1.0, limits=one)])
    assert [use.scope for use in uses] == ["a"]


@given(st.lists(st.tuples(st.floats(0, 1e3), st.floats(0, 1e9)), min_size=1, max_size=50))
def test_no_limit_is_used_by_more_than_all_of_it(looks):
    run = [stands(now, limits=limits(requests(used))) for now, used in looks]
    (use,) = limit_uses(run)
    assert 0 <= use.share <= 1
