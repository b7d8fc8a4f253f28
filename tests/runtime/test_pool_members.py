"""The members of a pool: restarts, resizing, drains and what they share (R2, R7, R9, R16)."""

from functools import partial

import pytest
import trio
from pool_hands import Crashes, Hand, Hold, Job, Later, Leave, ask_all, counts_of
from trio.testing import wait_all_tasks_blocked

from callsheet.runtime import (
    ActorCrashed,
    ReplySlot,
    RestartIntensityExceeded,
    RestartPolicy,
    State,
    format_tree,
    open_runtime,
)

# -------------------------------------------------------------------- size


async def test_a_pool_can_grow_and_shrink(autojump_clock):
    async with open_runtime(drain_s=100) as runtime:
        pool = await runtime.spawn_pool("pool", Hand, size=1)
        slots = [await pool.submit(Job(1)) for _ in range(12)]
        await trio.sleep(1.5)  # one is done, one in progress
        pool.resize(5)
        assert pool.size == runtime.snapshot()[pool.path].size == 5
        await trio.sleep(1.1)  # one before, one here, four by the new ones
        assert sum(slot.done for slot in slots) == 6
        assert len(runtime.snapshot()[pool.path].in_progress) == 5
        pool.resize(1)  # four end after their messages in progress
        await trio.sleep(1)
        assert len(runtime.snapshot()[pool.path].in_progress) == 1
        assert "1 member," in format_tree(runtime.snapshot())
        pool.resize(3)
        await trio.sleep(10)
        assert all(slot.done for slot in slots)
        assert counts_of(runtime, pool).handled == 12


@pytest.mark.parametrize("size", [0, -1, 1.5, True, "2"])
async def test_a_size_that_is_none_is_refused(size):
    async with open_runtime() as runtime:
        pool = await runtime.spawn_pool("pool", Hand, size=2)
        with pytest.raises(ValueError, match="size must be a whole number of at least 1"):
            pool.resize(size)
        assert pool.size == 2


async def test_a_member_that_is_removed_is_cancelled_after_stop_s(autojump_clock):
    async with open_runtime() as runtime:
        pool = await runtime.spawn_pool("pool", Hand, size=2, stop_s=3)
        slots = [await pool.submit(Job(100)) for _ in range(2)]
        await wait_all_tasks_blocked()
        pool.resize(1)
        await trio.sleep(4)
        assert [slot.done for slot in slots].count(True) == 1
        assert counts_of(runtime, pool).dead_lettered == 1
        next(slot for slot in slots if not slot.done).cancel()
        await trio.sleep(1)
        assert await pool.ask(Job(0)) == "worker-1"


async def test_a_new_member_that_cannot_start_is_restarted(autojump_clock):
    starts: list[float] = []

    class Late(Hand):
        async def started(self):
            starts.append(trio.current_time())
            if len(starts) in (2, 3):
                raise OSError("not yet")

    async with open_runtime() as runtime:
        pool = await runtime.spawn_pool("pool", Late, size=1)
        pool.resize(2)
        await trio.sleep(5)
        assert len(starts) == 4
        assert sorted(await ask_all(pool, [Job(1), Job(1)])) == ["worker-1", "worker-2"]


async def test_shrinking_while_a_member_starts(autojump_clock):
    class Slow(Hand):
        async def started(self):
            await trio.sleep(1)

    async with open_runtime() as runtime:
        pool = await runtime.spawn_pool("pool", Slow, size=1)
        pool.resize(3)
        await trio.sleep(0.5)
        pool.resize(1)
        await trio.sleep(2)
        assert await ask_all(pool, [Job(1), Job(1)]) == ["worker-1", "worker-1"]


# -------------------------------------------------------------------- what members share


async def test_a_timer_wakes_the_member_that_set_it(autojump_clock):
    async with open_runtime() as runtime:
        pool = await runtime.spawn_pool("pool", Hand, size=4)
        await ask_all(pool, [Job(1)] * 4)  # all have a task
        replies = await ask_all(pool, [Later(1 + number) for number in range(4)])
        assert len(replies) == 4
        assert all(isinstance(reply, str) for reply in replies)


async def test_each_member_may_run_several_handlers(autojump_clock):
    async with open_runtime() as runtime:
        pool = await runtime.spawn_pool("pool", Hand, size=2, concurrency=3)
        start = trio.current_time()
        await ask_all(pool, [Job(1)] * 12)
        assert trio.current_time() == start + 2


async def test_members_that_hold_too_many_messages_take_no_more(autojump_clock):
    held: list[ReplySlot[None]] = []
    async with open_runtime() as runtime:
        pool = await runtime.spawn_pool("pool", partial(Hand, None, held), size=2, max_deferred=1)
        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(pool.ask, Hold())
            await wait_all_tasks_blocked()
            assert len(held) == 2
            assert runtime.snapshot()[pool.path].deferred == 2
            held[0].reply(None)
            await wait_all_tasks_blocked()
            assert len(held) == 3
            held[1].reply(None)
            await wait_all_tasks_blocked()
            held[2].reply(None)
            held[3].reply(None)
        assert await pool.ask(Job(0)) in ("worker-1", "worker-2")


