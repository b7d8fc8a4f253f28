"""R8: a message that crashed an actor is redelivered only if the actor was spawned so."""

from functools import partial

import attrs
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from callsheet.runtime import (
    Actor,
    ActorCrashed,
    AskTimedOut,
    Message,
    Ref,
    ReplySlot,
    RestartPolicy,
    Verdict,
    defers,
    handles,
    open_runtime,
)
from callsheet.runtime.testing import open_test_runtime

PATIENT = RestartPolicy(max_restarts=10_000, base_s=0.2, cap_s=1)


@attrs.frozen
class Job(Message[str]):
    """Crashes the actor the first few times."""

    name: str
    crashes: int = 0
    seconds: float = 0.0


@attrs.frozen
class Hand(Message[str]):
    """Is forwarded, after or before a crash."""

    name: str
    crashes: int
    is_forwarded_first: bool = False


@attrs.frozen
class Alert(Message[None]):
    name: str


class Bench(Actor):
    """Records the jobs that it begins; the journal outlives it."""

    def __init__(self, journal: list[str], to: Ref | None = None) -> None:
        self.journal = journal
        self.to = to

    def begin(self, name: str, crashes: int) -> bool:
        """Record the job, and return whether to crash."""
        self.journal.append(name)
        return self.journal.count(name) <= crashes

    @handles(Job)
    async def job(self, message: Job) -> str:
        is_to_crash = self.begin(message.name, message.crashes)
        await trio.sleep(message.seconds)
        if is_to_crash:
            raise KeyError("bug")
        return message.name

    @handles(Alert, urgent=True)
    async def alert(self, message: Alert) -> None:
        self.journal.append(message.name)

    @defers(Hand)
    async def hand(self, message: Hand, slot: ReplySlot[str]) -> None:
        is_to_crash = self.begin(message.name, message.crashes)
        assert self.to is not None
        if not is_to_crash or message.is_forwarded_first:
            await slot.forward(self.to, Job(message.name))
        if is_to_crash:
            raise KeyError("bug")


async def a_bench(runtime, journal, *, to=None, **place):
    return await runtime.spawn("bench", partial(Bench, journal, to), **place)


async def test_by_default_a_message_is_never_redelivered(autojump_clock):
    journal: list[str] = []
    async with open_runtime(restarts=PATIENT) as runtime:
        bench = await a_bench(runtime, journal)
        with pytest.raises(ActorCrashed):
            await bench.ask(Job("a", crashes=1))
        bench.tell_nowait(Job("b", crashes=1))
        await bench.ask(Job("c"))
        assert journal == ["a", "b", "c"]


@pytest.mark.parametrize("crashes", [1, 2, 3])
async def test_an_ask_keeps_its_slot_over_redeliveries(autojump_clock, crashes):
    journal: list[str] = []
    async with open_runtime(restarts=PATIENT) as runtime:
        bench = await a_bench(runtime, journal, redeliver=3)
        assert await bench.ask(Job("a", crashes)) == "a"
        assert journal == ["a"] * (crashes + 1)
        snapshot = runtime.snapshot()[bench.path]
        assert snapshot.incarnation == crashes + 1
        assert (snapshot.counts.handled, snapshot.counts.failed) == (1, 0)
        assert snapshot.is_conserved


async def test_after_n_redeliveries_the_ask_fails(autojump_clock):
    journal: list[str] = []
    async with open_runtime(restarts=PATIENT) as runtime:
        bench = await a_bench(runtime, journal, redeliver=2)
        with pytest.raises(ActorCrashed) as caught:
            await bench.ask(Job("a", crashes=99))
        assert caught.value.verdict is Verdict.MAY_HAVE_RUN
        bench.tell_nowait(Job("b", crashes=99))
        await bench.ask(Job("c"))
        assert journal == ["a"] * 3 + ["b"] * 3 + ["c"]
        snapshot = runtime.snapshot()[bench.path]
        assert snapshot.counts.failed == 2
        assert snapshot.is_conserved


async def test_a_redelivered_message_is_handled_before_queued_ones(autojump_clock):
    journal: list[str] = []
    async with open_runtime(restarts=PATIENT) as runtime:
        bench = await a_bench(runtime, journal, redeliver=1)
        bench.tell_nowait(Job("a", crashes=1, seconds=1))
        await wait_all_tasks_blocked()
        bench.tell_nowait(Job("b"))
        bench.tell_nowait(Alert("alert"))
        await bench.ask(Job("c"))
    assert journal == ["a", "a", "alert", "b", "c"]


async def test_the_messages_of_several_workers_are_all_redelivered(autojump_clock):
    journal: list[str] = []
    async with open_runtime(restarts=PATIENT) as runtime:
        bench = await a_bench(runtime, journal, redeliver=1, concurrency=3)
        answers: list[str] = []

        async def ask(job):
            answers.append(await bench.ask(job))

        async with trio.open_nursery() as nursery:
            for job in (Job("a", seconds=5), Job("b", seconds=5), Job("c", 1, 1)):
                nursery.start_soon(ask, job)
        assert sorted(answers) == ["a", "b", "c"]
        assert sorted(journal) == ["a", "a", "b", "b", "c", "c"]
        assert runtime.snapshot()[bench.path].is_conserved


