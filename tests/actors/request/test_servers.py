"""A small server replays what servers with habits of their own send, whole and streamed (L10, L11).

Source of the shapes: docs/providers.md; recorded or documented by each of them.
"""

import json

import pytest
from fakes import MODEL
from misbehaving import calling_in_memory, chunked, head, says, whole

from callsheet.actors import CallContext, Complete, ProviderUnavailable, Request

ASKED = Complete(Request.of("Hi", model=MODEL), CallContext("c"))
EVENTS = "Content-Type: text/event-stream; charset=utf-8"
USAGE = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}


def lines(*events):
    """Return the bytes of a stream; a text is sent as it is, anything else as JSON."""
    texts = (one if isinstance(one, str) else f"data: {json.dumps(one)}" for one in events)
    return "".join(f"{text}\n\n" for text in texts).encode()


def chunk(delta=None, reason=None, *, choice=None, **more):
    own = {"index": 0, "delta": delta or {}, "finish_reason": reason} | (choice or {})
    start = {"id": "gen-1", "object": "chat.completion.chunk", "created": 1, "model": MODEL}
    return start | {"choices": [own]} | more


def completion(message, reason="stop", **more):
    choice = {"index": 0, "message": {"role": "assistant"} | message, "finish_reason": reason}
    return {"id": "gen-1", "model": MODEL, "choices": [choice], "usage": USAGE} | more


END = "data: [DONE]"
THOUGHT = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}

STREAMS = {
    "OpenRouter": lines(
        ": OPENROUTER PROCESSING",
        ": OPENROUTER PROCESSING",
        chunk(
            {
                "role": "assistant",
                "content": "",
                "reasoning": "hm",
                "reasoning_details": [{"type": "reasoning.text", "text": "hm", "index": 0}],
            },
            provider="Novita",
        ),
        ": OPENROUTER PROCESSING",
        chunk({"role": "assistant", "content": "Hello"}, choice={"native_finish_reason": None}),
        chunk({"content": ""}, "stop", choice={"native_finish_reason": "stop", "logprobs": None}),
        chunk({"content": ""}, usage=USAGE | {"cost": 0.0001, "is_byok": False}),
        END,
    ),
    "DeepSeek": lines(
        ": keep-alive",
        chunk({"role": "assistant", "content": None, "reasoning_content": ""}, usage=None),
        chunk({"content": None, "reasoning_content": "hm"}, usage=None),
        ": keep-alive",
        chunk({"content": "Hello", "reasoning_content": None}, usage=None),
        chunk({"content": "", "reasoning_content": None}, "stop", usage=USAGE),
        END,
    ),
    "Mistral": lines(
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "h"}]}]}),
        chunk({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "m"}]}]}),
        chunk({"content": "Hel"}),
        chunk({"content": "lo"}, "stop", usage=USAGE),
        END,
    ),
    "llama.cpp": lines(
        chunk({"role": "assistant", "content": None}),
        chunk({"reasoning_content": "hm"}),
        chunk({"content": "Hello"}, timings={"predicted_per_second": 31.5}),
        chunk({}, "stop"),
        {"id": "gen-1", "choices": [], "usage": USAGE, "timings": {"cache_n": 0}},
        END,
    ),
    "vLLM": lines(
        chunk({"role": "assistant", "content": ""}, usage={"prompt_tokens": 9}),
        chunk({"reasoning": "hm"}, usage={"prompt_tokens": 9, "completion_tokens": 1}),
        chunk({"content": "Hello"}, usage={"prompt_tokens": 9, "completion_tokens": 2}),
        chunk({"content": ""}, "stop", choice={"stop_reason": None, "token_ids": None}),
        chunk(choices=[], usage=USAGE),
        END,
    ),
    "Azure": lines(
        {"id": "", "model": "", "choices": [], "prompt_filter_results": [{"prompt_index": 0}]},
        chunk({"role": "assistant", "content": "", "refusal": None, "reasoning_content": "hm"}),
        chunk({"content": "Hello"}, choice={"content_filter_results": {"hate": {}}}),
        chunk({}, "stop", choice={"content_filter_results": {}}),
        chunk({}, choice={"content_filter_offsets": {"check_offset": 3}}),
        chunk(choices=[], usage=USAGE),
        END,
    ),
    "Groq": lines(
        chunk({"role": "assistant", "content": "", "reasoning": "hm"}, x_groq={"id": "req_1"}),
        chunk({"content": "Hello"}),
        chunk({}, "stop", x_groq={"id": "req_1", "usage": USAGE}),
        END,
    ),
    "Moonshot": lines(
        chunk({"role": "assistant", "content": "", "reasoning_content": "hm"}),
        chunk({"content": "Hello"}),
        chunk({}, "stop", choice={"usage": USAGE}),
        END,
    ),
    "a gateway that pings": lines(
        "event: ping\ndata: 2026-11-28T10:00:00Z",
        "data: null",
        chunk({"thinking": "hm"}),
        chunk({"content": "Hello"}),
        chunk({}, "stop", usage=USAGE),
        "event: done\ndata: bye",
    ),
    "a gateway that ends with the whole": lines(
        chunk({"reasoning": "hm"}),
        chunk({"content": "Hel"}, "null"),
        chunk({"content": "lo"}, "null"),
        completion({"content": "Hello", "reasoning": "hm"}),
        END,
    ),
}
BODIES = {
    "DeepSeek": b"\n\n\n\n"
    + json.dumps(completion({"content": "Hello", "reasoning_content": "hm"})).encode(),
    "Mistral": completion({"content": [THOUGHT, {"type": "text", "text": "Hello"}]}),
    "OpenRouter": completion({"content": "Hello", "reasoning": "hm", "refusal": None}, error=None),
    "Ollama": completion({"content": "Hello", "thinking": "hm"}, system_fingerprint="fp_ollama"),
    "Cloudflare": {
        "result": completion({"content": "Hello", "reasoning": "hm"}),
        "success": True,
        "errors": [],
        "messages": [],
    },
    "MiniMax": completion(
        {"content": "Hello", "reasoning_content": "hm"},
        base_resp={"status_code": 0, "status_msg": ""},
    ),
}


