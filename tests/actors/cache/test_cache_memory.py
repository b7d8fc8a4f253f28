"""The cache in memory, compared with a model; and the requests in flight."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors.cache.memory import MemoryCache
from callsheet.actors.cache.misses import MissesInFlight
from callsheet.actors.cache.policy import CachePolicy

KEYS = st.sampled_from("abcdef")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), KEYS, st.integers(0, 60)),
        st.tuples(st.just("get"), KEYS, st.none()),
        st.tuples(st.just("peek"), KEYS, st.none()),
        st.tuples(st.just("wait"), st.none(), st.integers(1, 8)),
        st.tuples(st.just("clear"), st.none(), st.none()),
    )
)


class Model:
    """A slow model: a list of (key, value, size, written at), least recently used first."""

    def __init__(self, max_bytes, max_entries, ttl):
        self.max_bytes, self.max_entries, self.ttl = max_bytes, max_entries, ttl
        self.kept = []

    def peek(self, key, now):
        return next((e[1] for e in self.kept if e[0] == key and now - e[3] < self.ttl), None)

    def get(self, key, now):
        value = self.peek(key, now)
        own = [entry for entry in self.kept if entry[0] == key]
        self.kept = [entry for entry in self.kept if entry[0] != key]
        if value is not None:
            self.kept += own
        return value

    def put(self, key, value, size, now):
        self.kept = [entry for entry in self.kept if entry[0] != key]
        if size <= self.max_bytes and self.max_entries:
            self.kept.append((key, value, size, now))
            while self.bytes > self.max_bytes or len(self.kept) > self.max_entries:
                self.kept.pop(0)

    @property
    def bytes(self):
        return sum(entry[2] for entry in self.kept)


@given(STEPS, st.integers(0, 100), st.integers(0, 4), st.sampled_from([5, 1000]))
def test_memory_does_what_the_model_does(steps, max_bytes, max_entries, ttl):
    memory = MemoryCache(max_bytes, max_entries, ttl)
    model = Model(max_bytes, max_entries, ttl)
    now = 0
    for number, (step, key, amount) in enumerate(steps):
        if step == "put":
            memory.put(key, number + 1, size=amount, written_at=now)
            model.put(key, number + 1, amount, now)
        elif step == "wait":
            now += amount
        elif step == "clear":
            memory.clear()
            model.kept.clear()
        else:
            assert getattr(memory, step)(key, now) == getattr(model, step)(key, now)
        assert (len(memory), memory.bytes) == (len(model.kept), model.bytes)
        assert memory.bytes <= max_bytes
        assert len(memory) <= max_entries


def test_only_what_makes_room_counts_as_evicted():
    memory = MemoryCache(100, 10, ttl_s=60)
    memory.put("a", 1, size=60, written_at=0)
    memory.put("a", 2, size=60, written_at=0)
    memory.put("too large", 3, size=101, written_at=0)
    assert memory.evicted == 0
    memory.put("b", 4, size=60, written_at=0)
    assert memory.evicted == 1
    assert memory.get("b", 60) is None
    memory.clear()
    assert (memory.evicted, len(memory), memory.bytes) == (1, 0, 0)


@given(st.lists(st.tuples(KEYS, st.booleans(), st.integers(0, 10))))
def test_of_identical_calls_each_target_stores_one_response_and_all_that_end_are_removed(steps):
    misses, joined, stored = MissesInFlight(), [], []
    for key, is_answered, at in steps:
        if at < len(joined):
            miss = joined.pop(at)
            if misses.finish(miss, key if is_answered else None):
                stored.append((miss, key))
        else:
            joined.append(misses.join(key))
        assert {miss.key for miss in joined} == {key for key in "abcdef" if key in misses}
        assert sum(miss.members for miss in set(joined)) == len(joined)
    assert len(stored) == len(set(stored))
    for miss in joined:
        misses.finish(miss, None)
    assert len(misses) == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ttl_s", 0),
        ("ttl_s", float("nan")),
        ("max_bytes", 1000),
        ("max_bytes", 2.0e9),
        ("memory_bytes", -1),
        ("memory_entries", -1),
        ("memory_entries", 0.5),
    ],
)
def test_a_policy_that_cannot_be_is_refused_by_name(name, value):
    with pytest.raises((ValueError, TypeError), match=name):
        CachePolicy(**{name: value})
