"""A model that miscounts the items of a pack: no item gets the answer of another (L5)."""

import json
from functools import partial

import pytest
from fakes import MODEL, Journal, Stage, answer_to, batcher_to, outcomes

from callsheet.actors import BadRequest, ContentFiltered, Packing, Request
from callsheet.actors.batching import GetBatchingStatistics
from callsheet.actors.calls import CallContext, Complete
from callsheet.runtime import open_runtime

INSTRUCTION = "Answer with the label of the text. " * 30


class Miscounting(Stage):
    """A model that rewrites the entries of each pack."""

    rewrite, is_short = None, True

    def answer(self, prompt):
        if not prompt.startswith("["):
            return answer_to(prompt)
        numbered = (item.partition(" ") for item in json.loads(prompt))
        entries = [(int(number), f"about {text}") for number, _, text in numbered]
        rewritten = [f"{number} {text}" for number, text in type(self).rewrite(entries)]
        text = "\n".join(rewritten) if self.is_short else json.dumps({"answers": rewritten})
        return answer_to(prompt, text=text)


def from_zero(entries):
    return [(number - 1, text) for number, text in entries]


def one_left_out_and_counted_on(entries):
    texts = [text for _, text in entries]
    return list(enumerate(texts[:20] + texts[21:], 1))


def answers_of_the_next(entries):
    texts = [text for _, text in entries]
    return list(zip(range(2, 52), texts, strict=True))


def one_twice(entries):
    return [*entries[:7], *entries[6:]]


def backwards(entries):
    return entries[::-1]


def packable(text, *, is_short):
    most = 5 if is_short else 50
    request = Request.of(text, system=INSTRUCTION, model=MODEL, max_tokens=most, packable=True)
    return Complete(request, CallContext(text))


async def label(rewrite, journal, names, is_short):
    async with open_runtime() as runtime:
        more = {"rewrite": staticmethod(rewrite), "is_short": is_short}
        kind = type("Model", (Miscounting,), more)
        stage = await runtime.spawn("model", partial(kind, journal), concurrency=99)
        packing = Packing(max_items=50, check_share=0)
        batcher = await batcher_to(runtime, journal, stage=stage, strategies=[packing])
        calls = [packable(name, is_short=is_short) for name in names]
        found = await outcomes(*(partial(batcher.ask, one) for one in calls))
        statistics = await batcher.ask(GetBatchingStatistics())
    return found, statistics


either_form = pytest.mark.parametrize("is_short", [True, False], ids=["lines", "JSON"])


@either_form
async def test_a_model_that_counts_as_it_should_answers_all_in_one_call(autojump_clock, is_short):
    journal, names = Journal(), [f"text {number}" for number in range(50)]
    found, _ = await label(list, journal, names, is_short)
    assert [one.text for one in found] == [f"about {name}" for name in names]
    assert len(journal.began) == 1


@either_form
@pytest.mark.parametrize(
    "rewrite",
    [from_zero, one_left_out_and_counted_on, answers_of_the_next, one_twice, backwards],
)
async def test_no_item_gets_the_answer_of_another_and_packing_ends(
    autojump_clock, rewrite, is_short
):
    """money.md 10: of a pack that was numbered from 0, 48 of the first 50 answers were wrong."""
    journal, names = Journal(), [f"text {number}" for number in range(100)]
    found, statistics = await label(rewrite, journal, names, is_short)
    assert [one.text for one in found] == [f"about {name}" for name in names]
    assert not statistics.agreement["pack"][0].is_trusted
    packs = sum(prompt.startswith("[") for prompt, _ in journal.began)
    assert packs <= 3, "those that were sent before the first one came back"
    assert len(journal.began) == 100 + packs, "L11: nothing is bought a third time"


class Refusing(Miscounting):
    """A model that refuses some prompts."""

    rewrite = staticmethod(list)
    error = BadRequest("no", attempts=1, status=400)
    refuses = ""

    async def attempt(self, message, behaviour):
        if f'{self.refuses}"' in message.request.messages[-1].content + '"':
            raise self.error


async def refused(journal, count, **members):
    async with open_runtime() as runtime:
        kind = type("Model", (Refusing,), members)
        stage = await runtime.spawn("model", partial(kind, journal), concurrency=99)
        packing = Packing(check_share=0)
        batcher = await batcher_to(runtime, journal, stage=stage, strategies=[packing])
        calls = [packable(f"text {number}", is_short=True) for number in range(count)]
        found = await outcomes(*(partial(batcher.ask, one) for one in calls))
        (agreement,) = (await batcher.ask(GetBatchingStatistics())).agreement["pack"]
    return found, agreement


async def test_a_filter_that_refuses_an_item_costs_the_others_no_pack(autojump_clock):
    journal, filtered = Journal(), ContentFiltered("no", attempts=1, status=400)
    found, agreement = await refused(journal, 64, error=filtered, refuses="text 7")
    texts = [getattr(one, "text", type(one)) for one in found]
    assert texts == [
        ContentFiltered if number == 7 else f"about text {number}" for number in range(64)
    ]
    assert agreement.is_trusted
    assert len(journal.began) <= 1 + 2 * 6


async def test_a_model_that_refuses_packs_gets_no_more_of_them(autojump_clock):
    """Without checks it was sent each pack in halves, and these in halves, for ever."""
    journal = Journal()
    found, agreement = await refused(journal, 200, refuses="[")
    assert [one.text for one in found] == [f"about text {number}" for number in range(200)]
    assert not agreement.is_trusted
    assert len(journal.began) <= 200 + 2
