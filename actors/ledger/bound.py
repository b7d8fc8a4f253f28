"""The most that one attempt of a call can cost, which is what is reserved for it. Pure (R14)."""

from collections.abc import Iterable
from decimal import Decimal

import attrs

from ..messages import Request, Usage
from ..rate_limit import TokenCounter
from ..vendors import PriceBook, dumps, tier_named

_LIMITS = ("max_tokens", "max_completion_tokens")  # fields of `extra_body` that limit a response
_TOKENS_PER_MESSAGE = 16  # for the role and the marks around a message; 3 or 4 are usual
_TOKENS_PER_ATTACHMENT = 50_000
"""For an image: OpenAI bills at most 48,169 tokens. Larger files have no bound."""


def asked_tier(request: Request) -> str:
    """Return the service tier that a request asks for; "default" if it asks for none.

    Args:
        request: the request to send.
    """
    tier = request.extra_body.get("service_tier")
    return tier_named(tier) if isinstance(tier, str) else "default"


def most_usage(request: Request, counter: TokenCounter | None, *, most_output: int) -> Usage:
    """Return the most tokens that one attempt can take.

    Each token stands for at least one byte, so a text has no more tokens than bytes in UTF-8. That
    is the bound where no exact counter exists.

    Args:
        request: the request to send.
        counter: counts the tokens of a text exactly; None if there is none for the model.
        most_output: tokens of each response, if the request sets no limit.
    """
    texts = (
        [message.content for message in request.messages] if request.messages else request.inputs
    )
    count = _bytes_of if counter is None else counter
    tokens = sum(map(count, texts)) + _TOKENS_PER_MESSAGE * (len(texts) + 1)
    for message in request.messages:
        if message.extra:
            tokens += len(dumps(message.extra)) + message.attachments * _TOKENS_PER_ATTACHMENT
    if request.json_schema is not None:
        tokens += len(dumps(request.json_schema))
    if request.extra_body:  # tools, for example, are part of the prompt
        tokens += len(dumps(request.extra_body))
    if request.task == "embedding":
        return Usage(tokens)
    best_of = request.extra_body.get("best_of")
    choices = max(request.n, best_of if isinstance(best_of, int) else 1)
    limits = (request.max_tokens, *map(request.extra_body.get, _LIMITS))
    each = max((most for most in limits if isinstance(most, int)), default=most_output)
    return Usage(tokens, each * choices * max(1, len(request.inputs)))


def _bytes_of(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def most_usd(
    prices: PriceBook, request: Request, usage: Usage, other_models: Iterable[str] = ()
) -> Decimal | None:
    """Return the most USD that an attempt can cost; None if one of the prices is not known.

    The provider may serve a call at its default tier instead of the requested one, may write the
    whole prompt to its cache, and another model may respond. The most expensive case counts.

    Args:
        prices: the prices of models.
        request: the request to send.
        usage: the most tokens that it can take.
        other_models: models that may respond instead of the requested one.
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
