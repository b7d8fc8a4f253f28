"""R3: random asks between actors never hang, and fail only where a cycle can close."""

from itertools import pairwise

import trio
from hypothesis import example, given, settings
from hypothesis import strategies as st
from trio.testing import MockClock
from waiting_actors import LIMIT_S, AskAlong, Sleep, spawn_actors

from callsheet.runtime import AskFailed, Deadlock, open_runtime


def an_actor_hangs(routes):
    """Return whether sequential actors that ask along these routes reach a deadlock.

    Each route is (first, ..., last); all first actors begin at once and then ask along the route.
    Actors take messages in order of arrival. This is a simulation, step by step.
    """
    queue = {name: [] for route in routes for name in route}
    for number, route in enumerate(routes):
        queue[route[0]].append((number, 0))
    in_progress = dict.fromkeys(queue)  # {name: (route, step)}
    answered: set[tuple[int, int]] = set()
    asked: set[tuple[int, int]] = set()
    moved = True
    while moved:
        moved = False
        for name, waiting in queue.items():
            if in_progress[name] is None and waiting:
                in_progress[name] = waiting.pop(0)
                moved = True
            hand = in_progress[name]
            if hand is None:
                continue
            number, step = hand
            following = (number, step + 1)
            if step + 1 == len(routes[number]) or following in answered:
                answered.add(hand)
                in_progress[name] = None
                moved = True
            elif following not in asked:
                asked.add(following)
                queue[routes[number][step + 1]].append(following)
                moved = True
    return any(hand is not None for hand in in_progress.values())


def run_routes(routes, *, pauses=None, **settings):
    """Return the outcome of each route, in actors that ask along it."""
    results: dict[int, object] = {}

    async def client(refs, number, route):
        pause = pauses[number] if pauses else 0.0
        try:
            results[number] = await refs[route[0]].ask(AskAlong(tuple(route[1:]), pause=pause))
        except AskFailed as error:
            results[number] = error

    async def main():
        async with open_runtime(seed="0") as runtime:
            refs = await spawn_actors(
                runtime, sorted({name for route in routes for name in route}), **settings
            )
            with trio.fail_after(LIMIT_S):
                async with trio.open_nursery() as nursery:
                    for number, route in enumerate(routes):
                        nursery.start_soon(client, refs, number, route)
            for ref in refs.values():
                assert await ref.ask(Sleep()) == "slept"
                snapshot = runtime.snapshot()[ref.path]
                assert snapshot.incarnation == 1
                assert snapshot.is_conserved

    trio.run(main, clock=MockClock(autojump_threshold=0))
    return results


ROUTES = st.lists(
    st.lists(st.sampled_from("abcd"), min_size=1, max_size=4).map(tuple), min_size=1, max_size=4
)


@settings(max_examples=settings.default.max_examples, deadline=None)
@given(route=st.lists(st.sampled_from("abcdef"), min_size=1, max_size=7).map(tuple))
@example(route=("a", "b", "a"))
def test_a_route_deadlocks_exactly_if_it_returns_to_an_actor(route):
    assert an_actor_hangs([route]) == (len(set(route)) < len(route)), "the model itself"
    result = run_routes([route])[0]
    assert isinstance(result, Deadlock) == an_actor_hangs([route])


@settings(max_examples=2 * settings.default.max_examples, deadline=None)
@given(routes=ROUTES)
@example(routes=[("a", "b"), ("b", "a")])
@example(routes=[("a", "b"), ("b", "c"), ("c", "a")])
def test_routes_that_meet_never_hang_and_deadlock_only_in_a_cycle(routes):
    """No order of steps may hang, and a deadlock needs a cycle in the graph of asks."""
    results = run_routes(routes)
    asks = {(one, other) for route in routes for one, other in pairwise(route)}
    for result in results.values():
        if isinstance(result, Deadlock):
            ring = [path.removeprefix("callsheet/") for path in result.cycle]
            assert set(pairwise(ring)) <= asks
        else:
            assert result == "done"
    if not has_cycle(asks):
        assert all(result == "done" for result in results.values())


def has_cycle(edges):
    reach = set(edges)
    while True:
        more = {(one, last) for one, mid in reach for first, last in edges if mid == first} - reach
        if not more:
            return any(one == other for one, other in reach)
        reach |= more


@settings(max_examples=settings.default.max_examples, deadline=None)
@given(
    routes=ROUTES,
    pauses=st.lists(st.integers(0, 3), min_size=4, max_size=4),
    capacity=st.integers(1, 2),
    concurrency=st.integers(1, 3),
)
def test_with_full_mailboxes_pauses_and_several_workers_no_ask_hangs(
    routes, pauses, capacity, concurrency
):
    results = run_routes(routes, pauses=pauses, capacity=capacity, concurrency=concurrency)
    assert set(results) == set(range(len(routes)))
    if concurrency >= sum(len(route) for route in routes):
        assert all(result == "done" for result in results.values())


@settings(max_examples=settings.default.max_examples, deadline=None)
@given(routes=ROUTES)
def test_enough_workers_never_deadlock(routes):
    workers = sum(len(route) for route in routes)
    results = run_routes(routes, concurrency=workers)
    assert all(result == "done" for result in results.values())
