"""Messages from threads that do not run Trio, and calls that are not allowed there."""

import threading
from concurrent.futures import CancelledError
from functools import partial

import attrs
import pytest
import trio
import trio.testing

from callsheet.runtime import (
    Actor,
    ActorStopped,
    AskTimedOut,
    Message,
    Portal,
    PortalClosed,
    Ref,
    ReplySlot,
    defers,
    handles,
    open_runtime,
)


@attrs.frozen
class Add(Message[int]):
    by: int = 1


@attrs.frozen
class Hold(Message[int]):
    pass


class Total(Actor):
    def __init__(self) -> None:
        self.total = 0
        self.slots: list[ReplySlot[int]] = []

    @handles(Add)
    async def add(self, message: Add) -> int:
        self.total += message.by
        return self.total

    @defers(Hold)
    async def hold(self, message: Hold, slot: ReplySlot[int]) -> None:
        self.slots.append(slot)


async def run_in_own_thread(call):
    """Run a function in a thread that Trio has not started."""
    results: list[object] = []

    def run() -> None:
        try:
            results.append(call())
        except BaseException as error:  # noqa: BLE001  # the test looks at it
            results.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    with trio.fail_after(10):
        await trio.to_thread.run_sync(thread.join)
    return results[0]


@pytest.mark.parametrize("run", [trio.to_thread.run_sync, run_in_own_thread])
async def test_a_thread_tells_and_asks(run):
    async with open_runtime() as runtime:
        total = await runtime.spawn("total", Total)
        portal = runtime.portal()
        assert runtime.portal() is portal
        await run(partial(portal.tell, total, Add(1)))
        assert await run(partial(portal.ask, total, Add(2), timeout=5)) == 3
        assert await run(lambda: portal.submit(total, Add(3)).result(5)) == 6


async def test_an_error_reaches_the_thread():
    async with open_runtime() as runtime:
        total = await runtime.spawn("total", Total)
        portal = runtime.portal()
        error = await run_in_own_thread(partial(portal.ask, total, Hold(), timeout=0.01))
        assert isinstance(error, AskTimedOut)
        await runtime.stop(total)
        error = await run_in_own_thread(partial(portal.tell, total, Add()))
        assert isinstance(error, ActorStopped)
        assert isinstance(
            await run_in_own_thread(partial(portal.ask, total, Add(), timeout=float("nan"))),
            ValueError,
        )


async def test_cancelling_the_future_gives_up_on_the_reply():
    async with open_runtime() as runtime:
        total = await runtime.spawn("total", Total)
        portal = runtime.portal()
        future = portal.submit(total, Hold())
        while not total._cell.current or not total._cell.current.deferred:
            await trio.lowlevel.checkpoint()
        (slot,) = total._cell.current.deferred
        assert future.cancel()
        with trio.fail_after(5):
            while not slot.done:
                await trio.lowlevel.checkpoint()
        with pytest.raises(CancelledError):
            future.result()


async def test_a_call_in_flight_fails_when_the_runtime_ends_and_later_ones_are_refused():
    async with open_runtime(drain_s=0) as runtime:
        total = await runtime.spawn("total", Total)
        portal = runtime.portal()
        future = portal.submit(total, Hold())
    with pytest.raises((ActorStopped, PortalClosed)):
        future.result(5)
    with pytest.raises(PortalClosed):
        portal.submit(total, Add())
    assert isinstance(await run_in_own_thread(partial(portal.ask, total, Add())), PortalClosed)


def test_a_call_after_the_end_of_the_run_is_refused():
    kept = []

    async def main():
        async with open_runtime() as runtime:
            kept.extend([runtime.portal(), await runtime.spawn("total", Total)])

    trio.run(main)
    portal, total = kept
    with pytest.raises(PortalClosed):
        portal.ask(total, Add())


async def test_the_thread_of_the_runtime_may_not_block_on_the_portal():
    async with open_runtime() as runtime:
        total = await runtime.spawn("total", Total)
        portal = runtime.portal()
        with pytest.raises(RuntimeError, match="call the ref itself"):
            portal.ask(total, Add())
        with pytest.raises(RuntimeError, match="call the ref itself"):
            portal.tell(total, Add())


