"""One attempt, with a fake exchange below it: what it counts, pays for, reports and settles."""

import pytest
import trio
from fake_layers import (
    Account,
    FakeExchange,
    endpoint_breaker,
    exchanged,
    failed,
    prepared,
    progress,
)
from fakes import LoosePermit

from callsheet.actors import (
    AuthenticationFailed,
    BudgetExceeded,
    ConnectionFailed,
    ProviderUnavailable,
)
from callsheet.actors.request.attempt import SingleAttempt
from callsheet.actors.request.failures import AttemptFailed


async def attempt(exchange, call, breaker=None):
    """Make one attempt; return the breaker's statistics and the error of the attempt, or None."""
    breaker = breaker or endpoint_breaker()
    ticket = breaker.try_enter()
    try:
        await SingleAttempt(exchange, breaker).send(call, prepared(), ticket)
    except AttemptFailed as failure:
        return breaker.statistics(), failure
    return breaker.statistics(), None


async def test_a_response_is_returned_and_everything_is_accounted_for(autojump_clock):
    events, permit, account = [], LoosePermit(), Account()
    call = progress(permit=permit, account=account, observer=events.append)
    response, breaker = exchanged(), endpoint_breaker()
    layer = SingleAttempt(FakeExchange(response), breaker)
    assert await layer.send(call, prepared(), breaker.try_enter()) is response
    assert (call.sent, call.maybe_billed) == (1, 0)
    assert (permit.uses, account.taken) == (1, 1)
    assert [(event.stage, event.attempt) for event in events] == [("sent", 1)]
    statistics = breaker.statistics()
    assert (statistics.succeeded, statistics.under_way) == (1, 0)


async def test_each_attempt_has_its_number_and_all_have_one_key(autojump_clock):
    exchange, call = FakeExchange(failed(), exchanged()), progress()
    await attempt(exchange, call)
    await attempt(exchange, call)
    headers = {"authorization": "Bearer key"}
    assert exchange.sent == [(1, "key", headers), (2, "key", headers)]


@pytest.mark.parametrize(
    ("kind", "billed", "is_outage", "maybe_billed"),
    [
        (ProviderUnavailable, "no", True, 0),
        (ProviderUnavailable, "maybe", True, 1),
        (ConnectionFailed, "maybe", True, 1),
        (AuthenticationFailed, "no", False, 0),
    ],
)
async def test_a_failure_is_refunded_unless_it_may_have_been_billed(
    autojump_clock, kind, billed, is_outage, maybe_billed
):
    """L3; and only an outage counts against the endpoint."""
    account = Account()
    call = progress(account=account)
    statistics, failure = await attempt(FakeExchange(failed(kind, billed=billed)), call)
    assert type(failure.error) is kind
    assert (call.sent, call.maybe_billed, account.taken) == (1, maybe_billed, maybe_billed)
    assert (statistics.failed, statistics.succeeded) == (is_outage, not is_outage)
    assert statistics.under_way == 0


async def test_a_cancelled_attempt_may_have_been_billed_and_blames_nothing(autojump_clock):
    account, breaker = Account(), endpoint_breaker()
    call = progress(account=account)
    with trio.move_on_after(0.5) as scope:
        await attempt(FakeExchange(), call, breaker)
    assert scope.cancelled_caught
    assert (call.sent, call.maybe_billed, account.taken) == (1, 1, 1)
    statistics = breaker.statistics()
    assert (statistics.abandoned, statistics.failed, statistics.under_way) == (1, 0, 0)


@pytest.mark.parametrize("what", ["key", "budget"])
async def test_an_attempt_that_is_not_sent_counts_as_none(autojump_clock, what):
    permit, account, events = LoosePermit(), Account(), []
    call = progress(permit=permit, account=account, observer=events.append)
    exchange = FakeExchange()
    if what == "key":
        exchange.no_key = failed(AuthenticationFailed, is_final=True)
    else:
        account.refuses = BudgetExceeded("No money.")
    statistics, failure = await attempt(exchange, call)
    assert failure.is_final
    assert type(failure.error) is (AuthenticationFailed if what == "key" else BudgetExceeded)
    assert (call.sent, call.maybe_billed, permit.uses, account.taken) == (0, 0, 0, 0)
    assert exchange.sent == events == []
    assert (statistics.abandoned, statistics.under_way) == (1, 0)


async def test_an_attempt_that_is_cancelled_while_it_reserves_is_not_sent(autojump_clock):
    account, breaker = Account(waits_s=2.0), endpoint_breaker()
    call = progress(account=account)
    with trio.move_on_after(1):
        await attempt(FakeExchange(), call, breaker)
    assert (call.sent, call.maybe_billed, account.taken) == (0, 0, 0)
    assert breaker.statistics().abandoned == 1


async def test_pieces_are_delivered_as_they_arrive_and_only_if_they_are_wanted(autojump_clock):
    pieces = []

    async def deliver(delta):
        pieces.append((delta.text, trio.current_time()))

    call = progress(deliver=deliver)
    assert not call.has_delivered
    await attempt(FakeExchange(pieces=["Hel", "lo"]), call)
    assert pieces == [("Hel", 0), ("lo", 0)], "before the response is whole"
    assert call.has_delivered
    whole = FakeExchange()
    await attempt(whole, progress())
    assert whole.deliver is None
