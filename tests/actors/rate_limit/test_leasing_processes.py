"""Processes that share limits, with a provider whose own buckets refuse what is too much."""

from collections import Counter
from math import inf

import pytest
from leasing_processes import SharedWorld, keep_waiting, saturated

from callsheet.actors import Lane, Limits
from callsheet.actors.rate_limit.bucket import Bucket
from callsheet.actors.rate_limit.limits import Cost

MANY = 100_000  # calls in flight
SHORT = [(600, 4, 20), (6_000, 1, 4), (6_000, 8, 2), (60_000, 8, 1)]
LONG = [
    (rpm, processes, 60 if rpm == 600 else 20)
    for rpm in (600, 6_000, 60_000)
    for processes in (1, 2, 4, 8)
]


def sent_by(world):
    return [call for process in world.processes for call in process.sent]


def trips_per_call(world):
    return sum(process.trips for process in world.processes) / len(sent_by(world))


def use_of(world, rate, since, until, amount_of=lambda _: 1.0):
    used = sum(amount_of(call) for call in sent_by(world) if call.sent_at >= since)
    return used / (rate / 60 * (until - since))


def calls_since(process, since):
    return sum(call.sent_at > since for call in process.sent)


def jain(values):
    return sum(values) ** 2 / (len(values) * sum(value * value for value in values))


def check_rate(rpm, processes, seconds):
    waiting = max(20, rpm // 60 // processes)
    world = saturated(Limits(rpm=rpm, in_flight=MANY), processes, seconds, depth=waiting)
    assert not world.refused
    assert use_of(world, rpm, seconds / 2, seconds) >= 0.98
    is_few = (rpm, processes) == (6_000, 1) or rpm == 60_000
    assert trips_per_call(world) <= (0.06 if is_few else 1.2)


@pytest.mark.parametrize(("rpm", "processes", "seconds"), SHORT)
def test_a_limit_is_used_up_and_not_exceeded(rpm, processes, seconds):
    check_rate(rpm, processes, seconds)


@pytest.mark.slow
@pytest.mark.parametrize(("rpm", "processes", "seconds"), LONG)
def test_a_limit_is_used_up_and_not_exceeded_at_any_size(rpm, processes, seconds):
    check_rate(rpm, processes, seconds)


@pytest.mark.parametrize(
    ("rpm", "of_model", "processes"),
    [(5_000, 600, 1), (5_000, 600, 2), (5_000, 600, 3), (10_000, 6_000, 4)],
)
def test_a_limit_of_a_model_below_one_of_all_models_is_used_up(rpm, of_model, processes):
    limits = Limits(rpm=rpm, in_flight=MANY, models={"m": Limits(rpm=of_model)})
    seconds = 10 if of_model == 600 else 3
    world = saturated(limits, processes, seconds, depth=50, call_s=0.2)
    assert not world.refused
    assert use_of(world, of_model, seconds / 2, seconds) >= 0.98
    assert jain([calls_since(process, seconds / 2) for process in world.processes]) >= 0.98


def test_whole_calls_of_a_slow_limit_are_leased_beside_a_fast_one():
    model = Limits(rpm=600, in_flight=MANY)
    world = saturated(Limits(rpm=5_000, in_flight=MANY, models={"m": model}), 3, 20, depth=50)
    assert not world.refused
    assert use_of(world, 600, 10, 20) >= 0.98
    assert trips_per_call(world) <= 1.2


def tokens(low, high):
    return lambda random: Cost(tokens=float(random.randint(low, high)))


def part_of(low, high):
    return lambda random, cost: int(cost.tokens * random.uniform(low, high))


def check_tokens(limits, processes, seconds, actual):
    world = saturated(
        limits, processes, seconds, cost=tokens(200, 2_000), actual=actual, call_s=0.3, depth=30
    )

    def used(call):
        return call.cost.tokens if call.actual is None else call.actual

    assert sum(world.refused.values()) <= 0.005 * len(sent_by(world))
    assert use_of(world, limits.tpm, seconds / 3, seconds, used) >= 0.98
    assert trips_per_call(world) <= 2.0


@pytest.mark.parametrize("processes", [1, 4])
def test_tokens_that_are_known_at_the_end_only_are_used_up(processes):
    limits = Limits(tpm=6_000_000, rpm=7_000, in_flight=MANY, token_charge="used")
    check_tokens(limits, processes, 4, part_of(0.8, 1.0))


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2, 4, 8])
@pytest.mark.parametrize(
    ("tpm", "actual"), [(600_000, part_of(0.5, 1.0)), (6_000_000, part_of(0.5, 1.0))]
)
def test_tokens_that_are_known_at_the_end_only_are_used_up_at_any_size(processes, tpm, actual):
    limits = Limits(tpm=tpm, in_flight=MANY, token_charge="used")
    check_tokens(limits, processes, 60 if tpm == 600_000 else 20, actual)


