"""One call for several members: each gets its own response, or is sent again (L5)."""

from decimal import Decimal
from functools import partial
from random import Random

import pytest
import trio
from fakes import (
    MODEL,
    Behaviour,
    Chorus,
    Journal,
    Stage,
    answer_to,
    asking,
    call,
    chorus_to,
    outcomes,
)

from callsheet.actors import BadRequest, ProviderUnavailable, Request, Usage
from callsheet.actors.batching import Agreements, BatcherActor
from callsheet.actors.batching.statistics import GetBatchingStatistics
from callsheet.actors.calls import CallContext, Complete
from callsheet.actors.vendors.format import BatchLimits
from callsheet.runtime import Instrument, MessageSent, open_runtime

# ------------------------------------------------------------------ answers that lack something


async def test_what_an_answer_lacks_is_asked_for_once_more_and_alone(autojump_clock):
    """L11: nothing is bought a third time."""
    journal = Journal()
    async with open_runtime() as runtime:
        batcher = await chorus_to(runtime, journal)
        answers = await outcomes(*asking(batcher, "a", "mute", "c", "mute too", "mute as well"))
        statistics = await batcher.ask(GetBatchingStatistics())
    assert [answer.text for answer in answers] == [
        "about a",
        "about mute",
        "about c",
        "about mute about too",
        "about mute about as about well",
    ]
    assert statistics.combined == 1
    paid = sum(answer.http_requests for answer in answers)
    assert paid == len(journal.ended), "the request that caused a call pays for it"
    assert sum((answer.usage for answer in answers), Usage()) == Usage(10 * paid, 5 * paid)
    assert sum(answer.cost_usd for answer in answers) == Decimal("0.001") * paid


class Strict(Stage):
    """A stage that refuses a whole call for one bad text in it."""

    error = BadRequest("no such thing", attempts=1, status=400)

    async def attempt(self, message, behaviour):
        await super().attempt(message, behaviour)
        if "bad" in message.request.messages[-1].content:
            raise self.error


@pytest.mark.parametrize("members", [8, 256])
async def test_a_member_that_the_provider_refuses_fails_alone(autojump_clock, members):
    """The provider refuses a list for one bad text: the others are sent again without it."""
    journal = Journal()
    names = [str(number) for number in range(members - 1)]
    async with open_runtime() as runtime:
        stage = await runtime.spawn("strict", partial(Strict, journal), concurrency=10)
        strategy = Chorus(BatchLimits(max_size=members))
        batcher = await chorus_to(runtime, journal, strategy, stage=stage)
        found = await outcomes(*asking(batcher, *names, "bad"))
        (agreement,) = (await batcher.ask(GetBatchingStatistics())).agreement["chorus"]
    assert [getattr(one, "text", type(one)) for one in found] == [
        *(f"about {name}" for name in names),
        BadRequest,
    ]
    assert agreement.is_trusted
    assert len(journal.began) == 1 + 2 * (members.bit_length() - 1), (
        "split by halves, not one by one"
    )


async def test_an_unknown_model_does_not_split_the_batch(autojump_clock):
    class Absent(Strict):
        error = BadRequest("no such model", attempts=1, status=404)

    journal = Journal()
    async with open_runtime() as runtime:
        stage = await runtime.spawn("absent", partial(Absent, journal), concurrency=10)
        batcher = await chorus_to(runtime, journal, Chorus(BatchLimits(max_size=100)), stage=stage)
        found = await outcomes(*asking(batcher, *(f"bad{number}" for number in range(60))))
    assert {type(error) for error in found} == {BadRequest}
    assert len(journal.began) == 1


