"""R3: a cycle of actors that wait for each other is found when it closes, and only then."""

from functools import partial

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked
from waiting_actors import (
    LIMIT_S,
    AskAlong,
    AskAlongUndeclared,
    AskAnswerThenAsk,
    AskForward,
    Push,
    ReadItems,
    SideAsk,
    Sleep,
    WaitingActor,
    cycle_of,
    rotated,
    spawn_actors,
)

from callsheet.runtime import (
    Actor,
    ActorCrashed,
    Deadlock,
    Message,
    Ref,
    ReplySlot,
    Verdict,
    defers,
    handles,
    open_runtime,
)

# ---------------------------------------------------------------- true ones


@pytest.mark.parametrize("names", ["a", "ab", "abc", "abcde"])
async def test_asks_in_a_cycle_end_with_an_error_that_names_it(autojump_clock, names):
    async with open_runtime() as runtime:
        refs = await spawn_actors(runtime, names)
        with trio.fail_after(LIMIT_S), pytest.raises(Deadlock) as caught:
            await refs["a"].ask(AskAlong((*names[1:], "a")))
        error = caught.value
        assert error.cycle[0] == error.cycle[-1]
        assert rotated(error.cycle) == cycle_of(names)
        assert error.verdict is Verdict.NOT_STARTED
        assert " -> ".join(error.cycle) in str(error)
        for name in names:
            assert await refs[name].ask(Sleep()) == "slept"
            snapshot = runtime.snapshot()[refs[name].path]
            assert snapshot.incarnation == 1, "the actors keep running"
            assert snapshot.is_conserved


async def test_an_actor_that_does_not_declare_a_deadlock_crashes(autojump_clock):
    async with open_runtime() as runtime:
        refs = await spawn_actors(runtime, "a")
        with trio.fail_after(LIMIT_S), pytest.raises(ActorCrashed) as caught:
            await refs["a"].ask(AskAlongUndeclared(("a",)))
        assert isinstance(caught.value.__cause__, Deadlock)
        said = str(caught.value)
        assert said.count("(the work") == 1, "only the verdict on the caller's own ask"
        assert said.endswith("(the work may have run)")
        assert await refs["a"].ask(Sleep()) == "slept"


async def test_two_actors_that_ask_each_other_at_once_do_not_hang(autojump_clock):
    """Neither message leads to the other; they meet."""
    results: dict[str, object] = {}

    async def ask(refs, name, route):
        try:
            results[name] = await refs[name].ask(AskAlong((route,), pause=1))
        except Deadlock as error:
            results[name] = error

    async with open_runtime() as runtime:
        refs = await spawn_actors(runtime, "ab")
        with trio.fail_after(LIMIT_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask, refs, "a", "b")
                nursery.start_soon(ask, refs, "b", "a")
    errors = [result for result in results.values() if isinstance(result, Deadlock)]
    assert len(errors) == 1, "one of them gives route, so the other gets its answer"
    assert "done" in results.values()
    assert set(errors[0].cycle) == set(cycle_of("ab"))


async def test_blocking_tells_at_full_mailboxes_close_a_cycle(autojump_clock):
    async with open_runtime() as runtime:
        refs = await spawn_actors(runtime, "ab", capacity=1)
        results: list[BaseException] = []

        async def push(name, to):
            try:
                await refs[name].ask(Push(to, Sleep()))
            except Deadlock as error:
                results.append(error)

        with trio.fail_after(LIMIT_S):
            for ref in refs.values():
                ref.tell_nowait(Sleep(1))
            await wait_all_tasks_blocked()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(push, "a", "b")
                nursery.start_soon(push, "b", "a")
                await wait_all_tasks_blocked()
                # One more sender waits at each mailbox; it gets the room when the pushes are taken.
                nursery.start_soon(refs["a"].tell, Sleep())
                nursery.start_soon(refs["b"].tell, Sleep())
        assert len(results) == 1
        assert set(results[0].cycle) == set(cycle_of("ab"))
        for ref in refs.values():
            assert await ref.ask(Sleep()) == "slept"


