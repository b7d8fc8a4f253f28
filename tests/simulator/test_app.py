import base64
import json
import math
import re
import struct

import pytest
import trio
import trio.testing
from provider_client import chat_body, connected, events_in

from callsheet.simulator.chance import chat_latency
from callsheet.simulator.settings import ProviderSettings


async def test_a_chat_completion_has_every_member_of_the_real_one(autojump_clock):
    async with connected() as client:
        response = await client.chat()
    body = response.json()
    assert response.status_code == 200
    assert set(body) == {
        "id",
        "object",
        "created",
        "model",
        "choices",
        "usage",
        "service_tier",
        "system_fingerprint",
    }
    assert body["id"].startswith("chatcmpl-")
    assert body["model"] == "m"
    [choice] = body["choices"]
    assert choice["message"]["role"] == "assistant"
    assert "Trio" in choice["message"]["content"]
    assert choice["finish_reason"] == "stop"
    usage = body["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["completion_tokens"] == math.ceil(len(choice["message"]["content"]) / 4)
    assert re.fullmatch(r"req_[0-9a-f]{32}", response.headers["x-request-id"])
    assert response.headers["openai-version"] == "2020-10-01"
    assert response.headers["openai-processing-ms"] == "1000"


async def test_an_answer_comes_after_its_latency_and_repeats(autojump_clock):
    async with connected(latency_s=(1.0, 3.0)) as client:
        start = trio.current_time()
        first = await client.chat()
        took = trio.current_time() - start
        second = await client.chat()
    assert took == pytest.approx(chat_latency(ProviderSettings(), chat_body()["messages"]))
    assert first.json()["choices"] == second.json()["choices"]
    assert first.json()["id"] != second.json()["id"]


async def test_a_hundred_at_once_take_as_long_as_one(autojump_clock):
    async with connected() as client:
        start = trio.current_time()
        async with trio.open_nursery() as nursery:
            for i in range(100):
                nursery.start_soon(client.chat, f"What is {i}?")
        assert trio.current_time() - start == pytest.approx(1.0)
        assert client.provider.stats.max_in_flight == 100
        assert client.provider.stats.answered == 100


async def test_max_tokens_cuts_the_answer(autojump_clock):
    async with connected() as client:
        whole = (await client.chat()).json()["choices"][0]["message"]["content"]
        for name in ("max_tokens", "max_completion_tokens"):
            body = (await client.chat(**{name: 5})).json()
            assert body["choices"][0]["message"]["content"] == whole[:20]
            assert body["choices"][0]["finish_reason"] == "length"
            assert body["usage"]["completion_tokens"] == 5


async def test_n_choices_differ(autojump_clock):
    async with connected() as client:
        choices = (await client.chat('Write a headline about "Trio".', n=5)).json()["choices"]
    assert [choice["index"] for choice in choices] == [0, 1, 2, 3, 4]
    assert len({choice["message"]["content"] for choice in choices}) > 1


async def test_a_stream_has_the_same_text_as_the_whole_response(autojump_clock):
    async with connected() as client:
        whole = (await client.chat(n=2)).json()
        async with client.chat_stream(n=2, stream_options={"include_usage": True}) as response:
            text = (await response.aread()).decode()
    assert response.headers["content-type"].startswith("text/event-stream")
    *chunks, last = events_in(text)
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert all(chunk["usage"] is None for chunk in chunks)
    assert (last["choices"], last["usage"]) == ([], whole["usage"])
    for index in (0, 1):
        own = [c["choices"][0] for c in chunks if c["choices"][0]["index"] == index]
        said = "".join(choice["delta"].get("content", "") for choice in own)
        assert said == whole["choices"][index]["message"]["content"]
        assert own[0]["delta"]["role"] == "assistant"
        assert (own[-1]["delta"], own[-1]["finish_reason"]) == ({}, "stop")


async def test_a_stream_comes_bit_by_bit_and_ends_when_the_whole_answer_would(autojump_clock):
    async with connected() as client:
        start = trio.current_time()
        async with client.chat_stream() as response:
            first = trio.current_time() - start
            times = {round(trio.current_time() - start, 3) async for _ in response.aiter_raw()}
        assert first == pytest.approx(1 / 3)
        assert len(times) > 10
        assert max(times) == pytest.approx(1.0)


async def test_a_stream_without_usage_asked_for_has_none(autojump_clock):
    async with connected() as client, client.chat_stream() as response:
        chunks = events_in((await response.aread()).decode())
    assert all("usage" not in chunk for chunk in chunks)


async def test_a_schema_gets_json_that_fits(autojump_clock):
    schema = {
        "type": "object",
        "properties": {
            "title": {"type": "string"},
            "label": {"enum": ["a", "b"]},
            "score": {"type": "integer", "minimum": 1, "maximum": 5},
        },
        "required": ["title", "label", "score"],
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    async with connected() as client:
        body = (await client.chat(response_format=wanted)).json()
        plain = (await client.chat(response_format={"type": "json_object"})).json()
    value = json.loads(body["choices"][0]["message"]["content"])
    assert set(value) == {"title", "label", "score"}
    assert value["label"] in ("a", "b")
    assert 1 <= value["score"] <= 5
    assert isinstance(json.loads(plain["choices"][0]["message"]["content"]), dict)


async def test_completions_answer_a_list_in_the_order_of_its_indices(autojump_clock):
    async with connected() as client:
        url = "/v1/completions"
        prompts = ["What is Trio?", "What is attrs?", [1, 2, 3]]
        body = (await client.post(url, json={"model": "m", "prompt": prompts, "n": 2})).json()
        single = (await client.post(url, json={"model": "m", "prompt": prompts[1], "n": 2})).json()
    assert [choice["index"] for choice in body["choices"]] == list(range(6))
    assert [c["text"] for c in body["choices"][2:4]] == [c["text"] for c in single["choices"]]
    assert body["usage"]["prompt_tokens"] == 4 + 4 + 3
    assert body["usage"]["completion_tokens"] == 6 * 16
    assert {choice["finish_reason"] for choice in body["choices"]} == {"length"}


async def test_completions_stream(autojump_clock):
    request = {"model": "m", "prompt": "What is Trio?", "max_tokens": 500}
    async with connected() as client:
        whole = (await client.post("/v1/completions", json=request)).json()
        text = (await client.post("/v1/completions", json=request | {"stream": True})).text
    chunks = events_in(text)
    assert "".join(c["choices"][0]["text"] for c in chunks) == whole["choices"][0]["text"]
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


async def test_embeddings_are_unit_vectors_that_repeat(autojump_clock):
    async with connected() as client:
        url = "/v1/embeddings"
        request = {"model": "text-embedding-3-small", "input": ["a", "b", "a", [1, 2]]}
        body = (await client.post(url, json=request)).json()
        packed = (await client.post(url, json=request | {"encoding_format": "base64"})).json()
        short = (await client.post(url, json=request | {"dimensions": 11})).json()
    vectors = [item["embedding"] for item in body["data"]]
    assert [item["index"] for item in body["data"]] == [0, 1, 2, 3]
    assert {len(vector) for vector in vectors} == {1536}
    assert all(math.hypot(*vector) == pytest.approx(1) for vector in vectors)
    assert vectors[0] == vectors[2] != vectors[1]
    assert abs(sum(a * b for a, b in zip(vectors[0], vectors[1], strict=True))) < 0.15
    unpacked = struct.unpack("<1536f", base64.b64decode(packed["data"][1]["embedding"]))
    assert unpacked == pytest.approx(vectors[1])
    assert {len(item["embedding"]) for item in short["data"]} == {11}
    assert math.hypot(*short["data"][0]["embedding"]) == pytest.approx(1)
    assert body["usage"] == {"prompt_tokens": 5, "total_tokens": 5}


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (["a"] * 2049, "array_above_max_length"),
        (["a" * 32_000] * 38, "max_tokens_per_request"),
        (["a" * 32_769], "context_length_exceeded"),
        ([], "empty_array"),
        (["a", ""], None),
        ([1.5], "invalid_type"),
        ({}, "invalid_type"),
    ],
)
async def test_embeddings_beyond_a_limit_are_refused(autojump_clock, given, code):
    async with connected() as client:
        response = await client.post("/v1/embeddings", json={"model": "m", "input": given})
    assert response.status_code == 400
    assert response.json()["error"]["code"] == code
    assert response.json()["error"]["param"] == "input"


