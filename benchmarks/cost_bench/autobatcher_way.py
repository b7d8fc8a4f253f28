"""Make chats by autobatcher for another process: a JSON object a line, on stdin and stdout.

    python autobatcher_way.py BASE_URL COMPLETION_WINDOW BATCH_WINDOW_S POLL_INTERVAL_S

reads `{"id": 1, "body": {...}}`, the body of a chat, and writes `{"id": 1, "body": {...}}`, its
completion, or `{"id": 1, "error": "..."}`. Its first line is `ready`. It ends with its input.

It is run by an interpreter of its own, because autobatcher's version of openai may differ from that
of this project. So it imports nothing of the project, and autobatcher by name.
"""

import asyncio
import json
import sys
from importlib import import_module
from typing import Any

_MAX_LINE = 2**24  # bytes


async def _serve(base_url: str, completion_window: str, batch_window: str, poll: str) -> None:
    autobatcher = import_module("autobatcher")
    requests = asyncio.StreamReader(limit=_MAX_LINE)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(requests), sys.stdin
    )
    print("ready", flush=True)
    async with autobatcher.BatchOpenAI(
        api_key="sk-benchmark",
        base_url=base_url,
        completion_window=completion_window or None,
        batch_window_seconds=float(batch_window),
        poll_interval_seconds=float(poll),
    ) as client:

        async def answer(message: dict[str, Any]) -> None:
            try:
                found = await client.chat.completions.create(**message["body"])
                _write({"id": message["id"], "body": found.model_dump(mode="json")})
            except Exception as error:  # noqa: BLE001  # each is the outcome of its chat
                _write({"id": message["id"], "error": repr(error)})

        tasks: set[asyncio.Task[None]] = set()
        while line := await requests.readline():
            task = asyncio.create_task(answer(json.loads(line)))
            tasks.add(task)
            task.add_done_callback(tasks.discard)


def _write(message: dict[str, Any]) -> None:
    print(json.dumps(message), flush=True)


if __name__ == "__main__":
    asyncio.run(_serve(*sys.argv[1:]))
