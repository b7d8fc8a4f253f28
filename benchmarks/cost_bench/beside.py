"""Run the same work by single calls, by autobatcher and by Callsheet's routes (W1, W2, W4)."""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

import attrs
import trio

from callsheet import Endpoint, Limits, Request, TroupeSettings, open_troupe
from callsheet.actors import BatchApiPolicy, Routing, StepCall
from callsheet.compare.environment import Environment, SendRequest, open_plain_http
from callsheet.compare.execution import Execution, Item, PlainReply, StepResults
from callsheet.compare.lower_bound import compute_lower_bound
from callsheet.compare.workloads import Workload, WorkloadName, make_workload
from callsheet.simulator.settings import ProviderSettings
from cost_bench.autobatcher_client import Autobatcher, AutobatcherSettings
from cost_bench.provider import Bill, read_bill, reset, running_provider

__all__ = ["AUTOBATCHER", "BATCH_TIME_S", "DAY", "WayFigures", "beside"]

_DAY_S = 86_400.0
_SCALE = 0.1
BATCH_TIME_S = 30  # the same for every batch, so that ways can be compared

DAY = "callsheet, 24 h deadline"
AUTOBATCHER = {
    "autobatcher, 24h": AutobatcherSettings(),
    "autobatcher, 24h, window of 1 s": AutobatcherSettings(window_s=BatchApiPolicy().gather_s),
}
"""The settings of autobatcher, by the name of the way."""

Open = Callable[[str, Workload], AbstractAsyncContextManager[SendRequest]]


@attrs.frozen
class WayFigures:
    """What a workload costs in one way.

    Args:
        bill: the provider's count.
        seconds: seconds from the first request to the last answer, in the provider's time: those
            measured, divided by its time scale.
        same: number of answers that equal those of single calls.
        answers: number of answers.
    """

    bill: Bill
    seconds: float
    same: int
    answers: int


async def beside(name: WorkloadName, python: str | None) -> dict[str, WayFigures]:
    """Run a workload in every way, one after another, against one provider.

    Args:
        name: the name of the workload.
        python: an interpreter that has autobatcher; None leaves it out.
    """
    workload = make_workload(name)
    expected = await compute_lower_bound(workload, ProviderSettings())
    found: dict[str, WayFigures] = {}
    async with running_provider(
        _SCALE, "--batch-time", f"{BATCH_TIME_S}-{BATCH_TIME_S}"
    ) as base_url:
        for title, opened in _ways(workload, python).items():
            await reset(base_url)
            async with opened(base_url, workload) as ask:
                begun = trio.current_time()
                results = await _run(workload, ask)
                seconds = (trio.current_time() - begun) / _SCALE
            wanted = [item.results for item in expected.items]
            found[title] = WayFigures(
                await read_bill(base_url),
                seconds,
                sum(_same(*pair) for pair in zip(wanted, results, strict=True)),
                sum(map(len, wanted)),
            )
    return found


def _same(wanted: StepResults, found: StepResults) -> int:
    return sum(found.get(step) == text for step, text in wanted.items())


def _ways(workload: Workload, python: str | None) -> Mapping[str, Open]:
    ways: dict[str, Open] = {"one call each": _plain}
    if python is not None:
        ways |= {
            title: partial(_autobatcher, python, settings)
            for title, settings in AUTOBATCHER.items()
        }
    ways["callsheet, live"] = partial(_callsheet, _alone, Routing())
    if workload.shares_calls:
        ways["callsheet, packed"] = partial(_callsheet, _as_it_is, Routing())
    ways["callsheet, batches"] = partial(_callsheet, _alone_in_a_day, Routing(flex=False))
    if workload.shares_calls:
        title = "callsheet, packed, batches"
        ways[title] = partial(_callsheet, _in_a_day, Routing(flex=False))
    ways[DAY] = partial(_callsheet, _in_a_day, Routing())
    return ways


def _as_it_is(request: Request) -> Request:
    return request


def _alone(request: Request) -> Request:
    return attrs.evolve(request, packable=False, cacheable=False)


def _in_a_day(request: Request) -> Request:
    return attrs.evolve(request, deadline=_DAY_S)


def _alone_in_a_day(request: Request) -> Request:
    return _in_a_day(_alone(request))


@asynccontextmanager
async def _plain(base_url: str, workload: Workload) -> AsyncGenerator[SendRequest]:
    environment = Environment(base_url=base_url, time_scale=_SCALE)
    async with open_plain_http(environment, workload.in_flight) as ask:
        yield ask


@asynccontextmanager
async def _autobatcher(
    python: str, settings: AutobatcherSettings, base_url: str, _: Workload
) -> AsyncGenerator[SendRequest]:
    async with Autobatcher.open(python, base_url, settings, _SCALE) as client:
        yield client.ask


@asynccontextmanager
async def _callsheet(
    state: Callable[[Request], Request], routing: Routing, base_url: str, workload: Workload
) -> AsyncGenerator[SendRequest]:
    usual = BatchApiPolicy()
    settings = TroupeSettings(
        endpoint=Endpoint(base_url, "sk-benchmark", vendor="openai"),
        limits=Limits(in_flight=workload.in_flight),
        batches=BatchApiPolicy(gather_s=usual.gather_s * _SCALE, poll_s=usual.poll_s * _SCALE),
        routing=routing,
    )
    async with open_troupe(settings) as troupe:

        async def ask(request: Request) -> PlainReply:
            answer = await troupe.complete(state(request))
            return PlainReply(answer.text, answer.usage, answer.cost_usd)

        yield ask


async def _run(workload: Workload, ask: SendRequest) -> list[StepResults]:
    """Run all items at once, each call as soon as those that it needs have their answers."""
    found: dict[int, StepResults] = {}

    async def run(place: int, item: Item) -> None:
        execution = Execution(item, workload.recipe)
        async with trio.open_nursery() as nursery:
            _start(execution, ask, nursery)
        found[place] = execution.outcome().results

    async with trio.open_nursery() as nursery:
        for place, item in enumerate(workload.items):
            nursery.start_soon(run, place, item)
    return [found[place] for place in range(len(workload.items))]


def _start(execution: Execution, ask: SendRequest, nursery: trio.Nursery) -> None:
    """Start the calls that are ready; each starts those that were waiting for it."""

    async def make(call: StepCall) -> None:
        execution.record(call, await ask(call.request))
        _start(execution, ask, nursery)

    for call in execution.ready():
        nursery.start_soon(make, call)
