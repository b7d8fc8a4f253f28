"""Lanes share a limit by weight, whatever their calls are, and use all of it."""

import heapq
import itertools
from collections import Counter
from math import inf
from random import Random

import attrs
import pytest

from callsheet.actors import Lane, Limits
from callsheet.actors.permit import Report
from callsheet.actors.rate_limit.core import Limiter
from callsheet.actors.rate_limit.limits import Cost, PermitRequest

RPM = 600  # 10 a second


@attrs.frozen
class Client:
    """Keeps so many calls of a lane open, between two times."""

    lane: str
    open_calls: int = 3
    model: str = "m"
    tokens: tuple[float, ...] = (100.0,)
    since: float = 0.0
    until: float = inf
    lasts_s: float = 0.5


@attrs.define(eq=False)
class Call:
    client: Client
    cost: Cost
    came: float
    done: bool = False


class Street:
    """Clients at a limiter: each of them makes the next call when one has ended."""

    def __init__(self, limits, clients):
        self.limiter = Limiter(limits, 0.0)
        self.random, self.order = Random(7), itertools.count()
        self.events = []  # a heap of (time, order, what happens)
        self.now = 0.0
        self.turns = []  # (time, call)
        for client in clients:
            for _ in range(client.open_calls):
                self.at(client.since, self.call_of, client)

    def at(self, when, do, *args):
        heapq.heappush(self.events, (when, next(self.order), do, args))

    def call_of(self, client):
        if self.now >= client.until:
            return
        cost = Cost(1.0, tokens=self.random.choice(client.tokens))
        call = Call(client, cost, self.now)
        request = PermitRequest(client.model, cost, client.lane)
        reservation = self.limiter.try_admit(request, self.now)
        if reservation is None:
            self.limiter.push(call, request, self.now)
        else:
            self.admitted(call, reservation)

    def admitted(self, call, reservation):
        self.turns.append((self.now, call))
        self.at(self.now + call.client.lasts_s, self.end, call, reservation)

    def end(self, call, reservation):
        self.limiter.release(reservation, self.now)
        self.call_of(call.client)

    def run(self, until):
        while self.now < until:
            found = self.limiter.advance(self.now)
            if not isinstance(found, float):
                self.admitted(found.waiting, found.reservation)
                continue
            at = min(found, self.events[0][0] if self.events else inf, until)
            self.now = max(self.now, at)
            while self.events and self.events[0][0] <= self.now:
                _, _, do, args = heapq.heappop(self.events)
                do(*args)

    def shares(self, since=0.0, *, by="requests"):
        found = Counter()
        for at, call in self.turns:
            if at >= since:
                found[call.client.lane] += getattr(call.cost, by)
        return found


def jain(shares):
    return sum(shares) ** 2 / (len(shares) * sum(one * one for one in shares))


def clients_of(count, **more):
    return [Client(f"tenant {number}", **more) for number in range(count)]


SCENES = {
    "one call at a time": clients_of(20, open_calls=1),
    "several calls": clients_of(20),
    "very different numbers of calls": [
        Client(f"tenant {number}", open_calls=2 + 9 * number) for number in range(20)
    ],
    "one model each": [Client(f"tenant {n}", model=f"model {n % 3}") for n in range(20)],
    "several models": [
        Client(f"tenant {n}", model=model) for n in range(20) for model in ("a", "b", "c")
    ],
    "a thousand of one lane": [
        Client("tenant 0", open_calls=1_000),
        *clients_of(20, open_calls=2)[1:],
    ],
}


@pytest.mark.parametrize("scene", SCENES)
def test_equal_lanes_have_equal_shares_and_use_all_of_the_limit(scene):
    street = Street(Limits(rpm=RPM, in_flight=10_000), SCENES[scene])
    street.run(100.0)
    shares = street.shares(since=20.0)
    assert len(shares) == 20
    assert jain(shares.values()) >= 0.99
    assert sum(shares.values()) >= 0.98 * RPM / 60 * 80


def test_calls_of_unequal_size_share_tokens():
    sizes = [(40.0,), (200.0,), (1_000.0,), (40.0, 200.0, 1_500.0)]
    clients = [
        Client(f"tenant {n}", open_calls=10, tokens=sizes[n % len(sizes)], lasts_s=0.1)
        for n in range(20)
    ]
    street = Street(Limits(tpm=600_000, in_flight=10_000), clients)
    street.run(70.0)
    shares = street.shares(since=20.0, by="tokens")
    assert jain(shares.values()) >= 0.99
    assert sum(shares.values()) >= 0.98 * 10_000 * 50


def test_places_in_flight_are_shared_as_well():
    clients = [Client(f"tenant {n}", open_calls=1 + n, lasts_s=2.0) for n in range(20)]
    street = Street(Limits(in_flight=10), clients)
    street.run(400.0)
    assert jain(street.shares(since=40.0).values()) >= 0.99


