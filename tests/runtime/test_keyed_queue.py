"""The keyed queue against a model, and its costs (R14)."""

import attrs
from hypothesis import given
from hypothesis import strategies as st

from callsheet.runtime._core.keyed import Keyed
from callsheet.runtime._core.reply import Message


@attrs.frozen
class Item(Message[None]):
    number: int


class Model:
    """The same queue as a plain list, searched from its start."""

    def __init__(self):
        self.items: list[tuple[float, int, object]] = []  # (priority, number, key)
        self.in_hand: set[object] = set()

    def pop(self):
        passed = set(self.in_hand)
        for item in sorted(self.items, key=lambda one: one[:2]):
            if item[2] is None or item[2] not in passed:
                self.items.remove(item)
                if item[2] is not None:
                    self.in_hand.add(item[2])
                return item
        return None

    def evict(self, rank):
        worst = min(self.items, key=lambda one: (-one[0], one[1]), default=None)
        if worst is None or worst[0] < rank:
            return None
        self.items.remove(worst)
        return worst


KEYS = st.sampled_from([None, "a", "b", "c"])
RANKS = st.sampled_from([0.0, 1.0, 2.0])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("push"), RANKS, KEYS),
        st.tuples(st.just("pop")),
        st.tuples(st.just("release"), st.integers(0, 9)),
        st.tuples(st.just("evict"), RANKS),
        st.tuples(st.just("retain"), st.integers(2, 5)),
    ),
    max_size=80,
)


@given(STEPS)
def test_a_keyed_queue_does_what_its_model_does(steps):
    queue, model = Keyed(), Model()

    def number(envelope):
        return None if envelope is None else envelope[0].number

    for count, (what, *rest) in enumerate(steps):
        if what == "push":
            rank, key = rest
            queue.push((Item(count), None, 0.0, None), (rank, key))
            model.items.append((rank, count, key))
        elif what == "pop":
            assert queue.can_pop == _could_pop(model)
            expected = model.pop()
            taken = queue.pop()
            assert number(taken) == (None if expected is None else expected[1])
            if expected is not None:
                assert (queue.taken and queue.taken.key) == expected[2]
        elif what == "release" and model.in_hand:
            key = sorted(model.in_hand)[rest[0] % len(model.in_hand)]
            model.in_hand.discard(key)
            queue.release(queue._lines[key])
        elif what == "evict":
            expected = model.evict(rest[0])
            assert number(queue.evict((rest[0], None))) == (expected and expected[1])
        elif what == "retain":
            gone = [item for item in model.items if item[1] % rest[0] == 0]
            model.items = [item for item in model.items if item[1] % rest[0]]
            left = queue.retain(lambda envelope: envelope[0].number % rest[0] != 0)  # noqa: B023
            assert sorted(map(number, left)) == [item[1] for item in gone]
        assert len(queue) == len(model.items)
        assert sorted(map(number, queue)) == sorted(item[1] for item in model.items)


def _could_pop(model):
    return any(key is None or key not in model.in_hand for *_, key in model.items)


def test_a_closing_queue_gives_everything_out_in_its_order():
    queue = Keyed()
    for number in range(4):
        queue.push((Item(number), None, 0.0, None), (0.0, "a"))
    assert queue.pop() is not None
    assert queue.pop() is None
    queue.release_all()
    assert queue.pop() is not None
    assert not queue.can_pop
    assert len(queue) == 2


def test_what_has_left_takes_no_memory_for_good():
    """Replacing the least urgent of a key that is in hand, for ever."""
    queue = Keyed()
    for number in range(10):
        queue.push((Item(number), None, 0.0, None), (0.0, "a"))
    queue.pop()
    for number in range(5_000):
        queue.push((Item(number), None, 0.0, None), (1.0, "a"))
        assert queue.evict((1.0, "a")) is not None
    assert (
        max(
            len(queue._worst),
            len(queue._firsts),
            *(len(line.items) for line in queue._lines.values()),
        )
        < 200
    )


def test_a_message_costs_the_same_with_many_keys_in_hand():
    """A key in hand is passed over without looking at its messages each time."""
    queue = Keyed()
    looked = 0

    class Counted(str):
        __slots__ = ()

        def __hash__(self):
            nonlocal looked
            looked += 1
            return super().__hash__()

    for number in range(1_000):
        for _ in range(3):
            queue.push((Item(number), None, 0.0, None), (0.0, Counted(number)))
    while queue.pop() is not None:
        pass
    looked = 0
    for _ in range(100):
        queue.push((Item(0), None, 0.0, None), (0.0, None))
        assert queue.pop() is not None
    assert looked < 1_000
