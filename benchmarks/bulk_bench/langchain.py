"""Measure LangChain's batch: `abatch_as_completed` of its OpenAI model, with bounded concurrency.

It takes all inputs as a list, and returns responses in the order in which they arrive. LangChain is
imported by name, because it may be absent for type checkers.
"""

import asyncio
import json
from importlib import import_module
from pathlib import Path
from typing import Any

from bulk_bench.contender import IN_FLIGHT, main_of

_langchain = import_module("langchain_openai")


async def _run(base_url: str, source: Path, output: Path) -> None:
    requests: list[dict[str, Any]] = []
    with source.open() as lines:  # as is usual
        requests = [json.loads(line) for line in lines]
    body = requests[0]["body"]  # all rows have the same model and the same `max_tokens`
    model = _langchain.ChatOpenAI(
        base_url=base_url,
        api_key="sk-benchmark",
        model=body["model"],
        max_completion_tokens=body["max_tokens"],
        max_retries=2,
        timeout=60.0,
    )
    asked = [request["body"]["messages"] for request in requests]
    config = {"max_concurrency": IN_FLIGHT}
    with output.open("w") as file:  # as is usual
        async for at, message in model.abatch_as_completed(
            asked, config=config, return_exceptions=True
        ):
            if isinstance(message, BaseException):
                raise message
            answer: dict[str, Any] = {
                "custom_id": requests[at]["custom_id"],
                "content": message.content,
                "usage": message.usage_metadata,
            }
            file.write(json.dumps(answer) + "\n")


def run(base_url: str, source: Path, output: Path, mode: str) -> None:  # noqa: ARG001  # one way
    """Send all rows, and write the responses."""
    asyncio.run(_run(base_url, source, output))


if __name__ == "__main__":
    main_of(run)
