"""The last stage: what goes over HTTP, what is tried again, and what the asker gets in the end."""

import gc
import gzip
import itertools
import json
import traceback
from decimal import Decimal

import attrs
import httpx
import pytest
import trio
from fakes import (
    MODEL,
    REFUSED,
    RESET,
    STALL,
    TRUNCATED,
    URL,
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

from callsheet.actors import (
    AuthenticationFailed,
    BadRequest,
    CallContext,
    CallFailed,
    Complete,
    ConnectionFailed,
    MalformedAnswer,
    Price,
    PriceBook,
    ProviderUnavailable,
    QuotaExhausted,
    RateLimited,
    Request,
    RetryPolicy,
    Throttled,
    Timeouts,
    Usage,
)
from callsheet.runtime import ActorCrashed, AskTimedOut, Verdict
from callsheet.simulator.app import Provider
from callsheet.simulator.faults import Faults
from callsheet.simulator.inprocess import ProviderTransport
from callsheet.simulator.settings import ProviderSettings

KEY = "sk-secret-0123456789"
TOO_LARGE = "Request too large for gpt-4o in organization org on tokens per min (TPM)"


# ------------------------------------------------------------------ a call that goes well


async def test_an_answer_with_what_it_took(autojump_clock):
    script = Script(Reply(body=completion_json("Hi", tokens=(1000, 500)), after=1.5))
    async with requester(script, api_key=KEY) as (ref, _):
        answer = await ref.ask(call("Hello", system="Be brief.", max_tokens=9, temperature=0.5))
    assert answer.text == "Hi"
    assert (answer.model, answer.finish_reason) == (MODEL, "stop")
    assert answer.usage == Usage(1000, 500)
    assert answer.cost_usd == Decimal("0.0075"), "2.50 and 10.00 USD per million tokens"
    assert (answer.http_requests, answer.seconds) == (1, 1.5)
    (sent,) = script.sent
    assert sent.url == f"{URL}/chat/completions"
    assert sent.headers["authorization"] == f"Bearer {KEY}"
    assert sent.headers["content-type"] == "application/json"
    assert json.loads(sent.body) == {
        "model": MODEL,
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hello"},
        ],
        "max_tokens": 9,
        "temperature": 0.5,
        # Whoever wants only the whole gets it piece by piece all the same.
        "stream": True,
        "stream_options": {"include_usage": True},
    }


async def test_without_a_key_none_is_sent(autojump_clock):
    script = Script()
    async with requester(script) as (ref, _):
        await ref.ask(call())
    assert "authorization" not in script.sent[0].headers


async def test_text_in_any_language_goes_out_and_comes_back_whole(autojump_clock):
    words = "Über 世界 🎭 \u2028 \x00"
    script = Script(Reply(body=json.dumps(completion_json(words), ensure_ascii=False), pieces=7))
    async with requester(script) as (ref, _):
        assert (await ref.ask(call(words))).text == words
    assert script.sent[0].prompt == words


async def test_a_compressed_answer_is_read(autojump_clock):
    body = gzip.compress(json.dumps(completion_json("Hi")).encode())
    script = Script(Reply(body=body, headers={"content-encoding": "gzip"}, pieces=5, gap=1))
    async with requester(script) as (ref, _):
        answer = await ref.ask(call())
    assert (answer.text, answer.seconds) == ("Hi", 5.0)


async def test_so_many_calls_at_a_time(autojump_clock):
    script = Script()
    async with requester(script, concurrency=3) as (ref, _):
        await outcomes(*asking(ref, *map(str, range(7))))
    assert script.times == [0, 0, 0, 1, 1, 1, 2]


async def test_the_connections_are_closed_when_it_ends(autojump_clock):
    script = Script()
    async with requester(script) as (ref, _):
        await ref.ask(call())
        assert script.closed == 0
    assert script.closed == 1


# ------------------------------------------------------------------ what it cost


