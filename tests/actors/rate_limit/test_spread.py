"""How calls are spread over members that could all serve them: by weight and latency."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors.rate_limit.spread import Spread


def served(spread, count, ready=lambda _: ("a", "b", "c")):
    """Return how many calls each member gets; `ready` returns the members for the nth call."""
    found = Counter()
    for number in range(count):
        member = spread.choose(ready(number))
        spread.take(member)
        found[member] += 1
    return found


def test_equal_members_take_turns():
    spread = Spread({"a": 1, "b": 1})
    order = []
    for _ in range(6):
        order.append(spread.choose(("a", "b")))
        spread.take(order[-1])
    assert order == ["a", "b"] * 3


@given(st.lists(st.floats(0.1, 10.0), min_size=3, max_size=3))
def test_weights_are_kept_in_the_long_run(weights):
    by_name = dict(zip("abc", weights, strict=True))
    found = served(Spread(by_name), 3_000)
    for name, weight in by_name.items():
        assert found[name] == pytest.approx(3_000 * weight / sum(weights), abs=3)


def test_a_member_that_could_serve_none_does_not_catch_up():
    spread = Spread({"a": 1, "b": 1})
    served(spread, 1_000, lambda _: ("a",))
    assert served(spread, 10, lambda _: ("a", "b")) == {"a": 5, "b": 5}


def test_a_slow_member_gets_fewer():
    spread = Spread({"a": 1, "b": 1, "c": 1})
    for name, seconds in (("a", 1.0), ("b", 3.0), ("c", 1.0)):
        spread.answered(name, seconds)
    assert served(spread, 700) == {"a": 300, "b": 100, "c": 300}


def test_a_very_slow_member_still_gets_some_that_show_if_it_recovers():
    spread = Spread({"a": 1, "b": 1})
    spread.answered("a", 0.1)
    spread.answered("b", 100.0)
    assert served(spread, 90, lambda _: ("a", "b")) == {"a": 80, "b": 10}
    for _ in range(100):
        spread.answered("b", 0.1)
    assert served(spread, 100, lambda _: ("a", "b"))["b"] == pytest.approx(50, abs=5)


def test_a_copy_is_independent():
    spread = Spread({"a": 1, "b": 1})
    served(spread.copy(), 1, lambda _: ("a", "b"))
    assert spread.choose(("a", "b")) == "a"
    assert dict(spread.latencies()) == {"a": None, "b": None}
