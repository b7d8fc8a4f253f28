"""The contenders: one troupe called from Trio, from asyncio and from threads, and the OpenAI SDK.

Each opens a client, and provides a function that makes one call and returns its number of pieces.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib import import_module

import attrs

import callsheet
from callsheet import Endpoint, Limits, Request, Troupe, TroupeSettings, aio
from callsheet.aio import AsyncioTroupe
from http_bench.call import (
    API_KEY,
    LONG_TOKENS,
    MODEL,
    PROMPT,
    SHORT_TOKENS,
    SYSTEM,
    TIMEOUT_S,
    check,
    request_body,
)

__all__ = ["AIO", "OPENAI", "TRIO", "WAYS", "Call", "Plan"]

TRIO, AIO, OPENAI = "callsheet", "callsheet.aio", "openai"

Call = Callable[[], Awaitable[int]]
"""Makes one call, checks its response, and returns the number of its pieces."""


@attrs.frozen
class Plan:
    """What the client does.

    Args:
        base_url: the URL of the provider, up to and including the version.
        in_flight: number of concurrent calls.
        streams: whether the calls read their responses piece by piece.
    """

    base_url: str
    in_flight: int
    streams: bool

    @property
    def request(self) -> Request[None]:
        """A new request, as a program makes one for each call."""
        tokens = LONG_TOKENS if self.streams else SHORT_TOKENS
        return Request.of(PROMPT, model=MODEL, system=SYSTEM, max_tokens=tokens)

    @property
    def settings(self) -> TroupeSettings:
        """The settings of the troupe, with limits that do not bind."""
        endpoint = Endpoint(self.base_url, api_key=API_KEY)
        return TroupeSettings(endpoint=endpoint, limits=Limits(in_flight=self.in_flight))


def calls_of(troupe: Troupe | AsyncioTroupe, plan: Plan) -> Call:
    """Return the function that makes one call; it is the same under Trio and asyncio."""

    async def complete() -> int:
        check((await troupe.complete(plan.request)).text)
        return 1

    async def stream() -> int:
        pieces = 0
        async with troupe.stream(plan.request) as items:
            async for _ in items:
                pieces += 1
        check(None if items.response is None else items.response.text)
        return pieces - 1  # the last one is the response

    return stream if plan.streams else complete


@asynccontextmanager
async def open_trio(plan: Plan) -> AsyncGenerator[Call]:
    """Open a troupe under Trio."""
    async with callsheet.open_troupe(plan.settings) as troupe:
        yield calls_of(troupe, plan)


@asynccontextmanager
async def open_asyncio(plan: Plan) -> AsyncGenerator[Call]:
    """Open a troupe in a Trio thread under asyncio."""
    async with aio.open_troupe(plan.settings) as troupe:
        yield calls_of(troupe, plan)


@asynccontextmanager
async def open_openai(plan: Plan) -> AsyncGenerator[Call]:
    """Open the SDK's client as in its README, but without retries and with a longer timeout.

    With 500 concurrent calls, its pool alone may take longer than the 5 s that it has to connect.
    """
    sdk = import_module("openai")

    async def complete() -> int:
        completion = await client.chat.completions.create(**request_body())
        check(completion.choices[0].message.content)
        return 1

    async def stream() -> int:
        pieces, texts = 0, list[str]()
        async for chunk in await client.chat.completions.create(**request_body(), stream=True):
            if chunk.choices:
                pieces += 1
                texts.append(chunk.choices[0].delta.content or "")
        check("".join(texts))
        return pieces

    async with sdk.AsyncOpenAI(
        base_url=plan.base_url, api_key=API_KEY, max_retries=0, timeout=TIMEOUT_S
    ) as client:
        yield stream if plan.streams else complete


WAYS: Mapping[str, Callable[[Plan], AbstractAsyncContextManager[Call]]] = {
    TRIO: open_trio,
    AIO: open_asyncio,
    OPENAI: open_openai,
}
