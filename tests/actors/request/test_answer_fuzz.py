"""Answers with random changes of structure: a response or a typed error, bought once more at most.

The shapes are those that the providers document or were recorded; the changes are legal and
illegal ones: members that are missing, null, of another type, repeated, reordered or unknown, and
bodies that are cut, mixed or sent as something else.
"""

import json
from copy import deepcopy
from random import Random

import pytest
import trio
from fakes import Reply, Script, requester

from callsheet.actors import (
    CallContext,
    CallFailed,
    Complete,
    ConnectionFailed,
    MalformedResponse,
    Request,
    Response,
    RetryPolicy,
)
from callsheet.actors.chat_message import ChatMessage

HI = (ChatMessage("user", "Hi"),)
CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
TOKEN = {"token": "Hi", "logprob": -0.1, "top_logprobs": [{"token": "Hi", "logprob": -0.1}]}
MESSAGE = {
    "role": "assistant",
    "content": "Hello",
    "reasoning_content": "hm",
    "refusal": None,
    "tool_calls": [CALL],
    "annotations": [{"type": "url_citation"}],
}
USAGE = {"prompt_tokens": 9, "completion_tokens": 3, "completion_tokens_details": {"x": 1}}


def chunk(delta, reason=None, **more):
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
    return {"id": "c", "model": "m", "choices": [choice], **more}


