"""What `callsheet run --dry-run` prints."""

from rich import box
from rich.console import Console
from rich.table import Table

from ..actors import Limits
from ..bulk.forecast import Forecast
from ..bulk.settings import BulkSettings
from ..wording import dollars, printable, seconds

__all__ = ["print_forecast"]

_BATCH_FROM_S = 3600.0


def print_forecast(
    found: Forecast, limits: Limits, settings: BulkSettings, in_batches: int
) -> None:
    """Print what a run would take.

    Args:
        found: it.
        limits: how fast calls would go.
        settings: of the run.
        in_batches: rows that are in batches at the provider.
    """
    console = Console(highlight=False)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("model")
    for name in ("rows", "input tokens", "output tokens", "live", "by batches"):
        table.add_column(name, justify="right")
    for name, model in sorted(found.models.items()):
        table.add_row(
            printable(name),
            f"{model.rows:,}",
            f"{model.usage.input_tokens:,}",
            f"{model.usage.output_tokens:,}",
            dollars(model.live_usd),
            dollars(model.batch_usd),
        )
    if found.models:
        console.print(table)
    if in_batches:
        console.print(f"In batches at the provider already: {in_batches:,} of the rows.")
    for line in _words(found, limits, settings):
        console.print(line, markup=False, soft_wrap=True)


def _words(found: Forecast, limits: Limits, settings: BulkSettings) -> list[str]:
    fate = f"{found.answered:,} have an answer and {found.bad:,} cannot be read"
    lines = [
        f"Rows: {found.read:,}, of which {found.to_ask:,} would be asked for, {fate}.",
        f"Duplicates: {found.doubles:,} rows ask for what another one asks for.",
    ]
    if found.first_bad is not None:
        reason = printable(found.first_bad.reason)
        lines.append(f"The first that cannot be read is row {found.first_bad.number}: {reason}")
    least_s = found.least_s(limits)
    lines.append(
        "Time: no limit is set; as fast as the provider answers."
        if least_s is None
        else f"Time: at least {seconds(least_s)}, by the limits that are set."
    )
    if settings.deadline_s is not None and least_s is not None and least_s > settings.deadline_s:
        lines.append(f"--deadline {settings.deadline_s:g} would end it before its last row.")
    lines += _cost(found, settings)
    lines.append(f"Route: {_route(settings)}")
    lines.append("Tokens are estimates, and so is what they cost. Nothing was asked for.")
    return lines


def _cost(found: Forecast, settings: BulkSettings) -> list[str]:
    usd, most = found.usd(settings.route), settings.max_cost
    if found.unpriced:
        names = ", ".join(map(printable, found.unpriced))
        lines = [f"Cost: unknown, because no price is known for {names}; give it (--prices)."]
        refused = f"With --max-cost {most} nothing of unknown price would be asked for."
        return lines if most is None else [*lines, refused]
    before = f", and {dollars(found.spent_usd)} is spent" if found.spent_usd else ""
    lines = [f"Cost: about {dollars(usd)}{before}."]
    if most is not None and usd is not None and found.spent_usd + usd > most:
        lines.append(f"--max-cost {most} would end it before its last row.")
    return lines


def _route(settings: BulkSettings) -> str:
    if settings.route != "auto":
        return f"{settings.route}, as it was said."
    if settings.deadline_s is None or settings.deadline_s < _BATCH_FROM_S:
        return "live; with --deadline of an hour or more, what is cheapest in that time."
    return "what is cheapest within the deadline, the Batch API where there is one."
