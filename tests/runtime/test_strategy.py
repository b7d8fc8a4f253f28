"""R7, R14: which children restart together, as a pure function, against its definitions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.runtime._core import RESTARTS, STRATEGIES
from callsheet.runtime.supervision.restarts import is_restarted, restart_group

orders = st.lists(st.text(min_size=1, max_size=3), min_size=1, max_size=12, unique=True)


@st.composite
def families(draw):
    order = draw(orders)
    return order, draw(st.sampled_from(order))


@given(families(), st.sampled_from(STRATEGIES))
def test_a_group_has_the_failed_one_once_and_keeps_the_start_order(family, strategy):
    order, failed = family
    group = restart_group(strategy, order, failed)
    assert group.count(failed) == 1
    assert list(group) == [name for name in order if name in group]


@given(families())
def test_the_strategies_are_nested_in_each_other(family):
    order, failed = family
    one = set(restart_group("one_for_one", order, failed))
    rest = set(restart_group("rest_for_one", order, failed))
    everyone = set(restart_group("one_for_all", order, failed))
    assert one == {failed}
    assert one <= rest <= everyone == set(order)


@given(families())
def test_rest_for_one_spares_exactly_those_started_before(family):
    order, failed = family
    spared = set(order) - set(restart_group("rest_for_one", order, failed))
    assert spared == {name for name in order if order.index(name) < order.index(failed)}


@given(orders)
def test_rest_for_one_is_one_for_all_for_the_first_and_one_for_one_for_the_last(order):
    first, last = order[0], order[-1]
    assert restart_group("rest_for_one", order, first) == restart_group("one_for_all", order, first)
    assert restart_group("rest_for_one", order, last) == restart_group("one_for_one", order, last)


@pytest.mark.parametrize(
    ("restart", "after_a_crash", "after_its_own_end"),
    [("permanent", True, True), ("transient", True, False), ("temporary", False, False)],
)
def test_which_kinds_are_restarted_after_what(restart, after_a_crash, after_its_own_end):
    assert restart in RESTARTS
    assert is_restarted(restart, crashed=True) is after_a_crash
    assert is_restarted(restart, crashed=False) is after_its_own_end
