"""R17: priorities, keys and callbacks that raise or return nonsense cost no other message."""

import gc
from contextlib import suppress
from math import nan

import attrs
import pytest
import trio
from desk_actors import Job, Relay, RelayActor, busy_desk, by_name, outcome
from trio.testing import wait_all_tasks_blocked

from callsheet.runtime import (
    Actor,
    AskFailed,
    AskTimedOut,
    Coalesce,
    MailboxFull,
    MailboxFunctionFailed,
    Message,
    ReplySlot,
    UnhandledMessage,
    defers,
    handles,
    open_runtime,
)
from callsheet.runtime._core.mailbox import Mailbox

# ---------------------------------------------------------------- priorities and keys


def raises(message):
    if message.name == "bad":
        raise ValueError("no priority")
    return message.priority


def returns(value):
    return lambda message: value if message.name == "bad" else message.priority


def keyed_by(value):
    return Coalesce(lambda message: value if message.name == "bad" else message.name)


NONSENSE = [
    {"overflow": overflow, "priority": priority}
    for overflow in ("block", "reject", "drop_newest", "drop_oldest")
    for priority in (raises, returns(nan), returns(None), returns("high"), returns(10**400))
] + [{"overflow": keyed_by([])}, {"overflow": Coalesce(raises)}]


@pytest.mark.parametrize("capacity", [1, 10])
@pytest.mark.parametrize("settings", NONSENSE)
async def test_a_function_that_fails_reaches_its_sender_only(autojump_clock, capacity, settings):
    """Trial 6: also with a full mailbox, which has to drop or to wait."""
    results: dict[str, object] = {}
    async with open_runtime() as runtime:
        desk = await busy_desk(runtime, [], capacity=capacity, **settings)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(outcome, desk.ask(Job("good")), results, "good")
            await wait_all_tasks_blocked()
            with pytest.raises(MailboxFunctionFailed, match=f"{desk.path}.*Job") as caught:
                await desk.ask(Job("bad"))
            assert isinstance(caught.value.__cause__, Exception)
            with pytest.raises(MailboxFunctionFailed):
                await desk.tell(Job("bad"))
            with pytest.raises(MailboxFunctionFailed):
                desk.tell_nowait(Job("bad"))
        assert results["good"] == "good"
        snapshot = runtime.snapshot()[desk.path]
        assert snapshot.incarnation == 1
        assert snapshot.is_conserved


@pytest.mark.parametrize("overflow", ["block", "drop_oldest"])
async def test_the_program_of_trial_6_loses_no_ask(autojump_clock, overflow):
    """capacity=1, and asks with priorities 1, 2 and None."""
    results: dict[str, object] = {}
    async with open_runtime() as runtime:
        desk = await busy_desk(
            runtime, [], capacity=1, overflow=overflow, priority=lambda m: -m.priority
        )
        async with trio.open_nursery() as nursery:
            for priority in (1, 2, None):
                job = Job(str(priority), priority=priority)
                nursery.start_soon(outcome, desk.ask(job), results, str(priority))
                await wait_all_tasks_blocked()
        assert isinstance(results["None"], MailboxFunctionFailed)
        assert results["2"] == "2"
        assert runtime.snapshot()[desk.path].is_conserved


async def test_a_forward_whose_priority_fails_fails_the_ask_and_not_the_relay(autojump_clock):
    async with open_runtime() as runtime:
        desk = await busy_desk(runtime, [], priority=raises)
        relay = await runtime.spawn("relay", lambda: RelayActor(desk))
        with pytest.raises(MailboxFunctionFailed):
            await relay.ask(Relay(Job("bad")))
        assert runtime.snapshot()[relay.path].incarnation == 1
        assert runtime.snapshot()[desk.path].incarnation == 1


async def test_the_function_runs_once_for_each_message(autojump_clock):
    """Also for one that finds no room, and waits."""
    seen: list[str] = []

    def priority(message):
        seen.append(message.name)
        return 0

    async with open_runtime() as runtime:
        desk = await busy_desk(runtime, [], capacity=1, priority=priority)
        seen.clear()
        async with trio.open_nursery() as nursery:
            for name in "abc":
                nursery.start_soon(desk.ask, Job(name))
    assert sorted(seen) == ["a", "b", "c"]


@attrs.frozen(eq=False)
class Prickly:
    """A key that cannot be compared with another one."""

    name: str

    def __hash__(self) -> int:
        return 1

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("incomparable")


