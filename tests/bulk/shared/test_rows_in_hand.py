"""Workers as state machines against the queue: whatever happens, every row has its answer."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callsheet.bulk.shared.core import RunQueue
from callsheet.bulk.shared.hand import RowsInHand
from callsheet.bulk.shared.queue import QueuedRow

KEYS = [f"k{number}" for number in range(12)]
STEP_MS = 3000
LEASE_STEPS = 4


class Hand:
    """A worker that does each thing when it is asked to; its journal outlives it."""

    def __init__(self, name, world):
        self.name = name
        self.world = world
        self.journal = {}
        self.lives = 0
        self.start()

    def start(self):
        self.lives += 1
        self.hand = RowsInHand()
        self.hand.recover(self.journal.values())
        self.unsent, self.sent = [], []

    @property
    def who(self):
        return f"{self.name}{self.lives}"

    def take(self, count, *, is_lost=False):
        reply = self.world.queue.take(self.world.now, self.who, count)
        if not is_lost:
            self.unsent += [row.row.key for row in self.hand.take(reply)]

    def send(self):
        if self.unsent:
            key = self.unsent.pop(0)
            if key in self.hand.rows:
                assert self.hand.sent(key)
                self.sent.append(key)
                self.world.bought[key] += 1

    def end(self, *, is_response=True):
        if self.sent:
            key = self.sent.pop(0)
            self.hand.ended(key, key.encode(), is_response=is_response)

    def keep(self):
        answers, forgotten = self.hand.to_keep()
        for key in forgotten:
            self.journal.pop(key, None)
        self.journal |= {answer.key: answer for answer in answers}
        self.hand.kept(answers)

    def hand_in(self, *, is_lost=False):
        answers = self.hand.to_hand_in(3, 1000)
        entries = self.world.queue.answer(self.world.now, self.who, answers)
        if entries is not None and not is_lost:
            self.hand.handed_in(answers, entries)

    def beat(self):
        queue, now = self.world.queue, self.world.now
        reply = queue.beat(now, self.who, b"", self.hand.entries())
        for key in self.hand.beat(reply):
            assert key not in self.sent
            if key in self.unsent:
                self.unsent.remove(key)
            assert self.hand.not_sent(key) is None
        if reply.has_more:
            own = self.hand.take(queue.own(now, self.who))
            self.unsent += [row.row.key for row in own]

    def give_back(self):
        unsent, self.unsent = self.unsent, []
        entries = [entry for key in unsent if (entry := self.hand.not_sent(key)) is not None]
        self.world.queue.give_back(self.world.now, self.who, entries)

    def die(self):
        self.world.deaths += len(self.hand.rows) + 1
        self.start()

    def work_on(self):
        self.beat()
        self.take(3)
        for _ in range(4):
            self.send()
            self.end()
        self.keep()
        self.hand_in()


class World:
    def __init__(self):
        self.queue = RunQueue("r")
        self.now = 0
        self.bought = Counter()
        self.deaths = 0  # rows that were in hand
        self.losses = 0
        self.epoch = ""
        self.stored = {}
        self.hands = [Hand("a", self), Hand("b", self)]
        self.puts = 0
        self.hold()

    def tick(self):
        self.now += STEP_MS

    def hold(self):
        reply = self.queue.hold(self.now, "h", b"", 10**9, f"e{self.now}-{self.losses}")
        if reply.epoch != self.epoch:
            self.epoch = reply.epoch
            self.puts += 1
            rows = [QueuedRow(key, b"") for key in KEYS if key not in self.stored]
            assert self.queue.put(self.now, "h", reply.epoch, self.puts, rows)

    def read(self):
        self.hold()
        for answer in self.queue.answers("", 4):
            self.stored.setdefault(answer.key, answer)
            assert answer.is_parked or answer.body == answer.key.encode()
            self.queue.stored(self.now, "h", [answer.entry])

    def lose(self):
        self.losses += 1
        self.queue = RunQueue("r")


def steps(*more):
    hands = st.integers(0, 1)
    usual = [
        st.tuples(st.just("take"), hands, st.integers(1, 4)),
        *(st.tuples(st.just(name), hands) for name in ("send", "send", "end", "end", "keep")),
        *(st.tuples(st.just(name), hands) for name in ("hand_in", "beat", "give_back")),
        st.just(("read",)),
    ]
    return st.lists(st.one_of(*usual, *more), max_size=80)


LOST_REPLIES = (
    st.tuples(st.just("take_lost"), st.integers(0, 1), st.integers(1, 4)),
    st.tuples(st.just("hand_in_lost"), st.integers(0, 1)),
)
FAULTS = (
    *LOST_REPLIES,
    st.tuples(st.just("die"), st.integers(0, 1)),
    st.just(("tick",)),
    st.just(("lose",)),
)


def play(taken):
    """Do the steps, then go on without faults until the end; return the world."""
    world = World()
    for name, *arguments in taken:
        if name in ("read", "tick", "lose"):
            getattr(world, name)()
            continue
        number, *rest = arguments
        hand, is_lost = world.hands[number], name.endswith("_lost")
        method = getattr(hand, name.removesuffix("_lost"))
        method(*rest, **({"is_lost": True} if is_lost else {}))
    for _ in range(60):
        world.tick()
        for hand in world.hands:
            hand.work_on()
        world.read()
    return world


def check(world):
    assert sorted(world.stored) == sorted(KEYS)
    for hand in world.hands:
        hand.beat()
        hand.keep()
        assert not hand.hand.rows
        assert not hand.hand.has_answers
        assert hand.hand.unstored == 0
        assert hand.journal == {}


def check_without_faults(taken):
    world = play(taken)
    check(world)
    assert all(count == 1 for count in world.bought.values())
    assert all(answer.deliveries == 1 for answer in world.stored.values())


def check_with_faults(taken):
    world = play(taken)
    check(world)
    again = sum(world.bought.values()) - len(KEYS)
    silent = sum(name == "tick" for name, *_ in taken)  # a worker may be silent for its lease
    if silent < LEASE_STEPS and not world.losses:
        assert again <= world.deaths


@given(taken=steps(*LOST_REPLIES))
def test_without_deaths_every_row_is_bought_once(taken):
    check_without_faults(taken)


@given(taken=steps(*FAULTS))
def test_whatever_dies_every_row_has_an_answer(taken):
    check_with_faults(taken)


@pytest.mark.slow
@settings(max_examples=600)
@given(taken=steps(*LOST_REPLIES))
def test_without_deaths_every_row_is_bought_once_for_long(taken):
    check_without_faults(taken)


@pytest.mark.slow
@settings(max_examples=600)
@given(taken=steps(*FAULTS))
def test_whatever_dies_every_row_has_an_answer_for_long(taken):
    check_with_faults(taken)
