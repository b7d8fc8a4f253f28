"""`callsheet run`: send every request of a file, and write the responses to another file."""

import os
import sys
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TextIO, cast

import attrs
import click
import trio
from rich.console import Console
from rich.file_proxy import FileProxy
from rich.text import Text

from ...actors import (
    Budget,
    CacheForecast,
    CachePolicy,
    Json,
    PriceBook,
    PromptCaching,
    TroupeSettings,
    UnwrittenCosts,
    Vendor,
    default_recipe,
    vendor_named,
)
from ...bulk.reading.opening import RowsAhead, is_file, open_rows
from ...bulk.reading.settings import Form
from ...bulk.reading.source import state_of
from ...bulk.settings import BulkSettings, Fsync, RetriedReason, RunRoute
from ...bulk.tables.table_file import is_table
from ...endpoints import BUILTIN, EndpointChoice
from ...wording import printable
from ..configuration import (
    config_options,
    configured,
    ledger_from,
    limits_from,
    shared_stores,
    timeouts_from,
    with_config,
)
from ..files import STDOUT
from ..options import (
    chosen_endpoint,
    chosen_ledger,
    chosen_prices,
    default_model,
    ledger_option,
    limit_options,
    prices_option,
    prompt_caching_option,
    provider_options,
    set_up_logging,
    timeout_option,
    verbose_option,
)
from ..parameters import ABOVE_ZERO, Name, SuggestingChoice
from ..sections import option
from .dry_run import estimate
from .job import BUILT_IN, BulkJob, run_job
from .json_summary import JsonCommand, note_comparison, summary_of, write_summary
from .options import (
    check_files,
    metrics_of,
    metrics_option,
    output_options,
    read_options,
    read_settings,
    retry_on_option,
    strictly,
)
from .preparing import (
    STDIN,
    check_input,
    check_route,
    check_table,
    limits_of_run,
    rows_to_come,
)
from .report import report
from .resume import ResumeCheck
from .sharing import run_shared_option, shared_run, workers_option

__all__ = ["run"]


_MAX_IN_FLIGHT = 1000  # calls; a limits file that is read again may raise its limit up to this
_CACHE_BYTES = 16 * 1024**2


def _dollars(_: click.Context, __: click.Parameter, value: str | None) -> Decimal | None:
    if value is None:
        return None
    try:
        return Budget(value.lstrip("$")).usd
    except ValueError as error:
        raise click.BadParameter(str(error).removeprefix("usd ")) from None


