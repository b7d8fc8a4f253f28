"""R14: mailbox, restart window, back-off and deadlines, which need no await, tested without one."""

from math import inf
from types import SimpleNamespace

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from callsheet.runtime import Coalesce, Message, ReplySlot, RestartPolicy
from callsheet.runtime._core.deadlines import Deadlines
from callsheet.runtime._core.mailbox import Mailbox
from callsheet.runtime._core.queues import Admission
from callsheet.runtime.supervision.restarts import Backoff, RestartWindow


@attrs.frozen
class Number(Message[None]):
    value: int


class Owner(SimpleNamespace):
    """The place of an actor, as far as its mailbox calls it."""

    path = "test"
    blockers = ()


def envelope(value: int, now: float = 0.0):
    return (Number(value), None, now, None)


OVERFLOWS = [
    "block",
    "reject",
    "drop_newest",
    "drop_oldest",
    Coalesce(lambda message: message.value),
]


@given(
    capacity=st.integers(1, 6),
    overflow=st.sampled_from(OVERFLOWS),
    ranked=st.booleans(),
    steps=st.lists(st.none() | st.integers(0, 5), max_size=120),
)
def test_a_mailbox_does_what_a_plain_list_would_do(capacity, overflow, ranked, steps):
    """None takes a message; a number offers one of that value, which is its key and its rank."""
    ranked = ranked and not isinstance(overflow, Coalesce)
    dropped: list[int] = []
    mailbox = Mailbox(
        capacity,
        overflow,
        (lambda message: message.value) if ranked else None,
        Owner(drop=lambda envelope: dropped.append(envelope[0].value)),
    )
    model: list[tuple[int, int]] = []  # (value, order of arrival), in the order of arrival
    dropped_by_model: list[int] = []
    accepted = 0
    for order, value in enumerate(steps):
        if value is None:
            taken = mailbox.take()
            if not model:
                assert taken is None
                continue
            first = min(model) if ranked else model[0]
            model.remove(first)
            assert taken[0].value == first[0]
        else:
            fate = mailbox.offer(envelope(value, float(order)))
            same = [entry for entry in model if entry[0] == value]
            if isinstance(overflow, Coalesce) and same:
                model[model.index(same[0])] = (value, order)
                dropped_by_model.append(value)
                expected = Admission.ACCEPTED
            elif len(model) < capacity:
                model.append((value, order))
                expected = Admission.ACCEPTED
            elif overflow == "drop_oldest":
                worst = max(entry[0] for entry in model)
                oldest = next(e for e in model if not ranked or e[0] == worst)
                if ranked and value > worst:  # it is the least urgent itself
                    expected = Admission.DROPPED
                else:
                    model.remove(oldest)
                    dropped_by_model.append(oldest[0])
                    model.append((value, order))
                    expected = Admission.ACCEPTED
            else:
                expected = {"reject": Admission.REJECTED, "drop_newest": Admission.DROPPED}.get(
                    overflow if isinstance(overflow, str) else "", Admission.FULL
                )
            assert fate is expected
            accepted += fate is Admission.ACCEPTED
        statistics = mailbox.statistics()
        assert statistics.depth == len(mailbox) == len(model)
        assert statistics.accepted == accepted
        assert dropped == dropped_by_model
        oldest_at = min((float(order) for _, order in model), default=None)
        assert statistics.oldest_at == oldest_at
    mailbox.close()
    with pytest.raises(trio.ClosedResourceError):
        mailbox.offer(envelope(0))
    left = []
    while (taken := mailbox.take()) is not None:
        left.append(taken[0].value)
    assert sorted(left) == sorted(value for value, _ in model), "closing loses nothing (R2)"


def test_priorities_and_coalescing_do_not_go_together():
    with pytest.raises(ValueError, match="priority"):
        Mailbox(1, Coalesce(hash), lambda _: 0.0)


async def test_waiting_senders_are_counted_and_leave_when_cancelled_or_closed():
    mailbox = Mailbox(1)
    mailbox.offer(envelope(0))
    closed: list[int] = []

    async def sender(value: int) -> None:
        try:
            await mailbox.put(envelope(value))
        except trio.ClosedResourceError:
            closed.append(value)

    async with trio.open_nursery() as nursery:
        for value in (1, 2, 3):
            nursery.start_soon(sender, value)
            await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(0):
            await mailbox.put(envelope(9))
        assert mailbox.statistics().senders_waiting == 3
        assert mailbox.take()[0].value == 0
        assert mailbox.statistics().senders_waiting == 2
        assert len(mailbox) == 1, "the first waiting sender's message has moved in"
        mailbox.close()
    assert sorted(closed) == [2, 3]
    assert mailbox.take()[0].value == 1
    assert mailbox.take() is None
    assert mailbox.statistics().accepted == 2


@pytest.mark.parametrize("overflow", ["block", Coalesce(lambda message: message.value)])
async def test_a_message_whose_caller_gives_up_makes_room_at_once(overflow):
    skipped: list[object] = []
    mailbox = Mailbox(2, overflow, owner=Owner(skip=skipped.append))
    slot = ReplySlot()
    mailbox.offer((Number(0), slot, 0.0, None))
    slot.holder = mailbox
    mailbox.offer(envelope(1))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mailbox.put, envelope(2))
        await trio.testing.wait_all_tasks_blocked()
        slot.cancel()
        assert skipped == [slot]
        assert len(mailbox) == 2
    assert [mailbox.take()[0].value for _ in range(2)] == [1, 2]


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
    uptimes=st.lists(st.floats(0, 100), max_size=80),
    base=st.floats(0, 5),
    cap=st.floats(0, 60),
    seed=st.integers(),
)
def test_backoff_stays_under_its_cap_and_resets_after_a_healthy_incarnation(
    uptimes, base, cap, seed
):
    policy = RestartPolicy(base_s=base, cap_s=cap, healthy_s=30)
    backoff = Backoff(policy, str(seed))
    crashes = 0
    for uptime_s in uptimes:
        crashes = 0 if uptime_s >= policy.healthy_s else crashes
        assert 0 <= backoff.after(uptime_s) <= min(cap, base * 2.0**crashes)
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
