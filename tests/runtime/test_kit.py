"""R9, R13: the test kit: repeatable orders, probes, faults, and the check of the counts."""

from functools import partial

import attrs
import pytest
import trio
from sample_actors import Add, Counter, Declared, Fail, Holder, Keep, Pass, Relay, Work, Worker

from callsheet.runtime import (
    Actor,
    ActorCrashed,
    AskTimedOut,
    Message,
    RestartPolicy,
    StreamOf,
    StreamSink,
    Verdict,
    handles,
    streams,
)
from callsheet.runtime.testing import (
    Faulty,
    InjectedFault,
    Probe,
    check_conservation,
    open_test_runtime,
    run_virtual,
)

PROMPT = RestartPolicy(max_restarts=1000, base_s=0.0)


@attrs.frozen
class Count(StreamOf[int]):
    to: int


class Abacus(Actor):
    @streams(Count)
    async def count(self, message: Count, items: StreamSink[int]) -> None:
        for number in range(message.to):
            await items.send(number)


@pytest.fixture
async def runtime():
    async with open_test_runtime(restarts=PROMPT) as runtime:
        yield runtime


# ---------------------------------------------------------------- virtual runs


async def shuffle():
    """Return the order in which ten tasks run."""
    order: list[int] = []

    async def run(number):
        for _ in range(3):
            await trio.lowlevel.checkpoint()
            order.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(10):
            nursery.start_soon(run, number)
    return tuple(order)


def test_a_seed_repeats_an_order_and_another_one_changes_it():
    assert run_virtual(shuffle, seed=1) == run_virtual(shuffle, seed=1)
    assert len({run_virtual(shuffle, seed=seed) for seed in range(20)}) > 10


def test_a_virtual_run_takes_no_time_and_passes_arguments_and_errors_on():
    async def day(hours):
        await trio.sleep(hours * 3600)
        return trio.current_time()

    assert run_virtual(day, 24) == 86_400

    async def fail():
        raise Declared

    with pytest.raises(Declared):
        run_virtual(fail)


def test_a_virtual_run_leaves_trio_as_it_was():
    scheduler = trio._core._run
    before = (scheduler._ALLOW_DETERMINISTIC_SCHEDULING, scheduler._r.getstate())
    run_virtual(shuffle, seed=3)
    assert (scheduler._ALLOW_DETERMINISTIC_SCHEDULING, scheduler._r.getstate()) == before


# ---------------------------------------------------------------- conservation


async def test_leaving_a_test_runtime_reports_a_lost_message(autojump_clock):
    lost = r"test/counter: 1 messages were accepted, but 0 have ended"
    with pytest.raises(AssertionError, match=lost):
        async with open_test_runtime() as runtime:
            counter = await runtime.spawn("counter", Counter)
            await counter.ask(Add(1))
            counter._cell.counts.handled -= 1


async def test_an_actor_that_was_removed_before_the_end_is_checked_too(autojump_clock):
    with pytest.raises(AssertionError, match="R9 does not hold: test/counter"):
        async with open_test_runtime() as runtime:
            counter = await runtime.spawn("counter", Counter)
            counter._cell.counts.handled += 1
            await runtime.stop(counter)


async def test_a_pool_that_was_removed_before_the_end_is_checked_too(autojump_clock):
    with pytest.raises(AssertionError, match="R9 does not hold: test/counters"):
        async with open_test_runtime() as runtime:
            counters = await runtime.spawn_pool("counters", Counter, size=2)
            counters._cell.counts.handled += 1
            await runtime.stop(counters)


async def test_the_counts_are_checked_however_the_block_is_left(autojump_clock):
    with pytest.raises(AssertionError) as caught:
        async with open_test_runtime() as runtime:
            counter = await runtime.spawn("counter", Counter)
            counter._cell.counts.handled += 1
            raise Declared
    assert isinstance(caught.value.__context__, Declared)


async def test_a_snapshot_in_the_middle_of_work_is_conserved(runtime, autojump_clock):
    worker = await runtime.spawn("worker", partial(Worker, []))
    for name in "abc":
        worker.tell_nowait(Work(name))
    await trio.sleep(0.5)
    check_conservation(runtime.snapshot())
    worker._cell.counts.accepted += 1
    with pytest.raises(AssertionError, match=r"test/worker: 4 messages .* 3 are pending"):
        check_conservation(runtime.snapshot())
    worker._cell.counts.accepted -= 1