async def ask(response):
    async with calling_in_memory(says(response)) as (caller, _):
        answer = await caller.ref.ask(ASKED)
        await caller.at_rest()
    return answer


def encoded(body):
    return body if isinstance(body, bytes) else json.dumps(body).encode()


def check(answer):
    assert (answer.text, answer.reasoning) == ("Hello", "hm")
    assert answer.finish_reason in ("stop", None)
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (9, 3)
    assert (answer.http_requests, answer.maybe_billed) == (1, 0)


@pytest.mark.parametrize("size", [7, 100_000])
@pytest.mark.parametrize("server", STREAMS)
async def test_streams_of_servers_with_habits_of_their_own(autojump_clock, server, size):
    response = head(EVENTS, "Transfer-Encoding: chunked") + chunked(STREAMS[server], size)
    check(await ask(response + b"0\r\n\r\n"))


@pytest.mark.parametrize("kind", ["application/json", "text/plain; charset=utf-8"])
@pytest.mark.parametrize("server", BODIES)
async def test_bodies_of_servers_with_habits_of_their_own(autojump_clock, server, kind):
    check(await ask(whole(encoded(BODIES[server]), f"Content-Type: {kind}")))


FRAGMENT = CALL | {"index": 0}
TOOLS = {
    "Mistral": lines(chunk({"content": "", "tool_calls": [FRAGMENT]}, "tool_calls"), END),
    "Ollama": lines(
        chunk({"role": "assistant", "content": "", "tool_calls": [FRAGMENT]}),
        chunk({"role": "assistant", "content": ""}, "tool_calls"),
        END,
    ),
    "Gemini's compatible endpoint": lines(
        chunk({"tool_calls": [{name: CALL[name] for name in ("id", "function", "type")}]}, "stop"),
        END,
    ),
    "a gateway of Anthropic": lines(
        chunk({"content": [{"type": "tool_use", "id": "call_1", "name": "f", "input": {"x": 1}}]}),
        chunk({}, "tool_use"),
        END,
    ),
}


@pytest.mark.parametrize("server", TOOLS)
async def test_tool_calls_of_servers_with_habits_of_their_own(autojump_clock, server):
    (call,) = (await ask(whole(TOOLS[server], EVENTS))).tool_calls
    assert (call.name, call.id, json.loads(call.arguments)) == ("f", "call_1", {"x": 1})


LOST = {"code": 502, "message": "Provider disconnected"}
FAILURES = {
    "OpenRouter": lines(
        ": OPENROUTER PROCESSING",
        chunk({"content": "Hel"}),
        chunk({"content": ""}, "error", error=LOST, provider="Novita"),
        END,
    ),
    "llama.cpp": lines(chunk({"content": "Hel"}), "error: " + json.dumps(LOST)),
    "vLLM": lines(
        chunk({"content": "Hel"}), {"error": LOST | {"type": "InternalServerError"}}, END
    ),
    "SGLang": lines(chunk({"content": "Hel"}), chunk({}, {"type": "abort"}), END),
    "DeepSeek": lines(chunk({"content": "Hel"}), chunk({}, "insufficient_system_resource"), END),
    "a proxy that says so in words": lines("event: error\ndata: upstream connect error"),
}


@pytest.mark.parametrize("server", FAILURES)
async def test_failures_of_servers_with_habits_of_their_own(autojump_clock, server):
    """Half a response is none: it is asked for again, and may be billed."""
    async with calling_in_memory(says(whole(FAILURES[server], EVENTS))) as (caller, _):
        with pytest.raises(ProviderUnavailable) as caught:
            await caller.ref.ask(ASKED)
        await caller.at_rest()
    assert (caught.value.attempts, caught.value.billed) == (2, "maybe")
