"""Several prompts or texts in one call: each gets its own response (L5)."""

import base64
import struct

import pytest
from bodies import read_stream, sse, texts_of
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors import Choice, Request, Usage
from callsheet.actors.vendors.decoding import dumps
from callsheet.actors.vendors.format import (
    ApiError,
    BrokeOff,
    DecodedResponse,
    Malformed,
    StreamFailed,
    UnsupportedField,
)
from callsheet.actors.vendors.openai_lists import OpenAICompletions, OpenAIEmbeddings
from callsheet.actors.vendors.sse import ServerSentEvent

COMPLETIONS, EMBEDDINGS = OpenAICompletions(), OpenAIEmbeddings()


def completion(*prompts, **more):
    return Request(model="m", task="completion", inputs=prompts, **more)


def embedding(*texts, **more):
    return Request(model="m", task="embedding", inputs=texts, **more)


def text_choice(index, text="", reason="stop"):
    return {"text": text, "index": index, "logprobs": None, "finish_reason": reason}


def texts_body(*choices, **more):
    return {
        "id": "cmpl-1",
        "object": "text_completion",
        "created": 1750000000,
        "model": "m-1",
        "choices": list(choices),
        "usage": {"prompt_tokens": 6, "completion_tokens": 4, "total_tokens": 10},
    } | more


def test_one_prompt_is_sent_as_a_text_and_several_as_a_list():
    assert COMPLETIONS.encode(completion("a"), stream=False)["prompt"] == "a"
    assert COMPLETIONS.encode(completion("a", "b"), stream=False)["prompt"] == ["a", "b"]
    assert COMPLETIONS.path(completion("a"), stream=True) == "/completions"


def test_a_server_of_one_prompt_is_not_sent_two():
    form = OpenAICompletions(several_prompts=False)
    with pytest.raises(UnsupportedField, match="more than one of inputs"):
        form.encode(completion("a", "b"), stream=False)
    assert form.encode(completion("a"), stream=False)["prompt"] == "a"


@given(st.integers(1, 4), st.integers(1, 3), st.randoms(use_true_random=False))
def test_each_prompt_gets_its_own_answers_in_whatever_order_they_come(prompts, n, random):
    request = completion(*(f"prompt {i}" for i in range(prompts)), n=n)
    expected = [f"answer {j} to {i}" for i in range(prompts) for j in range(n)]
    choices = [
        text_choice(i * n + j, f"answer {j} to {i}") for i in range(prompts) for j in range(n)
    ]
    random.shuffle(choices)
    answer = COMPLETIONS.decode(texts_body(*choices), request)
    assert [choice.text for choice in answer.choices] == expected
    assert answer.model == "m-1"


@pytest.mark.parametrize(
    "indices",
    [
        [],
        [0, 1, 2],
        [0, 1, 2, 3, 4],
        [0, 1, 2, 2],
        [0, 1, 2, 3, 3],
        [0, 1, 2, 4],
        [None, 0, 1, 2],
    ],
)
def test_answers_that_are_not_those_asked_for_are_malformed(indices):
    body = texts_body(*map(text_choice, indices))
    with pytest.raises(Malformed):
        COMPLETIONS.decode(body, completion("a", "b", n=2))


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        {},
        {"choices": [{}]},
        {"choices": [{"text": None}]},
    ],
)
def test_what_is_no_completion_is_malformed(body):
    with pytest.raises(Malformed):
        COMPLETIONS.decode(body, completion("a"))


def test_an_error_with_status_200_is_an_error():
    error = {"error": {"message": "No.", "code": 502}}
    assert COMPLETIONS.decode(error, completion("a")) == ApiError("No.", "", "502")
    assert EMBEDDINGS.decode(error, embedding("a")) == ApiError("No.", "", "502")
    flat = {"object": "error", "message": "No.", "type": "BadRequestError", "code": 400}
    assert EMBEDDINGS.decode(flat, embedding("a")) == ApiError("No.", "BadRequestError", "400")


def test_the_prompts_of_a_stream_are_separated():
    data = sse(
        {"choices": [text_choice(1, "b", None)], "model": "m-1"},
        {"choices": [text_choice(0, "a", None), text_choice(1, "B", "length")]},
        {"choices": [text_choice(0, "A", "stop")]},
        {"choices": [], "usage": {"prompt_tokens": 2, "completion_tokens": 4}},
    )
    deltas, answer = read_stream(COMPLETIONS, completion("x", "y"), [data])
    assert texts_of(deltas, 2) == ["aA", "bB"]
    assert answer == DecodedResponse(
        choices=(Choice("aA", "stop"), Choice("bB", "length")), model="m-1", usage=Usage(2, 4)
    )


def test_a_stream_that_leaves_one_prompt_unfinished_broke_off():
    with pytest.raises(BrokeOff, match="1 of 2"):
        read_stream(COMPLETIONS, completion("x", "y"), [sse({"choices": [text_choice(1, "b")]})])
    with pytest.raises(StreamFailed, match="No"):
        read_stream(COMPLETIONS, completion("x"), [sse({"error": "No."})])


# ------------------------------------------------------------------ embeddings


