"""R5, R6: what a full mailbox does with one more message, through real actors."""

from functools import partial

import attrs
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from callsheet.runtime import (
    Actor,
    ActorStopped,
    AskFailed,
    AskTimedOut,
    Coalesce,
    DeadLetter,
    Dropped,
    Instrument,
    MailboxFull,
    Message,
    Ref,
    ReplySlot,
    Verdict,
    defers,
    handles,
    open_runtime,
)
from callsheet.runtime._core.mailbox import Mailbox


@attrs.frozen
class Job(Message[str]):
    """Is answered with its name after some seconds."""

    name: str
    seconds: float = 0.0
    priority: float = 0.0


@attrs.frozen
class Alert(Message[str]):
    name: str


@attrs.frozen
class Hand(Message[str]):
    job: Job


class Desk(Actor):
    def __init__(self, done: list[str]) -> None:
        self.done = done

    @handles(Job)
    async def job(self, message: Job) -> str:
        await trio.sleep(message.seconds)
        self.done.append(message.name)
        return message.name

    @handles(Alert, urgent=True)
    async def alert(self, message: Alert) -> str:
        self.done.append(message.name)
        return message.name


class Clerk(Actor):
    def __init__(self, desk: Ref) -> None:
        self.desk = desk

    @defers(Hand)
    async def hand(self, message: Hand, slot: ReplySlot[str]) -> None:
        await slot.forward(self.desk, message.job)


class DeadLetters(Instrument):
    def __init__(self) -> None:
        self.events: list[DeadLetter] = []

    def dead_letter(self, event: DeadLetter) -> None:
        self.events.append(event)


def by_name(message):
    return message.name


async def busy_desk(runtime, done, *, seconds=5.0, **place):
    """A desk that has a job in hand for some seconds, and an empty mailbox."""
    desk = await runtime.spawn("desk", partial(Desk, done), **place)
    desk.tell_nowait(Job("in hand", seconds))
    await wait_all_tasks_blocked()
    return desk


async def outcome(ask, results, key):
    try:
        results[key] = await ask
    except AskFailed as error:
        results[key] = error


# ---------------------------------------------------------------- block


async def test_block_lets_senders_in_one_by_one_in_the_order_they_came(autojump_clock):
    done: list[str] = []
    async with open_runtime() as runtime:
        desk = await busy_desk(runtime, done, capacity=2)
        async with trio.open_nursery() as nursery:
            for number in range(6):
                nursery.start_soon(desk.tell, Job(str(number), 1))
                await wait_all_tasks_blocked()
            mailbox = runtime.snapshot()[desk.path].mailbox
            assert (mailbox.depth, mailbox.senders_waiting) == (2, 4)
    assert done == ["in hand", *"012345"]


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
    assert done == ["in hand", "queued", "before", "after"]


async def test_nobody_passes_a_sender_who_waits_for_room(autojump_clock):
    done: list[str] = []
    async with open_runtime() as runtime:
        desk = await busy_desk(runtime, done, capacity=1, seconds=3)
        desk.tell_nowait(Job("queued", 5))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(desk.tell, Job("waits"))
            await trio.sleep(4)  # "queued" is in hand now, and "waits" has its place
            with pytest.raises(MailboxFull):
                desk.tell_nowait(Job("pushes in"))
    assert done == ["in hand", "queued", "waits"]


async def test_a_sender_cancelled_at_the_instant_a_message_is_taken_harms_nobody(autojump_clock):
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
        assert done[:2] == ["in hand", "queued"]


async def test_a_message_taken_before_a_cancelled_sender_has_run_is_not_lost():
    """The same race on the mailbox itself, where its order can be told."""
    mailbox = Mailbox(1)
    mailbox.offer((Job("in"), None, 0.0))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mailbox.put, (Job("gives up"), None, 0.0))
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
        assert mailbox.take()[0].name == "in"
        assert mailbox.take() is None
    assert mailbox.statistics().senders_waiting == 0
    assert mailbox.offer((Job("next"), None, 0.0))
    assert mailbox.take()[0].name == "next"


async def test_a_mailbox_that_closes_as_its_sender_is_cancelled_still_gives_what_it_has():
    mailbox = Mailbox(1)
    mailbox.offer((Job("in"), None, 0.0))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mailbox.put, (Job("gives up"), None, 0.0))
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
        mailbox.close()
        assert mailbox.take()[0].name == "in"
    assert mailbox.statistics().senders_waiting == 0
    assert mailbox.take() is None


async def test_senders_that_wait_are_told_when_the_actor_stops(autojump_clock):
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


async def test_a_message_let_in_from_the_door_is_taken_by_another_idle_worker(autojump_clock):
    """It is not left in the mailbox until the one who let it in is done."""
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


