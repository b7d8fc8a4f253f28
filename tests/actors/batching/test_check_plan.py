"""Which members of combined calls are sent alone as well, and when that becomes rarer."""

from functools import partial
from math import sqrt
from random import Random

import pytest
from fakes import Behaviour, Chorus, Journal, Stage, call, outcomes
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors import BatcherActor
from callsheet.actors.batching.agreement import Agreement, Agreements, CheckPlan
from callsheet.actors.errors import ProviderUnavailable
from callsheet.actors.vendors import BatchLimits
from callsheet.runtime import open_runtime

shares = st.sampled_from([0.002, 0.02, 0.05, 0.3, 0.5])


def chosen_of(plan, sizes, seed=0):
    """Return the positions, in all members, of those that are checked."""
    chance, found, before = Random(seed), [], 0
    plan.agreed()
    for size in sizes:
        found += [before + at for at in plan.choose(size, chance)]
        before += size
    return found


@pytest.mark.parametrize(
    "seed", [*range(4), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(4, 20))]
)
@pytest.mark.parametrize(("members", "expected"), [(800, 9), (10_000, 40), (100_000, 221)])
def test_while_all_agree_the_number_of_checks_grows_with_the_root_of_the_members(
    seed, members, expected
):
    found = len(chosen_of(CheckPlan(0.02), [100] * (members // 100), seed))
    assert found == pytest.approx(expected, abs=1)
    if members <= 10_000:  # from 45 checks on it is a tenth of the share
        assert found == pytest.approx(sqrt(10 * 0.02 * members + 25) - 5, abs=1.1)


@given(shares, st.lists(st.integers(0, 60), max_size=30), st.integers())
def test_each_stretch_has_one_check_however_the_members_are_combined(share, sizes, seed):
    whole = chosen_of(CheckPlan(share), [sum(sizes)], seed)
    assert chosen_of(CheckPlan(share), sizes, seed) == whole
    start = 0
    for number, at in enumerate(whole):
        length = round(1 / (share * max(0.1, 5 / (5 + number))))
        assert start <= at < start + length
        start += length
    assert sum(sizes) <= start + round(10 / share)


def test_any_member_may_be_the_one_that_is_checked():
    first = {chosen_of(CheckPlan(0.1), [10], seed)[0] for seed in range(300)}
    assert first == set(range(10))


def test_a_share_of_none_checks_none_and_a_share_of_all_checks_all_always():
    assert CheckPlan(0).choose(1000, Random(0)) == []
    assert CheckPlan(1).choose(1000, Random(0)) == list(range(1000))


def test_a_disagreement_restores_the_share_at_once():
    agreement = Agreement(0.9, 0.02)
    agreement.checks.choose(3000, Random(0))
    for _ in range(20):
        agreement.check(agrees=True)
    assert agreement.checks.share < 0.005
    agreement.check(agrees=False)
    assert agreement.is_trusted
    assert agreement.checks.share == 0.02
    assert len(agreement.checks.choose(50, Random(0))) == 1


@pytest.mark.parametrize("agreeing", [0.0, 0.5, 0.8])
def test_a_model_that_answers_packs_otherwise_loses_trust_within_eight_hundred_items(agreeing):
    """Where one in five answers differs or more, most runs of this size notice it."""
    ended = 0
    for seed in range(200):
        chance, agreement = Random(seed), Agreement(0.9, 0.02)
        for _ in agreement.checks.choose(800, chance):
            agreement.check(agrees=chance.random() < agreeing)
        ended += not agreement.is_trusted
    assert ended >= 0.8 * 200


async def test_checks_that_bring_no_response_do_not_make_checks_rarer(autojump_clock):
    """Trust grows by responses that agree, not by calls that failed."""
    names = [f"text{number}" for number in range(40)]
    down = {name: Behaviour(error=ProviderUnavailable("out")) for name in names}
    agreements = Agreements()
    async with open_runtime() as runtime:
        stage = await runtime.spawn("stage", partial(Stage, Journal(), down), concurrency=100)
        strategy = Chorus(BatchLimits(max_size=10), check_share=0.5)
        make = partial(BatcherActor, stage, None, [strategy], agreements=agreements)
        batcher = await runtime.spawn("batcher", make)
        found = await outcomes(*(partial(batcher.ask, call(name)) for name in names))
    assert [one.text for one in found] == [f"about {name}" for name in names]
    ((_, agreement),) = agreements
    assert agreement.statistics().checks == 0
    assert agreement.checks.share == 0.5
