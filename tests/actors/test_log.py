"""The log has one event for each call, without secrets and prompts (L8, L9)."""

import json
from decimal import Decimal
from functools import partial

import pytest
from fakes import MODEL, URL, Reply, Script, outcomes, refusal

from callsheet.actors import (
    CallContext,
    CallEvent,
    Endpoint,
    Request,
    TroupeSettings,
    Usage,
    log_call,
    open_troupe,
)

KEY = "sk-secret-0123456789"


def event(stage, **more):
    return CallEvent(
        stage=stage,
        at=1.0,
        context=CallContext("Topic/intro", "Topic", "intro"),
        model=MODEL,
        **more,
    )


@pytest.mark.parametrize("stage", ["asked", "queued", "admitted", "sent", "retrying"])
def test_what_is_not_the_end_of_a_call_is_not_logged(log, stage):
    log_call(event(stage))
    assert log == []


@pytest.mark.parametrize("stage", ["answered", "shared", "failed", "cancelled"])
def test_the_end_of_a_call_is_one_event_with_the_ids_of_its_post(log, stage):
    log_call(event(stage, attempt=2))
    (entry,) = log
    assert entry["event"] == f"call_{stage}"
    assert (entry["call"], entry["post"], entry["step"]) == ("Topic/intro", "Topic", "intro")
    assert (entry["model"], entry["attempts"]) == (MODEL, 2)


def test_tokens_and_cost_are_logged_if_known_and_null_if_not(log):
    log_call(event("answered", usage=Usage(10, 5), cost_usd=Decimal("0.0015")))
    log_call(event("failed", error="No."))
    known, unknown = log
    assert (known["input_tokens"], known["output_tokens"], known["cost_usd"]) == (10, 5, 0.0015)
    assert (unknown["input_tokens"], unknown["cost_usd"], unknown["error"]) == (None, None, "No.")
    json.dumps(log)


async def test_each_call_of_a_troupe_is_logged_once_however_it_ends(autojump_clock, log):
    script = Script(
        by_prompt={
            "good": [refusal(500), Reply()],
            "bad": [refusal(400)],
            "slow": [Reply(after=60)],
            "same": [Reply()],
        }
    )
    settings = TroupeSettings(endpoint=Endpoint(URL, KEY), transport=script, observer=log_call)
    async with open_troupe(settings, seed="seed") as troupe:

        def ask(prompt, **more):
            cacheable = prompt == "same"
            request = Request.of(prompt, model=MODEL, cacheable=cacheable)
            return partial(troupe.complete, request, call=f"call of {prompt}", **more)

        await outcomes(ask("good"), ask("bad"), ask("slow", timeout=2), ask("same"), ask("same"))
    assert sorted((entry["event"], entry["call"]) for entry in log) == [
        ("call_answered", "call of good"),
        ("call_answered", "call of same"),
        ("call_failed", "call of bad"),
        ("call_failed", "call of slow"),
        ("call_shared", "call of same"),
    ]
    attempts = {entry["call"]: entry["attempts"] for entry in log}
    assert attempts["call of good"] == 2


async def test_neither_key_nor_prompt_nor_answer_is_in_the_log(autojump_clock, log):
    script = Script(
        by_prompt={
            "the prompt": [Reply()],
            "quoted": [refusal(401, f"Incorrect API key provided: {KEY}.")],
        }
    )
    settings = TroupeSettings(endpoint=Endpoint(URL, KEY), transport=script, observer=log_call)
    async with open_troupe(settings) as troupe:
        await outcomes(
            *(
                partial(troupe.complete, Request.of(prompt, model=MODEL), call=str(at))
                for at, prompt in enumerate(script.by_prompt)
            )
        )
    assert len(log) == 2
    text = repr(log)
    for secret in (KEY, "the prompt", "Hello"):
        assert secret not in text


async def test_a_failed_call_is_logged_with_the_attempts_it_took(autojump_clock, log):
    settings = TroupeSettings(
        endpoint=Endpoint(URL), transport=Script(refusal(503)), observer=log_call
    )
    async with open_troupe(settings) as troupe:
        await outcomes(partial(troupe.complete, Request.of("Hi", model=MODEL)))
    assert [entry["attempts"] for entry in log] == [5]


@pytest.mark.parametrize("request_", ["Say hello.", None, {"model": MODEL}])
async def test_what_is_no_request_is_refused_before_the_call(autojump_clock, request_):
    events = []
    settings = TroupeSettings(endpoint=Endpoint(URL), observer=events.append)
    async with open_troupe(settings) as troupe:
        calls = (troupe.complete, troupe.submit, troupe.run_tools, troupe.explain)
        with pytest.raises(TypeError, match="request must be a Request, not"):
            troupe.submit_nowait(request_)
        with pytest.raises(TypeError, match="request must be a Request, not"):
            async with troupe.stream(request_):
                pass
        for call in calls:
            with pytest.raises(TypeError, match="request must be a Request, not"):
                await call(request_)
        with pytest.raises(TypeError, match="topic must be a text, not 7"):
            await troupe.compose(7)
    assert events == []


async def test_settings_of_another_class_are_refused():
    with pytest.raises(TypeError, match=r"settings must be TroupeSettings\(endpoint"):
        async with open_troupe(Endpoint(URL, "sk-secret")):
            pass


@pytest.mark.parametrize("timeout", [None, "5", True])
async def test_a_timeout_that_is_no_time_is_refused_before_the_call(autojump_clock, timeout):
    events = []
    settings = TroupeSettings(endpoint=Endpoint(URL), observer=events.append)
    async with open_troupe(settings) as troupe:
        request = Request.of("Hi", model=MODEL)
        with pytest.raises(TypeError, match="timeout must be a number of seconds, not"):
            await troupe.complete(request, timeout=timeout)
        with pytest.raises(TypeError, match="timeout must be a number of seconds, not"):
            async with troupe.stream(request, timeout=timeout):
                pass
    assert events == []
