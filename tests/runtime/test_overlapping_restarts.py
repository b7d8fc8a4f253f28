"""R7: a child runs once when its restart overlaps with another start of it."""

from functools import partial

import attrs
import pytest
import trio
from sample_actors import Add, Counter, Fail

from callsheet.runtime import Actor, Message, RestartPolicy, State, handles
from callsheet.runtime.testing import check_conservation, open_test_runtime, run_virtual

PROMPT = RestartPolicy(max_restarts=100, base_s=0.0)


class Slow(Counter):
    """Takes a second to start; records when it begins and when it ends."""

    def __init__(self, journal: list[str]) -> None:
        super().__init__()
        self.journal = journal

    async def started(self) -> None:
        self.journal.append("begin")
        try:
            await trio.sleep(1)
        except trio.Cancelled:
            self.journal.append("end")
            raise

    async def stopped(self) -> None:
        self.journal.append("end")


@attrs.frozen
class Nap(Message[None]):
    seconds: float


class Sleeper(Actor):
    """Sleeps on request; records when it starts and when it ends."""

    def __init__(self, journal: list[str]) -> None:
        self.journal = journal

    async def started(self) -> None:
        self.journal.append("begin")

    async def stopped(self) -> None:
        self.journal.append("end")

    @handles(Nap)
    async def nap(self, message: Nap) -> None:
        await trio.sleep(message.seconds)


def most_at_a_time(journal: list[str]) -> int:
    alive = most = 0
    for entry in journal:
        alive += 1 if entry == "begin" else -1
        most = max(most, alive)
    return most


async def test_a_child_that_restarts_alone_and_in_a_group_runs_once(autojump_clock):
    journal: list[str] = []
    async with open_test_runtime(strategy="rest_for_one", restarts=PROMPT) as runtime:
        first = await runtime.spawn("first", Counter)
        last = await runtime.spawn("last", partial(Slow, journal))
        last.tell_nowait(Fail(ValueError("bug")))
        await trio.sleep(0.5)  # it is being started again
        first.tell_nowait(Fail(ValueError("bug")))
        assert await last.ask(Add(1), timeout=30) == 1
        assert await first.ask(Add(1), timeout=30) == 1
    assert most_at_a_time(journal) == 1


async def test_a_child_whose_first_start_meets_a_restart_of_its_group_runs(autojump_clock):
    journal: list[str] = []
    async with open_test_runtime(strategy="rest_for_one", restarts=PROMPT) as runtime:
        first = await runtime.spawn("first", Counter)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(runtime.spawn, "last", partial(Slow, journal))
            await trio.sleep(0.5)
            first.tell_nowait(Fail(ValueError("bug")))
        await trio.sleep(10)
        last = runtime.root._node.children.by_name["last"].node
        assert last.current is not None, f"it is {last.state}, but has no incarnation"
    assert most_at_a_time(journal) == 1


class Hangs(Counter):
    """Hangs in its second start, until `go` is set."""

    def __init__(self, starts: list[float], go: trio.Event) -> None:
        super().__init__()
        self.starts, self.go = starts, go

    async def started(self) -> None:
        self.starts.append(trio.current_time())
        if len(self.starts) == 2:
            await self.go.wait()


@pytest.mark.parametrize("strategy", ["rest_for_one", "one_for_all"])
async def test_a_start_that_hangs_in_a_group_delays_no_answer_to_a_crash(autojump_clock, strategy):
    """R7, R17: the later restart stops the start, and starts the whole group."""
    starts: list[float] = []
    async with open_test_runtime(strategy=strategy, restarts=PROMPT) as runtime:
        first = await runtime.spawn("first", Counter)
        middle = await runtime.spawn("middle", partial(Hangs, starts, trio.Event()), stop_s=1)
        last = await runtime.spawn("last", Counter)
        middle.tell_nowait(Fail(ValueError("bug")))
        await trio.sleep(100)
        assert await first.ask(Add(1)) == 1
        first.tell_nowait(Fail(ValueError("bug")))
        assert await first.ask(Add(1), timeout=2) == 1
        assert await last.ask(Add(1), timeout=2) == 1
        assert await middle.ask(Add(1), timeout=2) == 1
    assert len(starts) == 3
    assert starts[2] - starts[1] == pytest.approx(101)


