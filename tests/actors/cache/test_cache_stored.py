"""Encoded responses: exactly the response, and nothing of the request."""

from contextlib import suppress
from decimal import Decimal

import attrs
import pytest
from fakes import MODEL, answer_to
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors import (
    ChatMessage,
    Choice,
    Request,
    Response,
    TokenLogprob,
    Tool,
    ToolCall,
    Usage,
)
from callsheet.actors.cache.stored import (
    decode,
    encode,
    for_storing,
    from_cache,
    is_storable,
    size_in_memory,
)
from callsheet.actors.identity import cache_keys

TEXTS = st.text(st.characters(exclude_categories=()), max_size=20)  # halves of surrogate pairs too
REASONS = st.none() | st.sampled_from(["stop", "length"])
COUNTS = st.integers(0, 10**12)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
CHOICES = st.builds(
    Choice,
    TEXTS,
    REASONS,
    tool_calls=st.lists(st.builds(ToolCall, TEXTS, TEXTS, TEXTS), max_size=2).map(tuple),
    reasoning=TEXTS,
    refusal=st.none() | TEXTS,
    logprobs=st.lists(
        st.builds(
            TokenLogprob,
            TEXTS,
            st.none() | NUMBERS,
            st.lists(st.tuples(TEXTS, NUMBERS), max_size=2).map(tuple),
        ),
        max_size=2,
    ).map(tuple),
    annotations=st.lists(st.dictionaries(TEXTS, NUMBERS, max_size=2), max_size=2).map(tuple),
)
RESPONSES = st.builds(
    Response,
    text=TEXTS,
    model=TEXTS,
    finish_reason=REASONS,
    usage=st.builds(Usage, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS),
    cost_usd=st.none() | st.decimals(0, 1000, allow_nan=False),
    choices=st.lists(CHOICES, max_size=3).map(tuple),
    embeddings=st.lists(
        st.lists(st.floats(allow_nan=False), max_size=5).map(tuple), max_size=3
    ).map(tuple),
    host=TEXTS,
)


@given(RESPONSES)
def test_what_is_read_is_what_was_written(response):
    assert decode(encode(response)) == response


def test_other_members_of_a_response_are_stored_except_vectors():
    body = {"choices": [{"message": {"tool_calls": [{"id": "call_1"}]}}]}
    said = for_storing(answer_to("Hi", text="", body=body, request_id="req_1"))
    read = decode(encode(said))
    assert (read.body, read.request_id) == (body, "req_1")
    assert size_in_memory(said) > size_in_memory(attrs.evolve(said, body=None)) + 500
    vectors = answer_to("Hi", text="", embeddings=((0.5,),), body={"data": []})
    assert for_storing(vectors).body is None


def test_the_first_choice_is_written_once_and_a_vector_takes_eight_bytes_a_number():
    text = "x" * 10_000
    one = answer_to("Hi", text=text, choices=(Choice(text, "stop"),))
    assert len(encode(one)) < 10_500
    vectors = answer_to("Hi", text="", embeddings=((0.1,) * 1000, (1 / 3,) * 1000))
    assert decode(encode(vectors)) == vectors
    assert len(encode(vectors)) < 16_500


@given(RESPONSES, st.data())
def test_bytes_that_are_no_answer_are_refused(response, data):
    value = bytearray(encode(response))
    if data.draw(st.booleans()):
        value = value[: data.draw(st.integers(0, len(value) - 1))]
    else:
        value[data.draw(st.integers(0, len(value) - 1))] ^= data.draw(st.integers(1, 255))
    with suppress(ValueError):  # and nothing else; a changed byte may also make another answer
        decode(bytes(value))


def test_an_answer_from_the_cache_has_cost_nothing():
    paid = answer_to(
        "Hi", http_requests=3, maybe_billed=1, seconds=2.0, first_byte_s=0.5, host="provider"
    )
    free = from_cache(paid)
    assert free == attrs.evolve(
        answer_to("Hi", host="provider"),
        usage=Usage(),
        cost_usd=Decimal(0),
        http_requests=0,
        route="cache",
    )


@pytest.mark.parametrize(
    ("response", "kept"),
    [
        (answer_to("Hi"), True),
        (answer_to("Hi", finish_reason="length"), False),
        (answer_to("Hi", finish_reason=None), False),
        (answer_to("Hi", choices=(Choice("a", "stop"), Choice("b", "stop"))), True),
        (answer_to("Hi", choices=(Choice("a", "stop"), Choice("", "content_filter"))), False),
        (answer_to("Hi", choices=(Choice("a", "tool_calls"),)), False),
        (answer_to("Hi", text="", finish_reason=None, embeddings=((1.0,),)), True),
        (answer_to("Hi", text="", finish_reason=None), False),
    ],
)
def test_only_an_answer_that_ended_by_itself_is_kept(response, kept):
    assert is_storable(response) is kept


def test_the_size_in_memory_grows_with_texts_and_vectors():
    empty = size_in_memory(answer_to("Hi", text=""))
    assert size_in_memory(answer_to("Hi", text="x" * 5000)) - empty == 5000
    two = answer_to("Hi", text="ab", choices=(Choice("x" * 5000), Choice("x" * 5000)))
    assert size_in_memory(two) - empty > 10_000
    assert size_in_memory(answer_to("Hi", text="", embeddings=((0.0,) * 1000,))) - empty == 32_000


# ------------------------------------------------------------------ the key (L6)

ASKED = Request.of("Hi", model=MODEL, cacheable=True)
CHANGES = {
    "tools": (Tool(name="search"),),
    "tool_choice": "none",
    "model": "other",
    "api": "responses",
    "messages": (ChatMessage("user", "Ho"),),
    "max_tokens": 10,
    "n": 2,
    "temperature": 0.5,
    "top_p": 0.5,
    "stop": ("x",),
    "seed": 1,
    "json_schema": {"type": "object"},
    "returns": list[str],
    "dimensions": 8,
    "extra_body": {"user": "x"},
    "extra_headers": {"openai-beta": "x"},
    "dialect": "chat",
    "packable": True,
}


def test_the_key_covers_the_endpoint_and_all_that_can_change_the_answer():
    """L6: the task decides which other fields a request has, so it is part of the key, too."""
    changed = [attrs.evolve(ASKED, **{name: value}) for name, value in CHANGES.items()]
    texts = Request.embedding("Hi", model=MODEL, cacheable=True)
    prompts = attrs.evolve(texts, task="completion")
    keys = [cache_keys(["http://a/v1"], one) for one in (ASKED, *changed, texts, prompts)]
    keys.append(cache_keys(["http://b/v1"], ASKED))
    assert len(set(keys)) == len(keys)
    free = {"cacheable", "deadline", "idempotency_key", "max_tokens_name"}
    assert {field.name for field in attrs.fields(Request)} == free | set(CHANGES) | {
        "task",
        "inputs",
    }


def test_the_key_does_not_depend_on_what_no_answer_depends_on():
    later = attrs.evolve(ASKED, deadline=60.0, idempotency_key="again")
    assert cache_keys(["http://a/v1"], later) == cache_keys(["http://a/v1"], ASKED)


def test_what_is_not_declared_cacheable_has_no_key():
    assert cache_keys(["http://a/v1"], attrs.evolve(ASKED, cacheable=False)) == ()
