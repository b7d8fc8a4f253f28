"""Concurrency in waves, which two of the ways have in common."""

import trio

from ...actors import Call, Recipe
from ..performance import Outcome, Performance
from ..script import Item
from ..venue import Ask

__all__ = ["perform_in_waves"]


async def perform_in_waves(item: Item, recipe: Recipe, ask: Ask) -> Outcome:
    """Make all calls that can be made now, wait for all of them, and again."""
    performance = Performance(item, recipe)

    async def make(call: Call) -> None:
        performance.note(call, await ask(call.request))

    while wave := performance.ready():
        async with trio.open_nursery() as nursery:
            for call in wave:
                nursery.start_soon(make, call)
    return performance.outcome()