def vectors_body(*items, **more):
    data = [{"object": "embedding", "index": i, "embedding": vector} for i, vector in items]
    usage = {"prompt_tokens": 8, "total_tokens": 8}
    return {"object": "list", "data": data, "model": "e-1", "usage": usage} | more


def test_vectors_come_in_the_order_of_the_texts():
    body = vectors_body((1, [0.5, 1]), (0, [-0.25, 2.0]))
    assert EMBEDDINGS.decode(body, embedding("a", "b")) == DecodedResponse(
        embeddings=((-0.25, 2.0), (0.5, 1.0)), model="e-1", usage=Usage(8, 0)
    )


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))
def test_a_vector_in_base_64_is_the_same(vector):
    text = base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
    assert EMBEDDINGS.decode(vectors_body((0, text)), embedding("a")).embeddings == (tuple(vector),)


@pytest.mark.parametrize(
    "vector",
    [
        None,
        [],
        "",
        "AAA",
        "AAAA",
        "AAAAAAA=",
        "nonsense!",
        [None],
        ["1"],
        [True],
        [[1.0]],
        [float("nan")],
        [1.0, float("inf")],
        [10**400],
        base64.b64encode(struct.pack("<f", float("nan"))).decode(),
        {"0": 1.0},
    ],
)
def test_what_is_no_vector_is_malformed(vector):
    with pytest.raises(Malformed, match="embedding"):
        EMBEDDINGS.decode(vectors_body((0, vector)), embedding("a"))


@pytest.mark.parametrize("indices", [[], [0], [0, 0], [0, 2], [0, 1, 2], [-1, 0], [1]])
def test_vectors_that_are_not_of_these_texts_are_malformed(indices):
    """L5: the vector of another text would be a silent error."""
    with pytest.raises(Malformed):
        EMBEDDINGS.decode(vectors_body(*((i, [1.0]) for i in indices)), embedding("a", "b"))


@pytest.mark.parametrize("body", [None, [], {}, {"data": None}, {"data": [1]}, {"data": {}}])
def test_what_is_no_list_of_vectors_is_malformed(body):
    with pytest.raises(Malformed):
        EMBEDDINGS.decode(body, embedding("a"))


def test_texts_and_dimensions_are_sent():
    assert EMBEDDINGS.encode(embedding("a", "b", dimensions=3), stream=False) == {
        "model": "m",
        "input": ["a", "b"],
        "dimensions": 3,
    }
    assert EMBEDDINGS.path(embedding("a"), stream=False) == "/embeddings"
    with pytest.raises(UnsupportedField, match="input"):
        EMBEDDINGS.encode(embedding("a", extra_body={"input": "b"}), stream=False)


# ------------------------------------------------------------------ usage of several prompts


def listed(texts, usage):
    choices = [
        {"index": place, "text": text, "finish_reason": "stop"} for place, text in enumerate(texts)
    ]
    return {"choices": choices, "usage": usage}


def tokens(prompt, answer):
    return {"prompt_tokens": prompt, "completion_tokens": answer}


def test_usage_of_one_choice_that_stands_for_all_is_corrected():
    """Some servers report the usage of the first prompt and its response only."""
    prompts = ["a prompt of eighty characters, " + "like the others, " * 3] * 4
    request = Request(model="m", task="completion", inputs=prompts)
    texts = ["an answer of some eighty characters, so it is, and so on, and so on, for long."] * 4
    one = OpenAICompletions().decode(listed(texts, tokens(20, 19)), request)
    expected = -(-4 * len(prompts[0]) // 4), -(-4 * len(texts[0]) // 4)
    assert (one.usage.input_tokens, one.usage.output_tokens) == expected
    whole = OpenAICompletions().decode(listed(texts, tokens(78, 77)), request)
    assert (whole.usage.input_tokens, whole.usage.output_tokens) == (78, 77)
    decoder = OpenAICompletions().stream_decoder(request)
    for place, text in enumerate(texts):
        choice = {"index": place, "text": text, "finish_reason": "stop"}
        decoder.feed(ServerSentEvent(dumps({"choices": [choice]})))
    decoder.feed(ServerSentEvent(dumps({"choices": [], "usage": tokens(20, 19)})))
    assert decoder.end().usage == one.usage


def test_usage_of_a_single_prompt_is_never_doubted():
    request = Request(model="m", task="completion", inputs="x" * 400)
    answer = OpenAICompletions().decode(listed(["y" * 400], tokens(1, 1)), request)
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (1, 1)


@pytest.mark.parametrize(
    ("form", "request_of", "member"),
    [(EMBEDDINGS, embedding, "input"), (COMPLETIONS, completion, "prompt")],
)
def test_token_ids_take_the_place_of_as_many_texts(form, request_of, member):
    """L5: the response has one item for each of the texts, so there must be as many lists."""
    ids = [[1, 2], [3]]
    request = request_of("a", "b", extra_body={member: ids})
    assert form.encode(request, stream=False)[member] == ids
    for wrong in ([[1]], [[1], []], [[1], [True]], [1, 2]):
        with pytest.raises(UnsupportedField, match=member):
            form.encode(request_of("a", "b", extra_body={member: wrong}), stream=False)