async def test_waiting_senders_are_served_by_idle_members(autojump_clock):
    async with open_runtime() as runtime:
        pool = await runtime.spawn_pool("pool", Hand, size=4, capacity=1)
        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(pool.ask, Job(1))
        assert trio.current_time() == 2


# -------------------------------------------------------------------- ends


async def test_beyond_its_intensity_a_pool_fails_upward(autojump_clock):
    crashes = Crashes()
    with pytest.raises(RestartIntensityExceeded, match="pool/worker-"):
        async with open_runtime(
            restarts=RestartPolicy(max_restarts=0), instruments=[crashes]
        ) as runtime:
            few = RestartPolicy(max_restarts=2)
            pool = await runtime.spawn_pool("pool", Hand, size=2, restarts=few)
            for _ in range(3):
                with pytest.raises(ActorCrashed):
                    await pool.ask(Job(-1))
                await trio.sleep(1)
            await trio.sleep(100)
    assert [decision for _, decision in crashes.decisions] == [
        "restart",
        "restart",
        "fail upward",
        "fail upward",
    ]


async def test_a_pool_that_has_failed_upward_is_restarted_with_its_mailbox(autojump_clock):
    async with open_runtime() as runtime:
        none = RestartPolicy(max_restarts=0)
        pool = await runtime.spawn_pool("pool", Hand, size=1, restarts=none)
        results = await ask_all(pool, [Job(-1), Job(1), Job(1)])
        assert isinstance(results[0], ActorCrashed)
        assert results[1:] == ["worker-1", "worker-1"]
        assert runtime.snapshot()[pool.path].incarnation == 2
        counts_of(runtime, pool)


@pytest.mark.parametrize(("restart", "left"), [("temporary", 0), ("transient", 2)])
async def test_how_a_member_is_restarted(autojump_clock, restart, left):
    async with open_runtime() as runtime:
        pool = await runtime.spawn_pool("pool", Hand, size=2, restart=restart)
        await ask_all(pool, [Job(-1), Job(-1)])
        await trio.sleep(5)
        assert len(runtime.snapshot().actors) == (1 if left else 0)
        assert sum(one.restarts for one in runtime.snapshot().actors) == left
        assert ("2 members, 2 restarts" in format_tree(runtime.snapshot())) == bool(left)
        if left:
            await ask_all(pool, [Leave(), Leave()])
            await trio.sleep(1)
            assert runtime.snapshot()[pool.path].state is State.STOPPED


@pytest.mark.parametrize("wait_s", [0, 0.5])
@pytest.mark.parametrize("size", [1, 2])
async def test_a_crash_while_draining_costs_one_message(autojump_clock, wait_s, size):
    """Trial 1: the pool goes on draining (R16)."""
    async with open_runtime() as runtime:
        pool = await runtime.spawn_pool("pool", Hand, size=size)
        for seconds in (0.01, 0.01, -0.01, 0.01, 0.01, 0.01, 0.01, 0.01):
            await pool.tell(Job(seconds))
        await trio.sleep(wait_s)
    (stop,) = runtime.shutdown_report.stops
    assert stop.lost == (1 if wait_s == 0 else 0)
    assert counts_of(runtime, pool).handled == 7


async def test_a_drain_of_members_that_cannot_start_is_prompt_and_never_escalates(autojump_clock):
    """Trial 2 for a pool: what is lost is reported (R16)."""
    starts: list[int] = []

    class Down(Hand):
        async def started(self):
            starts.append(1)
            if len(starts) > 2:
                raise OSError("down")

    crashes = Crashes()
    async with open_runtime(instruments=[crashes]) as runtime:
        pool = await runtime.spawn_pool(
            "pool", Down, size=2, restarts=RestartPolicy(max_restarts=100, base_s=10, cap_s=100)
        )
        await ask_all(pool, [Job(-1), Job(-1)])
        await trio.sleep(30)
        slot = await pool.submit(Job(1))
        start = trio.current_time()
        await runtime.stop(pool)
        assert trio.current_time() == start
        assert slot.done
        await trio.sleep(100)
    assert "fail upward" not in [decision for _, decision in crashes.decisions]


async def test_a_pool_is_stopped_and_restarted_as_a_child(autojump_clock):
    async with open_runtime() as runtime:
        pool = await runtime.spawn_pool("pool", Hand, size=3)
        await pool.ask(Job(1))
        await runtime.root.stop_child("pool")
        assert runtime.snapshot()[pool.path].state is State.STOPPED
        pool.resize(2)
        await runtime.root.restart_child("pool")
        assert await ask_all(pool, [Job(1)] * 2) == ["worker-1", "worker-2"]
        assert counts_of(runtime, pool).handled == 3


async def test_a_group_restart_keeps_the_pools_mailbox(autojump_clock):
    async with open_runtime(strategy="one_for_all") as runtime:
        other = await runtime.spawn("other", Hand)
        pool = await runtime.spawn_pool("pool", Hand, size=2)
        slots = [await pool.submit(Job(1)) for _ in range(6)]
        await trio.sleep(0.5)
        with pytest.raises(ActorCrashed):
            await other.ask(Job(-1e-9))
        await trio.sleep(10)
        assert [slot.value is not None for slot in slots] == [True] * 6
        assert runtime.snapshot()[pool.path].incarnation == 2
