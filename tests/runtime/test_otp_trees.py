"""R7, R16: the cases of Erlang/OTP's supervisor: trees, children by name, and stop time-outs.

The cases of kinds, intensity and strategies are in `test_otp_cases`.
"""

from contextlib import suppress
from functools import partial
from math import inf

import pytest
import trio
from recording_actors import NO_PAUSE, NO_RESTARTS, End, Recorder, crashes_in, spawn_all
from sample_actors import Add, Counter, Fail, Work

from callsheet.runtime import (
    ActorStopped,
    AlreadyPresent,
    AlreadyRunning,
    ChildNotFound,
    ChildRestarting,
    ChildStopped,
    ChildStopping,
    RestartIntensityExceeded,
    RestartPolicy,
    Runtime,
    StartTimedOut,
    Supervisor,
    TooManyChildren,
    handles,
    open_runtime,
)

CRASH = Fail(KeyError("bug"))

# ---------------------------------------------------------------- trees


@pytest.mark.parametrize(
    ("restart", "expected", "after"),
    [
        ("permanent", "-y-x+x+y", ["callsheet/z", "callsheet/branch/x", "callsheet/branch/y"]),
        ("transient", "-y-x+x+y", ["callsheet/z", "callsheet/branch/x", "callsheet/branch/y"]),
        ("temporary", "-y-x", ["callsheet/z"]),
    ],
)
async def test_a_supervisor_that_fails_is_a_crashed_child_of_the_one_above(
    autojump_clock, log, restart, expected, after
):
    journal: list[str] = []
    async with open_runtime(restarts=NO_PAUSE) as runtime:
        await spawn_all(runtime, "z", journal)
        branch = await runtime.supervise("branch", restarts=NO_RESTARTS, restart=restart)
        _, y = await spawn_all(branch, "xy", journal)
        journal.clear()
        y.tell_nowait(CRASH)
        await trio.sleep(1)
        assert "".join(journal) == expected
        assert [actor.path for actor in runtime.snapshot().actors] == after
        decision = "leave" if restart == "temporary" else "restart"
        assert crashes_in(log) == [(y.path, "fail upward"), (branch.path, decision)]
        if restart == "temporary":
            with pytest.raises(ActorStopped):
                await y.ask(Add(1))
            assert await runtime.supervise("branch"), "its name is free"
        else:
            assert await y.ask(Add(1)) == 1


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ("one_for_one", "-b-c+b+c"),
        ("one_for_all", "-b-c-e-d-a+a+b+c+d+e"),
        ("rest_for_one", "-b-c-e-d+b+c+d+e"),
    ],
)
async def test_the_strategy_above_decides_which_branches_restart_with_one_that_failed(
    autojump_clock, strategy, expected
):
    journal: list[str] = []
    async with open_runtime(strategy=strategy, restarts=NO_PAUSE) as runtime:
        await spawn_all(runtime, "a", journal)
        failing = await runtime.supervise("failing", restarts=NO_RESTARTS)
        b, _ = await spawn_all(failing, "bc", journal)
        other = await runtime.supervise("other")
        await spawn_all(other, "de", journal)
        journal.clear()
        b.tell_nowait(CRASH)
        await trio.sleep(1)
        assert "".join(journal) == expected
        assert runtime.snapshot().restarts_left == 4


@pytest.mark.parametrize("levels", [1, 2, 3])
async def test_a_failure_goes_up_as_many_levels_as_have_no_restarts_left(autojump_clock, levels):
    """The supervisor above those restarts the whole branch; from the root it is raised."""
    journal: list[str] = []
    policies = [NO_PAUSE] * (3 - levels) + [NO_RESTARTS] * levels  # from the root down
    has_failed = False
    try:
        async with open_runtime(restarts=policies[0]) as runtime:
            await spawn_all(runtime, "a", journal)
            middle = await runtime.supervise("middle", restarts=policies[1])
            await spawn_all(middle, "b", journal)
            lowest = await middle.supervise("lowest", restarts=policies[2])
            (c,) = await spawn_all(lowest, "c", journal)
            journal.clear()
            c.tell_nowait(CRASH)
            await trio.sleep(1)
            assert await c.ask(Add(1)) == 1
            seen = "".join(journal)
    except RestartIntensityExceeded:
        has_failed = True
        seen = "".join(journal)
    assert has_failed is (levels == 3)
    assert seen == {1: "-c+c", 2: "-c-b+b+c", 3: "-c-b-a"}[levels]


