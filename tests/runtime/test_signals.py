"""R11: SIGINT and SIGTERM drain, and a second one stops at once, if the app enables it."""

import signal
import sys

import pytest
import trio
from sample_actors import Work, Worker

from callsheet.runtime import open_runtime

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals are raised as on POSIX")
STOPPING = [signal.SIGINT, signal.SIGTERM]


async def arrived() -> None:
    """Wait until a raised signal is handled; Trio delivers it in a task of its own."""
    await trio.testing.wait_all_tasks_blocked()


@pytest.mark.parametrize("number", STOPPING)
async def test_the_first_one_cancels_the_block_and_drains(autojump_clock, number):
    journal: list[str] = []
    start = trio.current_time()
    async with open_runtime(stop_on_signals=True, drain_s=100) as runtime:
        worker = await runtime.spawn("worker", lambda: Worker(journal))
        for name in "ab":
            worker.tell_nowait(Work(name, 10))
        await arrived()
        signal.raise_signal(number)
        await trio.sleep_forever()
    assert trio.current_time() - start == 20
    assert journal == ["begin a", "end a", "begin b", "end b", "stopped"]
    assert runtime.shutdown_report.is_clean


@pytest.mark.parametrize("first", STOPPING)
@pytest.mark.parametrize("second", STOPPING)
async def test_the_second_one_stops_at_once(autojump_clock, first, second):
    journal: list[str] = []

    async def raise_again() -> None:
        await trio.sleep(5)
        signal.raise_signal(second)

    start = trio.current_time()
    async with (
        trio.open_nursery() as nursery,
        open_runtime(stop_on_signals=True, drain_s=100) as runtime,
    ):
        worker = await runtime.spawn("worker", lambda: Worker(journal))
        worker.tell_nowait(Work("a", 50))
        await arrived()
        nursery.start_soon(raise_again)
        signal.raise_signal(first)
        await trio.sleep_forever()
    assert trio.current_time() - start == 5
    assert journal == ["begin a", "stopped"]
    assert runtime.shutdown_report.stops[0].lost == 1


@pytest.mark.parametrize("seconds", [0, 0.29])
async def test_those_of_a_moment_are_one_which_a_parent_has_forwarded(autojump_clock, seconds):
    journal: list[str] = []
    start = trio.current_time()

    async def raise_again() -> None:
        await trio.sleep(seconds)
        signal.raise_signal(signal.SIGTERM)

    async with (
        trio.open_nursery() as nursery,
        open_runtime(stop_on_signals=True, drain_s=100) as runtime,
    ):
        worker = await runtime.spawn("worker", lambda: Worker(journal))
        worker.tell_nowait(Work("a", 50))
        await arrived()
        nursery.start_soon(raise_again)
        signal.raise_signal(signal.SIGINT)
        await trio.sleep_forever()
    assert trio.current_time() == start + 50
    assert journal == ["begin a", "end a", "stopped"]


async def test_a_third_one_does_no_harm(autojump_clock):
    class Sluggish(Worker):
        async def stopped(self) -> None:
            signal.raise_signal(signal.SIGTERM)
            await trio.sleep(1)
            self.journal.append("stopped")

    journal: list[str] = []
    async with open_runtime(stop_on_signals=True) as runtime:
        await runtime.spawn("worker", lambda: Sluggish(journal))
        for _ in range(2):
            signal.raise_signal(signal.SIGINT)
        await trio.sleep_forever()
    assert journal == ["stopped"]


async def test_signal_handlers_are_restored_and_not_changed_by_default(autojump_clock):
    numbers = [*STOPPING, signal.SIGUSR1]
    before = [signal.getsignal(number) for number in numbers]
    async with open_runtime():
        assert [signal.getsignal(number) for number in numbers] == before
    async with open_runtime(stop_on_signals=True):
        changed = [signal.getsignal(number) for number in numbers]
        assert [now is was for now, was in zip(changed, before, strict=True)] == [
            False,
            False,
            True,
        ]
    async with open_runtime(dump_on_signal=True):
        changed = [signal.getsignal(number) for number in numbers]
        assert [now is was for now, was in zip(changed, before, strict=True)] == [
            True,
            True,
            False,
        ]
    assert [signal.getsignal(number) for number in numbers] == before


async def test_sigusr1_prints_the_tree_each_time_and_changes_nothing(autojump_clock, capsys):
    async with open_runtime("app", dump_on_signal=True) as runtime:
        worker = await runtime.spawn("worker", lambda: Worker([]))
        worker.tell_nowait(Work("a", 50))
        await trio.sleep(3)
        signal.raise_signal(signal.SIGUSR1)
        await trio.sleep(4)
        signal.raise_signal(signal.SIGUSR1)
        await trio.sleep(1)
    printed = capsys.readouterr()
    assert printed.out == ""
    lines = printed.err.splitlines()
    assert lines == [
        "app  running, one_for_one, 5 restarts left",
        "└── worker  running, handling Work for 3.0 s",
        "app  running, one_for_one, 5 restarts left",
        "└── worker  running, handling Work for 7.0 s",
    ]


async def test_an_interrupt_is_a_keyboard_interrupt_by_default():
    program = """
import signal, trio
from callsheet.runtime import open_runtime

async def main():
    async with open_runtime():
        signal.raise_signal(signal.SIGINT)
        await trio.sleep_forever()

try:
    trio.run(main)
except KeyboardInterrupt:
    print("interrupted")
"""
    done = await trio.run_process([sys.executable, "-c", program], capture_stdout=True)
    assert done.stdout.decode().split() == ["interrupted"]