async def test_a_call_from_a_thread_says_so_and_does_nothing():
    async with open_runtime() as runtime:
        total = await runtime.spawn("total", Total)
        slot = await total.submit(Hold())
        await total.ask(Add(0))
        actor_timer = total._cell.current.actor.send_after(1000, Add(5))
        for call in (
            partial(total.tell_nowait, Add(7)),
            partial(slot.reply, 1),
            partial(slot.fail, ValueError()),
            slot.cancel,
            actor_timer.cancel,
            partial(total._cell.current.actor.send_after, 1, Add(9)),
            total._cell.current.actor.stop,
            partial(slot.postpone, 1e9),
            partial(total.when_room, list),
            partial(runtime.root.remove_child, "total"),
            runtime.snapshot,
            runtime.portal,
        ):
            error = await run_in_own_thread(call)
            assert isinstance(error, RuntimeError)
            assert "portal" in str(error)
        assert not slot.done
        assert slot.deadline == float("inf")
        assert not actor_timer.done
        assert await total.ask(Add(0)) == 0
        slot.reply(1)


async def test_a_worker_thread_of_trio_may_call_the_ref_through_trio():
    async with open_runtime() as runtime:
        total = await runtime.spawn("total", Total)
        assert await trio.to_thread.run_sync(trio.from_thread.run, total.ask, Add(4)) == 4


async def test_another_run_of_trio_may_not_call_the_ref():
    """It would wake a task of the first run in the second one."""
    async with open_runtime() as runtime:
        total = await runtime.spawn("total", Total)
        slot = await total.submit(Hold())

        async def stream() -> None:
            async with total.stream(Add()):  # refused before the message is looked at
                pass

        async def reply() -> None:
            slot.reply(1)

        async def tell_nowait() -> None:
            total.tell_nowait(Add(7))

        for call in (
            partial(total.ask, Add(7)),
            partial(total.tell, Add(7)),
            partial(total.submit, Add(7)),
            partial(runtime.stop, total),
            total.wait_stopped,
            stream,
            reply,
            tell_nowait,
        ):
            error = await run_in_own_thread(partial(trio.run, call))
            assert isinstance(error, RuntimeError)
            assert "portal" in str(error)
        assert await total.ask(Add(0)) == 0
        assert slot.reply(1)


async def test_a_thread_of_a_handler_passes_its_deadline_on():
    """R4 and R18: the context of the thread goes along with the call."""
    async with open_runtime() as runtime:
        total = await runtime.spawn("total", Total)
        portal = runtime.portal()

        class Desk(Actor):
            @handles(Add)
            async def ask_in_thread(self, message: Add) -> int:
                return await trio.to_thread.run_sync(partial(portal.ask, total, Hold()))

        desk = await runtime.spawn("desk", Desk)
        deadline = trio.current_time() + 1_000
        outer = await desk.submit(Add(), deadline=deadline)
        with trio.fail_after(10):
            while total._cell.current is None or not total._cell.current.deferred:
                await trio.lowlevel.checkpoint()
        (inner,) = total._cell.current.deferred
        assert inner.deadline == deadline
        assert inner.cause is outer
        inner.reply(7)
        assert await outer.wait() == 7


async def test_a_call_at_the_instant_in_which_the_nursery_has_closed_fails():
    async with open_runtime() as runtime:
        total = await runtime.spawn("total", Total)
        async with trio.open_nursery() as nursery:
            portal = Portal(nursery)
        future = portal.submit(total, Add())
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(PortalClosed):
            future.result(0)


async def test_a_call_in_a_runtime_that_is_cancelled_does_not_keep_it_open():
    """The block waits for the thread, so the thread must not wait for the end of the block."""
    called = threading.Event()
    ended: list[object] = []

    async def call(portal: Portal, ref: Ref) -> None:
        def ask() -> int:
            called.set()
            return portal.ask(ref, Hold())

        try:
            await trio.to_thread.run_sync(ask)
        except PortalClosed as error:
            ended.append(error)

    with trio.CancelScope() as scope:
        async with open_runtime() as runtime:
            total = await runtime.spawn("total", Total)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(call, runtime.portal(), total)
                await trio.to_thread.run_sync(called.wait)
                scope.cancel()
    assert len(ended) == 1


async def test_a_runtime_can_be_shown_in_any_thread():
    async with open_runtime("app") as runtime:
        await runtime.spawn("total", Total)
        assert await trio.to_thread.run_sync(repr, runtime) == "<Runtime app, 1 actors>"
    assert repr(runtime) == "<Runtime app, 1 actors>"


async def test_a_refused_call_from_a_thread_leaves_the_actor_alive():
    """The program of the trial: the actor once never woke again, and the block hung."""
    async with open_runtime() as runtime:
        total = await runtime.spawn("total", Total)
        with pytest.raises(RuntimeError, match="portal"):
            await trio.to_thread.run_sync(total.tell_nowait, Add())
        with trio.fail_after(10):
            assert await total.ask(Add(2)) == 2
    assert runtime.shutdown_report.seconds < 5
