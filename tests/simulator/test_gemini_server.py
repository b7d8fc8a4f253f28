"""Gemini's generateContent and streamGenerateContent, and counts of tokens."""

import json

import pytest
from provider_client import VERSION, connected, message_body

MODEL = "gemini-2.5-flash"
DECLARATION = {
    "name": "get_weather",
    "parameters": {
        "type": "OBJECT",
        "properties": {"city": {"type": "STRING"}, "days": {"type": "INTEGER"}},
    },
}
TOOLS = [{"functionDeclarations": [DECLARATION]}]
TOLD = 'Call get_weather for "Oslo".'


def body_of(text="What is Trio?", config=None, **more):
    body = {"contents": [{"role": "user", "parts": [{"text": text}]}]} | more
    return body | ({} if config is None else {"generationConfig": config})


def url(method="generateContent"):
    return f"/v1beta/models/{MODEL}:{method}"


async def generate(client, text="What is Trio?", **more):
    response = await client.post(url(), json=body_of(text, **more))
    assert response.status_code == 200, response.text
    return response.json()


async def stream(client, text="What is Trio?", query="?alt=sse", **more):
    response = await client.post(url("streamGenerateContent") + query, json=body_of(text, **more))
    if query:
        assert response.headers["content-type"].startswith("text/event-stream")
        *blocks, rest = response.text.split("\n\n")
        assert rest == ""
        return [json.loads(block.removeprefix("data: ")) for block in blocks]
    return response.json()


def parts_of(chunks, index=0):
    return [
        part
        for chunk in chunks
        for candidate in chunk["candidates"]
        if candidate["index"] == index
        for part in candidate["content"].get("parts", ())
    ]


def text_of(chunks, index=0):
    return "".join(part.get("text", "") for part in parts_of(chunks, index))


async def test_a_candidate_has_the_text_of_a_chat(autojump_clock):
    async with connected() as client:
        chat = (await client.chat()).json()
        body = await generate(client)
    [candidate] = body["candidates"]
    assert text_of([body]) == chat["choices"][0]["message"]["content"]
    assert (candidate["finishReason"], candidate["content"]["role"]) == ("STOP", "model")
    usage = body["usageMetadata"]
    assert usage["promptTokenCount"] == chat["usage"]["prompt_tokens"]
    assert usage["candidatesTokenCount"] == chat["usage"]["completion_tokens"]
    assert usage["totalTokenCount"] == chat["usage"]["total_tokens"]
    assert body["modelVersion"] == MODEL


@pytest.mark.parametrize("query", ["?alt=sse", ""])
async def test_a_stream_joins_to_the_whole_answer(autojump_clock, query):
    config = {"candidateCount": 2}
    async with connected() as client:
        whole = await generate(client, config=config)
        chunks = await stream(client, query=query, config=config)
    assert len(chunks) > 5
    for index in (0, 1):
        assert text_of(chunks, index) == text_of([whole], index)
    assert chunks[-1]["usageMetadata"] == whole["usageMetadata"]
    ends = [c for chunk in chunks for c in chunk["candidates"] if "finishReason" in c]
    assert sorted((end["index"], end["finishReason"]) for end in ends) == [(0, "STOP"), (1, "STOP")]


async def test_a_function_is_called_whole_and_its_response_answered(autojump_clock):
    async with connected() as client:
        body = await generate(client, TOLD, tools=TOOLS)
        chunks = await stream(client, TOLD, tools=TOOLS)
        [part] = body["candidates"][0]["content"]["parts"]
        contents = [
            {"role": "user", "parts": [{"text": TOLD}]},
            body["candidates"][0]["content"],
            {
                "role": "user",
                "parts": [{"functionResponse": {"name": "get_weather", "response": {"C": 9}}}],
            },
        ]
        answer = await generate(client, tools=TOOLS, contents=contents)
    assert part["functionCall"]["name"] == "get_weather"
    assert part["functionCall"]["args"]["city"] == "Oslo"
    assert parts_of(chunks) == [part]
    assert text_of([answer])


