"""OpenAI's chat format: what is sent, and the responses of the many compatible servers."""

import json

import attrs
import pytest
from bodies import chat, chat_body
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors import Choice, Request, Usage
from callsheet.actors.ledger import judge_usage
from callsheet.actors.vendors.decoding import loads
from callsheet.actors.vendors.format import ApiError, DecodedResponse, Malformed, UnsupportedField
from callsheet.actors.vendors.openai_chat import OpenAIChat

CHAT = OpenAIChat()
decode_error = CHAT.decode_error


def encode(request, *, stream=False):
    return CHAT.encode(request, stream=stream)


def decode(body, **asked):
    return CHAT.decode(body, chat(**asked))


def test_a_request_has_the_given_fields_and_nothing_else():
    request = Request.of("Hi", model="m", system="Be brief.", cacheable=True)
    assert encode(request) == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hi"},
        ],
    }


def test_zero_is_a_value_not_an_absence():
    request = Request.of("Hi", model="m", temperature=0)
    body = encode(attrs.evolve(request, seed=0, max_tokens=1))
    assert (body["temperature"], body["seed"], body["max_tokens"]) == (0, 0, 1)


def test_extra_members_are_sent_unchanged_and_last():
    request = attrs.evolve(
        Request.of("Hi", model="m", max_tokens=5), extra_body={"top_p": 0.5, "max_tokens": 7}
    )
    assert encode(request)["top_p"] == 0.5
    assert encode(request)["max_tokens"] == 7


def test_an_answer_as_it_should_be():
    body = chat_body("Hi", model="gpt-4o-2024-08-06")
    body["usage"] |= {
        "prompt_tokens": 1500,
        "total_tokens": 1505,
        "prompt_tokens_details": {"cached_tokens": 1024, "cache_write_tokens": 128},
        "completion_tokens_details": {"reasoning_tokens": 3},
    }
    assert decode(body) == DecodedResponse(
        choices=(Choice("Hi", "stop"),),
        model="gpt-4o-2024-08-06",
        usage=Usage(1500, 5, 1024, 128, 3),
        tier="default",
    )


def test_what_deepseek_reads_from_its_cache_is_counted():
    body = chat_body("Hi")
    body["usage"] |= {"prompt_cache_hit_tokens": 7, "prompt_cache_miss_tokens": 3}
    assert decode(body).usage == Usage(10, 5, 7)


def test_everything_but_the_first_choice_may_be_missing():
    assert decode({"choices": [{"message": {}}]}) == DecodedResponse(choices=(Choice(""),))


@pytest.mark.parametrize(
    "changes",
    [
        {"usage": []},
        {"usage": "none"},
        {"usage": {"prompt_tokens": None, "completion_tokens": "5"}},
        {"usage": {"prompt_tokens": -3, "prompt_tokens_details": [1]}},
        {"usage": {"prompt_tokens_details": None}},
    ],
)
def test_usage_that_makes_no_sense_is_no_usage(changes):
    assert decode(chat_body("Hello", **changes)).usage in (None, Usage())


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        "Hello",
        3,
        {},
        {"choices": None},
        {"choices": []},
        {"choices": {}},
        {"choices": [None]},
        {"choices": ["Hello"]},
        {"choices": [{}]},
        {"choices": [{"message": None}]},
    ],
)
def test_a_body_that_is_no_completion_is_malformed_and_the_error_names_what_is_missing(body):
    with pytest.raises(Malformed, match=r'not an object|no "choices"|no "message"'):
        decode(body)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (
            {"error": {"message": "No.", "type": "t", "param": None, "code": "c"}},
            ApiError("No.", "t", "c"),
        ),
        ({"error": {"message": "No.", "code": 429}}, ApiError("No.", "", "429")),
        ({"error": "No."}, ApiError("No.")),
        ({"error": {}}, ApiError()),
        ({"error": {"message": None, "type": None}}, ApiError()),
        ({"object": "error", "message": "No.", "code": 40001}, ApiError("No.", "", "40001")),
        ({"detail": "Not found"}, ApiError("Not found")),
        ("No.", ApiError("No.")),
        ([{"error": "No."}], ApiError("No.")),
        (None, ApiError()),
        ({}, ApiError()),
    ],
)
def test_an_error_in_any_of_its_shapes(body, error):
    assert decode_error(body) == error


def test_an_error_that_comes_with_200_is_an_error():
    body = {"error": {"message": "Upstream failed", "code": 502}}
    assert decode(body) == ApiError("Upstream failed", "", "502")
    assert isinstance(decode(chat_body("Hello") | {"error": None}), DecodedResponse)


MEMBERS = [
    "choices",
    "message",
    "content",
    "finish_reason",
    "model",
    "usage",
    "prompt_tokens",
    "completion_tokens",
    "prompt_tokens_details",
    "cached_tokens",
    "error",
    "code",
    "type",
]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=10,
)
likely_values = st.recursive(
    json_values,
    lambda inner: st.dictionaries(
        st.sampled_from(MEMBERS),
        inner | st.lists(inner, max_size=2),
        max_size=4,
    ),
    max_leaves=20,
)


