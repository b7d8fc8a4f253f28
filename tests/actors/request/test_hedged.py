"""Hedged calls: a late call gets a second copy, and copies never exceed their share."""

import attrs
import pytest
import trio
from fakes import (
    REFUSED,
    RESET,
    STALL,
    LoosePermit,
    Reply,
    Script,
    asking,
    broken,
    call,
    completion_json,
    outcomes,
    refusal,
    requester,
)
from provided import asked, house
from trio.testing import wait_all_tasks_blocked

from callsheet.actors import (
    BreakerPolicy,
    CallContext,
    CallFailed,
    ConnectionFailed,
    GetRequestStatistics,
    HedgePolicy,
    Limits,
    RetryPolicy,
    Stream,
    ThrottlePolicy,
)
from callsheet.runtime import ActorStopped, AskTimedOut
from callsheet.simulator.faults import Faults
from callsheet.simulator.settings import ProviderSettings

KNOWN = 10
POLICY = HedgePolicy(min_calls=KNOWN, max_share=0.5)
USUAL = [Reply(after=1.0)] * KNOWN
ONCE = RetryPolicy(max_attempts=1)


def said(text, after):
    return Reply(body=completion_json(text), after=after)


async def warm(ref):
    """Let the actor learn that a call takes a second; the first ten calls are not hedged."""
    for _ in range(KNOWN):
        assert (await ref.ask(call())).http_requests == 1


async def hedges_of(ref):
    (hedges,) = (await ref.ask(GetRequestStatistics())).hedges
    return hedges


# ------------------------------------------------------------------ the race


async def test_a_late_call_is_sent_again_and_the_first_answer_wins(autojump_clock):
    script = Script(*USUAL, said("late", 60), said("soon", 0.5), Reply(after=1))
    events = []
    async with requester(script, hedging=POLICY, observer=events.append) as (ref, _):
        await warm(ref)
        answer = await ref.ask(call())
        assert trio.current_time() == KNOWN + 1.5, "the 95th percentile plus its own duration"
        await wait_all_tasks_blocked()
        assert script.open == 0
        hedges = await hedges_of(ref)
    first, second = script.sent[KNOWN:]
    assert answer.text == "soon"
    assert (answer.http_requests, answer.maybe_billed) == (2, 1)
    assert (first.at, second.at) == (KNOWN, KNOWN + 1)
    assert first.ended_at == second.ended_at == KNOWN + 1.5, "the loser is closed at once"
    assert (first.body, first.headers) == (second.body, second.headers), "one idempotency key"
    assert (hedges.calls, hedges.hedges, hedges.refused) == (KNOWN + 1, 1, 0)
    assert [event.stage for event in events[-2:]] == ["sent", "sent"]


async def test_the_first_copy_may_win_too(autojump_clock):
    script = Script(*USUAL, said("first", 1.2), said("second", 5), Reply())
    async with requester(script, hedging=POLICY) as (ref, _):
        await warm(ref)
        answer = await ref.ask(call())
        await wait_all_tasks_blocked()
    assert (answer.text, answer.http_requests, answer.maybe_billed) == ("first", 2, 1)
    assert script.sent[-1].ended_at == KNOWN + 1.2


async def test_the_provider_stops_working_on_the_loser(autojump_clock):
    settings = {
        "hedging": HedgePolicy(min_calls=KNOWN, max_share=1),
        "provider": ProviderSettings(latency_s=(1.0, 1.0), faults=Faults(stall_s=1000)),
    }
    async with house(*["ok"] * KNOWN, "slow", **settings) as at:
        for _ in range(KNOWN):
            await at.troupe.complete(asked())
        answer = await at.troupe.complete(asked())
        assert (answer.http_requests, answer.maybe_billed) == (2, 1)
        assert trio.current_time() == KNOWN + 2
        await wait_all_tasks_blocked()
        assert at.stats.working == 0
        assert at.stats.streams_cut == 1
        await at.at_rest()


async def test_a_copy_that_fails_leaves_the_other_one_its_chance(autojump_clock):
    for lines in (
        [said("slow", 3), refusal(500, after=0.5)],
        [broken(RESET, after=2), said("slow", 2)],
        [refusal(401, after=2), said("slow", 2)],
    ):
        script = Script(*USUAL, *lines, Reply())
        async with requester(script, hedging=POLICY) as (ref, _):
            await warm(ref)
            start = trio.current_time()
            answer = await ref.ask(call())
            assert (answer.text, answer.http_requests) == ("slow", 2)
            assert trio.current_time() == start + 3
            assert answer.maybe_billed == (lines[0].error is RESET)


