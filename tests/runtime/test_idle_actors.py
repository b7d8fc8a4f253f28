"""R1, R2, R9: an actor without hooks needs no task before its first message."""

from contextlib import suppress
from contextvars import ContextVar
from functools import partial

import attrs
import pytest
import trio
from sample_actors import Add, Counter, Fail

from callsheet.runtime import (
    Actor,
    ActorCrashed,
    ActorStopped,
    ChildNotFound,
    Message,
    Ref,
    RestartPolicy,
    State,
    handles,
    open_runtime,
)
from callsheet.runtime.testing import open_test_runtime, run_virtual

REQUEST_ID: ContextVar[str] = ContextVar("request_id")


@attrs.frozen
class WhoseRequest(Message[str]):
    pass


class Contextual(Actor):
    @handles(WhoseRequest)
    async def whose(self, message: WhoseRequest) -> str:
        return REQUEST_ID.get("unset")


class WithHook(Counter):
    def __init__(self, drained: list[Actor]) -> None:
        super().__init__()
        self._drained = drained

    async def draining(self) -> None:
        self._drained.append(self)


def tasks() -> int:
    return trio.lowlevel.current_statistics().tasks_living


async def test_the_task_starts_with_the_first_message(autojump_clock):
    async with open_test_runtime() as runtime:
        before = tasks()
        counters = [await runtime.spawn(str(number), Counter) for number in range(10)]
        assert tasks() == before
        assert {actor.state for actor in runtime.snapshot().actors} == {State.RUNNING}
        assert await counters[0].ask(Add(1)) == 1
        assert await counters[0].ask(Add(1)) == 2
        assert tasks() == before + 1


async def test_an_actor_with_a_hook_has_a_task_at_once_and_its_hook_runs(autojump_clock):
    drained: list[Actor] = []
    async with open_test_runtime() as runtime:
        before = tasks()
        await runtime.spawn("hooked", partial(WithHook, drained))
        assert tasks() == before + 1
    assert len(drained) == 1


async def test_the_task_has_the_context_of_the_spawn_not_of_the_first_sender(autojump_clock):
    async with open_test_runtime() as runtime:
        REQUEST_ID.set("the spawner's")
        actor = await runtime.spawn("contextual", Contextual)
        REQUEST_ID.set("the caller's")
        assert await actor.ask(WhoseRequest()) == "the spawner's"


class Tasks(trio.abc.Instrument):
    """Counts the tasks that begin, and their checkpoints."""

    def __init__(self) -> None:
        self.spawned = 0
        self.scheduled = 0

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        self.spawned += 1

    def task_scheduled(self, task: trio.lowlevel.Task) -> None:
        self.scheduled += 1


async def test_stopping_an_idle_actor_needs_no_task_and_frees_its_name(autojump_clock):
    async with open_test_runtime() as runtime:
        counter = await runtime.spawn("counter", Counter)
        seen = Tasks()
        trio.lowlevel.add_instrument(seen)
        await runtime.stop(counter)
        trio.lowlevel.remove_instrument(seen)
        assert seen.spawned == 0
        assert seen.scheduled > 0  # thousands that are stopped must not hold up all else
        with pytest.raises(ActorStopped):
            await counter.ask(Add(1))
        await runtime.spawn("counter", Counter)


async def test_a_hook_added_to_the_class_later_runs(autojump_clock, monkeypatch):
    started: list[Actor] = []

    async def note(self: Actor) -> None:
        started.append(self)

    monkeypatch.setattr(Counter, "started", note)
    async with open_test_runtime() as runtime:
        await runtime.spawn("counter", Counter)
        assert len(started) == 1


@pytest.mark.parametrize(
    "seed", [*range(8), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(8, 20))]
)
def test_an_actor_that_is_stopped_before_its_task_has_run_is_made_once(seed):
    made: list[Actor] = []

    def make() -> Actor:
        actor = WithHook([])
        made.append(actor)
        return actor

    async def main() -> None:
        async with open_runtime(seed="s") as runtime:

            async def spawn() -> None:
                with suppress(ChildNotFound):
                    await runtime.spawn("hooked", make)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(spawn)
                while not made:
                    await trio.lowlevel.checkpoint()
                await runtime.root.stop_child("hooked")

    run_virtual(main, seed=seed)
    assert len(made) == 1