@pytest.mark.parametrize(("mode", "calls"), [("NONE", False), ("AUTO", False), ("ANY", True)])
async def test_the_mode_of_calling_is_obeyed(autojump_clock, mode, calls):
    config = {"functionCallingConfig": {"mode": mode}}
    async with connected() as client:
        body = await generate(client, tools=TOOLS, toolConfig=config)
    assert ("functionCall" in parts_of([body])[0]) == calls


async def test_a_schema_with_types_in_upper_case_gets_json(autojump_clock):
    schema = {"type": "OBJECT", "properties": {"score": {"type": "INTEGER", "maximum": 5}}}
    config = {"responseMimeType": "application/json", "responseSchema": schema}
    async with connected() as client:
        body = await generate(client, config=config)
    assert json.loads(text_of([body]))["score"] <= 5


async def test_thoughts_are_counted_and_shown_on_demand(autojump_clock):
    async with connected() as client:
        plain = await generate(client)
        hidden = await generate(client, config={"thinkingConfig": {"thinkingBudget": 100}})
        thinking = {"thinkingLevel": "LOW", "includeThoughts": True}
        shown = await generate(client, config={"thinkingConfig": thinking})
        lower = await generate(client, config={"thinkingConfig": {"thinkingLevel": "low"}})
    assert parts_of([hidden]) == parts_of([plain])
    assert hidden["usageMetadata"]["thoughtsTokenCount"] == 100
    assert shown["usageMetadata"]["thoughtsTokenCount"] == 64
    assert lower["usageMetadata"]["thoughtsTokenCount"] == 64
    thought, text = parts_of([shown])
    assert thought["thought"] is True
    assert text == parts_of([plain])[0]


async def test_a_limit_of_tokens_is_a_finish_reason(autojump_clock):
    async with connected() as client:
        body = await generate(client, config={"maxOutputTokens": 5})
    assert body["candidates"][0]["finishReason"] == "MAX_TOKENS"
    assert body["usageMetadata"]["candidatesTokenCount"] == 5


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"messages": []}, 'Unknown name "messages"'),
        ({"config": {"max_tokens": 5}}, "Unknown name \"max_tokens\" at 'generationConfig'"),
        ({"contents": []}, "contents"),
        ({"contents": [{"role": "system", "parts": [{"text": "x"}]}]}, "valid role"),
    ],
)
async def test_what_is_not_in_order_is_refused(autojump_clock, more, said):
    async with connected() as client:
        response = await client.post(url(), json=body_of(**more))
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["status"]) == (400, 400, "INVALID_ARGUMENT")
    assert said in error["message"]


async def test_the_stable_version_of_the_api_has_the_same_methods(autojump_clock):
    """Google's clients of 2026 use it."""
    async with connected() as client:
        for method in ("generateContent", "streamGenerateContent", "countTokens"):
            path = url(method).replace("v1beta", "v1")
            answers = [await client.post(each, json=body_of()) for each in (path, url(method))]
            assert [answer.status_code for answer in answers] == [200, 200]
        unknown = await client.post("/v1/models/m:embedContent", json={})
        model = await client.get("/v1/models/ft:gpt-4o:us")
    assert unknown.json()["error"]["code"] == 405
    assert model.json()["id"] == "ft:gpt-4o:us"


async def test_members_may_have_their_original_names(autojump_clock):
    """Google's own client sends some of them in snake case."""
    schema = {"type": "object", "properties": {"in_city": {"type": "string"}}}
    named = {"name": "f", "parameters_json_schema": {**schema, "required": ["in_city"]}}
    body = {
        "contents": [{"role": "user", "parts": [{"text": "Call f."}]}],
        "system_instruction": {"parts": [{"text": "Be brief."}]},
        "generation_config": {"thinking_config": {"thinking_budget": 64}, "max_output_tokens": 500},
        "tools": [{"function_declarations": [named]}],
        "tool_config": {"function_calling_config": {"mode": "ANY"}},
    }
    async with connected() as client:
        response = (await client.post(url(), json=body)).json()
    call = response["candidates"][0]["content"]["parts"][-1]["functionCall"]
    assert (call["name"], list(call["args"])) == ("f", ["in_city"])
    assert response["usageMetadata"]["thoughtsTokenCount"] == 64