async def test_a_tell_to_the_actors_own_full_mailbox_is_a_cycle_of_one(autojump_clock):
    async with open_runtime() as runtime:
        refs = await spawn_actors(runtime, "a", capacity=1)
        refs["a"].tell_nowait(Sleep(1))
        await wait_all_tasks_blocked()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(refs["a"].tell, Sleep())
            await wait_all_tasks_blocked()

            async def push():
                with trio.fail_after(LIMIT_S), pytest.raises(Deadlock) as caught:
                    await refs["a"].ask(Push("a", Sleep()))
                assert caught.value.cycle == cycle_of("aa")

            nursery.start_soon(push)
            await wait_all_tasks_blocked()
            nursery.start_soon(refs["a"].tell, Sleep())


async def test_an_ask_and_a_blocking_tell_close_a_cycle_together(autojump_clock):
    async with open_runtime() as runtime:
        refs = await spawn_actors(runtime, "ab", capacity=1)
        results: list[object] = []

        async def ask(ref, message):
            try:
                results.append(await ref.ask(message))
            except Deadlock as error:
                results.append(error)

        with trio.fail_after(LIMIT_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask, refs["a"], AskAlong(("b",), pause=2))
                nursery.start_soon(ask, refs["b"], AskAlong(("a",), pause=1))
                await wait_all_tasks_blocked()
                refs["a"].tell_nowait(Sleep())  # at 1, b waits for room here, and at 2, a asks b
        assert sum(isinstance(result, Deadlock) for result in results) == 1
        assert "done" in results


async def test_a_forward_back_to_the_caller_closes_a_cycle(autojump_clock):
    """a asks b, and b forwards back to a, which waits already: the forward closes the cycle."""
    async with open_runtime() as runtime:
        refs = await spawn_actors(runtime, "abc")
        for route in (("b", "a"), ("b", "c", "a")):
            with trio.fail_after(LIMIT_S), pytest.raises(Deadlock) as caught:
                await refs["a"].ask(AskForward(route))
            assert caught.value.cycle == cycle_of("aa")
        assert await refs["a"].ask(AskForward(("b", "c"))) == "slept"


async def test_workers_that_all_ask_their_own_actor_are_a_cycle(autojump_clock):
    """With two workers, the second ask closes it: no worker is left to reply."""
    results: list[object] = []

    async def ask(ref):
        try:
            results.append(await ref.ask(AskAlong(("a",), pause=1)))
        except Deadlock as error:
            results.append(error)

    async with open_runtime() as runtime:
        refs = await spawn_actors(runtime, "a", concurrency=2)
        with trio.fail_after(LIMIT_S):
            async with trio.open_nursery() as nursery:
                for _ in range(2):
                    nursery.start_soon(ask, refs["a"])
    assert "done" in results
    assert sum(isinstance(result, Deadlock) for result in results) == 1


async def test_streams_close_cycles_like_asks(autojump_clock):
    async with open_runtime() as runtime:
        refs = await spawn_actors(runtime, "ab")
        with trio.fail_after(LIMIT_S):
            with pytest.raises(Deadlock) as caught:
                await refs["a"].ask(ReadItems("a"))
            assert caught.value.cycle == cycle_of("aa")
            with pytest.raises(Deadlock) as caught:
                await refs["a"].ask(ReadItems("b", ("a",)))
            assert rotated(caught.value.cycle) == cycle_of("ab")
        assert await refs["a"].ask(ReadItems("b")) == "first last"


async def test_a_long_chain_and_a_dense_graph_are_searched_quickly(autojump_clock):
    """Each of those it waits for is looked at once, without recursion."""
    async with open_runtime() as runtime:
        names = [str(number) for number in range(1100)]  # more than frames of a stack
        refs = await spawn_actors(runtime, names)
        async with trio.open_nursery() as nursery:
            # From the end, so that each new wait has the whole chain before it.
            for name, after in zip(names[-2::-1], names[:0:-1], strict=True):
                nursery.start_soon(refs[name].ask, AskAlong((after,), 50))
                if int(name) % 100 == 0:
                    await wait_all_tasks_blocked()

    async with open_runtime() as runtime:
        refs = await spawn_actors(runtime, "abcdef", concurrency=6, capacity=64)
        errors: list[Deadlock] = []

        async def ask(one, other):
            try:
                await refs[one].ask(AskAlong((other,), pause=1))
            except Deadlock as error:
                errors.append(error)

        with trio.fail_after(LIMIT_S):
            async with trio.open_nursery() as nursery:
                for one in "abcdef":
                    for other in "abcdef":
                        nursery.start_soon(ask, one, other)
        assert errors


