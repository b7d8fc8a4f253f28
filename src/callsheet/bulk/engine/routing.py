"""Apply the route of a run to the settings of the troupe, and to each request. Pure (R14)."""

from collections import Counter
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
    JournalOwner,
    LedgerPolicy,
    Packing,
    Request,
    Routing,
    StorageError,
    TroupeSettings,
    Vendor,
    claim_journal,
    lines_in,
)
from ...wording import all_digits
from ..errors import ANOTHER_OUTPUT, BulkRefused
from ..settings import BulkSettings, RunRoute
from ..spending import RunSpend

_DAY_S = 86_400.0
_PER_PACK = 200  # rows dispatched per call in flight: enough for several packs


@attrs.frozen
class RunJournal:
    """The journal of a run's batches.

    Args:
        path: the file, beside OUTPUT.
        owner: the run, as its store knows it.
        is_dry: True to create no file.
    """

    path: Path
    owner: JournalOwner
    is_dry: bool = False


Prepare = Callable[[Request, float | None], Request]


@attrs.frozen
class RunPlan:
    """How a run sends its rows.

    Args:
        troupe: the settings of the troupe.
        prepare: makes the request to send from a row's request and the seconds that are left.
        ahead: returns how many rows may be dispatched, from the number of calls in flight.
        is_recovered: True if calls survive the death of the process.
        misfits: why rows cannot be in a pack, with the number of them; it grows with the run.
        remark: a sentence about the route that the user may not expect; "" for none.
    """

    troupe: TroupeSettings
    prepare: Prepare
    ahead: Callable[[int], int]
    is_recovered: bool
    misfits: Counter[str] = attrs.field(factory=Counter[str])
    remark: str = ""


def plan_run(
    troupe: TroupeSettings,
    settings: BulkSettings,
    account: RunSpend,
    journal: RunJournal,
    lane: str,
) -> RunPlan:
    """Plan how a run sends its rows.

    Args:
        troupe: the settings of the troupe, as the user gave them.
        settings: the settings of the run.
        account: what earlier runs have spent.
        journal: the Batch API's journal, if the troupe names none.
        lane: the lane of the run's calls.

    Raises:
        BulkRefused: the route is not available, the budget is spent, or rows are in batches.
    """
    is_shared = settings.shared is not None
    if is_shared and settings.route == "batch":
        raise BulkRefused(
            "the workers of a shared run use no Batch API",
            "leave out --shared, or choose another route (--route live)",
        )
    troupe = _with_budget(troupe, settings, account, lane)
    window = settings.window_rows
    _see_to_batches(troupe, settings, journal)
    named = None if troupe.batches is None else troupe.batches.dialect
    has_batches = named is not None or troupe.endpoint.vendor.batches is not None
    if settings.route == "live":
        troupe = attrs.evolve(troupe, batches=None, routing=Routing(flex=False, batch=False))
        return RunPlan(troupe, _as_it_is, _a_call_each, is_recovered=False)
    if settings.route == "pack":
        troupe = attrs.evolve(troupe, batches=None, routing=Routing(flex=False, batch=False))
        if troupe.ledger is None:  # it knows what a pack costs at most, and not each row
            troupe = attrs.evolve(troupe, ledger=LedgerPolicy())
        misfits = Counter[str]()
        packed = partial(_packed, troupe.packing or Packing(), misfits)
        ahead = partial(_some_packs, window)
        return RunPlan(troupe, packed, ahead, is_recovered=False, misfits=misfits)
    if not has_batches:
        check_batches(settings.route, troupe.endpoint.vendor)
    can_wait = (settings.deadline_s or 0.0) >= troupe.routing.batch_from_s
    if settings.route == "auto" and (is_shared or not (has_batches and can_wait)):
        prepare = _as_it_is if settings.deadline_s is None else _in_time
        title = troupe.endpoint.vendor.title
        remark = f"Callsheet supports no Batch API of {title}; rows are sent live."
        remark += batches_hint(troupe.endpoint.vendor)
        if is_shared:
            troupe = attrs.evolve(troupe, batches=None)
            remark = "The workers of a shared run use no Batch API; rows are sent live."
        return RunPlan(
            troupe, prepare, _a_call_each, is_recovered=False, remark=remark if can_wait else ""
        )
    batches = troupe.batches or BatchApiPolicy(journal=journal.path)
    is_required = settings.route == "batch"
    batches = attrs.evolve(batches, is_acknowledged=True, is_required=is_required)
    troupe = attrs.evolve(troupe, batches=batches)
    if is_required:
        troupe = attrs.evolve(troupe, routing=Routing(flex=False, batch_only=True))
    # All rows of the window are dispatched, so that batches are as large as possible.
    return RunPlan(troupe, _in_time, lambda _: window, is_recovered=_is_durable(troupe))


