"""R7: a restart that overlaps with another start of the same child: it lives once, and lives on."""

from functools import partial

import trio
from troupe import Add, Counter, Fail

from callsheet.runtime import RestartPolicy
from callsheet.runtime.testing import open_test_runtime

PROMPT = RestartPolicy(max_restarts=100, base_s=0.0)


class Slow(Counter):
    """Takes a second to start; notes when it begins and when it ends."""

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


def most_at_a_time(journal: list[str]) -> int:
    alive = most = 0
    for entry in journal:
        alive += 1 if entry == "begin" else -1
        most = max(most, alive)
    return most


async def test_a_child_that_restarts_alone_and_in_a_group_at_once_lives_once(autojump_clock):
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


async def test_a_child_whose_first_start_meets_a_restart_of_its_group_lives(autojump_clock):
    journal: list[str] = []
    async with open_test_runtime(strategy="rest_for_one", restarts=PROMPT) as runtime:
        first = await runtime.spawn("first", Counter)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(runtime.spawn, "last", partial(Slow, journal))
            await trio.sleep(0.5)
            first.tell_nowait(Fail(ValueError("bug")))
        await trio.sleep(10)
        last = runtime.root._children.by_name["last"].node
        assert last.life is not None, f"it is {last.state}, but does not live"
    assert most_at_a_time(journal) == 1


async def test_two_orders_to_start_a_child_start_it_once(autojump_clock):
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
