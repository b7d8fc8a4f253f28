"""R1, R7: how long a child may take to stop, and what happens to one that takes longer."""

from functools import partial
from math import inf

import pytest
import trio
from recording_actors import NO_PAUSE, Recorder
from sample_actors import Add, Counter, Fail, Work

from callsheet.runtime import handles, open_runtime


@pytest.mark.parametrize(("stop_s", "took", "ends"), [(0, 0, False), (2, 2, False), (inf, 9, True)])
@pytest.mark.parametrize("how", ["stop_child", "stop", "group"])
async def test_a_child_has_its_stop_time_and_is_cancelled_then(
    autojump_clock, stop_s, took, ends, how
):
    done: list[str] = []

    class Slow(Recorder):
        @handles(Work)
        async def work(self, message: Work) -> str:
            await trio.sleep(message.seconds)
            done.append(message.name)
            return message.name

    async with open_runtime(strategy="one_for_all", restarts=NO_PAUSE) as runtime:
        counter = await runtime.spawn("counter", Counter)
        slow = await runtime.spawn("slow", partial(Slow, "s", []), stop_s=stop_s)
        slow.tell_nowait(Work("a", 9))
        await trio.testing.wait_all_tasks_blocked()
        start = trio.current_time()
        if how == "stop_child":
            await runtime.root.stop_child("slow")
        elif how == "stop":
            await runtime.stop(slow)
        else:
            counter.tell_nowait(Fail(KeyError("bug")))
            await counter.ask(Add(1))
        if how == "group" and stop_s == inf:  # it may be waiting for the one that crashed
            took, ends = 5, False
        assert trio.current_time() - start == took
        assert done == (["a"] if ends else [])


async def test_a_supervisor_has_its_stop_time_for_all_below_it(autojump_clock):
    done: list[str] = []

    class Slow(Recorder):
        @handles(Work)
        async def work(self, message: Work) -> str:
            await trio.sleep(message.seconds)
            done.append(message.name)
            return message.name

    async with open_runtime() as runtime:
        branch = await runtime.supervise("branch", stop_s=5)
        for name in "abc":
            slow = await branch.spawn(name, partial(Slow, name, []))
            for part in range(9):
                slow.tell_nowait(Work(f"{name}{part}", 1))
        await trio.testing.wait_all_tasks_blocked()
        start = trio.current_time()
        await runtime.root.stop_child("branch")
        assert trio.current_time() - start == 5
        assert 12 <= len(done) <= 15, "it is cut as a whole"


async def test_an_ignored_stop_is_logged_and_waited_for(autojump_clock, log):
    class Stubborn(Recorder):
        @handles(Work)
        async def work(self, message: Work) -> str:
            with trio.CancelScope(shield=True):
                await trio.sleep(message.seconds)
            return message.name

    async with open_runtime() as runtime:
        stubborn = await runtime.spawn("stubborn", partial(Stubborn, "s", []), stop_s=2)
        stubborn.tell_nowait(Work("a", 60))
        await trio.testing.wait_all_tasks_blocked()
        start = trio.current_time()
        await runtime.root.stop_child("stubborn")
        assert trio.current_time() - start == 60
    complaints = [event for event in log if event["event"] == "stop_ignored"]
    assert [(one["actor"], one["log_level"]) for one in complaints] == [(stubborn.path, "error")]


async def test_a_slow_stop_is_not_logged(autojump_clock, log):
    class Sluggish(Recorder):
        async def stopped(self) -> None:
            await trio.sleep(3)

    async with open_runtime() as runtime:
        await runtime.spawn("sluggish", partial(Sluggish, "s", []), stop_s=0)
        await runtime.root.stop_child("sluggish")
    assert [event["event"] for event in log] == []
