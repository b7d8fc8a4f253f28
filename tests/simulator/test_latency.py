import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callsheet.simulator.chance import chat_latency, latency_of
from callsheet.simulator.settings import ProviderSettings


@settings(deadline=None)
@given(st.integers(), st.text(), st.floats(0, 10), st.floats(0, 10))
def test_a_latency_is_in_its_range_and_repeats(seed, prompt, low, width):
    latency = latency_of(seed, prompt, low, low + width)
    assert low <= latency <= low + width
    assert latency == latency_of(seed, prompt, low, low + width)


def test_latencies_are_spread_evenly():
    drawn = [latency_of(0, str(i), 1.0, 3.0) for i in range(4000)]
    assert sum(drawn) / len(drawn) == pytest.approx(2.0, abs=0.05)
    assert sum(latency < 1.5 for latency in drawn) / len(drawn) == pytest.approx(0.25, abs=0.03)


def test_it_is_the_same_whatever_the_order_of_the_members_and_scales():
    settings = ProviderSettings()
    one = chat_latency(settings, [{"role": "user", "content": "a"}])
    assert one == chat_latency(settings, [{"content": "a", "role": "user"}])
    assert one != chat_latency(settings, [{"role": "user", "content": "b"}])
    faster = attrs.evolve(settings, time_scale=0.1)
    assert chat_latency(faster, [{"role": "user", "content": "a"}]) == pytest.approx(one / 10)


def test_it_does_not_change_from_one_release_to_the_next():
    latency = chat_latency(ProviderSettings(), [{"role": "user", "content": "a"}])
    assert latency == pytest.approx(1.977199098996627, abs=1e-9)
