"""Measure httpx2. It is imported by name, because it may be absent, also for type checkers."""

import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib import import_module

from http_bench.call import API_KEY, TIMEOUT_S, Ask, Target, check, request_body

__all__ = ["open_client"]

_httpx2 = import_module("httpx2")


@asynccontextmanager
async def open_client(target: Target) -> AsyncGenerator[Ask]:
    """Open a client with the default limits."""

    async def ask() -> None:
        response = await client.post("/chat/completions", json=request_body())
        response.raise_for_status()
        check(response.json()["choices"][0]["message"]["content"])

    async with _httpx2.AsyncClient(
        base_url=target.base_url,
        headers={"Authorization": f"Bearer {API_KEY}"},
        timeout=TIMEOUT_S,
        verify=True if target.ca is None else ssl.create_default_context(cafile=target.ca),
    ) as client:
        yield ask