@pytest.mark.parametrize(
    ("asked", "answered", "cost"),
    [
        ("gpt-4o", "gpt-4o-2024-08-06", Decimal("0.0075")),
        ("gpt-4o", None, Decimal("0.0075")),
        ("gpt-4o", "deployment-7", Decimal("0.0075")),
        ("my-model", "my-model", None),
        ("my-model", None, None),
    ],
)
async def test_the_price_is_that_of_the_model_that_answered_and_null_if_unknown(
    autojump_clock, asked, answered, cost
):
    script = Script(Reply(body=completion_json(model=answered, tokens=(1000, 500))))
    async with requester(script) as (ref, _):
        answer = await ref.ask(Complete(Request.of("Hi", model=asked), CallContext("Hi")))
    assert answer.cost_usd == cost
    assert answer.model == (answered or asked)


async def test_prices_of_ones_own(autojump_clock):
    prices = PriceBook({"mine": Price(Decimal(1), Decimal(2))})
    script = Script(Reply(body=completion_json(model="mine", tokens=(10, 5))))
    async with requester(script, prices=prices) as (ref, _):
        assert (await ref.ask(call())).cost_usd == Decimal("0.00002")


@pytest.mark.parametrize("usage", [None, {}, []])
async def test_a_call_whose_tokens_are_not_reported_has_a_cost_that_nobody_knows(
    autojump_clock, usage
):
    """It was not free: the cost is null, and never 0."""
    script = Script(Reply(body=completion_json(usage=usage)))
    async with requester(script) as (ref, _):
        answer = await ref.ask(call())
    assert (answer.text, answer.usage) == ("Hello", Usage())
    assert answer.cost_usd is None


# ------------------------------------------------------------------ what is tried again


TRANSIENT = {
    "429": refusal(429, "Rate limit reached.", kind="tokens", code="rate_limit_exceeded"),
    "500": refusal(500),
    "502 in HTML": Reply(502, "<html>Bad gateway</html>", {"content-type": "text/html"}),
    "503": refusal(503, "Overloaded."),
    "408": refusal(408),
    "409": refusal(409),
    "refused": broken(REFUSED, after=0.0),
    "connect timeout": broken(httpx.ConnectTimeout("timed out")),
    "reset": broken(RESET),
    "truncated": Reply(then=TRUNCATED, pieces=2),
    "HTML": Reply(body="<!DOCTYPE html><html></html>", headers={"content-type": "text/html"}),
    "half of the JSON": Reply(body=b'{"choices": [{"mess'),
    "not UTF-8": Reply(body=b'{"choices": "\xff\xfe"}'),
    "nothing": Reply(body=b""),
    "an error": Reply(body={"error": {"message": "Upstream failed.", "code": 502}}),
    "an error that is text": Reply(body={"error": "Upstream failed."}),
    "no choices": Reply(body=completion_json(choices=[])),
    "choices null": Reply(body=completion_json() | {"choices": None}),
    "a list": Reply(body=[completion_json()]),
}


@pytest.mark.parametrize("line", TRANSIENT.values(), ids=TRANSIENT)
async def test_what_may_be_gone_is_tried_again_with_the_same_bytes(autojump_clock, line):
    script = Script(line, line, Reply())
    async with requester(script) as (ref, _):
        answer = await ref.ask(call("Übrigens", max_tokens=7))
    assert (answer.text, answer.http_requests) == ("Hello", 3)
    assert len({sent.body for sent in script.sent}) == 1
    assert len({tuple(sent.headers.raw) for sent in script.sent}) == 1
    assert answer.seconds == 1.0, "of the attempt that answered"
    assert script.open == 0


async def test_a_body_that_is_not_compressed_as_it_says_leaves_nothing_suspended(autojump_clock):
    """Trio reports an async generator of httpx's that is left for the garbage collector."""
    script = Script(Reply(headers={"content-encoding": "gzip"}), Reply())
    async with requester(script) as (ref, _):
        answer = await ref.ask(call())
        assert answer.http_requests == 2
        gc.collect()


FINAL = {
    "400": (refusal(400, "Bad."), BadRequest),
    "401": (refusal(401, "Incorrect API key."), AuthenticationFailed),
    "403": (refusal(403, "Not here."), AuthenticationFailed),
    "404": (refusal(404, "No such model."), BadRequest),
    "422": (refusal(422), BadRequest),
    "no credit": (
        refusal(429, "No credit.", kind="insufficient_quota", headers={"retry-after": "1"}),
        QuotaExhausted,
    ),
    "no credit, by code": (
        refusal(429, "No credit.", kind="x", code="insufficient_quota"),
        QuotaExhausted,
    ),
    "too large": (
        refusal(429, TOO_LARGE, kind="tokens", code="rate_limit_exceeded"),
        BadRequest,
    ),
    "redirect": (Reply(302, b"", {"location": "http://elsewhere/v1"}), BadRequest),
    "unsupported": (broken(httpx.UnsupportedProtocol("no such protocol")), ConnectionFailed),
}


