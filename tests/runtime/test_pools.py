"""Pools: several actors of one kind behind one ref."""

from functools import partial

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from callsheet.runtime import (
    Actor,
    ActorCrashed,
    ActorStopped,
    AskTimedOut,
    Deadlock,
    Instrument,
    MailboxFull,
    Message,
    Ref,
    StreamOf,
    StreamSink,
    UnhandledMessage,
    handles,
    open_runtime,
    streams,
)


@attrs.frozen
class Job(Message[int]):
    """The reply is the number of the worker that handled it."""

    seconds: float = 1.0


@attrs.frozen
class Crash(Message[int]):
    pass


@attrs.frozen
class Ask(Message[int]):
    """The worker asks another actor to do a job."""

    ref: Ref


@attrs.frozen
class Count(StreamOf[int]):
    to: int


@attrs.frozen
class Unknown(Message[None]):
    pass


class Hand(Actor):
    def __init__(self, made: list["Hand"], cancelled: list[float]) -> None:
        made.append(self)
        self.number = len(made)
        self.cancelled = cancelled

    @handles(Job)
    async def job(self, message: Job) -> int:
        try:
            await trio.sleep(message.seconds)
        except trio.Cancelled:
            self.cancelled.append(trio.current_time())
            raise
        return self.number

    @handles(Crash)
    async def crash(self, message: Crash) -> int:
        raise KeyError("bug")

    @handles(Ask, raises=(Deadlock,))
    async def ask_on(self, message: Ask) -> int:
        return await message.ref.ask(Job())

    @streams(Count)
    async def count(self, message: Count, sink: StreamSink[int]) -> None:
        for number in range(message.to):
            await sink.send(number)


class Crashes(Instrument):
    def __init__(self):
        self.paths: list[str] = []

    def actor_crashed(self, event):
        self.paths.append(event.actor)


async def a_pool(runtime, size, *, made=None, cancelled=None, **settings):
    factory = partial(Hand, [] if made is None else made, [] if cancelled is None else cancelled)
    return await runtime.spawn_pool("pool", factory, size=size, **settings)


async def test_a_pool_works_on_as_many_messages_at_a_time_as_it_has_workers(autojump_clock):
    async with open_runtime() as runtime:
        pool = await a_pool(runtime, 4)
        done: list[int] = []

        async def client():
            done.append(await pool.ask(Job(1)))

        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(client)
        assert trio.current_time() == 2
        assert sorted(done) == [1, 1, 2, 2, 3, 3, 4, 4]


async def test_an_idle_member_takes_the_next_message(autojump_clock):
    """Trial 3: no message waits for a busy member while another one is idle."""
    async with open_runtime(drain_s=100) as runtime:
        pool = await a_pool(runtime, 4)
        slots = [await pool.submit(Job(seconds)) for seconds in (100, *[1] * 40)]
        await trio.sleep(15)
        assert [slot.done for slot in slots] == [False] + [True] * 40
        assert runtime.snapshot()[pool.path].counts.handled == 40


async def test_a_busy_member_gets_no_message(autojump_clock):
    async with open_runtime() as runtime:
        pool = await a_pool(runtime, 2)
        pool.tell_nowait(Job(9))
        await wait_all_tasks_blocked()
        assert [await pool.ask(Job(1)) for _ in range(3)] == [2, 2, 2]


async def test_a_crash_of_one_worker_costs_its_message_and_no_other(autojump_clock):
    crashes = Crashes()
    async with open_runtime(instruments=[crashes]) as runtime:
        pool = await a_pool(runtime, 3)
        results: list[object] = []

        async def client(message):
            try:
                results.append(await pool.ask(message))
            except ActorCrashed as error:
                results.append(error)

        async with trio.open_nursery() as nursery:
            for message in (Job(5), Job(5), Crash(), *[Job(1)] * 4):
                nursery.start_soon(client, message)
        assert sum(isinstance(result, ActorCrashed) for result in results) == 1
        assert len(results) == 7
        await trio.sleep(1)  # its pause before the restart
        assert [actor.path for actor in runtime.snapshot().actors] == [pool.path]
        snapshot = runtime.snapshot()[pool.path]
        assert snapshot.incarnation == 1
        assert (snapshot.counts.handled, snapshot.counts.failed) == (6, 1)
        (path,) = crashes.paths
        assert path.startswith("callsheet/pool/worker-")


async def test_a_restarting_worker_gets_no_message_while_others_are_free(
    autojump_clock,
):
    async with open_runtime(seed="4") as runtime:
        pool = await a_pool(runtime, 3)
        for _ in range(3):
            with pytest.raises(ActorCrashed):
                await pool.ask(Crash())
            start = trio.current_time()
            for _ in range(4):
                await pool.ask(Job(0))
            assert trio.current_time() == start, "no back-off is waited for"
            await trio.sleep(5)


