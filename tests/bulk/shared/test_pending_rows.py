"""The holder's rows in the queue, against the queue itself, with losses and repetitions."""

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from callsheet.bulk.shared.core import RunQueue
from callsheet.bulk.shared.pending import PendingRows
from callsheet.bulk.shared.queue import QueueAnswer, QueuedRow, RowAnswer

KEYS = [f"key-{number}" for number in range(4)]
keys = st.sampled_from(KEYS)


def row(key):
    return QueuedRow(key, key.encode())


class HolderAndQueue(RuleBasedStateMachine):
    """A holder that tells a queue of its rows; every message may be lost on either way."""

    def __init__(self):
        super().__init__()
        self.now = 0
        self.epochs = 0
        self.queue = RunQueue("run")
        self.pending = PendingRows()
        self.calls = {}  # {key: the call that waits}
        self.numbers = iter(range(10**6))
        self.answered = {}  # {key: how often a call had an answer}
        self.stored = set()  # keys whose rows are on disk
        self.messages = 0
        self.hold()

    def hold(self):
        self.now += 1000
        self.epochs += 1
        reply = self.queue.hold(self.now, "holder", b"", 10_000, f"epoch{self.epochs}")
        assert reply.is_held
        self.pending.begin(reply.epoch)

    @rule(key=keys)
    def asks(self, key):
        if key in self.calls or key in self.stored or self.pending.is_draining:
            return
        call = next(self.numbers)
        answer = self.pending.add(row(key), key, call)
        if answer is None:
            self.calls[key] = call
        else:
            self.has_answer(key, answer)

    def has_answer(self, key, answer):
        assert answer.body == b"re " + key.encode()
        self.answered[key] = self.answered.get(key, 0) + 1
        claimed = self.pending.claim(key)
        assert claimed.keys == [key]
        self.pending.acknowledge([claimed])
        self.stored.add(key)

    @rule(key=keys)
    def gives_up(self, key):
        if self.calls.pop(key, None) is not None:
            self.pending.give_up(key)

    @rule(is_lost=st.booleans(), count=st.integers(1, 6))
    def puts(self, is_lost, count):
        rows = self.pending.to_put(count, 10**6)
        epoch = self.pending.epoch
        self.messages += 1
        if self.queue.put(self.now, "holder", "session", self.messages, rows) and not is_lost:
            self.pending.put(rows, epoch)

    @rule(is_lost=st.booleans())
    def withdraws(self, is_lost):
        asked = list(self.pending.to_withdraw())
        gone = self.queue.withdraw(self.now, "holder", asked)
        if not is_lost:
            for call in self.pending.withdrawn(asked, gone):
                assert self.pending.is_draining
                (key,) = [key for key, known in self.calls.items() if known == call]
                del self.calls[key]

    @rule(is_lost=st.booleans())
    def drops(self, is_lost):
        entries = self.pending.to_drop(100)
        if self.queue.stored(self.now, "holder", entries) and not is_lost:
            self.pending.dropped(entries)

    @rule(count=st.integers(1, 3))
    def reads(self, count):
        for answer in self.queue.answers(self.pending.after, count):
            call = self.pending.answered(answer)
            if call is not None:
                key = answer.key
                assert self.calls.pop(key) == call
                self.has_answer(key, answer)

    @rule(worker=st.sampled_from("ab"), count=st.integers(1, 3))
    def worker_takes(self, worker, count):
        self.queue.take(self.now, worker, count)

    @rule(worker=st.sampled_from("ab"), epoch=st.sampled_from(["", "lost"]))
    def worker_answers(self, worker, epoch):
        """Also rows that it had before the queue was lost."""
        rows = self.queue.own(self.now, worker).rows
        for taken in rows[:1]:
            entry = taken.entry if not epoch else f"{epoch}/1-0"
            body = b"re " + taken.row.key.encode()
            self.queue.answer(self.now, worker, [RowAnswer(entry, taken.row.key, body)])

    @rule()
    def server_loses_its_data(self):
        self.queue = RunQueue("run")
        self.hold()

    @precondition(lambda self: len(self.answered) >= 3)
    @rule()
    def drains(self):
        self.pending.is_draining = True

    @invariant()
    def each_row_has_one_answer(self):
        assert all(count == 1 for count in self.answered.values())
        assert {key for key in KEYS if self.pending.is_open(key)} == set(self.calls)

    def teardown(self):
        """Whatever was lost, each call has its answer in the end, unless its row was withdrawn."""
        self.hold()
        for _ in range(3):
            self.withdraws(is_lost=False)
            self.puts(is_lost=False, count=100)
            for worker in "ab":
                self.worker_takes(worker, 100)
                for _ in KEYS:
                    self.worker_answers(worker, "")
            self.reads(100)
            self.drops(is_lost=False)
        assert not self.calls
        assert self.pending.is_draining or not self.pending.to_put(1, 1)
        # What is left in the queue are answers that no call has asked for.
        left = {answer.key for answer in self.queue.answers("", 100)}
        assert not left & self.stored


