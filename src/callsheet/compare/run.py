"""Running a workload in one way, and what that took.

Percentiles by nearest rank: always a time that some item really took.
"""

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import cast

import attrs
import httpx
import trio

from ..actors import CallFailed, Json, StepFailed, Usage
from ..runtime import AskFailed
from .environment import Environment
from .execution import BadAnswer, Item, ItemOutcome, StepResults
from .ways import WAYS, Mode
from .workloads import Workload

__all__ = [
    "ModeResult",
    "RunFailed",
    "nearest_rank",
    "run_mode",
]


def nearest_rank(values: Sequence[float], percent: int) -> float:
    """The smallest value that at least `percent` per cent of all values do not exceed.

    With n values in order, it is the one of rank ceil(percent / 100 * n), counted from 1. With
    fewer than 100 values, the 99th percentile is therefore the greatest.

    Args:
        values: at least one, in any order.
        percent: from 1 to 100.

    Raises:
        ValueError: there is no value, or `percent` is out of its range.
    """
    if not values:
        raise ValueError("a percentile of no values does not exist")
    if not 1 <= percent <= 100:  # noqa: PLR2004 - per cent
        raise ValueError(f"percent must be from 1 to 100, got {percent}")
    rank = -(-percent * len(values) // 100)  # whole numbers: 0.99 is not a float
    return sorted(values)[rank - 1]


class RunFailed(Exception):
    """An item could not be done; the text says in which way it was run, and why."""


@attrs.frozen(kw_only=True)
class ModeResult:
    """What one way took.

    Args:
        wall_s: seconds from asking for the first item to the end of the last.
        seconds: seconds from asking for the first item to the end of each, in the items' order.
        results: what each item came to, in the items' order.
        http_requests: model calls that reached the provider, by its own count.
        usage: tokens reported with the answers.
        cost_usd: USD; None when a model's price is not known.
        rejected: answers of status 429, by the provider's own count.
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

    def to_json(self) -> dict[str, Json]:
        """The figures, without the results."""
        return {
            "wall_s": self.wall_s,
            "p50_s": self.p50_s,
            "p99_s": self.p99_s,
            "http_requests": self.http_requests,
            "input_tokens": self.usage.input_tokens,
            "output_tokens": self.usage.output_tokens,
            "cost_usd": None if self.cost_usd is None else float(self.cost_usd),
            "rejected": self.rejected,
        }


def _ignore() -> None:
    """Nobody watches."""


async def run_mode(
    mode: Mode,
    workload: Workload,
    base_url: str,
    *,
    time_scale: float = 1.0,
    transport: httpx.AsyncBaseTransport | None = None,
    item_done: Callable[[], None] = _ignore,
) -> ModeResult:
    """Run all items of a workload at once, in one of the ways, against the built-in provider.

    The clock starts when the way has opened what it needs. The provider's counts start anew, so
    nobody else may use it meanwhile.

    Args:
        mode: the way.
        workload: the items.
        base_url: the provider's, up to and with "/v1".
        time_scale: what the provider multiplies its latencies by; the waiting times of the fixed
            window are multiplied by it too.
        transport: takes the place of the network, in tests; not for "sequential".
        item_done: is called whenever an item is done.

    Raises:
        RunFailed: an item could not be done.
        ValueError: `time_scale` is not above 0.
    """
    venue = Environment(base_url=base_url, time_scale=time_scale, transport=transport)
    try:
        await _control(venue, "POST", "/callsheet/reset")
        outcomes, seconds, wall_s = await _perform_all(mode, venue, workload, item_done)
        stats = await _control(venue, "GET", "/callsheet/stats")
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


async def _perform_all(
    mode: Mode, venue: Environment, workload: Workload, item_done: Callable[[], None]
) -> tuple[list[ItemOutcome], tuple[float, ...], float]:
    """Do every item at once: their outcomes, the seconds each took, the seconds all took."""
    done: dict[int, tuple[ItemOutcome, float]] = {}  # {place of the item: outcome, seconds}
    failures: list[Exception] = []

    async with WAYS[mode](venue, workload) as perform:
        began = trio.current_time()

        async def perform_one(place: int, item: Item) -> None:
            try:
                outcome = await perform(item)
            except* (httpx.HTTPError, BadAnswer, CallFailed, StepFailed, AskFailed) as group:
                failures.append(_first(group))
                nursery.cancel_scope.cancel()
            else:
                done[place] = outcome, trio.current_time() - began
                item_done()

        async with trio.open_nursery() as nursery:
            for place, item in enumerate(workload.items):
                nursery.start_soon(perform_one, place, item)
        wall_s = trio.current_time() - began
    if failures:
        raise RunFailed(f"{mode}: {_reason(failures[0])}") from failures[0]
    ordered = [done[place] for place in range(len(workload.items))]
    return [outcome for outcome, _ in ordered], tuple(seconds for _, seconds in ordered), wall_s


async def _control(venue: Environment, method: str, path: str) -> dict[str, int]:
    """Read the provider's counts, or start them anew."""
    async with httpx.AsyncClient(transport=venue.transport, trust_env=False) as client:
        root = venue.base_url.removesuffix("/v1")
        response = await client.request(method, root + path)
    response.raise_for_status()
    return cast("dict[str, int]", response.json())


def _first(group: BaseExceptionGroup[Exception]) -> Exception:
    """One of the exceptions in a group, however deep."""
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


def _reason(error: Exception) -> str:
    """An error on one line; some of httpx's say nothing but their name."""
    return " ".join(str(error).split()) or type(error).__name__
