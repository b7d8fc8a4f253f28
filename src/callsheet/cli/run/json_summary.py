"""The summary that `callsheet run --json` writes, however the run ends."""

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Literal, cast

import attrs
import click

from ...actors import Limits, Vendor
from ...bulk.errors import BulkRefused, EndingKind
from ...bulk.files.known import InputComparison
from ...bulk.forecast import Forecast, ModelForecast, OutputBasis, PricedRoute
from ...bulk.reading.errors import InputError
from ...bulk.settings import BulkSettings, Paths, RunRoute
from ...bulk.tables.shape import TableTooLarge
from ...wording import usd_text
from .. import INTERRUPTED
from ..configuration import ConfiguredCommand
from .job import BulkJob
from .report import cheapest_route, rows_left_in_batches

__all__ = [
    "JsonCommand",
    "RunEstimate",
    "RunSummary",
    "estimate_of",
    "summary_of",
    "write_summary",
]

_AS_JSON = "--json"
_WRITTEN = "callsheet.summary"  # in the context's meta: the summary was written
_COMPARED = "callsheet.compared"  # in it: {member: number of rows}
_FAILED = 1
_REFUSED = 2

RunResult = Literal["done", "failed", "stopped", "interrupted", "refused", "crashed", "estimated"]
"""How a run ended: each row has a response; some have none; before its last row; by a signal;
before its first call; by a bug; or nothing was to be sent (`--dry-run`)."""

SummaryReason = EndingKind | Literal["usage", "refused"]


@attrs.frozen(kw_only=True)
class ModelEstimate:
    """The estimate for the rows of one model.

    Args:
        model: the name of the model.
        rows: the rows to send.
        input_tokens: the tokens of their prompts.
        output_tokens: the tokens of their responses.
        basis: what the length of a response is estimated by: responses, the latest ones in OUTPUT;
            schema, the longest response that it allows; max_tokens; or default, 256 tokens.
        live_usd: the cost in USD of one call per row; null if the price is not known.
        batch_usd: the cost in USD by the Batch API.
        flex_usd: the cost in USD at the flex tier.
        pack_usd: the cost in USD in packs.
    """

    model: str
    rows: int
    input_tokens: int
    output_tokens: int
    basis: OutputBasis
    live_usd: str | None
    batch_usd: str | None
    flex_usd: str | None
    pack_usd: str | None


@attrs.frozen(kw_only=True)
class RunEstimate:
    """What a run would send and cost (`--dry-run`).

    Args:
        read: the rows of the input.
        to_send: the rows that would be sent.
        again: of these, rows that have a response already (`--retry-on`).
        answered: rows with a response from an earlier run.
        bad: rows that are no valid requests.
        duplicates: rows with the same request as an earlier row.
        route: the route whose cost `cost_usd` is.
        cost_usd: the cost in USD; null if a price is not known.
        least_s: the shortest time in seconds that the limits allow; null without limits.
        models: the estimates by model.
    """

    read: int
    to_send: int
    again: int
    answered: int
    bad: int
    duplicates: int
    route: PricedRoute
    cost_usd: str | None
    least_s: float | None
    models: Sequence[ModelEstimate]


@attrs.frozen(kw_only=True)
class Latency:
    """How long the responses of a run took, in seconds.

    Args:
        p50: half of them took no longer.
        p90: 90 % of them took no longer.
        p99: 99 % of them took no longer.
        max: the slowest one took so long.
    """

    p50: float
    p90: float
    p99: float
    max: float


