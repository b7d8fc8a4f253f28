"""The OpenAI SDK. It may be absent, also when types are checked: imported by name."""

import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib import import_module

from http_bench.call import API_KEY, TIMEOUT_S, Ask, Target, check, request_body

__all__ = ["open_client"]

_openai = import_module("openai")


@asynccontextmanager
async def open_client(target: Target) -> AsyncGenerator[Ask]:
    """As its README has it, but without retries, and with time enough to connect.

    Of the 5 s that it has for that, its own pool takes more when a thousand ask, and calls fail.
    """

    async def ask() -> None:
        completion = await client.chat.completions.create(**request_body())
        check(completion.choices[0].message.content)

    http_client = None
    if target.ca is not None:  # with the limits of the client it makes itself
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
