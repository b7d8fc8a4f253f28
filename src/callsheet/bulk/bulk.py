"""Start a bulk run from Python: `async with bulk(rows, output, settings) as results`."""

import time
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import attrs
import trio

from ..actors import (
    CallEvent,
    InThread,
    LedgerPolicy,
    Observer,
    StorageError,
    TroupeSettings,
    UnwrittenCosts,
    cost_bound,
    ignore,
    in_worker_thread,
    lines_in,
    open_troupe,
)
from ..runtime import open_collapsing_nursery
from .engine.routing import RunJournal, plan_run
from .engine.run import BulkRun
from .errors import BulkRefused
from .files.archive import Archive
from .progress import RowObserver
from .row import BadRow, Row
from .settings import BulkSettings


@asynccontextmanager
async def bulk(
    rows: Iterable[Row | BadRow],
    output: str | Path,
    troupe: TroupeSettings,
    settings: BulkSettings | None = None,
    *,
    provider: str | None = None,
    observers: Sequence[RowObserver] = (),
    in_thread: InThread = in_worker_thread,
    wall_clock: Callable[[], float] = time.time,
) -> AsyncGenerator[BulkRun]:
    """Send every row that has no response in OUTPUT yet, and write the responses there.

        async with bulk(rows, "answers.jsonl", TroupeSettings(endpoint=endpoint)) as results:
            async for result in results:
                ...  # on disk by now

    Rows are read in a thread, no faster than they are processed. Leaving the block early ends the
    run: it waits for calls in flight, unless an exception leaves the block.

    Args:
        rows: the rows of the input; a thread iterates over them.
        output: the path of the output file; the run's other files are beside it.
        troupe: the endpoint, the limits and the policies. Responses are streamed underneath, so
            that a row that is cancelled frees the server.
        settings: the settings of the run.
        provider: a stable name of the provider; by default the identity of the endpoint.
        observers: called for each row when its result is on disk.
        in_thread: runs blocking disk access; tests in virtual time replace it by a function that
            runs it in the calling thread.
        wall_clock: returns the Unix time in seconds.

    Raises:
        BulkRefused: the run was not started; the text has the reason and the remedy.
    """
    settings = settings or BulkSettings()
    archive = Archive(Path(output), settings, provider or troupe.endpoint.identity)
    await in_thread(archive.open)
    may_remove_store = False
    try:
        bound = cost_bound(troupe)
        archive.account = archive.account.priced(bound.usd_of_tokens)
        journal = RunJournal(archive.paths.batches, archive.owner)
        plan = plan_run(troupe, settings, archive.account, journal, archive.lane)
        has_batches = plan.troupe.batches is not None
        if has_batches or settings.pay_again:
            await in_thread(partial(_begin_batches, archive, has_batches=has_batches))
        run = BulkRun(
            iter(rows),
            archive,
            settings,
            prepare=plan.prepare,
            ahead=plan.ahead,
            in_flight=troupe.limits.in_flight,
            max_in_flight=max(troupe.limits.in_flight, troupe.max_in_flight or 0),
            is_recovered=plan.is_recovered,
            observers=observers,
            in_thread=in_thread,
            wall_clock=wall_clock,
            bound=bound,
            remark=plan.remark,
        )
        observer = _both(run.observe, plan.troupe.observer)
        unwritten: list[UnwrittenCosts] = []
        cast_of_run = attrs.evolve(
            plan.troupe, observer=observer, ledger=_noting(plan.troupe.ledger, unwritten)
        )
        try:
            async with open_troupe(cast_of_run) as cast, open_collapsing_nursery() as nursery:
                nursery.start_soon(run.run, cast)
                yield run
                run.drain()
        finally:
            with trio.CancelScope(shield=True):
                await in_thread(partial(_keep_unwritten, archive, unwritten, plan.troupe.ledger))
                if has_batches:
                    await in_thread(partial(_end_batches, archive))
        may_remove_store = run.is_complete and not run.progress().failed and not settings.keep
    finally:
        with trio.CancelScope(shield=True):
            await in_thread(partial(archive.close, remove=may_remove_store))


def _begin_batches(archive: Archive, *, has_batches: bool) -> None:
    """Note whether rows may be in batches from now on.

    Raises:
        BulkRefused: the store cannot be written.
    """
    try:
        archive.note_batches(in_batches=has_batches)
    except StorageError as error:
        raise BulkRefused(f"{error.name} cannot be used: {error.reason}", error.remedy) from None


def _end_batches(archive: Archive) -> None:
    """Note whether rows are in batches after the run."""
    with suppress(StorageError):  # then the next run refuses to go on without the journal
        archive.note_batches(in_batches=lines_in(archive.paths.batches) > 0)


def _both(first: Observer, second: Observer) -> Observer:
    if second is ignore:
        return first

    def observe(event: CallEvent) -> None:
        first(event)
        second(event)

    return observe


def _noting(ledger: LedgerPolicy | None, unwritten: list[UnwrittenCosts]) -> LedgerPolicy | None:
    """Return the settings of a ledger that notes what it cannot write."""
    return None if ledger is None else attrs.evolve(ledger, on_unwritten=unwritten.append)


def _keep_unwritten(
    archive: Archive, unwritten: Sequence[UnwrittenCosts], ledger: LedgerPolicy | None
) -> None:
    """Store in the archive what a ledger could not write, unless it waits beside the ledger."""
    if not unwritten:
        return
    costs = unwritten[-1]  # has all earlier ones
    if costs.kept_in is None and archive.keep_unwritten(costs):
        costs = attrs.evolve(costs, kept_in=archive.paths.store)
    if ledger is not None and ledger.on_unwritten is not None:
        ledger.on_unwritten(costs)
