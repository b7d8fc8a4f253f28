"""The period of a limit follows from several reports together, in every spelling of the headers."""

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spelled_limits import SPELLINGS, RefillingLimit, SpelledProvider, WindowLimit

from callsheet.actors import Limits, Rate
from callsheet.actors.permit import Report
from callsheet.actors.rate_limit.core import Limiter
from callsheet.actors.rate_limit.evidence import LimitEvidence
from callsheet.actors.rate_limit.learned import Learned
from callsheet.actors.rate_limit.limits import Cost, PermitRequest
from callsheet.actors.rate_limit.reports import read_reports
from callsheet.actors.rate_limit.simulation import SimulatedWaiter

HEADER = "x-ratelimit-limit-requests"
FINEST, COARSEST = "openai", "gateway"  # spellings of the same values


def told(first, *others, slow=()):
    """Return limits with spellings: the first with each, in the usual run the others with two."""
    return [
        pytest.param(*limit, spelling, marks=[] if is_usual else [pytest.mark.slow])
        for limit in (first, *others, *slow)
        for spelling in SPELLINGS
        for is_usual in [limit == first or (spelling in (FINEST, COARSEST) and limit not in slow)]
    ]


def report(limit, used, reset_s, **more):
    return Report("requests", limit, used, reset_s=reset_s, source=HEADER, **more)


def evidence(*reports):
    """Return the evidence of (time, report) pairs whose calls were answered at once."""
    found = LimitEvidence()
    for at, one in reports:
        found.add(one, at, at)
    return found


# ------------------------------------------------------------------ one report


@pytest.mark.parametrize(
    ("limit", "used", "reset_s", "shortest_s", "guess_s"),
    [
        (10_000, 12, 103.053, 103.052, 86_400),  # recorded: a day
        (10_000, 1, 8.64, 8.639, 86_400),
        (30_000, 1, 0.002, 0.001, 0.001),  # the period is between 30 and 90 seconds
        (600, 1, 0.1, 0.099, 60),
        (20, 20, 1.57, 1.569, 1.569),  # no minute: all of it is back in 1.57 s
        (20, 1, 0.1, 0.099, 0.099),
        (600, 200, 37.0, 36.999, 36.999),
        (600, 0, 0.0, None, None),
        (600, 300, None, None, None),
    ],
)
def test_one_report_tells_a_shortest_period_and_allows_a_guess(
    limit, used, reset_s, shortest_s, guess_s
):
    found = evidence((0.0, report(limit, used, reset_s)))
    assert found.kind == "unknown"
    for expected, may_guess in ((shortest_s, False), (guess_s, True)):
        period_s = found.period_s(may_guess=may_guess)
        assert period_s == (expected and pytest.approx(expected))


def test_a_usual_period_of_a_header_is_taken_unless_the_report_contradicts_it():
    usual = {"grain_s": 2.0, "usual_s": 60.0}
    found = evidence((0.0, report(50, 1, 2.0, **usual)))
    assert found.period_s(may_guess=True) == 60
    assert found.period_s(may_guess=False) is None
    found = evidence((0.0, report(50, 25, 1800.0, **usual)))
    assert found.period_s(may_guess=True) == 3600


# ------------------------------------------------------------------ several reports


def test_reports_of_a_bucket_agree_although_they_differ():
    """Recorded in July 2025: 10,000 requests a day."""
    pairs = ((0.0, 9, 77.76), (5.0, 10, 81.4), (30.0, 12, 103.053))
    found = evidence(*((at, report(10_000, used, reset_s)) for at, used, reset_s in pairs))
    assert (found.kind, found.period_s(may_guess=False)) == ("bucket", 86_400)


def test_a_limit_that_begins_anew_at_one_instant_is_a_window():
    found = evidence(
        (0.0, report(600, 10, 58.0)), (1.0, report(600, 40, 57.0)), (9.0, report(600, 90, 49.0))
    )
    assert found.kind == "window"
    assert found.period_s(may_guess=True) == pytest.approx(57.999)
    found.add(report(600, 1, 59.9), 58.1, 58.1)  # the next one
    assert found.period_s(may_guess=True) == pytest.approx(59.899)


