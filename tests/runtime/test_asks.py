"""R3, R4, R8: an ask resolves once; deadlines and cancellation travel; errors keep their types."""

from functools import partial

import attrs
import pytest
import trio
from sample_actors import (
    Add,
    Counter,
    Declared,
    Fail,
    Holder,
    Keep,
    Release,
    Steady,
    Unknown,
    Work,
    Worker,
)

from callsheet.runtime import (
    Actor,
    ActorCrashed,
    ActorStopped,
    AskTimedOut,
    MailboxFull,
    Message,
    Ref,
    UnhandledMessage,
    Verdict,
    handles,
    open_runtime,
)


@attrs.frozen
class Stubborn(Message[None]):
    pass


@attrs.frozen
class Outer(Message[str]):
    pass


async def test_an_ask_returns_what_the_handler_returns(autojump_clock):
    async with open_runtime() as runtime:
        counter = await runtime.spawn("counter", Counter)
        assert await counter.ask(Add(2)) == 2
        assert await counter.ask(Add(3)) == 5


async def test_tells_are_handled_in_the_order_they_were_sent(autojump_clock):
    journal: list[str] = []
    async with open_runtime() as runtime:
        worker = await runtime.spawn("worker", partial(Worker, journal))
        for name in "abc":
            await worker.tell(Work(name))
        await worker.ask(Work("d"))
    assert [entry for entry in journal if entry.startswith("end")] == [
        "end a",
        "end b",
        "end c",
        "end d",
    ]


async def test_a_declared_error_is_a_reply_and_the_actor_continues(autojump_clock):
    async with open_runtime() as runtime:
        counter = await runtime.spawn("counter", Counter)
        await counter.ask(Add(1))
        with pytest.raises(Declared, match="no"):
            await counter.ask(Fail(Declared("no")))
        assert await counter.ask(Add(1)) == 2, "state survives, so it was no crash"
        assert runtime.snapshot()["callsheet/counter"].incarnation == 1


async def test_any_other_error_crashes_the_actor_and_the_caller_gets_the_verdict(autojump_clock):
    async with open_runtime() as runtime:
        counter = await runtime.spawn("counter", Counter)
        await counter.ask(Add(1))
        with pytest.raises(ActorCrashed) as caught:
            await counter.ask(Fail(KeyError("bug")))
        assert caught.value.verdict is Verdict.MAY_HAVE_RUN
        assert isinstance(caught.value.__cause__, KeyError)
        assert await counter.ask(Add(1)) == 1, "a new incarnation, by the same ref"


async def test_messages_queued_at_a_crash_are_handled_by_the_next_incarnation(autojump_clock):
    async with open_runtime() as runtime:
        counter = await runtime.spawn("counter", Counter)
        counter.tell_nowait(Add(10))
        counter.tell_nowait(Fail(KeyError("bug")))
        counter.tell_nowait(Add(5))
        assert await counter.ask(Add(0)) == 5


async def test_a_message_of_an_unknown_type_is_refused_at_the_sender(autojump_clock):
    async with open_runtime() as runtime:
        counter = await runtime.spawn("counter", Counter)
        with pytest.raises(UnhandledMessage, match="Unknown; it handles Add, Fail"):
            await counter.ask(Unknown())
        with pytest.raises(UnhandledMessage):
            counter.tell_nowait(Unknown())


async def test_a_timeout_cancels_the_handler_but_not_the_actor(autojump_clock):
    journal: list[str] = []
    async with open_runtime() as runtime:
        worker = await runtime.spawn("worker", partial(Worker, journal))
        start = trio.current_time()
        with pytest.raises(AskTimedOut) as caught:
            await worker.ask(Work("slow", 60), timeout=2)
        assert trio.current_time() - start == 2
        assert caught.value.verdict is Verdict.MAY_HAVE_RUN
        assert await worker.ask(Work("next", 1)) == "next"
        assert trio.current_time() - start == 3, "the slow work was cancelled at once"
        assert runtime.snapshot()["callsheet/worker"].counts.expired == 1
    assert journal == ["begin slow", "begin next", "end next", "stopped"]