@click.command(
    cls=JsonCommand,
    short_help="Send every request of a file, and write the responses to a file.",
    page="docs/bulk.md",
    examples=(
        "run requests.jsonl responses.jsonl --provider openai --max-cost 25",
        "run reviews.csv labels.csv --template '{{ text }}' --schema 'label: good|bad'",
    ),
)
@click.argument("source", metavar="INPUT", type=click.Path(readable=False, allow_dash=True))
@click.argument("output", metavar="OUTPUT", type=click.Path(readable=False, path_type=Path))
@provider_options
@option(
    "--model",
    section="Provider",
    metavar="MODEL",
    type=Name(),
    help="The model of rows that name none. Default: for all but embeddings, the provider's "
    f"default model, if it has one; with {BUILTIN}, that of the built-in recipe of callsheet "
    "compose.",
)
@option(
    "--other-provider",
    section="Provider",
    is_flag=True,
    help="Continue although OUTPUT has responses of another provider.",
)
@option(
    "--pay-again",
    section="Provider",
    is_flag=True,
    help="Send rows again that are in batches at the provider, and pay for them twice.",
)
@limit_options
@run_shared_option
@workers_option
@timeout_option
@option(
    "--limits",
    "limits_file",
    section="Limits",
    metavar="FILE",
    type=click.Path(dir_okay=False, readable=False, path_type=Path),
    help="A TOML file with rpm, tpm and max_concurrency. SIGHUP reads it again.",
)
@option(
    "--deadline",
    section="Limits",
    type=ABOVE_ZERO,
    metavar="SECONDS",
    help="The maximum time for the whole run.",
)
@option(
    "--max-cost",
    section="Cost",
    metavar="USD",
    callback=_dollars,
    help="The maximum cost of all responses in OUTPUT. A call that might exceed it is not sent.",
)
@prices_option
@ledger_option
@option(
    "--route",
    section="Cost",
    type=SuggestingChoice(["auto", "live", "batch", "pack"]),
    default="auto",
    show_default=True,
    help="How rows are sent. live: one call per row. batch: the provider's Batch API. pack: many "
    "rows per call. auto: the cheapest route that meets --deadline.",
)
@prompt_caching_option
@retry_on_option
@option(
    "--yes",
    "is_confirmed",
    section="Cost",
    is_flag=True,
    help="Do not ask before most rows of an earlier run are sent again because they have changed.",
)
@option(
    "--dry-run",
    section="Cost",
    is_flag=True,
    help="Estimate rows, tokens, cost and time without sending anything.",
)
@read_options
@output_options
@config_options
@metrics_option
@verbose_option
def run(
    *,
    source: str,
    output: Path,
    provider: str | None,
    base_url: str | None,
    rpm: float | None,
    tpm: float | None,
    max_concurrency: int,
    workers: int,
    timeout: float,
    form: Form,
    template: str | None,
    system: str | None,
    fields: dict[str, str],
    delimiter: str | None,
    encoding: str | None,
    sheet: str | None,
    max_tokens: int | None,
    temperature: float | None,
    schema: type[dict[str, Json]] | None,
    cacheable: bool,
    max_line_bytes: int,
    strict: bool,
    model: str | None,
    price_file: str | None,
    limits_file: Path | None,
    max_cost: Decimal | None,
    deadline: float | None,
    route: RunRoute,
    prompt_caching: PromptCaching,
    retry_on: tuple[RetriedReason, ...],
    unordered: bool,
    window: int,
    fsync: Fsync,
    keep: bool,
    other_provider: bool,
    pay_again: bool,
    is_confirmed: bool,
    dry_run: bool,
    ledger: Path | None,
    events: Path | None,
    page: Path | None,
    inspect: Path | None,
    as_json: bool,
    verbose: bool,
) -> None:
    """Send every request in INPUT, and write the responses to OUTPUT in the same order.

    INPUT is a file of JSON Lines, JSON, CSV, Parquet or Excel, which may be compressed; - reads
    standard input. Every response is written to disk before it is reported. If the run is stopped,
    the same command continues it: it sends only rows that have no response yet. Rows that failed
    are listed in OUTPUT.errors.jsonl, with the reason, and are sent again by the next run.

    An OUTPUT whose name ends in .csv, .tsv, .parquet or .xlsx is a table: the columns of INPUT,
    then the text or the fields of --schema, the cost, the tokens and the error of each row.

    Ctrl-C waits for the calls in flight; a second Ctrl-C stops at once. SIGUSR1 pauses the run and
    resumes it.
    """
    console = Console(stderr=True, highlight=False)
    above = cast("TextIO", FileProxy(console, sys.stderr))  # above the live display
    set_up_logging(is_verbose=verbose, file=above if console.is_terminal else None)
    config, choice = configured(), chosen_endpoint(base_url, provider)
    check_route(route, choice)
    defaults = limits_from(config, rpm=rpm, tpm=tpm, in_flight=max_concurrency)
    limits = limits_of_run(limits_file, defaults)
    check_input(source, output)
    prices = chosen_prices(price_file, choice)
    ledger_file = chosen_ledger(ledger, choice)
    reading = read_settings(
        model=model,
        chat_model=_usual_model(choice),
        form=form,
        template=template,
        system=system,
        fields=fields,
        delimiter=delimiter,
        encoding=encoding,
        sheet=sheet,
        max_tokens=max_tokens,
        temperature=temperature,
        returns=schema,
        cacheable=cacheable,
        max_line_bytes=max_line_bytes,
        carries_columns=is_table(output),
    )
    if as_json and STDOUT in (events, page):
        raise click.UsageError("--json writes to stdout; give --events and --report other files")
    check_files(
        source,
        output,
        read={
            "--limits": limits_file,
            "--prices": None if price_file is None else Path(price_file),
        },
        ledger=ledger_file,
        events=events,
        page=page,
    )
    settings = BulkSettings(
        shared=shared_run(shared_stores(config), route, console),
        ordered=not unordered,
        window_rows=window,
        fsync=fsync,
        route=route,
        max_cost=max_cost,
        deadline_s=deadline,
        keep=keep,
        other_provider=other_provider,
        pay_again=pay_again,
        pay_for_changes=True,  # `ResumeCheck` asks
        retry_on=retry_on,
    )
    vendor = _vendor(choice)
    resume = ResumeCheck(
        source,
        output,
        settings,
        prices,
        vendor,
        provider=BUILT_IN if choice.endpoint is None else choice.endpoint.identity,
        is_confirmed=is_confirmed,
        on_compared=note_comparison,
    )
    state = None if source == STDIN else state_of(source)
    remark = partial(_print_once, console, set[str]())
    check_table(source, output, reading, state, remark)
    total = None if dry_run else rows_to_come(source, reading, state, resume, remark)
    settings = attrs.evolve(settings, total=total)
    with open_rows(source, reading, remark, state=state) as opened:
        rows = opened if dry_run or is_file(source) else RowsAhead(opened)
        if isinstance(rows, RowsAhead):
            resume.check_pipe(rows)
        unwritten: list[UnwrittenCosts] = []
        job = BulkJob(
            source=source,
            rows=strictly(rows) if strict else rows,
            output=output,
            reading=reading,
            choice=choice,
            settings=settings,
            troupe=lambda endpoint: with_config(
                config,
                TroupeSettings(
                    endpoint=endpoint,
                    limits=limits,
                    timeouts=timeouts_from(config, timeout),
                    max_in_flight=None if limits_file is None else _MAX_IN_FLIGHT,
                    prompt_caching=prompt_caching,
                    prices=prices,
                    metrics=metrics_of(model),
                    # Most duplicates are not in flight at the same time.
                    cache=CachePolicy(path=None, memory_bytes=_CACHE_BYTES) if cacheable else None,
                    ledger=ledger_from(config, ledger_file, unwritten.append),
                    inspect=inspect,
                ),
                choice,
            ),
            reread=lambda: limits_of_run(limits_file, defaults),
            has_limits_file=limits_file is not None,
            events=events,
            page=page,
            is_verbose=verbose,
            console=console,
            unwritten=unwritten,
            workers=workers,
        )
        if dry_run:
            estimate(job, vendor, _cache(choice, prices, prompt_caching), as_json=as_json)
            return
        trio.run(run_job, job)
        status = report(job)
        if as_json:
            write_summary(summary_of(job, status))
        if not (job.is_complete or is_file(source)):
            # A thread may still read from the pipe; closing the pipe would wait for it.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    sys.exit(status)


def _cache(
    choice: EndpointChoice, prices: PriceBook, caching: PromptCaching
) -> CacheForecast | None:
    return None if choice.endpoint is None else CacheForecast(choice.endpoint, prices, caching)


def _print_once(console: Console, printed: set[str], remark: str) -> None:
    """Print a remark on the input, above a live display if there is one; it may be read twice."""
    if remark not in printed:
        printed.add(remark)
        console.print(Text(printable(remark)), soft_wrap=True)


def _vendor(choice: EndpointChoice) -> Vendor:
    return vendor_named("compatible") if choice.endpoint is None else choice.endpoint.vendor


def _usual_model(choice: EndpointChoice) -> str | None:
    """Return the model of rows that name none, as `callsheet compose` chooses it."""
    try:
        return default_model(choice) or default_recipe().model
    except click.UsageError:
        return None  # the rows may name their models
