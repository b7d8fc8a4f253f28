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
from cost_bench.autobatcher_client import AUTOBATCHER, Autobatcher, AutobatcherSettings
from cost_bench.provider import Bill, read_bill, running_provider

__all__ = ["BATCH_TIME_S", "DAY", "WayFigures", "beside"]

_DAY_S = 86_400.0
_FAST = 0.1  # the time scale of ways that wait for batches
BATCH_TIME_S = 30  # the same for every batch, so that ways can be compared

DAY = "callsheet, 24 h deadline"

_Change = Callable[[Request], Request]
_Open = Callable[[str, Workload], AbstractAsyncContextManager[SendRequest]]


@attrs.frozen
class _Way:
    """A way to run a workload.

    Args:
        opened: opens it for a base URL and a workload, and yields a function that sends a request.
        time_scale: the factor on the provider's times. Ways that send calls at once run in full
            time, in which calls take longer than our work for them.
    """

    opened: _Open
    time_scale: float = 1.0


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


async def beside(name: WorkloadName, python: str) -> dict[str, WayFigures]:
    """Run a workload in every way, one after another, each against a provider of its own.

    Args:
        name: the name of the workload.
        python: an interpreter that has autobatcher.
    """
    workload = make_workload(name)
    expected = await compute_lower_bound(workload, ProviderSettings())
    wanted = [item.results for item in expected.items]
    batch_time = f"{BATCH_TIME_S}-{BATCH_TIME_S}"
    found: dict[str, WayFigures] = {}
    for title, way in _ways(workload, python).items():
        async with running_provider(way.time_scale, "--batch-time", batch_time) as base_url:
            async with way.opened(base_url, workload) as ask:
                begun = trio.current_time()
                results = await _run(workload, ask)
                seconds = (trio.current_time() - begun) / way.time_scale
            same = sum(_same(*pair) for pair in zip(wanted, results, strict=True))
            answers = sum(map(len, wanted))
            found[title] = WayFigures(await read_bill(base_url), seconds, same, answers)
    return found


def _same(wanted: StepResults, found: StepResults) -> int:
    return sum(found.get(step) == text for step, text in wanted.items())


def _ways(workload: Workload, python: str) -> Mapping[str, _Way]:
    flex, batches = Routing(batch=False), Routing(flex=False)
    ways = {"one call each": _Way(_plain)}
    for title, settings in AUTOBATCHER.items():
        scale = _FAST if settings.completion_window else 1.0
        ways[title] = _Way(partial(_autobatcher, python, settings, scale), scale)
    ways["callsheet, live"] = _callsheet(_alone)
    ways["callsheet, flex"] = _callsheet(_alone_in_a_day, flex)
    ways["callsheet, batches"] = _callsheet(_alone_in_a_day, batches, _FAST)
    if workload.shares_calls:
        ways["callsheet, packed"] = _callsheet(_as_it_is)
        ways["callsheet, packed, flex"] = _callsheet(_in_a_day, flex)
        ways["callsheet, packed, batches"] = _callsheet(_in_a_day, batches, _FAST)
    ways[DAY] = _callsheet(_in_a_day, Routing(), _FAST)
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
    environment = Environment(base_url=base_url)
    async with open_plain_http(environment, workload.in_flight) as ask:
        yield ask


@asynccontextmanager
async def _autobatcher(
    python: str, settings: AutobatcherSettings, time_scale: float, base_url: str, _: Workload
) -> AsyncGenerator[SendRequest]:
    async with Autobatcher.open(python, base_url, settings, time_scale) as client:
        yield client.ask


def _callsheet(change: _Change, routing: Routing | None = None, time_scale: float = 1.0) -> _Way:
    """Return the way by a troupe, with its default settings.

    Args:
        change: states what each request allows.
        routing: the routes of requests with a deadline.
        time_scale: the factor on the times of the provider and of the Batch API's stage.
    """
    usual = BatchApiPolicy()

    @asynccontextmanager
    async def opened(base_url: str, workload: Workload) -> AsyncGenerator[SendRequest]:
        settings = TroupeSettings(
            endpoint=Endpoint(base_url, "sk-benchmark", vendor="openai"),
            limits=Limits(in_flight=workload.in_flight),
            batches=BatchApiPolicy(
                gather_s=usual.gather_s * time_scale, poll_s=usual.poll_s * time_scale
            ),
            routing=routing or Routing(),
        )
        async with open_troupe(settings) as troupe:

            async def ask(request: Request) -> PlainReply:
                answer = await troupe.complete(change(request))
                return PlainReply(answer.text, answer.usage, answer.cost_usd)

            yield ask

    return _Way(opened, time_scale)


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