async def test_reject_tells_asks_and_tells_at_once_and_counts_nothing_as_taken(autojump_clock):
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
    letters = DeadLetters()
    async with open_runtime(instruments=[letters]) as runtime:
        desk = await busy_desk(runtime, done, capacity=1, overflow="drop_newest")
        desk.tell_nowait(Job("queued"))
        start = trio.current_time()
        with pytest.raises(Dropped) as caught:
            await desk.ask(Job("asked"))
        await desk.tell(Job("told"))
        desk.tell_nowait(Job("told, too"))
        assert trio.current_time() == start, "a drop is told at once"
        assert caught.value.verdict is Verdict.NOT_STARTED
        snapshot = runtime.snapshot()[desk.path]
        assert snapshot.counts.dropped == 3
        assert snapshot.is_conserved
    assert done == ["in hand", "queued"]
    assert letters.events == [DeadLetter(desk.path, "Job", "dropped")] * 3


async def test_drop_oldest_resolves_the_ask_that_waited_longest(autojump_clock):
    done: list[str] = []
    letters = DeadLetters()
    results: dict[str, object] = {}
    async with open_runtime(instruments=[letters]) as runtime:
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
    assert done == ["in hand", "b", "c"]
    assert letters.events == [DeadLetter(desk.path, "Job", "dropped")]


async def test_coalesce_keeps_the_place_and_resolves_the_one_it_replaces(autojump_clock):
    letters = DeadLetters()
    done: list[str] = []
    results: dict[str, object] = {}
    overflow = Coalesce(by_name)
    async with open_runtime(instruments=[letters]) as runtime:
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
    assert done == ["in hand", "a", "b"], "the later a has the place of the earlier"
    assert letters.events == [DeadLetter(desk.path, "Job", "dropped")]


async def test_a_sender_whose_message_takes_an_old_place_lets_the_next_one_in_as_well():
    """A newcomer of a key that came in meanwhile needs no room, so the room is the next one's."""
    mailbox = Mailbox(2, Coalesce(by_name))
    for name in "ad":
        mailbox.offer((Job(name), None, 0.0))
    async with trio.open_nursery() as nursery:
        for name in ("b", "b", "c"):
            nursery.start_soon(mailbox.put, (Job(name), None, 0.0))
            await wait_all_tasks_blocked()
        mailbox.take()
        assert mailbox.statistics().senders_waiting == 2
        mailbox.take()
        assert mailbox.statistics().senders_waiting == 0
        assert len(mailbox) == 2
    assert [mailbox.take()[0].name for _ in range(2)] == ["b", "c"]


async def test_a_forwarded_ask_that_is_dropped_or_rejected_is_told_to_the_asker(autojump_clock):
    for overflow, error in (("drop_newest", Dropped), ("reject", MailboxFull)):
        async with open_runtime() as runtime:
            desk = await busy_desk(runtime, [], capacity=1, overflow=overflow)
            desk.tell_nowait(Job("queued"))
            clerk = await runtime.spawn("clerk", partial(Clerk, desk))
            with pytest.raises(error) as caught:
                await clerk.ask(Hand(Job("far")))
            assert caught.value.actor == desk.path
            assert runtime.snapshot()[clerk.path].incarnation == 1


@pytest.mark.parametrize("overflow", ["explode", "", None])
async def test_an_unknown_policy_is_refused_by_its_name(overflow):
    async with open_runtime() as runtime:
        with pytest.raises(ValueError, match="overflow"):
            await runtime.spawn("desk", partial(Desk, []), overflow=overflow)


# ---------------------------------------------------------------- priorities


async def test_ranks_decide_who_goes_first_and_equals_keep_their_order(autojump_clock):
    done: list[str] = []
    async with open_runtime() as runtime:
        desk = await busy_desk(runtime, done, priority=lambda message: message.priority)
        for name, priority in [("low", 9), ("a", 1), ("b", 1), ("top", -5), ("c", 1)]:
            desk.tell_nowait(Job(name, priority=priority))
    assert done == ["in hand", "top", "a", "b", "c", "low"]


async def test_with_ranks_the_oldest_of_the_least_urgent_is_dropped(autojump_clock):
    done: list[str] = []
    async with open_runtime() as runtime:
        desk = await busy_desk(
            runtime,
            done,
            capacity=3,
            overflow="drop_oldest",
            priority=lambda message: message.priority,
        )
        for name, priority in [("low 1", 9), ("top", 1), ("low 2", 9), ("new", 5)]:
            desk.tell_nowait(Job(name, priority=priority))
    assert done == ["in hand", "top", "new", "low 2"]


async def test_submit_waits_for_room_no_longer_than_its_deadline(autojump_clock):
    """R4: the deadline counts the wait for room; the sender is let go when it has passed."""
    async with open_runtime() as runtime:
        desk = await busy_desk(runtime, [], capacity=1)
        desk.tell_nowait(Job("fills it"))
        slot = await desk.submit(Job("late"), deadline=trio.current_time() + 2.0)
        assert trio.current_time() == 2.0
        with pytest.raises(AskTimedOut):
            await slot.wait()
        assert runtime.snapshot()[desk.path].mailbox.senders_waiting == 0


# ---------------------------------------------------------------- those nobody waits for


@pytest.mark.parametrize("overflow", ["block", "reject", "drop_newest", Coalesce(by_name)])
async def test_what_was_cancelled_while_it_queued_keeps_no_room_from_others(
    autojump_clock, overflow
):
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
    assert done == ["in hand", "stays", "new"]


