"""A provider on the virtual clock, and workloads small enough to reckon with."""

from contextlib import asynccontextmanager

import attrs

from callsheet.compare.lower_bound import rehearse
from callsheet.compare.run import run_mode
from callsheet.compare.workloads import make_workload
from callsheet.simulator.app import Provider
from callsheet.simulator.inprocess import ProviderTransport
from callsheet.simulator.settings import ProviderSettings

URL = "http://provider/v1"
CONCURRENT = ("staged", "fixed_window", "callsheet")  # "sequential" needs threads and sockets


@asynccontextmanager
async def provider_on_stage(**settings):
    provider = Provider(ProviderSettings(**settings))
    async with ProviderTransport(provider) as transport:
        yield provider, transport


async def run(mode, workload, **settings):
    """What one way takes, and the provider that it met."""
    async with provider_on_stage(**settings) as (provider, transport):
        scale = provider.settings.time_scale
        result = await run_mode(mode, workload, URL, time_scale=scale, transport=transport)
        return result, provider


async def rehearsal_of(workload, **settings):
    return await rehearse(workload, ProviderSettings(**settings))


def posts(number):
    workload = make_workload("posts")
    return attrs.evolve(workload, items=workload.items[:number])


def reviews(distinct, copies, *, packable=False):
    """So many reviews, and copies of the first."""
    workload = make_workload("reviews")
    by_text = {request.messages[-1].content: request for request in workload.items}
    items = tuple(by_text.values())[:distinct]
    items = tuple(attrs.evolve(item, packable=packable) for item in items + items[:1] * copies)
    return attrs.evolve(workload, items=items)


def passages(number):
    workload = make_workload("embeddings")
    return attrs.evolve(workload, items=workload.items[:number])
