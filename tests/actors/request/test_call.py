"""A whole call, with fake targets below it: fallback, delivery, the response and the errors."""

from decimal import Decimal
from math import inf

import attrs
import pytest
import trio
from fake_layers import FIRST, SECOND, Account, FakeTarget, context, exchanged, failed
from fakes import MODEL, LoosePermit

from callsheet.actors import (
    AuthenticationFailed,
    BadRequest,
    CallContext,
    CallFailed,
    Complete,
    Delta,
    ProviderUnavailable,
    RateLimited,
    Request,
    RetryPolicy,
    ThrottlePolicy,
    Usage,
)
from callsheet.actors.request.call import CallRunner
from callsheet.actors.request.failures import AttemptFailed
from callsheet.actors.request.retry import RetryThrottle
from callsheet.actors.vendors import VENDORS


class Two:
    """A `CallRunner` over two fake targets."""

    def __init__(self, first, second=None, **shared):
        self.first, self.second = first, second or FakeTarget()
        self.events = []
        layers = {FIRST: self.first, SECOND: self.second}
        shared = context(*layers, observer=self.events.append, **shared)
        self.runner = CallRunner(shared, layers)

    async def run(self, *, deadline=inf, deliver=None, permit=None, account=None, **request):
        asked = attrs.evolve(Request.of("Hi", model=MODEL), **request)
        message = Complete(asked, CallContext("Hi"), permit=permit, account=account)
        return await self.runner.run(message, deadline=lambda: deadline, deliver=deliver)

    async def fails(self, **more):
        with pytest.raises(CallFailed) as caught:
            await self.run(**more)
        return caught.value

    @property
    def attempts(self):
        return len(self.first.times), len(self.second.times)


# ------------------------------------------------------------------ which target


async def test_the_preferred_target_serves_the_call(autojump_clock):
    at = Two(FakeTarget())
    assert (await at.run()).text == "Hello"
    assert at.attempts == (1, 0)


async def test_a_failure_of_the_target_moves_the_call_on(autojump_clock):
    at = Two(FakeTarget(failed()), FakeTarget(exchanged("elsewhere", host="second")))
    response = await at.run()
    assert (response.text, response.host, response.http_requests) == ("elsewhere", "second", 2)
    assert [(event.stage, event.error, event.delay) for event in at.events] == [
        ("retrying", "Busy.", 0.0)
    ]


async def test_a_failure_of_the_request_ends_the_call(autojump_clock):
    at = Two(FakeTarget(failed(BadRequest)))
    assert type(await at.fails()) is BadRequest
    assert at.attempts == (1, 0)


async def test_the_error_of_the_last_target_is_raised(autojump_clock):
    at = Two(FakeTarget(failed(RateLimited)), FakeTarget(failed(AuthenticationFailed)))
    error = await at.fails()
    assert (type(error), error.attempts) == (AuthenticationFailed, 2)


async def test_an_open_breaker_is_passed_by_without_a_cost(autojump_clock):
    at = Two(FakeTarget(is_open=True), retry=RetryPolicy(max_attempts=1))
    assert (await at.run()).http_requests == 1
    assert at.attempts == (0, 1)
    assert at.events == []


@pytest.mark.parametrize("is_open", [False, True])
async def test_a_fallback_without_words_for_the_request_leaves_the_first_error(
    autojump_clock, is_open
):
    """The request is valid, so a client may send it again when its provider is back."""
    unsupported = failed(BadRequest, "nothing was sent: it does not support n", is_final=True)
    at = Two(FakeTarget(failed(), is_open=is_open), FakeTarget(unsupported))
    error = await at.fails()
    assert (type(error), error.is_transient) == (ProviderUnavailable, True)
    assert "fallback cannot serve the call: nothing was sent: it does not support n" in str(error)


async def test_a_refusal_by_a_fallback_is_its_own(autojump_clock):
    refused = BadRequest("too long", status=400)
    at = Two(FakeTarget(failed()), FakeTarget(AttemptFailed(refused, is_final=True)))
    assert (await at.fails()) is refused


async def test_the_last_target_is_waited_for_even_if_its_breaker_is_open(autojump_clock):
    at = Two(FakeTarget(is_open=True), FakeTarget(is_open=True))
    await at.run()
    assert at.attempts == (0, 1)


async def test_an_exhausted_budget_ends_the_call_at_its_target(autojump_clock):
    at = Two(FakeTarget(failed()), retry=RetryPolicy(max_attempts=1))
    await at.fails()
    assert at.attempts == (1, 0)


async def test_an_empty_throttle_ends_the_call_at_its_target(autojump_clock):
    throttle = RetryThrottle(ThrottlePolicy(share=0, min_per_s=0, burst=1), 0.0)
    assert throttle.take(0.0)
    at = Two(FakeTarget(failed()), throttle=throttle)
    await at.fails()
    assert at.attempts == (1, 0)


async def test_a_deadline_that_has_passed_ends_the_call_at_its_target(autojump_clock):
    at = Two(FakeTarget(failed()))
    await at.fails(deadline=1.0)
    assert at.attempts == (1, 0)


# ------------------------------------------------------------------ pieces


