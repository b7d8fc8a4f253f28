"""R3 and R9 under random traffic: no caller hangs, and no message is lost or counted twice."""

from functools import partial
from random import Random

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_actors import (
    Add,
    Counter,
    Declared,
    Fail,
    Holder,
    Keep,
    Pass,
    Relay,
    Release,
    Work,
    Worker,
)
from trio.testing import MockClock

from callsheet.runtime import AskFailed, MailboxFull, RestartPolicy, open_runtime

PATIENT = RestartPolicy(max_restarts=10_000, base_s=0.2, cap_s=1)


@settings(max_examples=settings.default.max_examples, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    capacity=st.integers(1, 4),
    concurrency=st.integers(1, 3),
    max_deferred=st.integers(1, 3) | st.none(),
)
def test_every_ask_ends_and_every_message_is_counted_once(
    seed, capacity, concurrency, max_deferred
):
    random = Random(seed)
    ended: list[str] = []

    async def client(number, refs):
        worker, counter, holder, relay = refs
        await trio.sleep(random.uniform(0, 5))
        message, ref = random.choice(
            [
                (Work(str(number), random.uniform(0, 2)), worker),
                (Pass(Work(str(number), random.uniform(0, 2))), relay),
                (Add(1), counter),
                (Fail(KeyError("bug")), random.choice([worker, counter, holder])),
                (Fail(Declared("declared")), counter),
                (Keep(), holder),
                (Release("kept"), holder),
            ]
        )
        with trio.move_on_after(random.choice([0.0, 1.0, 3.0, 60.0])):
            try:
                if random.random() < 0.8:
                    await ref.ask(message, timeout=random.choice([0.5, 2.0, 20.0]))
                elif random.random() < 0.5:
                    await ref.tell(message)
                else:
                    ref.tell_nowait(message)
            except (AskFailed, MailboxFull, Declared):
                pass
        ended.append(str(number))

    async def main():
        async with open_runtime(restarts=PATIENT, drain_s=5, seed=str(seed)) as runtime:
            place = {"capacity": capacity, "concurrency": concurrency}
            worker = await runtime.spawn("worker", partial(Worker, []), **place)
            counter = await runtime.spawn("counter", Counter, **place)
            holder = await runtime.spawn("holder", Holder, **place, max_deferred=max_deferred)
            relay = await runtime.spawn("relay", partial(Relay, worker), **place)
            refs = (worker, counter, holder, relay)
            with trio.fail_after(300):
                async with trio.open_nursery() as nursery:
                    for number in range(40):
                        nursery.start_soon(client, number, refs)
                    for _ in range(10):
                        await trio.sleep(random.uniform(0, 1))
                        for actor in runtime.snapshot().actors:
                            assert actor.is_conserved, actor
            assert len(ended) == 40
            cells = [ref._cell for ref in refs]
        now = trio.current_time()
        for cell in cells:
            snapshot = cell.snapshot(now)
            assert snapshot.is_conserved, snapshot
            assert snapshot.pending == 0, "nothing outlives the block"

    trio.run(main, clock=MockClock(autojump_threshold=0))


async def test_the_sum_detects_a_lost_message(autojump_clock):
    async with open_runtime() as runtime:
        counter = await runtime.spawn("counter", Counter)
        await counter.ask(Add(1))
        assert runtime.snapshot()[counter.path].is_conserved
        counter._cell.counts.handled -= 1
        assert not runtime.snapshot()[counter.path].is_conserved
        with pytest.raises(KeyError):
            runtime.snapshot()["callsheet/unknown"]
