"""Measure the pattern of the OpenAI cookbook's script for many requests: asyncio and aiohttp.

One loop reads a line, checks the remaining capacity of the limits, starts a task, and sleeps for a
millisecond, which bounds it to less than 1,000 requests a second. Each task appends its response
to the output, in the order of responses. The script cannot resume a run. aiohttp is imported by
name, because it may be absent for type checkers.
"""

import asyncio
import json
from importlib import import_module
from pathlib import Path
from time import monotonic
from typing import Any

from bulk_bench.contender import main_of

_aiohttp = import_module("aiohttp")
_LOOP_S = 0.001
_RPM = 10_000_000.0  # a limit that is never reached
_ATTEMPTS = 5


async def _call(  # noqa: PLR0917  # as the pattern has it
    session: Any,  # noqa: ANN401  # aiohttp's, which has no types here
    url: str,
    request: dict[str, Any],
    output: Path,
    again: asyncio.Queue[tuple[dict[str, Any], int]],
    left: int,
) -> None:
    try:
        async with session.post(url, json=request["body"]) as response:
            answer = await response.json()
        if "error" in answer:
            raise ValueError(answer["error"])  # noqa: TRY301  # as the pattern has it
    except Exception as error:  # noqa: BLE001  # as the pattern has it
        if left:
            again.put_nowait((request, left - 1))
            return
        answer = {"error": str(error)}
    line = json.dumps([request["body"], answer, {"custom_id": request["custom_id"]}])
    with output.open("a") as file:  # as the pattern has it
        file.write(line + "\n")


async def _run(base_url: str, source: Path, output: Path) -> None:
    url = f"{base_url}/chat/completions"
    again: asyncio.Queue[tuple[dict[str, Any], int]] = asyncio.Queue()
    tasks: set[asyncio.Task[None]] = set()
    capacity, updated_at = _RPM, monotonic()
    is_read = False
    with source.open() as lines:  # as the pattern has it
        async with _aiohttp.ClientSession() as session:
            while True:
                following: tuple[dict[str, Any], int] | None = None
                if not again.empty():
                    following = again.get_nowait()
                elif not is_read:
                    line = lines.readline()
                    is_read = not line
                    following = (json.loads(line), _ATTEMPTS - 1) if line else None
                now = monotonic()
                capacity = min(_RPM, capacity + _RPM * (now - updated_at) / 60.0)
                updated_at = now
                if following is not None and capacity >= 1:
                    capacity -= 1
                    task = asyncio.create_task(
                        _call(session, url, following[0], output, again, following[1])
                    )
                    tasks.add(task)
                    task.add_done_callback(tasks.discard)
                if is_read and again.empty() and not tasks:
                    return
                await asyncio.sleep(_LOOP_S)


def run(base_url: str, source: Path, output: Path, mode: str) -> None:  # noqa: ARG001  # one way
    """Send all rows, and write the responses."""
    asyncio.run(_run(base_url, source, output))


if __name__ == "__main__":
    main_of(run)
