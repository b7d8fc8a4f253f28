"""Bodies: a body that is read and sent has the same meaning."""

import json
import re
from contextlib import closing
from functools import partial

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors import ChatMessage, Request
from callsheet.actors.vendors.openai_chat import OpenAIChat
from callsheet.actors.vendors.openai_lists import OpenAICompletions, OpenAIEmbeddings
from callsheet.bulk.reading.bodies import BodyReader, RequestBuilder
from callsheet.bulk.reading.errors import BadRecord
from callsheet.bulk.reading.rows import RowReader, json_rows
from callsheet.bulk.reading.settings import ReadSettings
from callsheet.bulk.row import BadRow

FORMATS = {
    "chat": OpenAIChat(),
    "completion": OpenAICompletions(),
    "embedding": OpenAIEmbeddings(),
}
CHAT = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}


def request_of(body, task="chat", **settings):
    return BodyReader(RequestBuilder(ReadSettings(**settings))).request(task, body)


def sent(body, task="chat"):
    return FORMATS[task].encode(request_of(body, task), stream=False)


def only(line, **settings):
    """Return the only row of a line."""
    settings = ReadSettings(**settings)
    text = line if isinstance(line, bytes) else json.dumps(line).encode()
    reader = RowReader(settings)
    with closing(reader.identities):
        (row,) = json_rows([(1, text)], settings, reader)
    return row


# Values that survive encoding and decoding: orjson's integers have 64 bits.
words = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
some = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
whole = st.integers(1, 10**9)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
names = st.sampled_from(["user", "logit_bias", "reasoning_effort", "metadata", "x y"])
extras = st.dictionaries(names, values, max_size=3)
sampling = {
    "max_tokens": st.none() | whole,
    "n": st.integers(1, 128),
    "temperature": st.none() | st.floats(0, 2),
    "top_p": st.none() | st.floats(0, 1, exclude_min=True),
    "stop": st.lists(some, max_size=4),
    "seed": st.none() | st.integers(-(2**60), 2**60),
    "extra_body": extras,
}
roles = st.sampled_from(["system", "developer", "user", "assistant"])


def named(request, name):
    """Return a request that keeps the name for its limit, as a row that is read does (L15)."""
    return attrs.evolve(request, max_tokens_name=name if request.max_tokens else None)


chats = st.builds(
    Request,
    model=some,
    messages=st.lists(st.builds(ChatMessage, roles, words), min_size=1, max_size=4),
    json_schema=st.none() | st.dictionaries(words, values, max_size=3),
    **sampling,
).map(partial(named, name="max_tokens"))
completions = st.builds(
    Request,
    task=st.just("completion"),
    model=some,
    inputs=st.lists(some, min_size=1, max_size=4),
    **sampling,
)
embeddings = st.builds(
    Request,
    task=st.just("embedding"),
    model=some,
    inputs=st.lists(some, min_size=1, max_size=4),
    dimensions=st.none() | whole,
    extra_body=extras,
)
requests = chats | completions | embeddings


@given(requests)
def test_a_request_that_is_written_and_read_is_the_same(request):
    body = FORMATS[request.task].encode(request, stream=False)
    path = "/v1" + FORMATS[request.task].path(request, stream=False)
    row = only({"custom_id": "a", "method": "POST", "url": path, "body": body})
    assert row.request == request
    assert row.url == path
    assert only({"custom_id": "a", "body": body}).key == row.key


@given(chats, st.sampled_from(["max_tokens", "max_completion_tokens"]))
def test_the_limit_of_tokens_is_read_under_both_names(request, name):
    request = named(request, name)
    body = OpenAIChat().encode(request, stream=True)
    assert (name in body) is (request.max_tokens is not None)
    assert request_of(body) == request


@given(
    st.fixed_dictionaries(
        {"type": st.just("json_schema")},
        optional={
            "json_schema": st.fixed_dictionaries(
                {"name": st.sampled_from(["answer", "person"]), "schema": st.just({"a": [1]})},
                optional={
                    "strict": st.sampled_from([True, False, None]),
                    "description": words,
                    "further": values,
                },
            ),
            "further": values,
        },
    )
)
def test_a_schema_is_sent_as_it_was_meant(wanted):
    back = sent({**CHAT, "response_format": wanted})["response_format"]
    if "json_schema" in wanted:
        wanted["json_schema"].setdefault("strict", False)
        assert request_of({**CHAT, "response_format": wanted}).json_schema == {"a": [1]}
    assert back == wanted


