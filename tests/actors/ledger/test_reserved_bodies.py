"""Rule L12: what is reserved is what the body that is sent can be billed for, in every format."""

from decimal import Decimal
from math import ceil

import attrs
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors import (
    Budget,
    BudgetExceeded,
    Endpoint,
    LedgerPolicy,
    Request,
    Target,
    TroupeSettings,
    open_troupe,
)
from callsheet.actors.ledger.body_limits import read_limits
from callsheet.actors.ledger.bound import CostBound, listed_usd, most_usage
from callsheet.actors.responses import Usage
from callsheet.actors.vendors.anthropic import AnthropicMessages
from callsheet.actors.vendors.gemini import GeminiContent
from callsheet.actors.vendors.openai_chat import OpenAIChat
from callsheet.actors.vendors.openai_lists import OpenAICompletions
from callsheet.actors.vendors.openai_responses import OpenAIResponses
from callsheet.actors.vendors.price import Price, TierPrice
from callsheet.actors.vendors.prices import PriceBook

CHEAP, DEAR = "cheap", "dear"
LONG = (
    (
        300,
        TierPrice(Decimal(4), Decimal(20), Decimal(2), Decimal(5), cache_write_1h=Decimal(8)),
    ),
)
BOOK = PriceBook(
    {
        CHEAP: Price(
            Decimal(2),
            Decimal(10),
            Decimal(1),
            cache_write=Decimal("2.5"),
            cache_write_1h=Decimal(4),
            above=LONG,
        ),
        DEAR: Price(Decimal(20), Decimal(100)),
    }
)
DEAR_USD = Decimal(9)
DEFAULT = 40  # tokens of a response without a limit

texts = st.text(max_size=120)
numbers = st.integers(1, 60_000)
limits = st.one_of(numbers, numbers.map(float), st.none())
EXTRAS = {
    "chat": {
        "max_tokens": limits,
        "max_completion_tokens": limits,
        "best_of": st.integers(1, 5),
        "models": st.lists(st.sampled_from([CHEAP, DEAR])),
        "prediction": st.builds(lambda text: {"type": "content", "content": text}, texts),
        "user": texts,
    },
    "completion": {"max_tokens": limits, "best_of": st.integers(1, 5), "suffix": texts},
    "responses": {"max_output_tokens": limits, "instructions": texts},
    "messages": {
        "max_tokens": numbers,
        "system": texts,
        "thinking": st.builds(lambda most: {"type": "enabled", "budget_tokens": most}, numbers),
    },
    "gemini": {
        "generationConfig": st.fixed_dictionaries(
            {},
            optional={
                "maxOutputTokens": st.one_of(limits, numbers.map(str)),
                "thinkingConfig": st.builds(lambda most: {"thinkingBudget": most}, numbers),
            },
        ),
        "systemInstruction": st.builds(lambda text: {"parts": [{"text": text}]}, texts),
    },
}
FORMATS = {
    "chat": OpenAIChat(),
    "completion": OpenAICompletions(),
    "responses": OpenAIResponses(),
    "messages": AnthropicMessages(default_max_tokens=DEFAULT),
    "gemini": GeminiContent(),
}


@st.composite
def requests(draw, kind):
    extra = draw(st.fixed_dictionaries({}, optional=EXTRAS[kind]))
    prompt, most = draw(texts), draw(st.none() | st.integers(1, 5_000))
    if kind == "completion":
        prompts = st.lists(st.text(min_size=1, max_size=60), min_size=1, max_size=3)
        inputs = tuple(draw(prompts))
        made = Request(task="completion", model=CHEAP, inputs=inputs, n=draw(st.integers(1, 3)))
    else:
        made = Request.of(prompt, model=CHEAP)
        if kind in ("chat", "gemini"):
            made = attrs.evolve(made, n=draw(st.integers(1, 3)))
    return attrs.evolve(made, max_tokens=most, extra_body=extra)


def bytes_in(value):
    if isinstance(value, str):
        return len(value.encode("utf-8", "surrogatepass"))
    if isinstance(value, dict):
        return sum(map(bytes_in, value.values()))
    return sum(map(bytes_in, value)) if isinstance(value, list) else 0


