"""Retries at one target, with a fake attempt layer: when, how often, and how they end."""

from math import inf
from random import Random

import pytest
import trio
from fake_layers import (
    AT_ONCE,
    EASILY_OPENED,
    FIRST,
    SECOND,
    FakeAttempt,
    FakeExchange,
    ScriptedPermit,
    context,
    endpoint_breaker,
    exchanged,
    failed,
    progress,
)

from callsheet.actors import (
    AuthenticationFailed,
    BadRequest,
    BreakerPolicy,
    ProviderUnavailable,
    RateLimited,
    RetryPolicy,
    Target,
    Throttled,
    ThrottlePolicy,
)
from callsheet.actors.request.breaker import NEVER_OPENS
from callsheet.actors.request.context import TargetContext
from callsheet.actors.request.failures import AttemptFailed
from callsheet.actors.request.retry import RetryThrottle
from callsheet.actors.request.target import RetryingTarget
from callsheet.actors.vendors import ApiError
from callsheet.runtime import ActorCrashed, ActorStopped, AskTimedOut, Verdict


class Tried:
    """A `RetryingTarget` and its surroundings.

    Args:
        outcomes: the outcomes of the fake attempts.
        target: the target.
        later: the targets that a call can move on to.
        policy: the policy of the circuit breaker.
        exchange: encodes the requests.
    """

    def __init__(
        self, *outcomes, target=FIRST, later=(), policy=NEVER_OPENS, exchange=None, **shared
    ):
        self.breaker = endpoint_breaker(policy)
        self.attempt = FakeAttempt(self.breaker, *outcomes)
        self.context = TargetContext(target, exchange or FakeExchange(), self.breaker)
        self.layer = RetryingTarget(self.context, context(target, *later, **shared), self.attempt)

    @property
    def times(self):
        return self.attempt.times

    async def send(self, call):
        return await self.layer.send(call)

    async def fails(self, call):
        """Return the failure of the target."""
        with pytest.raises(AttemptFailed) as caught:
            await self.send(call)
        assert self.breaker.statistics().under_way == 0
        return caught.value


def until(deadline):
    return {"deadline": lambda: deadline}


# ------------------------------------------------------------------ when it tries again


async def test_a_response_is_returned_at_once(autojump_clock):
    response = exchanged()
    at = Tried(response)
    assert await at.send(progress()) is response
    assert at.times == [0]


async def test_attempts_are_repeated_with_the_pauses_that_the_provider_requests(autojump_clock):
    events = []
    at = Tried(failed(server_s=3.0), failed(server_s=7.0), exchanged())
    await at.send(progress(observer=events.append))
    assert at.times == [0, 4, 12]
    assert [(event.stage, event.attempt, event.delay) for event in events] == [
        ("retrying", 1, 3.0),
        ("retrying", 2, 7.0),
    ]


@pytest.mark.parametrize(
    ("later", "attempts"), [((), 3), ((SECOND,), 2), ((SECOND, Target(SECOND.endpoint)), 1)]
)
async def test_one_request_is_kept_for_each_later_target(autojump_clock, later, attempts):
    policy = RetryPolicy(max_attempts=3, base_s=0)
    at = Tried(failed(), later=later, retry=policy)
    call = progress(retry=policy)
    failure = await at.fails(call)
    assert str(failure.error) == "Busy."
    assert len(at.times) == call.sent == attempts
    assert call.budget.left == len(later)


async def test_a_final_failure_is_not_repeated(autojump_clock):
    at = Tried(failed(AuthenticationFailed, is_final=True))
    assert (await at.fails(progress())).is_final
    assert at.times == [0]


@pytest.mark.parametrize(
    ("fields", "billed", "attempts"),
    [
        ({"has_delivered": True}, "no", 1),
        ({"extra_body": {"store": True}}, "maybe", 1),
        ({"extra_body": {"conversation": "conv_1"}}, "maybe", 1),
        ({"extra_body": {"background": True}}, "maybe", 1),
        ({"extra_body": {"store": True}}, "no", 2),
        ({"extra_body": {"store": False}}, "maybe", 2),
        ({}, "maybe", 2),
    ],
)
async def test_a_call_that_would_do_harm_twice_is_not_repeated(
    autojump_clock, fields, billed, attempts
):
    at = Tried(failed(billed=billed), retry=RetryPolicy(max_attempts=2, base_s=0))
    await at.fails(progress(retry=RetryPolicy(max_attempts=2, base_s=0), **fields))
    assert len(at.times) == attempts


