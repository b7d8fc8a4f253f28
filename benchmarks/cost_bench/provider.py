"""Run the built-in provider in its own process, and read its counts."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import cast

import attrs
import httpx

from callsheet.actors import Usage, default_prices
from callsheet.compare.comparison import open_provider

__all__ = ["Bill", "read_bill", "reset", "running_provider"]

_BATCH_TIME = "20-40"  # seconds, times the time scale


@attrs.frozen
class Bill:
    """The provider's counts.

    Args:
        requests: number of live calls.
        control_requests: number of calls that manage files and batches.
        usage: tokens of all tiers.
        usd: the cost of these tokens in USD, each tier at its price.
    """

    requests: int
    control_requests: int
    usage: Usage
    usd: Decimal


@asynccontextmanager
async def running_provider(time_scale: float, *options: str) -> AsyncGenerator[str]:
    """Run the provider, and yield its base URL."""
    options = ("--batch-time", _BATCH_TIME, *options)
    async with open_provider(seed=0, time_scale=time_scale, options=options) as base_url:
        yield base_url


async def reset(base_url: str) -> None:
    """Reset the provider's counts."""
    async with httpx.AsyncClient(trust_env=False) as control:
        await control.post(f"{base_url.removesuffix('/v1')}/callsheet/reset")


async def read_bill(base_url: str) -> Bill:
    """Return the provider's counts since the last reset.

    Raises:
        ValueError: a model or tier has no known price.
    """
    async with httpx.AsyncClient(trust_env=False) as control:
        stats = (await control.get(f"{base_url.removesuffix('/v1')}/callsheet/stats")).json()
    usage, usd = Usage(), Decimal(0)
    billed = cast("Mapping[str, Mapping[str, Mapping[str, int]]]", stats["billed"])
    for model, tiers in billed.items():
        for tier, tokens in tiers.items():
            used = Usage(tokens["input_tokens"], tokens["output_tokens"])
            cost = default_prices().cost(model, used, tier)
            if cost is None:
                raise ValueError(f"{model} has no known price at the tier {tier}")
            usage, usd = usage + used, usd + cost
    return Bill(stats["requests"], stats["control_requests"], usage, usd)
