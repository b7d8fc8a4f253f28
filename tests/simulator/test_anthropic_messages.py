import math
import re

import httpx
import pytest
import trio
from provider_client import VERSION, connected, message_body, named_events_in, text_in

from callsheet.simulator.app import Provider
from callsheet.simulator.inprocess import ProviderTransport
from callsheet.simulator.settings import ProviderSettings

USAGE = {
    "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": 0,
    "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
    "service_tier": "standard",
}


async def test_a_message_has_every_member_of_the_real_one(autojump_clock):
    async with connected() as client:
        response = await client.message()
    body = response.json()
    [block] = body.pop("content")
    assert block["type"] == "text"
    assert "Trio" in block["text"]
    assert re.fullmatch(r"msg_[0-9a-f]{24}", body.pop("id"))
    usage = body.pop("usage")
    assert body == {
        "type": "message",
        "role": "assistant",
        "model": "m",
        "stop_reason": "end_turn",
        "stop_sequence": None,
    }
    assert usage == USAGE | {
        "input_tokens": 3 + 4 + 4,
        "output_tokens": math.ceil(len(block["text"]) / 4),
    }
    assert re.fullmatch(r"req_[0-9a-f]{32}", response.headers["request-id"])
    assert "x-request-id" not in response.headers


async def test_the_same_prompt_gets_the_same_text_in_the_same_time_as_from_openai(autojump_clock):
    async with connected(latency_s=(1.0, 3.0)) as client:
        times = [trio.current_time()]
        messages = [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "What is Trio?"},
        ]
        body = {"model": "m", "messages": messages}
        chat = (await client.post("/v1/chat/completions", json=body)).json()
        times.append(trio.current_time())
        message = (await client.message(system="Be brief.")).json()
        times.append(trio.current_time())
        blocks = [{"type": "text", "text": "Be brief."}]
        other = (await client.message(system=blocks)).json()
    assert message["content"][0]["text"] == chat["choices"][0]["message"]["content"]
    assert message["usage"]["input_tokens"] == chat["usage"]["prompt_tokens"]
    assert times[2] - times[1] == pytest.approx(times[1] - times[0])
    assert other["content"] == message["content"]


async def test_a_stream_has_the_same_text_as_the_whole_message(autojump_clock):
    async with connected() as client:
        whole = (await client.message()).json()
        async with client.message_stream() as response:
            events = named_events_in((await response.aread()).decode())
    assert response.headers["content-type"].startswith("text/event-stream")
    names = [name for name, _ in events]
    assert names[:4] == ["message_start", "content_block_start", "ping", "content_block_delta"]
    assert names[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert set(names[4:-3]) == {"content_block_delta"}
    start, end = events[0][1]["message"], events[-2][1]
    assert start["content"] == []
    assert start["stop_reason"] is None
    assert start["usage"] == whole["usage"] | {"output_tokens": 1}
    assert end["usage"] == whole["usage"]
    assert end["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}
    assert text_in(events) == whole["content"][0]["text"]


@pytest.mark.parametrize(
    ("more", "settings", "reason", "stop"),
    [
        ({"max_tokens": 5}, {}, "max_tokens", None),
        ({"stop_sequences": ["nowhere", "Trio"]}, {}, "stop_sequence", "Trio"),
        ({}, {"context_tokens": 16}, "model_context_window_exceeded", None),
    ],
)
async def test_the_finish_reason_is_reported(autojump_clock, more, settings, reason, stop):
    async with connected(**settings) as client:
        body = (await client.message(**more)).json()
        whole = (await client.message()).json()["content"][0]["text"]
    assert (body["stop_reason"], body["stop_sequence"]) == (reason, stop)
    text = body["content"][0]["text"]
    assert whole.startswith(text)
    if stop:
        assert text + stop == whole[: len(text + stop)]
    else:
        assert body["usage"]["output_tokens"] == 5


async def test_a_schema_gets_json_that_fits(autojump_clock):
    schema = {"type": "object", "properties": {"label": {"enum": ["a"]}}, "required": ["label"]}
    wanted = {"format": {"type": "json_schema", "schema": schema}}
    async with connected() as client:
        body = (await client.message(output_config=wanted)).json()
    assert body["content"][0]["text"] == '{"label": "a"}'


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"max_tokens": None}, "max_tokens: Field required"),
        ({"max_tokens": 0}, "max_tokens: Invalid"),
        ({"messages": None}, "messages: Field required"),
        ({"messages": []}, "messages: Invalid"),
        ({"messages": [{"role": "system", "content": "x"}]}, "messages.0.role: Invalid value"),
        ({"messages": [{"role": "user"}]}, "messages.0.content: Invalid type"),
        ({"system": 1}, "system: Invalid type"),
        ({"temperature": 1.5}, "temperature: Invalid"),
        ({"stop_sequences": "x"}, "stop_sequences: Invalid type"),
        ({"stream": "yes"}, "stream: Invalid type"),
        ({"n": 2}, "n: Extra inputs are not permitted"),
        ({"model": ""}, "model: you must provide"),
        ({"output_config": {"format": {"type": "xml"}}}, "output_config.format.type: Invalid"),
        ({"system": "a" * 600_000}, "prompt is too long: 150015 tokens > 128000 maximum"),
    ],
)
async def test_what_is_not_in_order_is_refused_with_its_place(autojump_clock, more, says):
    async with connected() as client:
        response = await client.message(**more)
    assert response.status_code == 400
    error = response.json()
    assert error["type"] == "error"
    assert error["error"]["type"] == "invalid_request_error"
    assert error["error"]["message"].startswith(says)
    assert error["request_id"] == response.headers["request-id"]


