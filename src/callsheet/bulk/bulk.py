"""Start a bulk run from Python: `async with bulk(rows, output, settings) as results`."""

import time
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from ..actors import InThread, TroupeSettings, in_worker_thread
from ..runtime import open_collapsing_nursery
from .engine.run import BulkRun
from .engine.store import StorePlace
from .engine.tree import RunOrder, run_tree
from .engine.writer import OutputState
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
    place = StorePlace(
        Path(output),
        settings,
        provider or troupe.endpoint.identity,
        OutputState(settings),
        ledger=troupe.ledger,
        in_thread=in_thread,
    )
    order = RunOrder(iter(rows), place, troupe, observers, in_thread, wall_clock)
    async with open_collapsing_nursery() as nursery:
        run: BulkRun = await nursery.start(run_tree, order)
        try:
            yield run
            run.leave()
            await run.wait_finished()
        except BaseException:
            run.leave(at_once=True)
            raise
