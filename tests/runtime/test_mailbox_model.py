"""R4, R5, R14: a mailbox with senders that wait, give up and are cancelled, beside a plain list."""

import sys
from collections import Counter

import attrs
import pytest
import trio
from desk_actors import Job, busy_desk, outcome
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from callsheet.runtime import AskTimedOut, Coalesce, Message, ReplySlot, open_runtime
from callsheet.runtime._core.mailbox import Mailbox
from callsheet.runtime._core.queues import Admission


@attrs.frozen
class Item(Message[None]):
    number: int
    key: int


@attrs.define(eq=False)
class Entry:
    """One message in the model."""

    number: int
    key: int
    slot: ReplySlot[None] | None


@attrs.define
class Model:
    """What a mailbox does, with lists that are searched from end to end.

    Attributes:
        inside: the messages, in the order of their places.
        waiting: the messages of senders that wait for room, in their order.
        dropped: the numbers of the messages that were dropped.
    """

    capacity: int
    policy: str
    ranked: bool
    inside: list[Entry] = attrs.field(factory=list)
    waiting: list[Entry] = attrs.field(factory=list)
    dropped: list[int] = attrs.field(factory=list)
    accepted: int = 0
    closed: bool = False

    def offer(self, new: Entry) -> Admission:
        rivals = [one for one in self.waiting if one.key == new.key]
        if self.policy == "coalesce" and any(one.key == new.key for one in self.inside):
            for rival in rivals:
                self.waiting.remove(rival)
                self.push(rival)
            self.push(new)
            return Admission.ACCEPTED
        if len(self.inside) < self.capacity:
            self.push(new)
            return Admission.ACCEPTED
        if self.policy == "drop_oldest":
            last = max(one.key for one in self.inside) if self.ranked else new.key
            if new.key > last:
                return Admission.DROPPED
            oldest = next(one for one in self.inside if not self.ranked or one.key == last)
            self.inside.remove(oldest)
            self.dropped.append(oldest.number)
            self.push(new)
            return Admission.ACCEPTED
        others = {"reject": Admission.REJECTED, "drop_newest": Admission.DROPPED}
        return others.get(self.policy, Admission.FULL)

    def push(self, new: Entry) -> None:
        self.accepted += 1
        if self.policy == "coalesce":
            for place, one in enumerate(self.inside):
                if one.key == new.key:
                    self.dropped.append(one.number)
                    self.inside[place] = new
                    return
        self.inside.append(new)

    def first(self, entries: list[Entry]) -> Entry:
        return min(entries, key=lambda one: one.key) if self.ranked else entries[0]

    def take(self) -> Entry | None:
        if not self.inside:
            return None
        one = self.first(self.inside)
        self.inside.remove(one)
        self.admit()
        return one

    def leave(self, one: Entry) -> None:
        for entries in (self.inside, self.waiting):
            if one in entries:
                entries.remove(one)
        self.admit()

    def admit(self) -> None:
        while self.waiting and len(self.inside) < self.capacity and not self.closed:
            one = self.first(self.waiting)
            self.waiting.remove(one)
            self.push(one)


