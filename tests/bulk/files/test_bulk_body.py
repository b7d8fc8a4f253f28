"""The body in OUTPUT is the provider's own wherever it wrote one, member by member."""

import json

import attrs
import httpx
import pytest
from bulk_rows import MODEL, URL, lines_of, on_the_spot

from callsheet.actors import Batching, Endpoint, Request, TroupeSettings
from callsheet.bulk import bulk
from callsheet.bulk.files.lines import read_answer
from callsheet.bulk.row import Row

CHAT = {
    "id": "chatcmpl-9",
    "object": "chat.completion",
    "created": 1_750_000_000,
    "model": "gpt-4o-mini-2024-07-18",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Yes.", "refusal": None, "annotations": []},
            "logprobs": {"content": [{"token": "Yes", "logprob": -0.25}], "refusal": None},
            "finish_reason": "stop",
        }
    ],
    "usage": {
        "prompt_tokens": 9,
        "completion_tokens": 2,
        "total_tokens": 11,
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    },
    "service_tier": "default",
    "system_fingerprint": "fp_1",
}
CALL = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": "{}"}}


def chat(message, reason="stop"):
    message = {"role": "assistant", "content": None, **message}
    return {**CHAT, "choices": [{"index": 0, "message": message, "finish_reason": reason}]}


def vectors(*given):
    data = [{"object": "embedding", "index": at, "embedding": one} for at, one in enumerate(given)]
    usage = {"prompt_tokens": 8, "total_tokens": 8}
    return {"object": "list", "data": data, "model": "text-embedding-3-small", "usage": usage}


def row(number, request):
    key = number.to_bytes(16, "big")
    return Row(number=number, custom_id=f"r-{number}", request=request, key=key, url="/v1/x")


def ask(prompt="Well?", **more):
    return Request.of(prompt, model=MODEL, **more)


async def lines_from(answer, output, *requests, vendor="openai", **troupe):
    """Return the lines of OUTPUT and of the file of errors for this response of the provider."""

    def respond(body):
        status, headers = (400, {}) if "error" in body else (200, {"x-request-id": "req_7"})
        return httpx.Response(status, headers=headers, json=body)

    def handle(request):
        asked = json.loads(request.content)
        return respond(answer(asked) if callable(answer) else answer)

    settings = TroupeSettings(
        endpoint=Endpoint(URL, "sk-secret-0123456789", vendor),
        transport=httpx.MockTransport(handle),
        **troupe,
    )
    rows = [row(number, request) for number, request in enumerate(requests, 1)]
    async with bulk(
        rows, output, settings, in_thread=on_the_spot, wall_clock=lambda: 1_800_000_000.0
    ) as results:
        async for result in results:
            assert result.error is not None or result.response == read_answer(result.line)
    errors = output.with_name(f"{output.name}.errors.jsonl")
    return lines_of(output) + (lines_of(errors) if errors.exists() else [])


@pytest.mark.parametrize(
    "body",
    [
        CHAT,
        chat({"refusal": "I will not."}),
        chat({"tool_calls": [CALL]}, "tool_calls"),
        chat({"content": "4", "reasoning_content": "2 and 2", "annotations": [{"type": "url"}]}),
    ],
    ids=["log probabilities", "refusal", "tool calls", "reasoning"],
)
async def test_a_chat_is_in_the_output_as_the_provider_wrote_it(body, tmp_path):
    (line,) = await lines_from(body, tmp_path / "out.jsonl", ask())
    assert line["response"] == {"status_code": 200, "request_id": "req_7", "body": body}
    assert "provider_body" not in line["callsheet"]


async def test_what_is_read_back_has_the_body_too(tmp_path):
    output = tmp_path / "out.jsonl"
    await lines_from(chat({"tool_calls": [CALL]}, "tool_calls"), output, ask())
    answer = read_answer(output.read_bytes())
    assert answer.body["choices"][0]["message"]["tool_calls"] == [CALL]
    assert (answer.text, answer.finish_reason, answer.request_id) == ("", "tool_calls", "req_7")


