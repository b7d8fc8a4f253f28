"""The core of shared limits: refusals reach all, repeats change nothing, and it does not grow."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lease_user import SOON, WORKER, LeaseUser

from callsheet.actors.rate_limit.shared import (
    Correction,
    LaneDemand,
    LeaseAsk,
    LimitAsk,
    PlacesAsk,
    SharedLimits,
    SharedRate,
    SharedRefusal,
)

# ------------------------------------------------------------------------------------ refusals


@given(st.lists(st.tuples(WORKER, st.booleans(), SOON), max_size=60))
def test_each_refusal_reaches_each_other_process_once(steps):
    core, now, seen = SharedLimits(), 0.0, dict.fromkeys(range(4), (0, ""))
    told, reported = {at: [] for at in range(4)}, []
    for number, (at, is_refused, wait_s) in enumerate(steps, start=1):
        now += min(wait_s, 1.0)
        refusals = (SharedRefusal(f"call {number}", "too_fast", 5.0),) if is_refused else ()
        if is_refused:
            reported.append((at, f"call {number}"))
        last, epoch = seen[at]
        ask = LimitAsk(worker=f"w{at}", number=number, epoch=epoch, seen=last, refusals=refusals)
        grant = core.ask(ask, now, "epoch")
        seen[at] = grant.seen, grant.epoch
        told[at] += [one.scope for one in grant.refusals]
    if now >= 60.0 or len(reported) > 32:
        return
    for at in range(4):
        grant = core.ask(
            LimitAsk(worker=f"w{at}", number=1000, epoch=seen[at][1], seen=seen[at][0]), now, "e"
        )
        told[at] += [one.scope for one in grant.refusals]
        assert told[at] == [call for by, call in reported if by != at]


# ------------------------------------------------------------------------------------ the state


@given(st.lists(st.tuples(WORKER, SOON, st.sampled_from([1.0, 30.0]), st.booleans()), max_size=50))
def test_a_repeated_question_changes_nothing(steps):
    once, twice, now = SharedLimits(), SharedLimits(), 0.0
    users = [LeaseUser(f"w{at}", 10.0, 9.0) for at in range(4)]
    for at, wait_s, amount, again in steps:
        now += wait_s
        user = users[at]
        user.corrections = [Correction("limit", -0.5, 0.5)]
        question = user.question(amount)
        grant = once.ask(question, now, "epoch")
        assert twice.ask(question, now, "epoch") == grant
        user.apply(grant, now)
        if again:
            assert twice.ask(question, now, "epoch") == grant


def test_a_lease_that_is_repeated_late_is_smaller():
    """What could be used by then may be leased by others, too."""
    core, user = SharedLimits(), LeaseUser("w", 10.0, 2.0)
    core.ask(user.question(2.0), 0.0, "epoch")
    question = user.question(2.0)
    assert [one.at_once for one in core.ask(question, 0.0, "epoch").leases] == [0.0]
    again = core.ask(question, 0.4, "epoch").leases
    assert [(one.amount, one.at_once) for one in again] == [pytest.approx((0.5, 2.5))]


def test_a_state_that_was_lost_begins_empty():
    core, user = SharedLimits(), LeaseUser("w", 10.0, 9.0)
    grant = user.apply(core.ask(user.question(5.0), 0.0, "first"), 0.0)
    assert grant.leases[0].at_once == 9.0
    core = SharedLimits()
    user.full_s = 3.0
    grant = core.ask(user.question(5.0), 1.0, "second")
    assert grant.epoch == "second"
    assert grant.leases[0].at_once == pytest.approx(9.0 - 30.0)  # 3 s until it is full
    newcomer = LimitAsk(
        worker="new",
        number=1,
        rates=(SharedRate("other", 10.0, 9.0),),
        leases=(LeaseAsk("", {"other": 1.0}, {"other": 1.0}),),
    )
    assert core.ask(newcomer, 2.0, "x").leases[0].at_once == 0.0


def test_what_was_used_while_the_store_was_away_counts():
    core = SharedLimits()
    rate = SharedRate("limit", 10.0, 9.0, least_full_s=2.0)
    grant = core.ask(LimitAsk(worker="w", number=1, rates=(rate,)), 0.0, "epoch")
    assert grant.full == {"limit": 2.0}


def test_a_clock_that_jumps_back_freezes_nothing():
    core, user = SharedLimits(), LeaseUser("w", 10.0, 1.0)
    leased = 0.0
    for tick in range(200):
        now = tick * 0.1 - 3600.0 * (tick > 100)
        grant = core.ask(user.question(20.0), now, "epoch")
        leased += sum(one.amount for one in grant.leases)
    assert leased == pytest.approx(200.0, rel=0.05)


def test_the_state_does_not_grow():
    core, rng = SharedLimits(), random.Random(1)
    now = 0.0
    for number in range(700):
        now += 0.4
        ask = LimitAsk(
            worker=f"w{rng.randrange(10_000)}",
            number=number,
            rates=(SharedRate(f"limit {number}", 10.0, 9.0),),
            leases=(LeaseAsk(f"s{number % 5}", {f"limit {number}": 1.0}, {}),),
            lanes=tuple(
                LaneDemand(f"s{number % 5}", f"l{number}-{at}", 1.0, 1.0) for at in range(9)
            ),
            places=(PlacesAsk(f"s{number % 5}", 1000.0, 0, 5),),
            refusals=(SharedRefusal("", "too_fast", 1.0),),
        )
        core.ask(ask, now, "epoch")
    assert len(core._live) <= 26
    assert len(core._live) + len(core._dead) <= 301
    assert len(core._graves) <= 301
    assert len(core._limits) <= 310
    assert len(core._refusals) <= 32
    assert max(len(demand.lanes) for demand in core._demands.values()) <= 129
    core.ask(LimitAsk(worker="last", number=1), now + 1000.0, "epoch")
    core.ask(LimitAsk(worker="last", number=2), now + 1100.0, "epoch")
    assert len(core._live) == 1
    assert len(core._graves) <= 1
    for what in (core._dead, core._demands, core._places, core._limits, core._refusals):
        assert not what
