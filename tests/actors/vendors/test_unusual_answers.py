"""What compatible servers make of OpenAI's format: each kind read whole and streamed (L10, L11)."""

import json

import attrs
import pytest
from fakes import completion_json

from callsheet.actors import Request, ToolCall
from callsheet.actors.vendors import VENDORS, AnswerReader, ApiError, StreamFailed

FORMAT = VENDORS["compatible"].format_for("chat")
ASKED = Request.of("Hi", model="m")


def sse(*chunks):
    return "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"


def chunk(delta=None, reason=None, **more):
    return {"choices": [{"index": 0, "delta": delta or {}, "finish_reason": reason, **more}]}


def whole(message, reason="stop", **more):
    choice = {"index": 0, "message": message, "finish_reason": reason, **more}
    return completion_json(choices=[choice])


def read(body):
    """Return the first choice of a body, and the deltas of its stream; or the error in it."""
    reader = AnswerReader(FORMAT, ASKED)
    text = body if isinstance(body, str) else json.dumps(body)
    try:
        deltas = [*reader.feed(text.encode()), *reader.feed(b"")]
        found = reader.end()
    except StreamFailed as failed:
        return failed.error, []
    return (found if isinstance(found, ApiError) else found.choices[0]), deltas


# ------------------------------------------------------------------ failures

BUSY = {"code": 503, "message": "busy"}
FAILED = {
    "in capitals": whole({"content": "Hel"}, "ERROR"),
    "cancelled": whole({"content": "Hel"}, "cancelled"),
    "timed out": whole({"content": "Hel"}, "timeout"),
    "Zhipu": whole({"content": "Hel"}, "network_error"),
    "on the message": whole({"content": "", "error": BUSY}),
    "on a delta": sse(chunk({"content": "Hel"}), chunk({"error": BUSY})),
    "on a delta, before the reason": sse(chunk({"error": BUSY}), chunk({}, "stop")),
    "beside null choices": {"success": False, "choices": None, "errors": [BUSY]},
    "MiniMax": {"choices": None, "base_resp": {"status_code": 1002, "status_msg": "busy"}},
    "Baidu": {"error_code": 336100, "error_msg": "busy"},
    "as a text of JSON": 'event: error\ndata: "busy"\n\n',
}


@pytest.mark.parametrize("kind", FAILED)
def test_a_failure_is_found_wherever_it_stands(kind):
    found, _ = read(FAILED[kind])
    assert isinstance(found, ApiError)
    assert found.message in ("busy", "the generation ended with an error")


NO_ERROR = [None, False, 0, "", {}, [], {"code": None, "message": None}, {"code": 0, "message": ""}]


@pytest.mark.parametrize("error", NO_ERROR)
def test_an_error_without_values_is_none(error):
    message = {"content": "Hello", "error": error}
    for body in (
        {**whole(message, error=error), "error": error, "errors": [], "base_resp": {"x": 0}},
        sse(chunk({"content": "Hello"}) | {"error": error}, chunk({}, "stop", error=error)),
    ):
        found, _ = read(body)
        assert (found.text, found.finish_reason) == ("Hello", "stop")


@pytest.mark.parametrize(
    ("said", "meant"),
    [("STOP", "stop"), ("sensitive", "content_filter"), ("null", None), ("other", "other")],
)
def test_finish_reasons_are_openais(said, meant):
    for body in (whole({"content": "Hello"}, said), sse(chunk({"content": "Hello"}, said))):
        assert read(body)[0].finish_reason == meant


def test_a_text_that_says_null_is_no_finish_reason():
    """DashScope sends it in each chunk of a stream."""
    found, _ = read(sse(chunk({"content": "Hel"}, "null"), chunk({"content": "lo"}, "stop")))
    assert (found.text, found.finish_reason) == ("Hello", "stop")


# ------------------------------------------------------------------ texts

THINKING = {
    "Mistral": {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
    "Anthropic": {"type": "thinking", "thinking": "hm", "signature": "s"},
    "think": {"type": "think", "think": "hm"},
    "a summary": {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
    "reasoning text": {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "hm"}]},
    "Gemini": {"text": "hm", "thought": True},
}


