"""The most that one attempt of a call can cost, which is what is reserved for it. Pure (R14)."""

import re
from collections.abc import Iterable, Mapping
from decimal import Context, Decimal, Inexact

import attrs

from ..json_value import Json
from ..messages import Request
from ..rate_limit import TokenCounter
from ..responses import Usage
from ..tools import Tool
from ..vendors import FAST_MODE, PriceBook, TierPrice, dumps, tier_named
from .body_limits import read_limits

MOST_OUTPUT = 4096
"""Tokens of a response that are reserved for, if the request sets no limit."""
_TOKENS_PER_MESSAGE = 16  # for the role and the marks around a message; 3 or 4 are usual
_TOKENS_OF_TOOLS = 1024  # for the provider's own words about tools: Anthropic's are 300 to 750
_TOKENS_PER_ATTACHMENT = 50_000
"""For an image: OpenAI bills at most 48,169 tokens. Larger files have no bound."""
_AUDIO_PART = re.compile(rb'"type":"input_audio"|:"audio/')
_AUDIO_ASKED = re.compile(rb'"(response)?modalities":\[[^]]*"audio"', re.IGNORECASE)
_ONE = Decimal(1)
_EXACT = Context(prec=1000, traps=[Inexact])  # no product of prices has 1,000 digits


def asked_tier(request: Request) -> str:
    """Return the service tier that a request asks for; "default" if it asks for none.

    Args:
        request: the request to send.
    """
    if not request.extra_body:
        return "default"
    if request.extra_body.get("speed") == "fast":
        return FAST_MODE
    tier = request.extra_body.get("service_tier", request.extra_body.get("serviceTier"))
    return tier_named(tier) if isinstance(tier, str) else "default"


def _is_auto(request: Request) -> bool:
    extra = request.extra_body
    return extra.get("service_tier", extra.get("serviceTier")) == "auto"


