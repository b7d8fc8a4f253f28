"""What a route makes of the settings of a troupe, and of each request. Pure (R14)."""

from collections.abc import Callable
from functools import partial
from glob import escape
from math import inf
from pathlib import Path

import attrs

from ...actors import (
    BatchApiPolicy,
    Budget,
    FileInUse,
    LedgerPolicy,
    Request,
    Routing,
    StorageError,
    TroupeSettings,
    lines_in,
)
from ..errors import BulkRefused
from ..files.store import RunSpend
from ..settings import BulkSettings

__all__ = [
    "RunPlan",
    "plan_run",
]


_DAY_S = 86_400.0
_PER_PACK = 32  # rows that may wait for each call in flight: some packs' worth

Prepare = Callable[[Request, float | None], Request]


@attrs.frozen
class RunPlan:
    """How a run is made.

    Args:
        troupe: the settings of whom to ask.
        prepare: makes of a request what is asked, with the seconds that are left for the run.
        ahead: rows that may be under way, by the calls that may be in flight.
        is_recovered: what was sent is not lost when the process dies.
    """

    troupe: TroupeSettings
    prepare: Prepare
    ahead: Callable[[int], int]
    is_recovered: bool


def plan_run(
    troupe: TroupeSettings, settings: BulkSettings, account: RunSpend, journal: Path, lane: str
) -> RunPlan:
    """How a run is made with these settings.

    Args:
        troupe: whom to ask, as the user has set it.
        settings: of the run.
        account: what earlier runs have spent.
        journal: the Batch API's, if the troupe has none.
        lane: of the run's calls.

    Raises:
        BulkRefused: the route is not there.
    """
    troupe = attrs.evolve(_with_budget(troupe, settings, account, lane), streaming=False)
    window = settings.window_rows
    _see_to_batches(troupe, settings, journal)
    has_batches = troupe.batches is not None or troupe.endpoint.vendor.batches is not None
    if settings.route == "live":
        troupe = attrs.evolve(troupe, batches=None, routing=Routing(flex=False, batch=False))
        return RunPlan(troupe, _as_it_is, _a_call_each, is_recovered=False)
    if settings.route == "pack":
        troupe = attrs.evolve(troupe, batches=None, routing=Routing(flex=False, batch=False))
        return RunPlan(troupe, _packed, partial(_some_packs, window), is_recovered=False)
    if settings.route == "batch" and not has_batches:
        raise BulkRefused(
            f"{troupe.endpoint.vendor.title} has no Batch API that is known here",
            "say whose API it is (--provider), or take another route (--route live)",
        )
    can_wait = (settings.deadline_s or 0.0) >= troupe.routing.batch_from_s
    if settings.route == "auto" and not (has_batches and can_wait):
        prepare = _as_it_is if settings.deadline_s is None else _in_time
        return RunPlan(troupe, prepare, _a_call_each, is_recovered=False)
    batches = troupe.batches or BatchApiPolicy(journal=journal)
    troupe = attrs.evolve(troupe, batches=attrs.evolve(batches, is_acknowledged=True))
    if settings.route == "batch":
        troupe = attrs.evolve(troupe, routing=Routing(flex=False, batch_from_s=0.0))
    # All that may be read is asked for: each batch is as large as the window allows.
    return RunPlan(troupe, _in_time, lambda _: window, is_recovered=_is_durable(troupe))


def _see_to_batches(troupe: TroupeSettings, settings: BulkSettings, journal: Path) -> None:
    """Refuse to ask at once for what is in a batch, and will be billed.

    Raises:
        BulkRefused: some of it is.
    """
    can_wait = (settings.deadline_s or 0.0) >= troupe.routing.batch_from_s
    if settings.route == "batch" or (settings.route == "auto" and can_wait):
        return
    if troupe.batches is not None and troupe.batches.journal is not None:
        journal = troupe.batches.journal
    try:
        count = lines_in(journal)
    except FileInUse:
        return  # then the number of rows is not known
    except StorageError as error:
        raise BulkRefused(f"{error.name} cannot be used: {error.reason}", error.remedy) from None
    if count:
        raise BulkRefused(
            f"{count:,} rows are in batches at the provider ({journal.name})",
            "go on with --route batch, or remove that file and pay for them again",
        )


def _a_call_each(in_flight: int) -> int:
    return in_flight


def _some_packs(window: int, in_flight: int) -> int:
    return min(window, in_flight * _PER_PACK)


def _is_durable(troupe: TroupeSettings) -> bool:
    return troupe.batches is not None and troupe.batches.journal is not None


def _as_it_is(request: Request, left_s: float | None) -> Request:  # noqa: ARG001  # see Prepare
    return request


def _packed(request: Request, left_s: float | None) -> Request:
    return _in_time(attrs.evolve(request, packable=True), left_s or inf)


def _in_time(request: Request, left_s: float | None) -> Request:
    """With the seconds that are left; a request that can wait has a day unless somebody says."""
    within = min(_DAY_S if left_s is None else left_s, request.deadline or inf)
    return request if within == inf else attrs.evolve(request, deadline=within)


def _with_budget(
    troupe: TroupeSettings, settings: BulkSettings, account: RunSpend, lane: str
) -> TroupeSettings:
    """Nothing is sent that might cost more than is left."""
    if settings.max_cost is None:
        return troupe
    left = settings.max_cost - account.cost_usd
    if left <= 0:
        raise BulkRefused(
            f"${account.cost_usd} are spent, and {settings.max_cost} may be",
            "allow for more (--max-cost)",
        )
    policy = troupe.ledger or LedgerPolicy()
    # The books may be of everything that was ever asked: this is about the calls of this run.
    budget = Budget(left, per="tenant", match=escape(lane))
    return attrs.evolve(troupe, ledger=attrs.evolve(policy, budgets=(*policy.budgets, budget)))
