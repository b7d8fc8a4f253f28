"""Texts are recorded only if they are asked for, without keys, and as they are sent (L8)."""

import json

import pytest
from fakes import MODEL, Reply, Script, completion_json
from tracing import Telemetry, chat

from callsheet.actors import ChatMessage, Request, Tool, open_troupe

CAPTURE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
CONTENT = ("gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.system_instructions")


async def recorded(request, reply=None, **more):
    """Return the attributes with content of a call, decoded."""
    telemetry = Telemetry(**more)
    async with open_troupe(telemetry.settings(Script(reply or Reply()))) as troupe:
        await telemetry.ask_all(troupe, request)
    attributes = telemetry.call("a").attributes
    names = (*CONTENT, "gen_ai.tool.definitions")
    return {name: json.loads(attributes[name]) for name in names if name in attributes}


async def test_no_text_is_recorded_unless_it_is_asked_for(autojump_clock, telemetry):
    reply = Reply(body=completion_json("a secret answer"))
    async with open_troupe(telemetry.settings(Script(reply))) as troupe:
        await telemetry.ask_all(troupe, Request.of("a secret", system="secret", model=MODEL))
    assert "secret" not in "".join(span.to_json() for span in telemetry.spans)


async def test_the_texts_of_a_call(autojump_clock):
    found = await recorded(Request.of("Hi", system="Be kind.", model=MODEL), content=True)
    assert found == {
        "gen_ai.system_instructions": [{"type": "text", "content": "Be kind."}],
        "gen_ai.input.messages": [{"role": "user", "parts": [{"type": "text", "content": "Hi"}]}],
        "gen_ai.output.messages": [
            {
                "role": "assistant",
                "parts": [{"type": "text", "content": "Hello"}],
                "finish_reason": "stop",
            }
        ],
    }


@pytest.mark.parametrize(
    ("value", "is_recorded"),
    [
        ("SPAN_ONLY", True),
        ("span_and_event", True),
        ("true", True),
        ("EVENT_ONLY", False),
        ("NO_CONTENT", False),
        ("", False),
    ],
)
async def test_the_variable_of_other_instrumentations_decides(
    autojump_clock, monkeypatch, value, is_recorded
):
    monkeypatch.setenv(CAPTURE, value)
    assert bool(await recorded(chat())) is is_recorded
    assert await recorded(chat(), content=False) == {}


async def test_keys_are_hidden(autojump_clock):
    found = await recorded(chat("My key is sk-1234567890abcdef."), content=True)
    assert found["gen_ai.input.messages"][0]["parts"][0]["content"] == "My key is ***."


async def test_a_function_of_the_user_redacts_each_text(autojump_clock):
    found = await recorded(
        Request.of("Hi", system="Be kind.", model=MODEL),
        content=True,
        redact=lambda text: f"{len(text)} characters",
    )
    shown = json.dumps(found)
    assert shown.count("characters") == 3
    assert "Hi" not in shown


async def test_a_text_that_cannot_be_redacted_is_not_recorded(autojump_clock):
    found = await recorded(chat("a secret"), content=True, redact=lambda text: text[99])
    assert found["gen_ai.input.messages"][0]["parts"][0]["content"] == "***"


async def test_calls_of_tools_and_their_results(autojump_clock):
    def weather(city: str) -> str:
        """Return the weather."""
        return city

    call = {"id": "1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    request = Request(
        model=MODEL,
        messages=(
            ChatMessage("user", "How is it?"),
            ChatMessage("assistant", "", extra={"tool_calls": [call]}),
            ChatMessage("tool", "Sunny", extra={"tool_call_id": "1"}),
        ),
        tools=(Tool.of(weather),),
    )
    found = await recorded(request, content=True)
    _, asked, said = found["gen_ai.input.messages"]
    assert asked["parts"] == [
        {"type": "tool_call", "id": "1", "name": "weather", "arguments": "{}"}
    ]
    assert said["parts"] == [{"type": "tool_call_response", "id": "1", "response": "Sunny"}]
    assert found["gen_ai.tool.definitions"] == [
        {"type": "function", "name": "weather", "description": "Return the weather."}
    ]


async def test_of_an_image_only_the_kind_is_recorded(autojump_clock):
    parts = [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
    ]
    request = Request(model=MODEL, messages=[{"role": "user", "content": parts}])
    found = await recorded(request, content=True)
    assert found["gen_ai.input.messages"][0]["parts"] == [
        {"type": "text", "content": "What is it?"},
        {"type": "image_url"},
    ]


async def test_invalid_unicode_can_be_exported(autojump_clock):
    """One span that cannot be encoded costs the whole batch that it is exported in."""
    telemetry = Telemetry(content=True)
    odd = "odd \udc80"
    script = Script(Reply(body=completion_json(model=odd)))
    async with open_troupe(telemetry.settings(script)) as troupe:
        request = Request.of(odd, model=odd, stop=[odd])
        await troupe.complete(request, call=odd, lane=odd)
    assert len(telemetry.spans) == 2
    for span in telemetry.spans:
        span.to_json().encode()
        span.name.encode()
    measured = [attributes for points in telemetry.metrics().values() for attributes, _ in points]
    for attributes in (*(span.attributes for span in telemetry.spans), *measured):
        for value in attributes.values():
            for text in value if isinstance(value, tuple) else (value,):
                str(text).encode()