async def test_when_both_fail_the_call_is_tried_again_from_the_same_budget(autojump_clock):
    script = Script(*USUAL, refusal(500, after=2), refusal(500, after=0.5), Reply(after=0.1))
    policy = RetryPolicy(max_attempts=3, base_s=0.0)
    async with requester(script, hedging=POLICY, retry=policy) as (ref, _):
        await warm(ref)
        assert (await ref.ask(call())).http_requests == 3
        script.lines = [broken(RESET, after=5)]
        for _ in range(3):
            with pytest.raises(ConnectionFailed) as caught:
                await ref.ask(call())
            assert caught.value.attempts == 3, "L2"
            assert caught.value.billed == "maybe"


async def test_one_that_fails_before_it_is_late_is_a_usual_retry(autojump_clock):
    script = Script(*USUAL, refusal(500, after=0.5), Reply(after=0.5))
    async with requester(script, hedging=POLICY, retry=RetryPolicy(base_s=0)) as (ref, _):
        await warm(ref)
        assert (await ref.ask(call())).http_requests == 2
        assert (await hedges_of(ref)).hedges == 0


# ------------------------------------------------------------------ who is hedged


async def test_no_call_is_hedged_without_the_setting(autojump_clock):
    script = Script(*USUAL * 9, Reply(after=100))
    async with requester(script) as (ref, _):
        for _ in range(91):
            assert (await ref.ask(call())).http_requests == 1
        assert (await ref.ask(GetRequestStatistics())).hedges == ()
    assert len(script.sent) == 91


async def test_no_call_is_hedged_before_enough_latencies_are_known(autojump_clock):
    script = Script(*USUAL[1:], Reply(after=100), Reply())
    async with requester(script, hedging=POLICY) as (ref, _):
        for _ in range(KNOWN):
            assert (await ref.ask(call())).http_requests == 1
        assert (await hedges_of(ref)).after_s == 100


async def test_no_stream_is_hedged(autojump_clock):
    """Two copies would stream two different texts."""
    script = Script(*USUAL, Reply(after=100))
    async with requester(script, hedging=POLICY) as (ref, _):
        await warm(ref)
        async with ref.stream(Stream(call().request, CallContext("s"))) as items:
            *_, whole = [item async for item in items]
        assert whole.http_requests == 1


async def test_no_call_is_hedged_whose_response_the_provider_stores(autojump_clock):
    script = Script(*USUAL, Reply(after=100))
    message = call()
    message = attrs.evolve(
        message, request=attrs.evolve(message.request, extra_body={"store": True})
    )
    async with requester(script, hedging=POLICY) as (ref, _):
        await warm(ref)
        assert (await ref.ask(message)).http_requests == 1


@pytest.mark.parametrize("share", [0.0, 0.05, 0.2])
async def test_the_share_is_never_exceeded(autojump_clock, share):
    """All calls become slow at once: it is an outage, in which hedges would double the load."""
    script = Script(*USUAL, Reply(after=50))
    policy = HedgePolicy(min_calls=KNOWN, max_share=share, burst=4)
    async with requester(script, hedging=policy, concurrency=100) as (ref, _):
        await warm(ref)
        found = await outcomes(*asking(ref, *map(str, range(90))))
        extra = sum(answer.http_requests - 1 for answer in found)
        hedges = await hedges_of(ref)
    assert extra == hedges.hedges <= share * 100
    assert extra <= 4, "nor more at once than were saved up"
    assert len(script.sent) == 100 + extra
    assert (extra > 0) == (share > 0)


async def test_the_throttle_of_all_calls_pays_for_hedges(autojump_clock):
    script = Script(*USUAL, Reply(after=50))
    settings = {
        "hedging": HedgePolicy(min_calls=KNOWN, max_share=1, burst=100),
        "throttle": ThrottlePolicy(share=0, min_per_s=0, burst=3),
    }
    async with requester(script, concurrency=100, **settings) as (ref, _):
        await warm(ref)
        await outcomes(*asking(ref, *map(str, range(20))))
    assert len(script.sent) == KNOWN + 20 + 3


async def test_a_call_that_has_one_attempt_has_no_copies(autojump_clock):
    script = Script(*USUAL, Reply(after=50))
    async with requester(script, hedging=POLICY, retry=ONCE) as (ref, _):
        await warm(ref)
        assert (await ref.ask(call())).http_requests == 1
        assert (await hedges_of(ref)).hedges == 0, "and takes no share from the others"


async def test_an_open_breaker_lets_no_copy_through(autojump_clock):
    script = Script(
        *USUAL, by_prompt={"late": [said("late", 5)], "bad": [broken(REFUSED, after=0.5)]}
    )
    settings = {
        "hedging": POLICY,
        "breaker": BreakerPolicy(consecutive=1, pause_s=100, jitter=0),
        "retry": RetryPolicy(max_attempts=2, base_s=0.0),
    }
    async with requester(script, **settings) as (ref, _):
        await warm(ref)
        late, bad = await outcomes(*asking(ref, "late"), *asking(ref, "bad", timeout=20))
        assert (late.text, late.http_requests) == ("late", 1)
        assert isinstance(bad, CallFailed)
        ((_, now),) = (await ref.ask(GetRequestStatistics())).breakers
        assert now.under_way == 0