async def test_a_branch_that_cannot_start_again_spends_the_restarts_of_the_one_above(
    autojump_clock,
):
    journal: list[str] = []
    async with open_runtime(restarts=NO_PAUSE) as runtime:
        branch = await runtime.supervise("branch", restarts=NO_RESTARTS)
        (a,) = await spawn_all(branch, "a", journal)
        errors = [None, OSError("no port"), OSError("no port"), None]
        await branch.spawn("b", partial(Recorder, "b", journal, errors))
        journal.clear()
        a.tell_nowait(CRASH)
        await trio.sleep(1)
        assert "".join(journal) == "-a-b" + "+a!b-a" * 2 + "+a+b"
        assert runtime.snapshot().restarts_left == 5 - 3


# ---------------------------------------------------------------- children by name


class Slow(Recorder):
    """Takes ten seconds to start."""

    async def started(self) -> None:
        await trio.sleep(10)


async def bring_to(state: str, runtime: Runtime, nursery: trio.Nursery) -> None:
    """Bring a child `x` of the root into a state."""
    if state == "starting":
        nursery.start_soon(_spawn_slow, runtime)
    elif state != "absent":
        x = await runtime.spawn("x", partial(Recorder, "x", []))
        if state == "stopping":
            x.tell_nowait(Work("long", 50))
        if state == "restarting":
            x.tell_nowait(CRASH)
        elif state in ("stopped", "stopping"):
            nursery.start_soon(runtime.root.stop_child, "x")
    await trio.testing.wait_all_tasks_blocked()


async def _spawn_slow(runtime: Runtime) -> None:
    with suppress(ChildStopped):
        await runtime.spawn("x", partial(Slow, "x", []))


def state_of_x(runtime: Runtime) -> str:
    states = [actor.state.value for actor in runtime.snapshot().actors if actor.path == "app/x"]
    return states[0] if states else "absent"


@pytest.mark.parametrize("call", ["spawn", "supervise", "restart_child", "stop_child", "remove"])
@pytest.mark.parametrize(
    ("state", "outcomes"),
    [
        ("absent", ("running", "absent", ChildNotFound, ChildNotFound, ChildNotFound)),
        ("starting", (*[AlreadyRunning] * 3, "absent", AlreadyRunning)),
        ("running", (*[AlreadyRunning] * 3, "stopped", AlreadyRunning)),
        ("restarting", (*[ChildRestarting] * 3, "stopped", ChildRestarting)),
        ("stopping", (*[ChildStopping] * 3, "stopped", ChildStopping)),
        ("stopped", (AlreadyPresent, AlreadyPresent, "running", "stopped", "absent")),
    ],
)
async def test_each_call_in_each_state_of_the_child(autojump_clock, state, outcomes, call):
    """Either the call does it, or it raises its error and the child is as it was."""
    patient = RestartPolicy(base_s=1000, cap_s=1000)
    async with open_runtime("app", restarts=patient, seed="s", drain_s=100) as runtime:
        root = runtime.root
        calls = {
            "spawn": partial(root.spawn, "x", Counter),
            "supervise": partial(root.supervise, "x"),
            "restart_child": partial(root.restart_child, "x"),
            "stop_child": partial(root.stop_child, "x"),
            "remove": partial(_remove, root),
        }
        outcome = dict(zip(calls, outcomes, strict=True))[call]
        async with trio.open_nursery() as nursery:
            await bring_to(state, runtime, nursery)
            before = state_of_x(runtime)
            if isinstance(outcome, str):  # the state of the actor; a supervisor is none
                await calls[call]()
                await trio.testing.wait_all_tasks_blocked()
                expected = outcome
            else:
                with pytest.raises((ValueError, LookupError)) as error:
                    await calls[call]()
                assert type(error.value) is outcome
                expected = before
            assert state_of_x(runtime) == expected


async def _remove(root: Supervisor) -> None:
    root.remove_child("x")


@pytest.mark.parametrize("restart", ["permanent", "transient", "temporary"])
async def test_a_name_may_be_used_again_and_again(autojump_clock, restart):
    """As with `terminate_child`, a temporary child is forgotten as soon as it is stopped."""
    async with open_runtime(max_children=1) as runtime:
        root, refs = runtime.root, []
        for number in range(1, 4):
            refs.append(await root.spawn("x", Counter, restart=restart))
            assert await refs[-1].ask(Add(number)) == number
            await root.stop_child("x")
            if restart == "temporary":
                assert runtime.snapshot().actors == ()
            else:
                await root.restart_child("x")
                assert await refs[-1].ask(Add(number)) == number, "a new incarnation"
                await root.stop_child("x")
                root.remove_child("x")
        assert len(set(refs)) == 3
        for ref in refs:
            with pytest.raises(ActorStopped):
                await ref.ask(Add(1))


