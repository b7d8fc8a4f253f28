"""R4: a timeout is the ask's own limit; scopes cut it; values that are no time are refused."""

from contextlib import AsyncExitStack
from functools import partial

import attrs
import pytest
import trio

from callsheet.runtime import (
    Actor,
    AskTimedOut,
    Message,
    Ref,
    ReplySlot,
    RestartPolicy,
    StreamOf,
    StreamSink,
    defers,
    handles,
    open_runtime,
    streams,
)

NAN = float("nan")


@attrs.frozen
class Sleep(Message[str]):
    seconds: float = 0.0


@attrs.frozen
class Ticks(StreamOf[int]):
    pass


@attrs.frozen
class AskOn(Message[str]):
    to: Ref
    timeout: float = float("inf")


class Sleeper(Actor):
    @handles(Sleep)
    async def sleep(self, message: Sleep) -> str:
        await trio.sleep(message.seconds)
        return "slept"

    @handles(AskOn, raises=(AskTimedOut,))
    async def ask_on(self, message: AskOn) -> str:
        return await message.to.ask(Sleep(10_000), timeout=message.timeout)

    @streams(Ticks)
    async def ticks(self, message: Ticks, sink: StreamSink[int]) -> None:
        while True:
            await trio.sleep(1)
            await sink.send(1)


async def test_a_stream_keeps_its_timeout_when_the_scope_it_was_opened_in_has_ended(
    autojump_clock,
):
    async with open_runtime() as runtime, AsyncExitStack() as stack:
        sleeper = await runtime.spawn("sleeper", Sleeper)
        with trio.fail_after(5):
            items = await stack.enter_async_context(sleeper.stream(Ticks(), timeout=20))
        with pytest.raises(AskTimedOut):
            async for _ in items:
                pass
        assert trio.current_time() == 20


async def test_an_ask_keeps_its_timeout_under_a_scope_that_is_extended(autojump_clock):
    async with open_runtime() as runtime, trio.open_nursery() as nursery:
        sleeper = await runtime.spawn("sleeper", Sleeper)
        with trio.CancelScope(deadline=5) as scope:

            async def heartbeat():
                while True:
                    await trio.sleep(1)
                    scope.deadline = trio.current_time() + 5

            nursery.start_soon(heartbeat)
            with pytest.raises(AskTimedOut):
                await sleeper.ask(Sleep(1_000), timeout=10)
        assert trio.current_time() == 10
        nursery.cancel_scope.cancel()


async def test_an_ask_without_a_timeout_lasts_as_long_as_the_extended_scope(autojump_clock):
    """The handler's own asks do not inherit where the scope ended at first."""
    async with open_runtime() as runtime:
        sleeper = await runtime.spawn("sleeper", Sleeper)
        other = await runtime.spawn("other", Sleeper)
        with trio.CancelScope(deadline=5) as scope:
            async with trio.open_nursery() as nursery:

                async def extend():
                    await trio.sleep(4)
                    scope.deadline = 50

                nursery.start_soon(extend)
                await other.ask(AskOn(sleeper))
        assert scope.cancelled_caught
        assert trio.current_time() == 50
        assert runtime.snapshot()[sleeper.path].counts.cancelled == 1


async def test_an_enclosing_scope_still_cuts(autojump_clock):
    async with open_runtime() as runtime:
        sleeper = await runtime.spawn("sleeper", Sleeper)
        with trio.move_on_after(3) as scope:
            await sleeper.ask(Sleep(1_000), timeout=10)
        assert scope.cancelled_caught
        assert trio.current_time() == 3


@pytest.mark.parametrize(("outer", "inner", "at"), [(4, 9, 4), (9, 4, 4), (4, 1e9, 4)])
async def test_the_earliest_limit_of_a_chain_holds(autojump_clock, outer, inner, at):
    async with open_runtime() as runtime:
        sleeper = await runtime.spawn("sleeper", Sleeper)
        other = await runtime.spawn("other", Sleeper)
        with pytest.raises(AskTimedOut):
            await other.ask(AskOn(sleeper, timeout=inner), timeout=outer)
        assert trio.current_time() == at
        await trio.sleep(1)
        assert runtime.snapshot()[sleeper.path].in_progress == ()


