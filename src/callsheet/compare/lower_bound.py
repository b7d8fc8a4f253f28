"""The rehearsal: a workload with every latency known, before any way has run it.

It says what every way must answer, and how fast no way can be. The provider's latencies follow
from seed and prompt, so a provider in this process that takes no time at all gives both.
"""

from collections.abc import Iterable, Iterator, Mapping

import attrs

from ..actors import Recipe, StepCall, critical_path, sharing_key
from ..simulator.app import Provider
from ..simulator.inprocess import ProviderTransport
from ..simulator.latency import prompt_latency
from ..simulator.settings import ProviderSettings
from .environment import Environment, SendRequest, open_ask
from .execution import Execution, Item, StepResults, write_body
from .workloads import Workload

__all__ = [
    "ItemLowerBound",
    "LowerBound",
    "rehearse",
]


@attrs.frozen
class ItemLowerBound:
    """What one item comes to.

    Args:
        results: its answers, by step.
        calls: its calls, each after those it needs.
        latencies_s: seconds that the provider takes for each, by the call's id.
    """

    results: StepResults = attrs.field(repr=False)
    calls: tuple[StepCall, ...] = attrs.field(repr=False)
    latencies_s: Mapping[str, float]

    @property
    def critical_path(self) -> tuple[float, tuple[str, ...]]:
        """Seconds and call ids of the chain of calls that had to wait for each other."""
        return critical_path(self.calls, self.latencies_s)

    @property
    def one_by_one_s(self) -> float:
        """Seconds of its calls one after another."""
        return sum(self.latencies_s.values())


@attrs.frozen
class LowerBound:
    """What a workload comes to.

    Args:
        items: in the workload's order.
        distinct_s: seconds that the provider takes for each call that no other one may share
            the answer of; identical calls that may share one are there once.
    """

    items: tuple[ItemLowerBound, ...]
    distinct_s: tuple[float, ...] = attrs.field(repr=False)

    @property
    def calls(self) -> int:
        """How many calls all items make."""
        return sum(len(item.calls) for item in self.items)

    @property
    def slowest(self) -> ItemLowerBound:
        """The item with the longest critical path; no way can do the workload faster."""
        return max(self.items, key=lambda item: item.critical_path[0])


async def rehearse(workload: Workload, settings: ProviderSettings) -> LowerBound:
    """Run a workload against a provider that answers at once, and reckon its times.

    Args:
        workload: the items.
        settings: those of the provider that the ways will meet.
    """
    provider = Provider(attrs.evolve(settings, time_scale=0.0))
    async with ProviderTransport(provider) as transport:
        venue = Environment(base_url="http://provider/v1", transport=transport)
        async with open_ask(venue, in_flight=1) as ask:
            items = [
                await _rehearse(item, workload.recipe, ask, settings) for item in workload.items
            ]
    return LowerBound(tuple(items), tuple(_distinct(items)))


async def _rehearse(
    item: Item, recipe: Recipe, ask: SendRequest, settings: ProviderSettings
) -> ItemLowerBound:
    performance = Execution(item, recipe)
    while calls := performance.ready():
        for call in calls:
            performance.note(call, await ask(call.request))
    made = tuple(performance.script.calls)
    latencies = {call.id: _latency(settings, call) for call in made}
    return ItemLowerBound(performance.script.results, made, latencies)


def _latency(settings: ProviderSettings, call: StepCall) -> float:
    body = write_body(call.request)
    return prompt_latency(settings, body["messages" if call.request.messages else "input"])


def _distinct(items: Iterable[ItemLowerBound]) -> Iterator[float]:
    """The latency of each call, of those that may share an answer only one (L6)."""
    seen: set[str] = set()
    for item in items:
        for call in item.calls:
            key = sharing_key(call.request)
            if key is None or key not in seen:
                yield item.latencies_s[call.id]
            if key is not None:
                seen.add(key)
