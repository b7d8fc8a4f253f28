"""The line of a tenant as a state machine: order, limits, and turns known beforehand (R14)."""

from math import inf
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callsheet.gateway.keys import KeyTerms
from callsheet.gateway.keys.turns import TurnLine

LIMITS = st.builds(
    lambda rpm, tpm, in_flight: KeyTerms(name="a", rpm=rpm, tpm=tpm, in_flight=in_flight),
    st.sampled_from([None, 0.5, 1, 6, 60, 600]),
    st.sampled_from([None, 10, 600, 6000]),
    st.sampled_from([None, 1, 3]),
)
RATES = LIMITS.map(lambda terms: KeyTerms(name="a", rpm=terms.rpm, tpm=terms.tpm))
TOKENS = st.sampled_from([0, 0, 1, 10, 1500]) | st.integers(0, 1500)
FAR_S = 1e7


class Clocked:
    """A line, and time that passes."""

    def __init__(self, terms, ahead=()):
        self.now, self.line, self.terms = 1000.0, TurnLine(terms, 1000.0), terms
        self.waiting, self.running, self.turns = [], [], []
        for tokens in ahead:
            self.join(tokens)

    def join(self, tokens, earlier_s=None):
        came = None if earlier_s is None else self.now - earlier_s
        self.waiting.append(self.line.join(tokens, self.now, came))
        return self.waiting[-1]

    def admit(self):
        while (place := self.line.admit(self.now)) is not None:
            first = min(self.waiting, key=lambda one: one.came)
            assert place.came == first.came  # the order of the line
            self.waiting.remove(place)
            self.running.append(place)
            self.turns.append((self.now, place.tokens))
        most = self.terms.in_flight
        assert self.line.in_flight == len(self.running) <= (inf if most is None else most)
        assert self.line.waiting == len(self.waiting)

    def until(self, at):
        """Let time pass, and admit each call at its turn."""
        while True:
            self.admit()
            following = self.line.next_at(self.now)
            if following > at:
                break
            self.now = max(self.now, following)
        self.now = max(self.now, at)

    def check_rates(self):
        for amount, of in ((self.terms.rpm, lambda _: 1), (self.terms.tpm, lambda them: them)):
            if amount is None:
                continue
            rate, depth = amount / 60, max(1.0, amount)
            most = max([0, *(of(tokens) for _, tokens in self.turns)])
            for number, (begin, _) in enumerate(self.turns):
                total = 0
                for end, tokens in self.turns[number:]:
                    total += of(tokens)
                    allowed = depth + rate * (end - begin)
                    # A call of more than the whole bucket is admitted when the bucket is full.
                    assert total <= allowed + max(0.0, most - depth) + 1e-6


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("join"), TOKENS),
        st.tuples(st.just("return"), st.integers(0, 30)),
        st.tuples(st.just("leave"), st.integers(0, 9)),
        st.tuples(st.just("settle"), TOKENS),
        st.tuples(st.just("refund"), st.just(0)),
        st.tuples(st.just("end"), st.integers(0, 9)),
        st.tuples(st.just("wait"), st.integers(0, 40)),
    ),
    max_size=40,
)


@given(LIMITS, STEPS)
def test_calls_go_in_order_and_no_place_is_lost(terms, steps):
    at = Clocked(terms)
    for step, value in steps:
        if step == "join":
            at.join(value)
        elif step == "return":
            at.join(1, earlier_s=value)
        elif step == "wait":
            at.until(at.now + value)
        elif step == "leave" and at.waiting:
            at.line.leave(at.waiting.pop(value % len(at.waiting)))
        elif step in ("settle", "refund") and at.running:
            place = at.running[-1]
            if step == "settle":
                at.line.settle(place, value, at.now)
            else:
                at.line.refund(place, at.now)
        elif step == "end" and at.running:
            at.line.end(at.running.pop(value % len(at.running)), at.now)
        at.admit()
    for _ in range(len(at.waiting) + 1):
        at.until(at.now + 1e6)
        while at.running:
            at.line.end(at.running.pop(), at.now)
    assert (at.line.in_flight, at.line.waiting, at.waiting) == (0, 0, [])
    assert at.line.first is None
    at.now += 1e7
    state = at.line.state(at.now)
    assert all(one is None or one.remaining >= one.limit for one in (state.requests, state.tokens))


@given(RATES, st.lists(st.tuples(TOKENS, st.integers(0, 20)), max_size=40))
def test_no_more_is_sent_than_the_limits_allow(terms, calls):
    at = Clocked(terms)
    for tokens, pause_s in calls:
        at.join(tokens)
        at.until(at.now + pause_s)
    at.until(at.now + FAR_S)
    assert len(at.turns) == len(calls)
    at.check_rates()


@given(RATES, st.lists(TOKENS, max_size=40), TOKENS, st.integers(0, 30), st.data())
def test_the_turn_of_a_call_is_known_when_it_joins(terms, ahead, tokens, pause_s, data):
    at = Clocked(terms, ahead)
    at.until(at.now + pause_s)
    earlier_s = data.draw(st.none() | st.integers(0, 40))
    came = inf if earlier_s is None else at.now - earlier_s
    wait_s = at.line.wait_s(tokens, at.now, came)
    joined_at = at.now
    place = at.join(tokens, earlier_s)
    at.until(at.now + FAR_S)
    assert place.turn - joined_at == pytest.approx(wait_s, abs=1e-4)


@given(RATES, st.integers(0, 9), st.integers(0, 1500))
@settings(max_examples=5)
def test_with_many_calls_ahead_the_wait_is_never_overestimated(terms, seed, tokens):
    chosen = Random(seed)
    at = Clocked(terms, [chosen.randint(0, 1500) for _ in range(300)])
    at.admit()
    wait_s, joined_at = at.line.wait_s(tokens, at.now), at.now
    place = at.join(tokens)
    at.until(at.now + FAR_S)
    assert wait_s <= place.turn - joined_at + 1e-4
    if None in (terms.rpm, terms.tpm):
        assert wait_s == pytest.approx(place.turn - joined_at, abs=1e-4)


def test_calls_that_leave_are_forgotten():
    line = TurnLine(KeyTerms(name="a", rpm=1), 0.0)
    places = [line.join(1, 0.0) for _ in range(10_000)]
    for place in places[1:]:
        line.leave(place)
        line.leave(place)
    assert line.waiting == 1
    assert len(line._line) < 200
    assert line.wait_s(1, 0.0) == pytest.approx(60.0)
