"""Measure Callsheet with a provider and no rate limits."""

import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import httpx

from callsheet import Endpoint, Limits, Request, TroupeSettings, open_troupe
from http_bench.call import API_KEY, MODEL, PROMPT, SYSTEM, Ask, Target, check

__all__ = ["open_client"]


@asynccontextmanager
async def open_client(
    target: Target, transport: httpx.AsyncBaseTransport | None = None
) -> AsyncGenerator[Ask]:
    """Open a troupe. Every call makes its request and passes all stages of the troupe."""

    async def ask() -> None:
        request = Request.of(PROMPT, model=MODEL, system=SYSTEM, max_tokens=target.max_tokens)
        check((await troupe.complete(request)).text)

    async with open_troupe(_settings(target, transport)) as troupe:
        yield ask


def _settings(target: Target, transport: httpx.AsyncBaseTransport | None) -> TroupeSettings:
    trusts = None if target.ca is None else ssl.create_default_context(cafile=target.ca)
    endpoint = Endpoint(target.base_url, api_key=API_KEY, ssl_context=trusts)
    limits = Limits(in_flight=target.in_flight)
    return TroupeSettings(endpoint=endpoint, limits=limits, transport=transport)
