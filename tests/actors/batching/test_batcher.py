"""The batcher: no request waits longer than the window, members are independent (L5)."""

from functools import partial

import pytest
import trio
from fakes import (
    MODEL,
    Behaviour,
    Chorus,
    Journal,
    Stage,
    asking,
    batcher_to,
    call,
    chorus_to,
    outcomes,
)

from callsheet.actors import BadRequest, BatcherActor, Batching, CallContext, Complete, Request
from callsheet.actors.batching.statistics import GetBatchingStatistics
from callsheet.actors.vendors.format import BatchLimits
from callsheet.runtime import ActorStopped, open_runtime

FAILS = {"bad": Behaviour(error=BadRequest("no such thing"))}


# ------------------------------------------------------------------ when a batch goes


async def test_what_cannot_share_a_call_is_never_delayed(autojump_clock):
    journal = Journal()
    async with open_runtime() as runtime:
        batcher = await batcher_to(runtime, journal, batching=Batching(max_wait_s=60))
        answers = await outcomes(*asking(batcher, "a", "b", "c"))
    assert [answer.text for answer in answers] == ["about a", "about b", "about c"]
    assert [at for _, at in journal.began] == [0, 0, 0]


async def test_a_lone_request_does_not_wait(autojump_clock):
    journal = Journal()
    async with open_runtime() as runtime:
        batcher = await chorus_to(runtime, journal, batching=Batching(max_wait_s=60))
        for prompt in ("first", "second", "third"):
            await batcher.ask(call(prompt))
            await trio.sleep(5)
    begun = [at for _, at in journal.began]
    assert [prompt for prompt, _ in journal.began] == ["first", "second", "third"]
    assert begun == pytest.approx([0, 6, 12], abs=0.002), "under a millisecond each"


async def test_what_is_asked_at_the_same_moment_shares_a_call(autojump_clock):
    journal = Journal()
    async with open_runtime() as runtime:
        batcher = await chorus_to(runtime, journal)
        answers = await outcomes(*asking(batcher, "a", "b", "c"))
        statistics = await batcher.ask(GetBatchingStatistics())
    assert [prompt for prompt, _ in journal.began] == ["a|b|c"]
    assert [answer.text for answer in answers] == ["about a", "about b", "about c"]
    (record,) = statistics.latest
    assert (record.strategy, record.reason, record.weight.size) == ("chorus", "quiet", 3)
    assert statistics.batches == {"quiet": 1}
    assert record.waited_s < 0.001


async def test_while_others_come_steadily_they_are_waited_for_and_then_no_more(autojump_clock):
    journal = Journal()
    async with open_runtime() as runtime:
        batcher = await chorus_to(runtime, journal, batching=Batching(max_wait_s=1.0))

        async def later(number):
            await trio.sleep(number / 100)
            await batcher.ask(call(str(number)))

        await outcomes(*(partial(later, number) for number in range(8)))
    prompts = [prompt for prompt, _ in journal.began]
    assert prompts[:2] == ["0", "1|2|3|4|5|6|7"], "the first cannot know that more will come"
    assert journal.began[1][1] < 0.07 + 0.04


async def test_no_request_waits_longer_than_the_window_however_many_arrive(autojump_clock):
    journal = Journal()
    came = {}
    async with open_runtime() as runtime:
        bounds = BatchLimits(max_size=1000)
        batching = Batching(max_wait_s=0.3)
        batcher = await chorus_to(runtime, journal, Chorus(bounds), batching=batching)

        async def later(number):
            await trio.sleep(number / 20)
            came[str(number)] = trio.current_time()
            await batcher.ask(call(str(number)))

        await outcomes(*(partial(later, number) for number in range(30)))
        statistics = await batcher.ask(GetBatchingStatistics())
    for prompt, at in journal.began:
        for number in prompt.split("|"):
            assert at <= came[number] + 0.3 + 1e-6
    assert statistics.batches["time"] > 0


async def test_a_full_batch_is_sent_at_once(autojump_clock):
    journal = Journal()
    async with open_runtime() as runtime:
        batcher = await chorus_to(runtime, journal, batching=Batching(max_size=2))
        await outcomes(*asking(batcher, "a", "b", "c"))
        statistics = await batcher.ask(GetBatchingStatistics())
    assert [prompt for prompt, _ in journal.began] == ["a|b", "c"]
    assert journal.began[0][1] == 0
    assert statistics.batches == {"size": 1, "quiet": 1}


async def test_the_weight_of_a_batch_is_bounded_and_a_heavier_request_is_sent_alone(autojump_clock):
    journal = Journal()
    async with open_runtime() as runtime:
        batcher = await chorus_to(runtime, journal, Chorus(BatchLimits(max_bytes=8)))
        await outcomes(*asking(batcher, "aaaa", "bbbb", "0123456789", "cccc"))
    assert [prompt for prompt, _ in journal.began] == ["aaaa|bbbb", "0123456789", "cccc"]


async def test_requests_that_can_wait_are_gathered_and_not_mixed_with_others(
    autojump_clock,
):
    journal = Journal()
    async with open_runtime() as runtime:
        batcher = await chorus_to(runtime, journal)

        async def later(number, **more):
            await trio.sleep(number)
            await batcher.ask(call(str(number), **more))

        patient = [partial(later, number, deadline=2000.0) for number in range(8)]
        await outcomes(*patient, *asking(batcher, "now"))
    assert journal.began[0] == ("now", pytest.approx(0, abs=0.001))
    assert sorted(prompt for prompt, _ in journal.began) == ["0", "1|2|3|4|5|6|7", "now"]


