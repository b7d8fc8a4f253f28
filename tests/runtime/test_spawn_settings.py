"""R7: invalid settings are rejected with the name of the field."""

from math import nan

import pytest
from sample_actors import Counter

from callsheet.runtime import RestartPolicy, open_runtime


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "a/b"}, "name"),
        ({"capacity": 0}, "capacity"),
        ({"concurrency": -1}, "concurrency"),
        ({"max_deferred": 0}, "max_deferred"),
        ({"restart": "always"}, "restart"),
        ({"stop_s": -1}, "stop_s"),
        ({"stop_s": nan}, "stop_s"),
        ({"redeliver": -1}, "redeliver"),
    ],
)
async def test_invalid_settings_of_an_actor_are_rejected_by_name(settings, field):
    async with open_runtime() as runtime:
        with pytest.raises(ValueError, match=field):
            await runtime.spawn(**{"name": "x", "factory": Counter, **settings})
        assert runtime.snapshot().actors == ()


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "a/b"}, "name"),
        ({"strategy": "all_for_one"}, "strategy"),
        ({"restart": "always"}, "restart"),
        ({"stop_s": -0.1}, "stop_s"),
        ({"stop_s": nan}, "stop_s"),
    ],
)
async def test_invalid_settings_of_a_supervisor_are_rejected_by_name(settings, field):
    async with open_runtime() as runtime:
        with pytest.raises(ValueError, match=field):
            await runtime.supervise(**{"name": "x", **settings})
        assert runtime.snapshot().root.children == ()


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"name": ""}, "name"),
        ({"strategy": "all_for_one"}, "strategy"),
        ({"drain_s": -1}, "drain_s"),
        ({"drain_s": nan}, "drain_s"),
    ],
)
async def test_invalid_settings_of_a_runtime_are_rejected_by_name(settings, field):
    with pytest.raises(ValueError, match=field):
        async with open_runtime(**settings):
            raise AssertionError("it should not open")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_restarts", -1),
        ("period_s", 0),
        ("period_s", nan),
        ("base_s", -1),
        ("cap_s", -1),
        ("healthy_s", -1),
    ],
)
def test_an_invalid_policy_is_rejected_by_name(field, value):
    with pytest.raises(ValueError, match=field):
        RestartPolicy(**{field: value})