def test_one_report_that_fits_nothing_is_a_mistake_and_a_second_one_is_not():
    reports = [(at / 10, report(600, at, at / 10)) for at in range(1, 9)]
    found = evidence(*reports, (0.9, report(600, 9, 40.0)))
    assert found.kind == "bucket"
    found.add(report(600, 10, 39.9), 1.0, 1.0)
    assert found.kind != "bucket"


def test_reports_that_contradict_each_other_begin_anew():
    found = evidence(*((at, report(600, 100 + 7 * at, 30.0)) for at in range(0, 40, 5)))
    assert found.period_s(may_guess=True) == pytest.approx(29.999), "what the last ones tell"
    found.add(report(500, 1, 0.12), 50.0, 50.0)
    assert found.period_s(may_guess=True) == 60, "and so does another limit"


def test_a_stated_period_is_believed_and_its_kind_is_inferred():
    day = {"period_s": 86_400.0}
    found = LimitEvidence()
    for at, used, reset_s in ((0.0, 20, 10.0), (1.0, 20, 9.0)):
        found.add(Report("requests", 20, used, reset_s=reset_s, **day), at, at)
        assert found.period_s(may_guess=False) == 86_400
    assert found.kind == "window"


@settings(max_examples=2 * settings.default.max_examples, deadline=None)
@given(
    limit=st.integers(5, 100_000),
    period_s=st.floats(1.0, 86_400.0),
    gaps=st.lists(st.floats(0.0, 0.02), min_size=30, max_size=60),
    late_s=st.floats(0.0, 30.0),
    spelling=st.sampled_from(["openai", "fractions"]),
)
def test_the_period_of_any_bucket_is_found_and_never_overestimated(
    limit, period_s, gaps, late_s, spelling
):
    bucket, found, now = RefillingLimit(limit, period_s), LimitEvidence(), 0.0
    provider = SpelledProvider(bucket, spelling, Limits())
    for gap in gaps:
        now += gap * period_s
        if bucket.wait_s(now):
            continue
        bucket.take(now)
        provider.now = now
        (one,) = read_reports(provider.headers())
        found.add(one, now, now + late_s)
        period = found.period_s(may_guess=False)
        assert period is None or period <= 1.05 * period_s
    if found.kind == "bucket":
        assert found.period_s(may_guess=False) >= 0.4 * period_s


@settings(max_examples=2 * settings.default.max_examples, deadline=None)
@given(
    limit=st.integers(5, 100_000),
    period_s=st.floats(1.0, 86_400.0),
    offset=st.floats(0.0, 1.0),
    gaps=st.lists(st.floats(0.0, 0.3), min_size=10, max_size=60),
    spelling=st.sampled_from(sorted(SPELLINGS)),
)
def test_the_period_of_any_window_is_never_overestimated(limit, period_s, offset, gaps, spelling):
    window, found, now = WindowLimit(limit, period_s, -offset * period_s), LimitEvidence(), 0.0
    provider = SpelledProvider(window, spelling, Limits())
    for gap in gaps:
        now += gap * period_s
        if window.wait_s(now):
            continue
        window.take(now)
        provider.now = now
        (one,) = read_reports(provider.headers())
        found.add(one, now, now)
        period = found.period_s(may_guess=False)
        if found.kind == "window":
            assert period is None or period <= 1.05 * period_s


# ------------------------------------------------------------------ the limiter over time


@pytest.mark.parametrize("kind", [RefillingLimit, WindowLimit])
@pytest.mark.parametrize(
    ("limit", "period_s", "spelling"),
    told((20, 2.0), (20, 1.0), (100, 10.0), (60, 60.0), slow=[(600, 60.0)]),
)
def test_what_the_user_set_is_not_lowered_by_a_guess(kind, limit, period_s, spelling):
    """20 in 2 s, told by headers without a period, were taken for 20 a minute."""
    rpm = 60 * limit / period_s
    provider = SpelledProvider(kind(limit, period_s), spelling, Limits(rpm=rpm, in_flight=100))
    seconds = max(30.0, 2 * period_s)
    provider.run(int(2 * seconds * limit / period_s), seconds)
    assert len(provider.admitted) >= 0.9 * seconds * limit / period_s
    assert provider.refused <= 0.1 * len(provider.admitted)