async def test_a_message_whose_caller_gave_up_is_not_redelivered(autojump_clock):
    journal: list[str] = []
    slow = RestartPolicy(max_restarts=99, base_s=1000, cap_s=1000)
    async with open_runtime(restarts=slow, seed="1") as runtime:
        bench = await a_bench(runtime, journal, redeliver=5)
        with pytest.raises(AskTimedOut) as caught:
            await bench.ask(Job("a", crashes=1), timeout=1)
        assert caught.value.verdict is Verdict.MAY_HAVE_RUN
        assert await bench.ask(Job("b")) == "b"
        assert journal == ["a", "b"]
        assert runtime.snapshot()[bench.path].counts.expired == 1


async def test_each_message_has_its_own_count_of_redeliveries(autojump_clock):
    """The redelivered message is abandoned while it is queued or in progress."""
    for seconds in (0.0, 50.0):
        journal: list[str] = []
        async with open_runtime(restarts=PATIENT, seed="1") as runtime:
            bench = await a_bench(runtime, journal, redeliver=1)
            with trio.move_on_after(0 if seconds == 0.0 else 70):
                await bench.ask(Job("gives up", 1, seconds))
            assert await bench.ask(Job("next", crashes=1)) == "next", seconds


async def test_a_deferred_message_is_redelivered_and_a_forwarded_one_is_not(
    autojump_clock,
):
    journal: list[str] = []
    far: list[str] = []
    async with open_runtime(restarts=PATIENT) as runtime:
        end = await runtime.spawn("end", partial(Bench, far))
        bench = await a_bench(runtime, journal, to=end, redeliver=1)
        assert await bench.ask(Hand("held", 1)) == "held"
        assert journal == ["held", "held"]
        assert await bench.ask(Hand("gone", 1, is_forwarded_first=True)) == "gone"
        await bench.tell(Hand("told", 1, is_forwarded_first=True))
        await trio.sleep(5)
        assert far == ["held", "gone", "told"], "no forwarded message is handled twice"
        assert runtime.snapshot()[bench.path].is_conserved


async def test_a_message_that_waits_for_redelivery_fails_when_the_actor_stops(autojump_clock):
    slow = RestartPolicy(max_restarts=99, base_s=1000, cap_s=1000)
    async with trio.open_nursery() as nursery:
        async with open_runtime(restarts=slow, seed="1", drain_s=0) as runtime:
            bench = await a_bench(runtime, [], redeliver=5)

            async def outsider():
                with pytest.raises(Exception, match="may have run"):
                    await bench.ask(Job("a", crashes=1))

            nursery.start_soon(outsider)
            await wait_all_tasks_blocked()
            assert runtime.snapshot()[bench.path].urgent == 1
        assert bench._cell.snapshot(0.0).is_conserved
        assert bench._cell.snapshot(0.0).pending == 0


@pytest.mark.parametrize("redeliver", [-1, 1.5])
async def test_an_invalid_number_of_redeliveries_is_rejected(redeliver):
    async with open_runtime() as runtime:
        with pytest.raises((ValueError, TypeError), match="redeliver"):
            await a_bench(runtime, [], redeliver=redeliver)


@settings(max_examples=settings.default.max_examples, deadline=None)
@given(
    redeliver=st.integers(0, 3),
    concurrency=st.integers(1, 3),
    jobs=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2)), min_size=1, max_size=8),
)
def test_no_message_is_delivered_more_than_n_plus_one_times(redeliver, concurrency, jobs):
    journal: list[str] = []
    ended: list[str] = []

    async def client(bench, name, crashes, seconds):
        try:
            assert await bench.ask(Job(name, crashes, seconds)) == name
        except ActorCrashed:
            assert crashes > 0 or concurrency > 1, (
                "only the crash of a concurrent handler can fail a good job"
            )
        ended.append(name)

    async def main():
        async with open_runtime(restarts=PATIENT, seed="0", drain_s=1000) as runtime:
            bench = await a_bench(runtime, journal, redeliver=redeliver, concurrency=concurrency)
            async with trio.open_nursery() as nursery:
                for number, (crashes, seconds) in enumerate(jobs):
                    nursery.start_soon(client, bench, str(number), crashes, seconds)
            assert runtime.snapshot()[bench.path].is_conserved

    trio.run(main, clock=MockClock(autojump_threshold=0))
    assert len(ended) == len(jobs)
    for number, (crashes, _) in enumerate(jobs):
        begun = journal.count(str(number))
        assert 1 <= begun <= 1 + redeliver
        if concurrency == 1:
            assert begun == 1 + min(crashes, redeliver)


async def test_a_told_message_that_is_delivered_again_is_done_when_its_deferring_handler_returns(
    autojump_clock,
):
    class Fragile(Actor):
        deliveries = 0

        @defers(Job)
        async def hold(self, message: Job, slot) -> None:
            Fragile.deliveries += 1
            if Fragile.deliveries == 1:
                raise KeyError("bug")

    async with open_test_runtime(restarts=RestartPolicy(base_s=0)) as runtime:
        fragile = await runtime.spawn("fragile", Fragile, redeliver=1)
        await fragile.tell(Job("a"))
        await trio.sleep(1)
        actor = runtime.snapshot()[fragile.path]
        assert (actor.counts.handled, actor.deferred, Fragile.deliveries) == (1, 0, 2)
