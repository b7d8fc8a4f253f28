"""How limits and places in flight are divided between processes, by the weights of their lanes."""

import heapq
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lease_user import SOON, WORKER, LeaseUser

from callsheet.actors.rate_limit.shared import (
    LaneDemand,
    LeaseAsk,
    LimitAsk,
    PlacesAsk,
    SharedLimits,
    SharedRate,
)


def served(weights, rate, depth, for_s, round_trip_s=0.001):
    """Return the calls of processes that always have calls, by process, and the questions."""
    core = SharedLimits()
    users = [
        LeaseUser(f"w{at}", rate, depth, lanes, seconds=5.0) for at, lanes in enumerate(weights)
    ]
    calls, asked, order = [0] * len(users), 0, itertools.count()
    events = [(0.0, next(order), "ask", at, None) for at in range(len(users))]
    asking = [True] * len(users)
    while events:
        now, _, kind, at, grant = heapq.heappop(events)
        if now > for_s:
            break
        user = users[at]
        if kind == "ask":
            asked += 1
            grant = core.ask(user.question(2.0 * rate, age_s=now), now, "epoch")
            heapq.heappush(events, (now + round_trip_s, next(order), "granted", at, grant))
            continue
        if kind == "granted":
            user.apply(grant, now)
            asking[at] = False
        done = user.use_calls(now)
        calls[at] += done * (now > for_s / 4)  # not the burst at the start
        least = max([held.amount for held in user.leases], default=0.0) / 2.0
        if not asking[at] and user.left < max(1.0, least):
            asking[at] = True
            heapq.heappush(events, (now + round_trip_s, next(order), "ask", at, None))
        if (then := user.next_call_at(now)) is not None:
            heapq.heappush(events, (then + 1e-6, next(order), "use", at, None))
    return calls, asked


@pytest.mark.parametrize(
    ("rate", "lanes", "for_s"),
    [
        (100.0, [{"a": 1.0}, {"b": 1.0}, {"c": 1.0}, {"d": 1.0}], 5.0),
        (100.0, [{"a": 1.0}, {"b": 2.0}, {"c": 4.0}], 5.0),
        (10.0, [{"a": 1.0}, {"b": 3.0}], 50.0),
        (10.0, [{"a": 1.0, "b": 1.0}, {"a": 1.0}, {"c": 1.0}], 50.0),
    ],
)
def test_all_is_used_and_processes_have_parts_by_the_weights_of_their_lanes(rate, lanes, for_s):
    calls, _ = served(lanes, rate, rate - 1.0, for_s)
    assert sum(calls) >= 0.98 * rate * 0.75 * for_s
    claims = {name: sum(name in one for one in lanes) for one in lanes for name in one}
    due = [sum(weight / claims[name] for name, weight in one.items()) for one in lanes]
    service = [count / part for count, part in zip(calls, due, strict=True)]
    jain = sum(service) ** 2 / (len(service) * sum(one * one for one in service))
    assert jain >= 0.98


@pytest.mark.parametrize(
    ("users", "a_minute", "for_s", "most"),
    [(1, 6_000, 4.0, 0.06), (8, 60_000, 1.2, 0.06), (4, 600, 60.0, 1.2)],
)
def test_a_lease_is_for_many_calls(users, a_minute, for_s, most):
    rate = a_minute / 60.0
    lanes = [{"lane": 1.0}] * users
    calls, asked = served(lanes, rate, rate - 1.0, for_s)
    assert asked / (sum(calls) / 0.75) <= most


def test_a_process_that_asks_often_has_no_more():
    core, often, seldom = SharedLimits(), LeaseUser("often", 10, 1.0), LeaseUser("seldom", 10, 1.0)
    leased = {"often": 0.0, "seldom": 0.0}
    for tick in range(2000):
        now = tick * 0.01
        for user in (often, seldom) if tick % 20 == 0 else (often,):
            grant = core.ask(user.question(20.0), now, "epoch")
            leased[user.name] += sum(one.amount for one in grant.leases)
    assert leased["often"] <= 1.1 * leased["seldom"]


