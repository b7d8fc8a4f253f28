"""R3, R14: the search for cycles is exact: a worker is stuck if and only if it cannot continue."""

from hypothesis import given, settings
from hypothesis import strategies as st

from callsheet.runtime._core.deadlock import stuck_cycle

WORKERS = range(6)
GRAPHS = st.lists(
    st.tuples(st.lists(st.sampled_from(WORKERS), max_size=4), st.booleans()),
    min_size=len(WORKERS),
    max_size=len(WORKERS),
)


def those_that_end(graph):
    """Return the workers that end if each one is run as soon as what it waits for has ended."""
    ended: set[int] = set()
    while True:
        ready = {
            one
            for one, (parts, needs_all) in enumerate(graph)
            if not parts or (all if needs_all else any)(part in ended for part in parts)
        }
        if ready <= ended:
            return ended
        ended |= ready


@settings(max_examples=3 * settings.default.max_examples, deadline=None)
@given(graph=GRAPHS)
def test_a_cycle_is_found_if_and_only_if_the_worker_cannot_continue(graph):
    ended = those_that_end(graph)
    for start in WORKERS:
        cycle = stuck_cycle(start, graph.__getitem__)
        assert (cycle is None) == (start in ended)
        if cycle is not None:
            assert ended.isdisjoint(cycle), "only stuck workers are named"
            assert len(set(cycle)) == len(cycle)
            for one, other in zip(cycle, [*cycle[1:], cycle[0]], strict=True):
                assert other in graph[one][0]


@settings(max_examples=2 * settings.default.max_examples, deadline=None)
@given(graph=GRAPHS)
def test_a_cycle_starts_with_the_worker_that_is_part_of_one(graph):
    cycle = stuck_cycle(0, graph.__getitem__)
    if cycle is None:
        return
    stuck = set(WORKERS) - those_that_end(graph)
    reached, pending = set(), [0]
    while pending:
        for part in graph[pending.pop()][0]:
            if part in stuck and part not in reached:
                reached.add(part)
                pending.append(part)
    assert (cycle[0] == 0) == (0 in reached)


def test_of_several_alternatives_one_is_enough_and_of_several_needs_none():
    free, stuck, either, both = range(4)
    graph = {
        free: ((), False),
        stuck: ((stuck,), False),
        either: ((free, stuck), False),
        both: ((free, stuck), True),
    }
    assert stuck_cycle(either, graph.__getitem__) is None
    assert stuck_cycle(both, graph.__getitem__) == [stuck]


def test_a_worker_is_examined_once_and_no_more_than_needed():
    asked: list[int] = []

    def needs_of(one):
        asked.append(one)
        return ((), False) if one == 1000 else ((0, one + 1), False)

    assert stuck_cycle(0, needs_of) is None
    assert len(asked) == len(set(asked)) == 1001
