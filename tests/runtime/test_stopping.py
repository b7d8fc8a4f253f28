"""R16: a stop is prompt and honest, whatever the child does (trials 1, 2, 9 and 16)."""

from functools import partial
from math import inf

import pytest
import trio
from recording_actors import NO_PAUSE, crashes_in
from stopping_actors import Echo, X, lost

from callsheet.runtime import (
    ChildRestarting,
    ChildStopping,
    RestartPolicy,
    TooManyChildren,
    open_runtime,
)
from callsheet.runtime.testing import check_conservation

# ---------------------------------------------------------------- crashes during a drain


@pytest.mark.parametrize("wait", [0, 0.5])
@pytest.mark.parametrize("redeliver", [0, 1])
@pytest.mark.parametrize("concurrency", [1, 2])
async def test_a_crash_costs_the_same_during_a_drain(autojump_clock, wait, redeliver, concurrency):
    async with open_runtime("app") as runtime:
        worker = await runtime.spawn("w", Echo, redeliver=redeliver, concurrency=concurrency)
        for n in (0.01, 0.01, -1, 0.01, 0.01, 0.01, 0.01):
            await worker.tell(X(n))
        await trio.sleep(wait)
        check_conservation(runtime.snapshot())
    counts = runtime.snapshot()[worker.path].counts
    # With two at a time, a crash costs the message beside it too.
    assert counts.handled >= (6 if concurrency == 1 else 4)
    assert counts.failed <= 7 - counts.handled
    (stop,) = runtime.shutdown_report.stops
    assert stop.lost == (counts.crashed if wait == 0 else 0)


@pytest.mark.parametrize("how", ["leave", "stop", "stop_child"])
async def test_a_crash_at_each_message_gets_on_and_never_escalates(autojump_clock, how):
    async with open_runtime("app", restarts=RestartPolicy(max_restarts=1), drain_s=60) as runtime:
        worker = await runtime.spawn("w", Echo, redeliver=1)
        for n in (-1,) * 40:
            worker.tell_nowait(X(n))
        worker.tell_nowait(X(1))
        if how == "stop":
            await runtime.stop(worker)
        elif how == "stop_child":
            await runtime.root.stop_child("w")
            check_conservation(runtime.snapshot())
            assert runtime.snapshot()[worker.path].counts.handled == 1
            assert runtime.snapshot().restarts_left == 1
        assert trio.current_time() < 10
    if how == "leave":
        assert lost(runtime.shutdown_report) == {"app/w": (1, 40)}


async def test_what_is_left_at_the_limit_of_a_drain_with_crashes_is_lost_and_reported(
    autojump_clock,
):
    async with open_runtime("app", drain_s=5.5) as runtime:
        worker = await runtime.spawn("w", Echo)
        for n in (1, -1, 1, -1, 1, 1, 1, 1, 1, 1):
            worker.tell_nowait(X(n))
    assert lost(runtime.shutdown_report) == {"app/w": (5, 5)}
    assert runtime.shutdown_report.seconds == 5.5


async def test_a_timer_that_crashes_each_incarnation_does_not_make_a_drain_endless(autojump_clock):
    class Ticking(Echo):
        async def started(self) -> None:
            self.send_after(0, X(-1))

    async with open_runtime("app", restarts=RestartPolicy(base_s=0.5)) as runtime:
        worker = await runtime.spawn("w", Ticking, redeliver=3)
        for _ in range(5):
            worker.tell_nowait(X(1))
        with trio.fail_after(30):
            await runtime.root.stop_child("w")
        check_conservation(runtime.snapshot())


async def test_a_temporary_child_that_crashes_during_its_drain_is_not_started_again(
    autojump_clock, log
):
    async with open_runtime("app") as runtime:
        worker = await runtime.spawn("w", Echo, restart="temporary")
        for n in (1, -1, 1):
            worker.tell_nowait(X(n))
    assert lost(runtime.shutdown_report)["app/w"] == (1, 2)
    assert crashes_in(log) == [("app/w", "leave")]


@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
async def test_children_that_crash_while_their_supervisor_drains_do_not_escalate(
    autojump_clock, strategy
):
    policy = RestartPolicy(max_restarts=1, base_s=0)
    async with open_runtime("app", strategy=strategy, restarts=policy, drain_s=100) as runtime:
        first = await runtime.spawn("first", Echo)
        last = await runtime.spawn("last", Echo)
        last.tell_nowait(X(20))  # the drain takes this long
        for n in (1, -1, 1, -1, 1, -1, 1):
            first.tell_nowait(X(n))
    if strategy == "one_for_one":
        assert lost(runtime.shutdown_report) == {"app/last": (1, 0), "app/first": (4, 3)}
    assert all(actor.is_conserved for actor in runtime.snapshot().actors)


# ---------------------------------------------------------------- the stopped hook


class SlowEnd(Echo):
    def __init__(self, journal: list[str], seconds: float = 5) -> None:
        self.journal = journal
        self.seconds = seconds

    async def stopped(self) -> None:
        self.journal.append("begin")
        await trio.sleep(self.seconds)
        self.journal.append("end")


