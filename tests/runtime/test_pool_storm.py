"""A random storm over pools: crashes, resizes, cancellations and drains (R9, R16)."""

from collections import defaultdict
from contextlib import suppress
from functools import partial
from random import Random

import attrs
import pytest
import trio

from callsheet.runtime import (
    Actor,
    AskFailed,
    Message,
    RestartPolicy,
    handles,
    open_runtime,
)

PATIENT = RestartPolicy(max_restarts=100_000, base_s=0.05, cap_s=0.1)


@attrs.frozen
class Job(Message[int]):
    number: int
    key: int | None
    seconds: float
    crashes: int = 0  # the first deliveries crash


class Hand(Actor):
    """Asserts that no two messages of a key are in hand; records their order.

    Args:
        log: the numbers of the messages that were finished or given up, by key.
        in_hand: the keys in hand.
        tries: deliveries so far, by number.
    """

    def __init__(self, log, in_hand, tries):
        self.log, self.in_hand, self.tries = log, in_hand, tries

    @handles(Job)
    async def job(self, message):
        key = message.key
        if key is not None:
            assert key not in self.in_hand, "two messages of one key at a time"
            self.in_hand.add(key)
            self.log[key].append(message.number)
        try:
            self.tries[message.number] += 1
            await trio.sleep(message.seconds)
            if self.tries[message.number] <= message.crashes:
                raise KeyError("bug")
        finally:
            self.in_hand.discard(key)
        return message.number


def seeds(usual, slow):
    """So many seeds in the usual run, and further ones with -m slow."""
    return [*range(usual), *(pytest.param(it, marks=pytest.mark.slow) for it in range(usual, slow))]


@pytest.mark.parametrize("seed", seeds(4, 12))
async def test_a_storm_loses_no_message_and_keeps_the_order_of_each_key(autojump_clock, seed):
    random = Random(seed)
    log: dict[int, list[int]] = defaultdict(list)
    in_hand: set[int] = set()
    factory = partial(Hand, log, in_hand, defaultdict(int))
    ended: list[int] = []
    async with open_runtime(drain_s=random.choice([0.2, 1_000])) as runtime:
        pool = await runtime.spawn_pool(
            "pool",
            factory,
            size=3,
            key=lambda message: message.key,
            capacity=random.choice([1, 4, 64]),
            concurrency=random.choice([1, 1, 3]),
            redeliver=random.choice([0, 2]),
            restarts=PATIENT,
            stop_s=random.choice([5.0, float("inf")]),
        )

        async def ask(message):
            with trio.move_on_after(random.choice([0.3, 5, 1_000])):
                with suppress(AskFailed):
                    await pool.ask(message, timeout=random.choice([0.5, 1_000]))
            ended.append(message.number)

        async with trio.open_nursery() as nursery:
            for number in range(200):
                key = random.choice([None, 1, 2, 3, 4, 5])
                seconds = random.choice([0, 0, 0.1, 0.3])
                crashes = random.choice([0, 0, 0, 0, 0, 1, 3])
                nursery.start_soon(ask, Job(number, key, seconds, crashes))
                await trio.sleep(random.choice([0, 0, 0.05]))
                if random.random() < 0.1:
                    pool.resize(random.randint(1, 6))
                assert runtime.snapshot()[pool.path].is_conserved
        assert sorted(ended) == list(range(200)), "every ask has ended (R3)"
        for number in range(200, 220):  # for the drain
            pool_message = Job(number, number % 2, 0.05, number % 5 == 0)
            with trio.move_on_after(2):
                await pool.tell(pool_message)
    snapshot = runtime.snapshot()[pool.path]
    assert snapshot.is_conserved
    assert snapshot.pending == 0
    assert not in_hand


@pytest.mark.parametrize("seed", seeds(2, 6))
async def test_messages_of_a_key_keep_their_order_over_crashes_and_resizes(autojump_clock, seed):
    random = Random(seed)
    log: dict[int, list[int]] = defaultdict(list)
    in_hand: set[int] = set()
    factory = partial(Hand, log, in_hand, defaultdict(int))
    async with open_runtime(drain_s=10_000, seed=str(seed)) as runtime:
        pool = await runtime.spawn_pool(
            "pool",
            factory,
            size=3,
            key=lambda message: message.key,
            redeliver=3,
            restarts=PATIENT,
        )
        for number in range(200):
            await pool.tell(
                Job(number, random.randint(1, 5), random.choice([0, 0.1]), random.choice([0, 0, 2]))
            )
            if random.random() < 0.1:
                pool.resize(random.randint(1, 6))
    assert sum(len(set(numbers)) for numbers in log.values()) == 200
    for numbers in log.values():
        assert numbers == sorted(numbers)
    assert runtime.shutdown_report.is_clean


@pytest.mark.parametrize("size", [2, 6])
async def test_a_drain_goes_on_while_each_member_crashes_with_what_came_back(autojump_clock, size):
    """A message that another member gives back is no reason to give up (R16)."""
    tries: dict[int, int] = defaultdict(int)
    factory = partial(Hand, defaultdict(list), set(), tries)
    async with open_runtime(drain_s=1_000) as runtime:
        pool = await runtime.spawn_pool("pool", factory, size=size, redeliver=3, restarts=PATIENT)
        for number in range(20):  # many crash at the same instant
            await pool.tell(Job(number, None, 0.1 * (1 + number % 2), 3))
    assert tries == dict.fromkeys(range(20), 4)
    assert runtime.shutdown_report.is_clean
