"""The bookkeeping of open calls: whatever happens in whatever order, each is settled once (R3)."""

import threading

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from callsheet.doors import Milestone, OpenCalls


class Bookkeeping(RuleBasedStateMachine):
    """Calls that begin, are answered, are given up, and meet the end of the thread."""

    def __init__(self):
        super().__init__()
        self.calls = OpenCalls()
        self.settled = {}  # {call: how often}
        self.refused = set()
        self.is_closed = False
        self.number = 0

    @rule()
    def begin(self):
        self.number += 1
        if self.calls.add(self.number):
            self.settled[self.number] = 0
        else:
            self.refused.add(self.number)
        assert (self.number in self.refused) is self.is_closed

    @precondition(lambda self: self.number)
    @rule(data=st.data())
    def settle(self, data):
        call = data.draw(st.integers(1, self.number))
        if self.calls.take(call):
            self.settled[call] += 1

    @rule()
    def close(self):
        self.is_closed = True
        for call in self.calls.close():
            self.settled[call] += 1

    @invariant()
    def each_call_is_settled_once_or_open(self):
        for call, times in self.settled.items():
            assert times + (call in set(self.calls)) == 1
        assert not (self.is_closed and len(self.calls))


test_bookkeeping = Bookkeeping.TestCase


def test_threads_that_end_the_same_call_settle_it_once():
    for _ in range(200):
        calls, taken = OpenCalls(), []
        assert calls.add("call")
        gate = threading.Barrier(3)

        def take(calls=calls, gate=gate, taken=taken):
            gate.wait()
            if calls.take("call"):
                taken.append("call")

        def close(calls=calls, gate=gate, taken=taken):
            gate.wait()
            taken.extend(calls.close())

        threads = [threading.Thread(target=it) for it in (take, take, close)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert taken == ["call"]


def test_a_milestone_calls_back_once_whenever_it_is_reached():
    milestone, seen = Milestone(), []
    milestone.when_reached(lambda: seen.append("before"))
    assert not milestone.is_reached
    assert not milestone.wait(0)
    milestone.reach()
    milestone.reach()
    milestone.when_reached(lambda: seen.append("after"))
    assert seen == ["before", "after"]
    assert milestone.wait()