async def test_models_are_listed_and_looked_up(autojump_clock):
    async with connected(models=("a/b", "c")) as client:
        listed = (await client.get("/v1/models")).json()
        assert [model["id"] for model in listed["data"]] == ["a/b", "c"]
        assert (await client.get("/v1/models/a/b")).json()["object"] == "model"
        assert (await client.get("/v1/models/d")).status_code == 404
        refused = await client.chat()
    assert refused.status_code == 404
    assert refused.json()["error"]["code"] == "model_not_found"


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({"model": "m"}, "missing_required_parameter", "messages"),
        ({"messages": []}, None, "model"),
        ({"model": "m", "messages": []}, "empty_array", "messages"),
        (chat_body(max_tokens=0), "integer_below_min_value", "max_tokens"),
        (chat_body(max_tokens="5"), "invalid_type", "max_tokens"),
        (chat_body(temperature=2.1), "decimal_above_max_value", "temperature"),
        (chat_body(top_p="1"), "invalid_type", "top_p"),
        (chat_body(stop=list("abcde")), "array_above_max_length", "stop"),
        (chat_body(service_tier="gold"), "invalid_value", "service_tier"),
        (
            chat_body(response_format={"type": "json_schema", "json_schema": {"schema": {}}}),
            "invalid_value",
            "response_format.json_schema.name",
        ),
        (chat_body(n=129), "integer_above_max_value", "n"),
        (chat_body(stream="yes"), "invalid_type", "stream"),
        (chat_body("a" * 600_000), "context_length_exceeded", "messages"),
        (chat_body(max_tokens=200_000), "context_length_exceeded", "messages"),
        (chat_body(response_format={"type": "xml"}), "invalid_value", "response_format.type"),
        (chat_body() | {"messages": [{"content": "x"}]}, None, "messages[0].role"),
        (chat_body() | {"messages": [{"role": "user"}]}, "invalid_type", "messages[0].content"),
    ],
)
async def test_what_is_not_in_order_is_refused_at_once(autojump_clock, body, code, param):
    async with connected() as client:
        start = trio.current_time()
        response = await client.post("/v1/chat/completions", json=body)
        assert trio.current_time() == start
    error = response.json()["error"]
    assert response.status_code == 400
    assert error["type"] == "invalid_request_error"
    assert (error["code"], error["param"]) == (code, param)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff", b"[" * 100_000])
async def test_what_is_not_json_is_refused(autojump_clock, data):
    async with connected() as client:
        response = await client.post("/v1/chat/completions", content=data)
    assert response.status_code == 400
    assert "could not parse the JSON body" in response.json()["error"]["message"]


async def test_a_wrong_key_is_refused_and_not_repeated_in_full(autojump_clock):
    secret = "sk-wrong-and-quite-long-0123456789"
    async with connected(api_key="sk-right", rpm=10) as client:
        missing = await client.chat()
        wrong = await client.chat(headers={"authorization": f"Bearer {secret}"})
        short = await client.chat(headers={"authorization": "Bearer hunter2"})
        right = await client.chat(headers={"authorization": "Bearer sk-right"})
        listed = await client.get("/v1/models")
    assert [r.status_code for r in (missing, wrong, short, right, listed)] == [
        401,
        401,
        401,
        200,
        401,
    ]
    assert wrong.json()["error"]["code"] == "invalid_api_key"
    assert secret not in wrong.text
    assert "hunter2" not in short.text
    assert "x-ratelimit-limit-requests" not in wrong.headers
    assert "sk-right" not in repr(client.provider.settings)


async def test_an_unknown_path_is_a_404_and_a_wrong_method_a_405(autojump_clock):
    async with connected() as client:
        assert (await client.get("/nope")).json()["error"]["message"] == "Invalid URL (GET /nope)"
        assert (await client.post("/v1/nope")).status_code == 404
        wrong = await client.get("/v1/chat/completions")
        assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
        assert (await client.post("/v1/models")).headers["allow"] == "GET"
        assert (await client.get("/health")).json() == {"status": "ok"}


async def test_the_limit_refills_continuously(autojump_clock):
    async with connected(rpm=60, latency_s=(0.0, 0.0)) as client:
        for _ in range(60):
            assert (await client.chat()).status_code == 200
        refused = await client.chat()
        assert refused.status_code == 429
        assert refused.json()["error"]["type"] == "requests"
        assert refused.headers["retry-after"] == "1"
        assert refused.headers["x-ratelimit-remaining-requests"] == "0"
        await trio.sleep(2.5)
        statuses = [(await client.chat()).status_code for _ in range(3)]
        assert statuses == [200, 200, 429]
        assert client.provider.stats.rejected == 2


@pytest.mark.parametrize(("charge", "remaining"), [("max", 900), ("sum", 875)])
async def test_tokens_are_charged_at_admission(autojump_clock, charge, remaining):
    async with connected(tpm=1000, token_charge=charge) as client:
        response = await client.chat("x" * 100, max_tokens=100)
    assert response.headers["x-ratelimit-remaining-tokens"] == str(remaining)


async def test_a_429_may_come_without_headers(autojump_clock):
    async with connected(rpm=1, headers_on_429=()) as client:
        assert "x-ratelimit-limit-requests" in (await client.chat()).headers
        refused = await client.chat()
    assert refused.status_code == 429
    assert "retry-after" not in refused.headers
    assert not any(name.startswith("x-ratelimit") for name in refused.headers)


async def test_a_400_counts_as_a_request(autojump_clock):
    async with connected(rpm=10) as client:
        response = await client.chat(n=0)
    assert response.headers["x-ratelimit-remaining-requests"] == "9"


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        ([], {}),
        (["retry-after"], {"retry-after": "30"}),
        (["retry-after-ms"], {"retry-after-ms": "30000"}),
        (["x-should-retry"], {"x-should-retry": "true"}),
        (
            ["limits", "retry-after-ms"],
            {"retry-after-ms": "30000", "x-ratelimit-remaining-requests": "0"},
        ),
    ],
)
async def test_the_text_of_a_429_can_be_chosen(autojump_clock, names, shown):
    known = ("retry-after", "retry-after-ms", "x-should-retry", "x-ratelimit-remaining-requests")
    async with connected(rpm=2, headers_on_429=names, latency_s=(0.0, 0.0)) as client:
        for _ in range(2):
            await client.chat()
        refused = await client.chat()
        message = [await client.message() for _ in range(3)][-1]
    assert refused.status_code == message.status_code == 429
    assert {k: v for k, v in refused.headers.items() if k in known} == shown
    assert message.headers.get("retry-after-ms") == shown.get("retry-after-ms")
    assert ("anthropic-ratelimit-requests-limit" in message.headers) == ("limits" in names)


