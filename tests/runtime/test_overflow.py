"""R5: what each overflow policy does with a message that finds the mailbox full."""

from functools import partial

import pytest
import trio
from desk_actors import (
    DeadLetterRecorder,
    Desk,
    Job,
    Relay,
    RelayActor,
    busy_desk,
    by_name,
    outcome,
)
from trio.testing import wait_all_tasks_blocked

from callsheet.runtime import (
    ActorStopped,
    AskTimedOut,
    Coalesce,
    Dropped,
    MailboxFull,
    Verdict,
    open_runtime,
)
from callsheet.runtime._core.mailbox import Mailbox

# ---------------------------------------------------------------- block


async def test_block_admits_senders_one_by_one_in_their_order(autojump_clock):
    done: list[str] = []
    async with open_runtime() as runtime:
        desk = await busy_desk(runtime, done, capacity=2)
        async with trio.open_nursery() as nursery:
            for number in range(6):
                nursery.start_soon(desk.tell, Job(str(number), 1))
                await wait_all_tasks_blocked()
            mailbox = runtime.snapshot()[desk.path].mailbox
            assert (mailbox.depth, mailbox.senders_waiting) == (2, 4)
    assert done == ["in progress", *"012345"]


async def test_a_sender_that_waits_for_room_can_be_cancelled_and_leaves_no_message(autojump_clock):
    done: list[str] = []
    async with open_runtime() as runtime:
        desk = await busy_desk(runtime, done, capacity=1)
        desk.tell_nowait(Job("queued"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(desk.tell, Job("before"))
            await wait_all_tasks_blocked()
            with trio.move_on_after(2) as scope:
                await desk.tell(Job("cancelled"))
            assert scope.cancelled_caught
            nursery.start_soon(desk.tell, Job("after"))
            await wait_all_tasks_blocked()
            assert runtime.snapshot()[desk.path].mailbox.senders_waiting == 2
    assert done == ["in progress", "queued", "before", "after"]


async def test_no_sender_overtakes_one_that_waits_for_room(autojump_clock):
    done: list[str] = []
    async with open_runtime() as runtime:
        desk = await busy_desk(runtime, done, capacity=1, seconds=3)
        desk.tell_nowait(Job("queued", 5))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(desk.tell, Job("waits"))
            await trio.sleep(4)  # "queued" is in progress now, and "waits" is queued
            with pytest.raises(MailboxFull):
                desk.tell_nowait(Job("pushes in"))
    assert done == ["in progress", "queued", "waits"]


async def test_a_sender_cancelled_when_a_message_is_taken_does_no_harm(autojump_clock):
    """The handler ends and the sender gives up in one tick, in either order."""
    for seed in range(8):
        done: list[str] = []
        async with open_runtime(seed=str(seed)) as runtime:
            desk = await busy_desk(runtime, done, capacity=1, seconds=5)
            desk.tell_nowait(Job("queued"))
            with trio.move_on_after(5):
                await desk.tell(Job("gives up"))
            assert await desk.ask(Job("next")) == "next"
            snapshot = runtime.snapshot()[desk.path]
            assert snapshot.incarnation == 1
            assert snapshot.is_conserved
            assert snapshot.mailbox.senders_waiting == 0
        assert done[:2] == ["in progress", "queued"]


async def test_a_message_taken_before_a_cancelled_sender_has_run_is_not_lost():
    """The same race on the mailbox itself, in a fixed order."""
    mailbox = Mailbox(1)
    mailbox.offer((Job("in"), None, 0.0, None))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mailbox.put, (Job("gives up"), None, 0.0, None))
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
        assert mailbox.take()[0].name == "in"
        assert mailbox.take() is None
    assert mailbox.statistics().senders_waiting == 0
    assert mailbox.offer((Job("next"), None, 0.0, None))
    assert mailbox.take()[0].name == "next"


async def test_a_mailbox_that_closes_as_its_sender_is_cancelled_keeps_its_messages():
    mailbox = Mailbox(1)
    mailbox.offer((Job("in"), None, 0.0, None))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mailbox.put, (Job("gives up"), None, 0.0, None))
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
        mailbox.close()
        assert mailbox.take()[0].name == "in"
    assert mailbox.statistics().senders_waiting == 0
    assert mailbox.take() is None


