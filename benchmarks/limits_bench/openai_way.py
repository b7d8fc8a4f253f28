"""Measure the OpenAI SDK with fifty calls at a time and its own retries. It may be absent."""

import asyncio
import time
from collections.abc import Sequence
from importlib import import_module

from limits_bench.calls import CONCURRENT, Chat, Sent

__all__ = ["run"]

_MAX_RETRIES = 20  # with the default of two, most requests would fail
_openai = import_module("openai")


async def run(base_url: str, todo: Sequence[Chat], sent: Sent) -> int:
    """Send all requests through `AsyncOpenAI`."""
    places, given_up = asyncio.Semaphore(CONCURRENT), 0

    async def ask(chat: Chat) -> None:
        nonlocal given_up
        async with places:
            at = time.monotonic()
            try:
                raw = await client.chat.completions.with_raw_response.create(**chat.body())
            except _openai.RateLimitError:
                given_up += 1
                return
            # The SDK does not report when it sent the accepted attempt, so it is computed.
            sent(max(at, time.monotonic() - raw.elapsed.total_seconds()))

    async with _openai.AsyncOpenAI(
        base_url=base_url, api_key="sk-benchmark", max_retries=_MAX_RETRIES
    ) as client:
        await asyncio.gather(*map(ask, todo))
    return given_up
