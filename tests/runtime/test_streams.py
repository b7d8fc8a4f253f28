"""Streams: bounded replies with backpressure, and cancellation from both sides."""

import gc
from contextlib import suppress
from functools import partial

import attrs
import pytest
import trio
from sample_actors import Declared
from trio.testing import wait_all_tasks_blocked

from callsheet.runtime import (
    Actor,
    ActorCrashed,
    ActorStopped,
    AskFailed,
    AskTimedOut,
    Message,
    Ref,
    ReplySlot,
    StreamOf,
    StreamSink,
    UnhandledMessage,
    Verdict,
    defers,
    handles,
    open_runtime,
    streams,
)


@attrs.frozen
class Count(StreamOf[int]):
    """Numbers up to a limit, some seconds before each; then perhaps an error."""

    to: int
    every: float = 0.0
    error: Exception | None = None


@attrs.frozen
class Ping(Message[str]):
    pass


@attrs.frozen
class Other(StreamOf[int]):
    pass


class Counter(Actor):
    def __init__(self, journal: list[str]) -> None:
        self.journal = journal

    @streams(Count, raises=(Declared,))
    async def count(self, message: Count, sink: StreamSink[int]) -> None:
        try:
            for number in range(message.to):
                await trio.sleep(message.every)
                await sink.send(number)
                self.journal.append(f"sent {number}")
            if message.error is not None:
                raise message.error
            self.journal.append("done")
        except trio.Cancelled:
            self.journal.append(f"cancelled at {trio.current_time():g}")
            raise

    @handles(Ping)
    async def ping(self, message: Ping) -> str:
        return "pong"


class Relay(Actor):
    def __init__(self, to: Ref) -> None:
        self.to = to

    @defers(Count)
    async def count(self, message: Count, slot: ReplySlot[None]) -> None:
        await slot.forward(self.to, message)


class Quitter(Actor):
    """Cancels the slot it holds, which only the caller should do."""

    @defers(Count)
    async def count(self, message: Count, slot: ReplySlot[None]) -> None:
        assert slot.sink is not None
        await slot.sink.send(0)
        slot.cancel()


async def counting(runtime, journal=None, **place):
    return await runtime.spawn(
        "counter", partial(Counter, [] if journal is None else journal), **place
    )


async def taken(items):
    """Return all items, and the error that ended the stream, or None."""
    got: list[int] = []
    try:
        async for item in items:
            got.append(item)  # noqa: PERF401  # what came before the error counts
    except (AskFailed, Declared) as error:
        return got, error
    return got, None


# ---------------------------------------------------------------- the good way


@pytest.mark.parametrize("buffer", [0, 1, 3, 100])
async def test_all_items_come_in_order_and_then_it_ends(autojump_clock, buffer):
    async with open_runtime() as runtime:
        counter = await counting(runtime)
        async with counter.stream(Count(10), buffer=buffer) as items:
            assert await taken(items) == (list(range(10)), None)
            with pytest.raises(StopAsyncIteration):
                await anext(items)
        counts = runtime.snapshot()[counter.path].counts
        assert (counts.handled, counts.cancelled) == (1, 0)


async def test_an_empty_stream_ends_at_once(autojump_clock):
    async with open_runtime() as runtime:
        counter = await counting(runtime)
        async with counter.stream(Count(0)) as items:
            assert await taken(items) == ([], None)


@pytest.mark.parametrize("buffer", [0, 1, 5])
async def test_the_handler_waits_exactly_when_the_buffer_is_full(autojump_clock, buffer):
    journal: list[str] = []
    async with open_runtime() as runtime:
        counter = await counting(runtime, journal)
        async with counter.stream(Count(100), buffer=buffer) as items:
            await wait_all_tasks_blocked()
            assert len(journal) == buffer
            assert await anext(items) == 0
            await wait_all_tasks_blocked()
            assert len(journal) == buffer + 1


async def test_buffered_items_can_be_read_after_the_handler_has_ended(autojump_clock):
    async with open_runtime() as runtime:
        counter = await counting(runtime)
        async with counter.stream(Count(3), buffer=3) as items:
            assert await counter.ask(Ping()) == "pong", (
                "the handler is done before any item is read"
            )
            assert await taken(items) == ([0, 1, 2], None)


async def test_two_streams_run_at_once_in_an_actor_with_two_workers(autojump_clock):
    async with open_runtime() as runtime:
        counter = await counting(runtime, concurrency=2)
        start = trio.current_time()
        async with (
            counter.stream(Count(3, every=1), buffer=0) as first,
            counter.stream(Count(3, every=1), buffer=0) as second,
        ):
            for number in range(3):
                assert await anext(first) == number
                assert await anext(second) == number
        assert trio.current_time() - start == 3


# ---------------------------------------------------------------- the consumer leaves


