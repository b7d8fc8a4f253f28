"""The key is in no error, event, log or traceback (L8)."""

import traceback

import httpx
import pytest
from fakes import Reply, Script, broken, call, refusal, requester

from callsheet.actors import AuthenticationFailed, CallFailed, RetryPolicy
from callsheet.runtime import ActorCrashed

KEY = "sk-secret-0123456789"


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
async def test_the_key_is_in_no_error_event_or_log(autojump_clock, log, line):
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
