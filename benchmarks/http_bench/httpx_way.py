"""Measure httpx as it is usually used."""

import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import httpx

from http_bench.call import API_KEY, TIMEOUT_S, Ask, Target, check, request_body

__all__ = ["open_client", "open_raised"]

_HEADERS = {"Authorization": f"Bearer {API_KEY}"}


@asynccontextmanager
async def open_client(target: Target) -> AsyncGenerator[Ask]:
    """Open a client with the default limits: 100 connections, of which 20 are kept."""
    async with httpx.AsyncClient(
        base_url=target.base_url, headers=_HEADERS, timeout=TIMEOUT_S, verify=_verify(target)
    ) as client:
        yield _sender(client)


@asynccontextmanager
async def open_raised(target: Target) -> AsyncGenerator[Ask]:
    """Open a client that keeps a connection for every call in flight."""
    count = target.in_flight
    async with httpx.AsyncClient(
        base_url=target.base_url,
        headers=_HEADERS,
        timeout=TIMEOUT_S,
        verify=_verify(target),
        limits=httpx.Limits(max_connections=count, max_keepalive_connections=count),
    ) as client:
        yield _sender(client)


def _verify(target: Target) -> ssl.SSLContext | bool:
    return True if target.ca is None else ssl.create_default_context(cafile=target.ca)


def _sender(client: httpx.AsyncClient) -> Ask:
    async def ask() -> None:
        response = await client.post("/chat/completions", json=request_body())
        response.raise_for_status()
        check(response.json()["choices"][0]["message"]["content"])

    return ask
