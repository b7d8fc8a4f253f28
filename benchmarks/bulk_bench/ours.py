"""Measure `callsheet.bulk` as its command runs it. The mode is the `fsync` setting."""

from pathlib import Path
from typing import cast

import trio

from bulk_bench.contender import IN_FLIGHT, main_of
from callsheet import Endpoint, Limits, TroupeSettings
from callsheet.bulk import bulk, rare_collections
from callsheet.bulk.reading.opening import open_rows
from callsheet.bulk.reading.settings import ReadSettings
from callsheet.bulk.settings import BulkSettings, Fsync


async def _run(base_url: str, source: Path, output: Path, mode: str) -> None:
    troupe = TroupeSettings(endpoint=Endpoint(base_url), limits=Limits(in_flight=IN_FLIGHT))
    settings = BulkSettings(fsync=cast("Fsync", mode))
    with rare_collections(), open_rows(source, ReadSettings()) as rows:
        async with bulk(rows, output, troupe, settings) as run:
            await run.wait()


def run(base_url: str, source: Path, output: Path, mode: str) -> None:
    """Send all rows, and write the responses."""
    trio.run(_run, base_url, source, output, mode)


if __name__ == "__main__":
    main_of(run)
