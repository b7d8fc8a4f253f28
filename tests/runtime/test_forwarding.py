"""R4: a forwarded message keeps its deadline and cancellation; the reply skips the relays."""

from functools import partial

import pytest
import trio
from sample_actors import Pass, Relay, Work, Worker

from callsheet.runtime import (
    Actor,
    ActorCrashed,
    ActorStopped,
    AskTimedOut,
    Verdict,
    defers,
    handles,
    open_runtime,
)


async def three_hops(runtime, journal):
    worker = await runtime.spawn("worker", partial(Worker, journal))
    ref = worker
    for number in range(3):
        ref = await runtime.spawn(f"relay{number}", partial(Relay, ref))
    return worker, ref


async def test_the_reply_of_the_third_hop_goes_to_the_first_caller(autojump_clock):
    async with open_runtime() as runtime:
        _, relay = await three_hops(runtime, [])
        assert await relay.ask(Pass(Work("far"))) == "far"
        for number in range(3):
            counts = runtime.snapshot()[f"callsheet/relay{number}"].counts
            assert counts.handled == 1, "a relay sees the message once and the answer never"


async def test_relays_are_free_while_the_work_runs(autojump_clock):
    async with open_runtime() as runtime:
        worker, relay = await three_hops(runtime, [])
        async with trio.open_nursery() as nursery:
            for name in "abc":
                nursery.start_soon(relay.ask, Pass(Work(name, 10)))
            await trio.testing.wait_all_tasks_blocked()
            assert len(runtime.snapshot()[worker.path].in_progress) == 1
            assert runtime.snapshot()[worker.path].mailbox.depth == 2


async def test_cancelling_the_caller_cancels_the_work_three_hops_away(autojump_clock):
    journal: list[str] = []
    async with open_runtime() as runtime:
        worker, relay = await three_hops(runtime, journal)
        with trio.move_on_after(2):
            await relay.ask(Pass(Work("far", 60)))
        start = trio.current_time()
        await worker.ask(Work("next", 0))
        assert trio.current_time() == start
    assert journal == ["begin far", "begin next", "end next", "stopped"]


async def test_a_deadline_holds_across_hops(autojump_clock):
    async with open_runtime() as runtime:
        _, relay = await three_hops(runtime, [])
        start = trio.current_time()
        with pytest.raises(AskTimedOut, match="callsheet/worker"):
            await relay.ask(Pass(Work("far", 60)), timeout=3)
        assert trio.current_time() - start == 3


async def test_a_crash_at_the_last_hop_fails_the_ask_of_the_first_caller(autojump_clock):
    class Fragile(Worker):
        @handles(Work)
        async def work(self, message: Work) -> str:
            raise KeyError("bug")

    async with open_runtime() as runtime:
        worker = await runtime.spawn("worker", partial(Fragile, []))
        relay = await runtime.spawn("relay", partial(Relay, worker))
        with pytest.raises(ActorCrashed, match="callsheet/worker crashed") as caught:
            await relay.ask(Pass(Work("far")))
        assert caught.value.verdict is Verdict.MAY_HAVE_RUN
        assert runtime.snapshot()[relay.path].incarnation == 1, "the relay is not affected"


async def test_forwarding_to_a_stopped_actor_fails_the_ask_as_not_started(autojump_clock):
    async with open_runtime() as runtime:
        worker, relay = await three_hops(runtime, [])
        await runtime.stop(worker)
        with pytest.raises(ActorStopped) as caught:
            await relay.ask(Pass(Work("far")))
        assert caught.value.verdict is Verdict.NOT_STARTED


async def test_a_full_mailbox_ahead_holds_the_relay_back(autojump_clock):
    """Backpressure: the relay waits instead of piling up."""
    async with open_runtime() as runtime:
        worker = await runtime.spawn("worker", partial(Worker, []), capacity=1)
        relay = await runtime.spawn("relay", partial(Relay, worker), capacity=2)
        async with trio.open_nursery() as nursery:
            for name in "abcdef":
                nursery.start_soon(relay.ask, Pass(Work(name, 1)))
            await trio.testing.wait_all_tasks_blocked()
            snapshot = runtime.snapshot()
            # One runs, one waits at the worker, one is in the relay's hands, two wait at the relay.
            assert snapshot[worker.path].mailbox.depth == 1
            assert len(snapshot[relay.path].in_progress) == 1
            assert snapshot[relay.path].mailbox.depth == 2
            assert snapshot[relay.path].mailbox.senders_waiting == 1


class Handing(Actor):
    """Has another actor do the work, by an ask of its own."""

    def __init__(self, to):
        self.to = to

    @defers(Pass)
    async def hand_on(self, message, slot):
        call = await self.to.submit(message.work)
        slot.start(call)
        call.on_settled(lambda call: slot.reply(call.value))

    @handles(Work)
    async def crash(self, message):
        raise KeyError("bug")


@pytest.mark.parametrize("ends_by", ["deadline", "crash"])
async def test_the_verdict_is_that_of_the_ask_that_does_the_work(autojump_clock, ends_by):
    verdicts = {}
    async with open_runtime() as runtime:
        worker = await runtime.spawn("worker", partial(Worker, []))
        handing = await runtime.spawn("handing", partial(Handing, worker))

        async def ask(name):
            with pytest.raises((AskTimedOut, ActorCrashed)) as caught:
                await handing.ask(Pass(Work(name, 60)), timeout=3)
            verdicts[name] = caught.value.verdict

        async with trio.open_nursery() as nursery:
            for name in ("running", "queued"):
                nursery.start_soon(ask, name)
                await trio.testing.wait_all_tasks_blocked()
            if ends_by == "crash":
                with pytest.raises(ActorCrashed):
                    await handing.ask(Work("it crashes"))
    assert verdicts == {"running": Verdict.MAY_HAVE_RUN, "queued": Verdict.NOT_STARTED}
