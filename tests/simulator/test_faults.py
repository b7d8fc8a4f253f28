import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callsheet.simulator.faults import FAULT_KINDS, Fault, Faults


def test_a_list_of_rates_is_read():
    assert Faults.parse("429=0.1, 500=0.05,stall=1e-2").rates == {
        "429": 0.1,
        "500": 0.05,
        "stall": 0.01,
    }
    assert Faults.parse("").rates == {}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("404=0.1", "unknown fault '404'; known are 401, 429, quota, 500"),
        ("500", "'500' needs a rate"),
        ("500=often", "'500' needs a rate"),
        ("500=2", "between 0 and 1, got 2"),
        ("500=nan", "between 0 and 1"),
        ("500=0.6,429=0.6", "together must be at most 1"),
    ],
)
def test_wrong_rates_are_refused_by_name(text, says):
    with pytest.raises(ValueError, match=says):
        Faults.parse(text)


def test_a_header_is_read():
    assert Fault.parse("500") == Fault("500")
    assert Fault.parse("429; retry-after=2") == Fault("429", retry_after=2)
    assert Fault.parse("malformed; body=json") == Fault("malformed", body="json")
    assert Fault.parse("503; after=work") == Fault("503", after=True)
    assert Fault.parse("ok") is None


@pytest.mark.parametrize("text", ["nope", "429; wait=2", "429; retry-after=soon", ""])
def test_a_wrong_header_is_refused(text):
    with pytest.raises(ValueError, match="known are"):
        Fault.parse(text)


@settings(deadline=None)
@given(seed=st.integers(), rate=st.floats(0.05, 0.95))
def test_faults_follow_from_the_seed_and_keep_their_rate(seed, rate):
    faults = Faults({"500": rate / 2, "reset": rate / 2})
    drawn = [faults.draw(chance) for chance in [random.Random(seed)] for _ in range(1000)]
    again = [faults.draw(chance) for chance in [random.Random(seed)] for _ in range(1000)]
    assert drawn == again
    assert sum(fault is not None for fault in drawn) / 1000 == pytest.approx(rate, abs=0.07)


def test_certain_faults_always_happen():
    for kind in FAULT_KINDS:
        assert Faults({kind: 1.0}).draw(random.Random(0)).kind == kind