@pytest.mark.parametrize(
    "how", ["remove", "stop", "temporary", "failed start", "start time-out", "cancelled start"]
)
async def test_a_place_among_max_children_is_free_again(autojump_clock, how):
    async with open_runtime(max_children=1) as runtime:
        root = runtime.root
        if how == "failed start":
            with pytest.raises(OSError, match="no port"):
                await root.spawn("x", partial(Recorder, "x", [], [OSError("no port")]))
        elif how == "start time-out":
            with pytest.raises(StartTimedOut):
                await root.spawn("x", partial(Slow, "x", []), start_s=1)
        elif how == "cancelled start":
            with trio.move_on_after(1):
                await root.spawn("x", partial(Slow, "x", []))
        else:
            restart = "temporary" if how == "temporary" else "permanent"
            x = await root.spawn("x", partial(Recorder, "x", []), restart=restart)
            with pytest.raises(TooManyChildren):
                await root.spawn("y", Counter)
            if how == "remove":
                await root.stop_child("x")
                with pytest.raises(TooManyChildren):
                    await root.spawn("y", Counter)
                root.remove_child("x")
            elif how == "stop":
                await runtime.stop(x)
            else:
                x.tell_nowait(End())
                await trio.sleep(1)
        y = await root.spawn("y", Counter)
        assert await y.ask(Add(1)) == 1


# ---------------------------------------------------------------- stop time-outs


class Busy(Recorder):
    """Records the work that it has done, and takes a second for its `stopped` hook."""

    @handles(Work)
    async def work(self, message: Work) -> str:
        await trio.sleep(message.seconds)
        self.journal.append(f"{message.name} done")
        return ""

    async def stopped(self) -> None:
        await trio.sleep(1)
        await super().stopped()


@pytest.mark.parametrize(
    ("stop_s", "takes", "journal"),
    [
        (0, 0, []),  # brutal_kill: without the hook
        (3, 3, []),  # cancelled at the limit, so no time is left for the hook
        (8, 7, ["a done", "-s"]),  # six seconds of work, and the hook
        (inf, 7, ["a done", "-s"]),
    ],
)
@pytest.mark.parametrize("how", ["stop_child", "stop", "supervisor", "end of the block"])
async def test_a_stop_takes_at_most_its_time(autojump_clock, stop_s, takes, journal, how):
    seen: list[str] = []

    async with open_runtime(drain_s=100) as runtime:
        branch = await runtime.supervise("branch")
        busy = await branch.spawn("s", partial(Busy, "s", seen), stop_s=stop_s)
        seen.clear()
        busy.tell_nowait(Work("a", 6))
        await trio.testing.wait_all_tasks_blocked()
        if how == "stop_child":
            await branch.stop_child("s")
        elif how == "stop":
            await runtime.stop(busy)
        elif how == "supervisor":
            await runtime.root.stop_child("branch")
    assert trio.current_time() == takes
    assert seen == journal


@pytest.mark.parametrize(("order", "takes"), [("reverse", 1 + 2 + 3), ("together", 3)])
@pytest.mark.parametrize("how", ["supervisor", "end of the block"])
async def test_each_child_has_a_stop_time_of_its_own(autojump_clock, order, takes, how):
    async with open_runtime(drain_s=100, stop_order=order) as runtime:
        branch = await runtime.supervise("branch", stop_order=order)
        for name, stop_s in {"a": 1, "b": 2, "c": 3}.items():
            child = await branch.spawn(name, partial(Recorder, name, []), stop_s=stop_s)
            child.tell_nowait(Work("long", 50))
        await trio.testing.wait_all_tasks_blocked()
        if how == "supervisor":
            await runtime.root.stop_child("branch")
            assert trio.current_time() == takes
    assert trio.current_time() == takes


async def test_a_supervisor_that_fails_stops_its_children_within_their_times(autojump_clock):
    journal: list[str] = []
    async with open_runtime(restarts=NO_PAUSE) as runtime:
        branch = await runtime.supervise("branch", restarts=NO_RESTARTS)
        (a,) = await spawn_all(branch, "a", journal)
        for name, stop_s in {"b": 0, "c": 2, "d": inf}.items():
            (ref,) = await spawn_all(branch, name, journal, stop_s=stop_s)
            ref.tell_nowait(Work("long", 50))
        await trio.testing.wait_all_tasks_blocked()
        journal.clear()
        a.tell_nowait(CRASH)
        assert await a.ask(Add(1)) == 1
        assert trio.current_time() == 5 + 2, "5 s for an unlimited one, since it may wait for a"