async def test_a_pack_that_the_model_does_not_take_is_soon_not_tried_any_more(autojump_clock):
    class NoPacks(Strict):
        async def attempt(self, message, behaviour):
            await Stage.attempt(self, message, behaviour)
            if "|" in message.request.messages[-1].content:
                raise self.error

    journal = Journal()
    async with open_runtime() as runtime:
        stage = await runtime.spawn("no-packs", partial(NoPacks, journal), concurrency=99)
        strategy = Chorus(BatchLimits(max_size=60), check_share=0.001)
        batcher = await chorus_to(runtime, journal, strategy, stage=stage)
        found = await outcomes(*asking(batcher, *map(str, range(60))))
    assert [answer.text for answer in found] == [f"about {number}" for number in range(60)]
    assert len(journal.began) <= 62


async def test_an_error_of_the_provider_fails_all_members(autojump_clock):
    down = {"a|b": Behaviour(error=ProviderUnavailable("out"))}
    journal = Journal()
    async with open_runtime() as runtime:
        batcher = await chorus_to(runtime, journal, by_prompt=down)
        found = await outcomes(*asking(batcher, "a", "b"))
        assert [type(error) for error in found] == [ProviderUnavailable] * 2
    assert len(journal.began) == 1, "the batcher does not retry (L2)"


async def test_a_group_whose_answers_lack_too_much_is_sent_alone_from_then_on(autojump_clock):
    journal = Journal()
    async with open_runtime() as runtime:
        batcher = await chorus_to(runtime, journal, Chorus(BatchLimits(max_size=50)))
        await outcomes(*asking(batcher, *(f"mute{number}" for number in range(50))))
        assert len(journal.began) == 51, "the call that failed, and then one call for each member"
        journal.began.clear()
        await outcomes(*asking(batcher, "x", "y"))
    assert [prompt for prompt, _ in journal.began] == ["x", "y"]


async def test_distrust_is_shared_by_all_lanes_and_survives_a_restart(autojump_clock):
    journal, agreements = Journal(), Agreements()
    async with open_runtime() as runtime:
        stage = await runtime.spawn("stage", partial(Stage, journal), concurrency=100)
        many = Chorus(BatchLimits(max_size=50))
        for number in range(2):
            make = partial(BatcherActor, stage, None, [many], agreements=agreements)
            batcher = await runtime.spawn(f"batcher-{number}", make)
            if number == 0:
                await outcomes(*asking(batcher, *(f"mute{number}" for number in range(50))))
            journal.began.clear()
            other_lane = [
                partial(batcher.ask, Complete(Request.of(it, model=MODEL), CallContext(it, "two")))
                for it in "xy"
            ]
            await outcomes(*asking(batcher, "a", "b"), *other_lane)
            assert sorted(prompt for prompt, _ in journal.began) == ["a", "b", "x", "y"]


async def test_a_request_too_large_for_a_call_is_sent_in_pieces(autojump_clock):
    journal = Journal()
    async with open_runtime() as runtime:
        batcher = await chorus_to(runtime, journal, Chorus(BatchLimits(max_size=2)))
        (answer,) = await outcomes(*asking(batcher, "a b c"))
    assert [prompt for prompt, _ in journal.began] == ["a|b", "c"]
    assert answer.text == "about a about b about c"
    assert answer.http_requests == 2
    assert answer.usage == Usage(20, 10)


async def test_a_request_in_pieces_fails_and_ends_as_a_whole(autojump_clock):
    journal = Journal()
    slow = {"a|b": Behaviour(100), "c": Behaviour(error=ProviderUnavailable("out"))}
    async with open_runtime() as runtime:
        batcher = await chorus_to(runtime, journal, Chorus(BatchLimits(max_size=2)), by_prompt=slow)
        (error,) = await outcomes(*asking(batcher, "a b c"))
        assert isinstance(error, ProviderUnavailable)
        assert [prompt for prompt, _ in journal.cancelled] == ["a|b"]
        assert runtime.snapshot()[batcher.path].deferred == 0


# ------------------------------------------------------------------ checks


