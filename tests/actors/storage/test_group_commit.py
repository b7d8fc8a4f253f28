"""Group commit: callers that wait for the disk wait together, and none loses or hangs."""

import threading
from random import Random

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors.storage import GroupCommit, in_place, in_worker_thread


class Disk:
    """Commits lists of jobs, each in a second of virtual time; some fail."""

    def __init__(self, fails=lambda _: False):
        self.commits = []
        self.fails = fails
        self.running = 0

    def commit(self, jobs):
        self.commits.append(list(jobs))
        if self.fails(jobs):
            raise OSError("the disk is gone")

    async def in_thread(self, function, /, *, abandon_on_cancel=False, limiter=None):
        assert not abandon_on_cancel
        await trio.lowlevel.checkpoint_if_cancelled()  # as `trio.to_thread.run_sync`
        async with limiter:
            self.running += 1
            assert self.running == 1
            with trio.CancelScope(shield=True):
                await trio.sleep(1)
            self.running -= 1
            return function()


def group_on(disk):
    return GroupCommit(disk.commit, disk.in_thread)


async def test_callers_that_come_during_a_commit_share_the_next_one(autojump_clock):
    disk = Disk()
    group = group_on(disk)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(group.do, "first")
        await trio.sleep(0.5)
        for number in range(100):
            nursery.start_soon(group.do, number)
    assert [len(jobs) for jobs in disk.commits] == [1, 100]
    assert trio.current_time() == 2


async def test_what_is_added_without_waiting_is_committed_before_what_follows(autojump_clock):
    disk = Disk()
    group = group_on(disk)
    group.add("a")
    group.add("b")
    assert (len(group), repr(group)) == (2, "<GroupCommit 2 jobs waiting>")
    await group.do("c")
    assert (disk.commits, len(group)) == ([["a", "b", "c"]], 0)
    await group.do()
    assert len(disk.commits) == 1


async def test_a_caller_that_is_cancelled_takes_nothing_back(autojump_clock):
    disk = Disk()
    group = group_on(disk)
    with trio.CancelScope() as cancelled:
        cancelled.cancel()
        await group.do("of a caller that was cancelled before")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(group.do, "first")
        await trio.sleep(0.5)
        with trio.move_on_after(0.1):
            await group.do("of one that is cancelled while it waits")
        nursery.start_soon(group.do, "last")
    assert disk.commits == [
        ["of a caller that was cancelled before", "first"],
        ["of one that is cancelled while it waits", "last"],
    ]


async def test_a_caller_that_is_cancelled_before_its_commit_begins_leaves_it_to_the_next():
    commits, begun = [], trio.Event()

    async def in_thread(function, /, **_):
        if not begun.is_set():
            begun.set()
            await trio.sleep_forever()
        return function()

    group = GroupCommit(commits.append, in_thread)
    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            nursery.start_soon(lambda: cancel_when(begun, scope))
            await group.do("a")
        await group.do("b")
    assert commits == [["a"], ["b"]]


async def cancel_when(event, scope):
    await event.wait()
    scope.cancel()


async def test_an_error_while_committing_reaches_each_caller_of_that_group_and_no_other(
    autojump_clock,
):
    disk = Disk(fails=lambda jobs: "bad" in jobs)
    group, errors = group_on(disk), []

    async def do(job):
        try:
            await group.do(job)
        except OSError:
            errors.append(job)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(do, "before")
        await trio.sleep(0.5)
        for job in ("bad", "beside it"):
            nursery.start_soon(do, job)
        await trio.sleep(1)
        nursery.start_soon(do, "after")
    assert sorted(errors) == ["bad", "beside it"]
    assert len(disk.commits) == 3


async def test_an_error_of_jobs_that_no_caller_waits_for_reaches_the_one_that_commits_them(
    autojump_clock,
):
    disk = Disk(fails=lambda jobs: "bad" in jobs)
    group = group_on(disk)
    group.add("bad")
    with pytest.raises(OSError, match="the disk is gone"):
        await group.do()
    await group.do("good")
    assert disk.commits == [["bad"], ["good"]]


async def test_now_means_now_unless_a_commit_is_running(autojump_clock):
    disk = Disk(fails=lambda jobs: "bad" in jobs)
    group = group_on(disk)
    assert group.do_now()
    group.add("a")
    assert group.do_now()
    group.add("bad")
    with pytest.raises(OSError, match="the disk is gone"):
        group.do_now()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(group.do, "b")
        await trio.sleep(0.5)
        group.add("c")
        assert not group.do_now()
    assert disk.commits == [["a"], ["bad"], ["b"], ["c"]]


async def test_other_work_runs_between_two_groups(autojump_clock):
    disk = Disk()
    group = group_on(disk)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(group.do, "a")
        await trio.sleep(0.5)
        nursery.start_soon(group.alone, lambda: disk.commits.append("alone"))
        await trio.sleep(0.1)
        nursery.start_soon(group.do, "b")
    assert disk.commits in ([["a"], ["b"], "alone"], [["a"], "alone", ["b"]])


@given(seed=st.integers(0, 2**32), failing=st.floats(0, 0.5))
def test_each_job_is_committed_once_in_order_whichever_caller_is_cancelled(seed, failing):
    random, outcome = Random(seed), {}

    async def caller(group, number):
        await trio.sleep(random.uniform(0, 6))
        with trio.move_on_after(random.choice([0, 0.5, 1.5, 100])) as scope:
            try:
                added.append(number)
                await group.do(number)
            except OSError:
                outcome[number] = "failed"
            else:
                outcome[number] = "committed"
        if scope.cancelled_caught:
            outcome[number] = "cancelled"

    async def main():
        group = group_on(disk)
        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(caller, group, number)
        await group.do()
        assert len(group) == 0

    added, failed = [], set()

    def fails(jobs):
        if random.random() < failing:
            failed.update(jobs)
            return True
        return False

    disk = Disk(fails)
    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert [job for jobs in disk.commits for job in jobs] == added
    for number, what in outcome.items():
        assert what in ("cancelled", "failed" if number in failed else "committed")


async def test_in_place_and_in_a_thread_the_result_is_the_same():
    assert await in_place(lambda: 7) == await in_worker_thread(lambda: 7) == 7
    with trio.testing.assert_checkpoints():
        await in_place(lambda: None)


# ------------------------------------------------------------------------------ worker threads


async def test_without_a_thread_to_start_the_work_is_done_in_place(monkeypatch):
    """Python 3.12 starts none at the exit of the interpreter."""

    async def run_sync(*_, **__):
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(trio.to_thread, "run_sync", run_sync)
    assert await in_worker_thread(threading.get_ident) == threading.get_ident()


async def test_work_that_fails_in_its_thread_is_not_done_again():
    calls = []

    def work():
        calls.append(threading.get_ident())
        raise RuntimeError("of the work itself")

    with pytest.raises(RuntimeError, match="of the work itself"):
        await in_worker_thread(work)
    assert len(calls) == 1