@attrs.frozen(kw_only=True)
class RunSummary:
    """How a run of `callsheet run` ended. Amounts of USD are text with all their digits.

    Args:
        version: the version of this format.
        result: how the run ended.
        exit_status: the exit status of the command.
        reason: why the run did not start, or ended before its last row; null if it did not.
        message: the same as a sentence, with the remedy.
        problems: what else failed, such as the report.
        input: INPUT, as it was given; null if the command line has none.
        output: OUTPUT, as it was given; null as for `input`.
        errors_file: the file that lists the rows that failed; null if none failed.
        provider: the provider and its host; null if it was not asked.
        route: the value of `--route`.
        ended_at: the time of the end, ISO 8601 in UTC.
        seconds: the duration of the run.
        total: the rows of the input; null if the number is not known.
        read: the rows that were read.
        answered: rows with a response, those of earlier runs included.
        reused: rows with a response from an earlier run.
        failed: rows that were sent and have no response.
        bad: rows that are no valid requests.
        left: rows for the next run; null if `total` is.
        matched: rows whose response of an earlier run stays, by the comparison before the start;
            null if there is no response to compare with, or INPUT can be read only once.
        again: rows with such a response that are asked again (`--retry-on`); null as `matched`.
        changed: rows that have changed since they got a response; null as `matched`.
        new: the other rows without a response; null as `matched`.
        in_batches: rows in batches at the provider, which will be billed.
        errors: the number of failed rows by kind of error.
        cut: this run's responses that are not complete, by finish reason: length or content_filter.
        requests: the HTTP requests, and the rows sent in batches.
        input_tokens: the tokens of the prompts, as billed in this run.
        output_tokens: the tokens of the responses, as billed in this run.
        cost_usd: the cost of this run's responses in USD, as far as prices are known.
        unpriced: responses of this run whose cost is not known.
        maybe_billed: requests that may have been billed without a response, in all runs.
        unknown_usd: the most USD that responses without a known cost can have cost, in all runs.
        maybe_usd: the most USD that the requests in `maybe_billed` can have cost.
        spent_usd: what counts against `--max-cost`: the cost of all responses in OUTPUT,
            `unknown_usd` and `maybe_usd`.
        max_cost_usd: `--max-cost`; null if it is not given.
        workers: the most processes that worked on a shared run at the same time; null for a run of
            one process.
        given_again: how many times a row of a shared run was given to a further worker, because one
            had ended over it; each is in `maybe_billed`.
        latency_s: the durations of this run's responses; null without responses.
        estimate: the estimate of `--dry-run`; else null.
    """

    version: Literal[1] = 1
    result: RunResult
    exit_status: int
    reason: SummaryReason | None = None
    message: str | None = None
    problems: Sequence[str] = ()
    input: str | None = None
    output: str | None = None
    errors_file: str | None = None
    provider: str | None = None
    route: RunRoute | None = None
    ended_at: str = attrs.field(factory=lambda: _time(datetime.now(UTC)))
    seconds: float = 0.0
    total: int | None = None
    read: int = 0
    answered: int = 0
    reused: int = 0
    failed: int = 0
    bad: int = 0
    left: int | None = None
    matched: int | None = None
    again: int | None = None
    changed: int | None = None
    new: int | None = None
    in_batches: int = 0
    errors: Mapping[str, int] = attrs.field(factory=dict[str, int])
    cut: Mapping[str, int] = attrs.field(factory=dict[str, int])
    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: str = "0"
    unpriced: int = 0
    maybe_billed: int = 0
    unknown_usd: str = "0"
    maybe_usd: str = "0"
    spent_usd: str = "0"
    max_cost_usd: str | None = None
    workers: int | None = None
    given_again: int = 0
    latency_s: Latency | None = None
    estimate: RunEstimate | None = None


def summary_of(job: BulkJob, status: int) -> RunSummary:
    """Return the summary of a run that has ended.

    Args:
        job: the run, which has ended.
        status: the exit status of the command.
    """
    now = job.progress
    reason, message = _why(job)
    found = RunSummary(
        result=_result(job, status),
        exit_status=status,
        reason=reason,
        message=message,
        problems=job.problems,
        input=job.source,
        output=str(job.output),
        provider=job.provider or None,
        route=job.settings.route,
        ended_at=_time(job.ended_at),
        total=job.settings.total,
        left=job.settings.total,
        max_cost_usd=_usd(job.settings.max_cost),
    )
    if now is None:
        return found
    has_failed = now.failed or now.bad
    return attrs.evolve(
        found,
        errors_file=str(Paths(job.output).errors) if has_failed else None,
        seconds=round(now.now - now.started_at, 3),
        total=now.total,
        read=now.read,
        answered=now.answered,
        reused=now.reused,
        failed=now.failed,
        bad=now.bad,
        left=None if now.total is None else max(0, now.total - now.ended),
        in_batches=0 if job.is_complete else rows_left_in_batches(job.output),
        errors=dict(now.errors),
        cut=dict(now.cut),
        requests=max(job.series.attempts, now.requests),
        input_tokens=now.usage.input_tokens,
        output_tokens=now.usage.output_tokens,
        cost_usd=usd_text(now.cost_usd),
        unpriced=now.unpriced,
        maybe_billed=now.maybe_billed,
        unknown_usd=usd_text(now.unknown_usd),
        maybe_usd=usd_text(now.maybe_usd),
        spent_usd=usd_text(now.spent_usd),
        workers=None if now.shared is None else now.shared.most_workers,
        given_again=0 if now.shared is None else now.shared.again,
        latency_s=_latency(job),
    )


def estimate_of(
    found: Forecast,
    limits: Limits,
    settings: BulkSettings,
    in_batches: int,
    vendor: Vendor,
) -> RunSummary:
    """Return the summary of `--dry-run`.

    Args:
        found: the estimate of rows, tokens, cost and time.
        limits: the rate limits of the run.
        settings: the settings of the run.
        in_batches: the number of rows that are in batches at the provider already.
        vendor: the vendor of the endpoint.
    """
    route = cheapest_route(found, settings, vendor)
    spent = found.spent
    estimate = RunEstimate(
        read=found.read,
        to_send=found.to_send,
        again=found.again,
        answered=found.answered,
        bad=found.bad,
        duplicates=found.duplicates,
        route=route,
        cost_usd=_usd(found.usd(route)),
        least_s=found.least_s(limits),
        models=[_model(name, model) for name, model in sorted(found.models.items())],
    )
    return RunSummary(
        result="estimated",
        exit_status=0,
        route=settings.route,
        total=found.read,
        left=found.to_send,
        matched=found.comparison.matched - found.again,
        again=found.again,
        changed=found.comparison.changed,
        new=found.comparison.new,
        in_batches=in_batches,
        maybe_billed=spent.lost,
        unknown_usd=usd_text(spent.unknown_usd),
        maybe_usd=usd_text(spent.maybe_usd),
        spent_usd=usd_text(spent.at_most_usd),
        max_cost_usd=_usd(settings.max_cost),
        estimate=estimate,
    )


