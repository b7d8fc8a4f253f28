"""Marks and keys in a request: found where the user has set them, and set where allowed (L15)."""

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors import ChatMessage, Request, Tool
from callsheet.actors.prompt_cache import (
    PromptPlace,
    cache_terms,
    is_marked,
    with_key,
    with_mark,
)
from callsheet.actors.vendors import VENDORS

CLAUDE = cache_terms("anthropic", "claude-sonnet-4-5")
NEW_GPT = cache_terms("openai", "gpt-5.6-luna")
OLD_GPT = cache_terms("openai", "gpt-5.4-nano")
EPHEMERAL = {"cache_control": {"type": "ephemeral"}}
BREAKPOINT = {"prompt_cache_breakpoint": {"mode": "explicit"}}
CHAT = Request.of("Good soup.", model="m", system="Rate the review.")


def chat(*messages, **members):
    return Request(model="m", messages=[ChatMessage.of(one) for one in messages], **members)


def body_of(request, vendor="anthropic", api=None):
    return VENDORS[vendor].format_for("chat", api).encode(request, stream=False)


# ---------------------------------------------------------------------- what the user has marked


@pytest.mark.parametrize(
    "extra_body",
    [
        EPHEMERAL,
        {"prompt_cache_key": "k"},
        {"prompt_cache_options": {"mode": "implicit"}},
        {"prompt_cache_retention": "24h"},
        {"cachedContent": "cachedContents/1"},
        {"system": [{"type": "text", "text": "Hi", **EPHEMERAL}]},
        {"tools": [{"name": "f", **EPHEMERAL}]},
    ],
)
def test_a_mark_in_the_extra_body_is_found(extra_body):
    assert is_marked(attrs.evolve(CHAT, extra_body=extra_body))


@pytest.mark.parametrize(
    "message",
    [
        {"role": "system", "content": "Hi", **EPHEMERAL},
        {"role": "user", "content": [{"type": "text", "text": "Hi", **EPHEMERAL}]},
        {"role": "user", "content": [{"type": "text", "text": "Hi", **BREAKPOINT}]},
        {"role": "assistant", "content": "", "tool_calls": [{"id": "1", **EPHEMERAL}]},
    ],
)
def test_a_mark_in_a_message_is_found(message):
    assert is_marked(attrs.evolve(CHAT, messages=(ChatMessage.of(message), *CHAT.messages)))


def test_a_mark_on_a_tool_is_found():
    tools = [{"name": "f", "input_schema": {"type": "object"}, **EPHEMERAL}]
    assert is_marked(Request.of("Hi", model="m", tools=tools))


def test_a_mark_in_a_response_that_goes_back_is_found():
    native = {"content": [{"type": "text", "text": "Hi", **EPHEMERAL}]}
    turn = ChatMessage("assistant", "Hi", native=native)
    assert is_marked(attrs.evolve(CHAT, messages=(*CHAT.messages, turn)))


def test_other_members_are_no_marks():
    tools = [{"name": "f", "input_schema": {"type": "object"}}]
    request = Request.of("cache_control", model="m", tools=tools, extra_body={"user": "u"})
    assert not is_marked(request)
    assert not is_marked(chat({"role": "user", "content": [{"type": "text", "text": "Hi"}]}))


# -------------------------------------------------------------------------------- what is added


def test_a_key_is_added_to_the_extra_body():
    request = with_key(attrs.evolve(CHAT, extra_body={"user": "u"}), "k-1")
    assert request.extra_body == {"user": "u", "prompt_cache_key": "k-1"}
    assert is_marked(request)


def test_the_system_message_is_marked_at_anthropic():
    body = body_of(with_mark(CHAT, PromptPlace(0), CLAUDE))
    assert body["system"] == [{"type": "text", "text": "Rate the review.", **EPHEMERAL}]
    assert body["messages"] == [{"role": "user", "content": "Good soup."}]


def test_several_system_messages_stay_one_text_at_anthropic():
    texts = [{"role": "system", "content": text} for text in "abc"]
    request = chat(*texts, {"role": "user", "content": "Hi"})
    for at in range(3):
        blocks = body_of(with_mark(request, PromptPlace(at), CLAUDE))["system"]
        assert "".join(block["text"] for block in blocks) == body_of(request)["system"]
        assert [name for block in blocks for name in block if name == "cache_control"] == [
            "cache_control"
        ]
        assert blocks[0]["text"].strip() == "\n\n".join("abc"[: at + 1])


def test_the_last_tool_is_marked_at_anthropic():
    tool = Tool(name="f", description="F.", parameters={"type": "object", "properties": {}})
    request = attrs.evolve(CHAT, tools=(attrs.evolve(tool, name="e"), tool))
    first, last = body_of(with_mark(request, PromptPlace(-1), CLAUDE))["tools"]
    assert [first, last] == [
        body_of(request)["tools"][0],
        {**body_of(request)["tools"][1], **EPHEMERAL},
    ]


def test_a_tool_of_the_provider_and_one_of_another_are_marked_at_anthropic():
    for given_tool in (
        {"type": "web_search_20250305", "name": "web_search"},
        {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}},
    ):
        request = attrs.evolve(CHAT, tools=[given_tool])
        plain = body_of(request)["tools"][0]
        marked = body_of(with_mark(request, PromptPlace(-1), CLAUDE))["tools"][0]
        assert marked.pop("cache_control") == {"type": "ephemeral"}
        assert marked.items() >= plain.items()