async def test_either_key_is_taken_and_a_wrong_one_is_not_repeated(autojump_clock):
    async with connected(api_key="right") as client:
        missing = await client.message()
        wrong = await client.message(headers={"x-api-key": "hunter2"})
        own = await client.message(headers={"x-api-key": "right"})
        bearer = await client.message(headers={"authorization": "Bearer right"})
    assert [r.status_code for r in (missing, wrong, own, bearer)] == [401, 401, 200, 200]
    assert wrong.json()["error"] == {"type": "authentication_error", "message": "invalid x-api-key"}


async def test_other_refusals_have_their_types(autojump_clock):
    async with connected(models=("m",)) as client:
        model = await client.message(model="other")
        large = await client.message("a" * (32 * 1024 * 1024))
        unversioned = await client.post("/v1/messages", json=message_body())
        method = await client.get("/v1/messages")
        path = await client.post("/v1/messages/nope", headers=VERSION)
    found = [
        (r.status_code, r.json()["error"]["type"])
        for r in (model, large, unversioned, method, path)
    ]
    assert found == [
        (404, "not_found_error"),
        (413, "request_too_large"),
        (400, "invalid_request_error"),
        (405, "invalid_request_error"),
        (404, "not_found_error"),
    ]
    assert "anthropic-version" in unversioned.json()["error"]["message"]


async def test_the_headers_tell_of_every_limit(autojump_clock):
    async with connected(rpm=60, itpm=400_000, otpm=80_000) as client:
        response = await client.message("a" * 40_000)
    shown = {
        name.removeprefix("anthropic-ratelimit-"): value
        for name, value in response.headers.items()
        if name.startswith("anthropic-ratelimit-")
    }
    assert shown == {
        "requests-limit": "60",
        "requests-remaining": "59",
        "requests-reset": "2026-01-01T00:00:01Z",
        "input-tokens-limit": "400000",
        "input-tokens-remaining": "390000",
        "input-tokens-reset": "2026-01-01T00:00:01Z",  # 1.5 s
        "output-tokens-limit": "80000",
        "output-tokens-remaining": "80000",
        "output-tokens-reset": "2026-01-01T00:00:00Z",
        "tokens-limit": "480000",
        "tokens-remaining": "470000",
        "tokens-reset": "2026-01-01T00:00:01Z",
    }
    assert response.headers["date"] == "Thu, 01 Jan 2026 00:00:00 GMT"


async def test_input_is_estimated_first_and_corrected_when_it_is_read(autojump_clock):
    async with connected(itpm=6000) as client:
        async with client.message_stream("a" * 8000) as response:
            await response.aread()
        limiter = client.provider._service.anthropic.limiter
        [bucket] = [each["input-tokens"] for each in limiter._sets.values()]
        # Estimated at 2000 tokens, found to be 2007 with the marks around them, at 100 a second.
        assert bucket.used(trio.current_time()) == pytest.approx(2007 - 100)


async def test_output_counts_as_it_is_produced_whatever_max_tokens(autojump_clock):
    async with connected(otpm=30) as client:
        first = await client.message(max_tokens=1000)
        produced = first.json()["usage"]["output_tokens"]
        assert first.status_code == 200
        assert 30 < produced < 1000
        refused = await client.message()
        assert refused.status_code == 429
        assert refused.json()["error"]["type"] == "rate_limit_error"
        wait = int(refused.headers["retry-after"])
        # One comes back every two seconds, and one has to be free.
        assert wait == 2 * (produced - 30 + 1)
        await trio.sleep(wait)
        assert (await client.message()).status_code == 200


async def test_a_request_is_refused_by_its_input(autojump_clock):
    async with connected(itpm=1000, tpm=1, latency_s=(0.0, 0.0)) as client:
        assert (await client.message("a" * 2400)).status_code == 200
        refused = await client.message("a" * 2400)
        too_large = await client.message("a" * 8000)
    assert refused.status_code == 429
    # 600 estimated and 7 more found, twice, less the limit, at 1000 a minute.
    assert refused.headers["retry-after"] == str(math.ceil((607 + 600 - 1000) * 60 / 1000))
    assert too_large.status_code == 429
    assert "retry-after" not in too_large.headers


async def test_the_date_may_be_the_real_one(autojump_clock):
    provider = Provider(ProviderSettings(rpm=60), calendar=lambda: 1_800_000_000.0)
    async with httpx.AsyncClient(transport=ProviderTransport(provider)) as client:
        response = await client.post(
            "http://provider/v1/messages", json=message_body(), headers=VERSION
        )
    assert response.headers["anthropic-ratelimit-requests-reset"] == "2027-01-15T08:00:01Z"
    assert response.headers["date"] == "Fri, 15 Jan 2027 08:00:00 GMT"