async def test_a_429_that_is_permanent_states_not_to_retry(autojump_clock):
    async with connected(tpm=10, headers_on_429=["retry-after", "x-should-retry"]) as client:
        refused = await client.chat("x" * 100)
    assert refused.headers["x-should-retry"] == "false"
    assert "retry-after" not in refused.headers


@pytest.mark.parametrize(
    ("settings", "first", "second"),
    [
        ({}, 9975, 9950),
        ({"default_output_tokens": 16, "token_charge": "sum"}, 9959, 9918),
        ({"corrects_charge": True}, 9975, None),
    ],
)
async def test_the_charge_of_tokens_can_be_chosen(autojump_clock, settings, first, second):
    async with connected(tpm=10_000, latency_s=(0.0, 0.0), **settings) as client:
        one = await client.chat("x" * 100)
        two = await client.chat("x" * 100)
    assert one.headers["x-ratelimit-remaining-tokens"] == str(first)
    if second is None:  # less all that the first has used, and the estimate of this one
        second = 10_000 - one.json()["usage"]["total_tokens"] - 25
    assert two.headers["x-ratelimit-remaining-tokens"] == str(second)


@pytest.mark.parametrize("stop", ["Trio", ["nowhere", "Trio"]])
async def test_a_stop_sequence_ends_the_answer_before_it(autojump_clock, stop):
    async with connected() as client:
        whole = (await client.chat()).json()["choices"][0]["message"]["content"]
        body = (await client.chat(stop=stop)).json()
    [choice] = body["choices"]
    assert choice["message"]["content"] == whole[: whole.index("Trio")]
    assert choice["finish_reason"] == "stop"
    assert body["usage"]["completion_tokens"] == math.ceil(whole.index("Trio") / 4)


