"""Any body is decoded to a response, an error or `Malformed`; none crashes (R8)."""

import json

import pytest
from bodies import chat, read_stream, sse
from hypothesis import given, settings
from hypothesis import strategies as st

from callsheet.actors import Request
from callsheet.actors.vendors.anthropic import AnthropicMessages
from callsheet.actors.vendors.format import ApiError, DecodedResponse, Malformed, StreamFailed
from callsheet.actors.vendors.gemini import GeminiContent
from callsheet.actors.vendors.openai_chat import OpenAIChat
from callsheet.actors.vendors.openai_lists import OpenAICompletions, OpenAIEmbeddings

CHAT = chat(n=2)
TEXT = Request(model="m", task="completion", inputs=["a", "b"])
VECTOR = Request(model="m", task="embedding", inputs=["a", "b"])
ASKED = [
    (OpenAIChat(), CHAT),
    (AnthropicMessages(), CHAT),
    (GeminiContent(), CHAT),
    (OpenAICompletions(), TEXT),
    (OpenAIEmbeddings(), VECTOR),
]
STREAMED = [pair for pair in ASKED if pair[0].streams]

leaves = (
    st.none()
    | st.booleans()
    | st.integers(-1, 2)
    | st.just(10**30)
    | st.floats()
    | st.sampled_from(
        [
            *("", "Hi", "\ud800", "stop", "STOP", "text", "text_delta", "end_turn", "error"),
            *("message_start", "content_block_start", "content_block_delta", "message_delta"),
        ]
    )
)
# From the outside in: a body has members that are objects, or lists of them, and so on.
delta = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(
        ("content", "refusal", "text", "type", "thought", "stop_reason", "index", "parts"), leaves
    ),
)
counts = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("prompt_tokens", "completion_tokens", "input_tokens"), leaves),
        **dict.fromkeys(("output_tokens", "promptTokenCount", "candidatesTokenCount"), leaves),
        "prompt_tokens_details": leaves | st.dictionaries(st.just("cached_tokens"), leaves),
    },
)
inner = leaves | delta | st.lists(delta | leaves, max_size=2)
choice = st.fixed_dictionaries(
    {},
    optional={
        "index": leaves,
        "finish_reason": leaves,
        "finishReason": leaves,
        "text": leaves,
        "type": leaves,
        "message": inner,
        "delta": inner,
        "content": leaves | st.dictionaries(st.just("parts"), inner),
        "embedding": leaves | st.lists(leaves, max_size=2),
    },
)
listed = leaves | choice | st.lists(choice | leaves, max_size=3)
bodies = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("choices", "candidates", "data", "content", "content_block"), listed),
        **dict.fromkeys(("message", "delta", "promptFeedback"), inner),
        **dict.fromkeys(("type", "object", "model", "modelVersion", "stop_reason"), leaves),
        **dict.fromkeys(("usage", "usageMetadata", "x_groq"), counts | leaves),
        "error": leaves | st.dictionaries(st.sampled_from(["message", "code", "details"]), leaves),
    },
)
said = bodies | leaves | st.lists(bodies, max_size=2)


@pytest.mark.parametrize(("form", "request_"), ASKED, ids=[form.name for form, _ in ASKED])
@settings(max_examples=settings.default.max_examples // 2)
@given(body=said)
def test_an_invalid_body(form, request_, body):
    assert isinstance(form.decode_error(body), ApiError)
    try:
        found = form.decode(body, request_)
    except Malformed:
        return
    assert isinstance(found, DecodedResponse | ApiError)


@pytest.mark.parametrize(
    ("form", "request_"), ASKED[:-1], ids=[form.name for form, _ in ASKED[:-1]]
)
@settings(max_examples=settings.default.max_examples // 2)
@given(events=st.lists(said, max_size=4))
def test_an_invalid_stream(form, request_, events):
    try:
        deltas, answer = read_stream(form, request_, [sse(*map(json.dumps, events))])
    except (Malformed, StreamFailed):
        return
    if isinstance(answer, ApiError):
        return
    texts = ["".join(d.text for d in deltas if d.index == at) for at in range(len(answer.choices))]
    assert texts == [choice.text for choice in answer.choices]
