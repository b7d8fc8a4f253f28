"""A client of a provider in this process."""

import json
from contextlib import asynccontextmanager

import httpx

from callsheet.simulator.app import Provider
from callsheet.simulator.faults import Faults
from callsheet.simulator.inprocess import ProviderTransport
from callsheet.simulator.settings import ProviderSettings


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

    async def message(self, text="What is Trio?", *, headers=None, **more):
        return await self.post(
            "/v1/messages", json=message_body(text, **more), headers=VERSION | (headers or {})
        )

    def message_stream(self, text="What is Trio?", *, headers=None, **more):
        body = message_body(text, stream=True, **more)
        return self.stream("POST", "/v1/messages", json=body, headers=VERSION | (headers or {}))


VERSION = {"anthropic-version": "2023-06-01"}


def message_body(text="What is Trio?", **more):
    messages = [{"role": "user", "content": text}]
    return {"model": "m", "max_tokens": 1000, "messages": messages} | more


def chat_body(text="What is Trio?", **more):
    return {"model": "m", "messages": [{"role": "user", "content": text}]} | more


@asynccontextmanager
async def connected(*, latency_s=(1.0, 1.0), faults=None, timeout=None, **settings):
    """Open a client of a new provider, which responds after a second."""
    provider = Provider(
        ProviderSettings(latency_s=latency_s, faults=faults or Faults(), **settings)
    )
    async with Client(
        transport=ProviderTransport(provider), base_url="http://provider", timeout=timeout
    ) as client:
        client.provider = provider
        yield client


def events_in(text):
    """Return the events of a stream's text; [DONE] is asserted and left out."""
    *blocks, done, rest = text.split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    return [json.loads(block.removeprefix("data: ")) for block in blocks]


def named_events_in(text):
    """Return the events of an Anthropic stream's text, as pairs of name and data."""
    *blocks, rest = text.split("\n\n")
    assert rest == ""
    lines = [block.split("\n") for block in blocks]
    found = [
        (name.removeprefix("event: "), json.loads(data.removeprefix("data: ")))
        for name, data in lines
    ]
    assert all(name == data["type"] for name, data in found)
    return found


def text_in(events):
    """Return the text of an Anthropic stream's events."""
    return "".join(data["delta"]["text"] for name, data in events if name == "content_block_delta")
