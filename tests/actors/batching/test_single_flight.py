"""Identical requests share one call, and each keeps its own deadline (L5, L6)."""

from decimal import Decimal
from functools import partial
from random import Random

import pytest
import trio
from fakes import (
    Behaviour,
    Journal,
    Stage,
    answer_to,
    asking,
    batcher_to,
    call,
    chorus_to,
    outcomes,
)

from callsheet.actors import BadRequest, Batching, Usage
from callsheet.runtime import ActorCrashed, ActorStopped, AskTimedOut, open_runtime

FAILS = {"bad": Behaviour(error=BadRequest("no such thing"))}


async def test_identical_requests_in_flight_share_one_call_and_its_price_is_reported_once(
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


async def test_callers_that_share_a_call_fail_together(autojump_clock):
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


async def test_a_shared_call_is_cancelled_with_its_last_caller(autojump_clock):
    journal = Journal()
    async with open_runtime() as runtime:
        batcher = await batcher_to(runtime, journal, usual=Behaviour(60))

        async def impatient(seconds):
            with trio.move_on_after(seconds):
                await batcher.ask(call("Hi", cacheable=True))

        await outcomes(*(partial(impatient, seconds) for seconds in (1, 2, 3)))
        assert journal.cancelled == [("Hi", 3)]
        await outcomes(partial(impatient, 1))
        assert len(journal.began) == 2, "no request joins a call that was given up"


async def test_a_joiner_with_a_later_deadline_outlives_the_leader(autojump_clock):
    journal = Journal()
    async with open_runtime() as runtime:
        batcher = await batcher_to(runtime, journal, usual=Behaviour(5))

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


async def test_each_caller_of_a_shared_call_keeps_its_own_deadline(autojump_clock):
    async with open_runtime() as runtime:
        batcher = await batcher_to(runtime, Journal(), usual=Behaviour(5))
        ends = []

        async def ask(timeout):
            with pytest.raises(AskTimedOut):
                await batcher.ask(call("Hi", cacheable=True), timeout=timeout)
            ends.append(trio.current_time())

        await outcomes(partial(ask, 3), partial(ask, 1), partial(ask, 2))
    assert ends == [1, 2, 3]


async def test_callers_that_count_down_to_one_instant_share_a_call(autojump_clock):
    """As the rows of a bulk run: the time until each asks makes its deadline a little earlier."""
    journal = Journal()
    async with open_runtime() as runtime:
        batcher = await batcher_to(runtime, journal, usual=Behaviour(5))

        async def ask(seconds):
            await batcher.ask(call("Hi", cacheable=True, deadline=seconds), timeout=seconds)

        async with trio.open_nursery() as nursery:
            for seconds in (100.0, 99.9999, 99.9998, 98.0):
                nursery.start_soon(ask, seconds)
                await trio.testing.wait_all_tasks_blocked()
    assert len(journal.began) == 2, "the last one is too early for the first call"


async def test_the_shared_call_carries_the_latest_deadline_of_its_callers(autojump_clock):
    deadlines = []

    class Watcher(Stage):
        async def attempt(self, message, behaviour):
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


async def test_the_shared_call_is_never_sent_without_the_deadline_of_its_callers(autojump_clock):
    """R4: the call has the deadline from the start, not from the batcher's next run."""
    deadlines = []

    class Watcher(Stage):
        async def attempt(self, message, behaviour):
            deadlines.append(self.deadline - trio.current_time())

    async with open_runtime() as runtime:
        watcher = await runtime.spawn("watcher", partial(Watcher, Journal()))
        batcher = await batcher_to(runtime, None, stage=watcher)
        for _ in range(20):  # Trio's scheduler decides which task runs first
            await batcher.ask(call("Hi", cacheable=True), timeout=5)
    assert set(deadlines) == {5.0}


async def test_a_crash_of_the_next_stage_is_reported_to_all_callers(autojump_clock):
    crash = {"Hi": Behaviour(error=KeyError("bug"))}
    async with open_runtime() as runtime:
        batcher = await batcher_to(runtime, Journal(), crash)
        found = await outcomes(*asking(batcher, "Hi", "Hi", cacheable=True))
        assert [type(error) for error in found] == [ActorCrashed, ActorCrashed]
        assert (await batcher.ask(call("next"))).text == "about next"


@pytest.mark.parametrize("prompts", [("Hi", "Hi"), ("Hi", "Ho")])
async def test_a_stop_of_the_next_stage_is_reported_to_all_callers(autojump_clock, prompts):
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


async def test_callers_that_leave_while_the_next_stage_is_full_leave_nothing_behind(autojump_clock):
    journal = Journal()
    async with open_runtime() as runtime:
        stage = await runtime.spawn("stage", partial(Stage, journal), capacity=1)
        batcher = await batcher_to(runtime, journal, stage=stage)

        async def impatient():
            await trio.sleep(0.25)
            with trio.move_on_after(0.25):
                await batcher.ask(call("gone", cacheable=True))

        # One runs, one waits at the stage; the batcher holds the third when it is given up.
        await outcomes(*asking(batcher, "a", "b"), impatient)
        assert [prompt for prompt, _ in journal.began] == ["a", "b"]
        answer = await batcher.ask(call("gone", cacheable=True))
        assert answer.http_requests == 1
        assert runtime.snapshot()[batcher.path].deferred == 0


@pytest.mark.parametrize(
    "seed", [*range(2), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 5))]
)
async def test_whatever_is_cancelled_all_other_callers_get_a_response_and_nothing_is_left(
    autojump_clock, seed
):
    random = Random(seed)
    journal = Journal()
    async with open_runtime() as runtime:
        batcher = await batcher_to(
            runtime, journal, batching=Batching(max_size=4, max_wait_s=0.3), usual=Behaviour(0.7)
        )

        async def ask(at, prompt, cacheable, patience):
            await trio.sleep(at)
            with trio.move_on_after(patience) as scope:
                answer = await batcher.ask(call(prompt, cacheable=cacheable))
                assert answer.text == f"about {prompt}", "no caller gets another caller's response"
                return answer
            assert scope.cancelled_caught
            assert patience < 5, "only callers with a short timeout get no response"
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
        assert [actor.deferred for actor in snapshot.actors] == [0, 0]
        assert snapshot[batcher.path].incarnation == 1
    paid = sum(answer.http_requests for answer in found if answer)
    assert paid <= len(journal.ended)
    assert journal.in_hand == 0
