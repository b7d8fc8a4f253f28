"""R3, R17: waits and failures that hide behind a stream, a key, a time limit or a stored error."""

import inspect
from functools import partial

import attrs
import pytest
import trio

from callsheet.runtime import (
    Actor,
    ActorCrashed,
    ActorStopped,
    AskTimedOut,
    Deadlock,
    MailboxFunctionFailed,
    Message,
    RestartPolicy,
    StreamOf,
    defers,
    handles,
    streams,
)
from callsheet.runtime.testing import open_test_runtime

NO_PAUSE = RestartPolicy(base_s=0)


@attrs.frozen
class Work(Message[object]):
    seconds: float = 0
    key: object = None


@attrs.frozen
class Numbers(StreamOf[int]):
    pass


class Worker(Actor):
    @handles(Work)
    async def work(self, message: Work) -> object:
        await trio.sleep(message.seconds)
        return "done"


# ---------------------------------------------------------------- streams


class Source(Worker):
    @streams(Numbers)
    async def numbers(self, message: Numbers, sink) -> None:
        for number in range(100):
            await sink.send(number)


class Consumer(Actor):
    """Asks its source while that waits for it; or lets another task take the rest first."""

    def __init__(self, source, *, shares: bool = False) -> None:
        self.source = source
        self.shares = shares

    @handles(Work)
    async def work(self, message: Work) -> object:
        async with self.source.stream(Numbers(), buffer=1) as items:
            async for _ in items:
                await trio.sleep(message.seconds)
                break
            async with trio.open_nursery() as nursery:
                if self.shares:
                    nursery.start_soon(self.take_later, items)
                return await self.source.ask(Work())

    @staticmethod
    async def take_later(items) -> None:
        await trio.sleep(1)
        async for _ in items:
            pass


@pytest.mark.parametrize("seconds", [0, 1])
async def test_a_consumer_that_asks_its_source_is_a_deadlock(autojump_clock, seconds):
    """Whether the source waits for room before the ask or after it."""
    async with open_test_runtime(restarts=NO_PAUSE) as runtime:
        source = await runtime.spawn("source", Source)
        consumer = await runtime.spawn("consumer", partial(Consumer, source))
        with trio.fail_after(100):
            try:
                await consumer.ask(Work(seconds))
            except ActorCrashed:
                crashed = "consumer"
            else:
                crashed = "source"  # it began to wait last; its next incarnation replies
        assert crashed == "consumer" or seconds == 0
        assert runtime.snapshot()[f"test/{crashed}"].counts.crashed == 1


async def test_a_source_whose_items_another_task_takes_is_no_deadlock(autojump_clock):
    async with open_test_runtime() as runtime:
        source = await runtime.spawn("source", Source)
        consumer = await runtime.spawn("consumer", partial(Consumer, source, shares=True))
        assert await consumer.ask(Work()) == "done"


# ---------------------------------------------------------------- keys


class Asker(Actor):
    """Asks the pool, with the same or another key."""

    pool = None

    @handles(Work, raises=(Deadlock,))
    async def work(self, message: Work) -> object:
        await trio.sleep(1)
        if message.seconds == 0:
            return "done"
        return await Asker.pool.ask(Work(message.seconds - 1, message.key))


@pytest.mark.parametrize("key", ["a", None])
async def test_a_member_that_asks_for_the_key_that_it_has_in_hand_is_a_deadlock(
    autojump_clock, key
):
    async with open_test_runtime() as runtime:
        Asker.pool = await runtime.spawn_pool("pool", Asker, size=3, key=lambda one: one.key)
        with trio.fail_after(100):
            if key is None:
                assert await Asker.pool.ask(Work(1, key)) == "done"
            else:
                with pytest.raises(Deadlock):
                    await Asker.pool.ask(Work(1, key))


class Incomparable:
    def __hash__(self) -> int:
        return 1

    def __eq__(self, other: object) -> bool:
        raise ZeroDivisionError("cannot be compared")


async def test_a_key_that_cannot_be_compared_fails_its_own_sender_only(autojump_clock):
    async with open_test_runtime() as runtime:
        pool = await runtime.spawn_pool("pool", Worker, size=1, capacity=2, key=lambda one: one.key)
        await pool.tell(Work(1, Incomparable()))
        for _ in range(4):
            with pytest.raises(MailboxFunctionFailed):
                await pool.tell(Work(1, Incomparable()))
        assert await pool.ask(Work(1, "other"), timeout=10) == "done"
        assert runtime.snapshot()[pool.path].pending == 0


# ---------------------------------------------------------------- limits


class First(Actor):
    second = None

    @handles(Work)
    async def work(self, message: Work) -> object:
        if message.key == "leaf":
            return "leaf"
        try:
            return await First.second.ask(Work(), timeout=3)
        except AskTimedOut:
            return f"timed out at {trio.current_time():g}"


class Second(Actor):
    first = None

    @handles(Work, raises=(AskTimedOut,))
    async def work(self, message: Work) -> object:
        return await Second.first.ask(Work(key="leaf"))


@pytest.mark.parametrize("timeout", [10.0, 1.0])
async def test_a_wait_that_its_handler_has_limited_is_no_deadlock(autojump_clock, timeout):
    """Whatever limit the first caller has set besides."""
    async with open_test_runtime() as runtime:
        first = Second.first = await runtime.spawn("first", First)
        First.second = await runtime.spawn("second", Second)
        if timeout < 3:
            with pytest.raises(AskTimedOut):
                await first.ask(Work(), timeout=timeout)
        else:
            assert await first.ask(Work(), timeout=timeout) == "timed out at 3"