async def test_leaving_the_block_early_cancels_the_handler_at_once(autojump_clock):
    journal: list[str] = []
    async with open_runtime() as runtime:
        counter = await counting(runtime, journal)
        async with counter.stream(Count(100, every=1), buffer=0) as items:
            async for item in items:
                if item == 2:
                    break
        assert await counter.ask(Ping()) == "pong"
        assert trio.current_time() == 3
        snapshot = runtime.snapshot()[counter.path]
        assert (snapshot.counts.cancelled, snapshot.incarnation) == (1, 1)
        assert snapshot.is_conserved
    assert journal[-1] == "cancelled at 3"


async def test_a_handler_that_waits_for_a_consumer_is_cancelled_when_it_leaves(autojump_clock):
    journal: list[str] = []
    async with open_runtime() as runtime:
        counter = await counting(runtime, journal)
        async with counter.stream(Count(100), buffer=1):
            await trio.sleep(4)
        assert await counter.ask(Ping()) == "pong"
        assert trio.current_time() == 4
    assert journal == ["sent 0", "cancelled at 4"]


async def test_a_consumer_that_is_cancelled_cancels_the_handler(autojump_clock):
    journal: list[str] = []
    async with open_runtime() as runtime:
        counter = await counting(runtime, journal)
        with trio.move_on_after(2.5) as scope:
            async with counter.stream(Count(100, every=1)) as items:
                await taken(items)
        assert scope.cancelled_caught
        assert await counter.ask(Ping()) == "pong"
        assert trio.current_time() == 2.5
    assert journal[-1] == "cancelled at 2.5"


async def test_an_error_in_the_block_is_raised_as_it_is_and_cancels_the_handler(autojump_clock):
    journal: list[str] = []
    async with open_runtime() as runtime:
        counter = await counting(runtime, journal)
        with pytest.raises(KeyError, match="mine"):
            async with counter.stream(Count(100, every=1)):
                raise KeyError("mine")
        assert await counter.ask(Ping()) == "pong"


async def test_a_stream_that_queues_is_skipped_when_its_consumer_leaves(autojump_clock):
    journal: list[str] = []
    async with open_runtime() as runtime:
        counter = await counting(runtime, journal)
        async with counter.stream(Count(2, every=5)) as first:
            async with counter.stream(Count(2)):
                await wait_all_tasks_blocked()
            await taken(first)
        assert await counter.ask(Ping()) == "pong"
    assert journal == ["sent 0", "sent 1", "done"]


# ---------------------------------------------------------------- the handler fails


async def test_a_declared_error_comes_after_the_items_before_it(autojump_clock):
    async with open_runtime() as runtime:
        counter = await counting(runtime)
        async with counter.stream(Count(3, error=Declared("no more"))) as items:
            got, error = await taken(items)
        assert got == [0, 1, 2]
        assert isinstance(error, Declared)
        assert runtime.snapshot()[counter.path].incarnation == 1


async def test_a_crash_comes_after_the_items_before_it_with_its_cause(autojump_clock):
    async with open_runtime() as runtime:
        counter = await counting(runtime)
        bug = KeyError("bug")
        async with counter.stream(Count(3, error=bug)) as items:
            got, error = await taken(items)
        assert got == [0, 1, 2]
        assert isinstance(error, ActorCrashed)
        assert error.__cause__ is bug
        assert error.verdict is Verdict.MAY_HAVE_RUN
        assert await counter.ask(Ping()) == "pong"


async def test_a_stream_that_is_redelivered_sends_its_first_items_again(autojump_clock):
    async with open_runtime() as runtime:
        counter = await counting(runtime, redeliver=1)
        async with counter.stream(Count(2, error=KeyError("bug"))) as items:
            got, error = await taken(items)
        assert got == [0, 1, 0, 1]
        assert isinstance(error, ActorCrashed), "it crashed the second time as well"


async def test_a_stream_cancelled_by_its_holder_does_not_look_complete(autojump_clock):
    async with open_runtime() as runtime:
        quitter = await runtime.spawn("quitter", Quitter)
        async with quitter.stream(Count(3)) as items:
            got, error = await taken(items)
        assert got == [0]
        assert isinstance(error, AskFailed)


async def test_a_deadline_in_the_middle_breaks_it_off_on_both_sides(autojump_clock):
    journal: list[str] = []
    async with open_runtime() as runtime:
        counter = await counting(runtime, journal)
        async with counter.stream(Count(100, every=1), timeout=2.5) as items:
            got, error = await taken(items)
        assert got == [0, 1]
        assert isinstance(error, AskTimedOut)
        assert error.verdict is Verdict.MAY_HAVE_RUN
        assert trio.current_time() == 2.5
        assert runtime.snapshot()[counter.path].counts.expired == 1
    assert journal[-1] == "cancelled at 2.5"


async def test_a_deadline_counts_the_wait_for_room(autojump_clock):
    async with open_runtime(drain_s=100) as runtime:
        counter = await counting(runtime, capacity=1)
        for _ in range(2):
            counter.tell_nowait(Count(1, every=20))
            await wait_all_tasks_blocked()
        async with counter.stream(Count(1), timeout=3) as items:
            got, error = await taken(items)
        assert (got, trio.current_time()) == ([], 3)
        assert isinstance(error, AskTimedOut)
        assert error.verdict is Verdict.NOT_STARTED


