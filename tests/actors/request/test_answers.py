"""What real servers answer is read whichever way it arrives (L10), and failures are failures (L11).

Each kind is one that a provider, a gateway or a server has been seen to send.
"""

import json
import re

import attrs
import httpx
import pytest
from fakes import MODEL, Reply, Script, completion_json, requester

from callsheet.actors import (
    CallContext,
    Complete,
    Delta,
    MalformedResponse,
    ProviderUnavailable,
    Request,
    Response,
    RetryPolicy,
    Stream,
    TokenLogprob,
    ToolCall,
)

EVENTS = {"content-type": "text/event-stream"}
ONCE = RetryPolicy(max_attempts=1)
ASKED = Request.of("Hi", model=MODEL)
either = pytest.mark.parametrize("streaming", [True, False])


def sse(*chunks, done=True):
    lines = [one if isinstance(one, str) else json.dumps(one) for one in chunks]
    return "".join(f"data: {line}\n\n" for line in [*lines, *(["[DONE]"] if done else [])])


def chunk(delta=None, reason=None, **more):
    return {"choices": [{"index": 0, "delta": delta or {}, "finish_reason": reason}], **more}


def whole(message=None, reason="stop", **more):
    choice = {"index": 0, "message": message or {"content": "Hello"}, "finish_reason": reason}
    return completion_json(choices=[choice | more])


async def read(body, *, streaming=True, request=ASKED, headers=None, status=200, **settings):
    script = Script(Reply(status, body, headers or {}))
    settings = {"retry": ONCE} | settings
    async with requester(script, streaming=streaming, **settings) as (ref, _):
        return await ref.ask(Complete(request, CallContext("c")))


async def pieces(body):
    async with requester(Script(Reply(body=body, headers=EVENTS)), retry=ONCE) as (ref, _):
        stream = ref.stream(Stream(ASKED, CallContext("c")))
        async with stream as items:
            return [item async for item in items]


# ------------------------------------------------------------------ the same, however it travels

CALLS = [
    {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}},
    {"id": "call_2", "type": "function", "function": {"name": "g", "arguments": "{}"}},
]
TOKENS = [
    {"token": "He", "logprob": -0.5, "bytes": [72], "top_logprobs": []},
    {"token": "llo", "logprob": -1, "top_logprobs": [{"token": "y", "logprob": -2.5}]},
]
NOTE = {"type": "url_citation", "url_citation": {"url": "https://example.com"}}
RICH = whole(
    {
        "role": "assistant",
        "content": "Hello",
        "reasoning_content": "Greet them.",
        "tool_calls": CALLS,
        "annotations": [NOTE],
    },
    "tool_calls",
    logprobs={"content": TOKENS, "refusal": None},
)
FRAGMENTS = [
    {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": ""}},
    {"index": 0, "function": {"arguments": '{"x"'}},
    {"index": 0, "function": {"arguments": ": 1}"}},
    {"index": 1, "id": "call_2", "function": {"name": "g", "arguments": "{}"}},
]
RICH_STREAM = sse(
    chunk({"role": "assistant", "content": ""}, model=MODEL),
    chunk({"reasoning_content": "Greet "}),
    chunk({"reasoning_content": "them."}),
    *(
        {"choices": [{"index": 0, "delta": {"content": text}, "logprobs": {"content": [token]}}]}
        for text, token in zip(("He", "llo"), TOKENS, strict=True)
    ),
    *(chunk({"tool_calls": [fragment]}) for fragment in FRAGMENTS),
    chunk({"annotations": [NOTE]}),
    chunk({}, "tool_calls"),
    {"choices": [], "usage": RICH["usage"]},
)


@either
@pytest.mark.parametrize("body", [RICH, RICH_STREAM], ids=["whole", "stream"])
async def test_what_an_answer_has_is_the_same_whichever_way_it_travels(
    autojump_clock, body, streaming
):
    answer = await read(body, streaming=streaming)
    assert (answer.text, answer.finish_reason) == ("Hello", "tool_calls")
    assert answer.tool_calls == (
        ToolCall("f", '{"x": 1}', "call_1"),
        ToolCall("g", "{}", "call_2"),
    )
    assert answer.reasoning == "Greet them."
    assert answer.refusal is None
    assert answer.logprobs == (
        TokenLogprob("He", -0.5),
        TokenLogprob("llo", -1.0, (("y", -2.5),)),
    )
    assert answer.annotations == (NOTE,)
    assert answer.usage.total_tokens == 15
    assert answer.is_assembled is (body is RICH_STREAM)
    message = answer.body["choices"][0]["message"]
    assert (message["content"], message["tool_calls"]) == ("Hello", CALLS)


async def test_a_stream_has_tool_calls_and_reasoning_as_they_grow(autojump_clock):
    *deltas, answer = await pieces(RICH_STREAM)
    assert isinstance(answer, Response)
    assert "".join(delta.text for delta in deltas) == answer.text
    assert "".join(delta.reasoning for delta in deltas) == answer.reasoning
    grown = {}
    for piece in (piece for delta in deltas for piece in delta.tool_calls):
        name, arguments, call_id = grown.get(piece.index, ("", "", ""))
        grown[piece.index] = (
            name + piece.name,
            arguments + piece.arguments,
            call_id + piece.id,
        )
    assert tuple(ToolCall(*grown[at]) for at in sorted(grown)) == answer.tool_calls


async def test_a_whole_answer_to_a_stream_is_one_piece_with_everything(autojump_clock):
    delta, answer = await pieces(RICH)
    assert delta == Delta.whole(answer.choices[0], 0)
    assert (delta.reasoning, len(delta.tool_calls)) == ("Greet them.", 2)


# ------------------------------------------------------------------ failures are failures

ERROR = {"code": 502, "message": "Provider disconnected"}
FAILED = {
    "on the choice": whole({"content": ""}, "error", error=ERROR),
    "on the choice, half an answer": whole({"content": "Hel"}, "error", error=ERROR),
    "on the choice, without a reason": whole({"content": "Hel"}, "stop", error=ERROR),
    "without an error": whole({"content": "Hel"}, "error"),
    "DeepSeek": whole({"content": "Hel"}, "insufficient_system_resource"),
    "SGLang": whole({"content": ""}, {"type": "abort", "message": "busy"}),
    "in the body": {"error": ERROR},
    "in a list of errors": {"success": False, "errors": [ERROR], "result": None},
    "without a member for errors": {"code": 503, "message": "busy"},
    "in a stream": sse(chunk({"content": "Hel"}), chunk({}, "error")),
    "in a stream, on the choice": sse(
        chunk({"content": "Hel"}),
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "error", "error": ERROR}]},
    ),
    "in a stream, beside the choice": sse(
        chunk({"content": "Hel"}), chunk({}, "error", error=ERROR), done=False
    ),
    "in a stream, in the shape of FastAPI": sse({"detail": "Overloaded"}, done=False),
    "in a stream, in a list": sse([{"error": ERROR}]),
    "in a stream, in words": "event: error\ndata: Internal error\n\n",
    "in a stream, flat": sse({"type": "error", "code": "server_error", "message": "No."}),
    "in a stream, as a field": 'error: {"code": 500, "message": "No."}\n\n',
}