async def test_keys_that_cannot_be_compared_fail_their_own_sender(autojump_clock):
    """The comparison happens when a waiting message enters, in the actor's task."""
    results: dict[str, object] = {}
    overflow = Coalesce(lambda m: Prickly(m.name) if m.name.startswith("bad") else m.name)
    async with open_runtime() as runtime:
        desk = await busy_desk(runtime, [], capacity=2, overflow=overflow)
        async with trio.open_nursery() as nursery:
            for name in ("a", "bad 1", "bad 2", "b"):
                nursery.start_soon(outcome, desk.ask(Job(name)), results, name)
                await wait_all_tasks_blocked()
        assert (results["a"], results["b"], results["bad 1"]) == ("a", "b", "bad 1")
        assert isinstance(results["bad 2"], MailboxFunctionFailed)
        assert runtime.snapshot()[desk.path].incarnation == 1


# ---------------------------------------------------------------- waiting by priority and by key


async def test_a_waiting_sender_enters_by_its_priority(autojump_clock):
    """Trial 14: with a capacity of 2 and 12 low messages first, the high one was 12th."""
    done: list[str] = []
    async with open_runtime() as runtime:
        desk = await busy_desk(runtime, done, capacity=2, priority=lambda message: message.priority)
        async with trio.open_nursery() as nursery:
            for number in range(12):
                nursery.start_soon(desk.tell, Job(f"low {number}", priority=9))
                await wait_all_tasks_blocked()
            nursery.start_soon(desk.tell, Job("high", priority=1))
            await wait_all_tasks_blocked()
    assert done.index("high") <= 2, done
    assert [name for name in done if "low" in name] == [f"low {number}" for number in range(12)]


async def test_a_less_urgent_message_drops_itself_and_not_a_more_urgent_one(autojump_clock):
    """Trial 14, with "drop_oldest"."""
    done: list[str] = []
    async with open_runtime() as runtime:
        desk = await busy_desk(
            runtime,
            done,
            capacity=1,
            overflow="drop_oldest",
            priority=lambda message: message.priority,
        )
        await desk.tell(Job("high", priority=1))
        await desk.tell(Job("low", priority=9))
        assert runtime.snapshot()[desk.path].counts.dropped == 1
    assert done == ["in progress", "high"]


async def test_a_newer_message_is_never_replaced_by_one_that_waited_for_room():
    """The earlier message with its key enters first, for it needs no room either."""
    mailbox = Mailbox(2, Coalesce(by_name))
    for name in "ad":
        mailbox.offer((Job(name), None, 0.0, None))
    async with trio.open_nursery() as nursery:
        for seconds in (1, 2):
            nursery.start_soon(mailbox.put, (Job("b", seconds), None, 0.0, None))
            await wait_all_tasks_blocked()
        assert mailbox.take()[0].name == "a"  # the first b has entered
        mailbox.offer((Job("b", 3), None, 0.0, None))
        await wait_all_tasks_blocked()
        assert mailbox.statistics().senders_waiting == 0
    assert mailbox.take()[0].name == "d"
    assert mailbox.take()[0] == Job("b", 3)


# ---------------------------------------------------------------- callbacks


async def test_callbacks_that_raise_are_contained(autojump_clock):
    called: list[str] = []

    def fails(*_: object) -> None:
        called.append("fails")
        raise RuntimeError("bug")

    async with open_runtime() as runtime:
        desk = await busy_desk(runtime, [], capacity=1)
        slot = await desk.submit(Job("queued"))
        slot.on_settled(fails)
        slot.on_settled(lambda _: called.append("next"))
        desk.when_room(fails)
        desk.when_room(lambda: called.append("room"))
        assert await desk.ask(Job("last")) == "last"
        assert await slot.wait() == "queued"
        snapshot = runtime.snapshot()[desk.path]
        assert snapshot.incarnation == 1
        assert snapshot.is_conserved
    assert called == ["fails", "room", "fails", "next"]


async def test_two_tasks_may_wait_for_one_slot(autojump_clock):
    async with open_runtime() as runtime:
        desk = await busy_desk(runtime, [])
        slot = await desk.submit(Job("both", 1))
        results: dict[int, object] = {}
        async with trio.open_nursery() as nursery:
            for number in range(3):
                nursery.start_soon(outcome, slot.wait(), results, number)
            with trio.move_on_after(1):
                await slot.wait()
        assert results == dict.fromkeys(range(3), "both"), "one that leaves cancels it for none"
        slot = await desk.submit(Job("neither", 100))
        with trio.move_on_after(1):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(slot.wait)
                nursery.start_soon(slot.wait)
        assert slot.done, "all have left"


# ---------------------------------------------------------------- forwards and told messages


@attrs.frozen
class Ping(Message[None]):
    pass


async def test_forwarding_what_the_target_does_not_handle_says_so(autojump_clock):
    """Trial 16: it said that a live actor "is stopped"."""

    class Wrong(RelayActor):
        @defers(Relay)
        async def relay(self, message: Relay, slot: ReplySlot[str]) -> None:
            await slot.forward(self.desk, Ping())

    async with open_runtime() as runtime:
        desk = await busy_desk(runtime, [])
        relay = await runtime.spawn("relay", lambda: Wrong(desk))
        with pytest.raises((UnhandledMessage, AskFailed), match=r"no handler for .*Ping") as caught:
            await relay.ask(Relay(Job("x")))
        assert "stopped" not in str(caught.value)
        assert runtime.snapshot()[relay.path].incarnation == 1


