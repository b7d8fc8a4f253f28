"""Timers, once and periodic, which end with the incarnation; and watching another actor."""

from collections.abc import Callable
from functools import partial

import attrs
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from callsheet.runtime import Actor, Message, Ref, Timer, UnhandledMessage, handles, open_runtime


@attrs.frozen
class Tick(Message[None]):
    name: str = ""
    seconds: float = 0.0


@attrs.frozen
class Job(Message[str]):
    seconds: float = 0.0


@attrs.frozen
class Do(Message[object]):
    """A function to run in the actor, where timers are set."""

    what: Callable[["Clock"], object]


@attrs.frozen
class Unknown(Message[None]):
    pass


class Clock(Actor):
    """Records when ticks begin, as (instant, name)."""

    def __init__(self, ticks: list[tuple[float, str]]) -> None:
        self.ticks = ticks

    @handles(Tick)
    async def tick(self, message: Tick) -> None:
        self.ticks.append((trio.current_time(), message.name))
        await trio.sleep(message.seconds)

    @handles(Job)
    async def job(self, message: Job) -> str:
        await trio.sleep(message.seconds)
        return "done"

    @handles(Do, raises=(UnhandledMessage, ValueError))
    async def do(self, message: Do) -> object:
        return message.what(self)


async def a_clock(runtime, ticks, **place):
    return await runtime.spawn("clock", partial(Clock, ticks), **place)


async def set_timer(ref: Ref, what: Callable[[Clock], Timer]) -> Timer:
    timer = await ref.ask(Do(what))
    assert isinstance(timer, Timer)
    return timer


# ---------------------------------------------------------------- once


async def test_a_timer_fires_once_at_its_time(autojump_clock):
    ticks: list[tuple[float, str]] = []
    async with open_runtime() as runtime:
        clock = await a_clock(runtime, ticks)
        after = await set_timer(clock, lambda actor: actor.send_after(3, Tick("after")))
        await set_timer(clock, lambda actor: actor.send_at(2, Tick("at")))
        await trio.sleep(10)
        assert ticks == [(2, "at"), (3, "after")]
        assert after.done
        assert runtime.snapshot()[clock.path].is_conserved


@pytest.mark.parametrize("seconds", [0, -5])
async def test_a_time_in_the_past_means_as_soon_as_possible_but_after_the_handler(
    autojump_clock, seconds
):
    ticks: list[tuple[float, str]] = []
    async with open_runtime() as runtime:
        clock = await a_clock(runtime, ticks)
        await trio.sleep(7)
        await set_timer(clock, lambda actor: actor.send_after(seconds, Tick()))
        await set_timer(clock, lambda actor: actor.send_at(seconds, Tick()))
        await wait_all_tasks_blocked()
        assert ticks == [(7, ""), (7, "")]


async def test_a_timer_bypasses_a_full_mailbox_and_is_handled_first(autojump_clock):
    ticks: list[tuple[float, str]] = []
    async with open_runtime(drain_s=100) as runtime:
        clock = await a_clock(runtime, ticks, capacity=1)
        await set_timer(clock, lambda actor: actor.send_after(1, Tick()))
        clock.tell_nowait(Job(5))
        await wait_all_tasks_blocked()
        clock.tell_nowait(Job(5))
        await trio.sleep(2)
        snapshot = runtime.snapshot()[clock.path]
        assert (snapshot.mailbox.depth, snapshot.urgent) == (1, 1)
        assert snapshot.is_conserved
        await trio.sleep(4)
        assert ticks == [(5, "")]


async def test_a_cancelled_timer_never_fires_and_cancelling_twice_is_harmless(autojump_clock):
    ticks: list[tuple[float, str]] = []
    async with open_runtime() as runtime:
        clock = await a_clock(runtime, ticks)
        timer = await set_timer(clock, lambda actor: actor.send_after(3, Tick()))
        every = await set_timer(clock, lambda actor: actor.send_every(1, Tick("every")))
        await trio.sleep(2.5)
        for one in (timer, every, timer, every):
            one.cancel()
        await trio.sleep(20)
        assert ticks == [(1, "every"), (2, "every")]
        assert runtime.snapshot()[clock.path].is_conserved


@pytest.mark.parametrize("periodic", [False, True])
async def test_a_cancelled_timer_is_not_handled_even_if_it_has_fired(autojump_clock, periodic):
    """The timer fired while a handler was busy, and is cancelled before it is handled."""
    ticks: list[tuple[float, str]] = []
    async with open_runtime() as runtime:
        clock = await a_clock(runtime, ticks)
        timer = await set_timer(
            clock,
            lambda actor: actor.send_every(1, Tick()) if periodic else actor.send_after(1, Tick()),
        )
        clock.tell_nowait(Job(1.5))
        await trio.sleep(1.2)
        timer.cancel()
        await trio.sleep(5)
        assert ticks == []
        snapshot = runtime.snapshot()[clock.path]
        assert snapshot.counts.cancelled == 1
        assert snapshot.is_conserved


async def test_a_timer_for_an_unhandled_message_fails_where_it_is_set(autojump_clock):
    async with open_runtime() as runtime:
        clock = await a_clock(runtime, [])
        for what in (
            lambda actor: actor.send_after(1, Unknown()),
            lambda actor: actor.send_every(1, Unknown()),
        ):
            with pytest.raises(UnhandledMessage):
                await clock.ask(Do(what))


