"""When a batch goes: the former against a model that is too slow and too simple to be wrong."""

from math import inf

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors.batch import BatchFormer, Batching


class Member:
    """Compared by identity, as those of the batcher are."""


@attrs.define
class Model:
    """Looks at everything, every time."""

    size: int
    wait: float
    members: list = attrs.field(factory=list)  # (member, when it came)

    def take(self, now, *, draining):
        if not self.members:
            return None
        first = self.members[0][1]
        if len(self.members) >= self.size:
            reason = "size"
        elif now >= first + self.wait:
            reason = "time"
        elif draining:
            reason = "drain"
        else:
            return None
        taken = [self.members.pop(0)[0] for _ in range(min(self.size, len(self.members)))]
        return taken, reason, now - first


steps = st.lists(
    st.one_of(
        st.just(("add",)),
        st.tuples(st.just("discard"), st.integers(0, 20)),
        st.tuples(st.just("take"), st.booleans()),
        st.tuples(st.just("pass"), st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0])),
    ),
    max_size=80,
)


@given(st.integers(1, 5), st.sampled_from([0.0, 0.1, 0.5, 2.0]), steps)
def test_a_former_does_what_looking_at_everything_would(size, wait, steps):
    former = BatchFormer(Batching(max_size=size, max_wait_s=wait))
    model = Model(size, wait)
    now = 0.0
    for step in steps:
        match step:
            case ("add",):
                member = Member()
                former.add(member, now)
                model.members.append((member, now))
            case ("discard", at) if model.members:
                member = model.members.pop(at % len(model.members))[0]
                former.discard(member)
            case ("take", draining):
                batch = former.take(now, draining=draining)
                expected = model.take(now, draining=draining)
                found = batch and (list(batch.members), batch.reason, batch.waited_s)
                assert found == expected
            case ("pass", seconds):
                now += seconds
        assert len(former) == len(model.members)
        assert former.due_at == (model.members[0][1] + wait if model.members else inf)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.integers(1, 6), st.floats(0, 1))
def test_nobody_waits_longer_than_the_window_when_woken_at_due_at(gaps, size, wait):
    """The instants `due_at` gives are all that anybody has to wake for."""
    former = BatchFormer(Batching(max_size=size, max_wait_s=wait))
    came, went = {}, {}
    now = 0.0

    def take_all(now):
        while (batch := former.take(now)) is not None:
            assert len(batch.members) <= size
            went.update(dict.fromkeys(batch.members, now))

    for gap in gaps:
        while former.due_at <= now + gap:
            take_all(former.due_at)
        now += gap
        member = Member()
        came[member] = now
        former.add(member, now)
        take_all(now)
    while len(former):
        take_all(former.due_at)
    assert list(went) == list(came), "in the order they came"
    for member, at in came.items():
        assert at <= went[member] <= at + wait + 1e-9


def test_the_clock_of_a_batch_starts_with_its_first_member_not_with_the_last_batch():
    former = BatchFormer(Batching(max_size=2, max_wait_s=0.5))
    former.add("a", 0.0)
    former.add("b", 0.0)
    assert former.take(0.0).reason == "size"
    former.add("lone", 0.49)
    assert former.due_at == 0.99
    assert former.take(0.5) is None, "half a second after the last batch is no reason to go"
    batch = former.take(0.99)
    assert (batch.members, batch.reason, batch.waited_s) == (("lone",), "time", 0.5)


def test_when_the_first_leaves_the_clock_is_that_of_the_next():
    former = BatchFormer(Batching(max_size=5, max_wait_s=1.0))
    first, second = Member(), Member()
    former.add(first, 0.0)
    former.add(second, 0.75)
    former.discard(first)
    assert former.due_at == 1.75
    assert former.take(1.0) is None


def test_leaving_twice_or_after_the_batch_has_gone_harms_nobody():
    former = BatchFormer(Batching(max_size=2))
    a, b, c = Member(), Member(), Member()
    for member in (a, b, c):
        former.add(member, 0.0)
    assert former.take(0.0).members == (a, b)
    former.discard(a)
    former.discard(a)
    assert former.take(0.0, draining=True).members == (c,)


def test_equal_members_are_two_members():
    former = BatchFormer(Batching(max_size=5, max_wait_s=9))
    one, other = [1], [1]
    former.add(one, 0.0)
    former.add(other, 0.0)
    former.discard(one)
    assert former.take(0.0, draining=True).members[0] is other


def test_a_drain_goes_in_batches_of_the_usual_size():
    former = BatchFormer(Batching(max_size=2, max_wait_s=9))
    for number in range(5):
        former.add(number, 0.0)
    found = []
    while (batch := former.take(1.0, draining=True)) is not None:
        found.append((batch.members, batch.reason))
    assert found == [((0, 1), "size"), ((2, 3), "size"), ((4,), "drain")]


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"max_size": 0}, "max_size"),
        ({"max_wait_s": -0.1}, "max_wait_s"),
        ({"max_wait_s": float("nan")}, "max_wait_s"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(settings, field):
    with pytest.raises(ValueError, match=field):
        Batching(**settings)
