"""Deadlines, silence and cancellation of a call."""

import pytest
import trio
from fakes import STALL, Reply, Script, asking, call, outcomes, refusal, requester

from callsheet.actors import ConnectionFailed, RetryPolicy, Timeouts
from callsheet.runtime import AskTimedOut, Verdict
from callsheet.simulator.app import Provider
from callsheet.simulator.faults import Faults
from callsheet.simulator.inprocess import ProviderTransport
from callsheet.simulator.settings import ProviderSettings


def slow(**settings):
    return Provider(
        ProviderSettings(latency_s=(1.0, 1.0), faults=Faults({"slow": 1.0}, **settings))
    )


async def test_the_total_deadline_is_kept_against_a_body_that_trickles_for_ever(autojump_clock):
    """L1: each piece arrives within the read timeout, but the body never ends."""
    provider = slow(slow_gap_s=100)
    async with ProviderTransport(provider) as transport, requester(transport) as (ref, _):
        with pytest.raises(AskTimedOut) as caught:
            await ref.ask(call(), timeout=300)
        assert trio.current_time() == 300
        await trio.testing.wait_all_tasks_blocked()
        assert provider.stats.cancelled == 1, "and the connection is closed"
    assert caught.value.verdict is Verdict.MAY_HAVE_RUN


async def test_a_body_that_trickles_is_waited_for_if_there_is_time(autojump_clock):
    provider, timeouts = slow(slow_gap_s=2), Timeouts(send_s=3600)
    async with (
        ProviderTransport(provider) as transport,
        requester(transport, timeouts=timeouts) as (ref, _),
    ):
        answer = await ref.ask(call())
    assert answer.seconds > 100
    assert answer.http_requests == 1


async def test_silence_longer_than_the_read_timeout_is_an_attempt_that_failed(autojump_clock):
    script = Script(STALL, Reply(pieces=2, gap=99), Reply())
    timeouts = Timeouts(first_byte_s=5)
    async with requester(script, timeouts=timeouts, retry=RetryPolicy(base_s=0)) as (ref, _):
        answer = await ref.ask(call())
    assert answer.http_requests == 3
    assert script.times == [0, 5, 11]


async def test_silence_that_never_ends_is_a_failed_connection_that_may_have_been_billed(
    autojump_clock,
):
    async with requester(
        Script(STALL), timeouts=Timeouts(first_byte_s=5), retry=RetryPolicy(max_attempts=2)
    ) as (ref, _):
        with pytest.raises(ConnectionFailed, match="provider broke off") as caught:
            await ref.ask(call())
    assert caught.value.billed == "maybe"


@pytest.mark.parametrize("line", [STALL, Reply(after=1, pieces=50, gap=10)])
async def test_cancelling_the_caller_closes_the_connection_at_once(autojump_clock, line):
    script = Script(line, Reply())
    async with requester(script, concurrency=1) as (ref, runtime):
        with trio.move_on_after(7):
            await ref.ask(call())
        await trio.testing.wait_all_tasks_blocked()
        assert script.sent[0].ended_at == 7
        assert runtime.snapshot()[ref.path].counts.cancelled == 1
        assert (await ref.ask(call("next"))).text == "Hello"
    assert script.times == [0, 7]


async def test_cancelling_the_caller_ends_a_pause_too(autojump_clock):
    script = Script(refusal(503, headers={"retry-after": "60"}))
    async with requester(script) as (ref, runtime):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ref.ask, call())
            await trio.sleep(7)
            nursery.cancel_scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert runtime.snapshot()[ref.path].in_progress == ()
        await trio.sleep(1000)
    assert len(script.sent) == 1, "nothing is sent for a cancelled caller"


async def test_what_is_cancelled_while_it_waits_for_its_turn_is_never_sent(autojump_clock):
    script = Script(Reply(after=10))
    async with requester(script, concurrency=1) as (ref, _):
        await outcomes(*asking(ref, "first"), *asking(ref, "gone", timeout=5))
    assert [sent.prompt for sent in script.sent] == ["first"]
