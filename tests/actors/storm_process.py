"""One process of a storm: it makes calls or sends rows until it has ended, or is killed.

    python storm_process.py ROLE FOLDER URL OTHER_URL SEED

The role is "calls", "rows" or "batch". All of them share a ledger and a cache in the folder.
"""

import hashlib
import json
import os
import sys
from pathlib import Path
from random import Random

import attrs
import trio
from storm_calls import StormCallers, headline, storm_calls
from storm_house import StormFiles, storm_settings, vectors_of

from callsheet.actors import BatchApiPolicy, Endpoint, Target, open_troupe
from callsheet.bulk import BulkSettings, Row, bulk

CALLS, ROWS = 120, 30
POLICY = BatchApiPolicy(gather_s=0.2, poll_s=0.3, max_poll_s=1.0, settle_s=3.0, late_s=5.0)


@attrs.frozen
class Told:
    """The numbers of the calls whose ends are on disk, and how they ended.

    Args:
        path: the file: a line of JSON for each call.
    """

    path: Path

    def read(self):
        """Return what is told of each call; a line that a kill has cut is not."""
        lines = self.path.read_text().split("\n")[:-1] if self.path.exists() else ()
        return [json.loads(line) for line in lines if line.endswith("}")]

    def write(self, number, end, *, is_right):
        line = json.dumps({"number": number, "end": end, "is_right": is_right})
        with self.path.open("a") as file:
            file.write(f"{line}\n")
            file.flush()
            os.fsync(file.fileno())


def rows_of(role):
    """Return rows of two models; every third row of the live ones may be cached."""
    for number in range(1, ROWS + 1):
        mark = f"{role}-{number}"
        request = headline(
            mark,
            model="gpt-4o-mini" if number % 2 else "gpt-4.1-mini",
            cacheable=role == "rows" and number % 3 == 0,
        )
        key = hashlib.blake2b(mark.encode(), digest_size=16).digest()
        yield Row(
            number=number, custom_id=mark, request=request, key=key, url="/v1/chat/completions"
        )


async def make_calls(folder, settings, seed):
    told = Told(folder / "told")
    calls = storm_calls(CALLS, Random(seed))
    callers = StormCallers(await vectors_of([call.mark for call in calls if call.kind == "listed"]))
    callers.reported.update(line["number"] for line in told.read())
    callers.tell = told.write
    async with open_troupe(settings) as troupe:
        await callers.run(troupe, calls)


async def send_rows(folder, settings, role):
    route = "batch" if role == "batch" else "live"
    settings = attrs.evolve(settings, batches=POLICY)
    async with bulk(
        rows_of(role), folder / f"{role}.jsonl", settings, BulkSettings(route=route)
    ) as run:
        async for _ in run:
            pass


async def main(role, folder, url, other_url, seed):
    folder = Path(folder)
    settings = storm_settings(
        StormFiles(folder),
        endpoint=Endpoint(url, "sk-one-0123456789", "openai"),
        fallbacks=[Target(Endpoint(other_url, "sk-two-0123456789", "openai"), "gpt-4.1-mini")],
        batches=attrs.evolve(POLICY, journal=folder / "journal"),
    )
    if role == "calls":
        await make_calls(folder, settings, int(seed))
    else:
        await send_rows(folder, settings, role)


if __name__ == "__main__":
    trio.run(main, *sys.argv[1:])
