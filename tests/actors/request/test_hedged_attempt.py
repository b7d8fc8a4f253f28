"""Hedging as a layer, with a fake attempt below it: when a second copy is made, and when not."""

import pytest
import trio
from fake_layers import (
    FakeAttempt,
    ScriptedPermit,
    endpoint_breaker,
    exchanged,
    failed,
    prepared,
    progress,
)

from callsheet.actors import BreakerPolicy, BudgetExceeded, HedgePolicy, RetryPolicy
from callsheet.actors.request.breaker import NEVER_OPENS
from callsheet.actors.request.failures import AttemptFailed
from callsheet.actors.request.hedging import HedgedAttempt, Hedger
from callsheet.runtime import ActorStopped

USUAL_S = 1.0


class Hedging:
    """A `HedgedAttempt` that has learnt that a response takes a second, and a fake below it."""

    def __init__(self, *outcomes, policy=NEVER_OPENS, reserve=0):
        self.hedger = Hedger(HedgePolicy(min_calls=1, max_share=1.0))
        self.hedger.begin("gpt-4o at provider")
        self.hedger.observe("gpt-4o at provider", USUAL_S)
        self.breaker = endpoint_breaker(policy)
        self.attempt = FakeAttempt(self.breaker, *outcomes)
        self.layer = HedgedAttempt(
            self.attempt, self.hedger, self.breaker, host="provider", reserve=reserve
        )

    @property
    def times(self):
        return self.attempt.times

    async def send(self, call=None):
        found = await self.layer.send(call or progress(), prepared(), self.breaker.try_enter())
        assert self.breaker.statistics().under_way == 0
        return found.response.choices[0].text

    @property
    def statistics(self):
        (statistics,) = self.hedger.statistics()
        return statistics


LATE = (exchanged("late"), 9.0)
SOON = (exchanged("soon"), 0.5)


async def test_a_late_attempt_gets_a_second_copy_with_a_ticket_of_its_own(autojump_clock):
    at, call = Hedging(LATE, SOON), progress()
    assert await at.send(call) == "soon"
    assert at.times == [0, USUAL_S]
    assert call.budget.statistics().hedges == 1
    assert at.breaker.statistics().begun == 2
    assert (at.statistics.hedges, at.statistics.observed) == (1, 2)


async def test_an_attempt_in_time_gets_none(autojump_clock):
    at = Hedging(SOON)
    assert await at.send() == "soon"
    assert at.times == [0]
    assert (at.statistics.calls, at.statistics.hedges, at.statistics.observed) == (2, 0, 2)


async def test_a_model_without_known_latencies_gets_none(autojump_clock):
    at = Hedging(LATE)
    other = prepared(model="other")
    await at.layer.send(progress(), other, at.breaker.try_enter())
    assert at.times == [0]


async def test_a_failure_tells_no_latency(autojump_clock):
    at = Hedging(failed())
    with pytest.raises(AttemptFailed):
        await at.send()
    assert at.statistics.observed == 1


async def deliver(delta):
    """Take a piece."""


@pytest.mark.parametrize(
    "fields",
    [
        {"deliver": deliver},
        {"extra_body": {"store": True}},
        {"retry": RetryPolicy(max_attempts=1)},
        {"permit": ScriptedPermit(ActorStopped("limiter"))},
    ],
    ids=["streamed", "stored", "out of budget", "not permitted"],
)
async def test_some_calls_get_no_second_copy(autojump_clock, fields):
    at, call = Hedging(LATE, SOON), progress(**fields)
    assert await at.send(call) == "late"
    assert at.times == [0]


async def test_the_requests_of_later_targets_are_not_spent_on_copies(autojump_clock):
    at = Hedging(LATE, SOON, reserve=1)
    assert await at.send(progress(retry=RetryPolicy(max_attempts=2))) == "late"
    assert at.statistics.hedges == 0, "and nothing is taken from the share"


async def test_an_open_breaker_gets_no_second_copy(autojump_clock):
    at = Hedging(LATE, SOON, policy=BreakerPolicy(consecutive=1, jitter=0.0, pause_s=60))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(at.send)
        await trio.sleep(0.5)
        at.breaker.fail(at.breaker.try_enter())
    assert at.times == [0]


async def test_the_limiter_permits_the_second_copy_without_a_pause(autojump_clock):
    permit = ScriptedPermit(seconds=2)
    at = Hedging(LATE, SOON)
    assert await at.send(progress(permit=permit)) == "soon"
    assert permit.asked == [(0.0, None)]
    assert at.times == [0, USUAL_S + 2]


async def test_a_second_copy_that_no_budget_allows_leaves_the_error_of_the_first(autojump_clock):
    refused = (failed(BudgetExceeded, "No money.", is_final=True), 0.0)
    at = Hedging((failed(), 3.0), refused)
    with pytest.raises(AttemptFailed) as caught:
        await at.send()
    assert str(caught.value.error) == "Busy."
