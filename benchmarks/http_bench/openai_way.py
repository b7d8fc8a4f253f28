"""Measure the OpenAI SDK. It is imported by name, because it may be absent."""

import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib import import_module

from http_bench.call import API_KEY, TIMEOUT_S, Ask, Target, check, request_body

__all__ = ["open_client"]

_openai = import_module("openai")


@asynccontextmanager
async def open_client(target: Target) -> AsyncGenerator[Ask]:
    """Open a client as in the SDK's README, but without retries and with a longer connect timeout.

    With a thousand concurrent calls, its pool alone takes longer than the default of 5 s.
    """

    async def ask() -> None:
        completion = await client.chat.completions.create(**request_body())
        check(completion.choices[0].message.content)

    http_client = None
    if target.ca is not None:  # with the limits of the SDK's default client
        context = ssl.create_default_context(cafile=target.ca)
        http_client = _openai.DefaultAsyncHttpxClient(verify=context)
    async with _openai.AsyncOpenAI(
        base_url=target.base_url,
        api_key=API_KEY,
        max_retries=0,
        timeout=TIMEOUT_S,
        http_client=http_client,
    ) as client:
        yield ask