async def test_some_members_are_asked_alone_as_well_and_that_answer_counts(autojump_clock):
    journal = Journal()

    class Moody(Stage):
        """A stage that responds differently when it gets several prompts at a time."""

        def answer(self, prompt):
            return answer_to(prompt.replace("b", "B?") if "|" in prompt else prompt)

    async with open_runtime() as runtime:
        stage = await runtime.spawn("moody", partial(Moody, journal), concurrency=50)
        batcher = await chorus_to(runtime, journal, Chorus(check_share=1.0), stage=stage)
        answers = await outcomes(*asking(batcher, "a", "b", "c"))
        (agreement,) = (await batcher.ask(GetBatchingStatistics())).agreement["chorus"]
    assert [answer.text for answer in answers] == ["about a", "about b", "about c"]
    assert (agreement.checks, agreement.agreed, agreement.is_trusted) == (3, 2, True)
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
    fails = {"a": Behaviour(error=ProviderUnavailable("out"))}
    async with open_runtime() as runtime:
        strategy = Chorus(check_share=1.0)
        batcher = await chorus_to(runtime, Journal(), strategy, by_prompt=fails)
        answers = await outcomes(*asking(batcher, "a", "b"))
    assert [answer.text for answer in answers] == ["about a", "about b"]


# ------------------------------------------------------------------ leaving


class Slow(Stage):
    """A stage with varying delays that refuses bad prompts and sometimes fails."""

    def __init__(self, journal, random):
        super().__init__(journal)
        self.chance = random

    async def attempt(self, message, behaviour):
        self.journal.sends.append(trio.current_time())
        await trio.sleep(self.chance.choice([0.0, 0.0002, 0.3, 0.7]))
        prompt = message.request.messages[-1].content
        if "bad" in prompt:
            raise BadRequest("no such thing", attempts=1)
        if self.chance.random() < 0.1:
            raise ProviderUnavailable("out", attempts=1)


INSTANTS = [0.0, 0.0001, 0.0002, 0.0004, 0.001, 0.1, 0.3, 0.3002, 0.7, 1.0, 100.0]


@pytest.mark.parametrize(
    "seed", [*range(4), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(4, 12))]
)
async def test_a_member_that_leaves_at_any_instant_costs_no_other_its_response(
    autojump_clock, seed
):
    """L5, for members that share calls: joined, combined, checked, sent again, in pieces."""
    random = Random(seed)
    journal = Journal()
    async with open_runtime() as runtime:
        stage = await runtime.spawn("slow", partial(Slow, journal, random), concurrency=100)
        strategy = Chorus(BatchLimits(max_size=4), check_share=0.3, least_agreement=0.1)
        batcher = await chorus_to(runtime, journal, strategy, stage=stage)

        async def ask(at, prompt, patience, **more):
            await trio.sleep(at)
            with trio.move_on_after(patience) as scope:
                try:
                    answer = await batcher.ask(call(prompt, **more))
                except ProviderUnavailable:
                    return None
                except BadRequest:
                    assert "bad" in prompt, "a member without fault does not fail"
                    return None
                expected = " ".join(f"about {text}" for text in prompt.split(" "))
                assert answer.text == expected, "no member gets another member's response"
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
        assert [actor.deferred for actor in snapshot.actors] == [0, 0]
        assert snapshot[batcher.path].incarnation == 1
    assert journal.in_hand == 0, "no work continues for cancelled callers"


# ------------------------------------------------------------------ traces


class Links(Instrument):
    """Numbers the messages, and notes for each which ones it is sent for."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, object, tuple[object, ...]]] = []

    def message_sent(self, event: MessageSent) -> int:
        self.sent.append((event.message, event.parent, event.links))
        return len(self.sent) - 1


async def test_a_combined_call_has_links_to_the_asks_of_all_members(autojump_clock):
    """R18."""
    links = Links()
    async with open_runtime(instruments=[links]) as runtime:
        batcher = await chorus_to(runtime, Journal())
        links.sent.clear()
        await outcomes(*asking(batcher, "a", "b", "c"))
    asks = [at for at, (kind, parent, _) in enumerate(links.sent) if parent is None][:3]
    assert {links.sent[at][0] for at in asks} == {"Complete"}
    linked = [sources for _, _, sources in links.sent if sources]
    assert [sorted(sources) for sources in linked] == [asks]
