"""Measure the usual code: fifty at a time, and exponential back-off with full jitter on a 429."""

import random
from collections.abc import Sequence
from http import HTTPStatus

import httpx
import trio

from limits_bench.calls import CONCURRENT, Chat, Sent

__all__ = ["run"]

_FIRST_S, _LONGEST_S = 0.5, 30.0


async def run(base_url: str, todo: Sequence[Chat], sent: Sent) -> int:
    """Send each request, and retry it after a pause."""
    source = random.Random(0)  # noqa: S311  # no secrets
    places = trio.CapacityLimiter(CONCURRENT)

    async def ask(client: httpx.AsyncClient, chat: Chat) -> None:
        async with places:
            longest = _FIRST_S
            while True:
                at = trio.current_time()
                response = await client.post("/chat/completions", json=chat.body())
                if response.status_code != HTTPStatus.TOO_MANY_REQUESTS:
                    response.raise_for_status()
                    sent(at)
                    return
                await trio.sleep(source.uniform(0.0, longest))
                longest = min(_LONGEST_S, 2.0 * longest)

    limits = httpx.Limits(max_connections=CONCURRENT)
    async with (
        httpx.AsyncClient(
            base_url=base_url,
            limits=limits,
            timeout=None,  # noqa: S113  # it waits for as long as it takes
            trust_env=False,
        ) as client,
        trio.open_nursery() as nursery,
    ):
        for chat in todo:
            nursery.start_soon(ask, client, chat)
    return 0