async def test_the_tier_is_reported(autojump_clock):
    async with connected() as client:
        tiers = {
            asked: (await client.chat(service_tier=asked)).json()["service_tier"]
            for asked in ("auto", "flex", "fast")
        }
    assert tiers == {"auto": "default", "flex": "flex", "fast": "priority"}


async def test_choices_may_come_in_the_other_order(autojump_clock):
    request = {"model": "m", "prompt": ["What is Trio?", "What is attrs?"], "n": 2}
    found = {}
    for order in ("prompt", "choice"):
        async with connected(choice_order=order) as client:
            body = (await client.post("/v1/completions", json=request)).json()
            found[order] = [choice["text"] for choice in body["choices"]]
    assert found["choice"] == [found["prompt"][i] for i in (0, 2, 1, 3)]


async def test_the_counts_add_up_and_can_be_reset(autojump_clock):
    async with connected(rpm=6) as client:
        for _ in range(4):
            await client.chat()
        with trio.move_on_after(0.1):
            await client.chat(headers={"x-callsheet-fault": "stall"})
        await trio.testing.wait_all_tasks_blocked()
        found = (await client.get("/callsheet/stats")).json()
        assert found["by_status"] == {"200": 4}
        assert found["requests"] == found["answered"] + found["cancelled"] + found["broken"] == 5
        assert (found["streams_cut"], found["abandoned"], found["working"]) == (0, 0, 0)
        assert found["input_tokens"] > 0
        await client.post("/callsheet/reset")
        assert client.provider.stats.requests == 0
        statuses = [(await client.chat()).headers["x-ratelimit-remaining-requests"]]
        assert statuses == ["5"]
