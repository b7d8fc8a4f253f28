"""The key is in every request and in nothing else, even where a server quotes it (L8)."""

import io
import json
import traceback

import attrs
import httpx
import pytest
import trio
from fakes import (
    RESET,
    STALL,
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
from misbehaving import EVENTS, POLITE, calling_in_memory, head, says, whole
from provided import asked, house

from callsheet.actors import (
    AuthenticationFailed,
    BadRequest,
    BreakerPolicy,
    CallContext,
    CallFailed,
    Endpoint,
    GetRequestStatistics,
    RetryPolicy,
    Stream,
    Target,
    Timeouts,
    log_call,
)
from callsheet.runtime import dump
from callsheet.simulator.settings import ProviderSettings

KEY = "sk-proj-" + "Secret0123456789" * 5
PART = KEY[8:20]  # a part that must not be shown either
QUICK = RetryPolicy(max_attempts=3, base_s=0.0)
SAID = json.dumps({"error": {"message": f"No: {KEY}", "type": KEY, "code": KEY}}).encode()


def event(body):
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def everything_in(error):
    """Return the texts of an error, its causes, contexts and notes, and of its traceback."""
    found, below = [], [error]
    for one in below:
        found += [str(one), repr(one), *map(str, one.args), *getattr(one, "__notes__", [])]
        below += [more for more in (one.__cause__, one.__context__) if more is not None]
        if isinstance(one, BaseExceptionGroup):
            below += one.exceptions
    return [*found, *traceback.format_exception(error)]


async def everything_told(ref, runtime, events, log):
    printed = io.StringIO()
    dump(runtime, printed)
    return [
        printed.getvalue(),
        repr(runtime.snapshot()),
        repr(runtime.shutdown_plan()),
        repr(await ref.ask(GetRequestStatistics())),
        repr(events),
        repr(log),
        repr(ref),
        repr(runtime),
    ]


# ------------------------------------------------------------------ servers that quote it


QUOTES = {
    "in the reason": says(head(status=f"401 {KEY}", length=0)),
    "in a header": says(whole(SAID, f"X-Key: {KEY}", f"Retry-After: {KEY}", status="429 No")),
    "in every member": says(whole(SAID, status="500 No")),
    "in a refusal": says(whole(SAID, status="400 No")),
    "in an answer": says(whole(SAID)),
    "in a header that is none": says(b"HTTP/1.1 200 OK\r\n" + KEY.encode() + b"\r\n\r\n"),
    "cut off there": says(b"HTTP/1.1 200 OK\r\n" + b"x" * 130 + KEY.encode() + b"\r\n\r\n"),
    "in the protocol": says(KEY.encode() + b"\r\n\r\n"),
    "in a status": says(f"HTTP/1.1 {KEY} OK\r\n\r\n".encode()),
    "in a length": says(f"HTTP/1.1 200 OK\r\nContent-Length: {KEY}\r\n\r\n".encode()),
    "in a chunk": says(head("Transfer-Encoding: chunked"), KEY.encode() + b"\r\n"),
    "in a packing": says(whole(SAID, f"Content-Encoding: {KEY}")),
    "in a type": says(whole(b"x", f"Content-Type: {KEY}/{KEY}")),
    "in a redirect": says(whole(b"", f"Location: http://x/?{KEY}", status="302 Found")),
    "in a bad redirect": says(whole(b"", f"Location: http://[{KEY}", status="302 Found")),
    "in an index": says(whole(json.dumps({"choices": [{"index": KEY, "message": 3}]}).encode())),
    "in the index of an event": says(
        whole(event({"choices": [{"index": KEY, "delta": {"content": "x"}}]}), EVENTS)
    ),
    "in an event": says(whole(event({"error": {"message": KEY, "type": KEY}}), EVENTS)),
    "in an event's name": says(whole(f"event: {KEY}\ndata: {KEY}\n\n".encode(), EVENTS)),
    "in a web page": says(whole(f"<html>{KEY}".encode(), "Content-Type: text/html")),
    "at 300 characters": says(
        whole(json.dumps({"error": "x" * 270 + KEY}).encode(), status="400 No")
    ),
}


@pytest.mark.parametrize(
    ("line", "with_client"),
    [
        pytest.param(
            line,
            with_client,
            id=f"{name}, {'client' if with_client else 'straight'}",
            marks=[pytest.mark.slow] if with_client and number % 4 else [],
        )
        for number, (name, line) in enumerate(QUOTES.items())
        for with_client in (False, True)
    ],
)
async def test_on_the_wire_the_key_is_sent_to_no_other_server(
    autojump_clock, log, line, with_client
):
    def note(told):
        events.append(told)
        log_call(told)

    events = []
    settings = {"endpoint": {"api_key": KEY}, "observer": note, "breaker": BreakerPolicy()}
    if with_client:
        settings["client"] = lambda transport: httpx.AsyncClient(transport=transport)
    async with calling_in_memory(line, line, POLITE, **settings) as (at, _):
        with pytest.raises(CallFailed) as caught:
            await at.ref.ask(call())
        told = await everything_told(at.ref, at.runtime, events, log)
        assert KEY.encode() in at.server.requests[0][0], "it was sent, though"
    told += everything_in(caught.value)
    assert [text for text in told if PART in text or PART.lower() in text] == []


@pytest.mark.parametrize("kind", [httpx.ReadError, httpx.ConnectError, httpx.ProxyError])
async def test_an_error_of_the_network_is_no_cause_if_it_quotes_the_key(autojump_clock, kind):
    below = OSError(f"cannot send {KEY}")
    for text in (f"no: {KEY}", "no"):
        error = kind(text)
        error.__cause__ = ExceptionGroup("several", [below])
        async with requester(Script(broken(error)), api_key=KEY, retry=QUICK) as (ref, _):
            with pytest.raises(CallFailed) as caught:
                await ref.ask(call())
        assert [text for text in everything_in(caught.value) if PART in text] == []


async def test_an_error_of_the_network_is_a_cause_otherwise(autojump_clock):
    async with requester(Script(broken(RESET)), api_key=KEY, retry=QUICK) as (ref, _):
        with pytest.raises(CallFailed) as caught:
            await ref.ask(call())
    assert caught.value.__cause__ is RESET


async def test_an_error_of_a_hook_of_the_users_client(autojump_clock):
    """The text of raise_for_status() has the whole URL, with the key masked."""

    def client(transport):
        async def check(response):
            response.raise_for_status()

        return httpx.AsyncClient(transport=transport, event_hooks={"response": [check]})

    endpoint = {"query": {"api-key": KEY}, "api_key": None}
    settings = {"client": client, "endpoint": endpoint}
    line = says(whole(SAID, status="401 No"))
    async with calling_in_memory(line, **settings) as (at, _):
        with pytest.raises(AuthenticationFailed, match="returned 401") as caught:
            await at.ref.ask(call())
        assert KEY.encode() in at.server.requests[0][0]
    assert [text for text in everything_in(caught.value) if PART in text] == []


async def test_a_provider_that_names_its_model_after_the_key(autojump_clock, log):
    events = []
    script = Script(Reply(body=completion_json(model=KEY)))

    async with requester(script, api_key=KEY, observer=events.append) as (ref, runtime):
        answer = await ref.ask(call())
        told = await everything_told(ref, runtime, events, log)
    assert PART not in repr([answer, told])
    assert answer.text == "Hello"


async def test_a_hint_at_the_key_may_stay(autojump_clock):
    """The few characters that the vendor shows help to identify the key."""
    line = refusal(401, "Incorrect API key provided: sk-proj-********4242.")
    async with requester(Script(line), api_key=KEY) as (ref, _):
        with pytest.raises(AuthenticationFailed, match=r"sk-proj-\*+4242"):
            await ref.ask(call())


async def test_the_built_in_provider_shows_only_its_ends(autojump_clock, log):
    provider = ProviderSettings(api_key="another")
    for name in ("openai", "anthropic"):
        endpoint = Endpoint("http://provider/v1", KEY, name)
        async with house(provider=provider, endpoint=endpoint) as at:
            with pytest.raises(AuthenticationFailed) as caught:
                await at.troupe.complete(asked())
            told = await everything_told(at.troupe.requester, at.runtime, at.events, log)
            told += [repr(at.troupe), repr(endpoint), *everything_in(caught.value)]
        assert [text for text in told if PART in text] == []


async def test_a_function_that_fails_with_the_key_in_its_hand(autojump_clock):
    def key():
        raise LookupError(f"not in the vault: {KEY}")

    async with requester(Script(), api_key=key) as (ref, _):
        with pytest.raises(AuthenticationFailed, match="LookupError") as caught:
            await ref.ask(call())
    assert [text for text in everything_in(caught.value) if PART in text] == []


# ------------------------------------------------------------------ where it goes


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("follows", [False, True])
async def test_a_redirect_to_another_host_is_an_error_and_the_key_is_not_sent_there(
    autojump_clock, status, follows
):
    """Not even if the user's client follows redirects."""

    def client(transport):
        return httpx.AsyncClient(transport=transport, follow_redirects=True)

    settings = {"client": client} if follows else {}
    script = Script(Reply(status, b"", {"location": "http://elsewhere/v1/chat/completions"}))
    async with requester(script, api_key=KEY, retry=QUICK, **settings) as (ref, _):
        with pytest.raises(BadRequest, match="redirects to http://elsewhere"):
            await ref.ask(call())
    assert [httpx.URL(sent.url).host for sent in script.sent] == ["provider"]


async def test_each_target_gets_its_own_key_and_no_other(autojump_clock):
    other = "sk-other-9876543210"
    second = Target(Endpoint("http://second/v1", other, "anthropic"))
    async with house(
        "500",
        endpoint=Endpoint("http://provider/v1", KEY),
        fallbacks=[second],
        retry=RetryPolicy(max_attempts=2),
    ) as at:
        await at.troupe.complete(asked())
        first, last = at.sent
    assert first.headers["authorization"] == f"Bearer {KEY}"
    assert other not in repr(first.headers.raw)
    assert last.headers["x-api-key"] == other
    assert KEY not in repr(last.headers.raw)


async def test_a_key_that_was_changed_is_used_by_the_retry(autojump_clock):
    keys = [f"sk-rotated-{number}-0123456789" for number in range(3)]
    left = iter(keys)
    script = Script(refusal(500, f"No: {keys[0]}"), refusal(503, keys[0] + keys[1]))
    async with requester(script, api_key=lambda: next(left), retry=QUICK) as (ref, _):
        with pytest.raises(CallFailed) as caught:
            await ref.ask(call())
    assert [sent.headers["authorization"] for sent in script.sent] == [f"Bearer {k}" for k in keys]
    told = everything_in(caught.value)
    assert [text for text in told if any(key in text for key in keys)] == []


async def test_a_key_that_is_not_available_is_no_attempt_and_no_failure_of_the_endpoint(
    autojump_clock,
):
    def locked():
        raise PermissionError(KEY)

    script = Script()
    async with requester(script, api_key=locked) as (ref, _):
        with pytest.raises(CallFailed, match="api_key returned no key") as caught:
            await ref.ask(call())
        ((_, breaker),) = (await ref.ask(GetRequestStatistics())).breakers
    assert caught.value.attempts == 0
    assert not script.sent
    assert (breaker.succeeded, breaker.failed, breaker.abandoned) == (0, 0, 1)
    assert [text for text in everything_in(caught.value) if KEY in text] == []


# ------------------------------------------------------------------ what stays the same


async def test_every_attempt_has_the_same_bytes_and_the_same_idempotency_key(autojump_clock):
    lines = [refusal(500), broken(RESET), STALL, Reply(body="<html>"), Reply()]
    script = Script(by_prompt={prompt: list(lines) for prompt in ("one", "two")})
    policy = RetryPolicy(max_attempts=5)
    timeouts = Timeouts(first_byte_s=5)
    async with requester(script, retry=policy, timeouts=timeouts) as (ref, _):
        found = await outcomes(*asking(ref, "one", "two"))
    assert [answer.http_requests for answer in found] == [5, 5]
    one, two = ([sent for sent in script.sent if sent.prompt == name] for name in ("one", "two"))
    for sents in (one, two):
        assert len({sent.body for sent in sents}) == 1
        assert len({tuple(sent.headers.raw) for sent in sents}) == 1
    keys = [sents[0].headers["idempotency-key"] for sents in (one, two)]
    assert len({*keys}) == 2
    assert all(len(key) == 32 for key in keys)


async def test_a_stream_and_a_fallback_have_one_idempotency_key_too(autojump_clock):
    second = Target(Endpoint("http://second/v1", None, "openai"))
    async with house("503", "401", fallbacks=[second]) as at:
        async with at.troupe.stream(asked()) as items:
            assert [item async for item in items][-1].host == "second"
        assert len(at.sent) == 3
        assert len({sent.headers["idempotency-key"] for sent in at.sent}) == 1
        assert len({sent.body for sent in at.sent}) == 1


async def test_an_idempotency_key_of_the_users_own(autojump_clock):
    script = Script(refusal(500), Reply())
    message = Stream(attrs.evolve(asked(), idempotency_key="order-66"), CallContext("x"))
    async with requester(script) as (ref, _), ref.stream(message) as items:
        assert [item async for item in items]
    assert [sent.headers["idempotency-key"] for sent in script.sent] == ["order-66"] * 2


async def test_nothing_is_known_of_the_key_in_a_dump_of_a_call_under_way(autojump_clock, log):
    async with requester(Script(STALL), api_key=KEY) as (ref, runtime):
        with trio.move_on_after(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ref.ask, call())
                await trio.sleep(1)
                told = await everything_told(ref, runtime, [], log)
                await trio.sleep_forever()
    assert "Complete" in told[0]
    assert [text for text in told if PART in text] == []
