"""Streams as the SDKs of OpenAI and Anthropic read them: the pieces give the whole answer (L10)."""

import functools
import json
from typing import get_args

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from late_imports import import_when_used

from callsheet.actors import Choice, Delta, ProviderEvent, Response, ToolCall, ToolCallDelta, Usage
from callsheet.gateway.dialects import DIALECTS

anthropic, openai = map(import_when_used, ("anthropic", "openai"))

HI = [{"role": "user", "content": "Hi"}]
BODIES = {
    "/chat/completions": {"model": "m", "messages": HI},
    "/completions": {"model": "m", "prompt": "Hi"},
    "/responses": {"model": "m", "input": "Hi"},
    "/messages": {"model": "m", "max_tokens": 9, "messages": HI},
}


@functools.cache
def models_in(union):
    """Return the models of a union of events, each by the type of its events."""
    members = get_args(get_args(union)[0])
    return {get_args(one.model_fields["type"].annotation)[0]: one for one in members}


USAGE = Usage(10, 5, 3, 0, 2)


def writer_for(path, **more):
    call = DIALECTS[path].read({**BODIES[path], "stream": True, **more})
    return DIALECTS[path].stream(call, name="x1", created=1)


def answer(*choices, **more):
    first = choices[0]
    made = {"model": "m-1", "usage": USAGE, "cost_usd": None, **more}
    return Response(text=first.text, finish_reason=first.finish_reason, choices=choices, **made)


def written(path, pieces, response, **more):
    writer = writer_for(path, **more)
    return b"".join([*map(writer.feed, pieces), writer.end(response)])


def events_in(stream):
    """Return the name and the object of each event; the mark at the end of chunks is left out."""
    found = []
    for block in stream.decode().split("\n\n"):
        fields = [line.partition(": ") for line in block.split("\n")]
        data = "\n".join(value for name, _, value in fields if name == "data")
        name = next((value for name, _, value in fields if name == "event"), "")
        if data and data != "[DONE]":
            found.append((name, json.loads(data)))
    return found


@pytest.fixture(scope="module")
def sdks():
    """The SDKs, each with a transport that answers with the current stream."""
    current = [b""]
    headers = {"content-type": "text/event-stream"}

    def respond(_):
        return httpx2.Response(200, headers=headers, content=current[0])

    client = httpx2.Client(transport=httpx2.MockTransport(respond))
    with client:
        yield (
            current,
            openai.OpenAI(base_url="http://x/v1", api_key="x", http_client=client, max_retries=0),
            anthropic.Anthropic(
                base_url="http://x", api_key="x", http_client=client, max_retries=0
            ),
        )


# ------------------------------------------------------------------------------- any answer

FEW = settings(max_examples=10)  # the SDKs take their time

words = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=6)
some = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=6)
objects = st.dictionaries(words, st.integers(0, 9) | words, max_size=2)
calls = st.lists(st.tuples(st.sampled_from(["f", "g"]), objects), max_size=3)


@st.composite
def answers(draw):
    """The pieces of a choice with reasoning, a text and calls, and the choice itself."""
    thoughts, texts = draw(st.lists(some, max_size=3)), draw(st.lists(some, max_size=3))
    pieces = [Delta(reasoning=one) for one in thoughts] + [Delta(one) for one in texts]
    found = []
    for at, (name, arguments) in enumerate(draw(calls)):
        text, call_id = json.dumps(arguments), f"call_{at}"
        cut = draw(st.integers(0, len(text)))
        parts = (
            ToolCallDelta(at, name, text[:cut], call_id),
            ToolCallDelta(at, arguments=text[cut:]),
        )
        pieces += [Delta(tool_calls=(part,)) for part in parts]
        found.append(ToolCall(name, text, call_id))
    reason = "tool_calls" if found else "stop"
    choice = Choice("".join(texts), reason, reasoning="".join(thoughts), tool_calls=tuple(found))
    if draw(st.booleans()):
        pieces = draw(st.sampled_from([pieces, [], [Delta.whole(choice, 0)]]))
    return pieces, choice


@FEW
@given(answers())
def test_openai_reads_a_chat(sdks, case):
    pieces, choice = case
    sdks[0][0] = written(
        "/chat/completions", pieces, answer(choice), stream_options={"include_usage": True}
    )
    for _, chunk in events_in(sdks[0][0]):
        openai.types.chat.ChatCompletionChunk.model_validate(chunk)
    with sdks[1].chat.completions.stream(model="m", messages=HI) as stream:
        whole = stream.get_final_completion()
    message = whole.choices[0].message
    assert (message.content or "") == choice.text
    assert getattr(message, "reasoning_content", None) or choice.reasoning == ""
    assert [
        (call.id, call.function.name, call.function.arguments) for call in message.tool_calls or ()
    ] == [(call.id, call.name, call.arguments) for call in choice.tool_calls]
    assert whole.choices[0].finish_reason == choice.finish_reason
    assert whole.usage.prompt_tokens_details.cached_tokens == USAGE.cached_tokens