def check_few_refusals(world):
    """A call of most of what the store allows at once may find the bucket of a provider lower.

    To let it wait for the whole bucket would leave a tenth of the limit unused.
    """
    assert sum(world.refused.values()) <= 0.02 * len(sent_by(world))


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2, 4, 8])
def test_calls_of_more_than_a_second_of_the_limit_are_rarely_refused(processes):
    limits = Limits(tpm=60_000, in_flight=MANY)
    world = saturated(limits, processes, 120, cost=tokens(200, 2_000), call_s=0.3)
    check_few_refusals(world)
    assert use_of(world, 60_000, 40, 120, lambda call: call.cost.tokens) >= 0.96


def check_refunds(processes, seconds, cost, actual):
    """Calls take more than the limit allows at once, and use less than they reserve."""
    limits = Limits(tpm=60_000, in_flight=MANY, token_charge="used")
    world = saturated(limits, processes, seconds, cost=cost, actual=actual, call_s=0.3, depth=30)
    check_few_refusals(world)
    assert use_of(world, 60_000, seconds / 3, seconds, lambda call: call.actual) >= 0.95
    assert trips_per_call(world) <= 2.0 + processes
    counts = [len(process.sent) for process in world.processes]
    assert min(counts) >= 0.8 * max(counts)


REFUNDS = [(tokens(200, 2_000), part_of(0.5, 1.0)), (tokens(4_000, 4_000), lambda *_: 1_500)]


@pytest.mark.parametrize(("cost", "actual"), REFUNDS, ids=["some", "much"])
def test_what_large_calls_reserve_and_do_not_use_is_used_by_all_processes(cost, actual):
    check_refunds(2, 120, cost, actual)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2, 4, 8])
@pytest.mark.parametrize(("cost", "actual"), REFUNDS, ids=["some", "much"])
def test_what_large_calls_reserve_and_do_not_use_is_used_by_any_number(processes, cost, actual):
    check_refunds(processes, 400, cost, actual)


def arrive(world, process, per_s, until):
    def come():
        process.push()
        if world.now < until:
            world.at(world.now + world.random.expovariate(per_s), come)

    world.at(world.random.expovariate(per_s), come)


