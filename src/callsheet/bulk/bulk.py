"""Start a bulk run from Python: `async with bulk(rows, output, settings) as results`."""

import time
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from pathlib import Path

import attrs

from ..actors import InThread, TroupeSettings, in_worker_thread, trio_block
from ..runtime import open_collapsing_nursery
from .engine.run import BulkRun
from .engine.store import StorePlace
from .engine.tree import RunOrder, run_tree
from .engine.writer import OutputState
from .files.output import JSON_LINES
from .progress import RowObserver
from .reading.rows import RowLike, rows_of
from .reading.settings import ReadSettings
from .settings import BulkSettings
from .tables.table_file import TableFormat, is_table


@trio_block
async def bulk(
    rows: Iterable[RowLike],
    output: str | Path,
    troupe: TroupeSettings,
    settings: BulkSettings | None = None,
    *,
    provider: str | None = None,
    reading: ReadSettings | None = None,
    observers: Sequence[RowObserver] = (),
    in_thread: InThread = in_worker_thread,
    wall_clock: Callable[[], float] = time.time,
) -> AsyncGenerator[BulkRun]:
    """Send every row that has no response in OUTPUT yet, and write the responses there.

        requests = [Request.of(text, model="gpt-5.4-nano") for text in texts]
        async with bulk(requests, "answers.jsonl", TroupeSettings(endpoint=endpoint)) as results:
            async for result in results:
                ...  # on disk by now

    Rows are read in a thread, no faster than they are processed. Leaving the block early ends the
    run: it waits for calls in flight, unless an exception leaves the block.

    Args:
        rows: the rows of the input; a thread iterates over them. A row may be a `Request`, an id
            with its `Request`, or a dict of columns for the template of `reading`. Its key is made
            of the id and the request; without an id, of the request alone.
        output: the path of the output file; the run's other files are beside it. A name that ends
            in .csv, .tsv, .parquet or .xlsx makes it a table.
        troupe: the endpoint, the limits and the policies. Responses are streamed underneath, so
            that a row that is cancelled frees the server.
        settings: the settings of the run.
        provider: a stable name of the provider; by default the identity of the endpoint.
        reading: the template and the defaults for rows that are dicts.
        observers: called for each row when its result is on disk.
        in_thread: runs blocking disk access; tests in virtual time replace it by a function that
            runs it in the calling thread.
        wall_clock: returns the Unix time in seconds.

    Raises:
        BulkRefused: the run was not started; the text has the reason and the remedy.
        RuntimeError: the current thread does not run Trio; the message says what to use.
    """
    settings = settings or BulkSettings()
    reading = reading or ReadSettings()
    table = TableFormat(Path(output), reading.returns) if is_table(Path(output)) else None
    place = StorePlace(
        Path(output),
        settings,
        provider or troupe.endpoint.identity,
        OutputState(settings, JSON_LINES if table is None else table),
        ledger=troupe.ledger,
        in_thread=in_thread,
        wall_clock=wall_clock,
    )
    given = rows_of(rows, attrs.evolve(reading, carries_columns=table is not None))
    if table is not None:
        given = table.shape.fitted(given)
    order = RunOrder(given, place, troupe, observers, in_thread, wall_clock)
    async with open_collapsing_nursery() as nursery:
        run: BulkRun = await nursery.start(run_tree, order)
        try:
            yield run
            run.leave()
            await run.wait_finished()
        except BaseException:
            run.leave(at_once=True)
            raise
