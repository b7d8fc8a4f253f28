"""R1, R2, R7, R9, R11: crashes, restarts, failing upward, draining; nothing outlives the block."""

from functools import partial

import attrs
import pytest
import trio
from sample_actors import Add, Counter, Fail, Holder, Keep, Release, Work, Worker

from callsheet.runtime import (
    Actor,
    AlreadyRunning,
    Message,
    RestartIntensityExceeded,
    RestartPolicy,
    State,
    handles,
    open_runtime,
)


async def test_crashes_within_the_intensity_restart_and_one_more_is_raised(autojump_clock, log):
    with pytest.raises(RestartIntensityExceeded, match="callsheet/counter crashed") as caught:
        async with open_runtime(restarts=RestartPolicy(max_restarts=2, period_s=60)) as runtime:
            counter = await runtime.spawn("counter", Counter)
            for expected_left in (2, 1, 0):
                assert runtime.snapshot().restarts_left == expected_left
                counter.tell_nowait(Fail(KeyError("bug")))
                await trio.sleep(5)
            raise AssertionError("the third crash should have cancelled the block")
    assert isinstance(caught.value.__cause__, KeyError)
    crashes = [event for event in log if event["event"] == "actor_crashed"]
    assert [event["decision"] for event in crashes] == ["restart", "restart", "fail upward"]


async def test_crashes_far_apart_are_never_raised(autojump_clock):
    async with open_runtime(restarts=RestartPolicy(max_restarts=1, period_s=10)) as runtime:
        counter = await runtime.spawn("counter", Counter)
        for _ in range(5):
            counter.tell_nowait(Fail(KeyError("bug")))
            await trio.sleep(20)
        assert runtime.snapshot()["callsheet/counter"].incarnation == 6


async def test_an_actor_that_crashes_right_after_a_restart_is_restarted_again(autojump_clock):
    prompt = RestartPolicy(max_restarts=20, base_s=0.0)
    async with open_runtime("app", restarts=prompt) as runtime:
        counter = await runtime.spawn("counter", Counter)
        for _ in range(20):  # each incarnation finds the next one in its mailbox
            counter.tell_nowait(Fail(ValueError("bug")))
        assert await counter.ask(Add(1), timeout=60) == 1
        assert runtime.snapshot()["app/counter"].incarnation == 21


async def test_the_pause_before_a_restart_keeps_the_mailbox_open(autojump_clock):
    async with open_runtime(restarts=RestartPolicy(base_s=10, cap_s=10), seed="s") as runtime:
        counter = await runtime.spawn("counter", Counter)
        counter.tell_nowait(Fail(KeyError("bug")))
        await trio.testing.wait_all_tasks_blocked()
        assert runtime.snapshot()["callsheet/counter"].state is State.RESTARTING
        assert await counter.ask(Add(1)) == 1


async def test_one_actor_restarts_without_affecting_the_others(autojump_clock):
    async with open_runtime() as runtime:
        first = await runtime.spawn("first", Counter)
        second = await runtime.spawn("second", Counter)
        await second.ask(Add(7))
        first.tell_nowait(Fail(KeyError("bug")))
        await first.ask(Add(0))
        assert await second.ask(Add(0)) == 7


class Moody(Counter):
    """Fails to start a given number of times."""

    def __init__(self, start_errors: list[Exception | None]) -> None:
        super().__init__()
        self.start_errors = start_errors

    async def started(self) -> None:
        start_error = self.start_errors.pop(0)
        if start_error is not None:
            raise start_error


async def test_a_first_start_that_fails_is_raised_by_spawn_and_leaves_nothing(autojump_clock):
    async with open_runtime() as runtime:
        with pytest.raises(OSError, match="no port"):
            await runtime.spawn("moody", partial(Moody, [OSError("no port")]))
        assert runtime.snapshot().actors == ()
        moody = await runtime.spawn("moody", partial(Moody, [None]))
        assert await moody.ask(Add(1)) == 1