async def test_lanes_do_not_share_a_call(autojump_clock):
    """Requests of two tenants are never in the same prompt."""
    journal = Journal()

    def of(lane, prompt):
        return Complete(Request.of(prompt, model=MODEL), CallContext(prompt, lane=lane))

    async with open_runtime() as runtime:
        batcher = await chorus_to(runtime, journal)
        asked = [("red", "a"), ("blue", "b"), ("red", "c"), ("blue", "d")]
        await outcomes(*(partial(batcher.ask, of(*one)) for one in asked))
    assert sorted(prompt for prompt, _ in journal.began) == ["a|c", "b|d"]


async def test_a_combined_call_names_all_its_members(autojump_clock):
    origins = []

    class Watcher(Stage):
        async def attempt(self, message, behaviour):
            origins.append(message.context)

    async with open_runtime() as runtime:
        watcher = await runtime.spawn("watcher", partial(Watcher, Journal()))
        batcher = await chorus_to(runtime, None, stage=watcher)
        await outcomes(*asking(batcher, "a", "b", "c"))
    (context,) = origins
    assert context.call == "a+2"
    assert [one.call for one in context.shared_by] == ["a", "b", "c"]


async def test_what_is_gathered_is_sent_when_the_batcher_is_stopped(autojump_clock):
    journal = Journal()
    async with open_runtime() as runtime:
        batcher = await chorus_to(runtime, journal)
        async with trio.open_nursery() as nursery:
            found = []

            async def ask(prompt, **more):
                found.append((await batcher.ask(call(prompt, **more))).text)

            nursery.start_soon(partial(ask, "a", deadline=86_400.0))
            nursery.start_soon(partial(ask, "b", deadline=86_400.0, cacheable=True))
            await trio.testing.wait_all_tasks_blocked()
            await runtime.stop(batcher)
            with pytest.raises(ActorStopped):
                await batcher.ask(call("too late"))
    assert sorted(found) == ["about a", "about b"]
    ((prompt, at),) = journal.began
    assert (sorted(prompt.split("|")), at) == (["a", "b"], 0)


async def test_the_batcher_wakes_no_oftener_than_a_batch_needs(autojump_clock):
    """L4: it checks twice for further members, however many members there are."""
    async with open_runtime() as runtime:
        batcher = await chorus_to(runtime, Journal(), Chorus(BatchLimits(max_size=100)))
        await outcomes(*asking(batcher, *map(str, range(50))))
        # Twice it is time, and once the call has ended.
        assert runtime.snapshot()[batcher.path].counts.bypassed == 3


# ------------------------------------------------------------------ members are independent


async def test_one_member_fails_alone(autojump_clock):
    async with open_runtime() as runtime:
        batcher = await batcher_to(runtime, Journal(), FAILS, batching=Batching(max_wait_s=0.1))
        good, bad, other = await outcomes(*asking(batcher, "good", "bad", "other"))
        assert (good.text, other.text) == ("about good", "about other")
        assert isinstance(bad, BadRequest)
        assert runtime.snapshot()[batcher.path].incarnation == 1


@pytest.mark.parametrize("cacheable", [False, True])
async def test_a_member_that_is_cancelled_before_it_is_sent_is_not_paid_for(
    autojump_clock, cacheable
):
    journal = Journal()
    async with open_runtime() as runtime:
        batcher = await chorus_to(runtime, journal, batching=Batching(max_wait_s=1.0))

        async def impatient():
            with trio.move_on_after(0.5):
                await batcher.ask(call("gone", cacheable=cacheable, deadline=1000.0))

        await outcomes(impatient, *asking(batcher, "stays", deadline=1000.0))
        assert runtime.snapshot()[batcher.path].deferred == 0
    assert [prompt for prompt, _ in journal.began] == ["stays"]


async def test_a_member_that_is_slow_holds_up_no_other(autojump_clock):
    ends = {}
    async with open_runtime() as runtime:
        batcher = await batcher_to(runtime, Journal(), {"slow": Behaviour(100)})

        async def ask(prompt):
            await batcher.ask(call(prompt))
            ends[prompt] = trio.current_time()

        await outcomes(partial(ask, "slow"), partial(ask, "quick"))
    assert ends == {"quick": 1, "slow": 100}


async def test_a_full_stage_ahead_makes_the_callers_wait(autojump_clock):
    """Backpressure: calls do not accumulate in the batcher."""
    journal = Journal()
    async with open_runtime() as runtime:
        stage = await runtime.spawn("stage", partial(Stage, journal), capacity=1)
        batcher = await runtime.spawn("batcher", partial(BatcherActor, stage), capacity=2)
        async with trio.open_nursery() as nursery:
            for ask in asking(batcher, *"abcdef"):
                nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            mailbox = runtime.snapshot()[batcher.path].mailbox
            # One runs, one waits at the stage, and the batcher holds one.
            assert (mailbox.depth, mailbox.senders_waiting) == (2, 1)
    assert len(journal.ended) == 6
