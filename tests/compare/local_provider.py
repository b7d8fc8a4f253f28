"""A provider on the virtual clock, and small workloads."""

from contextlib import asynccontextmanager

import attrs

from callsheet.compare.lower_bound import compute_lower_bound
from callsheet.compare.run import run_mode
from callsheet.compare.workloads import make_workload
from callsheet.simulator.app import Provider
from callsheet.simulator.inprocess import ProviderTransport
from callsheet.simulator.settings import ProviderSettings

URL = "http://provider/v1"
CONCURRENT = ("staged", "fixed_window", "callsheet")  # "sequential" needs threads and sockets


@asynccontextmanager
async def running_provider(**settings):
    provider = Provider(ProviderSettings(**settings))
    async with ProviderTransport(provider) as transport:
        yield provider, transport


async def run(mode, workload, **settings):
    """Run one mode; return its result and the provider."""
    async with running_provider(**settings) as (provider, transport):
        scale = provider.settings.time_scale
        result = await run_mode(mode, workload, URL, time_scale=scale, transport=transport)
        return result, provider


async def lower_bound_of(workload, **settings):
    return await compute_lower_bound(workload, ProviderSettings(**settings))


def posts(number):
    workload = make_workload("posts")
    return attrs.evolve(workload, items=workload.items[:number])


def reviews(distinct, copies, *, packable=False):
    """Return `distinct` reviews, and `copies` copies of the first."""
    workload = make_workload("reviews")
    by_text = {request.messages[-1].content: request for request in workload.items}
    items = tuple(by_text.values())[:distinct]
    items = tuple(attrs.evolve(item, packable=packable) for item in items + items[:1] * copies)
    return attrs.evolve(workload, items=items)


def passages(number):
    workload = make_workload("embeddings")
    return attrs.evolve(workload, items=workload.items[:number])