@pytest.mark.parametrize("kind", THINKING)
def test_reasoning_among_the_parts_is_reasoning(kind):
    parts = [THINKING[kind], {"type": "text", "text": "Hello"}]
    streamed = sse(*(chunk({"content": [part]}) for part in parts), chunk({}, "stop"))
    for body in (whole({"content": parts}), streamed):
        found, deltas = read(body)
        assert (found.text, found.reasoning) == ("Hello", "hm")
        assert not deltas or "".join(delta.reasoning for delta in deltas) == "hm"


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content", "reasoning_text", "thinking"])
@pytest.mark.parametrize("value", ["hm", {"content": "hm"}, [{"type": "text", "text": "hm"}]])
def test_reasoning_beside_the_text_is_reasoning_whatever_it_is_called(name, value):
    streamed = sse(chunk({name: value}), chunk({"content": "Hello"}, "stop"))
    for body in (whole({"content": "Hello", name: value}), streamed):
        found, _ = read(body)
        assert (found.text, found.reasoning) == ("Hello", "hm")


CONTENTS = {
    "a part": {"type": "text", "text": "Hello"},
    "parts": [{"type": "text", "text": "Hel"}, {"type": "output_text", "text": "lo"}],
    "a part with a value": [{"type": "text", "text": {"value": "Hello", "annotations": []}}],
    "a part with content": [{"type": "text", "content": "Hello"}],
    "parts in an object": {"parts": [{"text": "Hel"}, {"text": "lo"}]},
    "content in an object": {"role": "assistant", "content": "Hello"},
    "null among parts": [None, {"text": "Hello"}],
    "parts in a list": [[{"text": "Hel"}], ["lo"]],
    "an image besides": [{"type": "image_url", "image_url": {"url": "u"}}, {"text": "Hello"}],
}


@pytest.mark.parametrize("kind", CONTENTS)
def test_no_text_is_lost_whatever_the_content_is(kind):
    content = CONTENTS[kind]
    for body in (whole({"content": content}), sse(chunk({"content": content}, "stop"))):
        found, deltas = read(body)
        assert found.text == "Hello"
        assert not deltas or "".join(delta.text for delta in deltas) == "Hello"


def test_a_text_beside_the_content_is_the_content():
    for body in (whole({"text": "Hello"}), sse(chunk({"text": "Hello"}, "stop"))):
        assert read(body)[0].text == "Hello"


@pytest.mark.parametrize("value", [{"answer": 4}, [{"answer": 4}, {"answer": 5}], [1, 2], 4, True])
def test_json_that_a_server_has_decoded_is_a_text(value):
    for body in (whole({"content": value}), sse(chunk({"content": value}, "stop"))):
        found, deltas = read(body)
        assert json.loads(found.text) == value
        assert not deltas or deltas[0].text == found.text


