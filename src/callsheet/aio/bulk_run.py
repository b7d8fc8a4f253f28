"""Bulk runs for programs that run asyncio."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path
from typing import Self, TypeVar, final

from .. import bulk as trio_bulk
from ..actors import InThread, Limits, TroupeSettings, in_worker_thread
from ..bulk import (
    BulkRun,
    BulkSettings,
    Progress,
    ReadSettings,
    Result,
    RowLike,
    RowObserver,
    RunEnding,
)
from ..sync.bulk_run import BlockingBulkRun
from ..sync.door import BlockingDoor
from .bridge import AsyncioDoor
from .opening import AsyncioOpening
from .stream import AsyncioPieces

FrameT = TypeVar("FrameT")

_WINDOW = 64  # results that may wait for the reader


def bulk(
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
) -> AbstractAsyncContextManager["AsyncioBulkRun"]:
    """Send every row that has no response in OUTPUT yet; see `callsheet.bulk.bulk`.

        async with bulk(requests, "answers.jsonl", TroupeSettings(endpoint=endpoint)) as results:
            async for result in results:
                ...  # on disk by now

    Args:
        rows: the rows of the input; a thread iterates over them.
        output: the path of the output file; the run's other files are beside it.
        troupe: the endpoint, the limits and the policies.
        settings: the settings of the run.
        provider: a stable name of the provider; by default the identity of the endpoint.
        reading: the template and the defaults for rows that are dicts.
        observers: called in the Trio thread for each row when its result is on disk.
        in_thread: runs blocking disk access.
        wall_clock: returns the Unix time in seconds.

    Raises:
        BulkRefused: the run was not started; the text has the reason and the remedy.
        RuntimeError: the current thread runs no loop of asyncio.
    """
    return AsyncioOpening(
        lambda: trio_bulk.bulk(
            rows,
            output,
            troupe,
            settings,
            provider=provider,
            reading=reading,
            observers=observers,
            in_thread=in_thread,
            wall_clock=wall_clock,
        ),
        "bulk run",
        AsyncioBulkRun,
    )


async def bulk_dataframe(
    frame: FrameT,
    *,
    output: str | Path,
    template: str,
    system: str | None = None,
    schema: str | Mapping[str, object] | None = None,
    returns: type[object] | None = None,
    model: str | None = None,
    troupe: TroupeSettings | None = None,
    settings: BulkSettings | None = None,
    reading: ReadSettings | None = None,
) -> FrameT:
    """Send a prompt for each row of a data frame, and return the frame with the answers.

    See `callsheet.bulk.bulk_dataframe`.

    Args:
        frame: a `DataFrame` of pandas or polars.
        output: the path of the output file, as for `bulk`.
        template: a Jinja2 template of the prompt, over the columns.
        system: a Jinja2 template of the system message.
        schema: the fields of each response, in the short form, or a JSON schema.
        returns: the class of each answer, as in `Request`; its members are the new columns.
        model: the model; by default the provider's usual one.
        troupe: the endpoint, the limits and the policies; by default the provider of the
            environment, as for `callsheet run`, or else the built-in one.
        settings: the settings of the run.
        reading: further settings of the requests, such as `max_tokens`.

    Raises:
        BulkRefused: the run was not started; the text has the reason and the remedy.
        BulkStopped: the run ended before its last row; OUTPUT has what was answered.
        TypeError: the frame is no data frame, or `returns` has no JSON schema.
        ValueError: the schema, the template or the columns are not valid.
        RuntimeError: the current thread runs no loop of asyncio.
    """
    async with AsyncioOpening(nullcontext, "bulk run", _door_itself) as door:
        return await door.call(
            lambda _: trio_bulk.bulk_dataframe(
                frame,
                output=output,
                template=template,
                system=system,
                schema=schema,
                returns=returns,
                model=model,
                troupe=troupe,
                settings=settings,
                reading=reading,
            )
        )


def _door_itself(door: AsyncioDoor[None]) -> AsyncioDoor[None]:
    return door


@final
class AsyncioBulkRun:
    """A bulk run, made by `callsheet.aio.bulk`; see `callsheet.bulk.BulkRun`.

    Iterate over it once to get results; each is on disk by then.

    Args:
        door: the calls to the Trio thread.

    Attributes:
        remark: a sentence about the route that the user may not expect; "" for none.
        lost_before: HTTP requests of earlier runs that may have been billed without a response.
    """

    def __init__(self, door: AsyncioDoor[BulkRun]) -> None:
        self._door = door
        self._blocking = BlockingBulkRun(BlockingDoor(door.thread))
        self._run = run = door.thread.resource
        self._results: AsyncioPieces[BulkRun, Result] | None = None
        self.remark = run.remark
        self.lost_before = run.lost_before

    def __repr__(self) -> str:
        return f"<AsyncioBulkRun in {self._door.thread!r}>"

    @property
    def ending(self) -> RunEnding | None:
        """Why the run ends, or has ended, before its input; None if it does not."""
        return self._run.ending

    @property
    def started_at(self) -> float:
        """The start of the run, in seconds on Trio's clock, as in `Progress`."""
        return self._run.started_at

    @property
    def is_finished(self) -> bool:
        """Whether no row is in flight, and the files are complete."""
        return self._run.is_finished

    @property
    def is_complete(self) -> bool:
        """Whether every row of the input has ended, with a response or an error."""
        return self._run.is_complete

    @property
    def is_paused(self) -> bool:
        """Whether the run is paused."""
        return self._run.is_paused

    # As under Trio, these four are not async: Trio's thread does them at once, and is waited for.

    def pause(self) -> None:
        """Send no more requests until `resume`; calls in flight go on."""
        self._blocking.pause()

    def resume(self) -> None:
        """Continue after `pause`."""
        self._blocking.resume()

    def drain(self) -> int:
        """Send no more requests, and end the run when the calls in flight have ended.

        Returns:
            The number of calls in flight.
        """
        return self._blocking.drain()

    def progress(self) -> Progress:
        """Return the progress; its limits are those known at the previous call of this method."""
        return self._blocking.progress()

    async def change_limits(self, limits: Limits) -> None:
        """Change the rate limits; see `Troupe.change_limits`."""
        await self._door.call(lambda run: run.change_limits(limits))

    async def wait(self) -> None:
        """Wait for the end of the run, and discard the results.

        Raises:
            BulkStopped: the run ended before every row did.
        """
        await self._door.call(lambda run: run.wait())

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Result:
        """Return the next row that has ended, in the order of OUTPUT.

        Raises:
            BulkStopped: the run ended before every row did.
        """
        if self._results is None:
            self._results = await AsyncioPieces(self._door, _itself, _WINDOW).__aenter__()
        return await anext(self._results)


def _itself(run: BulkRun) -> AbstractAsyncContextManager[BulkRun]:
    return nullcontext(run)
