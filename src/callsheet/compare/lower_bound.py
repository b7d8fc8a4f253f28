"""The lower bound of a workload: the expected results, and the shortest time any mode can take.

The provider's responses and latencies depend on the seed and the prompt only. A provider in this
process with all latencies set to zero gives the results; the latencies are then computed.
"""

from collections.abc import Iterable, Iterator, Mapping

import attrs

from ..actors import Recipe, StepCall, critical_path, sharing_key
from ..simulator.app import Provider
from ..simulator.chance import prompt_latency
from ..simulator.inprocess import ProviderTransport
from ..simulator.settings import ProviderSettings
from .environment import Environment, SendRequest, open_plain_http
from .execution import Execution, Item, StepResults, write_body
from .workloads import Workload


@attrs.frozen
class ItemLowerBound:
    """The expected results and the latencies of one item.

    Args:
        results: the expected results, by step name.
        calls: the calls; each follows the calls that it depends on.
        latencies_s: the provider's latency of each call in seconds, by call id.
    """

    results: StepResults = attrs.field(repr=False)
    calls: tuple[StepCall, ...] = attrs.field(repr=False)
    latencies_s: Mapping[str, float]

    @property
    def critical_path(self) -> tuple[float, tuple[str, ...]]:
        """The longest chain of dependent calls: its duration in seconds, and its call ids."""
        return critical_path(self.calls, self.latencies_s)

    @property
    def one_by_one_s(self) -> float:
        """Seconds that the calls take when they run one after another."""
        return sum(self.latencies_s.values())


@attrs.frozen
class LowerBound:
    """The lower bound of a whole workload.

    Args:
        items: the lower bound of each item, in the workload's order.
        distinct_s: the provider's latency of each distinct call in seconds; identical calls that
            may share one response are counted once.
    """

    items: tuple[ItemLowerBound, ...]
    distinct_s: tuple[float, ...] = attrs.field(repr=False)

    @property
    def calls(self) -> int:
        """The number of calls of all items together."""
        return sum(len(item.calls) for item in self.items)

    @property
    def slowest(self) -> ItemLowerBound:
        """The item with the longest critical path; no mode can run the workload faster."""
        return max(self.items, key=lambda item: item.critical_path[0])


async def compute_lower_bound(workload: Workload, settings: ProviderSettings) -> LowerBound:
    """Run a workload against a provider without latencies, and compute the latencies.

    Args:
        workload: the items to process, and the recipe for each.
        settings: the settings of the provider that the modes will run against.
    """
    provider = Provider(attrs.evolve(settings, time_scale=0.0))
    async with ProviderTransport(provider) as transport:
        environment = Environment(base_url="http://provider/v1", transport=transport)
        async with open_plain_http(environment, in_flight=1) as ask:
            items = [
                await _bound_of_item(item, workload.recipe, ask, settings)
                for item in workload.items
            ]
    return LowerBound(tuple(items), tuple(_distinct(items)))


async def _bound_of_item(
    item: Item, recipe: Recipe, ask: SendRequest, settings: ProviderSettings
) -> ItemLowerBound:
    execution = Execution(item, recipe)
    while calls := execution.ready():
        for call in calls:
            execution.record(call, await ask(call.request))
    made = tuple(execution.script.calls)
    latencies = {call.id: _latency(settings, call) for call in made}
    return ItemLowerBound(execution.script.results, made, latencies)


def _latency(settings: ProviderSettings, call: StepCall) -> float:
    body = write_body(call.request)
    return prompt_latency(settings, body["messages" if call.request.messages else "input"])


def _distinct(items: Iterable[ItemLowerBound]) -> Iterator[float]:
    """Yield the latency of each call, once for all calls that may share one response (L6)."""
    seen: set[str] = set()
    for item in items:
        for call in item.calls:
            key = sharing_key(call.request)
            if key is None or key not in seen:
                yield item.latencies_s[call.id]
            if key is not None:
                seen.add(key)
