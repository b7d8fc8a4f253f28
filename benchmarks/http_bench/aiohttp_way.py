"""Measure aiohttp. It is imported by name, because it may be absent, also for type checkers."""

import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib import import_module

from http_bench.call import API_KEY, TIMEOUT_S, Ask, Target, check, request_body

__all__ = ["open_client"]

_aiohttp = import_module("aiohttp")


@asynccontextmanager
async def open_client(target: Target) -> AsyncGenerator[Ask]:
    """Open a session that may have a connection for every call in flight."""
    url = f"{target.base_url}/chat/completions"

    async def ask() -> None:
        async with session.post(url, json=request_body()) as response:
            response.raise_for_status()
            answer = await response.json()
        check(answer["choices"][0]["message"]["content"])

    verify = True if target.ca is None else ssl.create_default_context(cafile=target.ca)
    async with _aiohttp.ClientSession(
        connector=_aiohttp.TCPConnector(limit=target.in_flight, ssl=verify),
        headers={"Authorization": f"Bearer {API_KEY}"},
        timeout=_aiohttp.ClientTimeout(total=TIMEOUT_S),
    ) as session:
        yield ask
