"""Each rule of the circuit breaker alone."""

from collections import deque
from math import inf
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors import (
    AuthenticationFailed,
    BadRequest,
    ConnectionFailed,
    MalformedResponse,
    ProviderUnavailable,
    QuotaExhausted,
    RateLimited,
)
from callsheet.actors.request.breaker import BreakerPolicy, CircuitBreaker, is_outage


def breaker(**changes):
    policy = BreakerPolicy(**({"consecutive": 2, "pause_s": 8.0, "jitter": 0.0} | changes))
    return CircuitBreaker(policy, Random(0))


def open_at(now, **changes):
    """A breaker that opens at `now`."""
    found = breaker(**changes)
    for _ in range(2):
        found.fail(found.try_begin(now), now)
    assert found.state(now) == "open"
    return found


def test_it_opens_on_a_rate_of_failures_though_they_are_never_in_a_row():
    found = breaker(consecutive=None, min_calls=6, failure_rate=0.5)
    states = []
    for number in range(6):
        end = found.fail if number % 2 else found.succeed
        end(found.try_begin(0.0), 0.0)
        states.append(found.state(0.0))
    assert states == ["closed"] * 5 + ["open"]


def test_too_few_calls_do_not_define_a_rate():
    found = breaker(consecutive=None, min_calls=10)
    for _ in range(9):
        found.fail(found.try_begin(0.0), 0.0)
    assert found.state(0.0) == "closed"
    found.fail(found.try_begin(0.0), 0.0)
    assert found.state(0.0) == "open"


def test_refusals_that_come_quicker_than_answers_do_not_open_it():
    found = breaker(consecutive=5, min_calls=5)
    calls = [found.try_begin(0.0) for _ in range(100)]
    for ticket in calls[:6]:
        found.fail(ticket, 0.1)
    assert found.state(0.1) == "closed"
    for ticket in calls[6:]:
        found.succeed(ticket, 1.0)
    again = [found.try_begin(1.0) for _ in range(100)]
    for number, ticket in enumerate(again, 1):
        if found.state(1.1) == "closed":
            assert number <= 51
        found.fail(ticket, 1.1)
    assert found.state(1.1) == "open"


@pytest.mark.parametrize(("in_flight", "takes_s"), [(20, 60), (100, 31), (100, 300), (1500, 40)])
def test_an_outage_in_which_every_call_takes_long_to_fail_opens_it(in_flight, takes_s):
    found, now = breaker(consecutive=10, min_calls=10), 0.0
    calls = deque()
    for number in range(in_flight):
        calls.append((number * takes_s / in_flight + takes_s, found.try_begin(0.0)))
    while found.state(now) == "closed":
        now, ticket = calls.popleft()
        found.fail(ticket, now)
        if found.state(now) == "closed":
            calls.append((now + takes_s, found.try_begin(now)))
        assert now < 3 * takes_s


def test_failures_that_have_left_the_window_are_forgotten():
    found = breaker(window_s=10.0)
    found.fail(found.try_begin(0.0), 0.0)
    found.fail(found.try_begin(10.0), 10.0)
    assert found.state(10.0) == "closed"
    found.fail(found.try_begin(19.0), 19.0)
    assert found.state(19.0) == "open"


def test_a_success_ends_a_row_of_failures():
    found = breaker()
    for end in (found.fail, found.succeed, found.fail):
        end(found.try_begin(0.0), 0.0)
    assert found.state(0.0) == "closed"


def test_the_window_holds_the_newest_thousand():
    found = breaker(consecutive=None, failure_rate=1.0, min_calls=1000)
    found.succeed(found.try_begin(0.0), 0.0)
    for _ in range(999):
        found.fail(found.try_begin(0.0), 0.0)
    assert found.state(0.0) == "closed"
    assert found.statistics(0.0).results == 1000
    found.fail(found.try_begin(0.0), 0.0)
    assert found.state(0.0) == "open", "the success was the oldest and has made room"


def test_exactly_one_probe_is_sent_when_the_pause_is_over():
    found = open_at(0.0)
    assert found.try_begin(7.9) is None
    assert found.next_at(7.9) == 8.0
    probe = found.try_begin(8.0)
    assert probe.is_probe
    assert [found.try_begin(now) for now in (8.0, 100.0)] == [None, None]
    assert found.next_at(100.0) == inf


def test_the_success_of_the_probe_closes_it_and_its_failure_opens_it_for_twice_as_long():
    found = open_at(0.0)
    found.fail(found.try_begin(8.0), 9.0)
    assert found.next_at(9.0) == 9.0 + 16.0
    found.fail(found.try_begin(25.0), 25.0)
    assert found.next_at(25.0) == 25.0 + 32.0
    found.succeed(found.try_begin(57.0), 58.0)
    assert found.state(58.0) == "closed"
    assert found.try_begin(58.0) is not None
    assert found.try_begin(58.0) is not None