async def test_an_idle_actor_is_stopped_and_restarted_by_name(autojump_clock):
    async with open_test_runtime() as runtime:
        counter = await runtime.spawn("counter", Counter)
        await runtime.root.stop_child("counter")
        assert runtime.snapshot()[counter.path].state is State.STOPPED
        await runtime.root.restart_child("counter")
        assert await counter.ask(Add(1)) == 1
        assert runtime.snapshot()[counter.path].incarnation == 2


@pytest.mark.parametrize("stop_s", [0, 1, float("inf")])
async def test_a_message_to_an_idle_actor_is_handled_before_a_drain_ends(autojump_clock, stop_s):
    async with open_test_runtime() as runtime:
        counter = await runtime.spawn("counter", Counter, stop_s=stop_s)
        counter.tell_nowait(Add(1))
        await runtime.root.stop_child("counter")
        counts = runtime.snapshot()[counter.path].counts
        assert (counts.handled, counts.dead_lettered) == ((1, 0) if stop_s else (0, 1))


async def test_an_idle_actor_is_restarted_with_its_group(autojump_clock):
    policy = RestartPolicy(base_s=0)
    async with open_test_runtime(strategy="one_for_all", restarts=policy) as runtime:
        dozing = await runtime.spawn("dozing", Counter)
        failing = await runtime.spawn("failing", Counter)
        failing.tell_nowait(Fail(KeyError("bug")))
        await trio.sleep(1)
        snapshot = runtime.snapshot()
        assert [snapshot[ref.path].incarnation for ref in (dozing, failing)] == [2, 2]
        assert await dozing.ask(Add(3)) == 3
        assert await failing.ask(Add(4)) == 4


async def test_messages_queued_at_a_crash_wake_the_next_incarnation(autojump_clock):
    async with open_test_runtime(restarts=RestartPolicy(base_s=0)) as runtime:
        counter = await runtime.spawn("counter", Counter)
        counter.tell_nowait(Fail(KeyError("bug")))
        counter.tell_nowait(Add(5))
        assert await counter.ask(Add(1)) == 6


async def test_a_message_to_an_idle_actor_in_a_cancelled_block_is_counted(autojump_clock):
    refs: list[Ref] = []
    with trio.CancelScope() as scope:
        async with open_runtime() as runtime:
            refs.append(await runtime.spawn("told", Counter))
            refs.append(await runtime.spawn("never-told", Counter))
            scope.cancel()
            refs[0].tell_nowait(Add(1))
            await trio.sleep_forever()
    told, never_told = runtime.snapshot().actors
    assert (told.counts.handled, told.counts.dead_lettered, told.pending) == (0, 1, 0)
    assert told.is_conserved
    assert never_told.state is State.STOPPED
    for ref in refs:
        with pytest.raises(ActorStopped):
            ref.tell_nowait(Add(1))


def a_counter():
    return Counter()


async def test_the_class_of_each_actor_is_known_before_it_runs(autojump_clock):
    """R12: also before the first message, after a crash, and behind a function."""
    slow = RestartPolicy(base_s=100, cap_s=100)
    async with open_runtime(restarts=slow) as runtime:
        counter = await runtime.spawn("counter", partial(partial(Counter)))
        await runtime.spawn("made", a_counter)
        await runtime.spawn_pool("pool", Counter, size=2)
        for _ in range(2):
            assert {each.path: each.class_name for each in runtime.snapshot().actors} == {
                "callsheet/counter": "Counter",
                "callsheet/made": "Counter",
                "callsheet/pool": "Counter",
            }
            with suppress(ActorCrashed):
                await counter.ask(Fail(ValueError("a bug")))