@FEW
@given(answers())
def test_anthropic_reads_a_message(sdks, case):
    pieces, choice = case
    sdks[0][0] = written("/messages", pieces, answer(choice))
    for name, event in events_in(sdks[0][0]):
        assert name == event["type"]
        models_in(anthropic.types.RawMessageStreamEvent)[name].model_validate(event)
    with sdks[2].messages.stream(model="m", max_tokens=9, messages=HI) as stream:
        message = stream.get_final_message()
    found = {"text": "", "thinking": ""}
    used = []
    for block in message.content:
        if block.type == "tool_use":
            used.append((block.id, block.name, block.input))
        else:
            found[block.type] += getattr(block, block.type)
    assert found == {"text": choice.text, "thinking": choice.reasoning}
    assert used == [(call.id, call.name, json.loads(call.arguments)) for call in choice.tool_calls]
    assert message.stop_reason == ("tool_use" if used else "end_turn")
    usage = message.usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens) == (7, 3, 5)


@FEW
@given(answers())
def test_openai_reads_a_response(sdks, case):
    pieces, choice = case
    sdks[0][0] = written("/responses", pieces, answer(choice))
    for number, (name, event) in enumerate(events_in(sdks[0][0])):
        assert (name, event["sequence_number"]) == (event["type"], number)
        models_in(openai.types.responses.ResponseStreamEvent)[name].model_validate(event)
    with sdks[1].responses.stream(model="m", input="Hi") as stream:
        whole = stream.get_final_response()
    assert whole.output_text == choice.text
    assert [
        (item.call_id, item.name, item.arguments)
        for item in whole.output
        if item.type == "function_call"
    ] == [(call.id, call.name, call.arguments) for call in choice.tool_calls]
    thought = [
        part.text for item in whole.output if item.type == "reasoning" for part in item.summary
    ]
    assert "".join(thought) == choice.reasoning
    assert whole.status == "completed"
    assert (whole.usage.input_tokens, whole.usage.output_tokens) == (10, 5)


def test_an_answer_that_is_cut_off_says_so():
    response = answer(Choice("Hi", "length"))
    name, event = events_in(written("/responses", [Delta("Hi")], response))[-1]
    models_in(openai.types.responses.ResponseStreamEvent)[name].model_validate(event)
    assert name == "response.incomplete"
    assert event["response"]["incomplete_details"] == {"reason": "max_output_tokens"}
    delta = events_in(written("/messages", [Delta("Hi")], response))[-2][1]
    assert delta["delta"]["stop_reason"] == "max_tokens"


@pytest.mark.parametrize("path", ["/chat/completions", "/completions"])
def test_each_of_several_choices_has_its_chunks(path):
    pieces = [Delta("a", 1), Delta("b", 0), Delta("c", 1)]
    choices = (Choice("b", "stop"), Choice("ac", "length"), Choice("late", None))
    texts, reasons = ["", "", ""], [None, None, None]
    for _, chunk in events_in(written(path, pieces, answer(*choices))):
        for choice in chunk["choices"]:
            piece = choice.get("text", choice.get("delta", {}).get("content"))
            texts[choice["index"]] += piece or ""
            reasons[choice["index"]] = choice["finish_reason"]
    assert texts == ["b", "ac", "late"]
    assert reasons == ["stop", "length", "stop"]


def test_calls_that_are_written_at_the_same_time_stay_apart():
    parts = [(0, "f", '{"a"'), (1, "g", '{"b"'), (0, "", ":1}"), (1, "", ":2}")]
    pieces = [
        Delta(tool_calls=(ToolCallDelta(at, name, text, f"c{at}" if name else ""),))
        for at, name, text in parts
    ]
    found = (ToolCall("f", '{"a":1}', "c0"), ToolCall("g", '{"b":2}', "c1"))
    response = answer(Choice("", "tool_calls", tool_calls=found))
    inputs = {}
    for _, event in events_in(written("/messages", pieces, response)):
        if event["type"] == "content_block_delta":
            inputs.setdefault(event["index"], []).append(event["delta"]["partial_json"])
    assert ["".join(parts) for parts in inputs.values()] == ['{"a":1}', '{"b":2}']
    (last,) = [
        event["response"]
        for _, event in events_in(written("/responses", pieces, response))
        if event["type"] == "response.completed"
    ]
    assert [item["arguments"] for item in last["output"]] == ['{"a":1}', '{"b":2}']


def test_a_call_without_an_id_gets_one_and_the_whole_answer_has_the_same():
    call = ToolCall("f", "{}")
    response = answer(Choice("", "tool_calls", tool_calls=(call,)))
    dialect = DIALECTS["/chat/completions"]
    read = dialect.read(BODIES["/chat/completions"])
    whole = json.loads(dialect.whole(read, response, name="x1", created=1))
    (made,) = whole["choices"][0]["message"]["tool_calls"]
    chunks = events_in(written("/chat/completions", [], response))
    streamed = [one for _, one in chunks if one["choices"][0]["delta"].get("tool_calls")]
    assert streamed[0]["choices"][0]["delta"]["tool_calls"][0]["id"] == made["id"]
    assert len(made["id"]) == 9