async def test_work_that_expires_in_the_queue_is_skipped_and_known_not_to_have_run(autojump_clock):
    journal: list[str] = []
    async with open_runtime() as runtime:
        worker = await runtime.spawn("worker", partial(Worker, journal))
        worker.tell_nowait(Work("first", 5))
        with pytest.raises(AskTimedOut) as caught:
            await worker.ask(Work("second", 1), timeout=2)
        assert caught.value.verdict is Verdict.NOT_STARTED
        await worker.ask(Work("third", 1))
    assert "begin second" not in journal


async def test_cancelling_the_caller_cancels_the_handler_and_frees_the_actor(autojump_clock):
    journal: list[str] = []
    async with open_runtime() as runtime:
        worker = await runtime.spawn("worker", partial(Worker, journal))
        with trio.move_on_after(2) as scope:
            await worker.ask(Work("slow", 60))
        assert scope.cancelled_caught
        start = trio.current_time()
        await worker.ask(Work("next", 1))
        assert trio.current_time() - start == 1
        assert runtime.snapshot()["callsheet/worker"].counts.cancelled == 1


async def test_an_uninterruptible_handler_runs_to_its_end(autojump_clock):
    journal: list[str] = []
    async with open_runtime() as runtime:
        worker = await runtime.spawn("worker", partial(Worker, journal))
        with pytest.raises(AskTimedOut):
            await worker.ask(Steady("steady", 10), timeout=1)
        await worker.ask(Work("next", 1))
        assert runtime.snapshot()["callsheet/worker"].counts.late == 1
    assert "end steady" in journal


async def test_a_cancelled_handler_that_finishes_anyway_does_not_affect_others(
    autojump_clock,
):
    """The scope that was cancelled for one message must not cancel the next one."""

    class Mule(Worker):
        @handles(Stubborn)
        async def stubborn(self, message: Stubborn) -> None:
            with trio.CancelScope(shield=True):
                await trio.sleep(5)

    async with open_runtime() as runtime:
        mule = await runtime.spawn("mule", partial(Mule, []))
        with pytest.raises(AskTimedOut):
            await mule.ask(Stubborn(), timeout=1)
        assert await mule.ask(Work("next", 1)) == "next"


async def test_an_inner_ask_inherits_the_deadline_of_the_message_it_is_made_for(autojump_clock):
    """R4: hop by hop. The inner work must not outlive the outer deadline."""

    class Boss(Actor):
        def __init__(self, worker: Ref) -> None:
            self.worker = worker

        @handles(Outer, raises=(AskTimedOut,), uninterruptible=True)
        async def outer(self, message: Outer) -> str:
            return await self.worker.ask(Work("inner", 60))

    journal: list[str] = []
    async with open_runtime() as runtime:
        worker = await runtime.spawn("worker", partial(Worker, journal))
        boss = await runtime.spawn("boss", partial(Boss, worker))
        start = trio.current_time()
        with pytest.raises(AskTimedOut):
            await boss.ask(Outer(), timeout=3)
        await worker.ask(Work("next", 0))
        assert trio.current_time() - start == 3, "the inner work was cancelled with the outer"


async def test_asking_a_stopped_actor_fails_at_once_and_is_safe_to_repeat(autojump_clock):
    async with open_runtime() as runtime:
        counter = await runtime.spawn("counter", Counter)
        await runtime.stop(counter)
        with pytest.raises(ActorStopped) as caught:
            await counter.ask(Add(1))
        assert caught.value.verdict is Verdict.NOT_STARTED


async def test_a_caller_outside_the_block_gets_an_error_when_the_runtime_ends(autojump_clock):
    """R3: no task hangs, not even one outside the block that kept a ref."""
    verdicts: list[Verdict] = []

    async def outsider(ref):
        with pytest.raises(ActorStopped) as caught:
            await ref.ask(Keep())
        verdicts.append(caught.value.verdict)

    async with trio.open_nursery() as nursery, open_runtime(drain_s=1) as runtime:
        holder = await runtime.spawn("holder", Holder)
        nursery.start_soon(outsider, holder)
        await trio.testing.wait_all_tasks_blocked()
    assert verdicts == [Verdict.NOT_STARTED]