def note_comparison(found: InputComparison, again: int) -> None:
    """Note how the rows compare with earlier responses, for the summary of this command.

    Args:
        found: how the rows compare with the responses.
        again: the rows that are asked again although they have a response.
    """
    counts = {"matched": found.matched - again, "changed": found.changed, "new": found.new}
    click.get_current_context().meta[_COMPARED] = {**counts, "again": again}


def write_summary(summary: RunSummary) -> None:
    """Write a summary to stdout, as one line of JSON."""
    meta = click.get_current_context().meta
    meta[_WRITTEN] = True
    _write(attrs.evolve(summary, **meta.get(_COMPARED, {})))


class JsonCommand(ConfiguredCommand):
    """The command, which writes a summary with --json also where the run does not start."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments."""
        is_wanted = _AS_JSON in args  # parsing empties the list
        try:
            return super().parse_args(ctx, args)
        except click.ClickException as error:
            if is_wanted:
                _write(_not_started(error))
            raise

    def invoke(self, ctx: click.Context) -> object:
        """Run the command, and report why the run does not start."""
        try:
            return super().invoke(ctx)
        except (SystemExit, click.exceptions.Exit):
            raise
        except BaseException as error:
            if ctx.params["as_json"] and _WRITTEN not in ctx.meta:
                source, output = ctx.params["source"], str(ctx.params["output"])
                found = attrs.evolve(_not_started(error), input=source, output=output)
                _write(attrs.evolve(found, **ctx.meta.get(_COMPARED, {})))
            if isinstance(error, InputError | TableTooLarge | BulkRefused):
                click.echo(f"Error: {error}", err=True)
                ctx.exit(_REFUSED)
            raise


def _not_started(error: BaseException) -> RunSummary:
    """Return the summary of a run that was not started, or that a bug has ended."""
    reason: SummaryReason
    match error:
        case click.ClickException():
            reason, message = "usage", error.format_message()
        case BulkRefused():
            reason, message = "refused", str(error)
        case InputError() | TableTooLarge():
            reason, message = "input", str(error)
        case _ if _is_interrupt(error):
            return RunSummary(result="interrupted", exit_status=INTERRUPTED, reason="drained")
        case _:
            text = f"{type(error).__name__}: {error}"
            return RunSummary(result="crashed", exit_status=_FAILED, reason="crashed", message=text)
    return RunSummary(result="refused", exit_status=_REFUSED, reason=reason, message=message)


def _is_interrupt(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        return group.subgroup(KeyboardInterrupt) is not None
    return isinstance(error, KeyboardInterrupt)


def _write(summary: RunSummary) -> None:
    sys.stdout.write(f"{json.dumps(attrs.asdict(summary))}\n")
    sys.stdout.flush()


def _result(job: BulkJob, status: int) -> RunResult:
    if status == _REFUSED:
        return "refused"
    if job.crash is not None or (job.ending is not None and job.ending.kind == "crashed"):
        return "crashed"
    if status == INTERRUPTED:
        return "interrupted"
    if job.ending is not None:
        return "stopped"
    now = job.progress
    return "failed" if now is None or now.failed or now.bad else "done"


def _why(job: BulkJob) -> tuple[SummaryReason | None, str | None]:
    """Return why a run did not start or ended early: the kind, and a sentence."""
    if job.refused is not None:
        return "refused", job.refused
    if job.crash is not None:
        return "crashed", job.crash
    if job.ending is not None:
        return job.ending.kind, str(job.ending)
    if job.interrupted and not job.is_complete:
        return "drained", "the run was interrupted"
    return None, None


def _latency(job: BulkJob) -> Latency | None:
    latency = job.series.latency
    if not latency.count:
        return None
    p50, p90, p99 = (round(latency.percentile(p) or 0.0, 6) for p in (50, 90, 99))
    return Latency(p50=p50, p90=p90, p99=p99, max=round(latency.most, 6))


def _model(name: str, model: ModelForecast) -> ModelEstimate:
    return ModelEstimate(
        model=name,
        rows=model.rows,
        input_tokens=model.usage.input_tokens,
        output_tokens=model.usage.output_tokens,
        basis=model.basis,
        live_usd=_usd(model.live_usd),
        batch_usd=_usd(model.batch_usd),
        flex_usd=_usd(model.flex_usd),
        pack_usd=_usd(model.pack_usd),
    )


def _time(at: datetime) -> str:
    return at.isoformat(timespec="seconds")


def _usd(value: Decimal | None) -> str | None:
    return None if value is None else usd_text(value)