async def test_vectors_stay_packed_if_they_were_asked_for_so(tmp_path):
    packed = "AAAAPwAAgD8="  # 0.5 and 1
    request = attrs.evolve(
        Request.embedding("a", model="text-embedding-3-small"),
        extra_body={"encoding_format": "base64"},
    )
    body = vectors(packed)
    output = tmp_path / "out.jsonl"
    (line,) = await lines_from(body, output, request)
    assert line["response"]["body"] == body
    assert read_answer(output.read_bytes()).embeddings == ((0.5, 1.0),)


async def test_of_a_list_each_row_has_its_own_part_and_its_share_of_the_usage(tmp_path):
    requests = [Request.embedding(text, model="text-embedding-3-small") for text in "abc"]

    def answer(body):
        return vectors(*([len(text), 0.5] for text in body["input"]))

    lines = await lines_from(answer, tmp_path / "out.jsonl", *requests, batching=Batching())
    assert {line["callsheet"]["route"] for line in lines} == {"list"}
    bodies = [line["response"]["body"] for line in lines]
    for body in bodies:
        assert body["data"] == [{"object": "embedding", "index": 0, "embedding": [1, 0.5]}]
    assert sum(body["usage"]["prompt_tokens"] for body in bodies) == 8


async def test_a_row_that_shares_a_response_reports_zero_usage(tmp_path):
    request = attrs.evolve(ask(), cacheable=True)
    lines = await lines_from(CHAT, tmp_path / "out.jsonl", request, request)
    bodies = {line["callsheet"]["route"]: line["response"]["body"] for line in lines}
    assert bodies["live"] == CHAT
    nothing = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    assert bodies["joined"] == {**CHAT, "usage": nothing}


async def test_another_providers_body_is_made_openais_and_kept_beside_it(tmp_path):
    body = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-x",
        "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "Yes."}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 9, "output_tokens": 2},
    }
    (line,) = await lines_from(body, tmp_path / "out.jsonl", ask(), vendor="anthropic")
    made = line["response"]["body"]
    assert (made["id"], made["choices"][0]["message"]["content"]) == ("msg_1", "Yes.")
    assert made["usage"]["total_tokens"] == 11
    assert line["callsheet"]["provider_body"] == body


@pytest.mark.parametrize("reason", ["tool_use", "refusal"])
async def test_a_body_that_is_made_has_everything_that_a_response_has(reason, tmp_path):
    """L10: what is read back from OUTPUT is equal, which `lines_from` checks."""
    call = {"type": "tool_use", "id": "toolu_1", "name": "add", "input": {"x": 1}}
    note = {"type": "web_search_result_location", "url": "https://example.com"}
    body = {
        "type": "message",
        "model": "claude-x",
        "content": [
            {"type": "thinking", "thinking": "hm"},
            {"type": "text", "text": "Yes.", "citations": [note]},
            call,
        ],
        "stop_reason": reason,
        "usage": {"input_tokens": 9, "output_tokens": 2},
    }
    (line,) = await lines_from(body, tmp_path / "out.jsonl", ask(), vendor="anthropic")
    message = line["response"]["body"]["choices"][0]["message"]
    assert message["reasoning_content"] == "hm"
    assert message["tool_calls"][0]["function"] == {"name": "add", "arguments": '{"x":1}'}
    assert message["annotations"] == [note]
    assert message["refusal"] == ("refusal" if reason == "refusal" else None)


async def test_a_rejection_has_the_providers_text_without_the_key(tmp_path):
    error = {
        "message": "too long",
        "type": "invalid_request_error",
        "param": "messages",
        "code": "context_length_exceeded",
        "seen": ["sk-secret-0123456789"],
    }
    (line,) = await lines_from({"error": error}, tmp_path / "out.jsonl", ask())
    told = line["response"]
    assert told["status_code"] == 400
    assert told["body"] == {"error": {**error, "seen": ["***"]}}  # L8
    assert line["callsheet"]["kind"] == "BadRequest"
    assert "too long" in line["callsheet"]["message"]
