"""R16: a stop is prompt while a child cannot start, or its start hangs."""

from functools import partial
from math import inf

import pytest
import trio
from recording_actors import NO_PAUSE, crashes_in
from stopping_actors import Echo, X, lost

from callsheet.runtime import (
    ActorStopped,
    AlreadyRunning,
    ChildStopped,
    RestartPolicy,
    StartTimedOut,
    State,
    open_runtime,
)
from callsheet.runtime.testing import open_test_runtime

# ---------------------------------------------------------------- children that cannot start


class Db(Echo):
    """Starts once, and never again."""

    def __init__(self, lives: list[int]) -> None:
        self.lives = lives

    async def started(self) -> None:
        self.lives.append(1)
        if len(self.lives) > 1:
            raise OSError("db is down")


@pytest.mark.parametrize("queued", [0, 1, 20])
@pytest.mark.parametrize("how", ["stop", "stop_child", "leave"])
async def test_the_stop_of_a_child_in_a_restart_loop_is_prompt(autojump_clock, queued, how):
    lives: list[int] = []
    policy = RestartPolicy(max_restarts=20, base_s=1, cap_s=1)
    async with open_runtime("app", restarts=policy, drain_s=60) as runtime:
        await runtime.spawn("healthy", Echo)
        db = await runtime.spawn("db", partial(Db, lives))
        await db.tell(X(-1))
        await trio.sleep(3)
        assert len(lives) > 1
        for _ in range(queued):
            await db.tell(X())
        before, born = trio.current_time(), len(lives)
        if how == "stop":
            await runtime.stop(db)
        elif how == "stop_child":
            await runtime.root.stop_child("db")
            assert runtime.snapshot()[db.path].counts.dead_lettered == queued
        assert trio.current_time() == before
        assert len(lives) == born
        if how != "leave":
            await trio.sleep(60)
            assert len(lives) == born
    assert runtime.shutdown_report.seconds == 0
    if how == "leave":
        assert lost(runtime.shutdown_report)["app/db"] == (0, queued)


@pytest.mark.parametrize("queued", [0, 1])
@pytest.mark.parametrize("how", ["stop", "stop_child"])
async def test_a_stop_below_a_supervisor_that_waits_for_its_restart_is_prompt(
    autojump_clock, queued, how
):
    patient = RestartPolicy(base_s=1000, cap_s=1000)
    async with open_test_runtime(restarts=patient, seed="s") as runtime:
        branch = await runtime.supervise("branch", restarts=RestartPolicy(max_restarts=0))
        x = await branch.spawn("x", Echo)
        x.tell_nowait(X(-1))
        await trio.testing.wait_all_tasks_blocked()
        slots = [await x.submit(X()) for _ in range(queued)]
        await (runtime.stop(x) if how == "stop" else branch.stop_child("x"))
        assert trio.current_time() == 0
        for slot in slots:
            with pytest.raises(ActorStopped):
                await slot.wait()


@pytest.mark.parametrize("queued", [0, 1])
async def test_a_failed_start_during_a_drain_ends_the_drain(autojump_clock, queued):
    lives: list[int] = []
    async with open_runtime("app", drain_s=60) as runtime:
        db = await runtime.spawn("db", partial(Db, lives))
        for n in (-1, *(1,) * queued):
            db.tell_nowait(X(n))
    assert lost(runtime.shutdown_report) == {"app/db": (0, 1 + queued)}
    assert len(lives) == 1 + queued


# ---------------------------------------------------------------- starts that hang


class Hanging(Echo):
    """Its first `hangs_from` incarnations start at once; the others never do."""

    def __init__(self, lives: list[int], hangs_from: int = 1) -> None:
        self.lives = lives
        self.hangs_from = hangs_from

    async def started(self) -> None:
        self.lives.append(1)
        if len(self.lives) > self.hangs_from:
            await trio.sleep_forever()


