"""Report how `callsheet run` ended, or print the estimate of `callsheet run --dry-run`."""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from math import inf
from pathlib import Path

import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ...actors import (
    BatchingStatistics,
    JournalOwner,
    Limits,
    Packing,
    Routing,
    StorageError,
    Vendor,
    lines_in,
    why_not_written,
)
from ...bulk.engine.routing import batches_hint
from ...bulk.engine.run import BulkRun
from ...bulk.errors import ANOTHER_OUTPUT, BulkRefused
from ...bulk.forecast import Forecast, OutputBasis, PricedRoute
from ...bulk.progress import Progress
from ...bulk.report.page import ReportMeta, write_report
from ...bulk.settings import RETRIED_REASONS, BulkSettings, Paths
from ...bulk.watching.run_summary import summary
from ...wording import dollars, printable, seconds
from .. import INTERRUPTED
from ..options import unwritten_remark
from .job import BulkJob

_REFUSED = 2
_MOST_REASONS = 3  # of rows that cannot be read, after the first
_SYSTEM = "system message"


def report(job: BulkJob) -> int:
    """Print the summary of a run, its errors, and how to continue it.

    Returns:
        The exit status: 0; 1 if a row has no response; 2 if the run did not start; 130 if it was
        interrupted.
    """
    if job.refused is not None:
        _print(f"Error: {job.refused}")
        return _REFUSED
    now = job.progress
    if job.ending is not None and job.ending.kind == "damaged" and _nothing_was_sent(now):
        _print(f"Error: {job.ending}")
        return _REFUSED
    has_page = True
    if now is not None:
        job.console.print(summary(job.series, now))
        for line in _remarks(job, now):
            _print(line)
        has_page = _wrote_page(job, now)
    if job.crash is not None:
        _print(f"Error: {job.crash}. This is a bug in Callsheet; --verbose shows the traceback.")
    if job.interrupted and not job.is_complete:
        _print("Interrupted. Run the same command again to continue.")
        return INTERRUPTED
    if job.ending is not None:
        if job.crash is None or job.ending.kind != "crashed":  # which is told already
            _print(f"Error: {job.ending}")
        if _cannot_start(job):
            return _REFUSED
    for costs in job.unwritten:
        remark = unwritten_remark(costs)
        job.problems.append(remark.partition(": ")[2])
        _print(remark)
    is_whole = job.is_complete and now is not None and not now.failed and not now.bad
    is_whole = is_whole and all(costs.kept_in is not None for costs in job.unwritten)
    return 0 if is_whole and has_page and job.crash is None else 1


def _cannot_start(job: BulkJob) -> bool:
    """Whether --max-cost, an unknown price or --route stopped the run before its first call."""
    kind = None if job.ending is None else job.ending.kind
    return kind in ("unpaid", "unbatched") and _nothing_was_sent(job.progress)


def _nothing_was_sent(now: Progress | None) -> bool:
    return now is not None and now.answered == now.reused and not now.failed


def _wrote_page(job: BulkJob, now: Progress) -> bool:
    """Write the page about the run, if --report names a file; return False if that failed."""
    if job.page is None:
        return True
    settings = {
        "ended": f"{job.ended_at:%Y-%m-%d %H:%M} UTC",
        "provider": job.provider,
        "input": job.source,
        "output": str(job.output),
        "route": job.settings.route,
        "order": "of the input" if job.settings.ordered else "of arrival",
    }
    if job.ending is not None:
        settings["ended because"] = str(job.ending)
    try:
        write_report(
            job.page, job.series, now, ReportMeta(title=Path(job.source).name, settings=settings)
        )
    except OSError as error:
        job.problems.append(f"--report: cannot write {job.page}: {why_not_written(error)}")
        _print(f"Error: {job.problems[-1]}")
        return False
    return True


def _remarks(job: BulkJob, now: Progress) -> list[str]:
    """List where errors are, which rows are in batches, and what may have been billed."""
    lines: list[str] = []
    if now.failed or now.bad:
        where = Paths(job.output).errors
        lines.append(f"{_rows(now.failed + now.bad)} failed, listed in {where} with the reason.")
    if not job.is_complete and (count := rows_left_in_batches(job.output)):
        lines.append(
            f"Rows in batches at the provider, which will be billed: {count:,}. Run the same "
            "command again to get the responses."
        )
    if now.rerouted:
        lines.append(f"{_rows(now.rerouted)} went live, and not in a batch, at the usual price.")
    if job.run is not None and job.run.packing is not None:
        lines += _packs(job.run, job.run.packing)
    if now.cut:
        lines.append(_cut(now, job.settings))
    if now.shared is not None and now.shared.again:
        times = "once" if now.shared.again == 1 else f"{now.shared.again:,} times"
        lines.append(
            f"A row was given to a further worker {times}, because one had ended while it had the "
            "row. Both may have paid for it."
        )
    if now.maybe_billed:
        lost = 0 if job.run is None else job.run.lost_before
        before = f", {lost:,} of them in earlier runs" if lost else ""
        lines.append(
            f"Up to {now.maybe_billed:,} calls may have been billed without a response{before}."
        )
    return lines