class Polling(Actor):
    async def started(self) -> None:
        self.send_every(1, Work(1.2))

    @handles(Work)
    async def poll(self, message: Work) -> None:
        await trio.sleep(message.seconds)


async def test_a_timer_faster_than_its_handler_does_not_delay_a_stop(autojump_clock):
    """R16."""
    async with open_test_runtime() as runtime:
        polling = await runtime.spawn("polling", Polling)
        await trio.sleep(5)
        begun = trio.current_time()
        await runtime.stop(polling)
        assert trio.current_time() - begun <= 1.2


# ---------------------------------------------------------------- failures


class OneFlight(Worker):
    """Keeps the failure of the first call for the later ones, a cancellation included."""

    failure: BaseException | None = None

    @handles(Work)
    async def work(self, message: Work) -> object:
        if self.failure is not None:
            raise self.failure
        try:
            await trio.sleep(message.seconds)
        except BaseException as error:
            self.failure = error
            raise


@pytest.mark.parametrize("concurrency", [1, 2])
async def test_a_stored_cancellation_crashes_the_actor_that_raises_it(autojump_clock, concurrency):
    async with open_test_runtime(restarts=NO_PAUSE) as runtime:
        one_flight = await runtime.spawn("one-flight", OneFlight, concurrency=concurrency)
        other = await runtime.spawn("other", Worker)
        with pytest.raises(AskTimedOut):
            await one_flight.ask(Work(5), timeout=1)
        with pytest.raises(ActorCrashed, match="caught elsewhere before"):
            await one_flight.ask(Work(5))
        assert await other.ask(Work()) == "done"


@pytest.mark.parametrize("asks", [True, False])
async def test_a_forward_that_fails_harms_no_relay(autojump_clock, asks):
    """Asked, the slot fails; told, the error is logged."""

    class Relay(Actor):
        def __init__(self, to) -> None:
            self.to = to

        @defers(Work)
        async def relay(self, message: Work, slot) -> None:
            await slot.forward(self.to, message)

    async with open_test_runtime() as runtime:
        gone = await runtime.spawn("gone", Worker)
        relay = await runtime.spawn("relay", partial(Relay, gone))
        await runtime.stop(gone)
        if asks:
            with pytest.raises(ActorStopped):
                await relay.ask(Work())
        else:
            await relay.tell(Work())
            await trio.sleep(1)
        assert runtime.snapshot()[relay.path].counts.handled == 1


async def test_the_report_has_what_was_not_answered_and_what_crashed_as_lost(autojump_clock):
    """R11, R16."""

    class Holder(Actor):
        @defers(Work)
        async def hold(self, message: Work, slot) -> None:
            """Never reply."""

    class Fragile(Actor):
        @handles(Work)
        async def fail(self, message: Work) -> None:
            await trio.sleep(1)
            raise KeyError("bug")

    async with open_test_runtime(drain_s=5, restarts=NO_PAUSE) as runtime:
        holder = await runtime.spawn("holder", Holder)
        await holder.submit(Work())
        fragile = await runtime.spawn("fragile", Fragile)
        await fragile.tell(Work())
    report = runtime.shutdown_report
    assert not report.is_clean
    assert {stop.path: (stop.drained, stop.lost) for stop in report.stops} == {
        "test/fragile": (0, 1),
        "test/holder": (0, 1),
    }


async def test_a_thread_with_a_trio_run_of_its_own_may_not_change_the_tree(autojump_clock):
    """Point 6: it says so, and does nothing."""

    def in_thread() -> list[str]:
        refused: list[str] = []

        async def call() -> None:
            calls = {
                "spawn": lambda: runtime.spawn("other", Worker),
                "spawn_pool": lambda: runtime.spawn_pool("other", Worker, size=1),
                "supervise": lambda: runtime.supervise("other"),
                "stop_child": lambda: runtime.root.stop_child("worker"),
                "restart_child": lambda: runtime.root.restart_child("worker"),
                "snapshot": runtime.snapshot,
                "portal": runtime.portal,
                "ref": lambda: runtime.ref("test/worker"),
            }
            for name, make in calls.items():
                try:
                    result = make()
                    if inspect.isawaitable(result):
                        await result
                except RuntimeError:
                    refused.append(name)

        trio.run(call)
        return refused

    async with open_test_runtime() as runtime:
        await runtime.spawn("worker", Worker)
        refused = await trio.to_thread.run_sync(in_thread)
        assert len(refused) == 8
        assert [actor.path for actor in runtime.snapshot().actors] == ["test/worker"]


async def test_an_actor_that_waits_for_its_own_end_is_a_deadlock(autojump_clock):
    class Patient(Actor):
        @handles(Work, raises=(Deadlock,))
        async def work(self, message: Work) -> object:
            return await self.ref.wait_stopped()

    async with open_test_runtime() as runtime:
        patient = await runtime.spawn("patient", Patient)
        with pytest.raises(Deadlock):
            await patient.ask(Work())


async def test_a_factory_must_make_a_new_actor_at_each_call(autojump_clock):
    worker = Worker()
    async with open_test_runtime() as runtime:
        await runtime.spawn("one", lambda: worker)
        with pytest.raises(TypeError, match="test/two must make a new actor"):
            await runtime.spawn("two", lambda: worker)
        with pytest.raises(TypeError, match="test/none must return an actor, not None"):
            await runtime.spawn("none", lambda: None)


async def test_what_needs_a_running_actor_says_so_in_its_init(autojump_clock):
    class Early(Actor):
        def __init__(self) -> None:
            self.me = self.ref

    async with open_test_runtime() as runtime:
        with pytest.raises(RuntimeError, match="do it in `started`"):
            await runtime.spawn("early", Early)
