"""Batch files of Anthropic and Gemini: each line is sent as it would be by its own provider."""

import json

import pytest

from callsheet.actors import ChatMessage
from callsheet.actors.vendors.anthropic import AnthropicMessages
from callsheet.actors.vendors.gemini import GeminiContent
from callsheet.actors.vendors.openai_chat import OpenAIChat
from callsheet.bulk.reading import ReadSettings, open_rows
from callsheet.bulk.row import BadRow

USER = {"role": "user", "content": "Hi"}
IMAGE = {"type": "base64", "media_type": "image/png", "data": "aGk="}
CACHED = {"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}
TOOL = {"name": "look", "input_schema": {"type": "object"}}


@pytest.fixture
def read(tmp_path):
    def rows(lines, **settings):
        path = tmp_path / "batch.jsonl"
        text = lines if isinstance(lines, str) else "\n".join(map(json.dumps, lines))
        path.write_text(text)
        with open_rows(path, ReadSettings(**settings)) as found:
            return list(found)

    return rows


PARAMS = [
    {"model": "claude", "max_tokens": 5, "messages": [USER]},
    {"model": "claude", "max_tokens": 5, "system": "Be brief.", "messages": [USER]},
    {"model": "claude", "max_tokens": 5, "system": [CACHED], "messages": [USER]},
    {
        "model": "claude",
        "max_tokens": 5,
        "messages": [USER],
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 5,
        "stop_sequences": ["."],
        "metadata": {"user_id": "u"},
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "tools": [TOOL],
        "tool_choice": {"type": "auto"},
        "service_tier": "auto",
    },
    {
        "model": "claude",
        "max_tokens": 5,
        "messages": [
            {
                "role": "user",
                "content": [{"type": "image", "source": IMAGE}, {"type": "text", "text": "x"}],
            },
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": "t", "name": "look", "input": {}}],
            },
            {
                "role": "user",
                "content": [{"type": "tool_result", "tool_use_id": "t", "content": "y"}],
            },
        ],
    },
]


@pytest.mark.parametrize("params", PARAMS)
def test_a_line_of_anthropics_is_sent_as_it_is(read, params):
    """L15"""
    (row,) = read([{"custom_id": "a", "params": params}])
    assert (row.custom_id, row.url) == ("a", "/v1/messages")
    assert AnthropicMessages().encode(row.request, stream=False) == params


def test_a_line_of_anthropics_can_be_sent_to_others(read):
    (row,) = read([{"custom_id": "a", "params": PARAMS[1]}])
    body = OpenAIChat().encode(row.request, stream=False)
    assert body["messages"] == [{"role": "system", "content": "Be brief."}, USER]


def test_the_body_of_anthropics_call_is_read_as_its_lines(read):
    requests = [{"custom_id": str(n), "params": PARAMS[0]} for n in range(3)]
    for text in (json.dumps({"requests": requests}), json.dumps({"requests": requests}, indent=2)):
        assert [row.custom_id for row in read(text)] == ["0", "1", "2"]


TEXT = {"role": "user", "parts": [{"text": "Hi"}]}
REQUESTS = [
    {"contents": [TEXT]},
    {"contents": [TEXT, {"role": "model", "parts": [{"text": "Ho"}]}, TEXT]},
    {"contents": [TEXT], "systemInstruction": {"parts": [{"text": "a"}, {"text": "b"}]}},
    {"contents": [{"role": "user", "parts": [{"text": "a"}, {"text": "b"}]}]},
    {
        "contents": [
            {
                "role": "user",
                "parts": [
                    {"fileData": {"mimeType": "video/mp4", "fileUri": "files/x"}},
                    {"text": "What is this?"},
                ],
            },
            {"role": "model", "parts": [{"functionCall": {"name": "look", "args": {}}}]},
            {"role": "user", "parts": [{"functionResponse": {"name": "look", "response": {}}}]},
        ],
        "generationConfig": {
            "maxOutputTokens": 5,
            "temperature": 0.5,
            "topP": 0.9,
            "topK": 40,
            "stopSequences": ["."],
            "seed": 7,
            "responseMimeType": "application/json",
            "thinkingConfig": {"thinkingBudget": 0},
        },
        "tools": [{"googleSearch": {}}],
        "safetySettings": [{"category": "x", "threshold": "BLOCK_NONE"}],
    },
]


@pytest.mark.parametrize("request_", REQUESTS)
def test_a_line_of_geminis_is_sent_as_it_is(read, request_):
    """L15"""
    (row,) = read([{"key": "k", "request": request_}], model="gemini-2.5-flash")
    assert (row.custom_id, row.url) == ("k", "/v1beta/models/gemini-2.5-flash:generateContent")
    assert GeminiContent().encode(row.request, stream=False) == request_


def test_a_line_of_geminis_may_be_written_as_its_examples_are(read):
    request = {
        "model": "models/gemini-2.5-pro",
        "contents": [{"parts": [{"text": "Hi"}]}],
        "system_instruction": {"parts": {"text": "Be brief."}},
        "generation_config": {"temperature": 0.7, "max_output_tokens": 9, "candidate_count": 2},
    }
    (row,) = read([{"request": request, "metadata": {"key": "k"}}], model="other")
    assert (row.custom_id, row.request.model) == ("k", "gemini-2.5-pro")
    assert row.request.messages == (ChatMessage("system", "Be brief."), ChatMessage("user", "Hi"))
    assert (row.request.temperature, row.request.max_tokens, row.request.n) == (0.7, 9, 2)


def test_a_line_of_geminis_can_be_sent_to_others(read):
    (row,) = read([{"key": "k", "request": REQUESTS[3]}], model="m")
    body = OpenAIChat().encode(row.request, stream=False)
    assert body["messages"] == [{"role": "user", "content": "a\nb"}]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ({"custom_id": "a", "params": {}}, '"params" has no "messages"'),
        ({"custom_id": "a", "params": {**PARAMS[0], "max_tokens": "5"}}, '"max_tokens" must be'),
        ({"custom_id": "a", "params": {**PARAMS[0], "messages": "x"}}, '"messages" must be a list'),
        ({"key": "a", "request": {"contents": []}}, '"contents" must be a list'),
        (
            {"key": "a", "request": {"contents": [3]}},
            'a "role" in "contents" must be user or model',
        ),
        ({"key": "a", "request": {"contents": [{"role": "x"}]}}, "not 'x'"),
        ({"key": "a", "request": {"contents": [{"parts": 7}]}}, '"parts" must be a list, not 7'),
        (
            {"key": "a", "request": {"contents": [TEXT], "generationConfig": {"topP": "x"}}},
            '"topP" must be a number',
        ),
        ({"key": "a", "request": {"contents": [TEXT], "generationConfig": 3}}, "generationConfig"),
    ],
)
def test_a_line_that_is_invalid_is_a_bad_row_with_its_id(read, line, said):
    good = {"custom_id": "good", "params": PARAMS[0]}
    _, bad = read([good, line], model="m")
    assert isinstance(bad, BadRow)
    assert bad.custom_id == "a"
    assert said in bad.reason