def _packs(run: BulkRun, packing: BatchingStatistics) -> list[str]:
    """Return remarks on rows that were sent alone, although --route pack was given."""
    lines = [_misfits(run.misfits)] if run.misfits else []
    groups = packing.agreement.get(Packing.name, ())
    if lost := sum(not one.is_trusted for one in groups):
        instructions = "one instruction" if lost == 1 else f"{lost:,} instructions"
        lines.append(
            f"Packs were given up under {instructions}: too few answers in them were those of "
            "single calls."
        )
    elif not packing.combined and not run.misfits:
        lines.append(
            "No pack was made: no two rows have the same system message, model and parameters, or "
            "single calls were estimated to be cheaper."
        )
    return lines


def _misfits(found: Mapping[str, int]) -> str:
    """Return a sentence on rows that cannot be in a pack."""
    ordered = sorted(found.items(), key=lambda one: (-one[1], one[0]))
    reasons = ", ".join(f"{_rows(count)} ({reason})" for reason, count in ordered)
    remedy = ". --system gives all rows one" if any(_SYSTEM in reason for reason in found) else ""
    return f"Not in packs: {reasons}{remedy}."


def _cut(now: Progress, settings: BulkSettings) -> str:
    """Return a remark on responses that are not complete."""
    kinds = [f"{count:,} by {kind}" for kind, count in sorted(now.cut.items())]
    text = f"Responses that are not complete: {', '.join(kinds)}."
    if set(now.cut) <= set(settings.retry_on):
        return f"{text} They were asked again once; the same command asks again."
    reasons = ",".join(kind for kind in RETRIED_REASONS if kind in now.cut)
    return f"{text} --retry-on {reasons} sends these rows once more."


def rows_in_batches(output: Path, owner: JournalOwner | None = None) -> int:
    """Count the rows in the journal of a run.

    Args:
        output: OUTPUT of the run.
        owner: the run whose journal it must be; None for any.

    Raises:
        BulkRefused: the journal cannot be read.
    """
    try:
        return lines_in(Paths(output).batches, owner)
    except StorageError as error:
        remedy = error.remedy_by(ANOTHER_OUTPUT)
        raise BulkRefused(f"{error.name} cannot be used: {error.reason}", remedy) from None


def rows_left_in_batches(output: Path) -> int:
    """Count the rows in the journal after a run; 0 if it cannot be read (the run reports that)."""
    try:
        return rows_in_batches(output)
    except BulkRefused:
        return 0


def _rows(count: int) -> str:
    return f"{count:,} row" if count == 1 else f"{count:,} rows"


def _print(text: str) -> None:
    click.echo(printable(text), err=True)


def print_forecast(
    found: Forecast, limits: Limits, settings: BulkSettings, in_batches: int, vendor: Vendor
) -> None:
    """Print the estimate of a run.

    Args:
        found: the estimate of rows, tokens, cost and time.
        limits: the rate limits of the run.
        settings: the settings of the run.
        in_batches: the number of rows that are in batches at the provider already.
        vendor: the vendor of the endpoint, which may have a Batch API and a flex tier.
    """
    console = Console(highlight=False)
    routes = _routes(vendor)
    table = Table(box=box.SIMPLE_HEAD, padding=0, pad_edge=False)
    table.add_column("model", overflow="fold")
    for name in ("rows", "in", "out", *routes):
        table.add_column(name, justify="right")
    for name, model in sorted(found.models.items()):
        table.add_row(
            Text(printable(name)),  # '[...]' in a str is markup
            f"{model.rows:,}",
            f"{model.usage.input_tokens:,}",
            f"{model.usage.output_tokens:,}",
            *(dollars(model.usd(route)) for route in routes),
        )
    if found.models:
        console.print(table)
    if in_batches:
        console.print(f"Rows in batches at the provider already: {in_batches:,}.")
    for line in _words(found, limits, settings, vendor):
        console.print(line, markup=False, soft_wrap=True)


def _routes(vendor: Vendor) -> list[PricedRoute]:
    """Return the routes that a vendor offers."""
    offered: dict[PricedRoute, bool] = {
        "live": True,
        "batch": vendor.batches is not None,
        "flex": "flex" in vendor.tiers,
        "pack": True,
    }
    return [route for route, is_offered in offered.items() if is_offered]


