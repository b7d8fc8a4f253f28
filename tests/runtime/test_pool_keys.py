"""The keys of a pool: one message of each key at a time, in their order (R2, R9, R17)."""

from functools import partial

import pytest
import trio
from pool_hands import PATIENT, Hand, Hold, Job, Later, counts_of, key_of
from trio.testing import wait_all_tasks_blocked

from callsheet.runtime import (
    ActorCrashed,
    AskTimedOut,
    Coalesce,
    Dropped,
    MailboxFunctionFailed,
    handles,
    open_runtime,
)


async def test_messages_of_one_key_are_handled_one_at_a_time_in_their_order(autojump_clock):
    record: list[tuple[int, float, object]] = []
    async with open_runtime(drain_s=100) as runtime:
        pool = await runtime.spawn_pool("pool", partial(Hand, record), size=4, key=key_of)
        for number in range(12):
            await pool.tell(Job(1, "ab"[number % 2], number))
        await pool.tell(Job(1, None, 12))
        await trio.sleep(1.5)
        assert {one[0] for one in record} == {0, 1, 12}, "a key in hand is passed over"
        await trio.sleep(5)
        assert [one[0] for one in record if one[0] % 2 == 0 and one[0] < 12] == [0, 2, 4, 6, 8, 10]
        assert [one[0] for one in record if one[0] % 2 == 1] == [1, 3, 5, 7, 9, 11]
        assert counts_of(runtime, pool).handled == 13


async def test_a_redelivered_message_comes_before_later_ones_of_its_key(autojump_clock):
    record: list[tuple[int, float, object]] = []
    crashed: list[int] = []

    class Once(Hand):
        @handles(Job)
        async def job(self, message):
            if message.number == 0 and not crashed:
                crashed.append(1)
                raise KeyError("once")
            return await super().job(message)

    async with open_runtime() as runtime:
        pool = await runtime.spawn_pool(
            "pool", partial(Once, record), size=3, key=key_of, redeliver=1
        )
        for number in range(3):
            pool.tell_nowait(Job(1, "a", number))
        await trio.sleep(5)
        assert [one[:2] for one in record] == [(0, 0), (1, 1), (2, 2)], "another member took it"


@pytest.mark.parametrize("how", ["reply", "crash", "cancel", "expire", "skip", "defer"])
async def test_a_key_is_released_whenever_its_handler_ends(autojump_clock, how):
    async with open_runtime() as runtime:
        pool = await runtime.spawn_pool("pool", Hand, size=2, key=key_of, restarts=PATIENT)
        match how:
            case "crash":
                with pytest.raises(ActorCrashed):
                    await pool.ask(Job(-1, "a"))
            case "cancel":
                with trio.move_on_after(1):
                    await pool.ask(Job(9, "a"))
            case "expire":
                with pytest.raises(AskTimedOut):
                    await pool.ask(Job(9, "a"), timeout=1)
            case "skip":
                first = await pool.submit(Job(1, "a"))
                second = await pool.submit(Job(1, "a"))
                await trio.sleep(0.5)
                second.cancel()
                await first.wait()
            case "defer":
                with trio.move_on_after(1):
                    await pool.ask(Hold("a"))
            case _:
                await pool.ask(Job(1, "a"))
        start = trio.current_time()
        await pool.ask(Job(0, "a"))
        assert trio.current_time() == start
        counts_of(runtime, pool)


async def test_keys_go_together_with_priorities_but_not_with_coalesce(autojump_clock):
    record: list[tuple[int, float, object]] = []
    async with open_runtime(drain_s=100) as runtime:
        with pytest.raises(ValueError, match="key does not go together with overflow=Coalesce"):
            await runtime.spawn_pool("no", Hand, size=2, key=key_of, overflow=Coalesce(key_of))
        pool = await runtime.spawn_pool(
            "pool",
            partial(Hand, record),
            size=1,
            key=key_of,
            priority=lambda message: -message.number,
            capacity=3,
            overflow="drop_oldest",
        )
        await pool.tell(Job(1, "a", 0))
        await wait_all_tasks_blocked()
        for number, key in ((1, "a"), (5, "b"), (3, "a")):
            await pool.tell(Job(1, key, number))
        with pytest.raises(Dropped):
            await pool.ask(Job(1, "b", 0))
        await trio.sleep(10)
        assert [one[0] for one in record] == [0, 5, 3, 1]


async def test_a_key_that_fails_reaches_the_sender_alone(autojump_clock):
    def bad(message):
        return [] if message.number else "fine"

    async with open_runtime() as runtime:
        pool = await runtime.spawn_pool("pool", Hand, size=1, key=bad)
        with pytest.raises(MailboxFunctionFailed):
            await pool.ask(Job(number=1))
        assert await pool.ask(Job(0)) == "worker-1"


async def test_a_timer_fires_while_the_messages_that_wait_have_their_keys_in_hand(autojump_clock):
    async with open_runtime(drain_s=100) as runtime:
        pool = await runtime.spawn_pool("pool", Hand, size=2, key=key_of)
        pool.tell_nowait(Job(10, "a"))
        await wait_all_tasks_blocked()
        pool.tell_nowait(Job(1, "a"))
        for _ in range(3):
            start = trio.current_time()
            await pool.ask(Later(0.5))
            assert trio.current_time() == start + 0.5