def check_batches(route: RunRoute, vendor: Vendor) -> None:
    """Refuse a route that requires a Batch API, if the vendor has none.

    Args:
        route: the route of a run.
        vendor: the vendor of its endpoint.

    Raises:
        BulkRefused: the route is not available.
    """
    if route == "batch" and vendor.batches is None:
        raise BulkRefused(
            f"Callsheet supports no Batch API of {vendor.title}",
            "name the provider (--provider), or choose another route (--route live)",
        )


def _see_to_batches(troupe: TroupeSettings, settings: BulkSettings, journal: RunJournal) -> None:
    """Check the journal, and refuse to send rows live that are in a batch and will be billed.

    Raises:
        BulkRefused: there are such rows, or the journal cannot be used.
    """
    can_wait = (settings.deadline_s or 0.0) >= troupe.routing.batch_from_s
    has_route = settings.route == "batch" or (
        settings.route == "auto" and can_wait and settings.shared is None
    )
    own = None if troupe.batches is None else troupe.batches.journal
    owner = attrs.evolve(journal.owner, has_lines=False) if settings.pay_again else journal.owner
    try:
        if own is not None:
            count = 0 if has_route else lines_in(own)
        elif (has_route or journal.path.exists()) and not journal.is_dry:
            count = claim_journal(journal.path, owner)
        else:
            count = lines_in(journal.path, owner)  # it may have a log, and lines there
    except FileInUse:
        return  # then the number of rows is not known
    except StorageError as error:
        remedy = error.remedy if own is not None else error.remedy_by(ANOTHER_OUTPUT)
        raise BulkRefused(f"{error.name} cannot be used: {error.reason}", remedy) from None
    if count and not has_route and not settings.pay_again:
        raise BulkRefused(
            f"{count:,} rows are in batches at the provider ({(own or journal.path).name})",
            "continue with --route batch, or pay for these rows again (--pay-again)",
        )


def _a_call_each(in_flight: int) -> int:
    return in_flight


def _some_packs(window: int, in_flight: int) -> int:
    return min(window, in_flight * _PER_PACK)


def _is_durable(troupe: TroupeSettings) -> bool:
    return troupe.batches is not None and troupe.batches.journal is not None


def _as_it_is(request: Request, left_s: float | None) -> Request:  # noqa: ARG001  # see Prepare
    return request


def _packed(
    packing: Packing, misfits: Counter[str], request: Request, left_s: float | None
) -> Request:
    """Allow packing, and count why a pack cannot hold the request."""
    request = attrs.evolve(request, packable=True)
    reason = packing.misfit(request)
    if reason is not None:
        misfits[reason] += 1
    return _in_time(request, left_s or inf)


def batches_hint(vendor: Vendor) -> str:
    """Return a sentence on how an address without a named provider can have batches; else "".

    Args:
        vendor: the vendor of the endpoint.
    """
    is_named = vendor.name != "compatible"
    return "" if is_named else " If the address has that of OpenAI, add --provider openai."


def _in_time(request: Request, left_s: float | None) -> Request:
    """Set the deadline to the seconds that are left; one day if there is no deadline at all."""
    within = min(_DAY_S if left_s is None else left_s, request.deadline or inf)
    return request if within == inf else attrs.evolve(request, deadline=within)


def _with_budget(
    troupe: TroupeSettings, settings: BulkSettings, account: RunSpend, lane: str
) -> TroupeSettings:
    """Add a budget with what is left of `max_cost`."""
    if settings.max_cost is None:
        return troupe
    if account.unpriced:
        names = ", ".join(account.unpriced.models)
        raise BulkRefused(
            f"no price is known for {names}, which earlier runs have used, so the limit of "
            f"{all_digits(settings.max_cost)} cannot be kept",
            "give the price (--prices), or leave out --max-cost",
        )
    left = settings.max_cost - account.at_most_usd
    if left <= 0:
        spent = f"{all_digits(account.cost_usd)} of {all_digits(settings.max_cost)} are spent"
        if account.open_usd:
            open_usd = all_digits(account.open_usd)
            spent += f", and up to {open_usd} may have been billed for what told no cost"
        raise BulkRefused(spent, "raise --max-cost")
    policy = troupe.ledger or LedgerPolicy()
    # A ledger may hold other calls too; the budget applies to the lane of this run.
    budget = Budget(left, per="tenant", match=escape(lane))
    return attrs.evolve(troupe, ledger=attrs.evolve(policy, budgets=(*policy.budgets, budget)))