def test_a_stream_that_ends_with_the_whole_message_has_its_text_once():
    call = {"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}
    message = {"role": "assistant", "content": "Hello you", "reasoning": "hm", "tool_calls": [call]}
    pieces = [{"reasoning": "hm"}, {"content": "Hel"}, {"content": "lo"}, {"tool_calls": [call]}]
    last = {"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}
    found, deltas = read(sse(*map(chunk, pieces), last))
    assert (found.text, found.reasoning) == ("Hello you", "hm")
    assert found.tool_calls == (ToolCall("f", "{}", "a"),)
    assert "".join(delta.text for delta in deltas) == "Hello you"


def test_a_stream_of_messages_has_all_their_texts():
    texts = ("ha", "ha", "!")
    chunks = [{"choices": [{"index": 0, "message": {"content": text}}]} for text in texts]
    assert read(sse(*chunks, chunk({}, "stop")))[0].text == "haha!"


# ------------------------------------------------------------------ tool calls

CALL = ToolCall("f", '{"x":1}', "a")
OWN = {"name": "f", "arguments": '{"x":1}'}
CALLS = {
    "OpenAI": {"tool_calls": [{"id": "a", "type": "function", "function": OWN}]},
    "an object": {"tool_calls": [{"id": "a", "function": {"name": "f", "arguments": {"x": 1}}}]},
    "parameters": {"tool_calls": [{"id": "a", "function": {"name": "f", "parameters": {"x": 1}}}]},
    "flat": {"tool_calls": [{"id": "a", **OWN}]},
    "one": {"tool_calls": {"id": "a", "function": OWN}},
    "null besides": {"tool_calls": [None, {"id": "a", "function": OWN}]},
    "both forms": {"tool_calls": [{"id": "a", "function": OWN}], "function_call": OWN},
    "a part": {"content": [{"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}}]},
}


@pytest.mark.parametrize("kind", CALLS)
def test_a_tool_call_is_read_once_whatever_its_form(kind):
    for body in (
        whole(CALLS[kind], "tool_calls"),
        sse(chunk(CALLS[kind], "tool_calls")),
    ):
        found, deltas = read(body)
        assert found.tool_calls == (CALL,)
        assert not deltas or [piece.name for piece in deltas[0].tool_calls] == ["f"]


def fragments(*pieces):
    """Return a stream of fragments of tool calls: (index, id, name, arguments)."""
    calls = (
        {"index": index, "id": call_id, "function": {"name": name, "arguments": arguments}}
        for index, call_id, name, arguments in pieces
    )
    return sse(*(chunk({"tool_calls": [call]}) for call in calls), chunk({}, "tool_calls"))


ONE = {
    "as OpenAI": [(0, "a", "f", ""), (0, None, None, '{"x"'), (0, None, None, ":1}")],
    "empty texts": [(0, "a", "f", '{"x"'), (0, "", "", ":1}")],
    "repeated": [(0, "a", "f", '{"x"'), (0, "a", "f", ":1}")],
    "repeated, without an index": [(None, "a", "f", '{"x"'), (None, "a", "f", ":1}")],
    "an id for each piece": [(0, "a", "f", '{"x"'), (0, "b", None, ":1}")],
    "an index that is a text": [("0", "a", "f", '{"x"'), ("0", None, None, ":1}")],
    "an object": [(0, "a", "f", ""), (0, None, None, {"x": 1})],
    "an index from 1": [(1, "a", "f", '{"x":1}')],
}


@pytest.mark.parametrize("kind", ONE)
def test_the_fragments_of_one_call_are_one_call(kind):
    found, deltas = read(fragments(*ONE[kind]))
    assert found.tool_calls == (CALL,)
    assert {piece.index for delta in deltas for piece in delta.tool_calls} == {0}


def test_a_name_in_pieces_is_one_name():
    found, _ = read(fragments((0, "a", "get_", ""), (0, None, "weather", "{}")))
    assert found.tool_calls == (ToolCall("get_weather", "{}", "a"),)


@pytest.mark.parametrize("indices", [(0, 1), (1, 2), (0, 0), (None, None)])
def test_calls_are_told_apart_by_index_id_or_name(indices):
    pieces = [
        (index, call_id, name, "{}")
        for index, call_id, name in zip(indices, "ab", "fg", strict=True)
    ]
    found, _ = read(fragments(*pieces))
    assert found.tool_calls == (ToolCall("f", "{}", "a"), ToolCall("g", "{}", "b"))


@pytest.mark.parametrize("indices", [(0, 1), (1, 2), ("0", "1")])
def test_the_choices_of_a_stream_are_told_apart_by_their_indices(indices):
    chunks = [
        {"choices": [{"index": index, "delta": {"content": text}, "finish_reason": "stop"}]}
        for index, text in zip(indices, "ab", strict=True)
    ]
    reader = AnswerReader(FORMAT, attrs.evolve(ASKED, n=2))
    reader.feed(sse(*reversed(chunks)).encode())
    assert [choice.text for choice in reader.end().choices] == ["a", "b"]


def test_log_probabilities_may_be_a_list():
    tokens = [{"token": "Hello", "logprob": -1}]
    for body in (
        whole({"content": "Hello"}, logprobs=tokens),
        sse(chunk({"content": "Hello"}, "stop", logprobs=tokens)),
    ):
        assert [each.token for each in read(body)[0].logprobs] == ["Hello"]


USAGE = {"prompt_tokens": 9, "completion_tokens": 3}
USAGES = {
    "in another format": whole({"content": "Hello"})
    | {"usage": {"input_tokens": 9, "output_tokens": 3}},
    "on the choice": completion_json(
        choices=[{"index": 0, "message": {"content": "Hello"}, "usage": USAGE}], usage=None
    ),
    "on the last choice of a stream": sse(
        chunk({"content": "Hello"}), chunk({}, "stop", usage=USAGE)
    ),
}


@pytest.mark.parametrize("kind", USAGES)
def test_usage_is_read_wherever_it_stands(kind):
    reader = AnswerReader(FORMAT, ASKED)
    body = USAGES[kind]
    reader.feed((body if isinstance(body, str) else json.dumps(body)).encode())
    reader.feed(b"")
    usage = reader.end().usage
    assert (usage.input_tokens, usage.output_tokens) == (9, 3)
