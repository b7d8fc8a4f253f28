"""Run a workload in one mode, and measure its time, requests, tokens and cost."""

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import cast

import attrs
import httpx
import trio

from ..actors import CallFailed, StepFailed, Usage
from ..runtime import AskFailed
from ..wording import usd_text
from .environment import Environment
from .execution import BadAnswer, Item, ItemOutcome, StepResults
from .modes import OPEN_MODE, Mode
from .workloads import Workload


def nearest_rank(values: Sequence[float], percent: int) -> float:
    """Return a percentile by the nearest-rank method, which always returns one of the values.

    Of n sorted values it is the one with rank ceil(percent / 100 * n), counted from 1. With fewer
    than 100 values, the 99th percentile is therefore the greatest value.

    Args:
        values: at least one, in any order.
        percent: from 1 to 100.

    Raises:
        ValueError: there are no values, or `percent` is out of range.
    """
    if not values:
        raise ValueError("a percentile needs at least one value")
    if not 1 <= percent <= 100:  # noqa: PLR2004 - per cent
        raise ValueError(f"percent must be from 1 to 100, got {percent}")
    rank = -(-percent * len(values) // 100)  # integers: 0.99 has no exact float
    return sorted(values)[rank - 1]


class RunFailed(Exception):
    """An item failed; the text names the mode and the reason."""


@attrs.frozen(kw_only=True)
class ModeFigures:
    """The figures of one mode, as `callsheet compare --json` writes them.

    Args:
        wall_s: seconds from the start of the run to the end of the last item.
        p50_s: the median of the seconds from the start of the run to the end of an item.
        p99_s: the 99th percentile of these seconds.
        http_requests: the number of model calls that reached the provider.
        input_tokens: the tokens of the prompts, as the responses report them.
        output_tokens: the tokens of the responses, as these report them.
        cost_usd: the cost in USD; null if the price of a model is not known.
        rejected: the number of responses with status 429.
    """

    wall_s: float
    p50_s: float
    p99_s: float
    http_requests: int
    input_tokens: int
    output_tokens: int
    cost_usd: str | None
    rejected: int


@attrs.frozen(kw_only=True)
class ModeResult:
    """The figures of one mode.

    Args:
        wall_s: seconds from the start of the run to the end of the last item.
        seconds: seconds from the start of the run to the end of each item, in the items' order.
        results: the results of each item, in the items' order.
        http_requests: the number of model calls that reached the provider, as it counts them.
        usage: the tokens that the responses report.
        cost_usd: the cost in USD; None if the price of a model is not known.
        rejected: the number of responses with status 429, as the provider counts them.
    """

    wall_s: float
    seconds: tuple[float, ...] = attrs.field(repr=False)
    results: tuple[StepResults, ...] = attrs.field(repr=False)
    http_requests: int
    usage: Usage
    cost_usd: Decimal | None
    rejected: int

    @property
    def p50_s(self) -> float:
        """The median time of an item, by nearest rank."""
        return nearest_rank(self.seconds, 50)

    @property
    def p99_s(self) -> float:
        """The 99th percentile of an item's time, by nearest rank."""
        return nearest_rank(self.seconds, 99)

    def figures(self) -> ModeFigures:
        """Return the figures, without the results."""
        return ModeFigures(
            wall_s=self.wall_s,
            p50_s=self.p50_s,
            p99_s=self.p99_s,
            http_requests=self.http_requests,
            input_tokens=self.usage.input_tokens,
            output_tokens=self.usage.output_tokens,
            cost_usd=None if self.cost_usd is None else usd_text(self.cost_usd),
            rejected=self.rejected,
        )


def _ignore() -> None:
    """Ignore progress."""


async def run_mode(
    mode: Mode,
    workload: Workload,
    base_url: str,
    *,
    time_scale: float = 1.0,
    transport: httpx.AsyncBaseTransport | None = None,
    item_done: Callable[[], None] = _ignore,
) -> ModeResult:
    """Run all items of a workload concurrently, in one mode, against the built-in provider.

    The measured time starts after the mode has opened its connections. This function resets the
    provider's counts, so no other client may use the provider during the run.

    Args:
        mode: how the calls are made.
        workload: the items to process, and the recipe for each.
        base_url: the provider's base URL, including "/v1".
        time_scale: the factor by which the provider multiplies its latencies; the window and the
            poll interval of the fixed_window mode are multiplied by it too.
        transport: replaces the network, in tests; the sequential mode ignores it.
        item_done: called each time an item finishes.

    Raises:
        RunFailed: an item failed.
        ValueError: `time_scale` is not above 0.
    """
    environment = Environment(base_url=base_url, time_scale=time_scale, transport=transport)
    try:
        await _control(environment, "POST", "/callsheet/reset")
        outcomes, seconds, wall_s = await _run_all(mode, environment, workload, item_done)
        stats = await _control(environment, "GET", "/callsheet/stats")
    except httpx.HTTPError as error:
        raise RunFailed(f"{mode}: {_reason(error)}") from error
    costs = [outcome.cost_usd for outcome in outcomes]
    return ModeResult(
        wall_s=wall_s,
        seconds=seconds,
        results=tuple(outcome.results for outcome in outcomes),
        http_requests=stats["requests"],
        usage=sum((outcome.usage for outcome in outcomes), Usage()),
        cost_usd=None if None in costs else sum(filter(None, costs), Decimal(0)),
        rejected=stats["rejected"],
    )


async def _run_all(
    mode: Mode, environment: Environment, workload: Workload, item_done: Callable[[], None]
) -> tuple[list[ItemOutcome], tuple[float, ...], float]:
    """Run all items; return their outcomes, the seconds of each item, and the seconds of all."""
    done: dict[int, tuple[ItemOutcome, float]] = {}  # {index of the item: outcome, seconds}
    failures: list[Exception] = []

    async with OPEN_MODE[mode](environment, workload) as run_item:
        began = trio.current_time()

        async def run_one(place: int, item: Item) -> None:
            try:
                outcome = await run_item(item)
            except* (httpx.HTTPError, BadAnswer, CallFailed, StepFailed, AskFailed) as group:
                failures.append(_first(group))
                nursery.cancel_scope.cancel()
            else:
                done[place] = outcome, trio.current_time() - began
                item_done()

        async with trio.open_nursery() as nursery:
            for place, item in enumerate(workload.items):
                nursery.start_soon(run_one, place, item)
        wall_s = trio.current_time() - began
    if failures:
        raise RunFailed(f"{mode}: {_reason(failures[0])}") from failures[0]
    ordered = [done[place] for place in range(len(workload.items))]
    return [outcome for outcome, _ in ordered], tuple(seconds for _, seconds in ordered), wall_s


async def _control(environment: Environment, method: str, path: str) -> dict[str, int]:
    """Read or reset the provider's counts."""
    async with httpx.AsyncClient(transport=environment.transport, trust_env=False) as client:
        root = environment.base_url.removesuffix("/v1")
        response = await client.request(method, root + path)
    response.raise_for_status()
    return cast("dict[str, int]", response.json())


def _first(group: BaseExceptionGroup[Exception]) -> Exception:
    """Return the first exception of a group, also of a nested one."""
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


def _reason(error: Exception) -> str:
    """Return an error as one line; some httpx errors have no text, only a class name."""
    return " ".join(str(error).split()) or type(error).__name__