@either
@pytest.mark.parametrize("body", FAILED.values(), ids=FAILED)
async def test_a_generation_that_failed_is_no_answer(autojump_clock, body, streaming):
    script = Script(Reply(body=body), Reply())
    async with requester(script, streaming=streaming) as (ref, _):
        answer = await ref.ask(Complete(ASKED, CallContext("c")))
    assert (answer.text, answer.http_requests, answer.maybe_billed) == ("Hello", 2, 1)
    with pytest.raises(ProviderUnavailable) as caught:
        await read(body, streaming=streaming)
    assert caught.value.billed == "maybe"


# ------------------------------------------------------------------ answers are answers

THOUGHT = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
TWO = {"choices": [chunk({"content": text})["choices"][0] for text in ("Hel", "lo")]}
STREAM = sse(chunk({"content": "Hel"}), chunk({"content": "lo"}), chunk({}, "stop"))
READ = {
    "JSON": whole(),
    "events": STREAM,
    "content in parts": whole({"content": [THOUGHT, {"type": "text", "text": "Hello"}]}),
    "content in texts": whole({"content": ["Hel", {"text": "lo"}]}),
    "content in one part": whole({"content": {"type": "output_text", "text": "Hello"}}),
    "an index from 1": completion_json(choices=[whole()["choices"][0] | {"index": 1}]),
    "an index that is a text": completion_json(choices=[whole()["choices"][0] | {"index": "0"}]),
    "a message that is a text": whole("Hello"),
    "the other format": completion_json(choices=[{"text": "Hello", "finish_reason": "stop"}]),
    "a piece of a stream": chunk({"content": "Hello"}, "stop"),
    "in a list": [whole()],
    "in a result": {"result": whole(), "success": True, "errors": [], "messages": []},
    "as JSON in JSON": json.dumps(json.dumps(whole())),
    "as events in JSON": json.dumps(STREAM),
    "after blank lines": "\n\n \r\n" + json.dumps(whole()),
    "after comments": ": keep-alive\n\n: keep-alive\n" + json.dumps(whole()),
    "after a byte order mark": "\ufeff" + json.dumps(whole()),
    "a line each": "\n".join(map(json.dumps, [chunk({"content": "Hello"}), chunk({}, "stop")])),
    "JSON, and then a mark": json.dumps(whole()) + "\ndata: [DONE]",
    "JSON, and then something": json.dumps(whole()) + "\n\n<!-- a comment -->",
    "JSON twice": json.dumps(whole()) * 2,
    "JSON twice, on lines": json.dumps(whole()) + "\n" + json.dumps(whole()),
    "events: parts": sse(chunk({"content": [THOUGHT]}), chunk({"content": [{"text": "Hello"}]}))
    + sse(chunk({}, "stop")),
    "events: null first": "data: null\n\n" + STREAM,
    "events: a word": "data: ping\n\n" + STREAM,
    "events: a named word": STREAM.replace("data: [", "event: heartbeat\ndata: ok\n\ndata: ["),
    "events: a number": "data: 5\n\n" + STREAM,
    "events: an empty list": "data: []\n\n" + STREAM,
    "events: a word at the end": STREAM.replace("[DONE]", "bye"),
    "events: comments, blank lines": "\n\n: hm\n\n" + STREAM.replace("\n\n", "\n\n: hm\n\n"),
    "events: no finish reason": sse(chunk({"content": "Hello"})),
    "events: an index from 1": STREAM.replace('"index": 0', '"index": 1'),
    "events: the whole in one": sse(whole(), done=False),
    "events: the growing whole beside": sse(
        {
            "choices": [
                {"delta": {"content": "Hel"}, "message": {"content": "Hel"}},
            ]
        },
        {
            "choices": [
                {
                    "delta": {"content": "lo"},
                    "message": {"content": "Hello"},
                    "finish_reason": "stop",
                }
            ]
        },
    ),
    "events: all in one": sse(TWO, chunk({}, "stop")),
    "events: no space, CRLF": STREAM.replace("data: ", "data:").replace("\n", "\r\n"),
    "events: null for a choice": sse({"choices": [None]}, whole()),
    "events: other texts": sse({"choices": [{"text": "Hello", "finish_reason": "stop"}]}),
}