def most_usage(request: Request, counter: TokenCounter | None, *, most_output: int) -> Usage:
    """Return the most tokens that one attempt can take.

    Each token stands for at least one byte, so a text has no more tokens than bytes in UTF-8. That
    is the bound where no exact counter exists. What the provider adds to a prompt by itself has no
    bound: results of its own tools, earlier turns that it has stored, files by their address.

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
        content = (message.extra or {}).get("content")
        if message.is_text:  # its parts are in the text already
            tokens += _TOKENS_PER_MESSAGE * (len(content) if isinstance(content, list) else 0)
        elif message.extra:
            tokens += len(dumps(message.extra)) + message.attachments * _TOKENS_PER_ATTACHMENT
        if message.native:
            native = dumps(message.native)
            files = native.count(b'"inlineData"') + native.count(b'"fileData"')
            files += native.count(b'"inline_data"') + native.count(b'"file_data"')
            tokens += len(native) + files * _TOKENS_PER_ATTACHMENT
    if (output := request.output_schema) is not None:
        tokens += len(dumps(output.schema))
    if request.tools:
        tokens += _TOKENS_OF_TOOLS + sum(map(_bytes_of_tool, request.tools))
    if request.extra_body:  # tools, for example, are part of the prompt
        tokens += len(dumps(request.extra_body)) + _words_about_tools(request.extra_body)
    if request.task in ("embedding", "moderation"):
        return Usage(tokens)
    limits = read_limits(request)
    each = max(most_output, limits.least) if limits.tokens is None else limits.tokens
    each += limits.predicted
    return Usage(tokens, each * limits.choices * max(1, len(request.inputs)))


def _words_about_tools(extra_body: Mapping[str, Json]) -> int:
    """Return tokens for what the provider says about tools that the body names by itself.

    A provider's own tools, such as a computer or an editor, are described at length there.
    """
    found = 0
    for name in ("tools", "functions"):
        tools = extra_body.get(name)
        if tools:
            own = [one for one in tools if _is_own_tool(one)] if isinstance(tools, list) else ()
            found += _TOKENS_OF_TOOLS * (1 + len(own))
    return found


def _is_own_tool(tool: Json) -> bool:
    kind = tool.get("type", "function") if isinstance(tool, dict) else None
    return kind not in ("function", "custom")


def _bytes_of_tool(tool: Tool) -> int:
    """Return the bytes of a tool in any shape: with the schema as it is, and with a strict one."""
    return len(dumps(tool.told)) + len(dumps(tool.strict_schema or {}))


def _bytes_of(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def most_usd(
    prices: PriceBook,
    request: Request,
    usage: Usage,
    fallbacks: Iterable[tuple[str | None, PriceBook]] = (),
) -> Decimal | None:
    """Return the most USD that an attempt can cost; None if one of the prices is not known.

    The provider may serve a call at its default tier instead of the requested one, and at any tier
    if "auto" is requested, which the settings of the project decide. It may write the whole prompt
    to its cache, and another model may respond. The most expensive case counts.

    Args:
        prices: the prices of models.
        request: the request to send.
        usage: the most tokens that it can take.
        fallbacks: the other targets that may serve it: the model there, None for the requested
            one, and the prices there.
    """
    if has_audio(request):
        return None
    most = Decimal(0)
    targets = [(model or request.model, book) for model, book in ((None, prices), *fallbacks)]
    named = read_limits(request).models
    targets += [(model, book) for _, book in targets for model in named]
    for model, book in targets:
        price = book.price(model)
        others = () if price is None or not _is_auto(request) else price.tiers
        for name in dict.fromkeys((asked_tier(request), "default", *others)):
            if name == FAST_MODE != asked_tier(request):
                continue  # nothing else leads to it
            tier = None if price is None else price.at(name)
            if tier is None:
                return None
            most = max(most, _most(tier, request, usage))
            peak = None if price is None or price.peak is None else price.peak[1].at(name)
            if peak is not None:  # it may begin before the response
                most = max(most, _most(peak, request, usage))
    return _EXACT.multiply(most, place_factor(request))


def place_factor(request: Request) -> Decimal:
    """Return the factor of all prices for the place that a request names.

    Anthropic charges 1.1 times the price for inference in one country.

    Args:
        request: the request to send.
    """
    place = request.extra_body.get("inference_geo")
    return _ONE if place in (None, "global") else Decimal("1.1")


def has_audio(request: Request) -> bool:
    """Return whether a request sends or asks for audio, whose tokens cost more than those of texts.

    Args:
        request: the request to send.
    """
    if "audio" in request.model:
        return True
    if request.extra_body and _AUDIO_ASKED.search(dumps(request.extra_body)):
        return True
    for message in request.messages:  # `any` takes twice as long
        part = message.extra or message.native
        if part and _AUDIO_PART.search(dumps(part)):
            return True
    return False


def listed_usd(
    prices: PriceBook, request: Request, usage: Usage, tier: str, *, model: str, asked: str
) -> Decimal | None:
    """Return the cost of a response in USD, by the table of prices; None if it is not known.

    Args:
        prices: the prices at the endpoint that has responded.
        request: the request as it was sent there.
        usage: the tokens that it took.
        tier: the service tier that served it.
        model: the model that has responded.
        asked: the model that was requested.
    """
    cost = None if has_audio(request) else prices.cost(model, usage, tier, asked=asked)
    if cost is None or not request.extra_body:
        return cost
    return _EXACT.multiply(cost, place_factor(request))


@attrs.frozen
class CostBound:
    """The most that one attempt of a call can cost, wherever it may be sent.

    Args:
        prices: the prices at the first target.
        fallbacks: the other targets that may serve a call; see `most_usd`.
        most_output: tokens of each response, if the request sets no limit.
    """

    prices: PriceBook
    fallbacks: tuple[tuple[str | None, PriceBook], ...] = ()
    most_output: int = MOST_OUTPUT

    def of(self, request: Request, counter: TokenCounter | None) -> tuple[Usage, Decimal | None]:
        """Return the most tokens and the most USD that an attempt can take.

        Args:
            request: the request to send.
            counter: counts the tokens of a text exactly; None if there is none for the model.
        """
        usage = most_usage(request, counter, most_output=self.most_output)
        return usage, self.usd_of(request, usage)

    def usd_of(self, request: Request, usage: Usage) -> Decimal | None:
        """Return the most USD that an attempt can cost; None if one of the prices is not known.

        Args:
            request: the request to send.
            usage: the most tokens that it can take.
        """
        return most_usd(self.prices, request, usage, self.fallbacks)

    def usage_of(self, request: Request) -> Usage:
        """Return the most tokens that an attempt can take, without a counter.

        Args:
            request: the request to send.
        """
        return most_usage(request, None, most_output=self.most_output)

    def tier_of(self, request: Request) -> str:
        """Return the service tier by which a request is priced, for `usd_of_tokens`.

        Args:
            request: the request to send.
        """
        if has_audio(request):
            return "audio"  # no price file has it
        return "auto" if _is_auto(request) else asked_tier(request)

    def usd_of_tokens(self, model: str, tier: str, usage: Usage) -> Decimal | None:
        """Return the most USD that tokens can cost; None if one of the prices is not known.

        Args:
            model: the model that was requested.
            tier: the service tier that was requested, such as "default"; see `tier_of`.
            usage: the most tokens.
        """
        named = {"speed": "fast"} if tier == FAST_MODE else {"service_tier": tier}
        # The dearest way to write a prompt to a cache, and the dearest place.
        dear: dict[str, Json] = {"cache_control": {"ttl": "1h"}, "inference_geo": "us"}
        request = Request.of("", model=model, extra_body={**named, **dear})
        return most_usd(self.prices, request, usage, self.fallbacks)


def _most(tier: TierPrice, request: Request, usage: Usage) -> Decimal:
    """Return the highest cost at a tier: without a cache, or with the whole prompt written to it.

    Shorter prompts than `usage` may cost more in total only at prices that fall with the size.
    """
    prices = tier.for_prompt(usage.input_tokens)
    if prices.cache_write is None and prices.cache_write_1h is None:
        return tier.cost(usage)  # what is written costs as much as what is not
    written = attrs.evolve(usage, cache_write_tokens=usage.input_tokens)
    kept = usage.input_tokens if _keeps_for_an_hour(request) else 0
    return max(
        tier.cost(usage),
        tier.cost(written),
        tier.cost(attrs.evolve(written, cache_write_1h_tokens=kept)),
    )


def _keeps_for_an_hour(request: Request) -> bool:
    """Return whether a request may have the provider's cache keep something for an hour."""
    places = [request.extra_body, *(it.extra for it in request.messages if it.extra)]
    return any(b'"ttl":"1h"' in dumps(place) for place in places if place)
