"""Measure Callsheet with a provider and no rate limits."""

import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from callsheet import Endpoint, Limits, Request, TroupeSettings, open_troupe
from http_bench.call import API_KEY, MODEL, PROMPT, SYSTEM, Ask, Target, check

__all__ = ["open_client"]


@asynccontextmanager
async def open_client(target: Target) -> AsyncGenerator[Ask]:
    """Open a troupe. Every call makes its request and passes all stages of the troupe."""

    async def ask() -> None:
        request = Request.of(PROMPT, model=MODEL, system=SYSTEM, max_tokens=40)
        check((await troupe.complete(request)).text)

    async with open_troupe(_settings(target)) as troupe:
        yield ask


def _settings(target: Target) -> TroupeSettings:
    trusts = None if target.ca is None else ssl.create_default_context(cafile=target.ca)
    endpoint = Endpoint(target.base_url, api_key=API_KEY, ssl_context=trusts)
    return TroupeSettings(endpoint=endpoint, limits=Limits(in_flight=target.in_flight))