async def test_no_time_before_the_deadline_fails_now_and_parks_the_limiter(autojump_clock):
    permit, throttled = ScriptedPermit(), Throttled("too_fast")
    at = Tried(failed(RateLimited, server_s=60.0, throttled=throttled))
    failure = await at.fails(progress(permit=permit, **until(30)))
    assert trio.current_time() == 1.0
    assert str(failure.error) == (
        "Busy.; the deadline leaves no time for another attempt in 60.0 s"
    )
    assert permit.parked == [(60.0, throttled)]
    assert permit.asked == []


async def test_a_limiter_is_parked_no_longer_than_a_provider_may_ask_for(autojump_clock):
    policy = RetryPolicy(max_server_s=120)
    permit, throttled = ScriptedPermit(), Throttled("too_fast")
    at = Tried(failed(RateLimited, server_s=inf, throttled=throttled), retry=policy)
    failure = await at.fails(progress(permit=permit, retry=policy))
    assert str(failure.error) == "Busy.", "which shows the reason itself"
    assert permit.parked == [(120, throttled)]


async def test_an_empty_throttle_is_named_as_the_reason(autojump_clock):
    throttle = RetryThrottle(ThrottlePolicy(share=0, min_per_s=0, burst=1), 0.0)
    at = Tried(failed(), throttle=throttle)
    failure = await at.fails(progress(throttle=throttle))
    assert len(at.times) == 2, "it allowed one retry"
    assert str(failure.error) == "Busy.; the throttle allows no more retries now"


# ------------------------------------------------------------------ the permit


async def test_the_limiter_decides_when_the_next_attempt_is_sent(autojump_clock):
    permit, throttled = ScriptedPermit(seconds=100), Throttled("too_fast")
    at = Tried(failed(server_s=3.0, throttled=throttled), exchanged())
    await at.send(progress(permit=permit))
    assert permit.asked == [(3.0, throttled)]
    assert at.times == [0, 104], "no second sleep beside the limiter's"


async def test_a_limiter_that_crashes_is_asked_again(autojump_clock):
    crash = ActorCrashed("limiter", Verdict.NOT_STARTED, KeyError("bug"))
    permit = ScriptedPermit(crash)
    at = Tried(failed(server_s=3.0), exchanged())
    await at.send(progress(permit=permit))
    assert [delay for delay, _ in permit.asked] == [3.0, 0.0], "the rest of the pause"
    assert at.times == [0, 4]


async def test_a_limiter_that_stops_ends_the_call_with_the_last_error(autojump_clock):
    permit = ScriptedPermit(ActorStopped("limiter"))
    at = Tried(failed(), exchanged())
    failure = await at.fails(progress(permit=permit))
    assert str(failure.error).startswith("Busy.; there is no other attempt, because limiter is")
    assert at.times == [0]


async def test_a_renewal_that_times_out_ends_the_call_unless_the_deadline_has_moved(
    autojump_clock,
):
    timed_out = AskTimedOut("limiter", Verdict.NOT_STARTED)
    failure = await Tried(failed()).fails(
        progress(permit=ScriptedPermit(timed_out, seconds=50), **until(50))
    )
    assert str(failure.error) == "Busy.; the deadline has passed"
    deadline = [150.0]
    permit = ScriptedPermit(timed_out, seconds=50)
    at = Tried(failed(), exchanged())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(at.send, progress(permit=permit, deadline=lambda: deadline[0]))
        await trio.sleep(10)
        deadline[0] = inf
    assert len(at.times) == 2


# ------------------------------------------------------------------ the circuit breaker


async def test_an_open_breaker_is_waited_for_where_there_is_no_other_target(autojump_clock):
    at = Tried(failed(), exchanged(), policy=EASILY_OPENED)
    await at.send(progress())
    assert at.times == [0, 11], "the pause of the breaker, not that of the retry"


async def test_a_call_leaves_an_open_breaker_for_a_later_target_at_once(autojump_clock):
    at = Tried(failed(server_s=60.0), later=[SECOND], policy=EASILY_OPENED)
    call = progress()
    await at.fails(call)
    assert trio.current_time() == 1.0
    assert call.budget.statistics().retries == 0, "nothing is spent on a retry that is not made"


