"""Circuit breakers and fallbacks of whole calls: which calls wait, move on, and pay."""

import itertools
import json
from math import inf

import attrs
import httpx
import pytest
import trio
from fakes import (
    MODEL,
    REFUSED,
    RESET,
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

from callsheet.actors import (
    AuthenticationFailed,
    BadRequest,
    BreakerPolicy,
    CallContext,
    CallFailed,
    Endpoint,
    GetRequestStatistics,
    HedgePolicy,
    ProviderUnavailable,
    QuotaExhausted,
    RetryPolicy,
    Stream,
    Target,
    ThrottlePolicy,
    Timeouts,
)
from callsheet.simulator.settings import ProviderSettings

SECOND = Target(Endpoint("http://second/v1", "sk-second-0123456789"), "second-model")
THIRD = Target(Endpoint("http://third/v1"))
TWO_FAILURES = BreakerPolicy(consecutive=2, pause_s=10, jitter=0)
QUICK = RetryPolicy(base_s=0.0)


class Hosts(httpx.AsyncBaseTransport):
    """Several providers, each with its own script."""

    def __init__(self, **scripts):
        self.scripts = scripts

    async def handle_async_request(self, request):
        return await self.scripts[request.url.host].handle_async_request(request)

    @property
    def requests(self):
        return [len(script.sent) for script in self.scripts.values()]

    def asked_for(self, host):
        return [json.loads(sent.body)["model"] for sent in self.scripts[host].sent]


def from_second(text="Hello from elsewhere"):
    return Script(Reply(body=completion_json(text, model="second-model")))


async def breakers_of(ref):
    return dict((await ref.ask(GetRequestStatistics())).breakers)


# ------------------------------------------------------------------ an outage parks (R10)


async def test_an_outage_parks_the_calls_and_they_succeed_when_it_is_over(autojump_clock):
    class Outage(Script):
        """Down for a minute and a half."""

        async def handle_async_request(self, request):
            self.lines = [refusal(503, after=0.1) if trio.current_time() < 90 else Reply()]
            return await super().handle_async_request(request)

    script = Outage()
    policy = BreakerPolicy(consecutive=5, pause_s=5)
    async with requester(script, breaker=policy, retry=RetryPolicy(max_attempts=12)) as (ref, at):
        before = at.snapshot().restarts_left
        found = await outcomes(*asking(ref, *map(str, range(10))))
        assert [answer.text for answer in found] == ["Hello"] * 10
        now = (await breakers_of(ref))["provider"]
        assert (now.state, now.under_way, now.is_probing) == ("closed", 0, False)
        assert now.opened >= 3, "and its probes failed"
        assert now.begun == len(script.sent)
        snapshot = at.snapshot()
        assert snapshot.restarts_left == before
        assert snapshot[ref.path].incarnation == 1
    down = [at for at in script.times if 2 < at < 90]
    assert len(down) <= 8, "one probe at a time, each later than the last"


async def test_one_probe_is_sent_and_the_others_wait_for_its_result(autojump_clock):
    script = Script(*[refusal(503)] * 4, Reply(after=7), Reply())
    async with requester(script, breaker=TWO_FAILURES, retry=QUICK) as (ref, _):
        async with trio.open_nursery() as nursery:
            for function in asking(ref, "a", "b", "c", "d"):
                nursery.start_soon(outcomes, function)
            await trio.sleep_until(5)
            shut = (await breakers_of(ref))["provider"]
            assert (shut.state, shut.opened) == ("open", 1)
            await trio.sleep_until(15)
            probing = (await breakers_of(ref))["provider"]
            assert (probing.state, probing.is_probing) == ("half_open", True)
            assert probing.next_at == inf
        now = (await breakers_of(ref))["provider"]
        assert (now.state, now.failed_probes, now.under_way) == ("closed", 0, 0)
    early = [at for at in script.times if at < 5]
    probe, *others = [at for at in script.times if at > 5]
    assert early == [0] * 4
    assert probe == 11
    assert others == [18] * 3


async def test_the_next_call_probes_when_the_first_is_cancelled(autojump_clock):
    script = Script(refusal(503), refusal(503), Reply(after=1000), Reply())
    policies = {"breaker": TWO_FAILURES, "retry": QUICK, "timeouts": Timeouts(first_byte_s=300)}
    async with requester(script, **policies) as (ref, _):
        await outcomes(*asking(ref, "a", timeout=4))
        found = await outcomes(*asking(ref, "impatient", timeout=20), *asking(ref, "patient"))
        assert isinstance(found[0], Exception)
        assert found[1].text == "Hello"
        assert (await breakers_of(ref))["provider"].state == "closed"
    assert len(script.sent) == 4


@pytest.mark.parametrize("line", [refusal(429), refusal(400), refusal(401), Reply(body="<html>")])
async def test_what_is_no_outage_opens_nothing(autojump_clock, line):
    async with requester(Script(line), breaker=TWO_FAILURES, retry=QUICK) as (ref, _):
        await outcomes(*asking(ref, *"abcde"))
        assert (await breakers_of(ref))["provider"].state == "closed"


async def test_a_breaker_that_stays_open_beyond_the_deadline_fails_the_call_at_once(
    autojump_clock,
):
    policy = attrs.evolve(TWO_FAILURES, pause_s=60.0)
    async with requester(Script(broken(REFUSED)), breaker=policy, retry=QUICK) as (ref, _):
        first = (await outcomes(*asking(ref, "a", timeout=30)))[0]
        assert isinstance(first, CallFailed)
        assert "stays open beyond the deadline" in str(first)
        at = trio.current_time()
        assert at == 2.0
        second = (await outcomes(*asking(ref, "b", timeout=30)))[0]
        assert isinstance(second, ProviderUnavailable)
        assert "nothing was sent" in str(second)
        assert (second.attempts, second.billed) == (0, "no")
        assert trio.current_time() == at


async def test_without_a_policy_it_never_opens(autojump_clock):
    async with requester(Script(broken(REFUSED, after=0)), retry=QUICK) as (ref, _):
        await outcomes(*asking(ref, *map(str, range(30))))
        now = (await breakers_of(ref))["provider"]
        assert (now.state, now.failed) == ("closed", 150)


async def test_a_troupe_shows_its_breakers_and_gets_over_an_outage(autojump_clock):
    async with house(*["503"] * 12, breaker=TWO_FAILURES, retry=RetryPolicy(max_attempts=15)) as at:
        answer = await at.troupe.complete(asked())
        assert answer.text
        ((host, now),) = (await at.troupe.request_statistics()).breakers
        assert (host, now.state) == ("provider", "closed")
        assert now.opened == 11, "each probe but the last one failed"
        await at.at_rest()


# ------------------------------------------------------------------ another target


async def test_an_open_breaker_sends_calls_to_the_fallback_at_once(autojump_clock):
    hosts = Hosts(provider=Script(refusal(503)), second=from_second())
    settings = {"fallbacks": [SECOND], "breaker": TWO_FAILURES, "retry": QUICK}
    async with requester(hosts, **settings) as (ref, _):
        first = await ref.ask(call())
        assert trio.current_time() == 3.0, "two failures, and one answer"
        second = await ref.ask(call())
        assert trio.current_time() == 4.0
        now = await breakers_of(ref)
        assert (now["provider"].state, now["second"].state) == ("open", "closed")
    assert (first.http_requests, second.http_requests) == (3, 1)
    assert first.host == second.host == "second"
    assert hosts.requests == [2, 2]


async def test_a_breaker_that_opens_during_a_pause_ends_no_call_in_it(autojump_clock):
    """The call moves to the target that responds when its pause is over."""
    hosts = Hosts(
        provider=Script(
            by_prompt={
                "paused": [refusal(503, headers={"retry-after": "5"}, after=1)],
                "other": [refusal(503, after=2)],
            }
        ),
        second=from_second(),
    )
    settings = {"fallbacks": [SECOND], "breaker": TWO_FAILURES, "retry": QUICK}
    async with requester(hosts, **settings) as (ref, _):
        found = await outcomes(*asking(ref, "paused", "other"))
    assert [answer.host for answer in found] == ["second", "second"]
    assert trio.current_time() < 7.5, "no call waits for the breaker"
    assert hosts.requests == [2, 2]


async def test_the_fallback_has_its_own_model_key_and_price(autojump_clock):
    hosts = Hosts(provider=Script(refusal(500, after=0)), second=from_second())
    async with requester(hosts, fallbacks=[SECOND], retry=QUICK, api_key="sk-first") as (ref, _):
        answer = await ref.ask(call())
    assert (answer.host, answer.model) == ("second", "second-model")
    assert answer.cost_usd is None
    assert set(hosts.asked_for("provider")) == {MODEL}
    assert hosts.asked_for("second") == ["second-model"]
    keys = [sent.headers["authorization"] for sent in hosts.scripts["provider"].sent]
    assert set(keys) == {"Bearer sk-first"}
    (sent,) = hosts.scripts["second"].sent
    assert sent.headers["authorization"] == "Bearer sk-second-0123456789"
    assert sent.headers["host"] == "second"


FALLS_BACK = {
    "retries used up": [refusal(500)],
    "refused connections": [broken(REFUSED)],
    "resets": [broken(RESET)],
    "401": [refusal(401, "Incorrect API key.")],
    "no credit": [refusal(429, "No credit.", kind="insufficient_quota")],
    "a pause beyond the deadline": [refusal(429, headers={"retry-after": "100"})],
    "a pause beyond all bounds": [refusal(503, headers={"retry-after": "100000"})],
    "nonsense": [Reply(body="<html>")],
}


@pytest.mark.parametrize("lines", FALLS_BACK.values(), ids=FALLS_BACK)
async def test_what_the_target_cannot_serve_the_next_one_does(autojump_clock, lines):
    events = []
    hosts = Hosts(provider=Script(*lines), second=from_second())
    settings = {"fallbacks": [SECOND], "retry": QUICK, "observer": events.append}
    async with requester(hosts, **settings) as (ref, _):
        answer = await ref.ask(call(), timeout=60)
    assert answer.host == "second"
    assert answer.http_requests == sum(hosts.requests) <= 5
    assert hosts.requests[1] == 1
    stages = [event.stage for event in events]
    assert stages == ["sent", "retrying"] * (len(stages) // 2) + ["sent"]


@pytest.mark.parametrize(
    "line",
    [refusal(400), refusal(404), refusal(413), refusal(422), refusal(400, code="content_filter")],
)
async def test_an_error_of_the_request_itself_causes_no_fallback(autojump_clock, line):
    hosts = Hosts(provider=Script(line), second=from_second())
    async with requester(hosts, fallbacks=[SECOND]) as (ref, _):
        with pytest.raises(BadRequest):
            await ref.ask(call())
    assert hosts.requests == [1, 0]


async def test_the_error_is_that_of_the_last_target(autojump_clock):
    hosts = Hosts(provider=Script(refusal(500)), second=Script(refusal(401, "No such key.")))
    async with requester(hosts, fallbacks=[SECOND], retry=QUICK) as (ref, _):
        with pytest.raises(AuthenticationFailed, match="second returned 401") as caught:
            await ref.ask(call())
    assert caught.value.attempts == sum(hosts.requests) == 5


@pytest.mark.parametrize("attempts", [1, 2, 3, 5])
@pytest.mark.parametrize("hedging", [None, HedgePolicy(max_share=1, min_calls=1)])
async def test_one_budget_pays_for_all_targets(autojump_clock, attempts, hedging):
    """L2: however many targets there are, a call never costs more requests than it may."""
    hosts = Hosts(
        provider=Script(refusal(500)),
        second=Script(refusal(503)),
        third=Script(broken(RESET)),
    )
    settings = {
        "fallbacks": [SECOND, THIRD],
        "retry": RetryPolicy(max_attempts=attempts, base_s=0.0),
        "hedging": hedging,
    }
    async with requester(hosts, **settings) as (ref, _):
        for n in range(1, 4):
            with pytest.raises(CallFailed) as caught:
                await ref.ask(call())
            assert caught.value.attempts == attempts
            assert sum(hosts.requests) == attempts * n
    first, *behind = hosts.requests
    assert behind == [3 * (attempts > 1), 3 * (attempts > 2)], "one is kept for each"
    assert first == 3 * max(1, attempts - 2)


async def test_what_all_calls_together_may_spend_holds_for_fallbacks_too(autojump_clock):
    hosts = Hosts(provider=Script(refusal(401, after=0)), second=from_second())
    throttle = ThrottlePolicy(share=0, min_per_s=0, burst=3)
    async with requester(hosts, fallbacks=[SECOND], throttle=throttle) as (ref, _):
        found = await outcomes(*asking(ref, *"abcdefgh"))
        now = (await ref.ask(GetRequestStatistics())).throttle
    assert sum(not isinstance(outcome, Exception) for outcome in found) == 3
    assert hosts.requests == [8, 3]
    assert (now.calls, now.taken, now.refused) == (8, 3, 5)


async def test_an_answer_that_the_provider_keeps_is_not_asked_for_elsewhere(autojump_clock):
    """The provider may store it and charge for it, so only a certain refusal moves the call on."""

    async def hosts_after(line):
        hosts = Hosts(provider=Script(line), second=from_second())
        message = call()
        message = attrs.evolve(
            message, request=attrs.evolve(message.request, extra_body={"store": 1})
        )
        async with requester(hosts, fallbacks=[SECOND], retry=QUICK) as (ref, _):
            await outcomes(lambda: ref.ask(message))
        return hosts.requests

    assert await hosts_after(broken(RESET)) == [1, 0]
    assert await hosts_after(broken(REFUSED)) == [4, 1]


async def test_a_stream_that_has_begun_causes_no_fallback(autojump_clock):
    piece = f"data: {json.dumps({'choices': [{'index': 0, 'delta': {'content': 'He'}}]})}\n\n"
    cut = Reply(body=piece, headers={"content-type": "text/event-stream"})
    for first, requests in ((cut, [1, 0]), (refusal(401), [1, 1])):
        hosts = Hosts(provider=Script(first), second=from_second())
        async with requester(hosts, fallbacks=[SECOND], retry=QUICK) as (ref, _):
            try:
                async with ref.stream(Stream(call().request, CallContext("s"))) as items:
                    last = [item async for item in items][-1]
            except CallFailed:
                last = None
        assert hosts.requests == requests
        assert (last is None) == (first is cut)


async def test_each_kind_of_failure_with_no_target_left(autojump_clock):
    """All targets are down: the call fails with the error that its time is over."""
    hosts = Hosts(provider=Script(refusal(503)), second=Script(refusal(503)))
    policy = BreakerPolicy(consecutive=1, pause_s=100, jitter=0)
    async with requester(hosts, fallbacks=[SECOND], breaker=policy, retry=QUICK) as (ref, _):
        found = await outcomes(*asking(ref, "a", timeout=50), *asking(ref, "b", timeout=50))
        assert all(isinstance(outcome, CallFailed) for outcome in found)
        assert all("breaker stays open" in str(outcome) for outcome in found)
        states = [breaker.state for breaker in (await breakers_of(ref)).values()]
        assert states == ["open", "open"]
    assert sum(hosts.requests) <= 4


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("401", AuthenticationFailed),
        ("quota", QuotaExhausted),
        ("503; retry-after=50", ProviderUnavailable),
    ],
)
async def test_a_troupe_with_two_providers(autojump_clock, kind, error):
    """Every request to the first is refused; those to the second are worked on."""
    faults = itertools.cycle([kind, "ok"])
    second = Target(Endpoint("http://second/v1"))
    async with house(*itertools.islice(faults, 10), fallbacks=[second]) as at:
        answers = [await at.troupe.complete(asked(), timeout=20) for _ in range(5)]
        assert {answer.host for answer in answers} == {"second"}
        assert {answer.http_requests for answer in answers} == {2}
        assert [sent.host for sent in at.sent] == ["provider", "second"] * 5
        await at.at_rest()
    async with house(then=kind) as at:
        with pytest.raises(error):
            await at.troupe.complete(asked(), timeout=20)
        await at.at_rest()


async def test_a_silent_provider_is_left_for_one_that_answers(autojump_clock):
    settings = {
        "timeouts": Timeouts(first_byte_s=5),
        "retry": RetryPolicy(max_attempts=3, base_s=0.0),
        "fallbacks": [Target(Endpoint("http://second/v1"))],
        "provider": ProviderSettings(latency_s=(1.0, 1.0)),
    }
    async with house("stall", "stall", **settings) as at:
        answer = await at.troupe.complete(asked())
        assert (answer.host, answer.http_requests, answer.maybe_billed) == ("second", 3, 2)
        assert trio.current_time() == 11.0
        await at.at_rest()