CHAT = {
    "id": "c",
    "object": "chat.completion",
    "model": "m",
    "choices": [
        {
            "index": 0,
            "message": MESSAGE,
            "logprobs": {"content": [TOKEN]},
            "finish_reason": "stop",
        }
    ],
    "usage": USAGE,
    "service_tier": "default",
}
PARTS = [
    {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
    {"type": "text", "text": "4"},
]
OPENAI = [
    [CHAT],
    [{**CHAT, "choices": [{"index": 0, "message": {"content": PARTS}, "finish_reason": "stop"}]}],
    [
        {
            "choices": [
                {
                    "index": 0,
                    "message": {"content": ""},
                    "finish_reason": "error",
                    "error": {"code": 502, "message": "Provider disconnected"},
                }
            ],
            "usage": USAGE,
        }
    ],
    [{"error": {"message": "Overloaded", "type": "server_error", "code": 503}}],
    [{"choices": None, "base_resp": {"status_code": 1002, "status_msg": "busy"}}],
    [
        chunk({"content": [{"type": "tool_use", "id": "t", "name": "f", "input": {"x": 1}}]}),
        chunk({"content": {"type": "text", "text": "Hel"}}, "null"),
        chunk({"content": "lo", "thinking": "hm"}),
        {"choices": [{"index": 0, "message": MESSAGE, "finish_reason": "stop", "usage": USAGE}]},
    ],
    [
        chunk({"role": "assistant", "content": ""}),
        chunk({"reasoning_content": "hm"}),
        chunk({"content": "Hel"}),
        chunk({"content": "lo"}),
        chunk({"tool_calls": [{"index": 0, **CALL}]}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": " "}}]}),
        chunk({}, "stop", usage=USAGE),
        {"choices": [], "usage": USAGE, "x_groq": {"id": "r", "usage": USAGE}},
    ],
]
OLDER = [
    [
        {
            "model": "m",
            "choices": [
                {
                    "index": 0,
                    "text": "a",
                    "logprobs": {"tokens": ["a"], "token_logprobs": [-1], "top_logprobs": [{}]},
                    "finish_reason": "stop",
                },
                {"index": 1, "text": "b", "logprobs": None, "finish_reason": "length"},
            ],
            "usage": USAGE,
        }
    ],
    [
        {"choices": [{"index": 1, "text": "b", "finish_reason": None}]},
        {"choices": [{"index": 0, "text": "a", "finish_reason": "stop"}]},
        {"choices": [{"index": 1, "text": "", "finish_reason": "length"}], "usage": USAGE},
    ],
]
BLOCKS = [
    {"type": "thinking", "thinking": "hm", "signature": "s"},
    {"type": "text", "text": "Hello", "citations": [{"url": "u"}]},
    {"type": "tool_use", "id": "t", "name": "f", "input": {"x": 1}},
]
COUNTS = {"input_tokens": 9, "output_tokens": 3, "cache_read_input_tokens": 1}
SAID = {"id": "msg", "type": "message", "role": "assistant", "model": "m", "usage": COUNTS}
ANTHROPIC = [
    [{**SAID, "content": BLOCKS, "stop_reason": "tool_use", "stop_sequence": None}],
    [{"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}],
    [
        {"type": "message_start", "message": {**SAID, "content": [], "stop_reason": None}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "ping"},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "H"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": {**BLOCKS[2], "input": {}}},
        {
            "type": "content_block_delta",
            "index": 1,
            "delta": {"type": "input_json_delta", "partial_json": "{}"},
        },
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": COUNTS},
        {"type": "message_stop"},
    ],
]
GEMINI_USAGE = {"promptTokenCount": 9, "candidatesTokenCount": 3, "thoughtsTokenCount": 1}
GEMINI = [
    [
        {
            "candidates": [
                {
                    "index": 0,
                    "content": {
                        "role": "model",
                        "parts": [
                            {"text": "hm", "thought": True},
                            {"text": "Hello"},
                            {"functionCall": {"name": "f", "args": {"x": 1}}},
                        ],
                    },
                    "finishReason": "STOP",
                    "logprobsResult": {"chosenCandidates": [{"token": "a", "logProbability": -1}]},
                    "groundingMetadata": {"groundingChunks": [{"web": {"uri": "u"}}]},
                }
            ],
            "usageMetadata": GEMINI_USAGE,
            "modelVersion": "g",
        }
    ],
    [{"candidates": [], "promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}],
    [
        {"candidates": [{"content": {"parts": [{"text": "Hel"}]}}], "modelVersion": "g"},
        {"candidates": [{"content": {"parts": [{"text": "lo"}]}, "finishReason": "STOP"}]},
        {"candidates": [], "usageMetadata": GEMINI_USAGE},
    ],
]
REASONED = {"type": "reasoning", "id": "rs", "summary": [{"type": "summary_text", "text": "hm"}]}
SPOKEN = {
    "type": "output_text",
    "text": "Hello",
    "annotations": [{"url": "u"}],
    "logprobs": [TOKEN],
}
WRITTEN = {"type": "message", "id": "msg", "role": "assistant", "content": [SPOKEN]}
CALLED = {"type": "function_call", "id": "fc", "call_id": "c", "name": "f", "arguments": "{}"}
OUTPUT = {
    "id": "resp",
    "object": "response",
    "status": "completed",
    "error": None,
    "incomplete_details": None,
    "model": "m",
    "output": [REASONED, WRITTEN, CALLED],
    "usage": {**COUNTS, "input_tokens_details": {"cached_tokens": 1}},
}
BEGUN = {**OUTPUT, "status": "in_progress", "output": [], "usage": None}


def said(kind, place=0, **more):
    return {"type": f"response.{kind}", "output_index": place, **more}


RESPONSES = [
    [OUTPUT],
    [{**OUTPUT, "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}],
    [{**OUTPUT, "status": "failed", "error": {"code": "server_error", "message": "Sorry."}}],
    [
        {"type": "response.created", "response": BEGUN},
        said("output_item.added", item={**REASONED, "summary": []}),
        said("reasoning_summary_text.delta", summary_index=0, delta="hm"),
        said("output_item.done", item=REASONED),
        said("output_item.added", 1, item={**WRITTEN, "content": []}),
        said("output_text.delta", 1, content_index=0, delta="Hel"),
        said("output_text.delta", 1, content_index=0, delta="lo"),
        said("output_item.done", 1, item=WRITTEN),
        said("output_item.added", 2, item={**CALLED, "arguments": ""}),
        said("function_call_arguments.delta", 2, delta="{}"),
        said("output_item.done", 2, item=CALLED),
        {"type": "response.completed", "response": OUTPUT},
    ],
    [
        {"type": "response.created", "response": BEGUN},
        {"type": "error", "error": {"code": "rate_limit_exceeded", "message": "Slow down."}},
    ],
]
VECTORS = [[{"data": [{"index": 0, "embedding": [0.5, 1]}], "model": "m", "usage": USAGE}]]
FORMATS = {
    "chat": ("openai", OPENAI, {"messages": HI}),
    "completion": ("openai", OLDER, {"task": "completion", "inputs": ["a", "b"]}),
    "embedding": ("openai", VECTORS, {"task": "embedding", "inputs": ["a"]}),
    "responses": ("openai", RESPONSES, {"messages": HI, "api": "responses"}),
    "anthropic": ("anthropic", ANTHROPIC, {"messages": HI}),
    "gemini": ("gemini", GEMINI, {"messages": HI}),
}
ODD = [None, True, 0, -1, 1e999, 10**30, "", "x", "\ud800", [], [None], [[]], {}, {"x": None}]


def spots(value, found):
    """Collect (container, key) of every value in a JSON value."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in list(items):
            found.append((value, key))
            spots(inner, found)
    return found


def change(events, random):
    """Change the structure at one place."""
    places = spots(events, [])
    container, key = random.choice(places) if places else (events, 0)
    kind = random.randrange(7)
    if kind == 0 and isinstance(container, dict | list) and len(container):
        del container[key]
    elif kind == 1 and isinstance(container, list):
        container.insert(random.randrange(len(container) + 1), deepcopy(random.choice(ODD)))
    elif kind == 2 and isinstance(container, list):
        random.shuffle(container)
    elif kind == 3 and isinstance(container, list) and len(container):
        container.append(deepcopy(random.choice(container)))
    elif kind == 4 and isinstance(container, dict):
        container[random.choice(["error", "x", "index", "type", "delta", "message"])] = deepcopy(
            random.choice(ODD)
        )
    elif kind == 5 and places:  # the value of another place
        there, other = random.choice(places)
        if there is not container:
            container[key] = deepcopy(there[other]) if len(str(there)) < 2000 else None
    elif places:
        container[key] = deepcopy(random.choice(ODD))


def written(events, random):
    """Return the bytes of an answer: as JSON or as events, perhaps cut or with other bytes."""
    texts = [json.dumps(event) for event in events]
    if len(events) == 1 and random.random() < 0.7:
        body = texts[0].encode()
    elif random.random() < 0.1:
        body = "\n".join(texts).encode()
    else:
        noise = ["", "\n", ": hm\n\n", "data: null\n\n", "event: x\n"]
        lines = [f"{random.choice(noise)}data: {text}\n\n" for text in texts]
        end = random.choice(["data: [DONE]\n\n", "data: [DONE]\n\n", ""])
        body = "".join([*lines, end]).encode()
    if random.random() < 0.15:
        at = random.randrange(len(body) + 1)
        body = random.choice([body[:at], body[:at] + b"\xff\x00" + body[at:], body[at:]])
    return random.choice([b"", b"", b"\n\n", b"\xef\xbb\xbf"]) + body


async def ask_for_changed(count, kind, seed):
    vendor, shapes, fields = FORMATS[kind]
    random, script = Random(f"{kind} {seed}"), Script()
    outcomes = {}
    policy = RetryPolicy(max_attempts=3, base_s=0.1)
    settings = {"vendor": vendor, "retry": policy}
    for streaming in (True, False):
        async with requester(script, streaming=streaming, **settings) as (ref, runtime):
            for number in range(count // 2):
                events = deepcopy(random.choice(shapes))
                for _ in range(random.randrange(4)):
                    change(events, random)
                body = written(events, random)
                kinds = ["text/event-stream", "application/json", "text/plain", ""]
                headers = {"content-type": random.choice(kinds)}
                script.lines = [Reply(body=body, headers=headers, after=0.1, pieces=3)]
                script.sent.clear()
                request = Request(model=f"m{number}", **fields)  # a streak of its own
                start = trio.current_time()
                try:
                    found = await ref.ask(Complete(request, CallContext("c")), timeout=30)
                except CallFailed as error:
                    found = error
                assert trio.current_time() - start < 30, body
                check(found, len(script.sent), body)
                outcomes[type(found).__name__] = outcomes.get(type(found).__name__, 0) + 1
            assert runtime.snapshot()[ref.path].incarnation == 1, "it has not crashed"
    return outcomes


def check(found, requests, body):
    if isinstance(found, Response):
        assert requests == found.http_requests == 1, body
        assert isinstance(found.text, str), body
        assert found.body is not None, body
    elif isinstance(found, MalformedResponse | ConnectionFailed):
        assert requests == found.attempts == 2, body
        assert found.billed == "maybe", body
    else:
        assert str(found), body
        assert requests == found.attempts <= 3, body


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("count", [80, pytest.param(20_000, marks=pytest.mark.slow)])
async def test_a_changed_answer_is_read_or_a_typed_error(autojump_clock, count, kind):
    """L11: never another error, and never a second purchase beyond one."""
    outcomes = await ask_for_changed(count, kind, seed=1)
    assert outcomes["Response"] > count // 10, outcomes
    assert outcomes["MalformedResponse"] > count // 50, outcomes
