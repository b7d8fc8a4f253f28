"""Measure what is reserved for the calls of a workload beside what they are billed."""

import json
import statistics
from collections.abc import Sequence

import attrs
import httpx
import trio

from callsheet import Endpoint, Limits, Request, TroupeSettings, open_troupe
from callsheet.actors import Usage, default_prices
from callsheet.actors.ledger import CostBound
from callsheet.actors.rate_limit import TokenCounter
from callsheet.compare.workloads import WorkloadName, make_workload
from callsheet.runtime.testing import run_virtual
from callsheet.simulator.app import Provider
from callsheet.simulator.inprocess import ProviderTransport
from callsheet.simulator.prompt import count_tokens
from callsheet.simulator.settings import ProviderSettings

__all__ = ["ReservedFigures", "reserved"]

_MOST_CALLS = 200


@attrs.frozen
class ReservedFigures:
    """What is reserved for the calls of a workload, divided by what each is billed.

    Args:
        by_bytes: the ratios where a token may be as short as a byte.
        by_tokens: the ratios where a tokeniser counts the prompt.
    """

    by_bytes: Sequence[float]
    by_tokens: Sequence[float]

    @property
    def medians(self) -> tuple[float, float]:
        """The medians of both."""
        return statistics.median(self.by_bytes), statistics.median(self.by_tokens)


@attrs.define(eq=False)
class _Recorder(httpx.AsyncBaseTransport):
    """A transport that records the bodies of chats and their responses."""

    inner: ProviderTransport
    seen: list[tuple[bytes, bytes]] = attrs.field(factory=list[tuple[bytes, bytes]])

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        sent = await request.aread()
        response = await self.inner.handle_async_request(request)
        received = await response.aread()
        self.seen.append((sent, received))
        return httpx.Response(
            response.status_code, headers=response.headers, content=received, request=request
        )


def reserved(name: WorkloadName) -> ReservedFigures:
    """Make the calls of a workload, each alone and in virtual time, and return the ratios.

    Args:
        name: the name of the workload.
    """
    seen = run_virtual(_calls, name)
    return ReservedFigures(_ratios(seen, None), _ratios(seen, count_tokens))


async def _calls(name: WorkloadName) -> list[tuple[bytes, bytes]]:
    workload = make_workload(name)
    async with ProviderTransport(Provider(ProviderSettings())) as inner:
        recorder = _Recorder(inner)
        settings = TroupeSettings(
            endpoint=Endpoint("http://provider/v1"),
            transport=recorder,
            streaming=False,
            limits=Limits(in_flight=100),
        )
        async with open_troupe(settings) as troupe, trio.open_nursery() as nursery:
            for item in workload.items[:_MOST_CALLS]:
                if isinstance(item, Request):
                    alone = attrs.evolve(item, packable=False, cacheable=False)
                    nursery.start_soon(troupe.complete, alone)
                else:
                    nursery.start_soon(troupe.compose, item)
    return recorder.seen


def _ratios(seen: Sequence[tuple[bytes, bytes]], counter: TokenCounter | None) -> list[float]:
    prices = default_prices()
    bound = CostBound(prices)
    found: list[float] = []
    for sent, received in seen:
        body, tokens = json.loads(sent), json.loads(received)["usage"]
        most = body.get("max_completion_tokens", body.get("max_tokens"))
        request = Request(model=body["model"], messages=body["messages"], max_tokens=most)
        _, usd = bound.of(request, counter)
        billed = prices.cost(
            request.model, Usage(tokens["prompt_tokens"], tokens["completion_tokens"])
        )
        if not (usd and billed):
            raise ValueError(f"{request.model} has no known price")
        if usd < billed:
            raise ValueError(f"{usd} USD were reserved for a call that is billed {billed}")
        found.append(float(usd / billed))
    return found
