"""Write the responses to 200 requests to a file.

A run that is stopped, by Ctrl-C for example, continues when it is started again with the same
output file: it sends only the requests that have no response yet. This example writes to a
temporary folder; use a path of your own to continue a run.

    python examples/bulk.py [PROVIDER]

PROVIDER is "builtin" by default; "openai" sends the calls to OpenAI, with OPENAI_API_KEY.
"""

import hashlib
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import trio

from callsheet import Limits, Request, TroupeSettings, open_endpoint
from callsheet.bulk import BulkSettings, Row, bulk

PROVIDER = sys.argv[1] if len(sys.argv) > 1 else "builtin"


def rows(count: int) -> Iterator[Row]:
    for number in range(1, count + 1):
        prompt = f"A fact about the number {number}."
        yield Row(
            number=number,
            custom_id=f"fact-{number}",
            request=Request.of(prompt, model="gpt-5.4-mini", max_tokens=40),
            key=hashlib.blake2b(f"fact-{number}\n{prompt}".encode(), digest_size=16).digest(),
            url="/v1/chat/completions",
        )


async def main(output: Path) -> None:
    async with open_endpoint(PROVIDER) as endpoint:
        troupe = TroupeSettings(endpoint=endpoint, limits=Limits(in_flight=100))
        async with bulk(rows(200), output, troupe, BulkSettings(window_rows=500)) as results:
            async for result in results:  # each is on disk already
                if result.error is not None:
                    print(result.custom_id, "failed:", result.message)
                elif result.number % 50 == 0:
                    print(result.custom_id, result.response.text[:60])
        progress = results.progress()
    print(f"{progress.answered} responses, {progress.cost_usd} USD, in {output.name}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        trio.run(main, Path(folder) / "facts.jsonl")