# ------------------------------------------------------------------ cancelled, and limited


@pytest.mark.parametrize("after", [0.5, 1.5, 2.5])
async def test_a_cancelled_call_takes_both_copies_with_it(autojump_clock, after):
    script = Script(*USUAL, STALL)
    settings = {"hedging": POLICY, "breaker": BreakerPolicy()}
    async with requester(script, concurrency=1, **settings) as (ref, _):
        await warm(ref)
        with pytest.raises(AskTimedOut):
            await ref.ask(call(), timeout=after)
        await wait_all_tasks_blocked()
        assert script.open == 0
        assert len(script.sent) == KNOWN + 1 + (after > 1)
        ((_, now),) = (await ref.ask(GetRequestStatistics())).breakers
        assert (now.under_way, now.state) == (0, "closed")
        script.lines = [Reply()]
        assert (await ref.ask(call())).text == "Hello"


class Permit(LoosePermit):
    """A permit of a limiter, which admits a copy after a delay or never."""

    def __init__(self, seconds=0.0, error=None):
        super().__init__()
        self.seconds = seconds
        self.error = error

    async def renew(self, *, delay, throttled, moves=None):
        self.asked.append((trio.current_time(), delay, throttled))
        await trio.sleep(self.seconds)
        if self.error is not None:
            raise self.error


@pytest.mark.parametrize(("seconds", "copies"), [(0.0, 2), (2.0, 2), (8.0, 1)])
async def test_a_copy_needs_a_permit_of_its_own(autojump_clock, seconds, copies):
    permit = Permit(seconds)
    script = Script(*USUAL, said("first", 6), said("second", 1), Reply())
    async with requester(script, hedging=POLICY) as (ref, _):
        await warm(ref)
        answer = await ref.ask(attrs.evolve(call(), permit=permit))
        await wait_all_tasks_blocked()
        assert script.open == 0
    assert permit.asked == [(KNOWN + 1, 0.0, None)]
    assert answer.http_requests == len(script.sent) - KNOWN == copies
    assert answer.text == ("second" if copies == 2 else "first")
    if copies == 2:
        assert script.times[-1] == KNOWN + 1 + seconds


async def test_a_copy_without_a_permit_is_not_sent(autojump_clock):
    permit = Permit(error=ActorStopped("the limiter has stopped"))
    script = Script(*USUAL, said("first", 6), said("second", 1))
    async with requester(script, hedging=POLICY) as (ref, _):
        await warm(ref)
        answer = await ref.ask(attrs.evolve(call(), permit=permit))
    assert (answer.text, answer.http_requests) == ("first", 1)
    assert len(permit.asked) == 1


async def test_a_permit_that_comes_as_the_call_ends_takes_no_place_at_the_breaker(autojump_clock):
    """A ticket that is not returned would count as a probe in flight for ever."""

    class Late(Permit):
        async def renew(self, *, delay, throttled, moves=None):
            with trio.CancelScope(shield=True):
                await trio.sleep(5)

    script = Script(*USUAL, said("first", 3), Reply())
    async with requester(script, hedging=POLICY, breaker=BreakerPolicy()) as (ref, _):
        await warm(ref)
        assert (await ref.ask(attrs.evolve(call(), permit=Late()))).http_requests == 1
        ((_, now),) = (await ref.ask(GetRequestStatistics())).breakers
        assert (now.under_way, now.begun) == (0, KNOWN + 1)


async def test_copies_keep_to_the_limits_of_the_provider(autojump_clock):
    """Each copy counts as a request of the minute, and the provider rejects none."""
    settings = {
        "hedging": HedgePolicy(min_calls=KNOWN, max_share=1, quantile=0.5),
        "limits": Limits(rpm=60, burst_s=1, in_flight=5),
        "provider": ProviderSettings(latency_s=(1.0, 9.0), rpm=60, burst_s=1),
    }
    answers = []

    async def one(troupe, number):
        answers.append(await troupe.complete(asked(f"Number {number}.")))

    async with house(**settings) as at:
        async with trio.open_nursery() as nursery:
            for number in range(60):
                nursery.start_soon(one, at.troupe, number)
        assert len(answers) == 60
        (hedges,) = (await at.troupe.request_statistics()).hedges
        assert at.stats.rejected == 0
        assert at.stats.requests == sum(answer.http_requests for answer in answers)
        assert at.stats.requests > 60
        assert hedges.hedges >= at.stats.requests - 60
        await at.at_rest()
