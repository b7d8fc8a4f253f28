"""Measure what a long instruction costs that a thousand requests share (W4), by prompt caching."""

from collections.abc import Mapping
from decimal import Decimal

import attrs
import trio

from callsheet import ChatMessage, Endpoint, Limits, Request, TroupeSettings, open_troupe
from callsheet.actors import CallEvent, Json, PromptCaching, Usage, default_prices
from callsheet.compare.workloads import make_workload
from callsheet.runtime.testing import run_virtual
from callsheet.simulator import BilledTokens, Provider, ProviderSettings, ProviderTransport

__all__ = ["MODELS", "MODES", "CachingFigures", "prompt_caching"]

MODES: tuple[PromptCaching, ...] = ("off", "order", "auto")
MODELS: Mapping[str, str] = {
    "claude-sonnet-4-5": "anthropic",
    "gpt-5.6-luna": "openai",
    "gpt-5.4-nano": "openai",
}
"""{model: its vendor}. Reads cost a tenth at each; writes cost 1.25 at the first two."""

_INSTRUCTION_TOKENS = 2_000
_CHARACTERS = 4  # of a token of the provider's
_IN_FLIGHT = 100
_MARK: Mapping[str, Json] = {"cache_control": {"type": "ephemeral"}}


@attrs.frozen
class CachingFigures:
    """W4 with a long instruction, without packing and joining, in one way.

    Args:
        billed: the tokens that the provider bills.
        usd: their cost in USD.
        uncached_usd: what the same tokens cost in USD without a prompt cache.
        longest_wait_s: the longest time from a request to its place in the queue of the limiter.
        first_token_s: the longest time in which the provider sends a first token.
    """

    billed: BilledTokens
    usd: Decimal
    uncached_usd: Decimal
    longest_wait_s: float
    first_token_s: float

    @property
    def share(self) -> float:
        """The cost, as a share of that without a prompt cache."""
        return float(self.usd / self.uncached_usd)

    @property
    def wait_share(self) -> float:
        """The longest wait, as a share of the longest time until a first token."""
        return self.longest_wait_s / self.first_token_s


def prompt_caching(model: str, mode: PromptCaching, *, own_marks: bool = False) -> CachingFigures:
    """Label a thousand reviews by an instruction of 2,000 tokens, in virtual time.

    Args:
        model: the model, one of `MODELS`.
        mode: how far prompt caching is planned.
        own_marks: whether each request has Anthropic's mark on its instruction.
    """
    return run_virtual(_measure, model, mode, _MARK if own_marks else None)


def _requests(model: str, mark: Mapping[str, Json] | None) -> list[Request]:
    items = [item for item in make_workload("reviews").items if isinstance(item, Request)]
    system, *_ = items[0].messages
    rules = (
        f"\nRule {number}: a review that speaks of point {number} is judged by that point first."
        for number in range(1, _INSTRUCTION_TOKENS)
    )
    text = system.content
    while len(text) < _INSTRUCTION_TOKENS * _CHARACTERS:
        text += next(rules)
    text = text[: _INSTRUCTION_TOKENS * _CHARACTERS]
    instruction = ChatMessage("system", text, extra=mark)
    return [
        attrs.evolve(
            item,
            model=model,
            messages=(instruction, *item.messages[1:]),
            cacheable=False,
            packable=False,
        )
        for item in items
    ]


async def _measure(
    model: str, mode: PromptCaching, mark: Mapping[str, Json] | None
) -> CachingFigures:
    provider = Provider(ProviderSettings())
    begun, queued = trio.current_time(), list[float]()

    def observe(event: CallEvent) -> None:
        if event.stage == "queued":
            queued.append(event.at - begun)

    async with ProviderTransport(provider) as transport:
        settings = TroupeSettings(
            endpoint=Endpoint("http://provider/v1", "key-1", vendor=MODELS[model]),
            transport=transport,
            limits=Limits(in_flight=_IN_FLIGHT),
            observer=observe,
            prompt_caching=mode,
        )
        async with open_troupe(settings) as troupe, trio.open_nursery() as nursery:
            for request in _requests(model, mark):
                nursery.start_soon(troupe.complete, request)
    billed = provider.stats.billed[model]["default"]
    tokens = billed.input_tokens, billed.output_tokens
    usd = _cost(model, Usage(*tokens, billed.cached_tokens, billed.written_tokens))
    first_token_s = ProviderSettings().first_piece * ProviderSettings().latency_s[1]
    return CachingFigures(billed, usd, _cost(model, Usage(*tokens)), max(queued), first_token_s)


def _cost(model: str, usage: Usage) -> Decimal:
    """Return the cost in USD of the tokens of many short prompts."""
    price = default_prices().at_vendor(MODELS[model]).price(model)
    usual = None if price is None else price.at()
    if usual is None:
        raise ValueError(f"{model} has no known price")
    return attrs.evolve(usual, above=()).cost(usage)  # no single prompt is long
