"""The library's way: `async with bulk(rows, output, settings) as results`."""

import time
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import attrs
import trio

from ..actors import (
    CallEvent,
    InThread,
    Observer,
    TroupeSettings,
    ignore,
    in_worker_thread,
    open_troupe,
)
from ..runtime import open_collapsing_nursery
from .engine.routing import plan_run
from .engine.run import BulkRun
from .files.archive import Archive
from .progress import RowObserver
from .row import BadRow, Row
from .settings import BulkSettings

__all__ = ["bulk"]


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
    """Ask for every row that has no answer in OUTPUT yet, and write the answers there.

        async with bulk(rows, "answers.jsonl", TroupeSettings(endpoint=endpoint)) as results:
            async for result in results:
                ...  # on disk by now

    Rows are read in a thread, and no faster than their answers come. Whoever leaves the block
    early ends the run: what was sent is waited for, unless an exception leaves it.

    Args:
        rows: of the input; iterated over in a thread.
        output: the file of answers; what is known of them is beside it.
        troupe: whom to ask, and how fast. Answers are asked for in one piece, whatever it says:
            only so is all that the provider says in them.
        settings: of the run.
        provider: a name of the provider that stays the same; by default the endpoint's.
        observers: are told of each row when it has ended and is on disk.
        in_thread: runs what waits for the disk; in virtual time, which does not wait for threads,
            something that runs it on the spot.
        wall_clock: seconds of Unix time.

    Raises:
        BulkRefused: nothing was begun; says why, and the remedy.
    """
    settings = settings or BulkSettings()
    archive = Archive(Path(output), settings, provider or troupe.endpoint.identity)
    await in_thread(archive.open)
    is_done_with = False
    try:
        plan = plan_run(troupe, settings, archive.account, archive.paths.batches, archive.lane)
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
        )
        observer = _both(run.observe, plan.troupe.observer)
        async with (
            open_troupe(attrs.evolve(plan.troupe, observer=observer)) as cast,
            open_collapsing_nursery() as nursery,
        ):
            nursery.start_soon(run.run, cast)
            yield run
            run.drain()
        is_done_with = run.is_complete and not run.progress().failed and not settings.keep
    finally:
        with trio.CancelScope(shield=True):
            await in_thread(partial(archive.close, remove=is_done_with))


def _both(first: Observer, second: Observer) -> Observer:
    if second is ignore:
        return first

    def observe(event: CallEvent) -> None:
        first(event)
        second(event)

    return observe
