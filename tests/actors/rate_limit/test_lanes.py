"""Fair queueing: fair between lanes, first come first served within, no starvation."""

from fractions import Fraction
from itertools import permutations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors import Lane
from callsheet.actors.rate_limit.lanes import FairQueue


@attrs.define(eq=False)
class Waiter:
    lane: str
    number: int
    done: bool = False


def queue_of(**lanes):
    return FairQueue(lambda name: lanes.get(name, Lane()), ageing_s=30.0)


def fill(queue, lane, count, *, size=1.0, now=0.0):
    waiters = [Waiter(lane, number) for number in range(count)]
    for waiter in waiters:
        queue.push(waiter, lane, size, now)
    return waiters


def emptied(queue):
    found = []
    while (waiter := queue.pop()) is not None:
        found.append(waiter)
    return found


@given(
    weights=st.lists(st.integers(1, 5), min_size=2, max_size=5),
    counts=st.lists(st.integers(1, 30), min_size=5, max_size=5),
)
def test_lanes_that_wait_share_by_weight_within_one_call_each(weights, counts):
    lanes = {f"lane{at}": Lane(weight=weight) for at, weight in enumerate(weights)}
    queue = queue_of(**lanes)
    left = {}
    for name, count in zip(lanes, counts, strict=False):
        fill(queue, name, count)
        left[name] = count
    served = dict.fromkeys(lanes, 0)
    while all(left.values()):
        waiter = queue.pop()
        served[waiter.lane] += 1
        left[waiter.lane] -= 1
        shares = {name: Fraction(served[name], int(lanes[name].weight)) for name in lanes}
        for (one, of_one), (other, of_other) in permutations(lanes.items(), 2):
            bound = Fraction(1, int(of_one.weight)) + Fraction(1, int(of_other.weight))
            assert shares[one] - shares[other] <= bound


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=60))
def test_a_lane_is_first_come_first_served_and_skips_cancelled_calls(steps):
    queue = queue_of(a=Lane(weight=2), b=Lane(priority=1))
    waiters = []
    for number, (lane, gone) in enumerate(steps):
        waiter = Waiter(lane, number)
        waiters.append((waiter, gone))
        queue.push(waiter, lane, 1.0, float(number))
    for waiter, gone in waiters:
        waiter.done = gone
    found = emptied(queue)
    assert sorted(waiter.number for waiter in found) == [
        waiter.number for waiter, gone in waiters if not gone
    ]
    for lane in "abc":
        numbers = [waiter.number for waiter in found if waiter.lane == lane]
        assert numbers == sorted(numbers)
    assert len(queue) == 0


def test_calls_twice_as_large_are_sent_half_as_often():
    queue = queue_of()
    fill(queue, "large", 20, size=2.0)
    fill(queue, "small", 40)
    first = emptied(queue)[:30]
    assert sum(waiter.lane == "large" for waiter in first) == 10


def test_a_lane_that_was_idle_has_saved_nothing_up():
    queue = queue_of()
    fill(queue, "busy", 100)
    for _ in range(50):
        queue.pop()
    fill(queue, "idle", 10)
    first = [queue.pop().lane for _ in range(10)]
    assert first.count("idle") in (5, 6)


def test_priority_is_a_head_start_and_not_a_right_for_ever():
    queue = queue_of(interactive=Lane(priority=1))
    fill(queue, "bulk", 2, now=0.0)
    fill(queue, "interactive", 1, now=29.0)
    fill(queue, "interactive", 1, now=31.0)
    assert [waiter.lane for waiter in emptied(queue)] == [
        "interactive",  # as if it had come at -1
        "bulk",
        "bulk",
        "interactive",
    ]


def test_other_weights_count_for_those_that_wait_already():
    lanes = {}
    queue = FairQueue(lambda name: lanes.get(name, Lane()), ageing_s=30.0)
    fill(queue, "a", 30)
    fill(queue, "b", 30)
    lanes["b"] = Lane(weight=4)
    queue.use(lambda name: lanes.get(name, Lane()), 30.0)
    first = [queue.pop().lane for _ in range(20)]
    assert first.count("b") == 16


def test_what_waits_ahead_in_a_lane_is_known_to_the_last():
    queue = queue_of()
    for number in range(4):
        queue.push(Waiter("a", number), "a", 1.0, 0.0, (1.0, 10.0 * number))
    assert queue.ahead("a") == [4.0, 60.0]
    queue.pop()
    queue.pop()
    assert queue.ahead("a") == [2.0, 50.0]
    assert [waiter.number for waiter in emptied(queue)] == [2, 3]
    assert len(queue) == 0
    assert not queue.ahead("a")
    assert not queue.ahead("unknown")


def test_a_copy_is_emptied_alone():
    queue = queue_of(a=Lane(weight=3))
    fill(queue, "a", 5)
    fill(queue, "b", 5)
    order = [(waiter.lane, waiter.number) for waiter in emptied(queue.copy())]
    assert len(queue) == 10
    assert [(waiter.lane, waiter.number) for waiter in emptied(queue)] == order


def test_unused_lanes_are_removed():
    queue = queue_of()
    for number in range(5_000):
        queue.push(Waiter(f"tenant{number}", 0), f"tenant{number}", 1.0, 0.0)
        queue.pop()
    assert len(queue._queues) <= 1_100


@pytest.mark.parametrize(("field", "value"), [("weight", 0), ("weight", -1), ("priority", 0.5)])
def test_a_lane_out_of_range_is_refused_by_name(field, value):
    with pytest.raises((ValueError, TypeError), match=field):
        Lane(**{field: value})