async def test_an_inherited_deadline_follows_when_it_is_postponed(autojump_clock):
    async with open_runtime() as runtime:
        sleeper = await runtime.spawn("sleeper", Sleeper)
        other = await runtime.spawn("other", Sleeper)
        slot = await other.submit(AskOn(sleeper), deadline=5)
        await trio.sleep(3)
        slot.postpone(30)
        with pytest.raises(AskTimedOut):
            await slot.wait()
        assert trio.current_time() == 30


async def test_the_asks_that_do_the_work_get_the_time_that_it_gets(autojump_clock):
    class Deferring(Actor):
        @defers(AskOn)
        async def ask_on(self, message: AskOn, slot: ReplySlot[str]) -> None:
            ask = await message.to.submit(Sleep(20), deadline=slot.deadline)
            slot.start(ask)
            ask.on_settled(lambda ask: slot.reply(ask.value) if ask.value else None)

    async with open_runtime() as runtime:
        sleeper = await runtime.spawn("sleeper", Sleeper)
        deferring = await runtime.spawn("deferring", Deferring)
        slot = await deferring.submit(AskOn(sleeper), deadline=5)
        await trio.sleep(3)
        slot.postpone(30)
        assert await slot.wait() == "slept"
        assert trio.current_time() == 20


@pytest.mark.parametrize("timeout", [0, -1, -0.0, float("-inf")])
async def test_a_timeout_that_has_passed_expires_at_once(autojump_clock, timeout):
    async with open_runtime() as runtime:
        sleeper = await runtime.spawn("sleeper", Sleeper)
        with pytest.raises(AskTimedOut):
            await sleeper.ask(Sleep(1), timeout=timeout)
        assert trio.current_time() == 0


@pytest.mark.parametrize("value", [NAN, "5", None, True, b"1", 10**400])
async def test_values_that_are_no_time_are_refused_where_they_enter(value):
    async with open_runtime() as runtime:
        sleeper = await runtime.spawn("sleeper", Sleeper)
        slot = await sleeper.submit(Sleep(), deadline=trio.current_time() + 100)
        await slot.wait()
        actor = sleeper._cell.current.actor
        refused = pytest.raises((TypeError, ValueError), match="must be a number of seconds")
        with refused:
            await sleeper.ask(Sleep(), timeout=value)
        with refused:
            await sleeper.submit(Sleep(), deadline=value)
        with refused:
            async with sleeper.stream(Ticks(), timeout=value):
                pass
        with refused:
            slot.postpone(value)
        for set_timer in (actor.send_after, actor.send_at, actor.send_every):
            with refused:
                set_timer(value, Sleep())
        with refused:
            await runtime.spawn("x", Sleeper, stop_s=value)
        with refused:
            await runtime.supervise("x", stop_s=value)
        for name in ("period_s", "base_s", "cap_s", "healthy_s"):
            with refused:
                RestartPolicy(**{name: value})
        with refused:
            async with open_runtime(drain_s=value):
                pass
        with pytest.raises(AskTimedOut):  # the timers of the runtime still work
            await sleeper.ask(Sleep(100), timeout=0.01)


@pytest.mark.parametrize("value", [-1, 1.5, NAN, True, None])
async def test_a_buffer_or_a_count_that_is_no_whole_number_is_refused(value):
    async with open_runtime() as runtime:
        sleeper = await runtime.spawn("sleeper", Sleeper)
        with pytest.raises(ValueError, match="buffer must be a whole number"):
            async with sleeper.stream(Ticks(), buffer=value):
                pass
        with pytest.raises(ValueError, match="max_restarts must be a whole number"):
            RestartPolicy(max_restarts=value)


async def test_a_negative_time_is_refused_where_it_cannot_be():
    for make in (
        partial(RestartPolicy, period_s=0),
        partial(RestartPolicy, base_s=-1),
    ):
        with pytest.raises(ValueError, match="_s"):
            make()
    async with open_runtime() as runtime:
        with pytest.raises(ValueError, match="stop_s must be at least 0 seconds"):
            await runtime.spawn("x", Sleeper, stop_s=-1)