@pytest.mark.parametrize("kind", [RefillingLimit, WindowLimit])
@pytest.mark.parametrize(
    "pauses",
    [
        pytest.param(True, id="retry-after"),
        pytest.param(False, id="a second", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize(
    ("limit", "period_s", "spelling"),
    told((20, 2.0), (100, 10.0), (60, 60.0), (20, 60.0), slow=[(20, 1.0)]),
)
def test_a_limit_that_is_not_set_is_used_and_mostly_its_first_crowd_is_refused(
    kind, limit, period_s, spelling, pauses
):
    limits = Limits(in_flight=100)
    provider = SpelledProvider(kind(limit, period_s), spelling, limits, pauses=pauses)
    seconds = max(30.0, 3 * period_s)
    ideal = seconds * limit / period_s
    provider.run(int(2 * ideal), seconds)
    assert len(provider.admitted) >= 0.85 * ideal
    share = 0.2 if spelling in ("openai", "fractions") else 1.1  # others round to seconds
    assert provider.refused <= 100 + share * len(provider.admitted)


@pytest.mark.parametrize("kind", [RefillingLimit, WindowLimit])
@pytest.mark.parametrize(("limit", "period_s"), [(20, 2.0), (60, 60.0), (20, 60.0)])
def test_refusals_without_headers_do_not_count_as_taken(kind, limit, period_s):
    limits = Limits(in_flight=100)
    provider = SpelledProvider(kind(limit, period_s), "openai", limits, tells=False)
    seconds = max(60.0, 3 * period_s)
    ideal = seconds * limit / period_s
    provider.run(int(2 * ideal), seconds)
    assert len(provider.admitted) >= 0.65 * ideal, "one window may pass, as its reset said"


@pytest.mark.parametrize("kind", [RefillingLimit, WindowLimit])
@pytest.mark.parametrize(("limit", "period_s", "spelling"), told((300, 86_400.0), (500, 3_600.0)))
def test_a_long_limit_may_be_used_at_once(kind, limit, period_s, spelling):
    provider = SpelledProvider(kind(limit, period_s), spelling, Limits(in_flight=50))
    provider.run(limit - 5, 30.0)
    assert len(provider.admitted) == limit - 5
    assert provider.refused == 0


def test_a_refusal_for_another_reason_does_not_slow_a_long_limit_down():
    limiter = Limiter(Limits(), 0.0)
    reservation = limiter.try_admit(PermitRequest("m", Cost()), 0.0)
    day = report(10_000, 12, None, period_s=86_400.0)
    limiter.report(reservation, [day], 0.1)
    limiter.refused(reservation, "too_fast", day, pause_s=1.0, now=0.2)
    for _ in range(9):
        limiter.push(SimulatedWaiter(), PermitRequest("m", Cost()), 1.0)
    assert [limiter.pop(1.5) is not None for _ in range(9)] == [True] * 9


@pytest.mark.parametrize("reset", ["1795000000", "1795000000000", "2026-11-18T00:00:00Z", "-1"])
def test_a_reset_in_the_past_delays_no_call(reset):
    """All later calls waited when an instant was taken for a number of seconds."""
    limiter = Limiter(Limits(), 0.0)
    reservation = limiter.try_admit(PermitRequest("m", Cost()), 0.0)
    headers = {
        "date": "Wed, 25 Nov 2026 12:00:00 GMT",
        HEADER: "20",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": reset,
    }
    limiter.report(reservation, read_reports(headers), 0.1)
    assert limiter.try_admit(PermitRequest("m", Cost()), 0.1) is not None


@settings(max_examples=2 * settings.default.max_examples, deadline=None)
@given(
    reports=st.lists(
        st.builds(
            Report,
            dimension=st.just("requests"),
            limit=st.sampled_from([1.0, 20.0, 600.0]),
            used=st.sampled_from([0.0, 1.0]),
            period_s=st.none(),
            reset_s=st.none() | st.floats(0.0, 1e6),
            grain_s=st.sampled_from([0.001, 1.0, 2.0]),
            more_s=st.none() | st.floats(0.0, 1e6),
        ),
        min_size=1,
        max_size=12,
    ),
    gaps=st.lists(st.floats(0.0, 100.0), min_size=12, max_size=12),
)
def test_nothing_delays_a_call_longer_than_the_resets_that_were_reported(reports, gaps):
    learned, now, allowed = None, 0.0, 0.0
    for one, gap in zip(reports, gaps, strict=False):
        now += gap
        if learned is None:
            learned = Learned(one, 1.0, 0.0, now, now, may_guess=False)
        else:
            learned.report(one, 0.0, now, now)
        allowed = max(allowed, (one.reset_s or 0.0) + one.grain_s, one.more_s or 0.0)
        assert learned.ready_at(1.0, now) <= now + allowed + 1e-6


# ------------------------------------------------------------------ calls in flight, and words


def in_flight(limit, used):
    return Report("in_flight", limit, used, source="x-ratelimit-limit-concurrency")


def test_a_reported_limit_of_calls_in_flight_is_kept_and_shared():
    limiter = Limiter(Limits(), 0.0)
    admitted = [limiter.try_admit(PermitRequest("m", Cost()), 0.0) for _ in range(3)]
    limiter.report(admitted[0], [in_flight(5, 3)], 0.1)
    more = [limiter.try_admit(PermitRequest("m", Cost()), 0.1) for _ in range(3)]
    assert [one is not None for one in more] == [True, True, False]
    assert limiter.explain(PermitRequest("m", Cost()), 0.1).because == (
        "the provider's limit of calls in flight (5)"
    )
    limiter.release(admitted[0], 0.2)
    limiter.report(admitted[1], [in_flight(5, 5)], 0.2)
    assert limiter.try_admit(PermitRequest("m", Cost()), 0.2) is None, "another client has one"
    for one in (*admitted[1:], *more[:2]):
        limiter.release(one, 0.3)
    assert limiter.try_admit(PermitRequest("m", Cost()), 0.3) is not None, "one at least"


def test_explain_names_the_header_of_a_learned_limit():
    limiter = Limiter(Limits(burst_s=0.0), 0.0)
    for number in range(1, 5):
        now = 0.01 * number
        reservation = limiter.try_admit(PermitRequest("m", Cost()), now)
        if reservation is not None:
            limiter.report(reservation, [report(20, number, number / 10)], now)
    explanation = limiter.explain(PermitRequest("m", Cost()), 0.05)
    assert explanation.because == f"the provider's limit of 20 requests in 2 s ({HEADER})"
    (state,) = limiter.snapshot(0.05).buckets
    assert (state.header, state.per_s, state.source) == (HEADER, 2.0, "learned")


def test_a_call_above_a_learned_limit_is_refused_with_the_header():
    limiter = Limiter(Limits(), 0.0)
    reservation = limiter.try_admit(PermitRequest("m", Cost()), 0.0)
    tokens = attrs.evolve(report(6000, 10, 0.1), dimension="tokens")
    limiter.report(reservation, [tokens], 0.1)
    with pytest.raises(
        ValueError, match=rf"9000 tokens, .* limit of 6000 tokens a minute \({HEADER}"
    ):
        limiter.try_admit(PermitRequest("m", Cost(tokens=9000)), 0.1)


def test_two_limits_of_one_dimension_are_both_kept():
    limiter = Limiter(Limits(), 0.0)
    reservation = limiter.try_admit(PermitRequest("m", Cost()), 0.0)
    minute = Report("requests", 600, 1, 60.0, source="x-ratelimit-limit-requests-minute")
    day = Report("requests", 900, 899, 86_400.0, source="x-ratelimit-limit-requests-day")
    limiter.report(reservation, [minute, day], 0.0)
    assert limiter.try_admit(PermitRequest("m", Cost()), 0.1) is None
    explanation = limiter.explain(PermitRequest("m", Cost()), 0.1)
    assert str(Rate("requests", 900, 86_400.0)) in explanation.because
    assert "(x-ratelimit-limit-requests-day)" in explanation.because