def most_billed(kind, body):
    """The most tokens that the documents allow: one a byte of text, and each limit reached."""
    config = (body.get("generationConfig") or {}) if kind == "gemini" else body
    names = {
        "chat": ("max_tokens", "max_completion_tokens"),
        "responses": ("max_output_tokens",),
        "gemini": ("maxOutputTokens",),
    }.get(kind, ("max_tokens",))
    given = [config.get(name) for name in names]
    each = max((ceil(float(one)) for one in given if one is not None), default=DEFAULT)
    if kind == "messages":
        each = max(each, body.get("thinking", {}).get("budget_tokens", 0))
    prompts = 1
    if kind == "completion" and isinstance(body["prompt"], list):
        prompts = len(body["prompt"])
    choices = max(body.get("n", 1), body.get("best_of", 1), config.get("candidateCount", 1))
    predicted = bytes_in(body.get("prediction", {}).get("content", ""))
    output = (each + predicted) * choices * prompts
    return Usage(bytes_in(body), output)


@pytest.mark.parametrize("kind", FORMATS)
@given(data=st.data())
def test_no_body_can_be_billed_above_what_is_reserved(kind, data):
    request = data.draw(requests(kind))
    body = FORMATS[kind].encode(request, stream=False)
    usage = most_billed(kind, body)
    reserved, usd = CostBound(BOOK, most_output=DEFAULT).of(request, None)
    assert reserved.output_tokens >= usage.output_tokens
    assert reserved.input_tokens >= usage.input_tokens - bytes_in(body.get("model"))
    prompt = attrs.evolve(usage, input_tokens=min(usage.input_tokens, reserved.input_tokens))
    written = attrs.evolve(prompt, cache_write_tokens=prompt.input_tokens)
    served = {CHEAP, *body.get("models", ())}
    costs = [BOOK.price(model).at().cost(one) for model in served for one in (prompt, written)]
    assert usd >= max(costs)


@pytest.mark.parametrize(
    ("extra", "tokens", "choices"),
    [
        ({"generationConfig": {"maxOutputTokens": 60_000}}, 60_000, 1),
        ({"generation_config": {"max_output_tokens": "60000"}}, 60_000, 1),
        ({"generationConfig": {"maxOutputTokens": None}}, None, 1),
        ({"generationConfig": None}, None, 1),
        ({"max_tokens": None}, None, 1),
        ({"max_tokens": -1}, None, 1),
        ({"max_completion_tokens": 700.0}, 700, 1),
        ({"best_of": 7}, 100, 7),
        ({"thinking": {"budget_tokens": 9_000}}, 9_000, 1),
        ({"options": {"num_predict": 500}}, 500, 1),
        ({"response_format": {"json_schema": {"schema": {"n": {"type": "string"}}}}}, 100, 1),
    ],
)
def test_each_spelling_of_a_limit_is_read(extra, tokens, choices):
    """A limit of 100 tokens, and what the body says beside it."""
    found = read_limits(Request.of("x", model=CHEAP, max_tokens=100, extra_body=extra))
    assert (found.tokens, found.choices) == (tokens, choices)


def test_a_limit_that_no_format_has_never_lowers_what_is_reserved():
    extra = {"thinking": {"budget_tokens": 10}, "options": {"num_predict": 5}}
    request = Request.of("x", model=CHEAP, extra_body=extra)
    assert most_usage(request, None, most_output=4096).output_tokens == 4096


def test_tools_in_the_body_count_as_those_of_the_request():
    """The provider's own words about tools are part of the prompt: 346 tokens and more."""
    plain = most_usage(Request.of("x", model=CHEAP), None, most_output=1).input_tokens
    for tools, least in (
        ([{"name": "look", "input_schema": {"type": "object"}}], 346),
        ([{"type": "text_editor_20250728", "name": "e"}], 700 + 346),
        ([{"type": "computer_20250124", "name": "c"}, {"type": "bash_20250124"}], 735 + 245 + 346),
    ):
        request = Request.of("x", model=CHEAP, extra_body={"tools": tools})
        assert most_usage(request, None, most_output=1).input_tokens >= plain + least