@pytest.mark.parametrize(("rpm", "load"), [(600, 0.5), (6_000, 0.6), (6_000, 0.9)])
def test_a_call_waits_hardly_longer_than_at_one_limiter_for_all_processes(rpm, load):
    seconds = 20 if rpm == 600 else 5
    world = SharedWorld(Limits(rpm=rpm, in_flight=MANY), latency_s=0.0005)
    for _ in range(4):
        arrive(world, world.process(), rpm / 60 * load / 4, seconds)
    world.run(seconds)
    one, at, added = Bucket(rpm / 60, rpm / 60 - 1, 0.0), 0.0, []
    for call in sorted(sent_by(world), key=lambda call: call.at):
        at = one.ready_at(1.0, max(at, call.at))
        one.take(1.0, at)
        added.append(call.sent_at - at)
    assert sorted(added)[len(added) // 2] <= 0.001
    assert not world.refused


# ------------------------------------------------------------------------------------ fairness


def tenants(rpm, homes, weights, seconds):
    """Return the calls of each tenant, divided by its weight; each waits in some processes."""
    lanes = {f"tenant {at}": Lane(weight=weight) for at, weight in enumerate(weights)}
    world = SharedWorld(Limits(rpm=rpm, in_flight=MANY, lanes=lanes))
    processes = [world.process() for _ in range(1 + max(map(max, homes)))]
    for lane, home in zip(lanes, homes, strict=True):
        for at in home:
            keep_waiting(processes[at], 20, lanes=(lane,))
    world.run(seconds)
    counts = Counter(call.lane for call in sent_by(world) if call.sent_at > seconds / 4)
    return [counts[lane] / weight for lane, weight in zip(lanes, weights, strict=True)]


SPREAD = [tuple(sorted({at % 4, at * 3 % 4, at // 4})) for at in range(16)]
UNEVEN = [(0,)] * 10 + [(1,)] * 3 + [(2,)] * 2 + [(3,)]
WEIGHTS = [1 + at % 4 for at in range(16)]


@pytest.mark.parametrize("homes", [UNEVEN, SPREAD], ids=["uneven", "spread"])
def test_tenants_have_equal_service_over_all_processes(homes):
    assert jain(tenants(6_000, homes, [1] * 16, 5)) >= 0.98


@pytest.mark.slow
@pytest.mark.parametrize("homes", [UNEVEN, SPREAD], ids=["uneven", "spread"])
@pytest.mark.parametrize("rpm", [600, 6_000, 60_000])
def test_tenants_have_service_by_weight_over_all_processes(rpm, homes):
    seconds = {600: 300, 6_000: 40, 60_000: 8}[rpm]
    assert jain(tenants(rpm, homes, WEIGHTS, seconds)) >= 0.98


def calls_of(limits, processes, depth, seconds, **more):
    """Return the calls that each of some processes sent in the second half of the time."""
    world = saturated(limits, processes, seconds, depth=depth, **more)
    assert not world.refused
    return [calls_since(process, seconds / 2) for process in world.processes]


@pytest.mark.parametrize(
    ("limits", "processes", "call_s"),
    [
        (Limits(rpm=1_200), 3, 0.2),
        (Limits(rpm=6_000, in_flight=40), 4, 1.0),
        (Limits(in_flight=MANY, models={"m": Limits(in_flight=100)}), 2, 0.2),
        (Limits(in_flight=MANY, models={"m": Limits(rpm=1_200, in_flight=100)}), 3, 0.2),
    ],
    ids=["few are used", "all are used", "of a model", "of a model, few are used"],
)
def test_processes_with_more_calls_than_places_have_equal_service(limits, processes, call_s):
    calls = calls_of(limits, processes, 150, 10, call_s=call_s)
    assert jain(calls) >= 0.98, calls


@pytest.mark.parametrize(
    "limits",
    [Limits(in_flight=100), Limits(in_flight=MANY, models={"m": Limits(in_flight=100)})],
    ids=["of all models", "of a model"],
)
def test_places_are_even_within_a_second_of_the_start(limits):
    world = saturated(limits, 2, 2, depth=150, call_s=0.2)
    assert jain([calls_since(process, 1) for process in world.processes]) >= 0.98


def test_two_processes_have_equal_service_whose_shares_are_nearly_two_calls():
    calls = calls_of(Limits(rpm=1_200, in_flight=MANY), 2, 150, 20)
    assert jain(calls) >= 0.99, calls


# ------------------------------------------------------------------------------------ events


def test_calls_that_wait_for_a_slow_limit_do_not_lease_of_a_fast_one_again_and_again():
    limits = Limits(rpm=500, tpm=60_000, in_flight=MANY)
    world = saturated(limits, 1, 40, depth=30, cost=tokens(100, 1_000))
    assert use_of(world, 60_000, 20, 40, lambda call: call.cost.tokens) >= 0.95
    assert trips_per_call(world) <= 4


def test_a_process_asks_seldom_while_the_provider_is_left_alone():
    world = SharedWorld(Limits(rpm=500, in_flight=MANY), call_s=0.2)
    world.pause_s = 5.0
    process = world.process()
    keep_waiting(process, 30)
    world.run(5)
    world.provider[0].level = -4.0
    world.run(6)
    assert world.refused
    trips = process.trips
    world.run(10)
    assert process.trips - trips <= 25  # what is leased ahead is returned each 0.2 s


def test_a_refusal_in_one_process_slows_all_within_one_exchange():
    world = SharedWorld(Limits(in_flight=MANY), latency_s=0.002, call_s=0.2)
    processes = [world.process() for _ in range(3)]
    for process in processes:
        arrive(world, process, 20.0, 10.0)
    world.run(2.0)
    refused = processes[0].sent[-1]
    reservation = processes[0].limiter.try_admit(refused.request, world.now)
    processes[0].refuse(refused, reservation)
    world.run(2.02)
    after = [call for process in processes for call in process.sent if call.sent_at > 2.006]
    assert not after
    world.run(4.0)
    assert all(process.sent[-1].sent_at > 3.0 for process in processes)


def test_calls_in_flight_are_bounded_over_all_processes():
    world = SharedWorld(Limits(in_flight=20), latency_s=0.002, call_s=0.5)
    for _ in range(4):
        keep_waiting(world.process(), 10)
    world.run(6.0)
    assert world.most_in_flight == 20
    assert len(sent_by(world)) >= 0.97 * 20 / 0.5 * 6.0


def test_a_dead_process_loses_its_places_in_flight_after_ten_seconds():
    world = SharedWorld(Limits(in_flight=8), latency_s=0.002, call_s=0.5)
    dead, alive = world.process(), world.process()
    for process in (dead, alive):
        keep_waiting(process, 10)
    world.run(5.0)
    dead.is_dead = True
    world.run(25.0)

    def per_s(begin, end):
        return sum(begin < call.sent_at <= end for call in alive.sent) / (end - begin)

    assert per_s(6.0, 12.0) <= 13.0
    assert per_s(18.0, 25.0) >= 15.0


def test_a_restarted_limiter_keeps_its_leases_and_asks_its_last_question_again():
    world = SharedWorld(Limits(rpm=6_000, in_flight=MANY))
    process = world.process()
    for _ in range(50):
        process.push()
    for at in range(1, 40):
        world.run(at * 0.05 + 0.0101)
        process.begin()
        for _ in range(10):
            process.push()
    world.run(3.0)
    assert not world.refused
    assert use_of(world, 6_000, 0.5, 2.0) >= 0.9


def test_an_idle_process_returns_what_it_leased():
    world = SharedWorld(Limits(rpm=600, in_flight=MANY))
    idle, busy = world.process(), world.process()
    keep_waiting(busy, 10)
    world.run(1.0)
    for _ in range(3):
        idle.push()
    for waiting in idle.limiter.scopes.by_name["m"].queue.upcoming():
        waiting.waiting.waiting.done = True
    idle.limiter.left()
    world.run(2.5)
    assert all(bucket.leased(world.now) == 0.0 for bucket in idle.leased.buckets)
    assert not idle.leased.active


def test_a_lone_process_without_calls_asks_only_for_its_heartbeat():
    world = SharedWorld(Limits(rpm=600, in_flight=MANY))
    process = world.process()
    world.run(30.0)
    assert process.trips <= 12
    assert process.keeper.due_at(world.now) < inf