@pytest.mark.parametrize(
    ("stop_s", "took", "journal"),
    [(0, 0, []), (2, 2, ["begin"]), (9, 4, ["begin", "end"]), (inf, 4, ["begin", "end"])],
)
@pytest.mark.parametrize("how", ["stop_child", "stop", "supervisor"])
async def test_the_stop_time_covers_the_stopped_hook(autojump_clock, stop_s, took, journal, how):
    done: list[str] = []
    async with open_runtime("app") as runtime:
        limit = stop_s if how == "supervisor" else inf
        branch = await runtime.supervise("branch", stop_s=limit)
        own = inf if how == "supervisor" else stop_s
        x = await branch.spawn("x", partial(SlowEnd, done, 4), stop_s=own)
        await x.ask(X())
        if how == "stop_child":
            await branch.stop_child("x")
        elif how == "stop":
            await runtime.stop(x)
        else:
            await runtime.root.stop_child("branch")
        assert trio.current_time() == took
        assert done == journal


async def test_a_stop_that_comes_while_the_hook_runs_limits_it(autojump_clock):
    done: list[str] = []
    async with open_runtime("app", restarts=NO_PAUSE) as runtime:
        x = await runtime.spawn("x", partial(SlowEnd, done), stop_s=2)
        x.tell_nowait(X(-1))
        await trio.sleep(1)
        await runtime.root.stop_child("x")
        assert trio.current_time() == 3
        assert done == ["begin"]


# ---------------------------------------------------------------- order, names, bounds


@pytest.mark.parametrize(("order", "took"), [("reverse", 9), ("together", 3)])
async def test_children_may_be_stopped_side_by_side(autojump_clock, order, took):
    async with open_runtime("app", stop_order=order, drain_s=60) as runtime:
        for name in "abc":
            (await runtime.spawn(name, Echo)).tell_nowait(X(3))
            await trio.testing.wait_all_tasks_blocked()
            await runtime.spawn(f"{name}{name}", partial(SlowEnd, [], 0))
        branch = await runtime.supervise("branch", stop_order=order)
        for name in "abc":
            await branch.spawn(name, partial(SlowEnd, [], 3))
        before = trio.current_time()
        await runtime.root.stop_child("branch")
        assert trio.current_time() - before == took
        for name in "abc":
            (await runtime.spawn(f"{name}-late", partial(SlowEnd, [], 3))).tell_nowait(X())
    assert runtime.shutdown_report.seconds == took
    assert runtime.shutdown_report.is_clean


@pytest.mark.parametrize("stop_s", [2, inf])
async def test_after_a_cancelled_stop_the_name_is_free_once_the_child_has_ended(
    autojump_clock, stop_s
):
    async with open_runtime("app") as runtime:
        x = await runtime.spawn("x", Echo, stop_s=stop_s)
        x.tell_nowait(X(10))
        await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(1):
            await runtime.stop(x)
        with pytest.raises(ChildStopping, match="draining"):
            await runtime.spawn("x", Echo)
        await x.wait_stopped()
        assert trio.current_time() == min(stop_s, 10)
        await trio.lowlevel.checkpoint()
        await runtime.spawn("x", Echo)


async def test_each_state_in_which_a_call_cannot_be_done_has_an_error_that_says_so(autojump_clock):
    slow = RestartPolicy(base_s=1000, cap_s=1000)
    async with open_runtime("app", restarts=slow, drain_s=0, seed="s") as runtime:
        x = await runtime.spawn("x", Echo)
        x.tell_nowait(X(-1))
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(ChildRestarting, match=r"app has a child 'x' that is restarting"):
            await runtime.spawn("x", Echo)
        y = await runtime.spawn("y", Echo)
        y.tell_nowait(X(1))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(runtime.root.stop_child, "y")
            await trio.testing.wait_all_tasks_blocked()
            for call in (
                partial(runtime.spawn, "y", Echo),
                partial(runtime.root.restart_child, "y"),
            ):
                with pytest.raises(ChildStopping, match="draining"):
                    await call()
            with pytest.raises(ChildStopping, match="draining"):
                runtime.root.remove_child("y")


async def test_the_number_of_children_may_be_bounded(autojump_clock):
    async with open_runtime("app", max_children=2) as runtime:
        branch = await runtime.supervise("branch", max_children=1)
        x = await branch.spawn("x", Echo)
        with pytest.raises(TooManyChildren, match=r"app/branch has 1 children"):
            await branch.spawn("y", Echo)
        with pytest.raises(TooManyChildren):
            await branch.supervise("y")
        await runtime.stop(x)
        await branch.spawn("y", Echo)
        await runtime.spawn("z", Echo)
        with pytest.raises(TooManyChildren):
            await runtime.spawn("one more", Echo)


async def test_a_supervisor_shows_what_is_the_users_and_nothing_else():
    async with open_runtime("app") as runtime:
        shown = {name for name in dir(runtime.root) if not name.startswith("_")}
    assert shown >= {"name", "path", "spawn", "supervise", "stop_child", "restart_child"}
    assert not shown & {
        "close",
        "drain",
        "halt",
        "open",
        "end_now",
        "incarnate",
        "doze",
        "children",
    }
