"""One blocking call after another, as a web service of threads runs them."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import httpx
import trio

from ...actors import Recipe
from ..performance import Outcome, Performance, path_of, read_reply, write_body
from ..script import Item
from ..venue import CALL_TIMEOUT, Perform, Venue
from ..workloads import Workload

__all__ = ["sequential"]


@asynccontextmanager
async def sequential(venue: Venue, workload: Workload) -> AsyncGenerator[Perform]:
    """Each item in a thread, its calls one after another, each after those it needs.

    All threads share one client, which keeps a connection open for each of them. Threads need
    sockets and real time: `Venue.transport` does not reach them.
    """
    threads = trio.CapacityLimiter(workload.threads)
    limits = httpx.Limits(
        max_connections=workload.threads, max_keepalive_connections=workload.threads
    )
    with httpx.Client(
        base_url=venue.base_url, timeout=CALL_TIMEOUT, limits=limits, trust_env=False
    ) as client:

        async def perform(item: Item) -> Outcome:
            # A thread that nobody waits for any more ends with the client, at its next call.
            return await trio.to_thread.run_sync(
                _perform, client, item, workload.recipe, limiter=threads, abandon_on_cancel=True
            )

        yield perform


def _perform(client: httpx.Client, item: Item, recipe: Recipe) -> Outcome:
    performance = Performance(item, recipe)
    while calls := performance.ready():
        for call in calls:
            request = call.request
            response = client.post(path_of(request), json=write_body(request))
            performance.note(call, read_reply(response, request))
    return performance.outcome()
