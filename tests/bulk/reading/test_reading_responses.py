"""Rows for OpenAI's Responses: what is sent is what the file has (L15)."""

import json
import re
from contextlib import closing

import pytest

from callsheet.actors import Request
from callsheet.actors.vendors.openai_responses import OpenAIResponses
from callsheet.bulk.reading.rows import RowReader, json_rows
from callsheet.bulk.reading.settings import ReadSettings
from callsheet.bulk.row import BadRow

ITEMS = [
    {"role": "developer", "content": "Be brief."},
    {"role": "user", "content": [{"type": "input_image", "image_url": "https://x/y.png"}]},
    {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"},
    {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "c", "output": "4"},
    {
        "type": "message",
        "id": "msg_1",
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": "Hi", "annotations": [], "logprobs": []}],
    },
    {"type": "item_reference", "id": "x"},
]
TOOL = {"type": "function", "name": "f", "parameters": {}, "strict": True}
FORMAT = {"type": "json_schema", "name": "s", "schema": {"type": "object"}, "strict": False}


def read(body, url="/v1/responses", **settings):
    """Return the only row of a line."""
    line = {"custom_id": "a", "method": "POST", "url": url, "body": body}
    settings = ReadSettings(**settings)
    reader = RowReader(settings)
    with closing(reader.identities):
        (row,) = json_rows([(1, json.dumps(line).encode())], settings, reader)
    return row


@pytest.mark.parametrize("url", ["/v1/responses", "/responses"])
def test_a_body_is_sent_as_it_is(url):
    body = {
        "model": "m",
        "input": ITEMS,
        "instructions": "Count.",
        "max_output_tokens": 99,
        "temperature": 0.5,
        "top_p": 0.9,
        "tools": [TOOL],
        "tool_choice": {"type": "function", "name": "f"},
        "text": {"format": FORMAT, "verbosity": "low"},
        "reasoning": {"effort": "low"},
        "include": ["reasoning.encrypted_content"],
        "store": True,
        "stop": ["x"],
    }
    row = read({**body, "stream": True}, url)
    assert (row.url, row.request.api, row.request.max_tokens) == ("/v1/responses", "responses", 99)
    assert OpenAIResponses().encode(row.request, stream=False) == body


def test_the_text_of_items_counts_in_estimates():
    texts = [message.content for message in read({"model": "m", "input": ITEMS}).request.messages]
    assert texts == ["Be brief.", "", "", "{}", "4", "Hi", ""]


def test_a_body_that_says_nothing_of_storing_is_sent_without_it():
    row = read({"model": "m", "input": "Hi"})
    assert OpenAIResponses().encode(row.request, stream=False) == {
        "model": "m",
        "input": [{"role": "user", "content": "Hi"}],
    }


def test_defaults_of_the_run_apply():
    row = read({"input": "Hi"}, model="m", max_tokens=20, temperature=0.0)
    assert isinstance(row.request, Request)
    sent = OpenAIResponses().encode(row.request, stream=False)
    assert (sent["model"], sent["max_output_tokens"], sent["temperature"]) == ("m", 20, 0.0)


def test_a_row_for_another_api_has_another_key():
    chat = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
    keys = {read({"model": "m", "input": "Hi"}).key, read(chat, "/v1/chat/completions").key}
    assert len(keys) == 2


def test_rows_with_other_items_have_other_keys():
    items = [*ITEMS[2:5], {**ITEMS[2], "encrypted_content": "other"}]
    assert len({read({"model": "m", "input": [item]}).key for item in items}) == len(items)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"model": "m"}, '"input"'),
        ({"model": "m", "input": 3}, '"input" must be a string or a list of items, not 3'),
        ({"model": "m", "input": ["Hi"]}, r'"input\[0\]" must be an object'),
        ({"model": "m", "input": []}, "messages must have at least one message"),
        ({"model": "m", "input": "Hi", "max_output_tokens": "9"}, '"max_output_tokens"'),
    ],
)
def test_a_body_that_is_none_is_a_bad_row(body, reason):
    row = read(body)
    assert isinstance(row, BadRow)
    assert re.search(reason, row.reason), row.reason