async def test_a_start_that_hangs_does_not_delay_a_child_that_starts_after_it(autojump_clock):
    """R7, R17: neither does the crash of such a child touch the start."""
    starts: list[float] = []
    go = trio.Event()
    async with open_test_runtime(strategy="rest_for_one", restarts=PROMPT) as runtime:
        first = await runtime.spawn("first", partial(Hangs, starts, go))
        last = await runtime.spawn("last", Counter)
        first.tell_nowait(Fail(ValueError("bug")))
        await trio.sleep(1)
        new = await runtime.spawn("new", Counter)
        new.tell_nowait(Fail(ValueError("bug")))
        assert await new.ask(Add(1), timeout=1) == 1
        go.set()
        assert await first.ask(Add(1), timeout=1) == 1
        assert await last.ask(Add(1), timeout=1) == 1
    assert len(starts) == 2


async def test_two_calls_to_restart_a_child_start_it_once(autojump_clock):
    journal: list[str] = []
    refused: list[Exception] = []
    async with open_test_runtime() as runtime:
        await runtime.spawn("slow", partial(Slow, journal))
        await runtime.root.stop_child("slow")

        async def restart():
            try:
                await runtime.root.restart_child("slow")
            except ValueError as error:
                refused.append(error)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(restart)
            nursery.start_soon(restart)
    assert most_at_a_time(journal) == 1
    assert len(refused) == 1


async def test_a_child_that_drains_while_its_group_waits_to_restart_is_not_started_twice(
    autojump_clock,
):
    journal: list[str] = []
    async with open_test_runtime(strategy="one_for_all", restarts=PROMPT) as runtime:
        first = await runtime.spawn("first", partial(Sleeper, journal))
        second = await runtime.spawn("second", partial(Sleeper, []))
        last = await runtime.spawn("last", Counter)
        first.tell_nowait(Nap(5.0))
        first.tell_nowait(Nap(1.0))
        second.tell_nowait(Nap(2.0))  # the group has to wait for it
        await trio.testing.wait_all_tasks_blocked()
        last.tell_nowait(Fail(ValueError("bug")))
        await trio.sleep(0.5)
        await runtime.root.stop_child("first")
        assert trio.current_time() == 6.0, "it handled its messages"
    assert journal == ["begin", "end"], "and had one incarnation"


@pytest.mark.parametrize("checkpoints", range(8))
@pytest.mark.parametrize("seed", range(4))
def test_a_child_that_is_spawned_when_its_group_restarts_runs_once(checkpoints, seed):
    journal: list[str] = []

    async def main():
        async with open_test_runtime(strategy="one_for_all", restarts=PROMPT) as runtime:
            first = await runtime.spawn("first", Counter)
            first.tell_nowait(Fail(ValueError("bug")))
            for _ in range(checkpoints):
                await trio.lowlevel.checkpoint()
            last = await runtime.spawn("last", partial(Slow, journal))
            assert await last.ask(Add(1), timeout=30) == 1

    run_virtual(main, seed=seed)
    assert most_at_a_time(journal) == 1


async def test_a_temporary_child_that_drains_outlives_the_restart_of_its_group(autojump_clock):
    async with open_test_runtime(strategy="one_for_all", restarts=PROMPT) as runtime:
        failing = await runtime.spawn("failing", Counter)
        draining = await runtime.spawn("draining", partial(Sleeper, []), restart="temporary")
        last = await runtime.spawn("last", partial(Sleeper, []))
        work = await draining.submit(Nap(5))
        last.tell_nowait(Nap(2))
        await trio.sleep(0.5)
        failing.tell_nowait(Fail(ValueError("bug")))
        await trio.sleep(0.5)  # its group is being stopped, the last one first
        with trio.move_on_after(0.5):  # the caller of the stop does not wait for that
            await runtime.root.stop_child("draining")
        assert await failing.ask(Add(1)) == 1
        snapshot = runtime.snapshot()
        check_conservation(snapshot)
        assert snapshot[draining.path].state is State.DRAINING
        await work.wait()
        await trio.testing.wait_all_tasks_blocked()
        await runtime.spawn("draining", partial(Sleeper, []))  # its name is free
