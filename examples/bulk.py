"""A file of answers to 200 requests: run it, stop it by Ctrl-C, and run it again.

What has an answer is not asked for a second time. OUTPUT and what is known of it are in a folder
of its own here, which is made anew each time; give a path of yours instead.
"""

import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import trio

from callsheet import Limits, Request, TroupeSettings, open_endpoint
from callsheet.bulk import bulk
from callsheet.bulk.row import Row
from callsheet.bulk.settings import BulkSettings


def rows(count: int) -> Iterator[Row]:
    for number in range(1, count + 1):
        prompt = f"A fact about the number {number}."
        yield Row(
            number=number,
            custom_id=f"fact-{number}",
            request=Request.of(prompt, model="gpt-4o-mini", max_tokens=40),
            key=hashlib.blake2b(f"fact-{number}\n{prompt}".encode(), digest_size=16).digest(),
            url="/v1/chat/completions",
        )


async def main(output: Path) -> None:
    async with open_endpoint() as endpoint:
        troupe = TroupeSettings(endpoint=endpoint, limits=Limits(in_flight=100))
        async with bulk(rows(200), output, troupe, BulkSettings(window_rows=500)) as results:
            async for result in results:  # each is on disk by now
                if result.error is not None:
                    print(result.custom_id, "failed:", result.message)
                elif result.number % 50 == 0:
                    print(result.custom_id, result.response.text[:60])
        progress = results.progress()
    print(f"{progress.answered} answers, {progress.cost_usd} USD, in {output.name}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        trio.run(main, Path(folder) / "facts.jsonl")