def test_the_pause_starts_over_after_a_probe_that_succeeded():
    found = open_at(0.0)
    found.fail(found.try_begin(8.0), 8.0)
    found.succeed(found.try_begin(24.0), 24.0)
    for _ in range(2):
        found.fail(found.try_begin(24.0), 24.0)
    assert found.next_at(24.0) == 32.0


def test_no_pause_is_longer_than_the_cap():
    found = open_at(0.0, max_pause_s=20.0)
    now, pauses = 8.0, []
    for _ in range(2000):  # 2.0 ** 1024 would be more than a float can hold
        found.fail(found.try_begin(now), now)
        pauses.append(found.next_at(now) - now)
        now = found.next_at(now)
    assert pauses == [16.0] + [20.0] * 1999


def test_a_probe_that_is_cancelled_frees_the_probe():
    found = open_at(0.0)
    found.abandon(found.try_begin(8.0))
    assert found.next_at(8.0) == 8.0
    assert found.try_begin(8.0).is_probe
    assert found.statistics(8.0).failed_probes == 0


def test_results_of_calls_from_before_the_opening_change_nothing():
    found = breaker()
    early = [found.try_begin(0.0) for _ in range(6)]
    for ticket in early[:3]:
        found.fail(ticket, 1.0)
    assert found.next_at(1.0) == 9.0
    found.succeed(early[3], 2.0)  # as if it were back: it was answered before the outage
    found.fail(early[4], 2.0)
    assert (found.state(2.0), found.next_at(2.0)) == ("open", 9.0)
    probe = found.try_begin(9.0)
    found.fail(early[5], 9.0)
    assert found.statistics(9.0).is_probing, "the probe alone decides"
    found.succeed(probe, 10.0)
    assert found.statistics(10.0).late == 3


def test_failures_from_before_the_outage_do_not_open_it_again_when_it_is_over():
    found = breaker()
    early = [found.try_begin(0.0) for _ in range(6)]
    for ticket in early[:3]:
        found.fail(ticket, 0.0)
    found.succeed(found.try_begin(8.0), 8.0)
    for ticket in early[3:]:
        found.fail(ticket, 9.0)
    assert found.state(9.0) == "closed"
    assert found.statistics(9.0).failures == 0


def test_a_cancelled_call_tells_nothing():
    found = breaker()
    found.fail(found.try_begin(0.0), 0.0)
    found.abandon(found.try_begin(0.0))
    found.fail(found.try_begin(0.0), 0.0)
    assert found.state(0.0) == "open", "the failures are in a row nevertheless"


def test_the_end_of_a_call_may_be_reported_in_a_finally():
    found = breaker()
    for _ in range(2):
        ticket = found.try_begin(0.0)
        found.fail(ticket, 0.0)
        found.abandon(ticket)
        found.succeed(ticket, 0.0)
    shown = found.statistics(0.0)
    assert (shown.failed, shown.abandoned, shown.succeeded) == (2, 0, 0)
    assert shown.state == "open"


def test_a_ticket_of_another_breaker_is_refused():
    ticket = breaker().try_begin(0.0)
    with pytest.raises(ValueError, match="another breaker"):
        breaker().fail(ticket, 0.0)
    assert not ticket.settled


@given(st.integers(0, 1000), st.floats(0, 1), st.integers())
def test_every_pause_is_within_its_bounds(failed_probes, jitter, seed):
    policy = BreakerPolicy(jitter=jitter)
    pause = policy.pause(failed_probes, Random(seed))
    whole = min(policy.max_pause_s, policy.pause_s * 2**failed_probes)
    assert 0 < pause <= whole
    assert pause >= whole * (1 - jitter)


def test_breakers_that_share_an_endpoint_do_not_probe_it_together():
    pauses = {BreakerPolicy().pause(0, Random(seed)) for seed in range(50)}
    assert len(pauses) == 50


def test_only_the_endpoints_own_failures_count_against_it():
    assert is_outage(ProviderUnavailable)
    assert is_outage(ConnectionFailed)
    for kind in (RateLimited, BadRequest, AuthenticationFailed, QuotaExhausted, MalformedResponse):
        assert not is_outage(kind)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"window_s": 0}, "window_s"),
        ({"window_s": inf}, "window_s"),
        ({"min_calls": 0}, "min_calls"),
        ({"min_calls": 1001}, "min_calls"),
        ({"failure_rate": 0}, "failure_rate"),
        ({"failure_rate": 1.1}, "failure_rate"),
        ({"consecutive": 0}, "consecutive"),
        ({"consecutive": 1001}, "consecutive"),
        ({"pause_s": 0}, "pause_s"),
        ({"max_pause_s": float("nan")}, "max_pause_s"),
        ({"jitter": -0.1}, "jitter"),
        ({"jitter": 1.1}, "jitter"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(changes, field):
    with pytest.raises(ValueError, match=field):
        BreakerPolicy(**changes)


def test_a_repr_shows_the_state():
    found = open_at(0.0)
    assert repr(found) == "<CircuitBreaker open until 8.0, 0 of 0 failed>"
    found.succeed(found.try_begin(8.0), 8.0)
    assert "closed" in repr(found)