@either
@pytest.mark.parametrize(
    "kind",
    [
        "application/json",
        "text/event-stream",
        *(pytest.param(it, marks=pytest.mark.slow) for it in ("text/plain", "x", "")),
    ],
)
@pytest.mark.parametrize("body", READ.values(), ids=READ)
async def test_what_arrives_is_read_whatever_was_requested(autojump_clock, body, kind, streaming):
    answer = await read(body, streaming=streaming, headers={"content-type": kind})
    assert answer.text == "Hello"
    assert answer.finish_reason in ("stop", None)


@either
@pytest.mark.parametrize("last", ["Internal Server Error", "upstream closed", "[1]"])
async def test_words_in_place_of_the_end_are_no_end(autojump_clock, last, streaming):
    """Half a response is none, also if the server marks its end."""
    half = sse(chunk({"content": "Hel"}), done=False) + f"data: {last}\n\ndata: [DONE]\n\n"
    with pytest.raises(MalformedResponse, match=re.escape(last)):
        await read(half, streaming=streaming)


@either
@pytest.mark.parametrize("status", [200, 201, 203, 246])
async def test_each_status_of_success_is_an_answer(autojump_clock, status, streaming):
    assert (await read(whole(), streaming=streaming, status=status)).text == "Hello"


@pytest.mark.parametrize("indices", [(0, 1), (1, 2)])
async def test_the_prompts_of_a_list_are_told_apart_by_index(autojump_clock, indices):
    prompts = Request(model=MODEL, task="completion", inputs=["a", "b"])
    choices = [
        {"index": index, "text": text, "finish_reason": "stop"}
        for index, text in zip(indices, "AB", strict=True)
    ]
    events = "data: null\n\n" + sse(*({"choices": [one]} for one in reversed(choices)))
    for body in (completion_json(choices=choices[::-1]), events):
        answer = await read(body, request=prompts)
        assert [choice.text for choice in answer.choices] == ["A", "B"]


async def test_one_of_several_prompts_may_fail_alone(autojump_clock):
    prompts = Request(model=MODEL, task="completion", inputs=["a", "b"])
    choices = [
        {"index": 0, "text": "A", "finish_reason": "stop"},
        {"index": 1, "text": "", "finish_reason": "error", "error": ERROR},
    ]
    answer = await read(completion_json(choices=choices), request=prompts)
    assert [choice.finish_reason for choice in answer.choices] == ["stop", "error"]


async def test_what_arrived_before_the_connection_broke_is_read_if_it_is_all(autojump_clock):
    lost = httpx.ReadError("reset")
    for body in (json.dumps(whole()), sse(chunk({"content": "Hello"}, "stop"), done=False)):
        async with requester(Script(Reply(body=body, then=lost)), retry=ONCE) as (ref, _):
            assert (await ref.ask(Complete(ASKED, CallContext("c")))).text == "Hello"


async def test_several_choices_all_have_their_fields(autojump_clock):
    choices = [
        RICH["choices"][0] | {"index": at, "message": {"content": text, "reasoning": "r"}}
        for at, text in enumerate("ab")
    ]
    answer = await read(completion_json(choices=choices), request=attrs.evolve(ASKED, n=2))
    assert [(one.text, one.reasoning, len(one.logprobs)) for one in answer.choices] == [
        ("a", "r", 2),
        ("b", "r", 2),
    ]
