"""Which texts of requests and responses are changed, and which are left as they are."""

import json

from fakes import MODEL

from callsheet.actors import (
    ChatMessage,
    Choice,
    Delta,
    Request,
    Response,
    ToolCall,
    ToolCallDelta,
    Usage,
    replace_text,
)


def test_all_texts_of_a_request_are_changed_and_nothing_else():
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,ada"}}
    call = {
        "id": "ada",
        "type": "function",
        "function": {"name": "ada", "arguments": '{"a": "ada"}'},
    }
    request = Request(
        model="ada",
        messages=[
            ChatMessage("system", "for ada"),
            ChatMessage("user", "", extra={"content": [{"type": "text", "text": "ada"}, picture]}),
            ChatMessage("assistant", "", extra={"content": None, "tool_calls": [call]}),
            ChatMessage("tool", "ada", extra={"tool_call_id": "ada"}),
        ],
        extra_body={"user": "ada", "system": [{"type": "text", "text": "ada"}], "n": 1},
    )
    system, user, assistant, tool = (changed := replace_text(request, str.upper)).messages
    assert (changed.model, system.content, tool.content) == ("ada", "FOR ADA", "ADA")
    assert tool.extra == {"tool_call_id": "ada"}
    assert user.extra == {"content": [{"type": "text", "text": "ADA"}, picture]}
    assert assistant.extra["tool_calls"][0]["function"]["name"] == "ada"
    assert json.loads(assistant.extra["tool_calls"][0]["function"]["arguments"]) == {"a": "ADA"}
    assert changed.extra_body == {
        "user": "ada",
        "system": [{"type": "text", "text": "ADA"}],
        "n": 1,
    }


def test_inputs_and_anthropics_parts_are_changed():
    assert replace_text(Request.embedding(["a", "b"], model=MODEL), str.upper).inputs == ("A", "B")
    used = {"type": "tool_use", "id": "a", "name": "a", "input": {"to": {"name": "a"}, "n": 3}}
    result = {"type": "tool_result", "tool_use_id": "a", "content": [{"type": "text", "text": "a"}]}
    message = ChatMessage("user", "", extra={"content": [used, result]})
    ((changed,),) = [replace_text(Request(model=MODEL, messages=[message]), str.upper).messages]
    used, result = changed.extra["content"]
    assert used == {
        "type": "tool_use",
        "id": "a",
        "name": "a",
        "input": {"to": {"name": "A"}, "n": 3},
    }
    assert result == {**result, "tool_use_id": "a", "content": [{"type": "text", "text": "A"}]}


def test_documents_and_the_results_of_geminis_functions_are_changed():
    parts = [
        {
            "type": "document",
            "source": {"type": "text", "media_type": "text/plain", "data": "ada"},
            "title": "ada",
            "context": "ada",
        },
        {"type": "document", "source": {"type": "base64", "data": "left"}},
        {"type": "search_result", "source": "left", "title": "ada", "content": []},
        {"functionResponse": {"name": "left", "response": {"who": "ada", "output": ["ada"]}}},
        {"title": "left", "response": {"who": "left"}},
    ]
    message = ChatMessage("user", "", extra={"content": parts})
    request = Request(model=MODEL, messages=[message])
    (changed,) = replace_text(request, lambda text: f"<{text}>").messages
    written = json.dumps(parts).replace('"ada"', '"<ada>"')
    assert json.dumps(changed.extra["content"]) == written


def test_all_texts_of_a_response_are_changed():
    choice = Choice(
        "a",
        "stop",
        tool_calls=(ToolCall("f", '{"x": ["a"]}', "a"), ToolCall("g", "a"), ToolCall("h", "[0]")),
        reasoning="a",
        refusal="a",
        annotations=({"url": "a", "cited_text": "a"},),
    )
    body = {"id": "a", "content": [{"type": "text", "text": "a"}]}
    response = Response(
        text="a",
        model="a",
        finish_reason="stop",
        usage=Usage(1, 1),
        cost_usd=None,
        choices=(choice, Choice("b")),
        body=body,
    )
    changed = replace_text(response, str.upper)
    first, second = changed.choices
    assert (changed.text, changed.model, second.text, second.refusal) == ("A", "a", "B", None)
    assert (first.text, first.reasoning, first.refusal) == ("A", "A", "A")
    assert first.annotations == ({"url": "a", "cited_text": "A"},)
    assert first.tool_calls == (
        ToolCall("f", '{"x":["A"]}', "a"),
        ToolCall("g", "A"),
        ToolCall("h", "[0]"),
    )
    assert changed.body == {"id": "a", "content": [{"type": "text", "text": "A"}]}
    assert body["content"] == [{"type": "text", "text": "a"}], "callers share it"


def test_the_bodies_of_each_api_are_changed():
    bodies = [
        {"choices": [{"message": {"content": "a", "reasoning_content": "a", "role": "assistant"}}]},
        {"output": [{"id": "a", "content": [{"type": "output_text", "text": "a"}]}]},
        {
            "candidates": [
                {
                    "content": {
                        "parts": [
                            {"text": "a"},
                            {"functionCall": {"name": "f", "args": {"x": "a"}}},
                        ]
                    }
                }
            ]
        },
        {"content": [{"type": "thinking", "thinking": "a", "signature": "s"}]},
    ]
    usual = {"model": "m", "finish_reason": "stop", "usage": Usage(1, 1), "cost_usd": None}
    for body in bodies:
        response = Response(text="a", body=body, **usual)
        written = json.dumps(replace_text(response, lambda text: f"<{text}>").body)
        assert written == json.dumps(body).replace('"a"', '"<a>"').replace(
            '"id": "<a>"', '"id": "a"'
        )
    deep = []
    for _ in range(10_000):
        deep = [deep]
    assert replace_text(Response(text="a", body={"content": deep}, **usual), str.upper).body is None


def test_what_a_provider_wrote_itself_goes_through_on_its_way_back():
    """A text that was restored in a body must not leave in the next round of a tool loop."""
    native = {"content": [{"type": "text", "text": "ada"}]}
    message = ChatMessage("assistant", "ada", native=native)
    ((changed,),) = [replace_text(Request(model=MODEL, messages=[message]), str.upper).messages]
    assert changed.native == {"content": [{"type": "text", "text": "ADA"}]}


def test_arguments_stay_valid_json_whatever_is_inserted():
    calls = (ToolCall("f", '{"to": "NAME"}'),)
    response = Response(
        text="",
        model="a",
        finish_reason="stop",
        usage=Usage(1, 1),
        cost_usd=None,
        choices=(Choice("", tool_calls=calls),),
    )
    changed = replace_text(response, lambda text: text.replace("NAME", 'Ada "the first"\n'))
    assert json.loads(changed.tool_calls[0].arguments) == {"to": 'Ada "the first"\n'}


def test_a_piece_is_changed_and_its_empty_texts_stay_empty():
    piece = Delta("a", 1, tool_calls=(ToolCallDelta(0, "f", "a"),))
    changed = replace_text(piece, lambda text: f"{text}!")
    assert changed == Delta("a!", 1, tool_calls=(ToolCallDelta(0, "f", "a!"),))