async def test_a_pool_is_bounded(autojump_clock):
    """Two in progress, three in the mailbox."""
    async with open_runtime(drain_s=100) as runtime:
        pool = await a_pool(runtime, 2, capacity=3)
        taken = 0
        with pytest.raises(MailboxFull):
            for _ in range(100):
                pool.tell_nowait(Job(5))
                taken += 1
                await wait_all_tasks_blocked()
        assert taken == 5
        for actor in runtime.snapshot().actors:
            assert actor.is_conserved


async def test_a_pool_may_reject_or_drop(autojump_clock):
    async with open_runtime(drain_s=100) as runtime:
        pool = await a_pool(runtime, 1, capacity=1, overflow="reject")
        for _ in range(2):
            pool.tell_nowait(Job(5))
            await wait_all_tasks_blocked()
        with pytest.raises(MailboxFull):
            await pool.ask(Job())


async def test_deadlines_and_cancellation_reach_the_worker(autojump_clock):
    cancelled: list[float] = []
    async with open_runtime() as runtime:
        pool = await a_pool(runtime, 2, cancelled=cancelled)
        with pytest.raises(AskTimedOut):
            await pool.ask(Job(60), timeout=2)
        with trio.move_on_after(3):
            await pool.ask(Job(60))
        assert await pool.ask(Job(0)) in (1, 2)
        assert cancelled == [2, 5]


async def test_streams_go_through_a_pool(autojump_clock):
    async with open_runtime() as runtime:
        pool = await a_pool(runtime, 2)
        async with pool.stream(Count(5), buffer=1) as items:
            assert [item async for item in items] == [0, 1, 2, 3, 4]


async def test_a_message_that_the_workers_do_not_handle_fails_at_the_sender(autojump_clock):
    async with open_runtime() as runtime:
        pool = await a_pool(runtime, 2)
        with pytest.raises(UnhandledMessage, match="it handles Ask, Count, Crash, Job"):
            await pool.ask(Unknown())
        with pytest.raises(UnhandledMessage):
            pool.tell_nowait(Unknown())
        assert await pool.ask(Job()) in (1, 2)
        assert runtime.snapshot()[pool.path].incarnation == 1


async def test_stopping_the_ref_drains_and_stops_the_whole_pool(autojump_clock):
    made: list[Hand] = []
    async with open_runtime() as runtime:
        pool = await a_pool(runtime, 2, made=made)
        slots = [await pool.submit(Job(1)) for _ in range(5)]
        await runtime.stop(pool)
        assert [slot.value is not None for slot in slots] == [True] * 5
        assert runtime.snapshot().actors == ()
        with pytest.raises(ActorStopped):
            await pool.ask(Job())
        await runtime.stop(pool)
        again = await a_pool(runtime, 1, made=made)
        assert await again.ask(Job()) == 3, "its name is free"


async def test_a_pool_that_cannot_start_leaves_nothing_behind(autojump_clock):
    async with open_runtime() as runtime:
        starts: list[int] = []

        def factory():
            starts.append(1)
            if len(starts) == 2:
                raise OSError("no more")
            return Hand([], [])

        with pytest.raises(OSError, match="no more"):
            await runtime.spawn_pool("pool", factory, size=3)
        assert runtime.snapshot().actors == ()
        with pytest.raises(ValueError, match="capacity"):
            await a_pool(runtime, 2, capacity=0)
        assert await (await a_pool(runtime, 1)).ask(Job()) == 1


@pytest.mark.parametrize("size", [0, -1, True, 1.0])
async def test_a_pool_without_workers_is_rejected(size):
    async with open_runtime() as runtime:
        with pytest.raises(ValueError, match="size"):
            await a_pool(runtime, size)


async def test_a_worker_that_asks_its_own_pool_of_one_gets_a_deadlock(autojump_clock):
    async with open_runtime() as runtime:
        pool = await a_pool(runtime, 1)
        with trio.fail_after(100), pytest.raises(Deadlock):
            await pool.ask(Ask(pool))
        pool = await runtime.spawn_pool("two", partial(Hand, [], []), size=2)
        assert await pool.ask(Ask(pool)) in (1, 2)


@pytest.mark.parametrize("checkpoints", range(12))
async def test_a_message_that_arrives_while_an_idle_pool_ends_waits(autojump_clock, checkpoints):
    async with open_runtime(strategy="one_for_all") as runtime:
        other = await runtime.spawn("other", partial(Hand, [], []))
        pool = await a_pool(runtime, 2)
        other.tell_nowait(Crash())
        for _ in range(checkpoints):
            await trio.lowlevel.checkpoint()
        assert await pool.ask(Job()) > 0
