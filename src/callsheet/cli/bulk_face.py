"""Says how a run stands while it lasts, in plain lines."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from rich.console import Console
from trio_util import periodic

from ..bulk import BulkRun
from ..runtime import open_collapsing_nursery
from ..wording import dollars, seconds

__all__ = ["show_progress"]

_EVERY_S = 10.0


@asynccontextmanager
async def show_progress(run: BulkRun, console: Console) -> AsyncGenerator[None]:
    """Print a line every so often, for as long as the block runs."""

    async def show() -> None:
        async for elapsed, _ in periodic(_EVERY_S):
            if elapsed:
                console.print(_line(run), markup=False)

    async with open_collapsing_nursery() as nursery:
        nursery.start_soon(show)
        yield
        nursery.cancel_scope.cancel()


def _line(run: BulkRun) -> str:
    now = run.progress()
    total = "" if now.total is None else f" of {now.total:,}"
    return (
        f"{seconds(now.now - now.started_at)}: {now.ended:,}{total} rows, {now.failed:,} failed, "
        f"{now.in_flight:,} in flight, {dollars(now.cost_usd)}"
    )
