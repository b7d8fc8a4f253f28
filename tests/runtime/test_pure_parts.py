"""R14: what needs no await is tested without any: mailbox, restart window, back-off, deadlines."""

from collections import deque
from math import inf
from random import Random

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from callsheet.runtime import Message, RestartPolicy
from callsheet.runtime.deadlines import Deadlines
from callsheet.runtime.mailbox import Mailbox
from callsheet.runtime.restarts import Backoff, RestartWindow


@attrs.frozen
class Number(Message[None]):
    value: int


@given(capacity=st.integers(1, 8), steps=st.lists(st.booleans(), max_size=200))
def test_a_mailbox_is_a_bounded_queue(capacity, steps):
    async def main():
        mailbox = Mailbox(capacity)
        model: deque[tuple[int, float]] = deque()
        for number, is_put in enumerate(steps):
            if is_put:
                try:
                    mailbox.put_nowait((Number(number), None), now=float(number))
                    model.append((number, float(number)))
                except trio.WouldBlock:
                    assert len(model) == capacity
            else:
                envelope = mailbox.take_nowait()
                expected = model.popleft()[0] if model else None
                assert (envelope and envelope[0].value) == expected
            statistics = mailbox.statistics()
            assert statistics.depth == len(mailbox) == len(model)
            assert statistics.oldest_at == (model[0][1] if model else None)
        mailbox.close()
        with pytest.raises(trio.ClosedResourceError):
            mailbox.put_nowait((Number(0), None), now=0.0)
        left = []
        while (envelope := mailbox.take_nowait()) is not None:
            left.append(envelope[0].value)
        assert left == [number for number, _ in model], "closing loses nothing (R2)"

    trio.run(main)


async def test_senders_that_wait_are_counted_in_cancelled_out_and_told_of_the_close():
    mailbox = Mailbox(1)
    mailbox.put_nowait((Number(0), None), now=0.0)
    closed: list[int] = []

    async def sender(value: int) -> None:
        try:
            await mailbox.put((Number(value), None))
        except trio.ClosedResourceError:
            closed.append(value)

    async with trio.open_nursery() as nursery:
        for value in (1, 2, 3):
            nursery.start_soon(sender, value)
            await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(0):
            await mailbox.put((Number(9), None))
        assert mailbox.statistics().senders_waiting == 3
        assert mailbox.take_nowait()[0].value == 0
        assert mailbox.statistics().senders_waiting == 2
        assert len(mailbox) == 1, "the first waiting sender's message has moved in"
        mailbox.close()
    assert sorted(closed) == [2, 3]
    assert mailbox.take_nowait()[0].value == 1
    assert mailbox.take_nowait() is None
    assert mailbox.statistics().accepted == 2


@given(
    crashes=st.lists(st.floats(0, 50), max_size=40),
    limit=st.integers(0, 5),
    period=st.floats(0.1, 20),
)
def test_the_restart_window_allows_what_counting_by_hand_allows(crashes, limit, period):
    window = RestartWindow(RestartPolicy(max_restarts=limit, period_s=period))
    now, times = 0.0, []
    for gap in crashes:
        now += gap
        times.append(now)
        recent = [time for time in times if time > now - period]
        assert window.allows(now) == (len(recent) <= limit)
        assert window.left(now) == max(0, limit - len(recent))


@given(
    lives=st.lists(st.floats(0, 100), max_size=80),
    base=st.floats(0, 5),
    cap=st.floats(0, 60),
    seed=st.integers(),
)
def test_backoff_stays_under_its_cap_and_starts_over_after_a_healthy_life(lives, base, cap, seed):
    policy = RestartPolicy(base_s=base, cap_s=cap, healthy_s=30)
    backoff = Backoff(policy, Random(seed))
    crashes = 0
    for life in lives:
        crashes = 0 if life >= policy.healthy_s else crashes
        assert 0 <= backoff.after(life) <= min(cap, base * 2.0**crashes)
        crashes += 1


@attrs.define(eq=False)
class Alarm:
    fired: list[int]
    number: int
    done: bool = False

    def expire(self) -> None:
        self.done = True
        self.fired.append(self.number)


@given(
    st.lists(st.tuples(st.floats(0, 100), st.booleans()), max_size=600),
    st.lists(st.floats(0, 120), max_size=5),
)
def test_deadlines_expire_in_order_and_settled_ones_never(entries, looks):
    deadlines = Deadlines()
    fired: list[int] = []
    alarms = []
    for number, (when, _) in enumerate(entries):
        alarms.append(Alarm(fired, number))
        deadlines.add(when, alarms[-1])
    for alarm, (_, settle) in zip(alarms, entries, strict=True):
        if settle:
            alarm.done = True
            deadlines.settled()
    live = [(when, number) for number, (when, settle) in enumerate(entries) if not settle]
    for now in sorted(looks):
        deadlines.expire(now)
        assert fired == [number for when, number in sorted(live) if when <= now]
    assert deadlines.expire(1000.0) == inf
    assert fired == [number for _, number in sorted(live)]


def test_settled_deadlines_do_not_pile_up():
    deadlines = Deadlines()
    for number in range(100_000):
        alarm = Alarm([], number)
        deadlines.add(1e9, alarm)
        alarm.done = True
        deadlines.settled()
    assert len(deadlines) < 1000
