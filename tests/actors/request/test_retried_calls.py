"""Retried calls: after which failures, when, and the caller's error at the end."""

import gc
import itertools

import attrs
import httpx
import pytest
import trio
from fakes import (
    REFUSED,
    RESET,
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
    CallFailed,
    ConnectionFailed,
    MalformedResponse,
    ProviderUnavailable,
    QuotaExhausted,
    RateLimited,
    RetryPolicy,
    Throttled,
)

KEY = "sk-secret-0123456789"
TOO_LARGE = "Request too large for gpt-4o in organization org on tokens per min (TPM)"


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
    "an error": Reply(body={"error": {"message": "Upstream failed.", "code": 502}}),
    "an error that is text": Reply(body={"error": "Upstream failed."}),
}
UNREADABLE = {
    "HTML": Reply(body="<!DOCTYPE html><html></html>", headers={"content-type": "text/html"}),
    "half of the JSON": Reply(body=b'{"choices": [{"mess'),
    "truncated": Reply(body=b'{"choices": [{"mess', then=TRUNCATED, pieces=2),
    "not UTF-8": Reply(body=b'{"choices": "\xff\xfe"}'),
    "nothing": Reply(body=b""),
    "no choices": Reply(body=completion_json(choices=[])),
    "choices null": Reply(body=completion_json() | {"choices": None}),
    "a list": Reply(body=[3]),
}


@pytest.mark.parametrize("line", UNREADABLE.values(), ids=UNREADABLE)
async def test_what_cannot_be_read_is_asked_for_once_more(autojump_clock, line):
    """L11."""
    script = Script(line, Reply())
    async with requester(script) as (ref, _):
        answer = await ref.ask(call())
    assert (answer.text, answer.http_requests, answer.maybe_billed) == ("Hello", 2, 1)


@pytest.mark.parametrize("line", TRANSIENT.values(), ids=TRANSIENT)
async def test_transient_errors_are_retried_with_the_same_bytes(autojump_clock, line):
    script = Script(line, line, Reply())
    async with requester(script) as (ref, _):
        answer = await ref.ask(call("Übrigens", max_tokens=7))
    assert (answer.text, answer.http_requests) == ("Hello", 3)
    assert len({sent.body for sent in script.sent}) == 1
    assert len({tuple(sent.headers.raw) for sent in script.sent}) == 1
    assert answer.seconds == 1.0, "of the attempt that answered"
    assert script.open == 0


async def test_a_body_with_a_wrong_content_encoding_leaves_nothing_suspended(autojump_clock):
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
    """The redirect is not followed, because the other server must not get the key."""
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
        (Reply(body=b"{", then=TRUNCATED), ConnectionFailed, "maybe", "broke off"),
        (Reply(body="<html>"), MalformedResponse, "maybe", "HTML"),
        (Reply(body=b""), MalformedResponse, "maybe", "empty body"),
        (Reply(body=b'{"choi'), MalformedResponse, "maybe", "not whole JSON"),
        (Reply(body={"choices": []}), MalformedResponse, "maybe", 'no "choices"'),
        (Reply(body={"error": "Ouch."}), ProviderUnavailable, "maybe", "Ouch."),
    ],
)
async def test_when_the_budget_is_used_up_the_last_error_is_raised(
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
    has_begun = kind is MalformedResponse or line.then is TRUNCATED
    sent = 2 if has_begun else 3  # L11
    assert (error.attempts, error.billed) == (sent, billed)
    assert error.status == (None if line.status == 200 else line.status)
    assert len(script.sent) == sent
    assert "provider" in str(error), "it names the provider"


@pytest.mark.parametrize("last", [refusal(401), refusal(500), broken(REFUSED)])
async def test_a_call_of_which_any_attempt_may_have_been_billed_may_have_been_billed(
    autojump_clock, last
):
    """L3: a later attempt that was rejected does not refund the first attempt."""
    script = Script(broken(RESET), last)
    async with requester(script, retry=RetryPolicy(max_attempts=2)) as (ref, _):
        with pytest.raises(CallFailed) as caught:
            await ref.ask(call())
    assert caught.value.billed == "maybe"


async def test_an_error_without_a_body_is_not_reported_as_broken_json(autojump_clock):
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
async def test_the_pause_that_the_provider_requests_is_a_minimum(
    autojump_clock, status, headers, message, least
):
    script = Script(refusal(status, message, headers=headers, after=0.0), Reply())
    async with requester(script) as (ref, _):
        await ref.ask(call())
    assert least <= script.times[1] <= least + 0.5


async def test_a_requested_pause_that_is_too_long_fails_the_call_now(autojump_clock):
    script = Script(refusal(429, "Tomorrow.", headers={"retry-after": "411480"}))
    async with requester(script) as (ref, _):
        with pytest.raises(RateLimited, match="Tomorrow"):
            await ref.ask(call())
    assert trio.current_time() == 1.0
    assert len(script.sent) == 1


async def test_a_pause_longer_than_the_deadline_fails_now_with_the_reason(autojump_clock):
    """L1: the call fails at once with the reason, rather than at the deadline without one."""
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
        async def renew(self, *, delay, throttled, moves=None):
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
    assert script.times == [0, 101, 202, 303], (
        "the permit decides when, and no other pause is added"
    )
