"""Concurrency as it is usually written first: a wave of calls, wait for all, the next wave."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from ..performance import Outcome
from ..script import Item
from ..venue import Perform, Venue, open_ask
from ..workloads import Workload
from .waves import perform_in_waves

__all__ = ["staged"]


@asynccontextmanager
async def staged(venue: Venue, workload: Workload) -> AsyncGenerator[Perform]:
    """Each item in waves; items do not wait for each other's."""
    async with open_ask(venue, workload.in_flight) as ask:

        async def perform(item: Item) -> Outcome:
            return await perform_in_waves(item, workload.recipe, ask)

        yield perform