def test_inference_in_one_country_costs_more():
    bound = CostBound(BOOK)
    request = Request.of("x", model=CHEAP, max_tokens=5)
    there = attrs.evolve(request, extra_body={"inference_geo": "us"})
    assert bound.of(there, None)[1] > bound.of(request, None)[1] * Decimal("1.1")
    usage = Usage(10, 5)
    cost = listed_usd(BOOK, there, usage, "default", model=CHEAP, asked=CHEAP)
    assert cost == BOOK.cost(CHEAP, usage) * Decimal("1.1")


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "cheap-audio-preview"},
        {"extra_body": {"modalities": ["text", "audio"], "audio": {"voice": "ash"}}},
        {"extra_body": {"generationConfig": {"responseModalities": ["AUDIO"]}}},
    ],
)
def test_audio_has_no_known_price(changes):
    """A token of audio costs several times as much as one of a text."""
    book = attrs.evolve(
        BOOK, models={**BOOK.models, "cheap-audio-preview": Price(DEAR_USD, DEAR_USD)}
    )
    request = attrs.evolve(Request.of("x", model=CHEAP, max_tokens=5), **changes)
    assert CostBound(book).of(request, None)[1] is None
    assert listed_usd(book, request, Usage(9, 9), "default", model=CHEAP, asked=CHEAP) is None


def test_tokens_that_had_no_price_are_bounded_by_model_and_tier():
    bound, request = CostBound(BOOK), Request.of("x" * 1000, model=CHEAP, max_tokens=10)
    usage, usd = bound.of(request, None)
    assert usd <= bound.usd_of_tokens(CHEAP, bound.tier_of(request), usage) < 3 * usd
    assert bound.usd_of_tokens("another", "default", usage) is None
    sound = Request.of("x", model=CHEAP, extra_body={"modalities": ["text", "audio"]})
    assert bound.usd_of_tokens(CHEAP, bound.tier_of(sound), usage) is None


def test_audio_in_a_message_has_no_known_price():
    part = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
    message = {"role": "user", "content": [part]}
    request = Request(model=CHEAP, messages=[message], max_tokens=5)
    assert CostBound(BOOK).of(request, None)[1] is None
    said = Request.of('"type":"input_audio"', model=CHEAP, max_tokens=5)
    assert CostBound(BOOK).of(said, None)[1] is not None


def test_a_model_in_the_body_is_priced():
    for extra in ({"model": DEAR}, {"models": [DEAR]}):
        request = Request.of("x", model=CHEAP, max_tokens=100, extra_body=extra)
        assert CostBound(BOOK).of(request, None)[1] > Decimal("0.01")
    unknown = Request.of("x", model=CHEAP, extra_body={"models": ["unknown"]})
    assert CostBound(BOOK).of(unknown, None)[1] is None


def gemini_json(tokens):
    return {
        "candidates": [{"content": {"parts": [{"text": "x"}]}, "finishReason": "MAX_TOKENS"}],
        "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": tokens},
    }


async def test_the_body_of_gemini_does_not_exceed_a_budget(autojump_clock):
    """A limit in `generationConfig` once let a budget of 0.05 end at -0.55."""
    sent = []

    def respond(request):
        sent.append(request)
        return httpx.Response(200, json=gemini_json(60_000))

    settings = TroupeSettings(
        endpoint=Endpoint("http://p/v1beta", "sk-x", vendor="gemini"),
        transport=httpx.MockTransport(respond),
        streaming=False,
        prices=BOOK,
        ledger=LedgerPolicy(budgets=[Budget("0.05")]),
    )
    extra = {"generationConfig": {"maxOutputTokens": 60_000}}
    async with open_troupe(settings) as troupe:
        with pytest.raises(BudgetExceeded):
            await troupe.complete(Request.of("x", model=CHEAP, max_tokens=100, extra_body=extra))
        assert sent == []
        (state,) = (await troupe.costs()).budgets or [None]
        assert state is None or state.left >= 0


async def test_a_dearer_fallback_is_reserved_for(autojump_clock):
    settings = TroupeSettings(
        endpoint=Endpoint("http://p/v1", "sk-x"),
        fallbacks=[Target(Endpoint("http://two/v1", "sk-y"), model=DEAR)],
        prices=BOOK,
        ledger=LedgerPolicy(budgets=[Budget("0.005")]),
    )
    async with open_troupe(settings) as troupe:
        with pytest.raises(BudgetExceeded):
            await troupe.complete(Request.of("x", model=CHEAP, max_tokens=100))
