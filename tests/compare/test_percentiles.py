import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.compare.run import nearest_rank

times = st.lists(st.floats(0, 1e6), min_size=1, max_size=300)
percents = st.integers(1, 100)


def test_the_examples_of_the_definition():
    values = [15.0, 20.0, 35.0, 40.0, 50.0]
    assert [nearest_rank(values, p) for p in (5, 30, 40, 50, 100)] == [15, 20, 20, 35, 50]


def test_the_99th_of_a_hundred_is_the_99th_and_of_fewer_the_greatest():
    hundred = [float(n) for n in range(100, 0, -1)]
    assert nearest_rank(hundred, 99) == 99
    assert nearest_rank(hundred[1:], 99) == 99
    assert nearest_rank([3.0, 1.0, 2.0], 99) == 3


@given(times, percents)
def test_it_is_the_least_value_that_so_many_do_not_exceed(values, percent):
    found = nearest_rank(values, percent)
    wanted = math.ceil(len(values) * percent / 100 - 1e-9)
    assert sum(value <= found for value in values) >= wanted
    assert sum(value < found for value in values) < wanted


@pytest.mark.parametrize(("values", "percent"), [([], 50), ([1.0], 0), ([1.0], 101)])
def test_what_has_no_percentile_is_refused(values, percent):
    with pytest.raises(ValueError, match="percent"):
        nearest_rank(values, percent)
