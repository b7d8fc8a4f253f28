"""The wire format: what is sent, and what the many compatible servers answer."""

import json

import attrs
import pytest
from fakes import completion_json
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors import ChatMessage, Request, Usage
from callsheet.actors.openai import Answer, ApiError, Malformed, decode, decode_error, encode


def test_a_request_has_what_was_said_and_nothing_else():
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


def test_extra_members_go_out_as_they_are_and_last():
    request = attrs.evolve(
        Request.of("Hi", model="m", max_tokens=5), extra={"top_p": 0.5, "max_tokens": 7}
    )
    assert encode(request)["top_p"] == 0.5
    assert encode(request)["max_tokens"] == 7


def test_an_answer_as_it_should_be():
    body = completion_json("Hi", model="gpt-4o-2024-08-06", tokens=(1500, 3))
    body["usage"]["prompt_tokens_details"] = {"cached_tokens": 1024}
    assert decode(body) == Answer("Hi", "gpt-4o-2024-08-06", "stop", Usage(1500, 3, 1024))


def test_everything_but_the_first_choice_may_be_missing():
    assert decode({"choices": [{"message": {}}]}) == Answer("", None, None, None)


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
    assert decode(completion_json(**changes)).usage in (None, Usage())


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
        {"choices": [{"text": "a completion of the older kind"}]},
    ],
)
def test_what_is_not_a_completion_is_malformed_and_says_what_is_missing(body):
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
        ({"detail": "Not found"}, ApiError()),
        ("No.", ApiError("No.")),
        ([{"error": "No."}], ApiError("No.")),
        (None, ApiError()),
        ({}, ApiError()),
    ],
)
def test_an_error_in_any_of_its_shapes(body, error):
    assert decode_error(body) == error


def test_what_else_comes_with_an_error_is_kept_as_text_but_not_shown():
    """OpenRouter's quotes the prompt."""
    gemini = {"code": 429, "status": "RESOURCE_EXHAUSTED", "details": [{"quotaId": "PerDay"}]}
    said = decode_error([{"error": gemini}])
    assert said == ApiError("", "", "429", "RESOURCE_EXHAUSTED", '[{"quotaId": "PerDay"}]')
    assert "PerDay" not in repr(said)
    openrouter = {"code": 403, "metadata": {"flagged_input": "höher"}}
    assert decode_error({"error": openrouter}).details == '{"flagged_input": "höher"}'
    anthropic = {"type": "rate_limit_error", "details": None}
    assert decode_error({"type": "error", "error": anthropic}) == ApiError("", "rate_limit_error")
    assert decode_error([]) == ApiError()


def test_an_error_that_comes_with_200_is_an_error():
    body = {"error": {"message": "Upstream failed", "code": 502}}
    assert decode(body) == ApiError("Upstream failed", "", "502")
    assert isinstance(decode(completion_json() | {"error": None}), Answer)


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
    "status",
    "details",
    "metadata",
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
    """A provider's nonsense must not crash the actor that reads it."""
    assert isinstance(decode_error(body), ApiError)
    try:
        found = decode(body)
    except Malformed:
        return
    assert isinstance(found, Answer | ApiError)


@given(st.builds(dict, usage=st.dictionaries(st.just("prompt_tokens"), json_values)))
def test_whatever_number_of_tokens_is_reported_the_answer_is_read(changes):
    assert decode(completion_json(**changes)).text == "Hello"


@pytest.mark.parametrize("number", ["1e999", "-Infinity", "NaN", "1.5", "true"])
def test_a_number_of_tokens_that_json_can_say_does_not_lose_the_answer(number):
    body = json.dumps(completion_json()).replace(
        '"prompt_tokens": 10', f'"prompt_tokens": {number}'
    )
    assert decode(json.loads(body)).text == "Hello"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", ""),
        ("messages", ()),
        ("messages", ["Hi"]),
        ("max_tokens", 0),
        ("temperature", -0.1),
        ("temperature", 2.1),
        ("temperature", float("nan")),
        ("max_tokens", 1.5),
    ],
)
def test_a_request_out_of_range_is_refused_by_the_fields_name(field, value):
    known = {"model": "m", "messages": (ChatMessage("user", "Hi"),)}
    with pytest.raises((ValueError, TypeError), match=field):
        Request(**(known | {field: value}))
