"""`callsheet run`: a file of requests, and a file of answers."""

import os
import sys
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TextIO, cast

import click
import trio
from rich.console import Console
from rich.file_proxy import FileProxy

from ...actors import CachePolicy, LedgerPolicy, Limits, TroupeSettings
from ...bulk.errors import BulkRefused
from ...bulk.files.known import open_known
from ...bulk.forecast import forecast
from ...bulk.limits_table import read_limits
from ...bulk.reading.errors import InputError
from ...bulk.reading.opening import count_rows, open_rows
from ...bulk.reading.settings import Form
from ...bulk.settings import BulkSettings, Fsync, Paths, RunRoute
from ...endpoints import EndpointChoice
from ..options import (
    chosen_endpoint,
    chosen_ledger,
    chosen_prices,
    ledger_option,
    prices_option,
    provider_options,
    set_up_logging,
    usual_model,
)
from .job import BulkJob, run_job
from .options import check_extra_files, read_options, read_settings, strictly
from .report import print_forecast, report, rows_in_batches

__all__ = [
    "run",
]


_REFUSED = 2
_MOST_IN_FLIGHT = 1000  # that a file of limits may come to allow
_CACHE_BYTES = 16 * 1024**2
_STDIN = "-"


def _dollars(_: click.Context, __: click.Parameter, value: str | None) -> Decimal | None:
    if value is None:
        return None
    try:
        usd = Decimal(value.lstrip("$"))
    except InvalidOperation:
        raise click.BadParameter(f"{value!r} is no sum of US dollars, such as 2.50") from None
    if not usd.is_finite() or usd < 0:
        raise click.BadParameter(f"{value!r} is no sum that can be spent")
    return usd


