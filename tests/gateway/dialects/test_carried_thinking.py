"""Signed thinking of Anthropic and Gemini goes back to them through OpenAI's chats."""

import json

import pytest

from callsheet.actors import Choice, Response, ToolCall, Usage, vendor_named
from callsheet.gateway.dialects import DIALECTS

CHAT = DIALECTS["/chat/completions"]
HI = {"role": "user", "content": "Hi"}
BLOCKS = [
    {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
    {"type": "redacted_thinking", "data": "eA=="},
]
CALL = {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}}
PART = {"functionCall": {"name": "f", "args": {"a": 1}}, "thoughtSignature": "c2ln"}
ANTHROPICS = {"content": [*BLOCKS, {"type": "text", "text": "I ask."}, CALL]}
GEMINIS = {"candidates": [{"content": {"parts": [{"text": "I ask."}, PART]}}]}


def response(body):
    call = ToolCall("f", '{"a":1}', "t1")
    choice = Choice("I ask.", "tool_calls", tool_calls=(call,), reasoning="hm")
    made = {"model": "m", "finish_reason": "tool_calls", "usage": Usage(), "cost_usd": None}
    return Response(text="I ask.", choices=(choice,), body=body, **made)


def whole_message(body):
    read = CHAT.read({"model": "m", "messages": [HI]})
    made = json.loads(CHAT.whole(read, response(body), name="x", created=1))
    return made["choices"][0]["message"]


def streamed_message(body):
    """Return the message that a client puts together, with the members that it does not know."""
    read = CHAT.read({"model": "m", "messages": [HI], "stream": True})
    stream = CHAT.stream(read, name="x", created=1).end(response(body)).decode()
    message, calls = {"role": "assistant", "content": ""}, {}
    for event in stream.replace("data: [DONE]", "").split("\n\n"):
        for choice in json.loads(event[6:])["choices"] if event else ():
            delta = choice["delta"]
            message["content"] += delta.get("content") or ""
            for call in delta.get("tool_calls", ()):
                calls.setdefault(call["index"], {}).update(call)
            if "thinking_blocks" in delta:
                message["thinking_blocks"] = delta["thinking_blocks"]
    for call in calls.values():
        del call["index"]
    return {**message, "tool_calls": list(calls.values())}


@pytest.fixture(params=[whole_message, streamed_message])
def message_of(request):
    return request.param


def sent(vendor, message):
    result = {"role": "tool", "tool_call_id": "t1", "content": "1"}
    read = CHAT.read({"model": "m", "messages": [HI, message, result]})
    return vendor_named(vendor).format_for("chat").encode(read.request, stream=False)


def test_thinking_goes_back_to_anthropic(message_of):
    assert sent("anthropic", message_of(ANTHROPICS))["messages"][1] == {
        "role": "assistant",
        "content": ANTHROPICS["content"],
    }


def test_a_signature_goes_back_to_gemini(message_of):
    parts = sent("gemini", message_of(GEMINIS))["contents"][1]["parts"]
    assert parts[0] == {"text": "I ask."}
    assert parts[1]["thoughtSignature"] == "c2ln"


def test_another_provider_gets_neither(message_of):
    assert "hm" not in json.dumps(sent("gemini", message_of(ANTHROPICS)))
    assert "c2ln" not in json.dumps(sent("anthropic", message_of(GEMINIS)))


def test_most_answers_carry_nothing(message_of):
    message = message_of({"choices": []})
    assert message["tool_calls"][0].keys() == {"id", "type", "function"}
    assert "thinking_blocks" not in message


def made_by(path, body):
    """Return an answer that is made from a response of a provider of another dialect."""
    dialect = DIALECTS[path]
    call = dialect.read(body)
    return json.loads(dialect.whole(call, response({"candidates": []}), name="x", created=1))


def test_made_thinking_does_not_go_to_anthropic():
    """It has no signature, and Anthropic would refuse the rest of the chat with it."""
    asked = {"model": "m", "max_tokens": 5, "messages": [HI]}
    content = made_by("/messages", asked)["content"]
    assert content[0] == {"type": "thinking", "thinking": "hm", "signature": ""}
    result = {"type": "tool_result", "tool_use_id": "t1", "content": "1"}
    later = [HI, {"role": "assistant", "content": content}, {"role": "user", "content": [result]}]
    read = DIALECTS["/messages"].read({**asked, "messages": later})
    form = vendor_named("anthropic").format_for("chat")
    sent_on = form.encode(read.request, stream=False)["messages"]
    assert sent_on == [HI, {"role": "assistant", "content": content[1:]}, later[2]]


def test_made_reasoning_does_not_go_to_openai():
    asked = {"model": "m", "input": "Hi"}
    output = made_by("/responses", asked)["output"]
    assert output[0]["type"] == "reasoning"
    read = DIALECTS["/responses"].read({**asked, "input": [HI, *output]})
    form = vendor_named("openai").format_for("chat", "responses")
    assert form.encode(read.request, stream=False)["input"] == [HI, *output[1:]]