@pytest.mark.parametrize(("line", "kind"), FINAL.values(), ids=FINAL)
async def test_what_would_only_be_refused_again_is_one_request(autojump_clock, line, kind):
    script = Script(line)
    async with requester(script) as (ref, runtime):
        with pytest.raises(CallFailed) as caught:
            await ref.ask(call())
        assert runtime.snapshot()[ref.path].incarnation == 1
    assert type(caught.value) is kind
    assert caught.value.attempts == len(script.sent) == 1
    assert caught.value.billed == "no"


async def test_a_redirect_is_reported_with_where_it_leads(autojump_clock):
    """It is not followed: the key is not for whoever is there."""
    script = Script(Reply(301, b"", {"location": "https://provider/v1/chat/completions"}))
    async with requester(script, api_key=KEY) as (ref, _):
        with pytest.raises(BadRequest, match="301") as caught:
            await ref.ask(call())
    assert [sent.url for sent in script.sent] == [f"{URL}/chat/completions"]
    assert "https://provider/v1" in str(caught.value)


@pytest.mark.parametrize(
    ("line", "kind", "billed", "words"),
    [
        (refusal(429, "Slow down."), RateLimited, "no", "Slow down."),
        (refusal(503, "Overloaded."), ProviderUnavailable, "no", "Overloaded."),
        (broken(REFUSED), ConnectionFailed, "no", "cannot connect to provider"),
        (broken(RESET), ConnectionFailed, "maybe", "broke off"),
        (Reply(then=TRUNCATED), ConnectionFailed, "maybe", "broke off"),
        (Reply(body="<html>"), MalformedAnswer, "maybe", "HTML"),
        (Reply(body=b""), MalformedAnswer, "maybe", "empty body"),
        (Reply(body=b'{"choi'), MalformedAnswer, "maybe", "not whole JSON"),
        (Reply(body={"choices": []}), MalformedAnswer, "maybe", 'no "choices"'),
        (Reply(body={"error": "Ouch."}), ProviderUnavailable, "maybe", "Ouch."),
    ],
)
async def test_when_the_budget_is_used_up_the_last_error_is_told(
    autojump_clock, line, kind, billed, words
):
    script = Script(line)
    async with requester(script, retry=RetryPolicy(max_attempts=3)) as (ref, runtime):
        with pytest.raises(CallFailed, match=words) as caught:
            await ref.ask(call())
        assert runtime.snapshot()[ref.path].counts.failed == 1
        assert runtime.snapshot()[ref.path].incarnation == 1
    error = caught.value
    assert type(error) is kind
    assert (error.attempts, error.billed) == (3, billed)
    assert error.status == (None if line.status == 200 else line.status)
    assert len(script.sent) == 3
    assert "provider" in str(error), "it says who"


@pytest.mark.parametrize("last", [refusal(401), refusal(500), broken(REFUSED)])
async def test_a_call_of_which_any_attempt_may_have_been_billed_may_have_been_billed(
    autojump_clock, last
):
    """L3: that a later attempt was refused does not give the money of the first one back."""
    script = Script(broken(RESET), last)
    async with requester(script, retry=RetryPolicy(max_attempts=2)) as (ref, _):
        with pytest.raises(CallFailed) as caught:
            await ref.ask(call())
    assert caught.value.billed == "maybe"


async def test_an_error_that_says_nothing_is_not_said_to_be_broken_json(autojump_clock):
    script = Script(Reply(400, {"detail": "Not found"}, {"content-type": "application/json"}))
    async with requester(script) as (ref, _):
        with pytest.raises(BadRequest) as caught:
            await ref.ask(call())
    assert "not whole JSON" not in str(caught.value)


async def test_a_long_error_is_cut_and_put_on_one_line(autojump_clock):
    script = Script(refusal(400, "line\n" * 10_000))
    async with requester(script) as (ref, _):
        with pytest.raises(BadRequest) as caught:
            await ref.ask(call())
    assert len(str(caught.value)) < 500
    assert "\n" not in str(caught.value)