def test_a_text_is_divided_at_a_place_inside_it():
    request = Request.of("Rate this: good soup.", model="m")
    marked = with_mark(request, PromptPlace(0, None, 11), CLAUDE)
    assert body_of(marked)["messages"][0]["content"] == [
        {"type": "text", "text": "Rate this: ", **EPHEMERAL},
        {"type": "text", "text": "good soup."},
    ]


def test_turns_of_a_chat_are_marked_at_anthropic():
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    request = chat(
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "42"},
        {"role": "user", "content": "And?"},
    )
    said = body_of(with_mark(request, PromptPlace(1), CLAUDE))["messages"][1]["content"]
    assert said[-1]["cache_control"] == {"type": "ephemeral"}
    result = body_of(with_mark(request, PromptPlace(2), CLAUDE))["messages"][2]["content"][0]
    assert result["cache_control"] == {"type": "ephemeral"}


def test_a_response_that_goes_back_unchanged_is_marked_on_its_last_block():
    text = {"type": "text", "text": "Hello."}
    thought = {"type": "thinking", "thinking": "", "signature": "s"}
    said = ChatMessage("assistant", "Hello.", native={"content": [thought, text]})
    request = attrs.evolve(CHAT, messages=(*CHAT.messages, said, ChatMessage("user", "And?")))
    marked = body_of(with_mark(request, PromptPlace(2), CLAUDE))
    assert marked["messages"][1]["content"] == [thought, {**text, **EPHEMERAL}]
    only_thought = attrs.evolve(said, native={"content": [thought]})
    request = attrs.evolve(CHAT, messages=(*CHAT.messages, only_thought))
    assert with_mark(request, PromptPlace(2), CLAUDE) is request


@pytest.mark.parametrize("api", ["chat", "responses"])
def test_a_part_is_marked_at_openai_and_nothing_else_is_written(api):
    body = body_of(with_mark(CHAT, PromptPlace(0), NEW_GPT), "openai", api)
    prompt = body["messages" if api == "chat" else "input"]
    kind = "text" if api == "chat" else "input_text"
    assert prompt[0] == {
        "role": "system",
        "content": [{"type": kind, "text": "Rate the review.", **BREAKPOINT}],
    }
    assert prompt[1] == {"role": "user", "content": "Good soup."}
    assert body["prompt_cache_options"] == {"mode": "explicit"}


def test_one_of_several_parts_is_marked():
    image = {"type": "image_url", "image_url": {"url": "https://example.com/1.png"}}
    parts = [image, {"type": "text", "text": "What is it?"}]
    marked = with_mark(chat({"role": "user", "content": parts}), PromptPlace(0, 0), NEW_GPT)
    assert marked.messages[0].body["content"] == [{**parts[0], **BREAKPOINT}, parts[1]]


@pytest.mark.parametrize(
    ("place", "terms"),
    [
        (PromptPlace(0), OLD_GPT),  # has no marks
        (PromptPlace(-1), NEW_GPT),  # none on tools
        (PromptPlace(-1), CLAUDE),  # no tools
        (PromptPlace(2), NEW_GPT),  # an answer
        (PromptPlace(2), cache_terms("openrouter", "anthropic/claude-sonnet-4.5")),
        (PromptPlace(0, 3), CLAUDE),  # no such part
        (PromptPlace(0, None, 0), CLAUDE),  # nothing before it
        (PromptPlace(3), CLAUDE),  # an empty text
    ],
)
def test_where_no_mark_can_be_the_request_stays_the_same(place, terms):
    turns = (ChatMessage("assistant", "5"), ChatMessage("user", ""))
    request = attrs.evolve(CHAT, messages=(*CHAT.messages, *turns))
    assert with_mark(request, place, terms) is request


CONTENTS = st.one_of(
    st.text("ab ", max_size=6),
    st.lists(
        st.builds(lambda it: {"type": "text", "text": it, "id": 1}, st.text("ab", max_size=4)),
        min_size=1,
    ),
)
MESSAGES = st.lists(
    st.builds(
        lambda role, content: {"role": role, "content": content},
        st.sampled_from(("system", "user", "assistant")),
        CONTENTS,
    ),
    max_size=4,
)


def texts_of(request):
    """Return the texts of a chat by role, as if the parts of a message were one text."""
    found = []
    for message in request.messages:
        content = message.body["content"]
        parts = content if isinstance(content, list) else [{"text": content}]
        found.append((message.role, "".join(part["text"] for part in parts)))
    return found


@given(MESSAGES, st.integers(0, 4), st.none() | st.integers(0, 3), st.none() | st.integers(0, 6))
def test_a_mark_changes_no_text_and_no_order(messages, at, part, chars):
    request = chat(*messages, {"role": "user", "content": "end"})
    place = PromptPlace(min(at, len(messages)), part, chars)
    marked = with_mark(request, place, NEW_GPT)
    assert texts_of(marked) == texts_of(request)
    assert is_marked(marked) == (marked is not request)
