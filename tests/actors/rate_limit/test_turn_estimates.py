"""How long a call would wait: what the limiter estimates, beside what happens (L4)."""

from collections import deque
from math import inf

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors import Lane, Limits
from callsheet.actors.pool_health import PoolHealth
from callsheet.actors.rate_limit.core import Limiter
from callsheet.actors.rate_limit.limits import Cost, PermitRequest
from callsheet.actors.rate_limit.pool import PoolLimiter
from callsheet.actors.rate_limit.spread import PoolMember

LASTS_S = 4.0
LANES = {"b": Lane(weight=2), "c": Lane(weight=4)}


@attrs.define(eq=False)
class Waiter:
    done: bool = False


class Clockwork:
    """Drives a limiter whose calls all take equally long, if they are sent."""

    def __init__(self, limiter):
        self.limiter, self.now = limiter, 0.0
        self.ends, self.turns = deque(), {}

    def push(self, request):
        waiter = Waiter()
        self.limiter.push(waiter, request, self.now)
        return waiter

    def run_to(self, until):
        while True:
            at = self.limiter.advance(self.now)
            if not isinstance(at, float):
                self.turns[at.waiting] = self.now
                self.ends.append((self.now + LASTS_S, at.reservation))
                continue
            at = min(at, self.ends[0][0] if self.ends else inf)
            if at > until:
                self.now = max(self.now, until) if until < inf else self.now
                return
            self.now = max(self.now, at)
            while self.ends and self.ends[0][0] <= self.now:
                self.limiter.release(self.ends.popleft()[1], self.now)

    def turn_of(self, waiter):
        while waiter not in self.turns and self.now < 1e6:
            self.run_to(self.now + 1.0)
        return self.turns[waiter]


def asking(lane="", tokens=0.0, model="m"):
    return PermitRequest(model, Cost(1.0, tokens=tokens), lane)


def warmed(limits, limiter=None):
    """Return a limiter that knows how long a call takes, with full buckets."""
    works = Clockwork(limiter or Limiter(attrs.evolve(limits, lanes=LANES), 0.0))
    works.push(asking())
    works.run_to(1_000.0)
    return works


limits = st.sampled_from(
    [
        Limits(rpm=60, burst_s=0),
        Limits(rpm=120, burst_s=5, in_flight=10_000),
        Limits(rpm=60, tpm=3_000, burst_s=1, in_flight=10_000),
        Limits(rpm=6_000, in_flight=3),
        Limits(in_flight=5),
        Limits(rpm=60, in_flight=2),
    ]
)
calls = st.lists(
    st.tuples(
        st.sampled_from("aabc"), st.sampled_from([10.0, 50.0, 200.0]), st.sampled_from([0, 0, 0.3])
    ),
    max_size=40,
)


@given(limits, calls, st.sampled_from("abcd"))
def test_no_call_has_its_turn_before_the_least_wait(limits, calls, lane):
    """So no call is refused whose turn would have come in time."""
    works = warmed(limits)
    for its_lane, tokens, pause_s in calls:
        works.push(asking(its_lane, tokens))
        works.run_to(works.now + pause_s)
    probe = asking(lane, 50.0)
    wait, began = works.limiter.wait(probe, works.now), works.now
    actual_s = works.turn_of(works.push(probe)) - began
    assert wait.least_s <= actual_s + 1e-6
    assert wait.least_s <= wait.likely_s


@given(calls, st.sampled_from("abcd"), st.booleans())
def test_the_wait_for_a_rate_is_exact_for_calls_of_one_size(calls, lane, is_pool):
    limits = Limits(rpm=60, burst_s=0, in_flight=10_000, lanes=LANES)
    pool = [PoolMember(name="one"), PoolMember(name="two")]
    limiter = PoolLimiter(pool, PoolHealth(["one", "two"]), limits, 0.0) if is_pool else None
    works = warmed(limits, limiter)
    for its_lane, _, pause_s in calls:
        works.push(asking(its_lane))
        works.run_to(works.now + pause_s)
    wait, began = works.limiter.wait(asking(lane), works.now), works.now
    actual_s = works.turn_of(works.push(asking(lane))) - began
    assert wait.least_s <= actual_s + 1e-6
    assert wait.likely_s == pytest.approx(actual_s, abs=1.0 if is_pool else 1e-6)


@given(st.integers(0, 60), st.integers(1, 8))
def test_the_wait_for_places_is_right_within_one_call(count, places):
    works = warmed(Limits(in_flight=places, lanes=LANES))
    for _ in range(count):
        works.push(asking())
        works.run_to(works.now + 0.1)
    wait, began = works.limiter.wait(asking(), works.now), works.now
    actual_s = works.turn_of(works.push(asking())) - began
    assert wait.least_s <= actual_s + 1e-6
    assert wait.likely_s == pytest.approx(actual_s, abs=LASTS_S)


@pytest.mark.parametrize("repeats", [1, 20])
def test_a_call_that_comes_back_after_its_wait_has_its_turn(repeats):
    works = warmed(Limits(rpm=60, burst_s=0, in_flight=10_000))
    for _ in range(50):
        works.push(asking("a"))
    works.run_to(works.now)
    wait, began = works.limiter.wait(asking("a"), works.now), works.now
    for _ in range(repeats):  # the load does not change: others come as fast as calls are sent
        works.run_to(works.now + wait.likely_s / repeats)
    came_back = attrs.evolve(asking("a"), came=began)
    assert works.limiter.wait(came_back, works.now).likely_s == pytest.approx(0, abs=1.0)


def test_what_other_models_wait_for_counts_at_a_limit_of_all_models():
    works = warmed(Limits(rpm=60, burst_s=0, in_flight=10_000))
    for _ in range(20):
        works.push(asking("a", model="m"))
    works.run_to(works.now)
    wait, began = works.limiter.wait(asking("a", model="other"), works.now), works.now
    actual_s = works.turn_of(works.push(asking("a", model="other"))) - began
    assert wait.least_s == pytest.approx(1)
    assert wait.likely_s == pytest.approx(actual_s, abs=1.0)


def test_calls_that_were_given_up_do_not_count():
    works = warmed(Limits(rpm=60, burst_s=0, in_flight=10_000))
    waiters = [works.push(asking("a")) for _ in range(50)]
    works.run_to(works.now)
    assert works.limiter.wait(asking("a"), works.now).likely_s == pytest.approx(50)
    for waiter in waiters[10:40]:
        waiter.done = True
    works.limiter.left()
    assert works.limiter.wait(asking("a"), works.now).likely_s == pytest.approx(20)