def test_shares_follow_the_weights():
    lanes = {"one": Lane(), "two": Lane(weight=2), "four": Lane(weight=4)}
    clients = [Client(name, open_calls=30, tokens=(50.0, 400.0)) for name in lanes]
    for limits in (Limits(rpm=RPM, in_flight=999), Limits(tpm=120_000, in_flight=999)):
        street = Street(attrs.evolve(limits, lanes=lanes), clients)
        street.run(260.0)
        shares = street.shares(since=60.0, by="tokens" if limits.tpm else "requests")
        for name, lane in lanes.items():
            assert shares[name] / sum(shares.values()) == pytest.approx(lane.weight / 7, rel=0.02)


def test_lanes_that_come_and_go_leave_the_others_equal_shares():
    random = Random(3)
    stays = clients_of(10, open_calls=3)
    passes = [
        Client(f"guest {n}", since=(start := random.uniform(0, 300)), until=start + 40)
        for n in range(60)
    ]
    street = Street(Limits(rpm=RPM, in_flight=10_000), [*stays, *passes])
    street.run(300.0)
    shares = street.shares()
    assert jain([shares[client.lane] for client in stays]) >= 0.99
    assert sum(shares.values()) >= 0.98 * RPM / 60 * 300


def test_bursts_of_one_lane_do_not_take_from_the_others():
    bursts = [
        Client(f"burst {n}", open_calls=50, since=30.0 * n, until=30.0 * n + 5.0) for n in range(9)
    ]
    bursts = [attrs.evolve(client, lane="bursts") for client in bursts]
    street = Street(Limits(rpm=RPM, in_flight=10_000), [*clients_of(9), *bursts])
    street.run(300.0)
    shares = street.shares()
    steady = [shares[f"tenant {n}"] for n in range(9)]
    assert jain(steady) >= 0.99
    assert shares["bursts"] <= min(steady) * 1.05


@pytest.mark.parametrize("models", [1, 3])
def test_a_call_of_a_small_lane_waits_no_longer_than_one_turn_of_each_lane(models):
    small = [
        Client(f"small {n}", open_calls=1, model=f"model {n % models}", lasts_s=5.0)
        for n in range(10)
    ]
    flood = Client("flood", open_calls=1_000, model="model 0")
    street = Street(Limits(rpm=RPM, burst_s=0, in_flight=10_000), [flood, *small])
    street.run(300.0)
    waits = [at - call.came for at, call in street.turns if call.client.lane.startswith("small")]
    assert len(waits) > 500
    assert max(waits) <= 11 * 60 / RPM + 0.01


@pytest.mark.parametrize("rpm", [RPM, RPM + 1])
def test_limits_that_change_all_the_time_cost_no_lane_its_place(rpm):
    """Keys of a gateway come and go: with each of them the lanes are other ones."""
    small = clients_of(10, open_calls=1)
    street = Street(Limits(rpm=RPM, in_flight=9_999), [Client("flood", open_calls=100), *small])

    def change(number):
        lanes = {f"tenant {number % 20}": Lane(weight=2), "flood": Lane(weight=1 + number % 2)}
        limits = Limits(rpm=(RPM, rpm)[number % 2], in_flight=9_999, lanes=lanes)
        assert street.limiter.change(limits, street.now) == []
        street.at(street.now + 0.85, change, number + 1)

    street.at(1.0, change, 0)
    street.run(120.0)
    waits = [at - call.came for at, call in street.turns if call.client in small]
    assert max(waits) <= 14 * 60 / RPM
    shares = street.shares(since=20.0)
    assert sum(shares.values()) >= 0.98 * RPM / 60 * 100
    assert shares["flood"] / shares["tenant 0"] == pytest.approx(1.5, rel=0.1)


def test_other_weights_leave_learned_limits_as_they_are():
    street = Street(Limits(), [Client("one", open_calls=1)])
    street.run(1.0)
    reservation = street.limiter.try_admit(PermitRequest("m", Cost()), street.now)
    street.limiter.report(reservation, [Report("requests", 60, 1, 60.0, source="h")], street.now)
    known = street.limiter.snapshot(street.now).buckets
    street.limiter.change(Limits(lanes={"one": Lane(weight=2)}), street.now)
    assert street.limiter.snapshot(street.now).buckets == known != ()


def test_thousands_of_lanes_share_equally():
    """More lanes than a queue remembers when they have no calls."""
    clients = [Client(f"tenant {n}", open_calls=1 + n % 3) for n in range(1_200)]
    street = Street(Limits(rpm=24_000, in_flight=10_000), clients)
    street.run(22.0)
    shares = street.shares(since=2.0)
    assert len(shares) == 1_200
    assert jain(shares.values()) >= 0.99
    assert sum(shares.values()) >= 0.98 * 400 * 20
