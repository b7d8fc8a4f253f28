"""R7: children that are started, stopped, restarted and removed by name at run time."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from math import inf

import attrs
import pytest
import trio
from recording_actors import NO_PAUSE, NO_RESTARTS, Recorder, crashes_in, spawn_all
from sample_actors import Add, Counter, Fail, Work

from callsheet.runtime import (
    Actor,
    ActorStopped,
    AlreadyPresent,
    AlreadyRunning,
    ChildNotFound,
    ChildRestarting,
    ChildStopped,
    Message,
    RestartPolicy,
    Runtime,
    State,
    Supervisor,
    handles,
    open_runtime,
)
from callsheet.runtime.testing import open_test_runtime, run_virtual


async def test_a_stopped_child_keeps_its_name_until_it_is_restarted_or_removed(
    autojump_clock,
):
    async with open_runtime() as runtime:
        root = runtime.root
        counter = await runtime.spawn("counter", Counter)
        await counter.ask(Add(5))
        with pytest.raises(AlreadyRunning, match="counter"):
            await root.restart_child("counter")
        with pytest.raises(AlreadyRunning, match="counter"):
            root.remove_child("counter")
        await root.stop_child("counter")
        await root.stop_child("counter")  # again is harmless
        assert runtime.snapshot()[counter.path].state is State.STOPPED
        with pytest.raises(ActorStopped):
            await counter.ask(Add(1))
        with pytest.raises(AlreadyPresent, match="restart_child"):
            await runtime.spawn("counter", Counter)
        with pytest.raises(AlreadyPresent, match="counter"):
            await runtime.supervise("counter")
        await root.restart_child("counter")
        assert await counter.ask(Add(1)) == 1, "a new incarnation behind the same ref"
        assert runtime.snapshot()[counter.path].is_conserved
        await root.stop_child("counter")
        root.remove_child("counter")
        for act in (root.restart_child, root.stop_child):
            with pytest.raises(ChildNotFound, match="its children: none"):
                await act("counter")
        with pytest.raises(ChildNotFound, match="its children: none"):
            root.remove_child("counter")
        other = await runtime.spawn("counter", Counter)
        assert other != counter
        with pytest.raises(ActorStopped):
            counter.tell_nowait(Add(1))


async def test_a_restarting_child_can_be_stopped_but_not_restarted_or_removed(
    autojump_clock,
):
    slow = RestartPolicy(base_s=100, cap_s=100)
    async with open_runtime(restarts=slow, seed="s") as runtime:
        root = runtime.root
        counter = await runtime.spawn("counter", Counter)
        counter.tell_nowait(Fail(KeyError("bug")))
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(ChildRestarting, match="counter"):
            await root.restart_child("counter")
        with pytest.raises(ChildRestarting, match="counter"):
            root.remove_child("counter")
        with pytest.raises(AlreadyRunning, match="counter"):
            await runtime.spawn("counter", Counter)
        await root.stop_child("counter")
        assert runtime.snapshot()[counter.path].state is State.STOPPED
        await trio.sleep(1000)
        assert runtime.snapshot()[counter.path].state is State.STOPPED
        await root.restart_child("counter")
        assert await counter.ask(Add(1)) == 1


@pytest.mark.parametrize("stop_s", [0, 1, inf])
@pytest.mark.parametrize("waiting", [0, 2])
async def test_stopping_a_restarting_child_leaves_it_stopped(autojump_clock, log, stop_s, waiting):
    slow = RestartPolicy(base_s=100, cap_s=100)
    async with open_runtime(restarts=slow, seed="s") as runtime:
        counter = await runtime.spawn("counter", Counter, stop_s=stop_s)
        counter.tell_nowait(Fail(KeyError("bug")))
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(waiting):
            counter.tell_nowait(Add(1))
        await runtime.root.stop_child("counter")
        await trio.sleep(1000)
        after = runtime.snapshot()[counter.path]
        assert after.state is State.STOPPED
        assert after.is_conserved
        assert after.incarnation == (2 if waiting and stop_s == inf else 1)
        assert after.counts.handled == (waiting if stop_s == inf else 0), "a drain finishes them"
        assert after.counts.dead_lettered == (0 if stop_s == inf else waiting)
        assert crashes_in(log) == [(counter.path, "restart")]


async def test_a_child_that_crashes_during_its_stop_is_reported_and_stays_stopped(
    autojump_clock, log
):
    async with open_runtime(restarts=NO_PAUSE) as runtime:
        recorder = await runtime.spawn("recorder", partial(Recorder, "p", []))
        recorder.tell_nowait(Work("a", 1))
        recorder.tell_nowait(Fail(KeyError("bug")))
        recorder.tell_nowait(Add(1))
        await runtime.root.stop_child("recorder")
        await trio.sleep(100)
        after = runtime.snapshot()[recorder.path]
        assert after.state is State.STOPPED
        assert after.is_conserved
        assert runtime.snapshot().restarts_left == 5
        assert after.counts.handled == 2, "the next incarnation goes on with the drain (R16)"
        assert crashes_in(log) == [(recorder.path, "restart")]


async def test_a_child_whose_stop_call_was_cancelled_still_stops(autojump_clock):
    async with open_runtime() as runtime:
        recorder = await runtime.spawn("recorder", partial(Recorder, "p", []))
        recorder.tell_nowait(Work("a", 10))
        with trio.move_on_after(1):
            await runtime.root.stop_child("recorder")
        with trio.fail_after(60):
            await recorder.wait_stopped()
        await runtime.root.restart_child("recorder")
        assert await recorder.ask(Add(1)) == 1


@pytest.mark.parametrize("call", ["spawn", "restart_child"])
@pytest.mark.parametrize("stops", [False, True])
@pytest.mark.parametrize("seeds", [range(3), pytest.param(range(3, 8), marks=pytest.mark.slow)])
def test_a_start_that_is_cancelled_at_its_very_end_is_over(call, stops, seeds):
    """Trio takes no task over from a caller that is cancelled, even if it has started."""

    async def scenario(checkpoints: int) -> None:
        async with open_test_runtime() as runtime, trio.open_nursery() as nursery:
            root, factory = runtime.root, partial(Recorder, "p", [])
            if call == "restart_child":
                await root.spawn("x", factory)
                await root.stop_child("x")
            with trio.CancelScope() as scope:
                nursery.start_soon(cancel_after, scope, checkpoints)
                if stops:
                    nursery.start_soon(stop_x, root)
                with suppress(ChildStopped):
                    await (root.restart_child("x") if call != "spawn" else root.spawn("x", factory))
            with trio.fail_after(60):
                await stop_x(root)
            if call == "spawn" and "x" not in root._node.children.by_name:
                await root.spawn("x", factory)
            else:
                await root.restart_child("x")

    async def cancel_after(scope: trio.CancelScope, checkpoints: int) -> None:
        for _ in range(checkpoints):
            await trio.lowlevel.checkpoint()
        scope.cancel()

    async def stop_x(root: Supervisor) -> None:
        with suppress(ChildNotFound):
            await root.stop_child("x")

    for checkpoints in range(8):
        for seed in seeds:
            run_virtual(scenario, checkpoints, seed=seed)


@pytest.mark.parametrize("call", ["spawn", "restart_child"])
@pytest.mark.parametrize(
    "seed", [*range(5), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(5, 10))]
)
def test_a_child_that_is_stopped_while_it_starts_and_started_again_runs(seed, call):
    """The caller whose start has failed must not close or remove what runs since then."""

    class Slow(Recorder):
        async def started(self) -> None:
            await trio.sleep(1 if not self.journal else 0)
            self.journal.append("+")

    async def scenario() -> None:
        async with open_test_runtime() as runtime, trio.open_nursery() as nursery:
            journal: list[str] = []
            if call == "restart_child":
                journal.append("first")
                await runtime.spawn("x", partial(Slow, "x", journal))
                await runtime.root.stop_child("x")
                journal.clear()
            nursery.start_soon(start_in_vain, runtime, partial(Slow, "x", journal))
            await trio.testing.wait_all_tasks_blocked()
            await runtime.root.stop_child("x")
            journal.append("stopped")
            try:
                await runtime.root.restart_child("x")
            except ChildNotFound:  # it was removed already
                return
            assert await runtime.ref("test/x").ask(Add(1), timeout=5) == 1

    async def start_in_vain(runtime: Runtime, factory: Callable[[], Recorder]) -> None:
        with pytest.raises(ChildStopped):
            if call == "spawn":
                await runtime.spawn("x", factory)
            else:
                await runtime.root.restart_child("x")

    run_virtual(scenario, seed=seed)


async def test_a_start_that_fails_leaves_a_stopped_child_stopped(autojump_clock):
    start_errors = [None, OSError("no port"), None]
    async with open_runtime() as runtime:
        recorder = await runtime.spawn("recorder", partial(Recorder, "p", [], start_errors))
        await runtime.root.stop_child("recorder")
        with pytest.raises(OSError, match="no port"):
            await runtime.root.restart_child("recorder")
        assert runtime.snapshot()[recorder.path].state is State.STOPPED
        assert runtime.snapshot().restarts_left == 5, "it is the caller's failure"
        await runtime.root.restart_child("recorder")
        assert await recorder.ask(Add(1)) == 1


async def test_stopping_an_actor_twice_does_not_stop_its_successor_of_the_same_name(
    autojump_clock,
):
    async with open_runtime() as runtime:
        first = await runtime.spawn("counter", Counter)
        await runtime.stop(first)
        second = await runtime.spawn("counter", Counter)
        await runtime.stop(first)
        assert await second.ask(Add(1)) == 1


async def test_a_whole_branch_is_stopped_and_restarted_by_name(autojump_clock):
    journal: list[str] = []
    async with open_runtime() as runtime:
        branch = await runtime.supervise("branch")
        a, b = await spawn_all(branch, "ab", journal)
        await runtime.root.stop_child("branch")
        with pytest.raises(ActorStopped):
            a.tell_nowait(Add(1))
        with pytest.raises(ChildNotFound, match="does not run"):
            await branch.spawn("c", Counter)
        with pytest.raises(ChildNotFound, match="does not run"):
            await branch.restart_child("a")
        await runtime.root.restart_child("branch")
        assert [await ref.ask(Add(1)) for ref in (a, b)] == [1, 1]
        assert "".join(journal) == "+a+b-b-a+a+b"
        b.tell_nowait(Fail(KeyError("bug")))
        assert await b.ask(Add(1)) == 1, "and supervises again"


async def test_a_child_can_be_spawned_by_the_handler_of_another(autojump_clock):
    @attrs.frozen
    class Hire(Message[int]):
        name: str

    class Manager(Actor):
        @handles(Hire, raises=(AlreadyRunning,))
        async def hire(self, message: Hire) -> int:
            return await (await runtime.spawn(message.name, Counter)).ask(Add(2))

    async with open_runtime() as runtime:
        manager = await runtime.spawn("manager", Manager)
        assert await manager.ask(Hire("x")) == 2
        with pytest.raises(AlreadyRunning):
            await manager.ask(Hire("x"))


async def test_a_watcher_is_notified_of_a_stop_but_not_of_a_restart(autojump_clock):
    @attrs.frozen
    class Gone(Message[None]):
        name: str

    heard: list[str] = []

    class Watcher(Actor):
        async def started(self) -> None:
            for ref in refs:
                await self.watch(ref, on=lambda ended: Gone(ended.path))

        @handles(Gone)
        async def gone(self, message: Gone) -> None:
            heard.append(message.name)

    async with open_runtime("app", restarts=NO_PAUSE) as runtime:
        branch = await runtime.supervise("branch", restarts=NO_RESTARTS)
        refs = [await branch.spawn(name, Counter) for name in "ab"]
        refs += [await branch.spawn("t", Counter, restart="temporary")]
        await runtime.spawn("watcher", Watcher)
        refs[0].tell_nowait(Fail(KeyError("bug")))
        await trio.sleep(1)
        assert heard == ["app/branch/t"], "the branch was restarted, but not its temporary child"
        await branch.stop_child("a")
        await trio.sleep(1)
        assert heard[1:] == ["app/branch/a"]


@attrs.frozen
class Wait(Message[None]):
    """The handler waits for a number of scheduler rounds."""

    rounds: int


class Waiter(Actor):
    @handles(Wait)
    async def wait(self, message: Wait) -> None:
        for _ in range(message.rounds):
            await trio.lowlevel.checkpoint()


@pytest.mark.parametrize(
    "seed", [*range(8), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(8, 20))]
)
def test_a_stop_closes_no_incarnation_that_was_started_meanwhile(seed):
    """A child is started, and told to stop again, before the first stop continues (R9)."""

    async def main():
        # The test runtime checks that a stopped actor has no message in progress.
        async with open_test_runtime() as runtime, trio.open_nursery() as nursery:
            root = runtime.root
            child = await runtime.spawn("child", Waiter)

            async def start_again():
                for _ in range(100):
                    with suppress(AlreadyRunning, ChildRestarting):
                        await root.restart_child("child")
                        return
                    await trio.lowlevel.checkpoint()

            async def stop_again():
                for _ in range(100):
                    if runtime.snapshot()[child.path].incarnation == 2:
                        await child.tell(Wait(5))
                        await root.stop_child("child")
                        return
                    await trio.lowlevel.checkpoint()

            await child.tell(Wait(5))
            nursery.start_soon(root.stop_child, "child")
            nursery.start_soon(start_again)
            nursery.start_soon(stop_again)

    run_virtual(main, seed=seed)


class SlowToStop(Counter):
    async def stopped(self) -> None:
        await trio.sleep(1)


async def test_a_stop_returns_when_the_child_is_removed_in_a_restart_of_its_group(autojump_clock):
    """A temporary child is removed in a group's restart; no next incarnation would end the stop."""
    async with open_runtime() as runtime:
        group = await runtime.supervise("group", strategy="one_for_all", restarts=NO_PAUSE)
        first = await group.spawn("first", Counter)
        temporary = await group.spawn("temporary", SlowToStop, restart="temporary")
        await first.tell(Fail(KeyError("a crash")))
        await trio.sleep(0.5)  # the group stops, and the temporary child takes its second for it
        await temporary.tell(Add(1))  # this waits for the next incarnation
        with trio.fail_after(5):
            await group.stop_child("temporary")
        with pytest.raises(ChildNotFound):
            group.remove_child("temporary")
        assert await first.ask(Add(1)) == 1