# ------------------------------------------------------------------ when it is tried again


async def test_pauses_grow_with_full_jitter_and_are_the_same_every_time(autojump_clock):
    async def gaps(seed):
        script = Script(refusal(500, after=0.0))
        policy = RetryPolicy(max_attempts=6, base_s=1.0, cap_s=4.0)
        async with requester(script, retry=policy, seed=seed) as (ref, _):
            await outcomes(*asking(ref, "Hi"))
        return [after - before for before, after in itertools.pairwise(script.times)]

    found = await gaps("one")
    for gap, longest in zip(found, (1, 2, 4, 4, 4), strict=True):
        assert 0 <= gap <= longest
    assert await gaps("one") == pytest.approx(found), "R13"
    assert await gaps("two") != pytest.approx(found)


@pytest.mark.parametrize(
    ("headers", "message", "least"),
    [
        ({"retry-after": "20"}, "", 20),
        ({"retry-after-ms": "2500", "retry-after": "20"}, "", 2.5),
        ({}, "Please try again in 7.5s.", 7.5),
        (
            {
                "retry-after": "Thu, 01 Jan 2026 00:00:40 GMT",
                "date": "Thu, 01 Jan 2026 00:00:00 GMT",
            },
            "",
            40,
        ),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
async def test_what_the_provider_asks_for_is_a_minimum(
    autojump_clock, status, headers, message, least
):
    script = Script(refusal(status, message, headers=headers, after=0.0), Reply())
    async with requester(script) as (ref, _):
        await ref.ask(call())
    assert least <= script.times[1] <= least + 0.5


async def test_a_provider_that_asks_for_too_much_fails_the_call_now(autojump_clock):
    script = Script(refusal(429, "Tomorrow.", headers={"retry-after": "411480"}))
    async with requester(script) as (ref, _):
        with pytest.raises(RateLimited, match="Tomorrow"):
            await ref.ask(call())
    assert trio.current_time() == 1.0
    assert len(script.sent) == 1


async def test_a_pause_longer_than_the_deadline_fails_now_and_says_so(autojump_clock):
    """L1: fail at once with the reason, rather than then without one."""
    script = Script(refusal(429, "Slow down.", headers={"retry-after": "60"}))
    async with requester(script) as (ref, _):
        with pytest.raises(
            RateLimited, match=r"Slow down\.; the deadline leaves no time"
        ) as caught:
            await ref.ask(call(), timeout=30)
        assert trio.current_time() == 1.0
    assert caught.value.attempts == 1
    assert caught.value.status == 429


async def test_the_pause_is_handed_to_the_permit_if_there_is_one(autojump_clock):
    class Permit(LoosePermit):
        async def renew(self, *, delay, throttled):
            self.asked.append((delay, throttled))
            await trio.sleep(100)

    permit = Permit()
    script = Script(
        refusal(429, headers={"retry-after": "9"}), refusal(503), broken(RESET), Reply()
    )
    async with requester(script) as (ref, _):
        await ref.ask(attrs.evolve(call(), permit=permit))
    assert [throttled for _, throttled in permit.asked] == [Throttled("too_fast"), None, None]
    assert permit.uses == 4
    assert [usage.total_tokens for usage, *_ in permit.settled] == [15]
    assert permit.asked[0][0] >= 9
    assert script.times == [0, 101, 202, 303], "the permit decides when, nobody sleeps twice"


# ------------------------------------------------------------------ time


def slow(**settings):
    return Provider(
        ProviderSettings(latency_s=(1.0, 1.0), faults=Faults({"slow": 1.0}, **settings))
    )


async def test_the_total_deadline_is_kept_against_a_body_that_trickles_for_ever(autojump_clock):
    """L1: each piece comes within the read timeout, the whole never would."""
    provider = slow(slow_gap_s=250)
    async with ProviderTransport(provider) as transport, requester(transport) as (ref, _):
        with pytest.raises(AskTimedOut) as caught:
            await ref.ask(call(), timeout=600)
        assert trio.current_time() == 600
        await trio.testing.wait_all_tasks_blocked()
        assert provider.stats.cancelled == 1, "and the connection is closed"
    assert caught.value.verdict is Verdict.MAY_HAVE_RUN


async def test_a_body_that_trickles_is_waited_for_if_there_is_time(autojump_clock):
    provider = slow(slow_gap_s=250)
    async with ProviderTransport(provider) as transport, requester(transport) as (ref, _):
        answer = await ref.ask(call())
    assert answer.seconds > 500
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
async def test_cancelling_the_asker_closes_the_connection_at_once(autojump_clock, line):
    script = Script(line, Reply())
    async with requester(script, concurrency=1) as (ref, runtime):
        with trio.move_on_after(7):
            await ref.ask(call())
        await trio.testing.wait_all_tasks_blocked()
        assert script.sent[0].ended_at == 7
        assert runtime.snapshot()[ref.path].counts.cancelled == 1
        assert (await ref.ask(call("next"))).text == "Hello"
    assert script.times == [0, 7]


async def test_cancelling_the_asker_ends_a_pause_too(autojump_clock):
    script = Script(refusal(503, headers={"retry-after": "60"}))
    async with requester(script) as (ref, runtime):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ref.ask, call())
            await trio.sleep(7)
            nursery.cancel_scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert runtime.snapshot()[ref.path].in_progress == ()
        await trio.sleep(1000)
    assert len(script.sent) == 1, "nothing is sent for somebody who has gone"


async def test_what_is_cancelled_while_it_waits_for_its_turn_is_never_sent(autojump_clock):
    script = Script(Reply(after=10))
    async with requester(script, concurrency=1) as (ref, _):
        await outcomes(*asking(ref, "first"), *asking(ref, "gone", timeout=5))
    assert [sent.prompt for sent in script.sent] == ["first"]


# ------------------------------------------------------------------ nothing brings it down


NONSENSE = {
    "deep": b"[" * 200_000,
    "deep, and whole": b"[" * 200_000 + b"]" * 200_000,
    "a number of tokens beyond all bounds": json.dumps(completion_json())
    .replace('"prompt_tokens": 10', '"prompt_tokens": 1e999')
    .encode(),
    "an endless number": b'{"choices": ' + b"9" * 10_000 + b"}",
    "null": b"null",
}


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize("body", NONSENSE.values(), ids=NONSENSE)
async def test_nonsense_for_one_call_costs_no_other_call_anything(autojump_clock, body, status):
    """What a provider sends is never a bug of the actor's, so it crashes nothing (R8)."""
    script = Script(
        by_prompt={"odd": [Reply(status, body, after=0.5)], "good": [Reply(after=20.0)]}
    )
    async with requester(script, retry=RetryPolicy(max_attempts=1)) as (ref, runtime):
        good, odd = await outcomes(*asking(ref, "good", "odd"))
        assert getattr(good, "text", good) == "Hello"
        assert runtime.snapshot()[ref.path].incarnation == 1
    assert isinstance(odd, CallFailed) or odd.text == "Hello"


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        (
            {
                "retry-after": "Thu, 01 Jan 2026 00:00:00 +99999999999999999999",
                "date": "Thu, 01 Jan 2026 00:00:00 GMT",
            },
            "",
        ),
        ({}, "PLEASE TRY AGAIN IN 5S"),
        ({"retry-after": "9" * 400}, ""),
    ],
)
async def test_an_odd_way_of_asking_to_wait_costs_no_other_call_anything(
    autojump_clock, headers, message
):
    script = Script(
        by_prompt={
            "odd": [refusal(503, message, headers=headers), Reply()],
            "good": [Reply(after=20.0)],
        }
    )
    async with requester(script) as (ref, runtime):
        good, _ = await outcomes(*asking(ref, "good", "odd"))
        assert getattr(good, "text", good) == "Hello"
        assert runtime.snapshot()[ref.path].incarnation == 1