@attrs.frozen
class Wait(Message[None]):
    seconds: float


class Slow(Actor):
    @handles(Wait)
    async def wait(self, message: Wait) -> None:
        await trio.sleep(message.seconds)


async def test_a_forward_whose_asker_has_given_up_blocks_the_relay_no_longer(autojump_clock):
    """Trial 4: the relay's next message waited 99.97 s."""
    async with open_runtime(drain_s=1) as runtime, trio.open_nursery() as nursery:
        slow = await runtime.spawn("slow", Slow, capacity=1)
        fast = await runtime.spawn("fast", Slow)

        class Choose(Actor):
            @defers(Wait)
            async def choose(self, message: Wait, slot: ReplySlot[None]) -> None:
                await slot.forward(slow if message.seconds else fast, message)

        relay = await runtime.spawn("relay", Choose)
        results: dict[int, object] = {}
        for seconds, timeout in ((100, 1000), (50, 1000), (60, 1)):
            ask = relay.ask(Wait(seconds), timeout=timeout)
            nursery.start_soon(outcome, ask, results, seconds)
            await trio.sleep(0.01)
        start = trio.current_time()
        await relay.ask(Wait(0))
        assert trio.current_time() - start < 1
        assert isinstance(results[60], AskTimedOut)
        assert runtime.snapshot()[slow.path].mailbox.senders_waiting == 0
        nursery.cancel_scope.cancel()


class Keeper(Actor):
    """Keeps the slots of all messages, without replying."""

    def __init__(self) -> None:
        self.slots: list[ReplySlot[None]] = []

    @defers(Ping)
    async def keep(self, message: Ping, slot: ReplySlot[None]) -> None:
        self.slots.append(slot)


async def test_a_told_message_is_done_when_the_handler_that_defers_returns(autojump_clock):
    """Trial 16: 1,000 stayed deferred, and the shutdown took all of `drain_s`."""
    async with open_runtime(drain_s=100) as runtime:
        keeper = await runtime.spawn("keeper", Keeper, max_deferred=2)
        for _ in range(1000):
            await keeper.tell(Ping())
        snapshot = runtime.snapshot()[keeper.path]
        await trio.sleep(1)
        snapshot = runtime.snapshot()[keeper.path]
        assert (snapshot.deferred, snapshot.counts.handled) == (0, 1000)
        assert snapshot.is_conserved
        start = trio.current_time()
    assert trio.current_time() == start


# ---------------------------------------------------------------- what is left behind


class Declared(Exception):
    pass


@attrs.frozen
class Fail(Message[None]):
    how: str


class Failing(Actor):
    @handles(Fail, raises=(Declared,))
    async def fail(self, message: Fail) -> None:
        if message.how == "declared":
            raise Declared
        await trio.sleep(1)


class Deferring(Actor):
    @defers(Fail)
    async def fail(self, message: Fail, slot: ReplySlot[None]) -> None:
        try:
            self.declare()
        except Declared as error:
            slot.fail(error)

    def declare(self) -> None:
        raise Declared


@pytest.mark.parametrize(
    ("factory", "how"),
    [
        (Failing, "declared"),
        pytest.param(Failing, "expired", marks=pytest.mark.slow),
        pytest.param(Deferring, "failed", marks=pytest.mark.slow),
    ],
)
async def test_a_failed_ask_leaves_no_reference_circle(autojump_clock, factory, how):
    """Trial 16: about ten objects for each. So memory is freed without the collector."""
    async with open_runtime() as runtime:
        ref = await runtime.spawn("actor", factory)

        async def fail() -> None:
            with pytest.raises((Declared, AskTimedOut)):
                await ref.ask(Fail(how), timeout=0.1)

        await fail()
        gc.collect()
        gc.disable()
        try:
            for _ in range(20):
                await fail()
            await trio.sleep(2)
            assert gc.collect() < 20, "less than one object for each ask"
        finally:
            gc.enable()


@pytest.mark.slow
async def test_a_refused_ask_leaves_no_reference_circle(autojump_clock):
    async with open_runtime() as runtime:
        desk = await busy_desk(runtime, [], capacity=1, overflow="reject")
        desk.tell_nowait(Job("fills it"))

        async def fail() -> None:
            with suppress(MailboxFull):
                await desk.ask(Job("refused"), timeout=100)

        gc.collect()
        gc.disable()
        try:
            for _ in range(20):
                await fail()
            assert gc.collect() < 20
        finally:
            gc.enable()