async def test_a_start_has_a_limit(autojump_clock):
    async with open_runtime("app") as runtime:
        with pytest.raises(StartTimedOut, match=r"app/x did not start within 3 s"):
            await runtime.spawn("x", partial(Hanging, [], 0), start_s=3)
        assert trio.current_time() == 3
        x = await runtime.spawn("x", partial(Hanging, [], 1), start_s=3)
        await trio.sleep(10)
        assert await x.ask(X(5)) == 5, "the limit is that of the start only"


async def test_a_start_that_takes_too_long_at_a_restart_counts_as_failed(autojump_clock, log):
    lives: list[int] = []
    async with open_runtime("app", restarts=NO_PAUSE) as runtime:
        x = await runtime.spawn("x", partial(Hanging, lives), start_s=2)
        x.tell_nowait(X(-1))
        await trio.sleep(5)
        assert len(lives) == 4
        assert runtime.snapshot().restarts_left == 2
        await runtime.root.stop_child("x")
    assert [event["error"].__class__ for event in log if event["event"] == "actor_crashed"] == [
        ValueError,
        StartTimedOut,
        StartTimedOut,
    ]


async def test_a_supervisor_whose_restart_takes_too_long_fails_to_start(autojump_clock, log):
    lives: list[int] = []
    never = RestartPolicy(max_restarts=0)
    async with open_runtime("app", restarts=NO_PAUSE) as runtime:
        branch = await runtime.supervise("branch", restarts=never, start_s=2)
        x = await branch.spawn("x", partial(Hanging, lives))
        x.tell_nowait(X(-1))
        await trio.sleep(3)
        await runtime.root.stop_child("branch")
    assert ("app/branch", "restart") in crashes_in(log)


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
async def test_a_restart_that_hangs_delays_the_answer_to_other_crashes_by_start_s(
    autojump_clock, strategy
):
    """Trial 9: a crash is answered in the end, in a group that restarts one after another."""
    async with open_runtime("app", strategy=strategy, restarts=NO_PAUSE) as runtime:
        first = await runtime.spawn("first", Echo)
        lives: list[int] = []

        def hanging_once() -> Hanging:
            return Hanging(lives, hangs_from=1 if len(lives) == 1 else 9)

        hanging = await runtime.spawn("hanging", hanging_once, start_s=2)
        hanging.tell_nowait(X(-1))
        await trio.sleep(1)
        first.tell_nowait(X(-1))
        assert await first.ask(X(), timeout=5) == 0
        assert trio.current_time() == 2


@pytest.mark.parametrize("queued", [0, 1])
@pytest.mark.parametrize("stop_s", [2, inf])
async def test_a_stop_ends_a_restart_that_hangs(autojump_clock, queued, stop_s):
    async with open_runtime("app", restarts=NO_PAUSE) as runtime:
        x = await runtime.spawn("x", partial(Hanging, []), stop_s=stop_s)
        x.tell_nowait(X(-1))
        await trio.sleep(1)
        for _ in range(queued):
            x.tell_nowait(X())
        start = trio.current_time()
        await runtime.root.stop_child("x")
        assert trio.current_time() - start == (min(stop_s, 5) if queued else 0)
        assert runtime.snapshot()[x.path].counts.dead_lettered == queued
        assert runtime.snapshot()[x.path].state is State.STOPPED


async def test_a_stop_ends_a_first_start_that_hangs(autojump_clock):
    refused: list[Exception] = []

    async def spawn() -> None:
        with pytest.raises(ChildStopped, match="stopped before it had started") as caught:
            await runtime.spawn("x", partial(Hanging, [], 0))
        refused.append(caught.value)

    async with open_runtime("app") as runtime, trio.open_nursery() as nursery:
        nursery.start_soon(spawn)
        await trio.sleep(1)
        with pytest.raises(AlreadyRunning, match="starting"):
            await runtime.spawn("x", Echo)
        await runtime.root.stop_child("x")
        await trio.lowlevel.checkpoint()
        assert trio.current_time() == 1
        await runtime.spawn("x", Echo)
    assert len(refused) == 1
