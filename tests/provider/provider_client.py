"""A client of a provider in process."""

import json
from contextlib import asynccontextmanager

import httpx

from callsheet.provider import Faults, Provider, ProviderSettings, ProviderTransport


class Client(httpx.AsyncClient):
    """Talks to `provider`."""

    provider: Provider

    async def chat(self, text="What is Trio?", *, headers=None, **more):
        return await self.post(
            "/v1/chat/completions", json=chat_body(text, **more), headers=headers
        )

    def chat_stream(self, text="What is Trio?", *, headers=None, **more):
        body = chat_body(text, stream=True, **more)
        return self.stream("POST", "/v1/chat/completions", json=body, headers=headers)


def chat_body(text="What is Trio?", **more):
    return {"model": "m", "messages": [{"role": "user", "content": text}]} | more


@asynccontextmanager
async def connected(*, latency_s=(1.0, 1.0), faults=None, timeout=None, **settings):
    """A client of a new provider, which answers after a second."""
    provider = Provider(
        ProviderSettings(latency_s=latency_s, faults=faults or Faults(), **settings)
    )
    async with Client(
        transport=ProviderTransport(provider), base_url="http://provider", timeout=timeout
    ) as client:
        client.provider = provider
        yield client


def events_in(text):
    """The events of a stream's text; [DONE] is asserted and left out."""
    *blocks, done, rest = text.split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    return [json.loads(block.removeprefix("data: ")) for block in blocks]