async def test_a_breaker_that_opens_during_the_pause_sends_the_call_on(autojump_clock):
    at = Tried(failed(server_s=5.0), later=[SECOND], policy=BreakerPolicy(consecutive=2, jitter=0))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(at.fails, progress())
        await trio.sleep(3)
        at.breaker.fail(at.breaker.try_enter())
    assert trio.current_time() == 6.0
    assert at.times == [0]


async def test_an_open_breaker_keeps_a_call_that_cannot_be_repeated_elsewhere(autojump_clock):
    """A bad request would be refused by any target."""
    at = Tried(failed(BadRequest), exchanged(), later=[SECOND], policy=EASILY_OPENED)
    await at.send(progress())
    assert at.times == [0, 11]


async def test_a_breaker_that_stays_open_beyond_the_deadline_ends_the_call(autojump_clock):
    at = Tried(failed(), policy=EASILY_OPENED)
    failure = await at.fails(progress(**until(5)))
    why = "its circuit breaker stays open beyond the deadline"
    assert (str(failure.error), failure.is_final) == (f"Busy.; {why}", True)
    assert trio.current_time() == 1.0
    late = await at.fails(progress(**until(6)))
    assert isinstance(late.error, ProviderUnavailable)
    assert str(late.error) == (f"nothing was sent to provider, because it keeps failing: {why}")
    assert len(at.times) == 1


async def test_a_call_waits_for_an_open_breaker_as_long_as_its_patience(autojump_clock):
    """A client that has said how long it waits is told when to come back, and does not time out."""
    at = Tried(failed(), policy=EASILY_OPENED)
    failure = await at.fails(progress(patience_s=5))
    why = "its circuit breaker stays open beyond the patience of the call"
    assert (str(failure.error), failure.error.back_in_s) == (f"Busy.; {why}", 10.0)
    await trio.sleep(3)
    late = await at.fails(progress(patience_s=5))
    assert (type(late.error), late.error.back_in_s) == (ProviderUnavailable, 7.0)
    assert str(late.error) == f"nothing was sent to provider, because it keeps failing: {why}"
    assert trio.current_time() == 4.0, "at once"
    at.attempt.outcomes = [(exchanged(), 20.0)]
    async with trio.open_nursery() as nursery:
        await trio.sleep(7)
        nursery.start_soon(at.send, progress())  # the probe
        await trio.sleep(1)
        with pytest.raises(AttemptFailed) as beside:
            await at.send(progress(patience_s=5))
        assert (trio.current_time(), beside.value.error.back_in_s) == (17.0, None)


async def test_it_waits_for_an_open_breaker_first(autojump_clock):
    at = Tried(policy=EASILY_OPENED)
    at.breaker.fail(at.breaker.try_enter())
    assert at.layer.is_out()
    await at.layer.send(progress())
    assert at.times == [10]


# ------------------------------------------------------------------ what is sent


async def test_the_model_of_the_target_replaces_that_of_the_request(autojump_clock):
    at = Tried(target=SECOND)
    await at.send(progress())
    assert [one.request.model for one in at.attempt.prepared] == ["second-model"]


async def test_a_request_that_cannot_be_encoded_is_not_sent(autojump_clock):
    at = Tried(exchange=FakeExchange(refuses=BadRequest("No such field.")))
    failure = await at.fails(progress())
    assert (type(failure.error), failure.is_final) == (BadRequest, True)
    assert at.times == []
    assert at.breaker.statistics().begun == 0


async def test_a_server_that_does_not_stream_is_asked_for_the_whole_from_then_on(autojump_clock):
    refusal = ApiError("Streaming is not supported.")
    at = Tried(failed(BadRequest, is_final=True, refusal=refusal), exchanged())
    call = progress()
    await at.send(call)
    await at.send(progress())
    assert [one.stream for one in at.attempt.prepared] == [True, False, False]
    assert at.times == [0, 1, 2], "without a pause"
    assert call.budget.statistics().retries == 1


async def test_streams_are_requested_if_they_are_allowed_or_wanted(autojump_clock):
    async def deliver(delta):
        pass

    at = Tried(streams=False, random=Random("other"), retry=AT_ONCE)
    await at.send(progress())
    await at.send(progress(deliver=deliver))
    assert [one.stream for one in at.attempt.prepared] == [False, True]
