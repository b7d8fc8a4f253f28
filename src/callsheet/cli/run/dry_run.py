"""`callsheet run --dry-run`: refuse what the run would refuse, and estimate the rest."""

import errno
import os
from pathlib import Path

import attrs
import click
import trio

from ...actors import (
    CacheForecast,
    Endpoint,
    InspectionUnavailable,
    StorageError,
    TroupeSettings,
    Vendor,
    check_inspection,
    check_ledger,
    why_not_written,
)
from ...bulk.errors import BulkRefused
from ...bulk.files.known import KnownKeys, open_known
from ...bulk.forecast import forecast
from ...bulk.settings import Paths
from ...bulk.shared.local_workers import NoServer, find_server
from ...bulk.shared.sharing import naming_how_to_join
from ...bulk.start_checks import check_shared, check_start
from ...costs.report import ledger_words
from ...wording import printable
from ..files import is_stream
from .job import BUILT_IN, BulkJob
from .json_summary import estimate_of, write_summary
from .options import cannot_serve, check_metrics_address
from .report import print_forecast, rows_in_batches
from .resume import comparison_words

_NOWHERE = Endpoint("http://127.0.0.1:1/v1", vendor="compatible")  # for the built-in provider
_LOCAL = "unix:///workers"  # for the server that workers of this machine share


def estimate(job: BulkJob, vendor: Vendor, cached: CacheForecast | None, *, as_json: bool) -> None:
    """Print the estimate of a run. Nothing is sent, and no file is made or changed.

    Args:
        job: the run that would start.
        vendor: the vendor of its endpoint.
        cached: forecasts what the prompt cache saves; None for the built-in provider.
        as_json: True to print the estimate as JSON.

    Raises:
        BulkRefused: the run would be refused.
    """
    settings, output = job.settings, job.output
    with (
        naming_how_to_join(settings.shared, output),
        open_known(Paths(output).store) as known,
    ):
        troupe = _checked(job, known)
        found = forecast(job.rows, troupe.prices, known, cached, settings.retry_on)
        batched = rows_in_batches(output, None if settings.pay_again else known.owner)
        if as_json:
            summary = estimate_of(found, troupe.limits, settings, batched, vendor)
            write_summary(attrs.evolve(summary, input=job.source, output=str(output)))
            return
        if found.comparison.responses:
            click.echo(printable(comparison_words(output, found)))
        print_forecast(found, troupe.limits, settings, batched, vendor)


def _checked(job: BulkJob, known: KnownKeys) -> TroupeSettings:
    """Return the settings of the troupe of a run that would not be refused.

    Raises:
        BulkRefused: the run would be refused.
    """
    endpoint = job.choice.endpoint
    troupe = job.troupe(_NOWHERE if endpoint is None else endpoint)
    settings, provider = job.settings, BUILT_IN if endpoint is None else endpoint.identity
    refusals: tuple[type[Exception], ...] = (InspectionUnavailable, NoServer, *cannot_serve())
    try:
        trio.run(check_metrics_address)
        if job.events is not None:
            _check_events(job.events)
        if job.workers > 1 and settings.shared is None:
            find_server()
            settings = attrs.evolve(settings, shared=_LOCAL)
        check_start(job.output, known, troupe, settings, provider=provider, reading=job.reading)
        if job.settings.shared is not None and job.settings.shared.stores is not None:
            trio.run(check_shared, job.settings.shared.stores)
        if troupe.inspect is not None:
            check_inspection(troupe.inspect)
        if troupe.ledger is not None and troupe.ledger.path is not None:
            check_ledger(troupe.ledger.path)
    except StorageError as error:
        raise _refused(ledger_words(error)) from None
    except refusals as error:
        raise _refused(str(error)) from None
    return troupe


def _refused(text: str) -> BulkRefused:
    reason, _, remedy = text.partition("; ")
    return BulkRefused(reason, remedy)


def _check_events(path: Path) -> None:
    """Check that the file of events can be written, without making it.

    Raises:
        BulkRefused: it cannot.
    """
    place = path if path.exists() else path.parent
    if not is_stream(path) and not os.access(place, os.W_OK):
        why = why_not_written(OSError(errno.EACCES, os.strerror(errno.EACCES)))
        raise _refused(f"--events: cannot write {path}: {why}")
