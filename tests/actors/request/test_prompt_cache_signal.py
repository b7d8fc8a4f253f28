"""What the last stage reports to the stage of the prompt cache, and when."""

import json

import attrs
import pytest
import trio
from fakes import MODEL, Reply, Script, completion_json, refusal, requester
from provided import VENDORS, asked, house

from callsheet.actors import (
    BadRequest,
    CallContext,
    Complete,
    Endpoint,
    RetryPolicy,
    Stream,
    Target,
    Timeouts,
    Usage,
)
from callsheet.actors.request.watch import SendWatch
from callsheet.actors.vendors.sse import ServerSentEvent

AT_ONCE = RetryPolicy(max_attempts=3, base_s=0.0)
MARK = {"prompt_cache_key": "k"}


@attrs.define(eq=False)
class Recorder:
    """A `PromptCacheUse` that adds a key at one endpoint, and records what is reported."""

    wants_stream: bool = False
    at: str = "provider"
    sends: list = attrs.field(factory=list)
    began_at: list = attrs.field(factory=list)
    ends: list = attrs.field(factory=list)
    refusals: list = attrs.field(factory=list)

    def request_at(self, endpoint, request):
        return attrs.evolve(request, extra_body=MARK) if endpoint == self.at else request

    def sent(self, endpoint, model):
        self.sends.append((endpoint, model))

    def held_back(self):
        pass

    def began(self, endpoint, model):
        self.began_at.append((endpoint, model, trio.current_time()))

    def ended(self, endpoint, model, usage):
        self.ends.append((endpoint, model, usage))

    def refused(self, reason):
        self.refusals.append(reason)


def call(use, **more):
    return Complete(asked(**more), CallContext("1"), cache_use=use)


def bodies(transport):
    return [json.loads(sent.body) for sent in transport.sent]


@pytest.mark.parametrize("vendor", VENDORS)
async def test_a_stream_begins_with_its_first_event_and_ends_with_its_usage(autojump_clock, vendor):
    async with house(vendor=vendor) as at:
        use = Recorder(at="")
        response = await at.troupe.requester.ask(call(use))
        assert use.began_at[0] == ("provider", MODEL, 1.0), "a third of its time"
        assert use.ends == [("provider", MODEL, response.usage)]
        use = Recorder(at="")
        async with at.troupe.requester.stream(
            Stream(asked(), CallContext("2"), cache_use=use)
        ) as items:
            async for _ in items:
                pass
        assert use.began_at[0][2] == 4.0


async def test_a_whole_response_begins_with_its_end_unless_other_calls_wait(autojump_clock):
    async with house() as at:
        for wants, began in ((False, 3.0), (True, 4.0)):
            use = Recorder(wants_stream=wants)
            await at.troupe.requester.ask(call(use, max_tokens=20))
            assert use.began_at[0][2] == began
            assert json.loads(at.sent[-1].body).get("stream", False) is wants
            assert use.sends == [("provider", MODEL)]


async def test_an_event_that_only_says_that_the_request_has_arrived_is_no_beginning(autojump_clock):
    began = []
    watch = SendWatch(Timeouts(), on_begin=lambda: began.append(1))
    for data in (
        b'{"type":"response.created","response":{}}',
        b'{"type": "response.in_progress"}',
        b'{"type": "ping"}',
    ):
        watch.saw([ServerSentEvent(data)], ())
        assert not began
    for _ in range(2):
        watch.saw([ServerSentEvent(b'{"type":"message_start","message":{}}')], ())
        assert began == [1]


async def test_a_failed_attempt_begins_nothing_and_the_retry_does(autojump_clock):
    transport = Script(refusal(503), Reply(body=completion_json(tokens=(7, 3))))
    async with requester(transport, retry=AT_ONCE) as (ref, _):
        use = Recorder()
        await ref.ask(call(use))
    assert use.began_at == [("provider", MODEL, 2.0)]
    assert use.ends == [("provider", MODEL, Usage(7, 3))]
    assert [body["prompt_cache_key"] for body in bodies(transport)] == ["k", "k"]


async def test_another_endpoint_gets_no_marks_and_is_named_in_the_reports(autojump_clock):
    transport = Script(refusal(503), Reply())
    fallbacks = [Target(Endpoint("http://second/v1"), "second-model")]
    async with requester(transport, retry=RetryPolicy(max_attempts=2), fallbacks=fallbacks) as (
        ref,
        _,
    ):
        use = Recorder()
        await ref.ask(call(use))
    assert [(host, model) for host, model, _ in use.began_at] == [("second", "second-model")]
    assert ["prompt_cache_key" in body for body in bodies(transport)] == [True, False]


async def test_a_refused_key_is_left_out_and_the_refusal_is_reported(autojump_clock):
    words = "Unrecognized request argument supplied: prompt_cache_key"
    transport = Script(refusal(400, words, kind="invalid_request_error"), Reply())
    async with requester(transport, retry=AT_ONCE) as (ref, _):
        use = Recorder()
        response = await ref.ask(call(use))
    assert response.http_requests == 2
    assert ["prompt_cache_key" in body for body in bodies(transport)] == [True, False]
    assert words in use.refusals[0]


async def test_a_request_that_is_wrong_without_the_key_too_blames_no_key(autojump_clock):
    transport = Script(refusal(400, "The cache of tools is wrong.", kind="invalid_request_error"))
    async with requester(transport, retry=AT_ONCE) as (ref, _):
        use = Recorder()
        with pytest.raises(BadRequest):
            await ref.ask(call(use))
    assert (len(transport.sent), use.began_at) == (2, []), "so the refusal is not believed"
