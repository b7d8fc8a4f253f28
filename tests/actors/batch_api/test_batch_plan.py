"""The plan of batches: within the limits, each line once, and no line is left."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors.batch_api.plan import BatchGroup, BatchPlan, BatchSizeLimits, LineSize
from callsheet.actors.batch_api.policy import BatchApiPolicy

POOL = BatchGroup("/chat/completions", "m")
OTHER = BatchGroup("/chat/completions", "n")
WIDE = BatchSizeLimits(requests=100, bytes=10_000, inputs=100)


class Line:
    def __init__(self, name="", size=None):
        self.name = name
        self.size = size or LineSize(1, 1)

    def __repr__(self):
        return self.name


def plan(bounds=WIDE, **policy):
    return BatchPlan(BatchApiPolicy(gather_s=1.0, max_gather_s=10.0, **policy), bounds)


def names(gathered):
    return None if gathered is None else [line.name for line in gathered.lines]


def test_a_batch_is_sent_when_nothing_was_added_for_a_while():
    one = plan()
    one.add(POOL, Line("a"), LineSize(1), 0.0)
    one.add(POOL, Line("b"), LineSize(1), 0.9)
    assert one.due_at == 1.9
    assert one.take(1.8) is None
    assert names(one.take(1.9)) == ["a", "b"]
    assert (len(one), one.due_at) == (0, inf)


def test_a_trickle_does_not_hold_it_back_for_ever():
    one = plan()
    for at in range(20):
        one.add(POOL, Line(str(at)), LineSize(1), at * 0.9)
    assert len(one.take(10.0).lines) == 20


def test_each_model_and_path_has_batches_of_its_own():
    one = plan()
    one.add(POOL, Line("a"), LineSize(1), 0.0)
    one.add(OTHER, Line("b"), LineSize(1), 0.0)
    assert [names(one.take(1.0)), names(one.take(1.0)), one.take(1.0)] == [["a"], ["b"], None]


@pytest.mark.parametrize(
    "bounds",
    [
        BatchSizeLimits(requests=2, bytes=10_000, inputs=100),
        BatchSizeLimits(requests=100, bytes=20, inputs=100),
        BatchSizeLimits(requests=100, bytes=10_000, inputs=6),
    ],
)
def test_a_full_batch_is_sent_at_once_and_the_rest_stays(bounds):
    one = plan(bounds)
    for name in "abc":
        one.add(POOL, Line(name), LineSize(10, 1, 3), 0.0)
    assert names(one.take(0.0)) == ["a", "b"]
    assert one.take(0.0) is None
    assert names(one.take(0.0, draining=True)) == ["c"]


def test_tokens_over_the_limit_wait_until_a_batch_has_ended():
    one = plan(enqueued_tokens={"m": 10})
    for name in "abc":
        one.add(POOL, Line(name), LineSize(1, 5), 0.0)
    first = one.take(0.0)
    assert (names(first), first.tokens) == (["a", "b"], 10)
    assert (one.take(100.0), one.due_at) == (None, inf)
    one.ended(POOL, first.tokens)
    assert names(one.take(100.0)) == ["c"]
    assert [one.takes(POOL, LineSize(1, tokens)) for tokens in (10, 11)] == [True, False]


def test_an_overflow_parks_the_pool_until_another_batch_ends_or_some_time_has_passed():
    one = plan()
    one.begun(POOL, 7)
    one.overflowed(POOL, 5, None, until=50.0)
    one.add(POOL, Line("a"), LineSize(1, 5), 0.0)
    assert (one.take(49.0), one.due_at) == (None, 50.0)
    one.ended(POOL, 7)
    assert names(one.take(49.0)) == ["a"]


def test_a_batch_that_overflows_alone_was_too_large():
    one = plan()
    one.overflowed(POOL, 100, None, until=0.0)
    assert one.limit("m") == 50
    one.overflowed(POOL, 50, 33, until=0.0)
    assert (one.limit("m"), one.limit("n")) == (33, inf)


def test_a_request_that_leaves_a_batch_reduces_its_size():
    one = plan(BatchSizeLimits(requests=2, bytes=10_000, inputs=100))
    leaves = Line("a")
    one.add(POOL, leaves, LineSize(1), 0.0)
    assert (one.discard(leaves), one.discard(leaves)) == (True, False)
    one.add(POOL, Line("b"), LineSize(1), 0.0)
    assert one.take(0.0) is None


SIZES = st.builds(LineSize, st.integers(1, 50), st.integers(0, 30), st.integers(0, 5))
MOVES = st.one_of(
    st.tuples(st.just("add"), st.sampled_from([POOL, OTHER]), SIZES),
    st.tuples(st.just("wait"), st.floats(0, 5)),
    st.tuples(st.just("leave"), st.integers(0, 100)),
    st.tuples(st.just("end"), st.integers(0, 100)),
)


@given(st.lists(MOVES, max_size=60))
def test_no_batch_is_too_large_and_no_line_is_lost_or_doubled(moves):
    bounds = BatchSizeLimits(requests=4, bytes=100, inputs=10)
    one = plan(bounds, enqueued_tokens=60)
    now, there, gone, open_batches = 0.0, [], [], []

    def look(*, draining=False):
        while (batch := one.take(now, draining=draining)) is not None:
            sizes = [line.size for line in batch.lines]
            assert len(sizes) <= bounds.requests
            assert sum(size.bytes for size in sizes) <= bounds.bytes
            assert sum(size.inputs for size in sizes) <= bounds.inputs
            assert sum(size.tokens for size in sizes) == batch.tokens
            for line in batch.lines:
                there.remove(line)
                gone.append(line)
            open_batches.append(batch)
            for pool in (POOL, OTHER):
                tokens = sum(b.tokens for b in open_batches if b.group == pool)
                assert tokens == one.enqueued(pool.model) <= 60

    for kind, *what in moves:
        if kind == "add":
            line = Line(size=what[1])
            one.add(what[0], line, what[1], now)
            there.append(line)
        elif kind == "wait":
            now += what[0]
        elif kind == "leave" and there:
            assert one.discard(there.pop(what[0] % len(there)))
        elif kind == "end" and open_batches:
            batch = open_batches.pop(what[0] % len(open_batches))
            one.ended(batch.group, batch.tokens)
        look()
        assert len(one) == len(there)
    for _ in range(200):
        look(draining=True)
        if open_batches:
            batch = open_batches.pop()
            one.ended(batch.group, batch.tokens)
    assert not there
    assert len(set(gone)) == len(gone)