async def test_a_restart_that_fails_to_start_counts_and_is_tried_again(autojump_clock):
    async with open_runtime(restarts=RestartPolicy(max_restarts=3)) as runtime:
        start_errors: list[Exception | None] = [None, OSError("not yet"), None]
        moody = await runtime.spawn("moody", partial(Moody, start_errors))
        moody.tell_nowait(Fail(KeyError("bug")))
        assert await moody.ask(Add(1)) == 1
        assert runtime.snapshot().restarts_left == 1


async def test_a_name_is_taken_once_and_free_again_after_a_stop(autojump_clock):
    async with open_runtime() as runtime:
        first = await runtime.spawn("counter", Counter)
        with pytest.raises(AlreadyRunning, match="'counter'"):
            await runtime.spawn("counter", Counter)
        await runtime.stop(first)
        second = await runtime.spawn("counter", Counter)
        assert first != second


@pytest.mark.parametrize(
    ("settings", "field"),
    [({"capacity": 0}, "capacity"), ({"concurrency": 0}, "concurrency")],
)
async def test_invalid_settings_are_rejected_by_name(settings, field):
    async with open_runtime() as runtime:
        with pytest.raises(ValueError, match=field):
            await runtime.spawn("counter", Counter, **settings)
        with pytest.raises(ValueError, match="name"):
            await runtime.spawn("a/b", Counter)
    with pytest.raises(ValueError, match="period_s"):
        RestartPolicy(period_s=0)
    with pytest.raises(ValueError, match="max_restarts"):
        RestartPolicy(max_restarts=-1)


async def test_leaving_the_block_finishes_what_is_queued(autojump_clock):
    journal: list[str] = []
    async with open_runtime() as runtime:
        worker = await runtime.spawn("worker", partial(Worker, journal))
        worker.tell_nowait(Work("a"))
        worker.tell_nowait(Work("b"))
    assert journal == ["begin a", "end a", "begin b", "end b", "stopped"]


async def test_a_drain_that_takes_too_long_is_cut_off(autojump_clock):
    journal: list[str] = []
    start = trio.current_time()
    async with open_runtime(drain_s=3) as runtime:
        worker = await runtime.spawn("worker", partial(Worker, journal))
        worker.tell_nowait(Work("a", 60))
    assert trio.current_time() - start == 3
    assert journal == ["begin a", "stopped"]


async def test_an_error_in_the_block_cancels_the_actors_at_once_and_is_raised_as_it_is(
    autojump_clock,
):
    journal: list[str] = []
    start = trio.current_time()
    with pytest.raises(LookupError, match="mine"):
        async with open_runtime() as runtime:
            worker = await runtime.spawn("worker", partial(Worker, journal))
            worker.tell_nowait(Work("a", 60))
            await trio.sleep(1)
            raise LookupError("mine")
    assert trio.current_time() - start == 1
    assert journal == ["begin a", "stopped"]


async def test_cancelling_the_block_cancels_the_actors_and_leaves_nothing_running(autojump_clock):
    journal: list[str] = []
    tasks_before = trio.lowlevel.current_statistics().tasks_living
    with trio.move_on_after(1) as scope:
        async with open_runtime() as runtime:
            worker = await runtime.spawn("worker", partial(Worker, journal))
            await worker.ask(Work("a", 60))
    assert scope.cancelled_caught
    assert journal == ["begin a", "stopped"]
    assert trio.lowlevel.current_statistics().tasks_living == tasks_before


async def test_a_drain_runs_the_draining_hook_and_waits_for_deferred_replies(autojump_clock):
    class Flushing(Holder):
        async def draining(self) -> None:
            self.send_after(2, Release("flushed"))

    answers: list[str] = []

    async def caller(ref) -> None:
        answers.append(await ref.ask(Keep()))

    async with trio.open_nursery() as nursery, open_runtime() as runtime:
        holder = await runtime.spawn("holder", Flushing)
        nursery.start_soon(caller, holder)
        await trio.testing.wait_all_tasks_blocked()
        start = trio.current_time()
        await runtime.stop(holder)
        assert trio.current_time() - start == 2
    assert answers == ["flushed"]


