"""Rules L3 and L13: numbers of tokens that contradict each other never make a call cheaper."""

from decimal import Decimal

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors import Request
from callsheet.actors.vendors import default_prices
from callsheet.actors.vendors.anthropic import AnthropicMessages
from callsheet.actors.vendors.decoding import dumps
from callsheet.actors.vendors.gemini import GeminiContent
from callsheet.actors.vendors.openai_chat import OpenAIChat
from callsheet.actors.vendors.openai_lists import OpenAICompletions, OpenAIEmbeddings
from callsheet.actors.vendors.openai_responses import OpenAIResponses
from callsheet.actors.vendors.sse import ServerSentEvent
from callsheet.actors.vendors.token_counts import TokenCounts

CHAT = OpenAIChat()
BESIDE = {
    "prompt_tokens": 36,
    "completion_tokens": 10,
    "total_tokens": 736,
    "completion_tokens_details": {"reasoning_tokens": 690},
}


def chat(usage, texts=("x",), reason="stop"):
    choices = [
        {"index": at, "message": {"content": text}, "finish_reason": reason}
        for at, text in enumerate(texts)
    ]
    return {"model": "m", "choices": choices, "usage": usage}


def test_tokens_beside_the_sum_are_paid_for():
    """The total and the detail give the tokens of reasoning away."""
    answer = CHAT.decode(chat(BESIDE), Request.of("x", model="gpt-5-mini"))
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (36, 700)
    assert answer.usage_doubt == "the total of 736 tokens is not 36 + 10"
    price = default_prices().price("gpt-5-mini").at()
    assert price.cost(answer.usage) > 30 * price.cost(TokenCounts(36, 10).usage)
    assert price.cost(answer.usage) > Decimal("0.001")


@pytest.mark.parametrize(
    ("counts", "tokens", "doubt"),
    [
        (TokenCounts(36, 10, total=46), (36, 10), ""),
        (TokenCounts(36, 10), (36, 10), ""),
        (TokenCounts(36, 10, reasoning=690), (36, 700), "690 tokens of reasoning"),
        (TokenCounts(36, 700, reasoning=690, total=1426), (36, 1390), "the total of 1426"),
        (TokenCounts(36, 10, total=12), (36, 10), "the total of 12"),
        (TokenCounts(3, 10, cached=100, written=50), (153, 10), "150 tokens of the cache"),
        (TokenCounts(8, None, total=80), (8, 72), ""),
        (TokenCounts(None, 5, total=80), (75, 5), ""),
        (TokenCounts(8, None), None, "the tokens of the response are not reported"),
        (TokenCounts(None, 8), None, "the tokens of the prompt are not reported"),
        (TokenCounts(None, None, total=80), None, ""),
        (TokenCounts(36, 5, predicted=80), (36, 85), "80 tokens of a prediction"),
    ],
)
def test_each_contradiction_is_read_upwards_and_named(counts, tokens, doubt):
    usage = counts.usage
    assert tokens == (None if usage is None else (usage.input_tokens, usage.output_tokens))
    assert counts.doubt.startswith(doubt)
    assert bool(counts.doubt) == bool(doubt)


@pytest.mark.parametrize("count", [None, "50", -50, True, [50], {"a": 1}])
@pytest.mark.parametrize("missing", ["prompt_tokens", "completion_tokens"])
def test_half_a_usage_is_none(missing, count):
    """Rule L13: the half that cannot be read was once counted as 0 tokens."""
    usage = {"prompt_tokens": 5, "completion_tokens": 5, missing: count}
    answer = CHAT.decode(chat(usage), Request.of("x", model="m"))
    assert answer.usage is None
    assert "are not reported" in answer.usage_doubt


@pytest.mark.parametrize(
    "usage", [{"input_tokens": 5, "output_tokens": None}, {"input_tokens": -5, "output_tokens": 5}]
)
def test_half_a_usage_of_a_response_is_none(usage):
    body = {"id": "r", "object": "response", "status": "completed", "output": [], "usage": usage}
    answer = OpenAIResponses().decode(body, Request.of("x", model="m", api="responses"))
    assert answer.usage is None


def test_a_part_of_a_token_is_a_token():
    usage = {"prompt_tokens": 5.5, "completion_tokens": 5}
    answer = CHAT.decode(chat(usage), Request.of("x", model="m"))
    assert answer.usage.input_tokens == 6


def test_google_leaves_out_what_is_0():
    empty = {"content": {"parts": []}, "finishReason": "MAX_TOKENS"}
    body = {
        "candidates": [empty],
        "usageMetadata": {"promptTokenCount": 8, "thoughtsTokenCount": 5},
    }
    answer = GeminiContent().decode(body, Request.of("x", model="m"))
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (8, 5)
    body["usageMetadata"]["candidatesTokenCount"] = "50"
    assert GeminiContent().decode(body, Request.of("x", model="m")).usage is None


