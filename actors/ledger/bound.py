"""The most that one attempt of a call can cost: what is reserved for it. Pure (R14)."""

from collections.abc import Iterable
from decimal import Decimal

import attrs

from ..messages import Request, Usage
from ..rate_limit import TokenCounter
from ..vendors import PriceBook, dumps, tier_named

__all__ = ["asked_tier", "most_usage", "most_usd"]

_LIMITS = ("max_tokens", "max_completion_tokens")  # what `extra` may say of an answer's length
_TOKENS_PER_TURN = 16  # for the role and the marks around a turn; 3 or 4 are usual
_TOKENS_PER_ATTACHMENT = 50_000
"""Of an image; OpenAI's dearest are billed as 48,169 tokens. Larger files are beyond all bounds."""


def asked_tier(request: Request) -> str:
    """The service tier that a request asks for; "default" if it asks for none."""
    tier = request.extra_body.get("service_tier")
    return tier_named(tier) if isinstance(tier, str) else "default"


def most_usage(request: Request, counter: TokenCounter | None, *, most_output: int) -> Usage:
    """The most tokens that one attempt can take.

    A tokenizer makes no more tokens of a text than it has bytes in UTF-8, because each token
    stands for one byte at least; so that is taken where nothing counts them exactly.

    Args:
        request: the call.
        counter: counts the tokens of a text exactly, if there is one for the model.
        most_output: tokens of each answer, where the request sets no bound.
    """
    texts = [turn.content for turn in request.messages] if request.messages else request.inputs
    count = _bytes_of if counter is None else counter
    tokens = sum(map(count, texts)) + _TOKENS_PER_TURN * (len(texts) + 1)
    for turn in request.messages:
        if turn.extra:
            tokens += len(dumps(turn.extra)) + turn.attachments * _TOKENS_PER_ATTACHMENT
    if request.json_schema is not None:
        tokens += len(dumps(request.json_schema))
    if request.extra_body:  # tools, for example, are part of the prompt
        tokens += len(dumps(request.extra_body))
    if request.task == "embedding":
        return Usage(tokens)
    best_of = request.extra_body.get("best_of")
    answers = max(request.n, best_of if isinstance(best_of, int) else 1)
    told = (request.max_tokens, *map(request.extra_body.get, _LIMITS))
    each = max((most for most in told if isinstance(most, int)), default=most_output)
    return Usage(tokens, each * answers * max(1, len(request.inputs)))


def _bytes_of(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def most_usd(
    prices: PriceBook, request: Request, usage: Usage, other_models: Iterable[str] = ()
) -> Decimal | None:
    """The most USD that so many tokens cost; None if one of the prices is not known.

    The provider may serve a call at its usual tier instead of the one asked for, may write all of
    the prompt to its cache, or another model may answer: whatever is dearest counts.

    Args:
        prices: of models.
        request: the call.
        usage: its tokens.
        other_models: that may answer if the one asked for cannot.
    """
    most = Decimal(0)
    for model in (request.model, *other_models):
        price = prices.price(model)
        for name in dict.fromkeys((asked_tier(request), "default")):
            tier = None if price is None else price.at(name)
            if tier is None:
                return None
            is_dearer = tier.cache_write is not None and tier.cache_write > tier.input
            written = usage.input_tokens if is_dearer else 0
            most = max(most, tier.cost(attrs.evolve(usage, cache_write_tokens=written)))
    return most