@attrs.frozen
class Tick(Message[None]):
    number: int


class Clock(Actor):
    def __init__(self, ticks: list[tuple[int, float]]) -> None:
        self.ticks = ticks

    async def started(self) -> None:
        self.send_after(3, Tick(3))
        self.send_after(1, Tick(1))
        self.send_after(2, Tick(2)).cancel()

    @handles(Tick)
    async def tick(self, message: Tick) -> None:
        self.ticks.append((message.number, trio.current_time()))

    @handles(Fail)
    async def fail(self, message: Fail) -> int:
        raise message.error


async def test_timers_fire_in_time_order_and_a_cancelled_one_does_not(autojump_clock):
    ticks: list[tuple[int, float]] = []
    start = trio.current_time()
    async with open_runtime() as runtime:
        await runtime.spawn("clock", partial(Clock, ticks))
        await trio.sleep(10)
    assert ticks == [(1, start + 1), (3, start + 3)]


async def test_timers_vanish_with_their_incarnation(autojump_clock):
    ticks: list[tuple[int, float]] = []
    async with open_runtime(restarts=RestartPolicy(base_s=0)) as runtime:
        clock = await runtime.spawn("clock", partial(Clock, ticks))
        await trio.sleep(0.5)
        clock.tell_nowait(Fail(KeyError("bug")))
        await trio.sleep(10)
    assert [number for number, _ in ticks] == [1, 3], "those of the second incarnation only"


async def test_concurrency_runs_that_many_handlers_and_no_more(autojump_clock):
    async with open_runtime() as runtime:
        worker = await runtime.spawn("worker", partial(Worker, []), concurrency=3)
        start = trio.current_time()
        async with trio.open_nursery() as nursery:
            for number in range(7):
                nursery.start_soon(worker.ask, Work(str(number), 1))
            await trio.testing.wait_all_tasks_blocked()
            assert len(runtime.snapshot()[worker.path].in_progress) == 3
        assert trio.current_time() - start == 3


async def test_two_handlers_that_crash_at_once_are_both_reported(autojump_clock, log):
    class Pair(Worker):
        @handles(Fail)
        async def fail(self, message: Fail) -> int:
            await now.wait()
            raise message.error

    now = trio.Event()
    async with open_runtime() as runtime:
        pair = await runtime.spawn("pair", partial(Pair, []), concurrency=2)
        pair.tell_nowait(Fail(KeyError("one")))
        pair.tell_nowait(Fail(IndexError("two")))
        await trio.testing.wait_all_tasks_blocked()
        now.set()
        await trio.sleep(30)
        assert runtime.snapshot()[pair.path].counts.failed == 2
    (crash,) = [event for event in log if event["event"] == "actor_crashed"]
    assert {type(error) for error in crash["error"].exceptions} == {KeyError, IndexError}


async def test_the_snapshot_has_the_messages_in_progress_and_their_seconds(autojump_clock):
    async with open_runtime() as runtime:
        worker = await runtime.spawn("worker", partial(Worker, []))
        worker.tell_nowait(Work("a", 10))
        worker.tell_nowait(Work("b", 10))
        await trio.sleep(4)
        snapshot = runtime.snapshot()[worker.path]
        assert [
            (in_progress.message, in_progress.seconds) for in_progress in snapshot.in_progress
        ] == [("Work", 4)]
        assert snapshot.oldest_s == 4
        assert snapshot.mailbox.depth == 1


async def test_a_handler_that_never_waits_does_not_starve_other_tasks(autojump_clock):
    async with open_runtime() as runtime:
        counter = await runtime.spawn("counter", Counter, capacity=10_000)
        for _ in range(10_000):
            counter.tell_nowait(Add(1))
        before = runtime.snapshot()[counter.path].mailbox.depth
        await trio.lowlevel.checkpoint()
        await trio.lowlevel.checkpoint()
        assert before - 200 < runtime.snapshot()[counter.path].mailbox.depth