# ---------------------------------------------------------------- other ways to ask


async def test_a_stream_goes_through_hops_and_is_cancelled_through_them(autojump_clock):
    journal: list[str] = []
    async with open_runtime() as runtime:
        counter = ref = await counting(runtime, journal)
        for number in range(3):
            ref = await runtime.spawn(f"relay{number}", partial(Relay, ref))
        async with ref.stream(Count(4), buffer=0) as items:
            assert await taken(items) == ([0, 1, 2, 3], None)
        async with ref.stream(Count(100, every=1), buffer=0) as items:
            assert await anext(items) == 0
        assert await counter.ask(Ping()) == "pong"
        assert journal[-1] == "cancelled at 1"
        async with ref.stream(Count(1, error=KeyError("bug"))) as items:
            got, error = await taken(items)
        assert got == [0]
        assert isinstance(error, ActorCrashed)
        assert error.actor == counter.path


async def test_asking_a_stream_message_waits_for_its_end_and_discards_the_items(
    autojump_clock,
):
    journal: list[str] = []
    async with open_runtime() as runtime:
        counter = await counting(runtime, journal)
        assert await counter.ask(Count(40)) is None
        assert journal[-1] == "done"
        with pytest.raises(Declared):
            await counter.ask(Count(1, error=Declared("no")))


async def test_telling_a_stream_message_runs_the_handler(autojump_clock):
    journal: list[str] = []
    async with open_runtime() as runtime:
        counter = await counting(runtime, journal)
        await counter.tell(Count(40))
        await counter.ask(Ping())
        assert journal[-1] == "done"
        assert runtime.snapshot()[counter.path].is_conserved


# ---------------------------------------------------------------- the actor stops


async def test_a_stream_to_a_stopped_actor_fails_on_entry(autojump_clock):
    async with open_runtime() as runtime:
        counter = await counting(runtime)
        await runtime.stop(counter)
        with pytest.raises(ActorStopped) as caught:
            async with counter.stream(Count(1)):
                pytest.fail("there is nothing to iterate over")
        assert caught.value.verdict is Verdict.NOT_STARTED


async def test_a_stream_without_a_handler_fails_on_entry(autojump_clock):
    async with open_runtime() as runtime:
        counter = await counting(runtime)
        with pytest.raises(UnhandledMessage):
            async with counter.stream(Other()):
                pytest.fail("there is nothing to iterate over")


async def test_a_drain_lets_the_current_stream_finish(autojump_clock):
    async with open_runtime() as runtime:
        counter = await counting(runtime)
        async with counter.stream(Count(3, every=1), buffer=0) as items, trio.open_nursery() as n:
            assert await anext(items) == 0
            n.start_soon(runtime.stop, counter)
            await wait_all_tasks_blocked()
            assert await taken(items) == ([1, 2], None)


async def test_a_stop_with_too_few_seconds_breaks_it_off(autojump_clock):
    journal: list[str] = []
    async with open_runtime() as runtime:
        counter = await counting(runtime, journal, stop_s=1.5)
        async with counter.stream(Count(9, every=1)) as items, trio.open_nursery() as nursery:
            await wait_all_tasks_blocked()
            nursery.start_soon(runtime.stop, counter)
            got, error = await taken(items)
        assert got == [0]
        assert isinstance(error, ActorStopped)
        assert error.verdict is Verdict.MAY_HAVE_RUN
    assert journal[-1] == "cancelled at 1.5"


async def test_a_consumer_that_outlives_the_runtime_gets_an_error(autojump_clock):
    ends: list[object] = []

    async def outsider(ref):
        async with ref.stream(Count(100, every=1), buffer=0) as items:
            ends.append(await taken(items))

    async with trio.open_nursery() as nursery, open_runtime(drain_s=2.5) as runtime:
        counter = await counting(runtime)
        nursery.start_soon(outsider, counter)
        await wait_all_tasks_blocked()
    ((got, error),) = ends
    assert got == [0, 1]
    assert isinstance(error, ActorStopped)


class Breaking(Actor):
    @streams(Other, raises=(Declared,))
    async def other(self, _: Other, sink: StreamSink[int]) -> None:
        await sink.send(0)
        raise Declared("no more")


@pytest.mark.parametrize("message", [Count(3), Count(1), Other()], ids=["left", "whole", "failed"])
async def test_a_stream_leaves_no_reference_circle(message):
    """So what it was asked with, such as a long prompt, is freed without the collector."""
    async with open_runtime() as runtime:
        is_failing = isinstance(message, Other)
        ref = await (runtime.spawn("actor", Breaking) if is_failing else counting(runtime))

        async def consume() -> None:
            with suppress(Declared, StopAsyncIteration):
                async with ref.stream(message) as items:
                    for _ in range(2):
                        await anext(items)

        await consume()
        gc.collect()
        gc.disable()
        try:
            for _ in range(20):
                await consume()
                await wait_all_tasks_blocked()
            assert gc.collect() < 20, "less than one object for each stream"
        finally:
            gc.enable()