async def test_a_prompt_that_no_encoding_can_write_costs_no_other_call_anything(autojump_clock):
    """An argument of a shell that is not UTF-8 comes into Python like this."""
    script = Script(Reply(after=5))
    async with requester(script) as (ref, runtime):
        good, odd = await outcomes(*asking(ref, "good"), lambda: ref.ask(call("caf\udce9")))
        assert getattr(good, "text", good) == "Hello"
        assert not isinstance(odd, ActorCrashed)
        assert runtime.snapshot()[ref.path].incarnation == 1


async def test_content_null_is_an_answer_without_text(autojump_clock):
    body = completion_json(None)
    async with requester(Script(Reply(body=body))) as (ref, _):
        answer = await ref.ask(call())
    assert answer.text == ""
    assert answer.usage == Usage(10, 5)


@pytest.mark.parametrize("stage", ["sent", "retrying"])
async def test_an_observer_that_raises_is_a_bug_and_the_actor_comes_back(autojump_clock, stage):
    """R8: whoever asked is told so, and the next call works."""

    def observer(event):
        if event.stage == stage and event.context.call == "watched":
            raise ZeroDivisionError("bug")

    async with requester(Script(refusal(500), Reply()), observer=observer) as (ref, runtime):
        with pytest.raises(ActorCrashed, match="ZeroDivisionError"):
            await ref.ask(call("watched"))
        assert (await ref.ask(call("next"))).text == "Hello"
        assert runtime.snapshot()[ref.path].incarnation == 2