# ---------------------------------------------------------------- no false alarms


async def test_a_free_second_worker_replies(autojump_clock):
    async with open_runtime() as runtime:
        refs = await spawn_actors(runtime, "ab", concurrency=2)
        with trio.fail_after(LIMIT_S):
            assert await refs["a"].ask(AskAlong(("b", "a"))) == "done"
            assert await refs["a"].ask(AskAlong(("a",))) == "done"


async def test_a_second_worker_that_is_busy_but_works_is_waited_for(autojump_clock):
    async with open_runtime() as runtime:
        refs = await spawn_actors(runtime, "a", concurrency=2)
        with trio.fail_after(LIMIT_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(refs["a"].ask, Sleep(50))
                await wait_all_tasks_blocked()
                assert await refs["a"].ask(AskAlong(("a",))) == "done"


async def test_a_reply_given_meanwhile_breaks_the_cycle(autojump_clock):
    """b has answered when it asks a, although a has not run yet to see that."""
    async with open_runtime() as runtime:
        refs = await spawn_actors(runtime, "ab")
        with trio.fail_after(LIMIT_S):
            assert await refs["a"].ask(AskAnswerThenAsk("b", "a")) == "answered"
            assert await refs["b"].ask(Sleep()) == "slept"
        assert runtime.snapshot()[refs["b"].path].incarnation == 1


async def test_a_sender_whose_message_was_just_accepted_is_not_in_a_cycle(autojump_clock):
    """b accepts the tell of a and, in the same step, asks a, whose task has not run since."""
    for seed in range(8):
        async with open_runtime(seed=str(seed)) as runtime:
            refs = await spawn_actors(runtime, "ab", capacity=1)
            b = refs["b"]
            b.tell_nowait(Sleep(1))
            await wait_all_tasks_blocked()
            async with trio.open_nursery() as nursery:

                async def ask_b(nursery=nursery, b=b):
                    assert await b.ask(AskAlong(("a",))) == "done"

                with trio.fail_after(LIMIT_S):
                    nursery.start_soon(ask_b)
                    await wait_all_tasks_blocked()
                    await refs["a"].ask(Push("b", Sleep()))


async def test_waiting_for_an_actor_that_restarts_is_no_cycle(autojump_clock):
    class Fragile(WaitingActor):
        @handles(Sleep)
        async def sleep(self, message: Sleep) -> str:
            raise KeyError("bug")

    async with open_runtime() as runtime:
        refs = await spawn_actors(runtime, "a")
        refs["b"] = await runtime.spawn("b", partial(Fragile, refs))
        refs["b"].tell_nowait(Sleep())
        with trio.fail_after(LIMIT_S):
            assert await refs["a"].ask(AskAlong(("b",))) == "done"


async def test_an_ask_from_a_task_started_by_a_handler_is_not_followed(autojump_clock):
    async with open_runtime() as runtime:
        refs = await spawn_actors(runtime, "ab")
        with trio.fail_after(LIMIT_S):
            assert await refs["a"].ask(SideAsk("b")) == "asked"


async def test_a_deferred_slot_may_be_filled_by_any_task(autojump_clock):
    """a asks the holder, which holds; the holder is free, so a third one can have it answer."""

    @attrs.frozen
    class Hold(Message[str]):
        pass

    @attrs.frozen
    class Release(Message[None]):
        pass

    class Holder(Actor):
        def __init__(self) -> None:
            self.slots: list[ReplySlot[str]] = []

        @defers(Hold)
        async def hold(self, message: Hold, slot: ReplySlot[str]) -> None:
            self.slots.append(slot)

        @handles(Release)
        async def release(self, message: Release) -> None:
            for slot in self.slots:
                slot.reply("kept")

    class Client(Actor):
        def __init__(self, holder: Ref) -> None:
            self.holder = holder

        @handles(Sleep)
        async def sleep(self, message: Sleep) -> str:
            return await self.holder.ask(Hold())

    async with open_runtime() as runtime:
        holder = await runtime.spawn("holder", Holder, capacity=1)
        client = await runtime.spawn("client", partial(Client, holder))
        async with trio.open_nursery() as nursery:

            async def ask():
                assert await client.ask(Sleep()) == "kept"

            nursery.start_soon(ask)
            await trio.sleep(5)
            await holder.tell(Release())
