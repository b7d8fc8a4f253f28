"""This project: the troupe, with its usual settings."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from ...actors import Endpoint, Limits, Troupe, TroupeSettings, Usage, open_troupe
from ..performance import Outcome, gist
from ..script import Item
from ..venue import Perform, Venue
from ..workloads import Workload

__all__ = ["callsheet"]


@asynccontextmanager
async def callsheet(venue: Venue, workload: Workload) -> AsyncGenerator[Perform]:
    """Topics are composed, requests are completed; the provider sets no limit."""
    settings = TroupeSettings(
        endpoint=Endpoint(venue.base_url),
        limits=Limits(in_flight=workload.in_flight),
        recipe=workload.recipe,
        posts_at_a_time=len(workload.items),
        transport=venue.transport,
    )
    async with open_troupe(settings, seed="compare") as troupe:

        async def perform(item: Item) -> Outcome:
            return await _perform(troupe, item)

        yield perform


async def _perform(troupe: Troupe, item: Item) -> Outcome:
    if isinstance(item, str):
        post = await troupe.compose(item)
        usage = Usage(post.stats.input_tokens, post.stats.output_tokens)
        return Outcome(post.results, usage, post.stats.cost_usd)
    completion = await troupe.complete(item)
    answer = gist(completion.text, completion.embeddings)
    return Outcome({"answer": answer}, completion.usage, completion.cost_usd)