TestHolderAndQueue = HolderAndQueue.TestCase
TestHolderAndQueue.settings = settings(
    max_examples=settings.default.max_examples // 2, stateful_step_count=30, deadline=None
)


@given(st.permutations(KEYS), st.integers(1, 100))
def test_rows_are_put_in_their_order_as_many_bytes_at_a_time_as_allowed(order, size):
    pending = PendingRows()
    pending.begin("epoch")
    for key in order:
        assert pending.add(row(key), key, key) is None
    put = []
    while rows := pending.to_put(3, size):
        assert len(rows) <= 3
        assert len(rows) == 1 or sum(len(one.body) for one in rows[:-1]) < size
        pending.put(rows, "epoch")
        put += [one.key for one in rows]
    assert put == order


def test_an_answer_that_comes_before_its_row_waits_for_it():
    pending = PendingRows()
    pending.begin("epoch")
    answer = QueueAnswer(entry="epoch/1-0", key="a", body=b"early")
    assert pending.answered(answer) is None
    assert not pending.is_clean
    assert pending.add(row("a"), "call", 1) == answer
    assert pending.is_clean
    pending.acknowledge([pending.claim("call")])
    assert pending.to_drop(10) == ["epoch/1-0"]


def put_row(key="a"):
    pending = PendingRows()
    pending.begin("epoch")
    pending.add(row(key), "call", 1)
    pending.put(pending.to_put(10, 1000), "epoch")
    assert not pending.to_put(10, 1000)
    return pending


def test_a_row_that_may_have_been_withdrawn_is_put_again_for_its_next_call():
    pending = put_row()
    pending.give_up("a")
    assert list(pending.to_withdraw()) == ["a"]  # and the reply is lost
    pending.add(row("a"), "call", 2)
    assert not list(pending.to_withdraw())
    assert [one.key for one in pending.to_put(10, 1000)] == ["a"]


def test_a_row_that_is_asked_for_while_it_is_withdrawn_is_put_again():
    pending = put_row()
    pending.give_up("a")
    asked = list(pending.to_withdraw())
    pending.add(row("a"), "call", 2)
    pending.put(pending.to_put(10, 1000), "epoch")  # before the queue withdrew it
    assert pending.withdrawn(asked, ["a"]) == []
    assert [one.key for one in pending.to_put(10, 1000)] == ["a"]


def test_rows_that_a_lost_queue_had_are_put_again_and_those_given_up_are_not():
    pending = put_row()
    pending.add(row("b"), "other", 2)
    late = pending.to_put(10, 1000)
    pending.give_up("a")
    assert pending.begin("next")
    pending.put(late, "epoch")  # the reply of the queue that was lost
    assert [one.key for one in pending.to_put(10, 1000)] == ["b"]
    assert not pending.to_withdraw()


def test_an_answer_of_a_second_worker_is_paid_twice_if_both_had_the_row_over_a_loss():
    pending = put_row()
    assert pending.begin("next")
    pending.put(pending.to_put(10, 1000), "next")
    first = QueueAnswer(entry="next/1-0", key="a", body=b"x", worker="new")
    assert pending.answered(first) == 1
    late = QueueAnswer(entry="next/2-0", key="a", body=b"y", worker="old")
    assert pending.answered(late) is None
    assert pending.paid_twice == [late]
    pending.acknowledge([pending.claim("call")])
    again = [attrs.evolve(late, entry="next/3-0"), attrs.evolve(first, entry="next/4-0")]
    for answer in again:  # the replies to both workers were lost
        assert pending.answered(answer) is None
    assert pending.paid_twice == [late]
    assert pending.early == 0
    assert pending.to_drop(10) == [f"next/{number}-0" for number in (1, 2, 3, 4)]