@pytest.mark.parametrize(
    "wanted",
    [{"type": "json_object"}, {"type": "text"}, "x", {"type": "json_schema", "json_schema": 3}],
)
def test_another_format_of_answers_is_sent_as_it_is(wanted):
    body = {**CHAT, "response_format": wanted}
    assert request_of(body).json_schema is None
    assert sent(body) == body


def test_members_that_have_no_field_are_sent_as_they_are():
    body = {
        **CHAT,
        "tools": [{"type": "function", "function": {"name": "add", "parameters": {}}}],
        "service_tier": "flex",
        "user": None,
        "dimensions": 3,
    }
    assert sent(body) == body
    body = {"model": "m", "prompt": ["a", "b"], "echo": True, "messages": 1}
    assert sent(body, "completion") == body
    body = {"model": "m", "input": ["a"], "n": 3, "encoding_format": "base64", "dimensions": 8}
    assert sent(body, "embedding") == body


@pytest.mark.parametrize("stream", [True, False, None])
def test_how_an_answer_travels_is_left_out(stream):
    body = {**CHAT, "stream": stream, "stream_options": {"include_usage": True}}
    assert sent(body) == CHAT


def test_null_is_as_good_as_nothing():
    names = ("max_tokens", "temperature", "top_p", "n", "stop", "seed")
    assert sent({**CHAT, **dict.fromkeys(names)}) == CHAT


def chat_with(content, **members):
    return {"model": "m", "messages": [{"role": "user", "content": content, **members}]}


def test_parts_of_text_are_joined():
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert request_of(chat_with(parts[:1])).messages[0].content == "a"
    assert request_of(chat_with(parts)).messages[0].content == "a\nb"


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
CALLS = [{"id": "call_1", "type": "function", "function": {"name": "add", "arguments": "{}"}}]


@pytest.mark.parametrize(
    ("said", "text", "attachments"),
    [
        (chat_with([{"type": "text", "text": "What is it?"}, IMAGE, IMAGE]), "What is it?", 2),
        (chat_with([{"type": "text", "text": "a", "cache_control": {}}]), "a", 0),
        (chat_with("x", name="Ann"), "x", 0),
        (chat_with("4", role="tool", tool_call_id="call_1"), "4", 0),
        (chat_with(None, role="assistant", tool_calls=CALLS), "", 0),
        (chat_with("I add.", role="assistant", tool_calls=CALLS), "I add.", 0),
    ],
)
def test_a_turn_that_is_more_than_a_text_is_sent_as_it_is(said, text, attachments):
    (read,) = request_of(said).messages
    assert sent(said) == said
    assert (read.content, read.attachments) == (text, attachments)
    bare = {**said, "messages": [{"role": said["messages"][0]["role"], "content": text or "x"}]}
    lines = [{"custom_id": "a", "url": "/v1/chat/completions", "body": it} for it in (said, bare)]
    assert len({only(line).key for line in lines}) == 2


def test_the_system_text_of_anthropics_body_is_a_system_turn():
    read = request_of({**CHAT, "system": "Be brief."})
    assert read.messages[0] == ChatMessage("system", "Be brief.")
    assert not read.extra_body
    blocks = {**CHAT, "system": [{"type": "text", "text": "x", "cache_control": {}}]}
    assert sent(blocks) == blocks


def test_members_of_a_turn_that_are_empty_are_passed_over():
    assert request_of(chat_with("x", refusal=None, tool_calls=[])) == request_of(chat_with("x"))


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (chat_with([{"text": "a"}]), r"messages\[0\].content\[0\].*type"),
        (chat_with([{"type": "text", "text": 3}]), r"content\[0\].text"),
        (chat_with(["a"]), r"content\[0\]"),
        (chat_with([]), "content"),
        (chat_with(None), "content"),
        (chat_with({}), "content"),
        (chat_with("x", role="judge"), "role.*judge.*user"),
        (chat_with("x", role=["user"]), "role"),
        ({"model": "m", "messages": ["Hi"]}, r"messages\[0\]"),
        ({"model": "m", "messages": "Hi"}, "messages"),
        ({"model": "m", "messages": []}, "messages"),
        ({"model": "m", "messages": None}, "messages"),
        ({"model": "m"}, "messages"),
        ({"messages": CHAT["messages"]}, "model"),
        ({**CHAT, "model": ""}, "model"),
        ({**CHAT, "model": 3}, "model"),
        ({**CHAT, "temperature": "0.7"}, "temperature.*'0.7'"),
        ({**CHAT, "temperature": True}, "temperature"),
        ({**CHAT, "temperature": 2.5}, "temperature"),
        ({**CHAT, "top_p": 0}, "top_p"),
        ({**CHAT, "max_tokens": 1.5}, "max_tokens"),
        ({**CHAT, "max_tokens": 0}, "max_tokens"),
        ({**CHAT, "max_tokens": 3, "max_completion_tokens": 4}, "max_completion_tokens.*twice"),
        ({**CHAT, "n": 0}, "'n'"),
        ({**CHAT, "n": True}, '"n"'),
        ({**CHAT, "seed": 1.5}, "seed"),
        ({**CHAT, "stop": [1]}, "stop"),
        ({**CHAT, "stop": ""}, "stop"),
    ],
)
def test_a_body_that_is_no_request_is_refused_by_what_is_wrong(body, named):
    with pytest.raises(BadRecord, match=named):
        request_of(body)
    row = only({"custom_id": "a", "url": "/v1/chat/completions", "body": body})
    assert isinstance(row, BadRow)
    assert row.custom_id == "a"


