"""When a batch is sent: limits are hard, no member waits too long, none is lost (R14)."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors.batching.former import BatchFormer, Batching, BatchWindow
from callsheet.actors.vendors.format import BatchLimits, BatchWeight

LEAST = 0.0002


class Member:
    """Members are compared by identity, as those of the batcher are."""


def former_of(*, max_wait_s=1.0, **bounds):
    return BatchFormer(BatchLimits(**bounds), BatchWindow(max_wait_s))


weights = st.builds(BatchWeight, st.integers(1, 3), st.integers(0, 50), st.integers(0, 200))
bounds = st.builds(
    BatchLimits,
    st.none() | st.integers(1, 8),
    st.none() | st.integers(10, 100),
    st.none() | st.integers(50, 400),
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), weights, st.none() | st.sampled_from([0.0, 0.3, 5.0])),
        st.tuples(st.just("discard"), st.integers(0, 20)),
        st.tuples(st.just("take"), st.booleans()),
        st.tuples(st.just("pass"), st.sampled_from([0.0, 0.0001, 0.1, 0.25, 1.0])),
    ),
    max_size=80,
)


@given(bounds, st.sampled_from([0.0, 0.1, 2.0]), steps)
def test_every_member_is_sent_once_within_the_bounds_or_has_left(bounds, wait, steps):
    former = BatchFormer(bounds, BatchWindow(wait))
    inside, came = {}, {}  # {member: weight}, {member: (when, patience)}
    now = 0.0

    def check(batch):
        assert batch.members
        assert batch.waited_s == now - came[batch.members[0]]
        total = BatchWeight()
        for member in batch.members:
            total = total.plus(inside.pop(member))
        assert batch.weight == total
        assert len(batch.members) == 1 or bounds.has_room(total), "a bound is never exceeded"

    for step in steps:
        match step:
            case ("add", weight, patience):
                member = Member()
                former.add(member, now, weight, patience)
                inside[member], came[member] = weight, now
            case ("discard", at) if inside:
                member = list(inside)[at % len(inside)]
                former.discard(member)
                former.discard(member)  # a second time has no effect
                del inside[member]
            case ("take", draining):
                first = next(iter(inside), None)
                batch = former.take(now, draining=draining)
                if batch is not None:
                    assert batch.members[0] is first, "no member is passed over for ever"
                    check(batch)
                elif draining:
                    assert not inside
            case ("pass", seconds):
                now += seconds
        assert len(former) == len(inside)
        assert (former.due_at == inf) == (not inside)
    while (batch := former.take(now, draining=True)) is not None:
        check(batch)
    assert not inside


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=40),
    st.integers(1, 6),
    st.floats(0, 1),
    st.floats(0.01, 20),
)
def test_no_member_waits_longer_than_the_window_when_woken_at_due_at(gaps, size, wait, service):
    """The times of `due_at` are the only ones at which the former must be checked."""
    window = BatchWindow(wait)
    former = BatchFormer(BatchLimits(max_size=size), window)
    came, went = {}, {}
    now, looks = 0.0, 0

    def take_all(now):
        nonlocal looks
        looks += 1
        while (batch := former.take(now)) is not None:
            assert len(batch.members) <= size
            went.update(dict.fromkeys(batch.members, now))
            window.served(service)

    for gap in gaps:
        while former.due_at <= now + gap:
            take_all(former.due_at)
        now += gap
        member = Member()
        came[member] = now
        former.add(member, now)
        take_all(now)
    while len(former):
        take_all(former.due_at)
    assert list(went) == list(came), "of equal weight, in the order they came"
    for member, at in came.items():
        assert at <= went[member] <= at + wait + 1e-9
    assert looks <= 4 * len(came)


@given(st.floats(0.1, 100), st.integers(2, 10))
def test_sequential_requests_are_never_held_back(pause, times):
    """Each request waits for the response to the one before, so that no other can arrive."""
    window = BatchWindow(5.0)
    former = BatchFormer(BatchLimits(max_size=10), window)
    now = 0.0
    for _ in range(times):
        former.add(Member(), now)
        waited = now
        while (batch := former.take(now)) is None:
            now = former.due_at
        assert now - waited <= 2 * LEAST + 1e-9
        assert (len(batch.members), batch.reason) == (1, "quiet")
        window.served(min(pause, 1.0))
        now += pause


def test_a_wait_is_short_beside_what_a_call_takes_anyway():
    window = BatchWindow(5.0)
    window.arrived(0.0, 5.0)
    window.arrived(0.1, 5.0)
    assert window.linger_s(window.longest_s) == pytest.approx(0.3), "three gaps"
    window.served(2.0)
    assert window.longest_s == pytest.approx(0.2)
    assert window.linger_s(window.longest_s) == pytest.approx(0.2)
    window.served(0.1)
    assert window.longest_s < 0.2, "and it follows what calls take now"


def test_a_silence_ends_the_waiting_and_a_burst_begins_it():
    window = BatchWindow(0.5)
    for number in range(10):
        window.arrived(number / 100, 0.5)
    assert window.linger_s(0.5) == pytest.approx(0.03)
    window.arrived(60.0, 0.5)
    assert window.linger_s(0.5) == LEAST
    for number in range(1, 10):
        window.arrived(60.0 + number / 100, 0.5)
    assert LEAST < window.linger_s(0.5) < 0.05


def test_a_member_that_can_wait_longer_waits_a_little_even_if_none_is_expected():
    window = BatchWindow(0.1)
    assert window.linger_s(60.0) == 0.1
    assert BatchWindow(0.0).linger_s(60.0) == 0.0


@pytest.mark.parametrize(
    ("bounds", "reason"),
    [({"max_size": 2}, "size"), ({"max_tokens": 20}, "tokens"), ({"max_bytes": 80}, "bytes")],
)
def test_a_batch_reports_the_limit_that_fills_it(bounds, reason):
    former = former_of(**bounds)
    former.add("a", 0.0, BatchWeight(1, 10, 40))
    assert former.take(0.0) is None
    former.add("b", 0.0, BatchWeight(1, 10, 40))
    batch = former.take(0.0)
    assert (batch.members, batch.reason, batch.weight) == (
        ("a", "b"),
        reason,
        BatchWeight(2, 20, 80),
    )


def test_a_smaller_one_that_came_later_fills_the_place_that_a_larger_one_leaves():
    former = former_of(max_tokens=10)
    for name, tokens in (("a", 6), ("large", 7), ("b", 4)):
        former.add(name, 0.0, BatchWeight(1, tokens))
    assert former.take(0.0).members == ("a", "b")
    assert former.take(0.0) is None
    assert former.take(0.0, draining=True).members == ("large",)


def test_a_late_wake_up_checks_once_more_for_arrivals():
    """The process was busy for longer than the window: messages may have arrived meanwhile."""
    former = former_of(max_size=10, max_wait_s=60.0)
    former.add("a", 0.0)
    late = 0.5
    assert former.take(late) is None
    assert former.due_at == late + LEAST
    former.add("b", late)
    assert former.take(late + LEAST) is None
    assert former.take(60.0).members == ("a", "b")


def test_arrivals_extend_the_quiet_time_but_not_the_window():
    former = former_of(max_size=10, max_wait_s=1.0)
    former.add("a", 0.0)
    for now in (0.1, 0.2, 1.0, 9.9):
        assert former.take(now, has_mail=True) is None
    assert former.take(10.0, has_mail=True).reason == "time"


def test_when_the_first_leaves_the_clock_is_that_of_the_next():
    former = former_of(max_size=5)
    first, second = Member(), Member()
    former.add(first, 0.0, patience_s=0.5)
    former.add(second, 0.4, patience_s=2.0)
    former.discard(first)
    assert former.take(0.5) is None
    assert former.take(2.4).reason == "time"


def test_equal_members_are_two_members():
    former = former_of(max_size=5)
    one, other = [1], [1]
    former.add(one, 0.0)
    former.add(other, 0.0)
    former.discard(one)
    assert former.take(0.0, draining=True).members[0] is other


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_size", 0),
        ("max_size", 2.5),
        ("max_tokens", -1),
        ("max_bytes", 0),
        ("max_wait_s", -0.1),
        ("patient_share", -1),
    ],
)
def test_settings_out_of_range_are_refused_by_name(field, value):
    with pytest.raises((ValueError, TypeError), match=field):
        Batching(**{field: value})


def test_a_request_with_a_deadline_may_wait_for_a_share_of_it():
    batching = Batching(max_wait_s=0.1, patient_share=0.01)
    assert batching.patience_s(None) is None
    assert batching.patience_s(3600.0) == 36.0
    assert batching.patience_s(2.0) == 0.1