async def test_events_tell_of_every_attempt(autojump_clock):
    events = []
    script = Script(refusal(503, "Busy.", headers={"retry-after": "3"}), Reply())
    async with requester(script, observer=events.append) as (ref, _):
        await ref.ask(call())
    assert [(event.stage, event.attempt) for event in events] == [
        ("sent", 1),
        ("retrying", 1),
        ("sent", 2),
    ]
    retrying = events[1]
    assert "Busy." in retrying.error
    assert events[2].at - retrying.at == pytest.approx(retrying.delay)


# ------------------------------------------------------------------ the key (L8)


LEAKS = {
    "quoted": refusal(401, f"Incorrect API key provided: {KEY}."),
    "quoted later": refusal(400, "x" * 290 + KEY),
    "as a text": Reply(400, {"error": KEY}),
    "with 200": Reply(body={"error": {"message": f"What is {KEY}?"}}),
    "in all": refusal(500, KEY, kind=KEY, code=KEY, headers={"x-key": KEY, "retry-after": KEY}),
    "in HTML": Reply(500, f"<html>{KEY}</html>", {"content-type": f"text/html; {KEY}"}),
    "as a type": Reply(500, "No.", {"content-type": f"text/{KEY}"}),
    "in a redirect": Reply(302, b"", {"location": f"http://elsewhere/{KEY}"}),
    "in no completion": Reply(body={KEY: KEY}),
    "by the network": broken(httpx.ReadError(f"could not send {KEY}")),
    "by the connection": broken(httpx.ConnectError(f"could not send {KEY}")),
    "by the proxy": broken(httpx.ProxyError(f"could not send {KEY}")),
}


@pytest.mark.parametrize("line", LEAKS.values(), ids=LEAKS)
async def test_the_key_is_in_nothing_that_is_told(autojump_clock, log, line):
    events = []
    script = Script(line)
    policy = RetryPolicy(max_attempts=2)
    settings = {"api_key": KEY, "retry": policy, "observer": events.append}
    async with requester(script, **settings) as (ref, runtime):
        with pytest.raises(CallFailed) as caught:
            await ref.ask(call())
        told = [str(caught.value), repr(caught.value), repr(events), repr(log)]
        told += [repr(runtime.snapshot()), repr(ref)]
    assert script.sent[0].headers["authorization"] == f"Bearer {KEY}", "it is sent, though"
    assert not [text for text in told if KEY in text]


async def test_the_key_is_in_no_log_of_a_crash(autojump_clock, log):
    def observer(event):
        raise ZeroDivisionError("bug")

    async with requester(Script(), api_key=KEY, observer=observer) as (ref, _):
        with pytest.raises(ActorCrashed) as caught:
            await ref.ask(call())
    assert [entry["event"] for entry in log] == ["actor_crashed"]
    assert KEY not in repr(log)
    assert KEY not in "".join(traceback.format_exception(caught.value))


async def test_the_key_is_in_no_traceback_of_a_failed_call(autojump_clock):
    """With causes and contexts, as a program that does not catch it prints it."""
    script = Script(refusal(401, f"Incorrect API key provided: {KEY}."))
    async with requester(script, api_key=KEY) as (ref, _):
        with pytest.raises(AuthenticationFailed) as caught:
            await ref.ask(call())
    assert KEY not in "".join(traceback.format_exception(caught.value))