@pytest.mark.parametrize(
    ("body", "task"),
    [
        ({"model": "m", "prompt": [1, 2]}, "completion"),
        ({"model": "m", "prompt": ""}, "completion"),
        ({"model": "m"}, "completion"),
        ({"model": "m", "input": [[1]]}, "embedding"),
        ({"model": "m", "input": []}, "embedding"),
        ({"model": "m", "input": "a", "dimensions": 0}, "embedding"),
    ],
)
def test_other_tasks_take_texts(body, task):
    with pytest.raises(BadRecord):
        request_of(body, task)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ({"url": "/v1/images/edits", "body": {}}, "/v1/images/edits.*/v1/embeddings"),
        ({"url": None, "body": {}}, "url"),
        ({"url": ["x"], "body": {}}, "url"),
        ({"method": "GET", "body": CHAT}, "method.*GET"),
        ({"body": "x"}, "body"),
        ({"body": {}}, "url"),
        ({"text": "x"}, "template"),
        ([CHAT], "object, not a list"),
        ("x", "object"),
        (b"{", "not JSON.*character 2"),
    ],
)
def test_a_line_that_is_no_request_has_the_reason(line, said):
    row = only(line)
    assert isinstance(row, BadRow)
    assert re.search(said, row.reason), row.reason


@pytest.mark.parametrize(
    ("line", "task", "url"),
    [
        ({"url": "/chat/completions", "body": CHAT}, "chat", "/v1/chat/completions"),
        ({"body": CHAT}, "chat", "/v1/chat/completions"),
        (CHAT, "chat", "/v1/chat/completions"),
        ({"model": "m", "prompt": "x"}, "completion", "/v1/completions"),
        ({"model": "m", "input": "x"}, "embedding", "/v1/embeddings"),
        ({"prompt": "x"}, "chat", "/v1/chat/completions"),
    ],
)
def test_the_task_of_a_line_follows_from_its_members(line, task, url):
    row = only(line, model="m")
    assert (row.request.task, row.url) == (task, url)
    assert row.request.extra_body == {}


def test_the_id_of_a_body_is_no_member_of_it():
    for name in ("custom_id", "id"):
        row = only({name: "x", **CHAT})
        assert row.custom_id == "x"
        assert row.request.extra_body == {}


def test_common_settings_apply_to_rows_without_their_own():
    settings = {"model": "d", "max_tokens": 9, "temperature": 0.5}
    bare = {"messages": CHAT["messages"]}
    request = request_of(bare, **settings)
    assert (request.model, request.max_tokens, request.temperature) == ("d", 9, 0.5)
    own = {**CHAT, "max_completion_tokens": 3, "temperature": 1}
    request = request_of(own, **settings)
    assert (request.model, request.max_tokens, request.temperature) == ("m", 3, 1)
    request = request_of({"input": "x"}, "embedding", **settings)
    assert (request.model, request.max_tokens, request.temperature) == ("d", None, None)


def test_what_is_declared_is_declared_of_each():
    request = request_of(CHAT, cacheable=True, packable=True, deadline=60)
    assert (request.cacheable, request.packable, request.deadline) == (True, True, 60)


@given(st.lists(chats, min_size=1, max_size=8))
def test_requests_that_are_made_of_a_like_one_are_as_if_they_were_made_alone(requests):
    reader = BodyReader(RequestBuilder(ReadSettings()))
    for request in [*requests, *requests]:
        body = {**FORMATS["chat"].encode(request, stream=False)}
        again = reader.request("chat", body)
        assert again == request
        assert attrs.asdict(again) == attrs.asdict(request)
        assert type(again.messages) is tuple