async def test_log_probabilities_are_the_same_whole_and_streamed(autojump_clock):
    config = {"responseLogprobs": True, "logprobs": 2}
    async with connected() as client:
        (whole,) = (await generate(client, config=config))["candidates"]
        chunks = [chunk["candidates"][0] for chunk in await stream(client, config=config)]
        refused = await client.post(url(), json=body_of(config={"logprobs": 2}))
    result = whole["logprobsResult"]
    assert "".join(token["token"] for token in result["chosenCandidates"]) == text_of(
        [{"candidates": [whole]}]
    )
    assert {len(top["candidates"]) for top in result["topCandidates"]} == {2}
    assert whole["avgLogprobs"] < 0
    streamed = [token for chunk in chunks for token in chunk["logprobsResult"]["chosenCandidates"]]
    assert streamed == result["chosenCandidates"]
    assert refused.status_code == 400


async def test_keys_models_and_paths_are_refused_in_its_format(autojump_clock):
    async with connected(api_key="right", models=("other",)) as client:
        wrong = await client.post(url(), json=body_of(), headers={"x-goog-api-key": "wrong"})
        unknown = await client.post(f"{url()}?key=right", json=body_of())
        nowhere = await client.get("/v1beta/nothing")
    assert wrong.status_code == 400
    assert wrong.json()["error"]["details"][0]["reason"] == "API_KEY_INVALID"
    assert (unknown.status_code, unknown.json()["error"]["status"]) == (404, "NOT_FOUND")
    assert nowhere.json()["error"]["status"] == "NOT_FOUND"


async def test_a_limit_tells_the_delay_in_its_body_only(autojump_clock):
    async with connected(rpm=1, latency_s=(0.0, 0.0)) as client:
        first = await client.post(url(), json=body_of())
        refused = await client.post(url(), json=body_of())
    assert first.status_code == 200
    quota, retry = refused.json()["error"]["details"]
    assert refused.json()["error"]["status"] == "RESOURCE_EXHAUSTED"
    assert "PerMinute" in quota["violations"][0]["quotaId"]
    assert retry["retryDelay"] == "60s"
    assert not [name for name in refused.headers if "ratelimit" in name or "retry" in name]


async def test_faults_reach_its_calls_too(autojump_clock):
    async with connected() as client:
        broken = await client.post(
            url("streamGenerateContent") + "?alt=sse",
            json=body_of(),
            headers={"x-callsheet-fault": "error_event"},
        )
        daily = await client.post(url(), json=body_of(), headers={"x-callsheet-fault": "quota"})
    assert '"status":"UNAVAILABLE"' in broken.text
    assert "PerDay" in daily.json()["error"]["details"][0]["violations"][0]["quotaId"]


async def test_tokens_are_counted_as_a_call_would_bill_them(autojump_clock):
    async with connected() as client:
        message = {name: value for name, value in message_body().items() if name != "max_tokens"}
        counted = await client.post("/v1/messages/count_tokens", json=message, headers=VERSION)
        billed = (await client.message()).json()["usage"]["input_tokens"]
        assert counted.json() == {"input_tokens": billed}
        request = {"model": "m", "input": "What is Trio?"}
        counted = await client.post("/v1/responses/input_tokens", json=request)
        assert counted.json()["input_tokens"] == billed
        counted = await client.post(url("countTokens"), json=body_of())
        assert counted.json() == {"totalTokens": billed}
        assert client.provider.stats.requests == 1
        assert client.provider.stats.input_tokens == billed
        refused = await client.post(
            "/v1/messages/count_tokens", json=message_body(), headers=VERSION
        )
    assert refused.json()["error"]["message"] == "max_tokens: Extra inputs are not permitted"