# ---------------------------------------------------------------- probes


async def test_a_probe_records_and_replies_by_its_script_and_repeats_the_last_entry(
    runtime, autojump_clock
):
    probe = Probe()
    ref = await runtime.spawn("probe", probe.actor)
    probe.answer(Add, 10, Declared("no"), lambda message: message.by * 2)
    assert await ref.ask(Add(1)) == 10
    with pytest.raises(Declared):
        await ref.ask(Add(2))
    assert [await ref.ask(Add(3)), await ref.ask(Add(4))] == [6, 8]
    assert probe.received == [Add(1), Add(2), Add(3), Add(4)]


async def test_a_script_applies_to_subclasses_and_the_closest_class_wins(runtime, autojump_clock):
    probe = Probe()
    ref = await runtime.spawn("probe", probe.actor)
    probe.answer(Message, "anything")
    probe.answer(Work, "work")
    assert await ref.ask(Work("a")) == "work"
    assert await ref.ask(Keep()) == "anything"


async def test_an_ask_without_a_script_waits_for_one_or_for_its_deadline(runtime, autojump_clock):
    probe = Probe()
    ref = await runtime.spawn("probe", probe.actor)
    with pytest.raises(AskTimedOut):
        await ref.ask(Add(1), timeout=1)
    answers: list[int] = []

    async def ask():
        answers.append(await ref.ask(Add(2)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await probe.wait_for(Add)
        assert await probe.wait_for(Add) == Add(2)
        assert answers == []
        probe.answer(Add, 7)
    assert answers == [7]


async def test_a_tell_to_a_probe_without_a_script_does_not_delay_the_end(runtime, autojump_clock):
    probe = Probe()
    ref = await runtime.spawn("probe", probe.actor)
    await ref.tell(Add(1))
    await runtime.stop(ref)
    assert probe.received == [Add(1)]
    probe.answer(Add, 1)  # harmless: its incarnation has ended


async def test_waiting_for_a_message_returns_each_once_and_fails_after_the_timeout(
    runtime, autojump_clock
):
    probe = Probe()
    ref = await runtime.spawn("probe", probe.actor)
    await ref.tell(Add(1))
    await ref.tell(Work("a"))
    assert await probe.wait_for(Work) == Work("a")
    with pytest.raises(AssertionError, match="no Work arrived within 3 s; arrived: Add"):
        await probe.wait_for(Work, timeout=3)
    assert trio.current_time() == 3


async def test_a_function_that_raises_crashes_the_probe_which_continues_recording(
    runtime, autojump_clock
):
    def bug(message):
        raise KeyError(message)

    probe = Probe()
    ref = await runtime.spawn("probe", probe.actor)
    probe.answer(Add, bug, 5)
    with pytest.raises(ActorCrashed):
        await ref.ask(Add(1))
    assert await ref.ask(Add(2)) == 5
    assert probe.received == [Add(1), Add(2)]


async def test_a_probe_answers_a_stream_with_items(runtime, autojump_clock):
    probe = Probe()
    ref = await runtime.spawn("probe", probe.actor)
    probe.answer(Count, range(3))
    async with ref.stream(Count(3), buffer=0) as items:
        assert [item async for item in items] == [0, 1, 2]


async def test_a_probe_at_the_end_of_a_route_gets_forwarded_messages(runtime, autojump_clock):
    probe = Probe()
    probe.answer(Work, "done")
    worker = await runtime.spawn("worker", probe.actor)
    relay = await runtime.spawn("relay", partial(Relay, worker))
    assert await relay.ask(Pass(Work("a"))) == "done"
    assert await probe.wait_for(Work) == Work("a")


def test_an_empty_script_is_rejected():
    with pytest.raises(ValueError, match="script"):
        Probe().answer(Add)


# ---------------------------------------------------------------- faults


async def test_a_faulty_actor_crashes_once_at_its_message(runtime, autojump_clock):
    faulty = Faulty(Counter, crash_on_message=2)
    ref = await runtime.spawn("counter", faulty)
    assert await ref.ask(Add(1)) == 1
    with pytest.raises(ActorCrashed) as caught:
        await ref.ask(Add(1))
    assert isinstance(caught.value.__cause__, InjectedFault)
    assert [await ref.ask(Add(1)), await ref.ask(Add(1)), await ref.ask(Add(1))] == [1, 2, 3]
    assert faulty.crashes == 1


async def test_a_faulty_actor_can_crash_in_each_incarnation_with_a_chosen_error(
    runtime, autojump_clock
):
    faulty = Faulty(Counter, crash_on_message=1, each_incarnation=True, error=OSError)
    ref = await runtime.spawn("counter", faulty)
    for _ in range(3):
        with pytest.raises(ActorCrashed, match="OSError"):
            await ref.ask(Add(1))
    assert faulty.crashes == 3


async def test_a_crash_at_a_checkpoint_cuts_a_handler_off_in_the_middle(runtime, autojump_clock):
    journal: list[str] = []
    faulty = Faulty(partial(Worker, journal), crash_at_checkpoint=2)
    ref = await runtime.spawn("worker", faulty)
    assert await ref.ask(Work("a")) == "a"
    with pytest.raises(ActorCrashed) as caught:
        await ref.ask(Work("b"))
    assert caught.value.verdict is Verdict.MAY_HAVE_RUN
    assert journal == ["begin a", "end a", "begin b", "stopped"]
    assert trio.current_time() < 2, "it did not sleep to its end"


@pytest.mark.parametrize("checkpoint", range(1, 6))
async def test_a_stream_breaks_off_at_any_checkpoint_of_its_handler(
    runtime, autojump_clock, checkpoint
):
    faulty = Faulty(Abacus, crash_at_checkpoint=checkpoint)
    ref = await runtime.spawn("abacus", faulty)
    got: list[int] = []
    with pytest.raises(ActorCrashed):
        async with ref.stream(Count(5), buffer=5) as items:
            async for item in items:
                got.append(item)  # noqa: PERF401  # those before the error count
    assert got == list(range(len(got)))
    assert faulty.crashes == 1
    async with ref.stream(Count(5)) as items:
        assert [item async for item in items] == [0, 1, 2, 3, 4]


class Shy(Actor):
    """Ignores cancellation until it is done."""

    @handles(Work)
    async def work(self, message: Work) -> str:
        with trio.CancelScope(shield=True):
            await trio.sleep(message.seconds)
        return message.name


async def test_a_handler_that_is_shielded_crashes_when_it_is_done(runtime, autojump_clock):
    ref = await runtime.spawn("shy", Faulty(Shy, crash_at_checkpoint=1))
    with pytest.raises(ActorCrashed):
        await ref.ask(Work("a", 4))
    assert trio.current_time() >= 4
    assert await ref.ask(Work("a", 4)) == "a"


async def test_a_fault_that_is_not_reached_changes_nothing(runtime, autojump_clock):
    faulty = Faulty(partial(Worker, []), crash_at_checkpoint=100)
    ref = await runtime.spawn("worker", faulty)
    with pytest.raises(AskTimedOut):
        await ref.ask(Work("a", 10), timeout=1)
    assert await ref.ask(Work("b")) == "b"
    assert faulty.crashes == 0


async def test_a_fault_that_the_handler_declares_is_a_reply(runtime, autojump_clock):
    ref = await runtime.spawn("counter", Faulty(Counter, crash_on_message=1, error=Declared))
    with pytest.raises(Declared):
        await ref.ask(Fail(KeyError("never raised")))
    assert runtime.snapshot()["test/counter"].incarnation == 1


async def test_only_the_faulty_actor_has_the_fault(runtime, autojump_clock):
    holder = await runtime.spawn("faulty", Faulty(Holder, crash_on_message=1))
    sound = await runtime.spawn("sound", Counter)
    with pytest.raises(ActorCrashed):
        await holder.ask(Keep())
    assert await sound.ask(Add(1)) == 1
    assert "handlers" not in vars(sound._cell.current.actor)


@pytest.mark.parametrize(
    "places", [{}, {"crash_on_message": 1, "crash_at_checkpoint": 1}, {"crash_on_message": 0}]
)
def test_a_fault_needs_one_place(places):
    with pytest.raises(ValueError, match="crash_on_message"):
        Faulty(Counter, **places)
