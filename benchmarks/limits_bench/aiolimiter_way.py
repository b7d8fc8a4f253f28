"""Measure httpx behind aiolimiter, for both limits, with Retry-After on a 429. It may be absent."""

import asyncio
import time
from collections.abc import Sequence
from http import HTTPStatus
from importlib import import_module

import httpx

from limits_bench.calls import RPM, TPM, Chat, Sent

__all__ = ["run"]

_aiolimiter = import_module("aiolimiter")


async def run(base_url: str, todo: Sequence[Chat], sent: Sent) -> int:
    """Send each request when both limiters allow it."""
    # The capacity is that of one second: with that of a minute, all requests would be sent at once.
    requests = _aiolimiter.AsyncLimiter(RPM / 60, 1)
    tokens = _aiolimiter.AsyncLimiter(TPM / 60, 1)

    async def ask(client: httpx.AsyncClient, chat: Chat) -> None:
        while True:
            await requests.acquire()
            await tokens.acquire(chat.max_tokens)
            at = time.monotonic()
            response = await client.post("/chat/completions", json=chat.body())
            if response.status_code != HTTPStatus.TOO_MANY_REQUESTS:
                response.raise_for_status()
                sent(at)
                return
            await asyncio.sleep(float(response.headers["retry-after"]))

    async with httpx.AsyncClient(
        base_url=base_url,
        limits=httpx.Limits(max_connections=len(todo)),
        timeout=None,  # noqa: S113  # it waits for as long as it takes
        trust_env=False,
    ) as client:
        await asyncio.gather(*(ask(client, chat) for chat in todo))
    return 0
