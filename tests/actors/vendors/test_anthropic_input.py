"""Messages in OpenAI's shape, as Anthropic takes them."""

import pytest
from bodies import HI, chat

from callsheet.actors import ChatMessage
from callsheet.actors.vendors.anthropic import AnthropicMessages
from callsheet.actors.vendors.format import UnsupportedField

MARK = {"type": "ephemeral"}
HELLO = {"role": "user", "content": "Hi"}
PNG = "data:image/png;base64,iVBORw0="


def sent(*messages):
    return AnthropicMessages().encode(chat(messages=messages), stream=False)


def turns(*messages):
    return sent(*messages)["messages"]


def said(role, content=None, **extra):
    return ChatMessage(role, "", extra={"content": content, **extra})


def call(arguments='{"x": 1}', **more):
    function = {"name": "f", "arguments": arguments}
    return {"id": "toolu_1", "type": "function", "function": function, **more}


@pytest.mark.parametrize("role", ["system", "developer"])
def test_a_later_system_turn_stays_in_its_place(role):
    """Some models accept it, and the words of the others say what to do."""
    assert turns(*HI, ChatMessage(role, "Be brief.")) == [
        HELLO,
        {"role": "system", "content": "Be brief."},
    ]


def test_a_system_message_keeps_its_mark_for_the_cache():
    system = [
        ChatMessage("system", "A.", extra={"cache_control": MARK}),
        said("developer", [{"type": "text", "text": "B.", "cache_control": MARK}]),
        ChatMessage("system", "C."),
    ]
    assert sent(*system, *HI)["system"] == [
        {"type": "text", "text": "A.", "cache_control": MARK},
        {"type": "text", "text": "B.", "cache_control": MARK},
        {"type": "text", "text": "C."},
    ]


def test_the_mark_of_a_message_is_put_on_its_last_block():
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert turns(
        ChatMessage("user", "Hi", extra={"cache_control": MARK}),
        said("assistant", parts, cache_control=MARK),
    ) == [
        {"role": "user", "content": [{"type": "text", "text": "Hi", "cache_control": MARK}]},
        {"role": "assistant", "content": [parts[0], {**parts[1], "cache_control": MARK}]},
    ]


def test_images_and_files_are_sent_as_blocks():
    parts = [
        {"type": "image_url", "image_url": {"url": PNG, "detail": "auto"}, "cache_control": MARK},
        {"type": "image_url", "image_url": "https://x/y.png"},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,JV=", "filename": "a"}},
    ]
    (turn,) = turns(said("user", parts))
    assert turn["content"] == [
        {
            "type": "image",
            "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0="},
            "cache_control": MARK,
        },
        {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}},
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "JV="},
            "title": "a",
        },
    ]


def test_tool_calls_and_their_results_are_blocks():
    """All results of a turn are in one message, before the user's text."""
    asked = said(
        "assistant", "Let me see.", tool_calls=[call(), call("", cache_control=MARK)], refusal=None
    )
    results = [
        ChatMessage("tool", "4", extra={"tool_call_id": "toolu_1"}),
        said("tool", [{"type": "text", "text": "5"}], tool_call_id="toolu_2", is_error=True),
    ]
    assert turns(*HI, asked, *results, *HI, *HI)[1:] == [
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "Let me see."},
                {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"x": 1}},
                {
                    "type": "tool_use",
                    "id": "toolu_1",
                    "name": "f",
                    "input": {},
                    "cache_control": MARK,
                },
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": "4"},
                {
                    "type": "tool_result",
                    "tool_use_id": "toolu_2",
                    "content": [{"type": "text", "text": "5"}],
                    "is_error": True,
                },
                {"type": "text", "text": "Hi"},
            ],
        },
        HELLO,
    ]


def test_a_turn_of_the_sdks_is_sent_without_what_only_openai_has():
    empty = {"refusal": None, "annotations": [], "audio": None, "function_call": None}
    assert turns(ChatMessage("assistant", "Yes.", extra=empty), *HI) == [
        {"role": "assistant", "content": "Yes."},
        HELLO,
    ]
    (refused,) = turns(said("assistant", refusal="No."))
    assert refused["content"] == [{"type": "text", "text": "No."}]


def test_blocks_of_anthropics_own_are_sent_unchanged():
    blocks = [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "tool_use", "id": "t", "name": "f", "input": {}},
        {"type": "document", "source": {"type": "text", "data": "x"}, "cache_control": MARK},
    ]
    assert turns(said("assistant", blocks)) == [{"role": "assistant", "content": blocks}]


@pytest.mark.parametrize(
    ("message", "named"),
    [
        (said("user", [{"type": "input_audio", "input_audio": {}}]), "input_audio"),
        (said("user", [{"type": "video_url", "video_url": {}}]), "video_url"),
        (said("user", [{"type": "image_url", "image_url": {"url": "ftp://x"}}]), "an image"),
        (said("user", [{"type": "file", "file": {"file_id": "file-1"}}]), "a file"),
        (
            said("user", [{"type": "image_url", "image_url": {"url": PNG, "detail": "low"}}]),
            "detail",
        ),
        (said("assistant", tool_calls=[call("[1]")]), "tool call"),
        (said("assistant", tool_calls=[call("{")]), "tool call"),
        (said("assistant", function_call={"name": "f"}), "function_call"),
        (ChatMessage("function", "4", extra={"name": "f"}), "'function'"),
    ],
    ids=str,
)
def test_what_cannot_be_translated_is_refused_in_words(message, named):
    with pytest.raises(UnsupportedField, match=named):
        sent(*HI, message)


def test_a_member_of_a_system_message_that_has_no_place_is_refused():
    with pytest.raises(UnsupportedField, match="'name' in a system message"):
        sent(ChatMessage("system", "x", extra={"name": "Ann"}), *HI)