async def test_a_full_mailbox_refuses_nowait_and_makes_others_wait_in_order(autojump_clock):
    journal: list[str] = []
    async with open_runtime() as runtime:
        worker = await runtime.spawn("worker", partial(Worker, journal), capacity=1)
        worker.tell_nowait(Work("a", 1))
        await trio.testing.wait_all_tasks_blocked()
        worker.tell_nowait(Work("b", 1))
        with pytest.raises(MailboxFull, match=r"full mailbox \(1 messages\)"):
            worker.tell_nowait(Work("c", 1))
        async with trio.open_nursery() as nursery:
            for name in "de":
                nursery.start_soon(worker.tell, Work(name, 1))
                await trio.testing.wait_all_tasks_blocked()
            assert runtime.snapshot()["callsheet/worker"].mailbox.senders_waiting == 2
    assert [entry[-1] for entry in journal if entry.startswith("end")] == list("abde")


async def test_a_deadline_counts_the_wait_for_room_in_the_mailbox(autojump_clock):
    journal: list[str] = []
    async with open_runtime() as runtime:
        worker = await runtime.spawn("worker", partial(Worker, journal), capacity=1)
        worker.tell_nowait(Work("a", 10))
        await trio.testing.wait_all_tasks_blocked()
        worker.tell_nowait(Work("b", 10))
        start = trio.current_time()
        with pytest.raises(AskTimedOut) as caught:
            await worker.ask(Work("c", 1), timeout=2)
        assert trio.current_time() - start == 2
        assert caught.value.verdict is Verdict.NOT_STARTED


async def test_a_deferred_slot_is_filled_later_and_a_late_reply_does_nothing(autojump_clock):
    async with open_runtime() as runtime:
        holder = await runtime.spawn("holder", Holder)
        with pytest.raises(AskTimedOut) as caught:
            await holder.ask(Keep(), timeout=1)
        assert caught.value.verdict is Verdict.NOT_STARTED
        async with trio.open_nursery() as nursery:
            nursery.start_soon(holder.ask, Keep())
            await trio.testing.wait_all_tasks_blocked()
            assert runtime.snapshot()["callsheet/holder"].deferred == 1
            await holder.ask(Release("now"))
        assert runtime.snapshot()["callsheet/holder"].deferred == 0


async def test_an_actor_that_crashes_fills_the_slots_it_holds(autojump_clock):
    async with open_runtime() as runtime:
        holder = await runtime.spawn("holder", Holder)

        async def caller() -> None:
            with pytest.raises(ActorCrashed) as caught:
                await holder.ask(Keep())
            assert caught.value.verdict is Verdict.NOT_STARTED

        async with trio.open_nursery() as nursery:
            nursery.start_soon(caller)
            await trio.testing.wait_all_tasks_blocked()
            holder.tell_nowait(Fail(KeyError("bug")))


async def test_submit_gives_a_slot_that_calls_back_and_can_be_cancelled(autojump_clock):
    journal: list[str] = []
    async with open_runtime() as runtime:
        worker = await runtime.spawn("worker", partial(Worker, journal))
        seen: list[object] = []
        first = await worker.submit(Work("first", 1))
        first.on_settled(lambda slot: seen.append(slot.value))
        second = await worker.submit(Work("second", 60))
        await trio.sleep(2)
        assert seen == ["first"]
        assert second.cancel()
        assert not second.cancel(), "a slot is filled once"
        await worker.ask(Work("third", 1))
    assert "end second" not in journal


async def test_submit_nowait_gives_such_a_slot_at_once_if_there_is_room(autojump_clock):
    """R4, R5: a full mailbox takes nothing, and a deadline counts from the start."""
    journal: list[str] = []
    async with open_runtime() as runtime:
        worker = await runtime.spawn("worker", partial(Worker, journal), capacity=2)
        seen: list[object] = []
        first = worker.submit_nowait(Work("first", 3))
        first.on_settled(lambda slot: seen.append(slot.value))
        second = worker.submit_nowait(Work("second", 1), deadline=trio.current_time() + 2.0)
        assert not journal, "it is no checkpoint"
        with pytest.raises(MailboxFull):
            worker.submit_nowait(Work("third", 1), deadline=trio.current_time() + 1.0)
        assert await first.wait() == "first"
        with pytest.raises(AskTimedOut):
            await second.wait()
        fourth = worker.submit_nowait(Work("fourth", 60))
        await trio.sleep(1)
        assert fourth.cancel()
        await worker.ask(Work("fifth", 1))
    assert [entry for entry in journal if entry.startswith("end")] == ["end first", "end fifth"]
    with pytest.raises(ActorStopped):
        worker.submit_nowait(Work("sixth", 1))