@click.command()
@click.argument("source", metavar="INPUT")
@click.argument("output", metavar="OUTPUT", type=click.Path(path_type=Path))
@provider_options
@read_options
@click.option(
    "--model",
    metavar="M",
    help="For rows that name none; else the provider's usual one, where it has one.",
)
@prices_option
@click.option(
    "--limits",
    "limits_file",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A TOML file with rpm, tpm and max_concurrency, read again at SIGHUP.",
)
@click.option(
    "--max-cost",
    metavar="USD",
    callback=_dollars,
    help="What all answers in OUTPUT may cost. No call is sent that might go beyond it.",
)
@click.option(
    "--deadline",
    type=click.FloatRange(0, min_open=True),
    metavar="S",
    help="Seconds for the whole run.",
)
@click.option(
    "--route",
    type=click.Choice(["auto", "live", "batch", "pack"]),
    default="auto",
    show_default=True,
    help="How rows are sent: what is cheapest by the deadline, at once, by the provider's "
    "Batch API, or many in a call.",
)
@click.option("--unordered", is_flag=True, help="Write answers as they come.")
@click.option(
    "--window",
    type=click.IntRange(1),
    default=10_000,
    show_default=True,
    metavar="ROWS",
    help="Rows that may be read and not yet written.",
)
@click.option(
    "--fsync",
    type=click.Choice(["full", "normal", "off"]),
    default="full",
    show_default=True,
    help="full outlives a power cut; normal may lose the last answers in one.",
)
@click.option(
    "--keep/--no-keep",
    default=True,
    show_default=True,
    help="Keep OUTPUT.callsheet when all is done, so that a longer INPUT asks only for what is "
    "new.",
)
@click.option(
    "--other-provider",
    is_flag=True,
    help="Go on although OUTPUT has answers of another provider.",
)
@click.option("--dry-run", is_flag=True, help="Say what it would take, and ask for nothing.")
@ledger_option
@click.option(
    "--events",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write what becomes of each row here, as JSON Lines.",
)
@click.option(
    "--report",
    "page",
    metavar="FILE.html",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a page about the run at its end; its plots need the extra callsheet[plot].",
)
@click.option("--verbose", "-v", is_flag=True, help="Log every call.")
def run(
    *,
    source: str,
    output: Path,
    provider: str | None,
    base_url: str | None,
    rpm: float | None,
    tpm: float | None,
    max_concurrency: int,
    form: Form,
    template: str | None,
    system: str | None,
    fields: dict[str, str],
    delimiter: str | None,
    max_tokens: int | None,
    temperature: float | None,
    cacheable: bool,
    max_line_bytes: int,
    strict: bool,
    model: str | None,
    price_file: str | None,
    limits_file: Path | None,
    max_cost: Decimal | None,
    deadline: float | None,
    route: RunRoute,
    unordered: bool,
    window: int,
    fsync: Fsync,
    keep: bool,
    other_provider: bool,
    dry_run: bool,
    ledger: Path | None,
    events: Path | None,
    page: Path | None,
    verbose: bool,
) -> None:
    """Answer every request in INPUT, in OUTPUT: a line each, in the same order.

    INPUT is a file, or - for standard input. Whatever stops it, the same command goes on from
    there: an answer that has come is kept, and only what has none is asked for. Rows without an
    answer are told of in OUTPUT.errors.jsonl, and asked for again the next time.

    Ctrl-C waits for what was sent; a second one does not. SIGUSR1 pauses, and goes on.
    """
    console = Console(stderr=True, highlight=False)
    above = cast("TextIO", FileProxy(console, sys.stderr))  # the display, if there is one
    set_up_logging(is_verbose=verbose, file=above if console.is_terminal else None)
    choice = chosen_endpoint(base_url, provider)
    usual = Limits(rpm=rpm, tpm=tpm, in_flight=max_concurrency)
    limits = _limits(limits_file, usual)
    _check_input(source, output)
    prices = chosen_prices(price_file)
    books = chosen_ledger(ledger, choice)
    reading = read_settings(
        model=model or _usual(choice),
        form=form,
        template=template,
        system=system,
        fields=fields,
        delimiter=delimiter,
        max_tokens=max_tokens,
        temperature=temperature,
        cacheable=cacheable,
        max_line_bytes=max_line_bytes,
    )
    check_extra_files(
        {"--events": events, "--report": page},
        _taken(source, output)
        | {
            "--limits": limits_file,
            "--prices": None if price_file is None else Path(price_file),
            "--ledger": books,
        },
    )
    try:
        total = None if dry_run else count_rows(source, reading)
    except InputError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(_REFUSED)
    settings = BulkSettings(
        ordered=not unordered,
        window_rows=window,
        fsync=fsync,
        route=route,
        max_cost=max_cost,
        deadline_s=deadline,
        keep=keep,
        other_provider=other_provider,
        total=total,
    )
    try:
        with open_rows(source, reading) as rows:
            if dry_run:
                with open_known(Paths(output).store) as known:
                    found = forecast(rows, prices, known)
                    print_forecast(found, limits, settings, rows_in_batches(output))
                return
            job = BulkJob(
                source=source,
                rows=strictly(rows) if strict else rows,
                output=output,
                choice=choice,
                settings=settings,
                troupe=lambda endpoint: TroupeSettings(
                    endpoint=endpoint,
                    limits=limits,
                    max_in_flight=None if limits_file is None else _MOST_IN_FLIGHT,
                    prices=prices,
                    # Duplicates are mostly not in flight at the same time.
                    cache=CachePolicy(path=None, memory_bytes=_CACHE_BYTES) if cacheable else None,
                    ledger=None if books is None else LedgerPolicy(path=books),
                ),
                reread=lambda: _limits(limits_file, usual),
                has_limits_file=limits_file is not None,
                events=events,
                page=page,
                is_verbose=verbose,
                console=console,
            )
            trio.run(run_job, job)
            status = report(job)
            if source == _STDIN and not job.is_complete:
                # A thread may still wait for the pipe, and would hold the interpreter up.
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)
    except (InputError, BulkRefused) as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(_REFUSED)
    sys.exit(status)


def _usual(choice: EndpointChoice) -> str | None:
    try:
        return usual_model(choice)
    except click.UsageError:
        return None  # rows may name one


def _limits(file: Path | None, usual: Limits) -> Limits:
    if file is None:
        return usual
    try:
        return read_limits(file, usual)
    except ValueError as error:
        raise click.UsageError(f"--limits: {error}") from None


def _taken(source: str, output: Path) -> dict[str, Path | None]:
    """The files of a run that need no option, by what they are called."""
    paths = Paths(output)
    beside = (paths.store, paths.errors, paths.batches, paths.reserve)
    return {
        "INPUT": None if source == _STDIN else Path(source),
        "OUTPUT": output,
        **{f"OUTPUT{path.name.removeprefix(output.name)}": path for path in beside},
    }


def _check_input(source: str, output: Path) -> None:
    if str(output) == _STDIN:
        raise click.UsageError("OUTPUT must be a file, because a run that is stopped goes on in it")
    if source == _STDIN:
        return
    try:
        if Path(source).samefile(output):
            raise click.UsageError("INPUT and OUTPUT are the same file; give another OUTPUT")
    except OSError:
        pass  # one of them is not there
