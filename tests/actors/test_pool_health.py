"""Which members of a pool are left out, and when they are tried again."""

from math import inf

import pytest

from callsheet.actors.pool_health import PoolHealth


@pytest.fixture
def health():
    return PoolHealth(("a", "b"))


def test_all_are_well_at_first(health):
    assert health.may_serve("m", 0.0) == (("a", "b"), inf)
    assert health.others("a", "m", 0.0) == ["b"]


def test_a_member_that_refuses_is_out_and_tried_again(health):
    assert health.refused("a", "", 0.0)
    assert health.may_serve("m", 59.9) == (["b"], 60.0)
    assert health.may_serve("m", 60.0) == (["a", "b"], inf)
    assert health.is_on_probation("a", "m")


def test_it_stays_out_for_longer_each_time_it_refuses_up_to_an_hour(health):
    now, outs = 0.0, []
    for _ in range(9):
        health.refused("a", "", now)
        (_, until), started = health.may_serve("m", now), now
        outs.append(until - started)
        now = until
    assert outs == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]


def test_only_the_first_refusal_is_new(health):
    assert health.refused("a", "", 0.0)
    assert not health.refused("a", "", 0.1)  # another call that was in flight
    assert health.may_serve("m", 1.0) == (["b"], 60.0)
    assert not health.refused("a", "", 60.0)


def test_an_answer_takes_it_up_again_and_wakes_the_calls_that_wait(health):
    woken = []
    health.listener = lambda: woken.append(True)
    health.refused("a", "", 0.0)
    assert health.answered("a", "m")
    assert not health.answered("a", "m")
    assert health.may_serve("m", 1.0) == (("a", "b"), inf)
    assert woken == [True]


def test_an_answer_of_a_call_that_began_before_an_outage_does_not_end_it(health):
    woken = []
    health.listener = lambda: woken.append(True)
    health.failed("a", 10.0)
    assert not health.answered("a", "m")
    assert not health.is_well("a", "m", 1.0)
    health.recovered("a")
    health.recovered("a")
    assert health.is_well("a", "m", 1.0)
    assert woken == [True]


def test_one_model_can_be_left_out_alone(health):
    health.refused("a", "m", 0.0)
    assert health.may_serve("m", 1.0)[0] == ["b"]
    assert health.may_serve("other", 1.0)[0] == ["a", "b"]
    health.answered("a", "other")
    assert not health.is_well("a", "m", 1.0)


def test_if_all_refuse_none_is_left_out(health):
    health.refused("a", "", 0.0)
    health.refused("b", "", 0.0)
    assert health.may_serve("m", 1.0) == (("a", "b"), inf)
    assert health.others("a", "m", 1.0) == []  # no call moves on to one that refuses


def test_if_none_works_calls_wait_for_one_that_failed(health):
    health.refused("a", "", 0.0)
    health.failed("b", 30.0)
    assert health.may_serve("m", 1.0) == ([], 30.0)
    assert health.may_serve("m", 30.0) == (["b"], 60.0)


def test_a_probe_in_flight_leaves_the_pause_as_it_is(health):
    health.failed("a", 5.0)
    health.failed("a", inf)
    assert health.may_serve("m", 1.0) == (["b"], 5.0)


def test_with_fallbacks_no_call_waits_for_a_member():
    health = PoolHealth(("a", "b"), waits=False)
    health.failed("a", 30.0)
    health.failed("b", 30.0)
    assert health.may_serve("m", 1.0) == (("a", "b"), inf)