def test_a_long_limit_with_much_left_does_not_shrink_leases():
    core = SharedLimits()
    rates = (SharedRate("minute", 100.0, 99.0), SharedRate("day", 1.0, 86_400.0))
    amounts = {"minute": 40.0, "day": 40.0}
    ask = LimitAsk(
        worker="w",
        number=1,
        rates=rates,
        leases=(LeaseAsk("", amounts, {"minute": 1.0, "day": 1.0}),),
        lanes=(LaneDemand("", "", 1.0, 40.0),),
    )
    assert {one.limit: one.amount for one in core.ask(ask, 0.0, "e").leases} == amounts


def test_the_priority_with_the_oldest_call_is_served_first():
    core = SharedLimits()

    def ask(worker, number, priority, age_s):
        return LimitAsk(
            worker=worker,
            number=number,
            rates=(SharedRate("limit", 10.0, 1.0),),
            leases=(LeaseAsk("", {"limit": 9.0}, {"limit": 1.0}),),
            lanes=(LaneDemand("", worker, 1.0, 9.0, age_s, priority),),
        )

    core.ask(ask("high", 1, 1, 30.0), 0.0, "e")
    assert not core.ask(ask("low", 1, 0, 1.0), 0.0, "e").leases
    assert core.ask(ask("low", 2, 0, 60.0), 0.1, "e").leases


# ------------------------------------------------------------------------------------ places


def places(core, worker, number, now, held, wanted, most=10.0):  # noqa: PLR0917
    ask = LimitAsk(worker=worker, number=number, places=(PlacesAsk("", most, held, wanted),))
    return core.ask(ask, now, "epoch").places[""]


@given(
    st.lists(st.tuples(WORKER, SOON, st.integers(0, 12), st.integers(0, 12)), max_size=80),
    st.integers(1, 12),
)
def test_no_more_calls_are_in_flight_than_there_are_places(steps, most):
    core, now, given_to, held, asked = SharedLimits(), 0.0, {}, {}, {}
    for number, (at, wait_s, ended, wanted) in enumerate(steps, start=1):
        now += wait_s
        worker = f"w{at}"
        for name, when in asked.items():
            if when + 10.0 <= now:  # it is dead, and so are its calls
                given_to[name] = held[name] = 0
        held[worker] = max(0, held.get(worker, 0) - ended)
        given_to[worker] = places(core, worker, number, now, held[worker], wanted, most)
        asked[worker] = now
        held[worker] = max(held[worker], given_to[worker])
        assert sum(held.values()) <= most


@pytest.mark.parametrize(
    ("count", "most", "takes_s"), [(4, 1, 0.7), (4, 3, 0.7), (4, 10, 0.7), (8, 4, 2.0)]
)
def test_places_go_round_and_none_is_idle(count, most, takes_s):
    """The processes want more places than there are."""
    core, running = SharedLimits(), [[] for _ in range(count)]
    served, number = [0] * count, itertools.count(1)
    for tick in range(300):
        now = tick * 0.1
        for at in range(count):
            running[at] = [end for end in running[at] if end > now + 1e-9]
            given_now = places(core, f"w{at}", next(number), now, len(running[at]), 9, most)
            while len(running[at]) < given_now:
                running[at].append(now + takes_s)
                served[at] += 1
    assert sum(served) >= 0.85 * most * 30.0 / takes_s
    assert min(served) >= 0.75 * sum(served) / count


def test_the_places_of_a_dead_process_are_free_after_10_s():
    core = SharedLimits()
    assert places(core, "dies", 1, 0.0, 0, 10) == 10
    assert places(core, "lives", 1, 1.0, 0, 10) == 0
    assert places(core, "lives", 2, 9.9, 0, 10) == 0
    news = core.news
    assert places(core, "lives", 3, 10.0, 0, 10) == 10
    assert core.news > news


def test_places_are_divided_by_the_weights_of_lanes():
    core, found = SharedLimits(), {}
    for number in range(1, 40):
        for name, weight in (("one", 1.0), ("three", 3.0)):
            held = found.get(name, 0)
            ask = LimitAsk(
                worker=name,
                number=number,
                lanes=(LaneDemand("", name, weight, 5.0),),
                places=(PlacesAsk("", 20.0, min(held, 3), 50),),
            )
            found[name] = core.ask(ask, number * 0.2, "epoch").places[""]
    assert found == {"one": 5, "three": 15}