@given(likely_values)
def test_whatever_json_comes_it_is_an_answer_an_error_or_malformed(body):
    """An invalid body must not crash the actor that decodes it."""
    assert isinstance(decode_error(body), ApiError)
    try:
        found = decode(body)
    except Malformed:
        return
    assert isinstance(found, DecodedResponse | ApiError)


@given(st.builds(dict, usage=st.dictionaries(st.just("prompt_tokens"), json_values)))
def test_whatever_number_of_tokens_is_reported_the_answer_is_read(changes):
    assert decode(chat_body("Hello", **changes)).choices[0].text == "Hello"


@pytest.mark.parametrize("number", ["1e999", "-Infinity", "NaN", "1.5", "true"])
def test_any_number_of_tokens_in_json_does_not_lose_the_response(number):
    body = json.dumps(chat_body("Hello")).replace(
        '"prompt_tokens": 10', f'"prompt_tokens": {number}'
    )
    assert decode(loads(body.encode())).choices[0].text == "Hello"


def test_a_number_of_tokens_that_no_response_has_is_cut():
    """L13: a ledger could not even write it, and the judge replaces it by the request's bound."""
    usage = {"prompt_tokens": 1e30, "completion_tokens": 10**19}
    decoded = decode(chat_body("Hello", usage=usage))
    assert decoded.usage == Usage(10**12, 10**12)
    judged = judge_usage(decoded.usage, Request.of("Hi", model="m", max_tokens=5))
    assert judged.usage.total_tokens < 200
    assert not judged.is_plausible


# ------------------------------------------------------------------ several answers


def test_several_answers_come_in_the_order_of_their_indices():
    body = chat_body("a", "b", "c")
    body["choices"].reverse()
    assert [choice.text for choice in decode(body, n=3).choices] == ["a", "b", "c"]


def test_answers_without_indices_keep_their_order():
    body = chat_body("a", "b")
    for choice in body["choices"]:
        del choice["index"]
    assert [choice.text for choice in decode(body, n=2).choices] == ["a", "b"]


@pytest.mark.parametrize(
    "indices", [[0, 0], [0, 2], [1, 2], [-1, 0], ["0", "1"], [True, 0], [0.0, 1], [{}, []]]
)
def test_choices_of_one_prompt_are_read_whatever_their_indices(indices):
    """They cannot be confused, and were paid for (L11)."""
    body = chat_body("a", "b")
    for choice, index in zip(body["choices"], indices, strict=True):
        choice["index"] = index
    assert {choice.text for choice in decode(body, n=2).choices} == {"a", "b"}


@pytest.mark.parametrize("texts", ["a", "abc"])
def test_another_number_of_choices_than_requested_is_malformed(texts):
    with pytest.raises(Malformed, match=r"\d items instead of 2"):
        decode(chat_body(*texts), n=2)


def test_a_refusal_is_no_text():
    body = chat_body(None)
    body["choices"][0]["message"]["refusal"] = "I cannot help with that."
    assert decode(body).choices == (
        Choice("", "content_filter", refusal="I cannot help with that."),
    )


# ------------------------------------------------------------------ what is sent


def test_everything_a_chat_can_ask_for():
    schema = {"type": "object"}
    request = chat(
        max_tokens=9, n=2, temperature=0.5, top_p=0.9, stop=["END"], seed=1, json_schema=schema
    )
    assert encode(request) == {
        "model": "m",
        "messages": [{"role": "user", "content": "Hi"}],
        "max_tokens": 9,
        "n": 2,
        "temperature": 0.5,
        "top_p": 0.9,
        "stop": ["END"],
        "seed": 1,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "strict": True, "schema": schema},
        },
    }


def test_the_limit_has_the_name_that_the_server_knows():
    form = OpenAIChat(limit_name="max_completion_tokens")
    body = form.encode(chat(max_tokens=9), stream=False)
    assert body["max_completion_tokens"] == 9
    assert "max_tokens" not in body


def test_usage_is_asked_for_only_in_streams_and_only_where_it_is_known():
    form = OpenAIChat(asks_for_usage=True)
    assert form.encode(chat(), stream=True)["stream_options"] == {"include_usage": True}
    assert "stream_options" not in form.encode(chat(), stream=False)
    assert encode(chat(), stream=True)["stream"] is True
    assert "stream_options" not in encode(chat(), stream=True)


def test_extra_members_of_an_object_are_merged_with_the_others():
    form = OpenAIChat(asks_for_usage=True)
    request = chat(extra_body={"stream_options": {"continuous_usage_stats": True}})
    assert form.encode(request, stream=True)["stream_options"] == {
        "include_usage": True,
        "continuous_usage_stats": True,
    }


@pytest.mark.parametrize("name", ["n", "stream"])
def test_extra_members_that_decide_how_the_answer_is_read_are_refused(name):
    with pytest.raises(UnsupportedField, match=name):
        encode(chat(extra_body={name: 2}))


def test_what_a_server_does_not_know_is_refused_by_name():
    form = OpenAIChat(unknown=frozenset({"n"}))
    with pytest.raises(UnsupportedField, match="on this server does not support n;"):
        form.encode(chat(n=2), stream=False)
    assert form.encode(chat(), stream=False)