async def test_waiting_senders_get_an_error_when_the_actor_stops(autojump_clock):
    results: dict[str, object] = {}
    async with open_runtime(drain_s=100) as runtime:
        desk = await busy_desk(runtime, [], capacity=1)
        desk.tell_nowait(Job("queued"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(outcome, desk.ask(Job("late")), results, "late")
            await wait_all_tasks_blocked()
            await runtime.stop(desk)
    assert isinstance(results["late"], ActorStopped)
    assert results["late"].verdict is Verdict.NOT_STARTED


async def test_the_message_of_a_waiting_sender_is_taken_by_another_idle_worker(autojump_clock):
    """It does not wait for the worker that admitted it."""
    async with open_runtime(drain_s=100) as runtime:
        desk = await runtime.spawn("desk", partial(Desk, []), capacity=1, concurrency=3)
        async with trio.open_nursery() as nursery:
            for round_of in range(2):  # in the second, three workers are there and idle
                nursery.start_soon(desk.ask, Job("a", 5))
                nursery.start_soon(desk.ask, Job("b", 5))
                nursery.start_soon(desk.ask, Job("c", 5))
                await wait_all_tasks_blocked()
                assert len(runtime.snapshot()[desk.path].in_progress) == 3, round_of
                await trio.sleep(6)


# ---------------------------------------------------------------- the others


async def test_reject_fails_asks_and_tells_at_once_and_accepts_nothing(autojump_clock):
    async with open_runtime() as runtime:
        desk = await busy_desk(runtime, [], capacity=1, overflow="reject")
        desk.tell_nowait(Job("queued"))
        start = trio.current_time()
        with pytest.raises(MailboxFull) as caught:
            await desk.ask(Job("asked"))
        assert caught.value.verdict is Verdict.NOT_STARTED
        assert caught.value.capacity == 1
        for send in (desk.tell, desk.submit):
            with pytest.raises(MailboxFull):
                await send(Job("sent"))
        assert trio.current_time() == start
        snapshot = runtime.snapshot()[desk.path]
        assert snapshot.counts.accepted == 2
        assert snapshot.is_conserved


async def test_drop_newest_resolves_the_ask_that_found_no_room(autojump_clock):
    done: list[str] = []
    dead_letters = DeadLetterRecorder()
    async with open_runtime(instruments=[dead_letters]) as runtime:
        desk = await busy_desk(runtime, done, capacity=1, overflow="drop_newest")
        desk.tell_nowait(Job("queued"))
        start = trio.current_time()
        with pytest.raises(Dropped) as caught:
            await desk.ask(Job("asked"))
        await desk.tell(Job("told"))
        desk.tell_nowait(Job("told, too"))
        assert trio.current_time() == start, "a drop fails the ask at once"
        assert caught.value.verdict is Verdict.NOT_STARTED
        snapshot = runtime.snapshot()[desk.path]
        assert snapshot.counts.dropped == 3
        assert snapshot.is_conserved
    assert done == ["in progress", "queued"]
    assert dead_letters.events == [(desk.path, "Job", "dropped")] * 3


async def test_drop_oldest_resolves_the_ask_that_waited_longest(autojump_clock):
    done: list[str] = []
    dead_letters = DeadLetterRecorder()
    results: dict[str, object] = {}
    async with open_runtime(instruments=[dead_letters]) as runtime:
        desk = await busy_desk(runtime, done, capacity=2, overflow="drop_oldest")
        async with trio.open_nursery() as nursery:
            for name in "abc":
                nursery.start_soon(outcome, desk.ask(Job(name)), results, name)
                await wait_all_tasks_blocked()
            assert isinstance(results["a"], Dropped), "and at once"
            snapshot = runtime.snapshot()[desk.path]
            assert (snapshot.counts.dropped, snapshot.mailbox.depth) == (1, 2)
            assert snapshot.is_conserved
        assert (results["b"], results["c"]) == ("b", "c")
    assert done == ["in progress", "b", "c"]
    assert dead_letters.events == [(desk.path, "Job", "dropped")]


async def test_coalesce_keeps_the_place_and_resolves_the_one_it_replaces(autojump_clock):
    dead_letters = DeadLetterRecorder()
    done: list[str] = []
    results: dict[str, object] = {}
    overflow = Coalesce(by_name)
    async with open_runtime(instruments=[dead_letters]) as runtime:
        desk = await busy_desk(runtime, done, capacity=2, overflow=overflow)
        async with trio.open_nursery() as nursery:
            for key, name in enumerate(["a", "b", "a"]):
                nursery.start_soon(outcome, desk.ask(Job(name)), results, key)
                await wait_all_tasks_blocked()
            assert isinstance(results[0], Dropped)
            with pytest.raises(MailboxFull):
                desk.tell_nowait(Job("c"))
            assert runtime.snapshot()[desk.path].is_conserved
        assert (results[1], results[2]) == ("b", "a")
    assert done == ["in progress", "a", "b"], "the later a has the place of the earlier"
    assert dead_letters.events == [(desk.path, "Job", "dropped")]


async def test_a_waiting_message_that_replaces_an_older_one_admits_the_next_sender_too():
    """A message whose key is queued meanwhile needs no room, so the next sender gets the room."""
    mailbox = Mailbox(2, Coalesce(by_name))
    for name in "ad":
        mailbox.offer((Job(name), None, 0.0, None))
    async with trio.open_nursery() as nursery:
        for name in ("b", "b", "c"):
            nursery.start_soon(mailbox.put, (Job(name), None, 0.0, None))
            await wait_all_tasks_blocked()
        mailbox.take()
        assert mailbox.statistics().senders_waiting == 2
        mailbox.take()
        assert mailbox.statistics().senders_waiting == 0
        assert len(mailbox) == 2
    assert [mailbox.take()[0].name for _ in range(2)] == ["b", "c"]


async def test_a_forwarded_ask_that_is_dropped_or_rejected_fails_for_the_caller(autojump_clock):
    for overflow, error in (("drop_newest", Dropped), ("reject", MailboxFull)):
        async with open_runtime() as runtime:
            desk = await busy_desk(runtime, [], capacity=1, overflow=overflow)
            desk.tell_nowait(Job("queued"))
            relay = await runtime.spawn("relay", partial(RelayActor, desk))
            with pytest.raises(error) as caught:
                await relay.ask(Relay(Job("far")))
            assert caught.value.actor == desk.path
            assert runtime.snapshot()[relay.path].incarnation == 1


@pytest.mark.parametrize("overflow", ["explode", "", None])
async def test_an_unknown_policy_is_refused_by_its_name(overflow):
    async with open_runtime() as runtime:
        with pytest.raises(ValueError, match="overflow"):
            await runtime.spawn("desk", partial(Desk, []), overflow=overflow)


# ---------------------------------------------------------------- abandoned messages


@pytest.mark.parametrize("overflow", ["block", "reject", "drop_newest", Coalesce(by_name)])
async def test_a_message_cancelled_in_the_queue_takes_no_room_from_others(autojump_clock, overflow):
    done: list[str] = []
    async with open_runtime() as runtime:
        desk = await busy_desk(runtime, done, capacity=2, overflow=overflow)
        gone = await desk.submit(Job("gone"))
        desk.tell_nowait(Job("stays"))
        gone.cancel()
        desk.tell_nowait(Job("new"))
        snapshot = runtime.snapshot()[desk.path]
        assert (snapshot.counts.cancelled, snapshot.mailbox.depth) == (1, 2)
        assert snapshot.is_conserved
    assert done == ["in progress", "stays", "new"]


async def test_drop_oldest_removes_cancelled_messages_before_it_drops_others(autojump_clock):
    done: list[str] = []
    async with open_runtime() as runtime:
        desk = await busy_desk(runtime, done, capacity=2, overflow="drop_oldest")
        desk.tell_nowait(Job("stays"))
        gone = await desk.submit(Job("gone"))
        gone.cancel()
        desk.tell_nowait(Job("new"))
        counts = runtime.snapshot()[desk.path].counts
        assert (counts.cancelled, counts.dropped) == (1, 0)
    assert done == ["in progress", "stays", "new"]


async def test_a_waiting_sender_gets_the_room_of_a_message_that_expires(autojump_clock):
    """Not only when the next message is taken, which may be long after."""
    async with open_runtime() as runtime:
        desk = await busy_desk(runtime, [], capacity=1, seconds=100)
        results: dict[str, object] = {}
        async with trio.open_nursery() as nursery:
            nursery.start_soon(outcome, desk.ask(Job("expires"), timeout=2), results, "expires")
            await wait_all_tasks_blocked()
            start = trio.current_time()
            await desk.tell(Job("waits"))
            assert trio.current_time() - start == 2
            assert runtime.snapshot()[desk.path].is_conserved
        assert isinstance(results["expires"], AskTimedOut)
