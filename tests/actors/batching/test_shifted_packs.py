"""A first pack whose answers belong to other items: its last item is asked alone before (L5)."""

from functools import partial

import pytest
from fakes import Behaviour, Journal, batcher_to, outcomes
from hypothesis import given
from hypothesis import strategies as st
from test_miscounting import Miscounting, packable

from callsheet.actors import Packing, ProviderUnavailable
from callsheet.actors.batching import GetBatchingStatistics
from callsheet.actors.batching.agreement import CheckPlan
from callsheet.runtime import open_runtime


def renumbered(texts):
    return list(enumerate(texts, 1))


def one_left_out_and_one_added(entries):
    texts = [text for _, text in entries]
    return renumbered([*texts[:5], *texts[6:], "about something else"])


def one_added_and_the_last_cut(entries):
    texts = [text for _, text in entries]
    return renumbered([*texts[:3], "about something else", *texts[3:-1]])


def each_with_the_answer_of_the_one_before(entries):
    texts = [text for _, text in entries]
    return renumbered([texts[-1], *texts[:-1]])


async def label(journal, count, rewrite=list, by_prompt=None, **packing):
    names = [f"text {number}" for number in range(count)]
    async with open_runtime() as runtime:
        kind = type("Model", (Miscounting,), {"rewrite": staticmethod(rewrite)})
        model = await runtime.spawn("model", partial(kind, journal, by_prompt), concurrency=99)
        strategies = [Packing(max_items=40, **packing)]
        batcher = await batcher_to(runtime, journal, stage=model, strategies=strategies)
        calls = [packable(name, is_short=True) for name in names]
        found = await outcomes(*(partial(batcher.ask, one) for one in calls))
        (agreement,) = (await batcher.ask(GetBatchingStatistics())).agreement["pack"]
    return found, agreement


SHIFTS = [
    one_left_out_and_one_added,
    one_added_and_the_last_cut,
    each_with_the_answer_of_the_one_before,
]


@pytest.mark.parametrize("count", [6, 40, 110])
@pytest.mark.parametrize("rewrite", SHIFTS)
async def test_no_item_gets_the_answer_of_its_neighbour(autojump_clock, rewrite, count):
    """31 to 37 of 40 answers were wrong, and none was checked."""
    journal = Journal()
    found, agreement = await label(journal, count, rewrite)
    assert [one.text for one in found] == [f"about text {number}" for number in range(count)]
    packs = sum(prompt.startswith("[") for prompt, _ in journal.began)
    assert packs >= 1
    assert len(journal.began) == count + packs, "L11: nothing is bought a third time"
    assert sum(one.http_requests for one in found) == len(journal.began)
    assert agreement.checks == packs
    assert agreement.agreed == 0


async def test_packs_whose_answers_are_right_cost_one_check_each_until_one_agrees(autojump_clock):
    journal = Journal()
    found, agreement = await label(journal, 120)
    assert [one.text for one in found] == [f"about text {number}" for number in range(120)]
    singles = [prompt for prompt, _ in journal.began if not prompt.startswith("[")]
    assert singles == ["text 39", "text 79", "text 119"]
    assert agreement.agreed == agreement.checks == 3


async def test_no_answer_is_returned_before_the_last_item_has_been_checked(autojump_clock):
    journal = Journal()
    await label(journal, 40, one_added_and_the_last_cut, {"text 39": Behaviour(seconds=30)})
    assert {began for prompt, began in journal.began if prompt == "text 0"} == {30.0}


async def test_a_pack_is_used_where_its_check_has_no_response(autojump_clock):
    down = {"text 39": Behaviour(error=ProviderUnavailable("out"))}
    journal = Journal()
    found, agreement = await label(journal, 40, by_prompt=down)
    assert [one.text for one in found] == [f"about text {number}" for number in range(40)]
    assert len(journal.began) == 2
    assert agreement.checks == 0
    assert agreement.is_trusted


async def test_without_checks_no_item_is_asked_alone(autojump_clock):
    journal = Journal()
    await label(journal, 40, check_share=0)
    assert len(journal.began) == 1


@given(st.sampled_from([0.002, 0.02, 0.3, 1.0]), st.integers(1, 200), st.randoms())
def test_the_last_member_is_checked_until_a_check_agrees(share, members, chance):
    plan = CheckPlan(share)
    for _ in range(3):
        chosen = plan.choose(members, chance)
        assert chosen[-1] == members - 1
        assert len(set(chosen)) == len(chosen) <= max(1, 2 * share * members + 1)
    assert plan.share_of(members) >= 1 / members
    plan.agreed()
    assert plan.share_of(members) == plan.share
    plan.disagreed()
    assert plan.must_check_last


async def test_a_pack_that_is_dearer_with_its_check_is_not_made(autojump_clock):
    journal = Journal()
    found = await label(journal, 2)
    assert [one.text for one in found[0]] == ["about text 0", "about text 1"]
    assert [prompt for prompt, _ in journal.began] == ["text 0", "text 1"]
