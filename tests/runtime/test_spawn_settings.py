"""R7: invalid settings are rejected with the name of the field."""

from functools import partial
from math import nan

import pytest
from sample_actors import Add, Counter

from callsheet.runtime import (
    Actor,
    ActorCrashed,
    RestartPolicy,
    UnhandledMessage,
    handles,
    open_runtime,
)


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
        ({"redeliver": "2"}, "redeliver"),
    ],
)
async def test_invalid_settings_of_an_actor_are_rejected_by_name(settings, field):
    async with open_runtime() as runtime:
        with pytest.raises(ValueError, match=f"^{field} must be "):
            await runtime.spawn(**{"name": "x", "factory": Counter, **settings})
        assert runtime.snapshot().actors == ()


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "a/b"}, "name"),
        ({"strategy": "all_for_one"}, "strategy"),
        ({"stop_order": "forward"}, "stop_order"),
        ({"restart": "always"}, "restart"),
        ({"stop_s": -0.1}, "stop_s"),
        ({"stop_s": nan}, "stop_s"),
    ],
)
async def test_invalid_settings_of_a_supervisor_are_rejected_by_name(settings, field):
    async with open_runtime() as runtime:
        with pytest.raises(ValueError, match=f"^{field} must be "):
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
    with pytest.raises(ValueError, match=f"^{field} must be "):
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


async def test_a_value_of_another_kind_is_rejected_with_what_to_give():
    async with open_runtime() as runtime:
        with pytest.raises(TypeError, match=r'it comes first, as in spawn\("desk", Desk\)'):
            await runtime.spawn(Counter, "x")
        with pytest.raises(TypeError, match=r"give Counter, or functools\.partial\(Counter, "):
            await runtime.spawn("x", Counter())
        with pytest.raises(TypeError, match="factory must be the class of an actor"):
            await runtime.spawn("x", None)
        for start in (
            partial(runtime.supervise, "x"),
            partial(runtime.spawn_pool, "x", Counter, size=1),
        ):
            with pytest.raises(TypeError, match="restarts must be a RestartPolicy"):
                await start(restarts=3)
        assert runtime.snapshot().root.children == ()


async def test_what_takes_a_ref_says_so_of_a_name():
    class Watcher(Actor):
        @handles(Add)
        async def add(self, message: Add) -> int:
            await self.watch("callsheet/counter", on=lambda _: message)
            return 0

    async with open_runtime() as runtime:
        await runtime.spawn("counter", Counter)
        watcher = await runtime.spawn("watcher", Watcher)
        with pytest.raises(TypeError, match=r"a ref is needed, .* not 'counter'"):
            await runtime.stop("counter")
        with pytest.raises(ActorCrashed, match=r"a ref is needed, .* not 'callsheet/counter'"):
            await watcher.ask(Add(1))


async def test_a_class_that_is_sent_is_not_an_object_of_it():
    async with open_runtime() as runtime:
        counter = await runtime.spawn("counter", Counter)
        with pytest.raises(UnhandledMessage, match="no handler for the class Add, only for obj"):
            await counter.ask(Add)


def test_a_runtime_needs_trio():
    opening = open_runtime().__aenter__()
    with pytest.raises(RuntimeError, match=r"open_runtime runs under Trio, .* `trio\.run`"):
        opening.send(None)  # as any other event loop does
