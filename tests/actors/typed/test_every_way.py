"""A result is the same value on every way of its response and from every provider (L10)."""

from functools import partial
from typing import Literal

import attrs
import pytest
from fakes import URL, outcomes

from callsheet import Endpoint, Request, TroupeSettings, open_troupe
from callsheet.actors import BatchApiPolicy, CachePolicy, LedgerPolicy, Packing
from callsheet.actors.typed import result_type
from callsheet.simulator.app import Provider
from callsheet.simulator.inprocess import ProviderTransport
from callsheet.simulator.settings import ProviderSettings

DAY_S = 86_400.0


@attrs.frozen
class Part:
    about: Literal["price", "quality"]
    words: str


@attrs.frozen
class Review:
    """What a customer thinks of a product."""

    sentiment: Literal["positive", "negative", "neutral"]
    parts: list[Part]
    is_new: bool
    more: Part | None = None
    stars: int = 3


@attrs.frozen
class Cat:
    lives: int


@attrs.frozen
class Dog:
    name: str


def reviewing(text, **more):
    usual = {"model": "gpt-4o-mini", "system": "Describe the review.", "returns": Review}
    return Request.of(text, **(usual | more))


async def complete(*requests, provider=None, endpoint=None, **settings):
    provider = Provider(provider or ProviderSettings())
    async with ProviderTransport(provider) as transport:
        known = {"endpoint": endpoint or Endpoint(URL), "transport": transport}
        async with open_troupe(TroupeSettings(**(known | settings))) as troupe:
            return await outcomes(*(partial(troupe.complete, request) for request in requests))


PROVIDERS = {
    "chat": (Endpoint(URL, vendor="openai"), "gpt-4o-mini"),
    "responses": (Endpoint(URL, "key", vendor="openai", api="responses"), "gpt-4o-mini"),
    "anthropic": (Endpoint(URL, "sk-ant-1234567890", vendor="anthropic"), "claude-haiku-4-5"),
    "gemini": (
        Endpoint("http://provider/v1beta", "a-long-enough-key", vendor="gemini"),
        "gemini-3.1-flash-lite",
    ),
}


@pytest.mark.parametrize("returns", [Review, list[Part], Cat | Dog, Literal["yes", "no"], int])
@pytest.mark.parametrize("name", PROVIDERS)
async def test_each_provider_enforces_the_schema_that_it_is_sent(autojump_clock, name, returns):
    endpoint, model = PROVIDERS[name]
    request = reviewing("Good.", model=model, returns=returns, max_tokens=1000)
    (response,) = await complete(request, endpoint=endpoint)
    assert response.http_requests == 1, response
    if returns is Review:
        assert isinstance(response.parsed, Review)
        assert all(isinstance(part, Part) for part in response.parsed.parts)
    else:
        assert response.parsed == result_type(returns).read(response.text)


WAYS = {
    "streamed": {},
    "whole": {"streaming": False},
    "cached": {"cache": CachePolicy(path=None)},
    "packed": {"packing": Packing(max_items=5, check_share=0)},
    "batched": {"ledger": LedgerPolicy(), "batches": BatchApiPolicy(dialect="openai")},
}


@pytest.mark.parametrize("way", WAYS)
async def test_a_result_is_read_whichever_way_its_response_takes(autojump_clock, way):
    more = {"packable": way == "packed", "deadline": DAY_S if way == "batched" else None}
    more["cacheable"] = way == "cached"
    texts = [f"Review {number}." for number in range(15)]
    requests = [reviewing(text, max_tokens=400, **more) for text in texts]
    found = await complete(*requests, **WAYS[way])
    expected = {"packed": "pack", "batched": "batch"}.get(way, "live")
    assert expected in {response.route for response in found}
    assert all(isinstance(response.parsed, Review) for response in found)
    assert sum(response.http_requests for response in found) <= len(found), "no second requests"