# ------------------------------------------------------------------------------- events that pass


def event(form, data, name="", *deltas):
    text = data if isinstance(data, bytes) else json.dumps(data).encode()
    return ProviderEvent(form, text, name, deltas)


def chunk(choices, **more):
    return {"id": "c", "object": "chat.completion.chunk", "choices": choices, **more}


CHUNKS = [
    chunk([{"index": 0, "delta": {"role": "assistant", "content": ""}, "own": 1}], unknown=[1]),
    chunk([{"index": 0, "delta": {"content": "Hi"}}], usage=None),
    chunk([{"index": 0, "delta": {}, "finish_reason": "stop"}]),
]
USED = chunk([], usage={"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3, "own": 4})


@pytest.mark.parametrize("wants_usage", [False, True])
@pytest.mark.parametrize("has_usage", [False, True])
def test_chunks_of_the_provider_pass_and_the_usage_comes_if_it_is_wanted(wants_usage, has_usage):
    """L15: unknown members pass, and Callsheet's own wish for the usage does not show."""
    own = [*CHUNKS, USED] if has_usage else CHUNKS
    pieces = [*(event("chat", one) for one in own), event("chat", b"[DONE]")]
    options = {"stream_options": {"include_usage": True}} if wants_usage else {}
    stream = written("/chat/completions", pieces, answer(Choice("Hi", "stop")), **options)
    found = [one for _, one in events_in(stream)]
    assert found[:3] == CHUNKS
    assert len(found) == 3 + wants_usage
    if wants_usage and has_usage:
        assert found[3] == USED
    elif wants_usage:
        assert found[3]["usage"]["total_tokens"] == 15
    assert stream.count(b"[DONE]") == 1
    assert stream.endswith(b"data: [DONE]\n\n")


def test_usage_beside_a_finish_reason_passes():
    last = chunk([{"index": 0, "delta": {}, "finish_reason": "stop"}], usage={"total_tokens": 3})
    pieces = [event("chat", CHUNKS[1]), event("chat", last)]
    found = [
        one for _, one in events_in(written("/chat/completions", pieces, answer(Choice("Hi"))))
    ]
    assert found == [CHUNKS[1], last]


MESSAGE = [
    {"type": "message_start", "message": {"id": "msg_1", "content": [], "unknown": 1}},
    {"type": "ping"},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking"}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta"}},
    {"type": "message_stop"},
]
EVENTS = [
    {"type": "response.created", "sequence_number": 0, "response": {"unknown": 1}},
    {"type": "response.web_search_call.searching", "sequence_number": 1},
    {"type": "response.completed", "sequence_number": 2, "response": {}},
]


@pytest.mark.parametrize("is_named", [False, True])
@pytest.mark.parametrize(
    ("path", "form", "own"),
    [("/messages", "anthropic", MESSAGE), ("/responses", "responses", EVENTS)],
)
def test_events_of_the_provider_pass_with_their_names(path, form, own, is_named):
    """Anthropic's SDK skips an event without a name, and some servers send none."""
    pieces = [event(form, one, one["type"] if is_named else "") for one in own]
    stream = written(path, pieces, answer(Choice("Hi", "stop")))
    assert events_in(stream) == [(one["type"], one) for one in own]


def test_data_of_several_lines_stays_one_event():
    data = json.dumps(CHUNKS[0], indent=1).encode()
    stream = written("/chat/completions", [event("chat", data)], answer(Choice("Hi", "stop")))
    assert events_in(stream) == [("", CHUNKS[0])]


@pytest.mark.parametrize("path", BODIES)
def test_events_of_another_dialect_are_written_in_that_of_the_client(path):
    pieces = [
        event("gemini", {}, "", Delta("Hel")),
        event("gemini", {}, "", Delta("lo"), Delta("!")),
    ]
    plain = [Delta("Hel"), Delta("lo"), Delta("!")]
    response = answer(Choice("Hello!", "stop"))
    assert written(path, pieces, response) == written(path, plain, response)


@pytest.mark.parametrize("path", ["/chat/completions", "/messages", "/responses"])
def test_a_piece_without_an_event_does_not_begin_the_answer_again(path):
    """L8: an event that quotes a key is not passed on; its text is."""
    first = {
        "/chat/completions": event("chat", CHUNKS[0]),
        "/messages": event("anthropic", MESSAGE[0], "message_start"),
        "/responses": event("responses", EVENTS[0], "response.created"),
    }[path]
    stream = written(path, [first, Delta("Hi")], answer(Choice("Hi", "stop")))
    text = stream.decode()
    assert text.count('"delta":{"role"') == 0
    assert text.count("event: message_start") == (path == "/messages")
    assert text.count("event: response.created") == (path == "/responses")
    assert '"Hi"' in text
