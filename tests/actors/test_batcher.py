"""The batcher: nobody waits longer than the window, and members know nothing of each other (L5)."""

import itertools
from decimal import Decimal
from functools import partial
from random import Random

import attrs
import pytest
import trio
from fakes import MODEL, Chorus, Journal, Stage, Turn, answer_to, asking, call, outcomes
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors import (
    BadRequest,
    BatcherActor,
    Batching,
    ChatMessage,
    Complete,
    Origin,
    ProviderUnavailable,
    Request,
    Usage,
)
from callsheet.actors.batching import Bounds
from callsheet.actors.gathered import CountGathered
from callsheet.actors.sharing import sharing_key
from callsheet.actors.wire import OpenAIChat
from callsheet.runtime import ActorCrashed, ActorStopped, AskTimedOut, open_runtime

FAILS = {"bad": Turn(error=BadRequest("no such thing"))}


async def batcher_to(runtime, journal, by_prompt=None, *, usual=None, batching=None, stage=None):
    """A batcher in front of a stage that can do with a hundred calls at a time."""
    stage = stage or await runtime.spawn(
        "stage",
        partial(Stage, journal, by_prompt, usual=usual),
        capacity=100,
        concurrency=100,
    )
    return await runtime.spawn("batcher", partial(BatcherActor, stage, batching))


async def chorus_to(runtime, journal, strategy=None, *, by_prompt=None, stage=None, batching=None):
    """A batcher that makes one call of several prompts."""
    stage = stage or await runtime.spawn(
        "stage", partial(Stage, journal, by_prompt), capacity=100, concurrency=100
    )
    strategies = [strategy or Chorus()]
    return await runtime.spawn("batcher", partial(BatcherActor, stage, batching, strategies))


# ------------------------------------------------------------------ when a batch goes


async def test_what_cannot_share_a_call_is_never_delayed(autojump_clock):
    journal = Journal()
    async with open_runtime() as runtime:
        batcher = await batcher_to(runtime, journal, batching=Batching(max_wait_s=60))
        answers = await outcomes(*asking(batcher, "a", "b", "c"))
    assert [answer.text for answer in answers] == ["about a", "about b", "about c"]
    assert [at for _, at in journal.began] == [0, 0, 0]


async def test_a_lone_request_waits_for_nobody(autojump_clock):
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
        statistics = await batcher.ask(CountGathered())
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


async def test_nobody_waits_longer_than_may_be_however_many_come(autojump_clock):
    journal = Journal()
    came = {}
    async with open_runtime() as runtime:
        bounds = Bounds(max_size=1000)
        batching = Batching(max_wait_s=0.3)
        batcher = await chorus_to(runtime, journal, Chorus(bounds), batching=batching)

        async def later(number):
            await trio.sleep(number / 20)
            came[str(number)] = trio.current_time()
            await batcher.ask(call(str(number)))

        await outcomes(*(partial(later, number) for number in range(30)))
        statistics = await batcher.ask(CountGathered())
    for prompt, at in journal.began:
        for number in prompt.split("|"):
            assert at <= came[number] + 0.3 + 1e-6
    assert statistics.batches["time"] > 0


async def test_a_full_batch_goes_at_once(autojump_clock):
    journal = Journal()
    async with open_runtime() as runtime:
        batcher = await chorus_to(runtime, journal, batching=Batching(max_size=2))
        await outcomes(*asking(batcher, "a", "b", "c"))
        statistics = await batcher.ask(CountGathered())
    assert [prompt for prompt, _ in journal.began] == ["a|b", "c"]
    assert journal.began[0][1] == 0
    assert statistics.batches == {"size": 1, "quiet": 1}


async def test_the_weight_of_a_batch_is_bounded_and_one_that_is_heavier_goes_alone(autojump_clock):
    journal = Journal()
    async with open_runtime() as runtime:
        batcher = await chorus_to(runtime, journal, Chorus(Bounds(max_bytes=8)))
        await outcomes(*asking(batcher, "aaaa", "bbbb", "0123456789", "cccc"))
    assert [prompt for prompt, _ in journal.began] == ["aaaa|bbbb", "0123456789", "cccc"]


