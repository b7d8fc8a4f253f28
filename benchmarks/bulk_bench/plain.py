"""Measure httpx with a simple limiter: some workers, a pace, and one open file.

The mode is the number of workers. With a hundred, most of the time is spent in the pool: for each
request it visits all connections, and for each of these all connections again, to count the idle
ones. With fewer workers a call costs less, but the workers wait more for the provider.
"""

import asyncio
import json
from pathlib import Path

import httpx

from bulk_bench.contender import main_of

_PER_S = 100_000.0  # a limit that is never reached


async def _run(base_url: str, source: Path, output: Path, workers: int) -> None:
    url, next_at = f"{base_url}/chat/completions", 0.0
    limits = httpx.Limits(max_connections=workers, max_keepalive_connections=workers)
    with source.open() as lines, output.open("w") as file:  # as is usual
        async with httpx.AsyncClient(limits=limits, timeout=60.0, trust_env=False) as client:

            async def work() -> None:
                nonlocal next_at
                for line in lines:
                    request = json.loads(line)
                    now = asyncio.get_running_loop().time()
                    next_at = max(now, next_at) + 1.0 / _PER_S
                    if next_at - now > 1.0 / _PER_S:
                        await asyncio.sleep(next_at - now)
                    response = await client.post(url, json=request["body"])
                    response.raise_for_status()
                    answer = {"custom_id": request["custom_id"], "response": response.json()}
                    file.write(json.dumps(answer) + "\n")

            async with asyncio.TaskGroup() as group:
                for _ in range(workers):
                    group.create_task(work())


def run(base_url: str, source: Path, output: Path, mode: str) -> None:
    """Send all rows, and write the responses."""
    asyncio.run(_run(base_url, source, output, int(mode)))


if __name__ == "__main__":
    main_of(run)