def test_an_embedding_has_no_tokens_of_a_response():
    body = {"data": [{"index": 0, "embedding": [1.0]}], "model": "m"}
    request = Request.embedding("x", model="m")
    for usage in ({"prompt_tokens": 8}, {"total_tokens": 8}):
        assert OpenAIEmbeddings().decode(body | {"usage": usage}, request).usage.input_tokens == 8


def test_tokens_that_anthropic_keeps_for_an_hour_are_written():
    usage = {"input_tokens": 5, "output_tokens": 1}
    usage["cache_creation"] = {"ephemeral_1h_input_tokens": 20}
    body = {"content": [{"type": "text", "text": "x"}], "usage": usage, "stop_reason": "end_turn"}
    answer = AnthropicMessages().decode(body, Request.of("x", model="claude-sonnet-4-5"))
    assert answer.usage.input_tokens == 25
    assert (answer.usage.cache_write_tokens, answer.usage.cache_write_1h_tokens) == (20, 20)


COUNTS = st.integers(0, 10**6)


@given(st.builds(TokenCounts, *[COUNTS] * 5, st.none() | COUNTS))
def test_no_number_is_above_what_is_paid_for(counts):
    usage = counts.usage
    assert usage.input_tokens >= max(counts.input, counts.cached + counts.written)
    assert usage.output_tokens >= max(counts.output, counts.reasoning)
    assert usage.total_tokens >= (counts.total or 0)


def test_each_format_reads_its_total():
    request = Request.of("x", model="m")
    found = [
        OpenAIResponses().decode(
            {
                "output": [{"type": "message", "content": [{"type": "output_text", "text": "x"}]}],
                "status": "completed",
                "usage": {"input_tokens": 36, "output_tokens": 10, "total_tokens": 736},
            },
            request,
        ),
        GeminiContent().decode(
            {
                "candidates": [{"content": {"parts": [{"text": "x"}]}, "finishReason": "STOP"}],
                "usageMetadata": {
                    "promptTokenCount": 36,
                    "candidatesTokenCount": 10,
                    "totalTokenCount": 736,
                },
            },
            request,
        ),
        AnthropicMessages().decode(
            {
                "content": [{"type": "text", "text": "x"}],
                "stop_reason": "end_turn",
                "usage": {
                    "input_tokens": 36,
                    "output_tokens": 10,
                    "output_tokens_details": {"thinking_tokens": 690},
                },
            },
            request,
        ),
    ]
    assert [(one.usage.output_tokens, bool(one.usage_doubt)) for one in found] == [(700, True)] * 3


def test_the_usage_of_one_choice_of_a_chat_is_recognized():
    """llama.cpp reports the usage of one choice: with n=3, 5 tokens for 15."""
    request = attrs.evolve(Request.of("Count.", model="m", max_tokens=5), n=3)
    usage = {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14}
    texts = ["one two three four five"] * 3
    for reason in ("length", "stop"):
        answer = CHAT.decode(chat(usage, texts, reason), request)
        assert (answer.usage.input_tokens, answer.usage.output_tokens) == (9, 15)
        assert answer.usage_doubt == "5 tokens are too few for 3 choices"
    whole = CHAT.decode(chat(usage | {"completion_tokens": 15, "total_tokens": 24}, texts), request)
    assert (whole.usage.output_tokens, whole.usage_doubt) == (15, "")


def test_the_usage_of_one_choice_of_a_stream_is_recognized():
    request = attrs.evolve(Request.of("Count.", model="m", max_tokens=5), n=2)
    decoder = CHAT.stream_decoder(request)
    for at in range(2):
        choice = {"index": at, "delta": {"content": "a b c d e"}, "finish_reason": "length"}
        decoder.feed(ServerSentEvent(dumps({"choices": [choice]})))
    told = {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 5}}
    decoder.feed(ServerSentEvent(dumps(told)))
    assert decoder.end().usage.output_tokens == 10


def test_the_usage_of_one_prompt_of_a_list_is_recognized():
    prompts = ["Say the first of the words", "Say the second of the words"]
    usage = {"prompt_tokens": 6, "completion_tokens": 5, "total_tokens": 11}
    choices = [{"index": at, "text": "a b c d e", "finish_reason": "length"} for at in range(2)]
    answer = OpenAICompletions().decode(
        {"choices": choices, "usage": usage},
        Request(task="completion", model="m", inputs=tuple(prompts), max_tokens=5),
    )
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (14, 10)
    data = [{"index": at, "embedding": [1.0]} for at in range(2)]
    embedded = OpenAIEmbeddings().decode(
        {"data": data, "usage": {"prompt_tokens": 6, "total_tokens": 6}},
        Request.embedding(prompts, model="m"),
    )
    assert (embedded.usage.input_tokens, embedded.usage.output_tokens) == (14, 0)
    assert embedded.usage_doubt == "6 tokens are too few for 2 prompts"
