"""R4, R5, R6: priorities, urgent messages, deadlines and statistics of a mailbox."""

from functools import partial

import pytest
import trio
from desk_actors import Desk, Job, UrgentJob, busy_desk, by_name
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from callsheet.runtime import AskFailed, AskTimedOut, Coalesce, open_runtime

# ---------------------------------------------------------------- priorities


async def test_smaller_priorities_are_handled_first_and_equal_ones_in_order(autojump_clock):
    done: list[str] = []
    async with open_runtime() as runtime:
        desk = await busy_desk(runtime, done, priority=lambda message: message.priority)
        for name, priority in [("low", 9), ("a", 1), ("b", 1), ("top", -5), ("c", 1)]:
            desk.tell_nowait(Job(name, priority=priority))
    assert done == ["in progress", "top", "a", "b", "c", "low"]


async def test_with_priorities_the_oldest_of_the_least_urgent_is_dropped(autojump_clock):
    done: list[str] = []
    async with open_runtime() as runtime:
        desk = await busy_desk(
            runtime,
            done,
            capacity=3,
            overflow="drop_oldest",
            priority=lambda message: message.priority,
        )
        for name, priority in [("low 1", 9), ("top", 1), ("low 2", 9), ("new", 5)]:
            desk.tell_nowait(Job(name, priority=priority))
    assert done == ["in progress", "top", "new", "low 2"]


async def test_submit_waits_for_room_no_longer_than_its_deadline(autojump_clock):
    """R4: the deadline counts the wait for room; the sender is let go when it has passed."""
    async with open_runtime() as runtime:
        desk = await busy_desk(runtime, [], capacity=1)
        desk.tell_nowait(Job("fills it"))
        slot = await desk.submit(Job("late"), deadline=trio.current_time() + 2.0)
        assert trio.current_time() == 2.0
        with pytest.raises(AskTimedOut):
            await slot.wait()
        assert runtime.snapshot()[desk.path].mailbox.senders_waiting == 0


# ---------------------------------------------------------------- urgent ones


async def test_an_urgent_message_bypasses_a_full_mailbox_and_is_handled_first(autojump_clock):
    done: list[str] = []
    async with open_runtime() as runtime:
        desk = await busy_desk(runtime, done, capacity=1)
        desk.tell_nowait(Job("queued"))
        desk.tell_nowait(UrgentJob("alert"))
        assert await desk.ask(UrgentJob("another")) == "another"
        assert trio.current_time() == 5
        snapshot = runtime.snapshot()[desk.path]
        assert snapshot.is_conserved
    assert done == ["in progress", "alert", "another", "queued"]


async def test_a_stop_does_not_queue_behind_anything(autojump_clock):
    """R6: a mailbox full of work does not delay the stop beyond its seconds."""
    async with open_runtime() as runtime:
        desk = await busy_desk(runtime, [], capacity=50, seconds=1000, stop_s=3)
        for number in range(50):
            desk.tell_nowait(Job(str(number), 1000))
        start = trio.current_time()
        await runtime.stop(desk)
        assert trio.current_time() - start == 3


# ---------------------------------------------------------------- seeing in


async def test_statistics_have_depth_capacity_peak_senders_and_age(autojump_clock):
    async with open_runtime() as runtime:
        desk = await busy_desk(runtime, [], capacity=2, seconds=5)
        assert runtime.snapshot()[desk.path].oldest_s is None
        desk.tell_nowait(Job("a", 10))
        await trio.sleep(3)
        desk.tell_nowait(Job("b"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(desk.tell, Job("c"))
            await wait_all_tasks_blocked()
            snapshot = runtime.snapshot()[desk.path]
            mailbox = snapshot.mailbox
            assert (mailbox.depth, mailbox.capacity, mailbox.peak) == (2, 2, 2)
            assert (mailbox.senders_waiting, mailbox.accepted) == (1, 3)
            assert snapshot.oldest_s == 3
        await trio.sleep(3)
        snapshot = runtime.snapshot()[desk.path]
        assert snapshot.mailbox.senders_waiting == 0
        assert snapshot.oldest_s == 5, "b came in at 3, and it is 8"


@settings(max_examples=settings.default.max_examples, deadline=None)
@given(
    overflow=st.sampled_from(["block", "reject", "drop_newest", "drop_oldest", Coalesce(by_name)]),
    ranked=st.booleans(),
    capacity=st.integers(1, 3),
    clients=st.lists(
        st.tuples(
            st.sampled_from("abc"),  # name, and so the key
            st.integers(0, 4),  # begins
            st.integers(0, 3),  # takes
            st.sampled_from([1, 2, 5, 100]),  # gives up
            st.sampled_from(["ask", "timeout", "tell"]),
        ),
        max_size=25,
    ),
)
def test_whatever_the_policy_every_ask_ends_and_the_sum_holds(overflow, ranked, capacity, clients):
    priority = (lambda message: message.priority) if ranked and isinstance(overflow, str) else None
    ended: list[str] = []

    async def client(desk, one):
        name, begins, takes, gives_up, how = one
        await trio.sleep(begins)
        job = Job(name, takes, takes)
        with trio.move_on_after(gives_up if how == "ask" else trio.current_time() + 1e6):
            try:
                if how == "tell":
                    await desk.tell(job)
                else:
                    await desk.ask(job, timeout=gives_up if how == "timeout" else 1e6)
            except AskFailed:
                pass
        ended.append(name)

    async def main():
        async with open_runtime(seed="0") as runtime:
            arguments = {"capacity": capacity, "overflow": overflow, "priority": priority}
            desk = await runtime.spawn("desk", partial(Desk, []), **arguments)
            async with trio.open_nursery() as nursery:
                for one in clients:
                    nursery.start_soon(client, desk, one)
                for _ in range(8):
                    await trio.sleep(0.7)
                    snapshot = runtime.snapshot()[desk.path]
                    assert snapshot.is_conserved, snapshot
                    assert snapshot.mailbox.depth <= capacity
            assert runtime.snapshot()[desk.path].incarnation == 1
        snapshot = desk._cell.snapshot(0.0)
        assert snapshot.is_conserved
        assert snapshot.pending == 0

    trio.run(main, clock=MockClock(autojump_threshold=0))
    assert len(ended) == len(clients)