async def test_a_whole_response_is_delivered_as_pieces_if_they_are_wanted(autojump_clock):
    pieces = []

    async def deliver(delta):
        pieces.append(delta)

    await Two(FakeTarget()).run(deliver=deliver)
    assert pieces == [Delta("Hello", 0)]


async def test_a_streamed_response_is_delivered_once(autojump_clock):
    pieces = []

    async def deliver(delta):
        pieces.append(delta.text)

    await Two(FakeTarget(pieces=["Hel", "lo"])).run(deliver=deliver)
    assert pieces == ["Hel", "lo"]


async def test_a_call_whose_pieces_were_delivered_does_not_move_on(autojump_clock):
    async def deliver(delta):
        pass

    at = Two(FakeTarget(failed(billed="maybe"), pieces=["Hel"]))
    error = await at.fails(deliver=deliver)
    assert at.attempts == (1, 0)
    assert not error.is_transient


# ------------------------------------------------------------------ the response


async def test_the_response_has_the_cost_and_settles_permit_and_account(autojump_clock):
    permit, account = LoosePermit(), Account()
    response = await Two(FakeTarget()).run(permit=permit, account=account)
    assert response.cost_usd == Decimal("0.0075"), "2.50 and 10.00 USD per million tokens"
    assert (response.model, response.seconds, response.first_byte_s) == (MODEL, 1.5, 0.5)
    assert (response.host, response.request_id) == ("provider", "req-1")
    assert permit.settled == [(Usage(1000, 500), 0.0075, 0.5)]
    assert account.response is response


@pytest.mark.parametrize(("vendor", "uncounted"), [("openai", 0), ("anthropic", 600)])
async def test_the_permit_gets_the_tokens_that_do_not_count_at_the_vendor(
    autojump_clock, vendor, uncounted
):
    permit, usage = LoosePermit(), Usage(1000, 500, cached_tokens=600)
    found = attrs.evolve(exchanged(usage=usage), vendor=VENDORS[vendor])
    await Two(FakeTarget(found)).run(permit=permit)
    assert (permit.settled[0][0], permit.uncounted_tokens) == (usage, uncounted)


async def test_without_tokens_the_cost_is_unknown(autojump_clock):
    permit = LoosePermit()
    response = await Two(FakeTarget(exchanged(usage=None))).run(permit=permit)
    assert (response.cost_usd, response.usage) == (None, Usage())
    assert permit.settled == [(None, None, 0.5)]


async def test_another_model_without_a_price_is_not_charged_as_the_requested_one(autojump_clock):
    response = await Two(FakeTarget(exchanged(named="deployment-7"))).run()  # L13
    assert (response.model, response.cost_usd) == ("deployment-7", None)
    unknown = FakeTarget(exchanged(model="my-model", named="deployment-7"))
    assert (await Two(unknown).run()).cost_usd is None


# ------------------------------------------------------------------ the error


async def test_an_error_states_what_the_call_took(autojump_clock):
    class Billed(FakeTarget):
        async def send(self, call):
            call.maybe_billed += 1
            return await super().send(call)

    error = await Two(FakeTarget(failed()), Billed(failed())).fails()
    assert (error.attempts, error.maybe_billed, error.billed) == (2, 1, "maybe")
    assert error.is_transient, "its last attempt cost nothing, and the reason may pass"


@pytest.mark.parametrize(
    ("failure", "is_transient"),
    [
        (failed(), True),
        (failed(billed="maybe"), False),
        (failed(is_final=True), False),
    ],
)
async def test_an_error_is_transient_if_a_later_call_may_fare_better(
    autojump_clock, failure, is_transient
):
    error = await Two(FakeTarget(is_open=True), FakeTarget(failure)).fails()
    assert isinstance(error, ProviderUnavailable)
    assert error.is_transient is is_transient


async def test_an_error_has_its_cause_and_no_context(autojump_clock):
    """L8: what was being handled when it was raised may quote the key."""
    failure = failed()
    failure.__cause__ = OSError("connection reset")
    error = await Two(FakeTarget(is_open=True), FakeTarget(failure)).fails()
    assert error.__cause__ is failure.__cause__
    assert error.__context__ is None


# ------------------------------------------------------------------ identity


async def test_a_call_has_one_idempotency_key_and_the_requests_own_if_it_has_one(autojump_clock):
    keys = []

    class Watching(FakeTarget):
        async def send(self, call):
            keys.append(call.idempotency_key)
            return await super().send(call)

    at = Two(Watching(failed()), Watching())
    await at.run()
    await at.run(idempotency_key="mine")
    first, second, third, fourth = keys
    assert first == second
    assert len(first) == 32
    assert third == fourth == "mine"


async def test_a_moved_deadline_is_seen_by_the_target(autojump_clock):
    seen = []

    class Watching(FakeTarget):
        async def send(self, call):
            seen.append(call.left_s)
            deadline[0] = 100.0
            seen.append(call.left_s)
            return await super().send(call)

    deadline = [10.0]
    message = Complete(Request.of("Hi", model=MODEL), CallContext("Hi"))
    await trio.sleep(4)
    await Two(Watching()).runner.run(message, deadline=lambda: deadline[0])
    assert seen == [6.0, 96.0], "R4"