async def test_a_timer_that_is_set_without_an_incarnation_is_rejected(autojump_clock):
    kept: list[Clock] = []
    async with open_runtime() as runtime:
        clock = await a_clock(runtime, [])
        await clock.ask(Do(kept.append))
        await runtime.stop(clock)
        with pytest.raises(RuntimeError, match="is not running"):
            kept[0].send_after(1, Tick())


# ---------------------------------------------------------------- periodic


async def test_a_periodic_timer_keeps_its_beat(autojump_clock):
    ticks: list[tuple[float, str]] = []
    async with open_runtime() as runtime:
        clock = await a_clock(runtime, ticks)
        await trio.sleep(0.5)
        await set_timer(clock, lambda actor: actor.send_every(2, Tick(seconds=0.7)))
        await trio.sleep(11)
    assert [at for at, _ in ticks] == [2.5, 4.5, 6.5, 8.5, 10.5]


async def test_a_handler_slower_than_the_period_has_no_backlog_and_does_not_drift(
    autojump_clock,
):
    ticks: list[tuple[float, str]] = []
    async with open_runtime() as runtime:
        clock = await a_clock(runtime, ticks)
        timer = await set_timer(clock, lambda actor: actor.send_every(2, Tick(seconds=5)))
        await trio.sleep(19)
        assert runtime.snapshot()[clock.path].urgent <= 1
        timer.cancel()
        await trio.sleep(20)
    # One may wait while one is in progress, but never two.
    assert [at for at, _ in ticks] == [2, 7, 12, 17]


async def test_after_a_long_delay_the_beat_is_the_old_one(autojump_clock):
    ticks: list[tuple[float, str]] = []
    async with open_runtime() as runtime:
        clock = await a_clock(runtime, ticks)
        await set_timer(clock, lambda actor: actor.send_every(2, Tick()))
        await trio.sleep(1)
        clock.tell_nowait(Job(8.5))  # until 9.5
        await trio.sleep(12)
    assert [at for at, _ in ticks] == [9.5, 10, 12]


async def test_a_periodic_timer_of_a_slow_handler_does_not_starve_the_mailbox(autojump_clock):
    """Timers go first, but not twice in a row before one that waits."""
    ticks: list[tuple[float, str]] = []
    async with open_runtime() as runtime:
        clock = await a_clock(runtime, ticks)
        await set_timer(clock, lambda actor: actor.send_every(1, Tick(seconds=3)))
        await trio.sleep(1.5)
        assert await clock.ask(Job(), timeout=10) == "done"
        assert trio.current_time() == 4


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
async def test_a_period_of_zero_or_less_is_rejected(autojump_clock, seconds):
    async with open_runtime() as runtime:
        clock = await a_clock(runtime, [])
        with pytest.raises(ValueError, match="seconds"):
            await clock.ask(Do(lambda actor: actor.send_every(seconds, Tick())))


@settings(max_examples=settings.default.max_examples, deadline=None)
@given(
    period=st.integers(1, 5),
    slow=st.integers(0, 12),
    jobs=st.lists(st.integers(0, 9), max_size=4),
    for_s=st.integers(1, 40),
)
def test_ticks_are_never_early_never_more_than_the_beat_and_resume_it(period, slow, jobs, for_s):
    ticks: list[tuple[float, str]] = []

    async def main():
        async with open_runtime(seed="0", drain_s=1000) as runtime:
            clock = await a_clock(runtime, ticks)
            await set_timer(clock, lambda actor: actor.send_every(period, Tick(seconds=slow)))
            for job in jobs:
                clock.tell_nowait(Job(job))
            await trio.sleep(for_s + 0.5)
            assert runtime.snapshot()[clock.path].is_conserved

    trio.run(main, clock=MockClock(autojump_threshold=0))
    times = [at for at, _ in ticks if at <= for_s]
    for number, at in enumerate(times, 1):
        assert at >= number * period
    assert len(times) <= for_s // period
    if not jobs and slow < period:
        assert times == [number * period for number in range(1, for_s // period + 1)]


# ---------------------------------------------------------------- with the incarnation


async def test_timers_vanish_with_their_incarnation(autojump_clock):
    class Frail(Clock):
        @handles(Job)
        async def job(self, message: Job) -> str:
            raise KeyError("bug")

    ticks: list[tuple[float, str]] = []
    async with open_runtime() as runtime:
        clock = await runtime.spawn("clock", partial(Frail, ticks))
        await set_timer(clock, lambda actor: actor.send_every(1, Tick("old")))
        await set_timer(clock, lambda actor: actor.send_after(5, Tick("old, once")))
        await trio.sleep(2.5)
        clock.tell_nowait(Job())
        await trio.sleep(20)
        assert runtime.snapshot()[clock.path].incarnation == 2
        assert ticks == [(1, "old"), (2, "old")]
        assert runtime.snapshot()[clock.path].is_conserved


async def test_a_drain_does_not_wait_for_timers(autojump_clock):
    ticks: list[tuple[float, str]] = []
    async with open_runtime() as runtime:
        clock = await a_clock(runtime, ticks)
        await set_timer(clock, lambda actor: actor.send_after(5, Tick()))
        await set_timer(clock, lambda actor: actor.send_every(1, Tick()))
        await runtime.stop(clock)
        assert trio.current_time() == 0
        await trio.sleep(10)
    assert ticks == []


async def test_many_timers_that_are_cancelled_leave_nothing_behind(autojump_clock):
    async with open_runtime() as runtime:
        clock = await a_clock(runtime, [])

        def many(actor):
            for _ in range(5000):
                actor.send_after(1e6, Tick()).cancel()

        await clock.ask(Do(many))
        assert len(clock._cell.deadlines) < 1000
