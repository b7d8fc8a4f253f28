"""Derive from the settings what stages must know: prices, routes, strategies. Pure (R14)."""

from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from functools import partial
from hashlib import sha256

import attrs

from ..runtime import Ref

# A room is loaded when it is used.
from . import batching, ledger, prompt_cache, routing
from .batching import BatchStrategy
from .messages import Request, Task
from .pool_health import PoolHealth
from .routing import Route
from .settings import TroupeSettings
from .vendors import (
    BatchLimits,
    Endpoint,
    OpenAICompletions,
    OpenAIEmbeddings,
    PriceBook,
    WireFormat,
)

_TOKEN_MARGIN = 0.98  # of the tokens that one call may have: tokens are estimated
_FLEX_S = 60.0  # expected duration of a call in the flex tier, until one has been measured
_PRIORITY_S = 2.0


def account_of(endpoint: Endpoint) -> str:
    """Return a name of the account whose limits calls count against, without secrets (L8).

    Processes with the same endpoint and key get the same name. A key that a function returns may
    change at any time, so it is not part of the name.

    Args:
        endpoint: the endpoint, or a pool of several.
    """
    parts: list[str] = []
    for member in endpoint.each:
        key = member.api_key if isinstance(member.api_key, str) else ""
        digest = sha256(key.encode()).hexdigest()[:16] if key else ""
        parts += (member.key_name if endpoint.members else "", member.identity, digest)
    return f"{endpoint.each[0].host} {sha256(chr(0).join(parts).encode()).hexdigest()[:16]}"


def cost_bound(settings: TroupeSettings) -> "ledger.CostBound":
    """Return what bounds the cost of calls that are made with these settings.

    Args:
        settings: the settings of the troupe.
    """
    policy = settings.ledger or ledger.LedgerPolicy()
    return ledger.CostBound(
        prices_at(settings, settings.endpoint),
        tuple(other_prices(settings)),
        policy.max_output_tokens,
    )


def beginning_share_of(settings: TroupeSettings) -> Callable[[Request, int], float] | None:
    """Return what the shared beginnings of prompts cost; None where no cache is planned for.

    Args:
        settings: the settings of the troupe.
    """
    endpoint, caching = settings.endpoint, settings.prompt_caching
    if not settings.has_prompt_cache:
        return None
    return partial(
        prompt_cache.beginning_share,
        vendor=endpoint.vendor.name,
        prices=prices_at(settings, endpoint),
        adds_marks=caching == "auto",
    )


def expected_reads_of(settings: TroupeSettings) -> "prompt_cache.ExpectedReads | None":
    """Return what expects the reads of live calls; None where no cache is planned for.

    Args:
        settings: the settings of the troupe.
    """
    endpoint, caching = settings.endpoint, settings.prompt_caching
    if not settings.has_prompt_cache:
        return None
    return prompt_cache.ExpectedReads(endpoint, settings.prices, caching)


def prices_at(settings: TroupeSettings, endpoint: Endpoint) -> PriceBook:
    """Return the prices that apply at an endpoint.

    Args:
        settings: the settings of the troupe.
        endpoint: one of its endpoints.
    """
    return settings.prices.at_vendor(endpoint.vendor.price_list)


def other_prices(settings: TroupeSettings) -> Iterator[tuple[str | None, PriceBook]]:
    """Yield the model and the prices wherever a call may go besides the first endpoint.

    Args:
        settings: the settings of the troupe.
    """
    for member in settings.endpoint.members:
        yield None, prices_at(settings, member)
    for target in settings.fallbacks:
        for endpoint in target.endpoint.each:
            yield target.model, prices_at(settings, endpoint)


def health_of(settings: TroupeSettings) -> PoolHealth:
    """Return the health of a pool. With fallbacks, no call waits for a member that fails.

    Args:
        settings: the settings of the troupe.
    """
    names = (member.key_name for member in settings.endpoint.members)
    return PoolHealth(names, waits=not settings.fallbacks)


def batch_endpoint_of(settings: TroupeSettings) -> Endpoint:
    """Return the endpoint whose Batch API is used: the first one of a pool that has one.

    Args:
        settings: the settings of the troupe.
    """
    each = settings.endpoint.each
    return next((member for member in each if member.vendor.batches is not None), each[0])


def _has_common_vendor(endpoint: Endpoint) -> bool:
    """Whether all members of a pool have one vendor, so that each can do what the first can."""
    return all(member.vendor == endpoint.vendor for member in endpoint.each)


def routes_of(settings: TroupeSettings, batches: Ref | None) -> tuple[Route, ...]:
    """Return the live route, the other routes that the endpoint has, and the user's.

    Args:
        settings: the settings of the troupe.
        batches: the stage of the Batch API, or what leads to it; None if there is none.
    """
    wanted, vendor = settings.routing, settings.endpoint.vendor
    prices = prices_at(settings, settings.endpoint)
    tiers: Mapping[str, Decimal] = vendor.tiers if _has_common_vendor(settings.endpoint) else {}
    routes: list[Route] = [routing.LiveRoute(prices)]
    if wanted.flex and "flex" in tiers:
        routes.append(
            routing.TierRoute(
                "flex", prices, tiers["flex"], wanted.flex_from_s, _FLEX_S, vendor.tier_field
            )
        )
    if wanted.priority and "priority" in tiers:
        routes.append(
            routing.TierRoute(
                "priority", prices, tiers["priority"], 0.0, _PRIORITY_S, vendor.tier_field
            )
        )
    if wanted.batch and batches is not None:
        routes.append(
            routing.BatchRoute(batches, prices, wanted.batch_from_s, is_only=wanted.batch_only)
        )
    return (*routes, *settings.routes)


def strategies_of(settings: TroupeSettings) -> tuple[BatchStrategy, ...]:
    """Return the user's strategies, then lists where the endpoint takes them, then packing.

    Args:
        settings: the settings of the troupe.
    """
    strategies = list(settings.strategies)
    vendor = settings.endpoint.vendor
    formats: Mapping[Task, WireFormat] = (
        vendor.formats if _has_common_vendor(settings.endpoint) else {}
    )
    embeddings, completions = formats.get("embedding"), formats.get("completion")
    if isinstance(embeddings, OpenAIEmbeddings):
        strategies.append(batching.ListStrategy("embedding", _with_margin(embeddings.takes)))
    if isinstance(completions, OpenAICompletions) and completions.several_prompts:
        strategies.append(batching.ListStrategy("completion", _with_margin(completions.takes)))
    if settings.packing is not None:
        strategies.append(settings.packing)
    return tuple(strategies)


def _with_margin(limits: BatchLimits) -> BatchLimits:
    """Lower the token limit a little, because the tokens of a request are estimated."""
    if limits.max_tokens is None:
        return limits
    return attrs.evolve(limits, max_tokens=max(1, int(limits.max_tokens * _TOKEN_MARGIN)))