class Pair:
    """A mailbox and its model, which do the same steps; each step is checked."""

    def __init__(self, nursery: trio.Nursery, capacity: int, policy: str, *, ranked: bool) -> None:
        self.model = Model(capacity, policy, ranked)
        self.nursery = nursery
        self.entries: list[Entry] = []
        self.dropped: list[int] = []
        self.skipped: Counter[object] = Counter()
        self.gone: Counter[object] = Counter()  # in the model
        self.scopes: dict[int, trio.CancelScope] = {}  # {number: of a sender that waits}
        self.closed: list[int] = []
        key = (lambda message: message.key) if ranked else None
        overflow = Coalesce(lambda message: message.key) if policy == "coalesce" else policy
        self.mailbox = Mailbox(capacity, overflow, key, self)

    path = "test"
    blockers = ()

    def skip(self, slot):
        self.skipped.update([slot])

    def drop(self, envelope):
        self.dropped.append(envelope[0].number)
        if envelope[1] is not None:
            envelope[1].fail(ValueError("dropped"))

    async def wait_for_room(self, entry, envelope):
        with trio.CancelScope() as self.scopes[entry.number]:
            try:
                await self.mailbox.put(envelope)
            except trio.ClosedResourceError:
                self.closed.append(entry.number)
        del self.scopes[entry.number]

    async def send(self, key, kind):
        entry = Entry(len(self.entries), key, ReplySlot() if kind else None)
        envelope = (Item(entry.number, key), entry.slot, 0.0, None)
        if self.model.closed:
            with pytest.raises(trio.ClosedResourceError):
                self.mailbox.offer(envelope)
            return
        self.entries.append(entry)
        fate = self.mailbox.offer(envelope)
        assert fate is self.model.offer(entry)
        if fate is Admission.ACCEPTED and entry.slot is not None:
            entry.slot.hold(self.mailbox)  # as the inbox does
        if fate is Admission.FULL:
            self.model.waiting.append(entry)
            self.nursery.start_soon(self.wait_for_room, entry, envelope)

    async def take(self, *_):
        taken = self.mailbox.take()
        expected = self.model.take()
        assert (taken and taken[0].number) == (expected and expected.number)
        if taken is not None and taken[1] is not None:
            taken[1].hold(None)
            taken[1].reply(None)

    async def give_up(self, which, _):
        asked = [one for one in (*self.model.inside, *self.model.waiting) if one.slot is not None]
        if asked:
            entry = asked[which % len(asked)]
            if entry in self.model.inside:
                self.gone[entry.slot] += 1
            entry.slot.cancel()
            self.model.leave(entry)

    async def cancel(self, which, _):
        if self.model.waiting:
            entry = self.model.waiting[which % len(self.model.waiting)]
            self.scopes[entry.number].cancel()
            self.model.leave(entry)

    async def close(self, *_):
        waiting = [entry.number for entry in self.model.waiting]
        self.model.waiting.clear()
        self.model.closed = True
        self.mailbox.close()
        await wait_all_tasks_blocked()
        assert sorted(self.closed[-len(waiting) :] if waiting else []) == waiting

    async def check(self):
        await wait_all_tasks_blocked()
        model, statistics = self.model, self.mailbox.statistics()
        assert statistics.depth == len(self.mailbox) == len(model.inside) <= model.capacity
        assert statistics.peak <= model.capacity
        assert statistics.senders_waiting == len(model.waiting)
        assert statistics.accepted == model.accepted
        assert self.dropped == model.dropped
        assert self.skipped == self.gone, "each message that is given up is counted once"
        assert sorted(self.scopes) == [entry.number for entry in model.waiting]


STEPS = ["send"] * 6 + ["take"] * 2 + ["give_up"] * 2 + ["cancel"]


@settings(max_examples=settings.default.max_examples, deadline=None)
@given(
    capacity=st.integers(1, 4),
    policy=st.sampled_from(["block", "reject", "drop_newest", "drop_oldest", "coalesce"]),
    ranked=st.booleans(),
    steps=st.lists(
        st.tuples(st.sampled_from(STEPS), st.integers(0, 3), st.booleans()), max_size=60
    ),
    closes_at=st.integers(0, 60),
)
def test_a_mailbox_with_senders_does_what_lists_would_do(
    capacity, policy, ranked, steps, closes_at
):
    steps.insert(closes_at, ("close", 0, False))

    async def main():
        async with trio.open_nursery() as nursery:
            pair = Pair(nursery, capacity, policy, ranked=ranked and policy != "coalesce")
            for name, number, kind in steps:
                await getattr(pair, name)(number, kind)
                await pair.check()
            while pair.model.inside:
                await pair.take()
                await pair.check()
            assert pair.mailbox.take() is None
            nursery.cancel_scope.cancel()

    trio.run(main)


def calls_to_expire(number: int) -> int:
    """Return how many calls the expiry of `number` asks takes while as many senders wait."""
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    async def main():
        async with open_runtime(drain_s=0) as runtime, trio.open_nursery() as nursery:
            desk = await busy_desk(runtime, [], capacity=number, seconds=1e6)
            ended: dict[object, object] = {}
            for place in range(number):
                ask = desk.ask(Job(str(place)), timeout=10)
                nursery.start_soon(outcome, ask, ended, place)
            await wait_all_tasks_blocked()
            for _ in range(number):
                nursery.start_soon(desk.tell, Job("waits"))
            await wait_all_tasks_blocked()
            sys.setprofile(count)
            await trio.sleep(11)
            sys.setprofile(None)
            assert all(isinstance(error, AskTimedOut) for error in ended.values())
            mailbox = runtime.snapshot()[desk.path].mailbox
            assert (len(ended), mailbox.senders_waiting) == (number, 0)
            assert runtime.snapshot()[desk.path].is_conserved
            nursery.cancel_scope.cancel()

    trio.run(main, clock=MockClock(autojump_threshold=0))
    return calls


def test_the_expiry_of_many_asks_with_senders_waiting_is_not_quadratic():
    """Trial 16: 4,000 took 2.15 s. Eight times as many took 64 times as many calls."""
    assert calls_to_expire(1600) < 12 * calls_to_expire(200)