async def test_drop_oldest_takes_the_room_of_the_cancelled_before_it_drops_anybody(autojump_clock):
    done: list[str] = []
    async with open_runtime() as runtime:
        desk = await busy_desk(runtime, done, capacity=2, overflow="drop_oldest")
        desk.tell_nowait(Job("stays"))
        gone = await desk.submit(Job("gone"))
        gone.cancel()
        desk.tell_nowait(Job("new"))
        counts = runtime.snapshot()[desk.path].counts
        assert (counts.cancelled, counts.dropped) == (1, 0)
    assert done == ["in hand", "stays", "new"]


async def test_a_sender_who_waits_gets_the_room_of_one_that_expires(autojump_clock):
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


# ---------------------------------------------------------------- urgent ones


async def test_an_urgent_message_passes_a_full_mailbox_and_goes_first(autojump_clock):
    done: list[str] = []
    async with open_runtime() as runtime:
        desk = await busy_desk(runtime, done, capacity=1)
        desk.tell_nowait(Job("queued"))
        desk.tell_nowait(Alert("alert"))
        assert await desk.ask(Alert("another")) == "another"
        assert trio.current_time() == 5
        snapshot = runtime.snapshot()[desk.path]
        assert snapshot.is_conserved
    assert done == ["in hand", "alert", "another", "queued"]


async def test_a_stop_does_not_queue_behind_anything(autojump_clock):
    """R6: a mailbox full of work does not delay the stop beyond its seconds."""
    async with open_runtime() as runtime:
        desk = await busy_desk(runtime, [], capacity=50, seconds=1000, stop_s=3)
        for number in range(50):
            desk.tell_nowait(Job(str(number), 1000))
        start = trio.current_time()
        await runtime.stop(desk)
        assert trio.current_time() - start == 3


# ---------------------------------------------------------------- seeing in


async def test_statistics_tell_depth_capacity_peak_senders_and_age(autojump_clock):
    async with open_runtime() as runtime:
        desk = await busy_desk(runtime, [], capacity=2, seconds=5)
        assert runtime.snapshot()[desk.path].oldest_s is None
        desk.tell_nowait(Job("a", 10))
        await trio.sleep(3)
        desk.tell_nowait(Job("b"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(desk.tell, Job("c"))
            await wait_all_tasks_blocked()
            snapshot = runtime.snapshot()[desk.path]
            mailbox = snapshot.mailbox
            assert (mailbox.depth, mailbox.capacity, mailbox.peak) == (2, 2, 2)
            assert (mailbox.senders_waiting, mailbox.accepted) == (1, 3)
            assert snapshot.oldest_s == 3
        await trio.sleep(3)
        snapshot = runtime.snapshot()[desk.path]
        assert snapshot.mailbox.senders_waiting == 0
        assert snapshot.oldest_s == 5, "b came in at 3, and it is 8"


@settings(max_examples=60, deadline=None)
@given(
    overflow=st.sampled_from(["block", "reject", "drop_newest", "drop_oldest", Coalesce(by_name)]),
    ranked=st.booleans(),
    capacity=st.integers(1, 3),
    clients=st.lists(
        st.tuples(
            st.sampled_from("abc"),  # name, and so the key
            st.integers(0, 4),  # begins
            st.integers(0, 3),  # takes
            st.sampled_from([1, 2, 5, 100]),  # gives up
            st.sampled_from(["ask", "timeout", "tell"]),
        ),
        max_size=25,
    ),
)
def test_whatever_the_policy_every_ask_ends_and_the_sum_holds(overflow, ranked, capacity, clients):
    priority = (lambda message: message.priority) if ranked and isinstance(overflow, str) else None
    ended: list[str] = []

    async def client(desk, one):
        name, begins, takes, gives_up, how = one
        await trio.sleep(begins)
        job = Job(name, takes, takes)
        with trio.move_on_after(gives_up if how == "ask" else trio.current_time() + 1e6):
            try:
                if how == "tell":
                    await desk.tell(job)
                else:
                    await desk.ask(job, timeout=gives_up if how == "timeout" else 1e6)
            except AskFailed:
                pass
        ended.append(name)

    async def main():
        async with open_runtime(seed="0") as runtime:
            place = {"capacity": capacity, "overflow": overflow, "priority": priority}
            desk = await runtime.spawn("desk", partial(Desk, []), **place)
            async with trio.open_nursery() as nursery:
                for one in clients:
                    nursery.start_soon(client, desk, one)
                for _ in range(8):
                    await trio.sleep(0.7)
                    snapshot = runtime.snapshot()[desk.path]
                    assert snapshot.is_conserved, snapshot
                    assert snapshot.mailbox.depth <= capacity
            assert runtime.snapshot()[desk.path].incarnation == 1
        snapshot = desk._cell.snapshot(0.0)
        assert snapshot.is_conserved
        assert snapshot.pending == 0

    trio.run(main, clock=MockClock(autojump_threshold=0))
    assert len(ended) == len(clients)
