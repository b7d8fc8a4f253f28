"""R18: the context that an instrument gives a message goes along, and each message ends once."""

from contextlib import suppress
from functools import partial

import pytest
import trio
from traced_actors import (
    Ask,
    Background,
    Declared,
    End,
    Fail,
    Forward,
    Gateway,
    Gather,
    Items,
    Later,
    Leaf,
    Middle,
    Tell,
    Tracer,
)

from callsheet.runtime import (
    Actor,
    ActorCrashed,
    ActorStopped,
    AskTimedOut,
    Dropped,
    Instrument,
    ReplySlot,
    RestartPolicy,
    defers,
    handles,
    open_runtime,
)
from callsheet.runtime.testing import open_test_runtime

NO_PAUSE = RestartPolicy(base_s=0)


# ---------------------------------------------------------------- the context goes along


@pytest.mark.parametrize("pool", [False, True])
async def test_a_trace_contains_all_that_is_done_for_an_ask(autojump_clock, pool):
    tracer = Tracer()
    async with open_test_runtime("app", instruments=[tracer]) as runtime:
        end = await runtime.spawn("end", End)
        factory = partial(Middle, end)
        if pool:
            middle = await runtime.spawn_pool("middle", factory, size=3)
        else:
            middle = await runtime.spawn("middle", factory)
        gateway = await runtime.spawn("gateway", partial(Gateway, middle))
        await gateway.ask(Ask())
        await middle.tell(Tell())
        await trio.sleep(1)
        await middle.ask(Forward())
        await middle.ask(Later())
        async with middle.stream(Items()) as items:
            assert [item async for item in items] == ["reply"]
        await trio.sleep(10)
    assert tracer.lines == [
        "Ask at gateway",
        "Ask at gateway > Ask at middle",
        "Ask at gateway > Ask at middle > Leaf at end",
        "Tell at middle",
        "Tell at middle > Leaf at end",
        "Forward at middle",
        "Forward at middle > Leaf at end",
        "Later at middle",
        "Later at middle > Leaf at end",
        "Items at middle",
        "Items at middle > Leaf at end",
    ]
    forwarded = [
        span for span in tracer.spans if span.name in {"Forward at middle", "Later at middle"}
    ]
    assert [span.outcomes for span in forwarded] == [["forwarded"], ["forwarded"]]
    assert {tuple(one.outcomes) for one in tracer.spans if one not in forwarded} == {("replied",)}


async def test_background_work_continues_the_trace_and_a_timer_begins_one(autojump_clock):
    tracer = Tracer()
    async with open_test_runtime("app", instruments=[tracer]) as runtime:
        end = await runtime.spawn("end", End)
        middle = await runtime.spawn("middle", partial(Middle, end))
        await middle.ask(Background())
        await trio.sleep(10)
    assert tracer.lines == [
        "Background at middle",
        "Tick at middle",
        "Tick at middle > Leaf at end",
        "Background at middle > Leaf at end",
    ]


async def test_work_for_several_messages_has_links_to_each(autojump_clock):
    tracer = Tracer()
    async with open_test_runtime("app", instruments=[tracer]) as runtime:
        end = await runtime.spawn("end", End)
        middle = await runtime.spawn("middle", partial(Middle, end))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(middle.ask, Gather())
            await trio.sleep(1)
            nursery.start_soon(middle.ask, Gather())
    first, second, both, one, own = tracer.spans
    assert both.links == (first, second)
    assert (both.parent, one.parent, own.parent) == (second, first, second)
    assert (one.links, own.links) == ((), ())
    assert first.seconds == (0, 1)
    assert [span.outcomes for span in (first, second)] == [["replied"], ["replied"]]


async def test_a_message_that_is_delivered_again_stays_in_its_trace(autojump_clock):
    class Flaky(Actor):
        lives = 0

        def __init__(self, end) -> None:
            self.end = end

        @handles(Ask)
        async def ask(self, message: Ask) -> str:
            Flaky.lives += 1
            reply = await self.end.ask(Leaf(1))
            if Flaky.lives < 3:
                raise KeyError("bug")
            return reply

        @defers(Later)
        async def later(self, message: Later, slot: ReplySlot[str]) -> None:
            Flaky.lives += 1
            if Flaky.lives < 3:
                raise KeyError("bug")
            slot.reply("reply")

    tracer = Tracer()
    async with open_test_runtime("app", restarts=NO_PAUSE, instruments=[tracer]) as runtime:
        end = await runtime.spawn("end", End)
        flaky = await runtime.spawn("flaky", partial(Flaky, end), redeliver=2)
        await flaky.ask(Ask())
        first = tracer.spans[0]
        assert [span.parent for span in tracer.spans[1:]] == [first] * 3
        assert first.deliveries == [1, 2, 3]
        assert first.outcomes == ["redelivered", "redelivered", "replied"]
        assert first.seconds == (2, 1)
        Flaky.lives = 0
        await flaky.ask(Later())
        assert tracer.spans[-1].outcomes == ["redelivered", "redelivered", "replied"]


async def test_a_trace_goes_from_one_runtime_to_another(autojump_clock):
    tracer, other = Tracer(), Tracer()
    async with (
        open_test_runtime("a", instruments=[tracer]) as a,
        open_test_runtime("b", instruments=[other, tracer]) as b,
    ):
        end = await b.spawn("end", End)
        middle = await a.spawn("middle", partial(Middle, end))
        await middle.ask(Ask())
    assert tracer.lines == ["Ask at middle", "Ask at middle > Leaf at end"]
    assert other.lines == ["Leaf at end"]


