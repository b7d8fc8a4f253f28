"""The batcher: nobody waits longer than the window, and members know nothing of each other (L5)."""

import itertools
from decimal import Decimal
from functools import partial
from random import Random

import attrs
import pytest
import trio
from fakes import MODEL, Journal, Stage, Turn, answer_to, asking, call, outcomes
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors import BadRequest, BatcherActor, Batching, ChatMessage, Request, Usage
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


# ------------------------------------------------------------------ when a batch goes


async def test_by_default_nobody_is_delayed(autojump_clock):
    journal = Journal()
    async with open_runtime() as runtime:
        batcher = await batcher_to(runtime, journal)
        answers = await outcomes(*asking(batcher, "a", "b", "c"))
    assert [answer.text for answer in answers] == ["about a", "about b", "about c"]
    assert [at for _, at in journal.began] == [0, 0, 0]


async def test_a_lone_request_goes_when_its_own_window_is_over(autojump_clock):
    journal = Journal()
    async with open_runtime() as runtime:
        batcher = await batcher_to(runtime, journal, batching=Batching(max_wait_s=0.5))
        await trio.sleep(0.3)
        await batcher.ask(call("first"))
        await trio.sleep(0.4)
        await batcher.ask(call("second"))
    assert journal.began == [("first", 0.8), ("second", pytest.approx(0.8 + 1 + 0.4 + 0.5))]


async def test_a_full_batch_goes_at_once_and_what_is_left_waits_from_when_it_came(autojump_clock):
    journal = Journal()
    async with open_runtime() as runtime:
        batching = Batching(max_size=2, max_wait_s=1.0)
        batcher = await batcher_to(runtime, journal, batching=batching)

        async def later(seconds, prompt):
            await trio.sleep(seconds)
            await batcher.ask(call(prompt))

        await outcomes(
            partial(later, 0, "a"), partial(later, 0.25, "b"), partial(later, 0.75, "lone")
        )
    assert journal.began == [("a", 0.25), ("b", 0.25), ("lone", 1.75)]


async def test_a_window_that_lost_its_first_member_is_that_of_the_second(autojump_clock):
    journal = Journal()
    async with open_runtime() as runtime:
        batcher = await batcher_to(runtime, journal, batching=Batching(max_wait_s=1.0))

        async def second():
            await trio.sleep(0.5)
            return await batcher.ask(call("second"))

        gone, answer = await outcomes(*asking(batcher, "first", timeout=0.25), second)
    assert isinstance(gone, AskTimedOut)
    assert answer.text == "about second"
    assert journal.began == [("second", 1.5)]


async def test_what_is_gathered_is_sent_when_the_batcher_is_stopped(autojump_clock):
    journal = Journal()
    async with open_runtime() as runtime:
        batcher = await batcher_to(runtime, journal, batching=Batching(max_wait_s=60))
        async with trio.open_nursery() as nursery:
            found = []

            async def ask(**more):
                found.append((await batcher.ask(call("Hi", **more))).text)

            nursery.start_soon(ask)
            nursery.start_soon(partial(ask, cacheable=True))
            await trio.testing.wait_all_tasks_blocked()
            await runtime.stop(batcher)
            with pytest.raises(ActorStopped):
                await batcher.ask(call("too late"))
    assert found == ["about Hi", "about Hi"]
    assert [at for _, at in journal.began] == [0, 0]


async def test_the_batcher_does_not_wake_to_look_whether_it_is_time(autojump_clock):
    """L4: one timer for a window, however many members and however long."""
    async with open_runtime() as runtime:
        batching = Batching(max_size=100, max_wait_s=1000)
        batcher = await batcher_to(runtime, Journal(), batching=batching)
        await outcomes(*asking(batcher, *map(str, range(50))))
        assert runtime.snapshot()[batcher.path].tally.bypassed == 1


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
        batcher = await batcher_to(runtime, journal, batching=Batching(max_wait_s=1.0))

        async def impatient():
            with trio.move_on_after(0.5):
                await batcher.ask(call("gone", cacheable=cacheable))

        await outcomes(impatient, *asking(batcher, "stays"))
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


async def test_a_stage_ahead_that_is_stopped_is_told_to_all_who_share(autojump_clock):
    async with open_runtime() as runtime:
        stage = await runtime.spawn("stage", partial(Stage, Journal()))
        batching = Batching(max_wait_s=1)
        batcher = await batcher_to(runtime, None, stage=stage, batching=batching)
        async with trio.open_nursery() as nursery:
            found = []

            async def ask():
                found.extend(await outcomes(*asking(batcher, "Hi", "Hi", cacheable=True)))

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