async def test_those_who_can_wait_are_waited_for_and_not_mixed_with_those_who_cannot(
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
    """What one tenant asks is not read in the same prompt as what another one asks."""
    journal = Journal()

    def of(lane, prompt):
        return Complete(Request.of(prompt, model=MODEL), Origin(prompt, lane=lane))

    async with open_runtime() as runtime:
        batcher = await chorus_to(runtime, journal)
        asked = [("red", "a"), ("blue", "b"), ("red", "c"), ("blue", "d")]
        await outcomes(*(partial(batcher.ask, of(*one)) for one in asked))
    assert sorted(prompt for prompt, _ in journal.began) == ["a|c", "b|d"]


async def test_a_combined_call_names_all_whom_it_is_for(autojump_clock):
    origins = []

    class Watcher(Stage):
        async def attempt(self, message, turn):
            origins.append(message.origin)

    async with open_runtime() as runtime:
        watcher = await runtime.spawn("watcher", partial(Watcher, Journal()))
        batcher = await chorus_to(runtime, None, stage=watcher)
        await outcomes(*asking(batcher, "a", "b", "c"))
    (origin,) = origins
    assert origin.call == "a+2"
    assert [one.call for one in origin.shared_by] == ["a", "b", "c"]


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
    """L4: it listens twice whether anybody else comes, however many members there are."""
    async with open_runtime() as runtime:
        batcher = await chorus_to(runtime, Journal(), Chorus(Bounds(max_size=100)))
        await outcomes(*asking(batcher, *map(str, range(50))))
        # Twice it is time, and once the call has ended.
        assert runtime.snapshot()[batcher.path].tally.bypassed == 3


# ------------------------------------------------------------------ answers that lack something


async def test_what_an_answer_lacks_is_asked_again_by_halves_and_alone_at_last(autojump_clock):
    journal = Journal()
    async with open_runtime() as runtime:
        batcher = await chorus_to(runtime, journal)
        answers = await outcomes(*asking(batcher, "a", "mute", "c", "mute too", "mute as well"))
        statistics = await batcher.ask(CountGathered())
    assert [answer.text for answer in answers] == [
        "about a",
        "about mute",
        "about c",
        "about mute about too",
        "about mute about as about well",
    ]
    assert statistics.combined > 1
    paid = sum(answer.http_requests for answer in answers)
    assert paid == len(journal.ended), "whoever needed it bears it"
    assert sum((answer.usage for answer in answers), Usage()) == Usage(10 * paid, 5 * paid)
    assert sum(answer.cost_usd for answer in answers) == Decimal("0.001") * paid


class Strict(Stage):
    """Refuses a call as a whole for one bad text in it."""

    error = BadRequest("no such thing", attempts=1, status=400)

    async def attempt(self, message, turn):
        await super().attempt(message, turn)
        if "bad" in message.request.messages[-1].content:
            raise self.error


@pytest.mark.parametrize("members", [8, 256])
async def test_a_member_that_the_provider_refuses_fails_alone(autojump_clock, members):
    """One bad text fails a whole list at the provider: the others are asked without it."""
    journal = Journal()
    names = [str(number) for number in range(members - 1)]
    async with open_runtime() as runtime:
        stage = await runtime.spawn("strict", partial(Strict, journal), concurrency=10)
        strategy = Chorus(Bounds(max_size=members))
        batcher = await chorus_to(runtime, journal, strategy, stage=stage)
        found = await outcomes(*asking(batcher, *names, "bad"))
        (trust,) = (await batcher.ask(CountGathered())).trust["chorus"]
    assert [getattr(one, "text", type(one)) for one in found] == [
        *(f"about {name}" for name in names),
        BadRequest,
    ]
    assert trust.is_trusted
    assert len(journal.began) == 1 + 2 * (members.bit_length() - 1), "by halves, and not one by one"


async def test_a_model_that_is_not_there_is_not_looked_for_by_halves(autojump_clock):
    class Absent(Strict):
        error = BadRequest("no such model", attempts=1, status=404)

    journal = Journal()
    async with open_runtime() as runtime:
        stage = await runtime.spawn("absent", partial(Absent, journal), concurrency=10)
        batcher = await chorus_to(runtime, journal, Chorus(Bounds(max_size=100)), stage=stage)
        found = await outcomes(*asking(batcher, *(f"bad{number}" for number in range(60))))
    assert {type(error) for error in found} == {BadRequest}
    assert len(journal.began) == 1


async def test_a_pack_that_the_model_does_not_take_is_soon_not_tried_any_more(autojump_clock):
    class NoPacks(Strict):
        async def attempt(self, message, turn):
            await Stage.attempt(self, message, turn)
            if "|" in message.request.messages[-1].content:
                raise self.error

    journal = Journal()
    async with open_runtime() as runtime:
        stage = await runtime.spawn("no-packs", partial(NoPacks, journal), concurrency=99)
        strategy = Chorus(Bounds(max_size=60), check_share=0.001)
        batcher = await chorus_to(runtime, journal, strategy, stage=stage)
        found = await outcomes(*asking(batcher, *map(str, range(60))))
    assert [answer.text for answer in found] == [f"about {number}" for number in range(60)]
    assert len(journal.began) <= 62


async def test_an_error_that_concerns_the_provider_is_everybodys(autojump_clock):
    down = {"a|b": Turn(error=ProviderUnavailable("out"))}
    journal = Journal()
    async with open_runtime() as runtime:
        batcher = await chorus_to(runtime, journal, by_prompt=down)
        found = await outcomes(*asking(batcher, "a", "b"))
        assert [type(error) for error in found] == [ProviderUnavailable] * 2
    assert len(journal.began) == 1, "asking again is nobody's business here (L2)"


async def test_a_group_whose_answers_lack_too_much_is_sent_alone_from_then_on(autojump_clock):
    journal = Journal()
    async with open_runtime() as runtime:
        batcher = await chorus_to(runtime, journal, Chorus(Bounds(max_size=50)))
        await outcomes(*asking(batcher, *(f"mute{number}" for number in range(50))))
        assert len(journal.began) == 51, "the one that failed, and then each alone"
        journal.began.clear()
        await outcomes(*asking(batcher, "x", "y"))
    assert [prompt for prompt, _ in journal.began] == ["x", "y"]


async def test_a_request_too_large_for_a_call_is_sent_in_pieces(autojump_clock):
    journal = Journal()
    async with open_runtime() as runtime:
        batcher = await chorus_to(runtime, journal, Chorus(Bounds(max_size=2)))
        (answer,) = await outcomes(*asking(batcher, "a b c"))
    assert [prompt for prompt, _ in journal.began] == ["a|b", "c"]
    assert answer.text == "about a about b about c"
    assert answer.http_requests == 2
    assert answer.usage == Usage(20, 10)


async def test_a_request_in_pieces_fails_and_ends_as_a_whole(autojump_clock):
    journal = Journal()
    slow = {"a|b": Turn(100), "c": Turn(error=ProviderUnavailable("out"))}
    async with open_runtime() as runtime:
        batcher = await chorus_to(runtime, journal, Chorus(Bounds(max_size=2)), by_prompt=slow)
        (error,) = await outcomes(*asking(batcher, "a b c"))
        assert isinstance(error, ProviderUnavailable)
        assert [prompt for prompt, _ in journal.cancelled] == ["a|b"]
        assert runtime.snapshot()[batcher.path].held == 0


# ------------------------------------------------------------------ checks


async def test_some_members_are_asked_alone_as_well_and_that_answer_counts(autojump_clock):
    journal = Journal()

    class Moody(Stage):
        """Answers otherwise when asked for several at a time."""

        def answer(self, prompt):
            return answer_to(prompt.replace("b", "B?") if "|" in prompt else prompt)

    async with open_runtime() as runtime:
        stage = await runtime.spawn("moody", partial(Moody, journal), concurrency=50)
        batcher = await chorus_to(runtime, journal, Chorus(check_share=1.0), stage=stage)
        answers = await outcomes(*asking(batcher, "a", "b", "c"))
        (trust,) = (await batcher.ask(CountGathered())).trust["chorus"]
    assert [answer.text for answer in answers] == ["about a", "about b", "about c"]
    assert (trust.checks, trust.agreed, trust.is_trusted) == (3, 2, True)
    assert sum(answer.http_requests for answer in answers) == len(journal.ended) == 4


async def test_when_too_few_agree_the_group_is_sent_alone(autojump_clock):
    journal = Journal()

    class Wrong(Stage):
        def answer(self, prompt):
            return answer_to(prompt.upper() + "!" if "|" in prompt else prompt)

    async with open_runtime() as runtime:
        stage = await runtime.spawn("wrong", partial(Wrong, journal), concurrency=50)
        batcher = await chorus_to(runtime, journal, Chorus(check_share=1.0), stage=stage)
        await outcomes(*asking(batcher, *"abcdef"))
        journal.began.clear()
        await outcomes(*asking(batcher, "x", "y"))
    assert [prompt for prompt, _ in journal.began] == ["x", "y"]


async def test_a_check_that_fails_leaves_the_combined_answer(autojump_clock):
    fails = {"a": Turn(error=ProviderUnavailable("out"))}
    async with open_runtime() as runtime:
        strategy = Chorus(check_share=1.0)
        batcher = await chorus_to(runtime, Journal(), strategy, by_prompt=fails)
        answers = await outcomes(*asking(batcher, "a", "b"))
    assert [answer.text for answer in answers] == ["about a", "about b"]


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
        assert runtime.snapshot()[batcher.path].held == 0
    assert [prompt for prompt, _ in journal.began] == ["stays"]


async def test_a_member_that_is_slow_holds_up_no_other(autojump_clock):
    ends = {}
    async with open_runtime() as runtime:
        batcher = await batcher_to(runtime, Journal(), {"slow": Turn(100)})

        async def ask(prompt):
            await batcher.ask(call(prompt))
            ends[prompt] = trio.current_time()

        await outcomes(partial(ask, "slow"), partial(ask, "quick"))
    assert ends == {"quick": 1, "slow": 100}


async def test_a_full_stage_ahead_makes_the_askers_wait(autojump_clock):
    """Backpressure: the batcher is no place where calls pile up."""
    journal = Journal()
    async with open_runtime() as runtime:
        stage = await runtime.spawn("stage", partial(Stage, journal), capacity=1)
        batcher = await runtime.spawn("batcher", partial(BatcherActor, stage), capacity=2)
        async with trio.open_nursery() as nursery:
            for ask in asking(batcher, *"abcdef"):
                nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            mailbox = runtime.snapshot()[batcher.path].mailbox
            # One runs, one waits at the stage, one is in the batcher's hands.
            assert (mailbox.depth, mailbox.senders_waiting) == (2, 1)
    assert len(journal.ended) == 6


# ------------------------------------------------------------------ sharing


async def test_identical_requests_under_way_share_one_call_and_its_price_is_told_once(
    autojump_clock,
):
    journal = Journal()
    async with open_runtime() as runtime:
        batcher = await batcher_to(runtime, journal)

        async def later(seconds):
            await trio.sleep(seconds)
            return await batcher.ask(call("Hi", cacheable=True))

        answers = await outcomes(*(partial(later, at / 10) for at in range(5)))
        assert trio.current_time() == 1.0
    assert len(journal.began) == 1
    assert {answer.text for answer in answers} == {"about Hi"}
    assert sum(answer.http_requests for answer in answers) == 1
    assert sum((answer.usage for answer in answers), Usage()) == answer_to("Hi").usage
    assert sum(answer.cost_usd for answer in answers) == Decimal("0.001")


async def test_a_joiner_that_comes_when_the_call_has_ended_makes_its_own(autojump_clock):
    journal = Journal()
    async with open_runtime() as runtime:
        batcher = await batcher_to(runtime, journal)
        for _ in range(2):
            answer = await batcher.ask(call("Hi", cacheable=True))
            assert answer.http_requests == 1
    assert len(journal.began) == 2


async def test_requests_that_are_not_declared_cacheable_or_differ_are_not_shared(autojump_clock):
    journal = Journal()
    async with open_runtime() as runtime:
        batcher = await batcher_to(runtime, journal)
        answers = await outcomes(
            *asking(batcher, "same", "same"),
            *asking(batcher, "same", "same", max_tokens=5, cacheable=True),
            *asking(batcher, "same", max_tokens=6, cacheable=True),
        )
    assert [answer.http_requests for answer in answers] == [1, 1, 1, 0, 1]
    assert len(journal.began) == 4


async def test_those_who_share_fail_together(autojump_clock):
    journal = Journal()
    async with open_runtime() as runtime:
        batcher = await batcher_to(runtime, journal, FAILS)
        found = await outcomes(*asking(batcher, "bad", "bad", "bad", cacheable=True))
        assert all(isinstance(error, BadRequest) for error in found)
        assert len(journal.began) == 1
        await outcomes(*asking(batcher, "bad", cacheable=True))
    assert len(journal.began) == 2, "an error is not remembered"


async def test_when_the_leader_is_cancelled_the_others_are_still_answered(autojump_clock):
    journal = Journal()
    async with open_runtime() as runtime:
        batcher = await batcher_to(runtime, journal)

        async def leader():
            with trio.move_on_after(0.5):
                await batcher.ask(call("Hi", cacheable=True))

        _, *answers = await outcomes(leader, *asking(batcher, "Hi", "Hi", cacheable=True))
    assert len(journal.began) == 1
    assert journal.cancelled == []
    assert sorted(answer.http_requests for answer in answers) == [0, 1], "one of them paid for it"


async def test_when_all_who_share_are_cancelled_so_is_the_call_at_the_last_one(autojump_clock):
    journal = Journal()
    async with open_runtime() as runtime:
        batcher = await batcher_to(runtime, journal, usual=Turn(60))

        async def impatient(seconds):
            with trio.move_on_after(seconds):
                await batcher.ask(call("Hi", cacheable=True))

        await outcomes(*(partial(impatient, seconds) for seconds in (1, 2, 3)))
        assert journal.cancelled == [("Hi", 3)]
        await outcomes(partial(impatient, 1))
        assert len(journal.began) == 2, "nobody joins a call that was given up"


async def test_a_joiner_with_a_later_deadline_outlives_the_leader(autojump_clock):
    journal = Journal()
    async with open_runtime() as runtime:
        batcher = await batcher_to(runtime, journal, usual=Turn(5))

        async def joiner():
            await trio.sleep(0.5)
            return await batcher.ask(call("Hi", cacheable=True), timeout=20)

        leader, answer = await outcomes(
            partial(batcher.ask, call("Hi", cacheable=True), timeout=2), joiner
        )
        assert trio.current_time() == 5
    assert isinstance(leader, AskTimedOut)
    assert answer.http_requests == 1
    assert len(journal.began) == 1


async def test_each_who_shares_keeps_a_deadline_of_its_own(autojump_clock):
    async with open_runtime() as runtime:
        batcher = await batcher_to(runtime, Journal(), usual=Turn(5))
        ends = []

        async def ask(timeout):
            with pytest.raises(AskTimedOut):
                await batcher.ask(call("Hi", cacheable=True), timeout=timeout)
            ends.append(trio.current_time())

        await outcomes(partial(ask, 3), partial(ask, 1), partial(ask, 2))
    assert ends == [1, 2, 3]


async def test_the_shared_call_carries_the_latest_deadline_of_those_who_wait(autojump_clock):
    deadlines = []

    class Watcher(Stage):
        async def attempt(self, message, turn):
            for _ in range(2):
                await trio.sleep(0.4)
                deadlines.append(self.deadline)

    async with open_runtime() as runtime:
        watcher = await runtime.spawn("watcher", partial(Watcher, Journal()))
        batcher = await batcher_to(runtime, None, stage=watcher)

        async def joiner():
            await trio.sleep(0.5)
            return await batcher.ask(call("Hi", cacheable=True), timeout=20)

        await outcomes(
            partial(batcher.ask, call("Hi", cacheable=True), timeout=5),
            partial(batcher.ask, call("Hi", cacheable=True), timeout=7),
            joiner,
        )
    assert deadlines == [7, 20.5]


async def test_the_shared_call_never_goes_without_the_deadline_of_those_who_wait(autojump_clock):
    """R4: it is inherited from the first moment on, not from when the batcher runs again."""
    deadlines = []

    class Watcher(Stage):
        async def attempt(self, message, turn):
            deadlines.append(self.deadline - trio.current_time())

    async with open_runtime() as runtime:
        watcher = await runtime.spawn("watcher", partial(Watcher, Journal()))
        batcher = await batcher_to(runtime, None, stage=watcher)
        for _ in range(20):  # who runs first is up to Trio's scheduler
            await batcher.ask(call("Hi", cacheable=True), timeout=5)
    assert set(deadlines) == {5.0}


async def test_a_crash_of_the_stage_ahead_is_told_to_all_who_share(autojump_clock):
    crash = {"Hi": Turn(error=KeyError("bug"))}
    async with open_runtime() as runtime:
        batcher = await batcher_to(runtime, Journal(), crash)
        found = await outcomes(*asking(batcher, "Hi", "Hi", cacheable=True))
        assert [type(error) for error in found] == [ActorCrashed, ActorCrashed]
        assert (await batcher.ask(call("next"))).text == "about next"


@pytest.mark.parametrize("prompts", [("Hi", "Hi"), ("Hi", "Ho")])
async def test_a_stage_ahead_that_is_stopped_is_told_to_all_who_share(autojump_clock, prompts):
    async with open_runtime() as runtime:
        stage = await runtime.spawn("stage", partial(Stage, Journal()))
        batcher = await chorus_to(runtime, None, stage=stage)
        async with trio.open_nursery() as nursery:
            found = []

            async def ask():
                asked = asking(batcher, *prompts, cacheable=True, deadline=1000.0)
                found.extend(await outcomes(*asked))

            nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            await runtime.stop(stage)
        assert [type(error) for error in found] == [ActorStopped, ActorStopped]


async def test_those_who_leave_while_there_is_no_room_ahead_leave_nothing_behind(autojump_clock):
    journal = Journal()
    async with open_runtime() as runtime:
        stage = await runtime.spawn("stage", partial(Stage, journal), capacity=1)
        batcher = await batcher_to(runtime, journal, stage=stage)

        async def impatient():
            await trio.sleep(0.25)
            with trio.move_on_after(0.25):
                await batcher.ask(call("gone", cacheable=True))

        # One runs, one waits at the stage; the third is in the batcher's hands when it is given up.
        await outcomes(*asking(batcher, "a", "b"), impatient)
        assert [prompt for prompt, _ in journal.began] == ["a", "b"]
        answer = await batcher.ask(call("gone", cacheable=True))
        assert answer.http_requests == 1
        assert runtime.snapshot()[batcher.path].held == 0


@pytest.mark.parametrize("seed", range(5))
async def test_whatever_is_cancelled_everybody_else_is_answered_and_nothing_is_left(
    autojump_clock, seed
):
    random = Random(seed)
    journal = Journal()
    async with open_runtime() as runtime:
        batcher = await batcher_to(
            runtime, journal, batching=Batching(max_size=4, max_wait_s=0.3), usual=Turn(0.7)
        )

        async def ask(at, prompt, cacheable, patience):
            await trio.sleep(at)
            with trio.move_on_after(patience) as scope:
                answer = await batcher.ask(call(prompt, cacheable=cacheable))
                assert answer.text == f"about {prompt}", "nobody gets somebody else's answer"
                return answer
            assert scope.cancelled_caught
            assert patience < 5, "only the impatient go without an answer"
            return None

        found = await outcomes(
            *(
                partial(
                    ask,
                    random.uniform(0, 10),
                    random.choice("abc"),
                    random.random() < 0.7,
                    random.choice([0.1, 0.4, 0.8, 100.0]),
                )
                for _ in range(150)
            )
        )
        assert not [error for error in found if isinstance(error, Exception)]
        snapshot = runtime.snapshot()
        assert all(actor.is_conserved for actor in snapshot.actors)
        assert [actor.held for actor in snapshot.actors] == [0, 0]
        assert snapshot[batcher.path].incarnation == 1
    paid = sum(answer.http_requests for answer in found if answer)
    assert paid <= len(journal.ended)
    assert journal.in_hand == 0


class Slow(Stage):
    """Answers after a while that differs, refuses what is bad, and is sometimes at fault."""

    def __init__(self, journal, random):
        super().__init__(journal)
        self.chance = random

    async def attempt(self, message, turn):
        self.journal.sends.append(trio.current_time())
        await trio.sleep(self.chance.choice([0.0, 0.0002, 0.3, 0.7]))
        prompt = message.request.messages[-1].content
        if "bad" in prompt:
            raise BadRequest("no such thing", attempts=1)
        if self.chance.random() < 0.1:
            raise ProviderUnavailable("out", attempts=1)


INSTANTS = [0.0, 0.0001, 0.0002, 0.0004, 0.001, 0.1, 0.3, 0.3002, 0.7, 1.0, 100.0]


@pytest.mark.parametrize("seed", range(12))
async def test_whoever_leaves_at_whatever_instant_everybody_else_gets_his_own(autojump_clock, seed):
    """L5, for members that share calls: joined, combined, checked, asked again, in pieces."""
    random = Random(seed)
    journal = Journal()
    async with open_runtime() as runtime:
        stage = await runtime.spawn("slow", partial(Slow, journal, random), concurrency=100)
        strategy = Chorus(Bounds(max_size=4), check_share=0.3, least_agreement=0.1)
        batcher = await chorus_to(runtime, journal, strategy, stage=stage)

        async def ask(at, prompt, patience, **more):
            await trio.sleep(at)
            with trio.move_on_after(patience) as scope:
                try:
                    answer = await batcher.ask(call(prompt, **more))
                except ProviderUnavailable:
                    return None
                except BadRequest:
                    assert "bad" in prompt, "whoever is not at fault does not bear it"
                    return None
                expected = " ".join(f"about {text}" for text in prompt.split(" "))
                assert answer.text == expected, "nobody gets somebody else's answer"
                return answer
            assert scope.cancelled_caught
            return None

        prompts = ["a", "b", "c", "mute", "bad", "d e f g h", "alone"]
        found = await outcomes(
            *(
                partial(
                    ask,
                    random.choice([0.0, 0.0, 0.5, random.uniform(0, 3)]),
                    random.choice(prompts),
                    random.choice(INSTANTS),
                    cacheable=random.random() < 0.5,
                    deadline=random.choice([None, None, 50.0]),
                )
                for _ in range(120)
            )
        )
        assert not [error for error in found if isinstance(error, Exception)]
        await trio.sleep(200)
        snapshot = runtime.snapshot()
        assert all(actor.is_conserved for actor in snapshot.actors)
        assert [actor.held for actor in snapshot.actors] == [0, 0]
        assert snapshot[batcher.path].incarnation == 1
    assert journal.in_hand == 0, "nobody works for those who have gone"


# ------------------------------------------------------------------ the key


texts = st.text(st.characters(codec="utf-8"), max_size=5)
bodies = st.builds(
    Request,
    model=st.sampled_from(["m", "n"]),
    messages=st.lists(
        st.builds(ChatMessage, st.sampled_from(["user", "system"]), texts), min_size=1, max_size=3
    ),
    max_tokens=st.none() | st.integers(1, 3),
    temperature=st.none() | st.sampled_from([0.0, 0.5, 1.0]),
    seed=st.none() | st.integers(0, 2),
    extra=st.dictionaries(st.sampled_from(["top_k", "min_p", "user"]), st.integers(0, 2) | texts),
    cacheable=st.just(value=True),
)


@given(bodies, bodies)
def test_two_requests_share_if_and_only_if_they_have_the_same_body(one, other):
    """L6: everything that can change the answer is in the key, and nothing else."""
    bodies = [OpenAIChat().encode(request, stream=False) for request in (one, other)]
    assert (sharing_key(one) == sharing_key(other)) == (bodies[0] == bodies[1])


@given(bodies)
def test_what_is_not_declared_cacheable_has_no_key(request):
    assert sharing_key(request) is not None
    assert sharing_key(attrs.evolve(request, cacheable=False)) is None


def test_every_field_that_changes_the_answer_changes_the_key():
    plain = Request.of("Hi", model=MODEL, cacheable=True)
    changes = {
        "model": "gpt-4o-mini",
        "messages": (ChatMessage("system", "Hi"),),
        "max_tokens": 1,
        "temperature": 0.0,
        "seed": 0,
        "n": 2,
        "top_p": 0.5,
        "stop": "\n",
        "json_schema": {"type": "object"},
        "dimensions": 3,
        "packable": True,
        "extra": {"top_p": 0.5},
    }
    of_texts = {"task": "embedding", "inputs": "Hi", "messages": ()}
    unsaid = {field.name for field in attrs.fields(Request)} - changes.keys() - of_texts.keys()
    assert unsaid == {"cacheable", "deadline", "idempotency_key"}, (
        "a new field belongs in here, and in the key"
    )
    changed = [{name: to} for name, to in changes.items()]
    changed += [of_texts, of_texts | {"task": "completion"}, of_texts | {"inputs": "Ho"}]
    requests = [plain, *(attrs.evolve(plain, **change) for change in changed)]
    keys = [sharing_key(request) for request in requests]
    assert len(set(keys)) == len(requests)


def test_the_order_of_members_does_not_change_the_key_but_the_order_of_turns_does():
    turns = [ChatMessage("user", "a"), ChatMessage("user", "b")]
    found = {
        (order, way): sharing_key(
            Request(model="m", messages=messages, extra=dict(extra), cacheable=True)
        )
        for order, messages in (("ab", turns), ("ba", turns[::-1]))
        for way, extra in enumerate(itertools.permutations([("x", 1), ("y", {"p": 1, "q": 2})]))
    }
    assert found["ab", 0] == found["ab", 1]
    assert found["ba", 0] == found["ba", 1]
    assert found["ab", 0] != found["ba", 0]


async def test_a_prompt_that_no_encoding_can_write_does_not_take_the_others_down(autojump_clock):
    """R8: bad input is no bug of the batcher's; text from a shell can be like this."""
    async with open_runtime() as runtime:
        batcher = await batcher_to(runtime, Journal(), batching=Batching(max_wait_s=1))
        good, _ = await outcomes(
            *asking(batcher, "good", cacheable=True),
            lambda: batcher.ask(call("caf\udce9", cacheable=True)),
        )
        assert getattr(good, "text", good) == "about good"
        assert runtime.snapshot()[batcher.path].incarnation == 1