def _words(found: Forecast, limits: Limits, settings: BulkSettings, vendor: Vendor) -> list[str]:
    again = f" ({found.again:,} of them again, by --retry-on)" if found.again else ""
    known = f"{found.answered:,} have a response already, and {found.bad:,} cannot be read"
    lines = [
        f"Rows: {found.read:,}, of which {found.to_send:,} would be sent{again}, {known}.",
        f"Duplicates: {found.duplicates:,} (the same request as an earlier row).{_sharing(found)}",
    ]
    if found.first_bad is not None:
        reason = printable(found.first_bad.reason)
        lines.append(f"The first row that cannot be read is row {found.first_bad.number}: {reason}")
        lines += _other_bad(found)
    least_s = found.least_s(limits)
    lines.append(
        "Time: unknown, because no limit is set; as fast as the provider responds."
        if least_s is None
        else f"Time: at least {seconds(least_s)}, by the limits that are set."
    )
    if settings.deadline_s is not None and least_s is not None and least_s > settings.deadline_s:
        lines.append(f"--deadline {settings.deadline_s:g} would stop the run before its last row.")
    route = cheapest_route(found, settings, vendor)
    lines += _cost(found, settings, route)
    lines.append(f"Route: {_route(settings, route, vendor)}")
    if settings.route == "pack" and found.misfits:
        lines.append(_misfits(found.misfits))
    lines.append(f"Tokens and cost are estimates.{_lengths(found)} Nothing was sent.")
    return lines


def _other_bad(found: Forecast) -> Iterator[str]:
    """Yield a sentence for each further reason why rows cannot be read."""
    others = [kind for kind in found.bad_kinds.values() if kind[0] is not found.first_bad]
    for row, count in sorted(others, key=lambda kind: -kind[1])[:_MOST_REASONS]:
        are = "1 of the others is" if count == 1 else f"{count:,} of the others are like"
        yield f"{are} row {row.number}: {printable(row.reason)}"


def _sharing(found: Forecast) -> str:
    return " With --cacheable they would share its response." if found.unshared else ""


_BASES: dict[OutputBasis, str] = {
    "responses": "{}, like the latest ones in OUTPUT",
    "schema": "{}, the longest response that the schema allows, without reasoning",
    "max_tokens": "max_tokens, or 256 tokens if a row does not set it",
    "default": "max_tokens, or 256 tokens if a row does not set it",
}


def _lengths(found: Forecast) -> str:
    """Return how long a response is taken to be: one sentence, or one for each model."""
    assumed: dict[str, list[str]] = {}  # {words: models}
    for name, model in sorted(found.models.items()):
        tokens = "1 token" if model.output_tokens == 1 else f"{model.output_tokens or 0:,} tokens"
        assumed.setdefault(_BASES[model.basis].format(tokens), []).append(printable(name))
    whose = {words: f" of {', '.join(names)}" for words, names in assumed.items()}
    return "".join(
        f" Assumed length of a response{whose[words] if len(assumed) > 1 else ''}: {words}."
        for words in assumed
    )


def cheapest_route(found: Forecast, settings: BulkSettings, vendor: Vendor) -> PricedRoute:
    """Return the route that a run takes; of "auto" the cheapest that the deadline allows.

    Args:
        found: the estimate of rows, tokens, cost and time.
        settings: the settings of the run.
        vendor: the vendor of the endpoint.
    """
    if settings.route != "auto":
        return settings.route
    usual, left_s = Routing(), settings.deadline_s or 0.0
    from_s: dict[PricedRoute, float] = {
        "live": 0.0,
        "batch": usual.batch_from_s,
        "flex": usual.flex_from_s,
        "pack": inf,
    }
    costs: dict[PricedRoute, Decimal] = {
        route: usd - found.cache_saves_of(route)
        for route in _routes(vendor)
        if left_s >= from_s[route] and (usd := found.usd(route)) is not None
    }
    return min(costs, key=costs.__getitem__) if costs else "live"


def _cost(found: Forecast, settings: BulkSettings, route: PricedRoute) -> list[str]:
    usd, most = found.usd(route), settings.max_cost
    if found.unpriced:
        names = ", ".join(map(printable, found.unpriced))
        how = "callsheet prices lists the models; --prices adds one"
        lines = [f"Cost: unknown, because no price is known for {names} ({how})."]
        refused = f"With --max-cost {most}, no call of unknown price would be sent."
        return lines if most is None else [*lines, refused]
    spent = found.spent
    before = f", in addition to {dollars(spent.cost_usd)} spent" if spent.at_most_usd else ""
    before += f" and up to {dollars(spent.open_usd)} not known" if spent.open_usd else ""
    lines = [f"Cost: about {dollars(usd)}{before}."]
    if saved := found.cache_saves_of(route):
        lines.append(_of_cache(saved, found.cache_reads))
    if most is not None and usd is not None and spent.at_most_usd + usd > most:
        lines.append(f"--max-cost {most} would stop the run before its last row.")
    return lines


def _of_cache(saved: Decimal, reads: int) -> str:
    if saved < 0:
        return f"Prompt cache: writing to it costs about {dollars(-saved)} in addition."
    return f"Prompt cache: saves about {dollars(saved)} of that; {_rows(reads)} read from it."


def _route(settings: BulkSettings, route: PricedRoute, vendor: Vendor) -> str:
    if settings.route != "auto":
        return f"{route}, as --route states."
    if settings.deadline_s is None or settings.deadline_s < Routing().batch_from_s:
        return f"{route}; with a --deadline of an hour or more, the cheapest route that meets it."
    if vendor.batches is None:
        why = f"because Callsheet supports no Batch API of {vendor.title}"
        return f"{route}, {why}.{batches_hint(vendor)}"
    return f"{route}, the cheapest that meets the deadline."