async def test_what_an_owned_context_sends_is_in_no_trace_of_a_message(autojump_clock):
    class Owner(Actor):
        def __init__(self, end) -> None:
            self.end = end

        @handles(Ask)
        async def ask(self, message: Ask) -> str:
            self.child = await self.spawn("child", partial(Middle, self.end))
            return "reply"

    tracer = Tracer()
    async with open_test_runtime("app", instruments=[tracer]) as runtime:
        end = await runtime.spawn("end", End)
        owner = await runtime.spawn("owner", partial(Owner, end))
        await owner.ask(Ask())
        await runtime.ref("app/owner/child").tell(Tell())
        await trio.sleep(1)
    assert tracer.lines == [
        "Ask at owner",
        "Tell at owner/child",
        "Tell at owner/child > Leaf at end",
    ]


# ---------------------------------------------------------------- each outcome, once


async def test_each_outcome_comes_with_the_seconds_in_queue_and_in_hand(autojump_clock):
    tracer = Tracer()

    def ended() -> tuple[list[str], tuple[float, float] | None]:
        return tracer.spans[-1].outcomes, tracer.spans[-1].seconds

    async with open_test_runtime("app", restarts=NO_PAUSE, instruments=[tracer]) as runtime:
        end = await runtime.spawn("end", End, capacity=1)
        await end.ask(Leaf(2))
        assert ended() == (["replied"], (0, 2))
        with pytest.raises(Declared):
            await end.ask(Fail(declared=True))
        assert ended() == (["declared error"], (0, 0))
        with pytest.raises(ActorCrashed):
            await end.ask(Fail())
        assert ended() == (["crashed"], (0, 0))
        with pytest.raises(AskTimedOut):
            await end.ask(Leaf(9), timeout=3)
        await trio.testing.wait_all_tasks_blocked()
        assert ended() == (["expired"], (0, 3))
        await end.tell(Leaf(10))  # in hand
        await trio.sleep(1)
        with trio.move_on_after(2):
            await end.ask(Leaf())  # queued
        assert ended() == (["cancelled"], (2, 0))
        await end.tell(Leaf(4))  # queued
        with pytest.raises(AskTimedOut):
            await end.ask(Leaf(5), timeout=2)  # waits for room
        assert ended() == (["expired"], (2, 0))
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(end.ask, Leaf(6))
                await trio.sleep(1)
                scope.cancel()
        assert ended() == (["cancelled"], (1, 0))
        await end.ask(Leaf(1))  # 6 s after the first, which takes 10 s; the second takes 4 s
        assert ended() == (["replied"], (8, 1))


async def test_what_a_stop_leaves_undone_is_reported_as_stopped(autojump_clock):
    tracer = Tracer()
    async with open_test_runtime("app", instruments=[tracer]) as runtime:
        end = await runtime.spawn("end", End, capacity=1, stop_s=1)
        await end.tell(Leaf(10))
        await trio.sleep(1)
        await end.tell(Leaf(20))
        async with trio.open_nursery() as nursery:

            async def send() -> None:
                with pytest.raises(ActorStopped):
                    await end.tell(Leaf(30))

            nursery.start_soon(send)
            await trio.sleep(1)
            await runtime.stop(end)
    assert [span.outcomes for span in tracer.spans] == [["stopped"]] * 3
    assert [span.seconds for span in tracer.spans] == [(0, 3), (2, 0), (1, 0)]


@pytest.mark.parametrize("overflow", ["drop_newest", "drop_oldest"])
async def test_a_message_for_which_there_is_no_room_is_reported_as_dropped(
    autojump_clock, overflow
):
    tracer = Tracer()
    async with open_test_runtime("app", instruments=[tracer]) as runtime:
        end = await runtime.spawn("end", End, capacity=1, overflow=overflow)
        await end.tell(Leaf(10))
        await trio.sleep(1)
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                with suppress(Dropped):
                    await end.ask(Leaf(1))

            for _ in range(2):
                nursery.start_soon(ask)
                await trio.sleep(1)
    outcomes = [span.outcomes for span in tracer.spans]
    newest = [["replied"], ["replied"], ["dropped"]]
    assert outcomes == (newest if overflow == "drop_newest" else [newest[0], *newest[:0:-1]])


async def test_an_instrument_that_fails_costs_no_message_and_no_other_instrument(
    autojump_clock, log
):
    class Broken(Instrument):
        def __init__(self, hook: str) -> None:
            setattr(self, hook, self.fail)

        def fail(self, event: object) -> None:
            raise ValueError("broken")

    for hook in ("message_sent", "message_begun", "message_done"):
        tracer = Tracer()
        async with open_test_runtime("app", instruments=[Broken(hook), tracer]) as runtime:
            end = await runtime.spawn("end", End)
            for _ in range(2):
                assert await end.ask(Leaf()) == "reply"
        assert [span.outcomes for span in tracer.spans] == [["replied"]] * 2
        failed = [event for event in log if event["event"] == "instrument_failed"]
        assert [event["hook"] for event in failed] == [hook]
        log.clear()


async def test_without_instruments_nothing_is_kept_of_a_message(autojump_clock):
    async with open_runtime("app") as runtime:
        end = await runtime.spawn("end", End)
        slot = await end.submit(Leaf())
        await slot.wait()
        assert slot.trace is None
