"""The response of a fallback belongs to the fallback, whichever way it came (L6, L12)."""

import json
from functools import partial

import attrs
import httpx
import pytest
import trio
from fakes import outcomes

from callsheet.actors import (
    BatchApiPolicy,
    BatchLimits,
    CachePolicy,
    Endpoint,
    LedgerPolicy,
    Limits,
    ListStrategy,
    Request,
    RetryPolicy,
    Target,
    TroupeSettings,
    open_troupe,
)
from callsheet.simulator.app import Provider as SimulatedProvider
from callsheet.simulator.inprocess import ProviderTransport
from callsheet.simulator.settings import ProviderSettings

FIRST = Endpoint("http://first/v1", "sk-first-0123456789", "openai")
SECOND = Endpoint("http://second/v1", "sk-second-0123456789", "openai")
MODEL, OTHER = "gpt-4o", "gpt-4o-mini"
VECTORS = {MODEL: [1.0, 0.0], OTHER: [0.0, 1.0]}


@attrs.define(eq=False)
class Provider(httpx.AsyncBaseTransport):
    """Two hosts; each answer names its host and model. Those in `down` answer 503."""

    down: set[str] = attrs.field(factory=set)
    asked: list[str] = attrs.field(factory=list)

    async def handle_async_request(self, request):
        body = json.loads(await request.aread())
        name = f"{body['model']} at {request.url.host}"
        if request.url.host in self.down or name in self.down:
            return httpx.Response(503)
        self.asked.append(name)
        usage = {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10}
        answer = {"model": body["model"], "usage": usage}
        if "input" in body:
            texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
            answer["data"] = [
                {"index": at, "embedding": VECTORS[body["model"]]} for at, _ in enumerate(texts)
            ]
        else:
            message = {"role": "assistant", "content": name}
            answer["choices"] = [{"index": 0, "message": message, "finish_reason": "stop"}]
        return httpx.Response(200, json=answer)


def troupe_of(provider, *fallbacks, endpoint=FIRST, **more):
    settings = {
        "endpoint": endpoint,
        "fallbacks": fallbacks,
        "cache": CachePolicy(path=None),
        "transport": provider,
        "retry": RetryPolicy(base_s=0.0),
        "streaming": False,
    }
    return open_troupe(TroupeSettings(**(settings | more)))


def asked(text="x", **more):
    return Request.of(text, model=MODEL, max_tokens=50, cacheable=True, **more)


@pytest.mark.parametrize(
    ("fallback", "name"),
    [
        (Target(SECOND), f"{MODEL} at second"),
        (Target(SECOND, OTHER), f"{OTHER} at second"),
        (Target(FIRST, OTHER), f"{OTHER} at first"),
        (Target(Endpoint.pool([SECOND, FIRST]), OTHER), f"{OTHER} at second"),
        (Target(Endpoint("http://second/v1", uds="/b.sock")), f"{MODEL} at second"),
    ],
)
async def test_an_answer_of_a_fallback_is_not_given_as_the_first_choices(
    autojump_clock, fallback, name
):
    provider = Provider({f"{MODEL} at first"})
    async with troupe_of(provider, fallback) as troupe:
        response = await troupe.complete(asked())
        assert (response.text, response.fallback) == (name, 1)
        provider.down.clear()
        for route in ("live", "cache"):
            response = await troupe.complete(asked())
            assert (response.text, response.route) == (f"{MODEL} at first", route)
            assert response.fallback == 0


async def test_an_answer_of_a_fallback_is_had_where_that_target_is_the_first_choice(tmp_path):
    provider, cache = Provider({"first"}), CachePolicy(path=tmp_path / "cache")
    async with troupe_of(provider, Target(SECOND, OTHER), cache=cache) as troupe:
        await troupe.complete(asked())
    async with troupe_of(provider, endpoint=SECOND, cache=cache) as troupe:
        response = await troupe.complete(attrs.evolve(asked(), model=OTHER))
        assert (response.text, response.route) == (f"{OTHER} at second", "cache")
        response = await troupe.complete(asked())
        assert (response.text, response.route) == (f"{MODEL} at second", "live")


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ({"uds": "/a.sock"}, {"uds": "/b.sock"}),
        ({"headers": {"openai-project": "a"}}, {"headers": {"openai-project": "b"}}),
        ({"query": {"api-version": "1"}}, {"query": {"api-version": "2"}}),
        ({"vendor": "openai"}, {"vendor": "compatible"}),
    ],
)
async def test_two_ways_under_one_url_share_no_answers_of_a_file(tmp_path, one, two):
    provider, cache = Provider(), CachePolicy(path=tmp_path / "cache")
    routes = []
    for way, key in ((one, "sk-a-0123456789"), (two, "sk-a-0123456789"), (one, "sk-b-0123456789")):
        endpoint = Endpoint("http://gw/v1", key, **way)
        async with troupe_of(provider, endpoint=endpoint, cache=cache) as troupe:
            routes.append((await troupe.complete(asked())).route)
    assert routes == ["live", "live", "cache"], "the key does not decide which server answers"


async def test_vectors_of_a_fallbacks_model_are_not_given_as_the_first_choices(autojump_clock):
    provider = Provider({"first"})
    texts = [Request.embedding(text, model=MODEL, cacheable=True) for text in "abc"]
    async with troupe_of(provider, Target(SECOND, OTHER)) as troupe:
        ask = [partial(troupe.complete, one) for one in texts]
        down = await outcomes(*ask)
        provider.down.clear()
        up = await outcomes(*ask)
    assert "list" in {one.route for one in down}
    assert [one.embeddings[0] for one in down] == [tuple(VECTORS[OTHER])] * 3
    assert [one.embeddings[0] for one in up] == [tuple(VECTORS[MODEL])] * 3


async def test_vectors_of_two_models_are_never_in_one_response(autojump_clock):
    """A request too large for one call is sent in pieces; a fallback may answer one of them."""

    class OneOfTwo(Provider):
        async def handle_async_request(self, request):
            answer = await super().handle_async_request(request)
            self.down.add("first")
            return answer

    request = Request.embedding(["a", "b", "c", "d"], model=MODEL, cacheable=True)
    small = ListStrategy("embedding", BatchLimits(max_size=2))
    more = {"strategies": [small], "limits": Limits(in_flight=1)}
    for fallback, is_whole in ((Target(SECOND), True), (Target(SECOND, OTHER), False)):
        async with troupe_of(OneOfTwo(), fallback, **more) as troupe:
            (found,) = await outcomes(partial(troupe.complete, request))
            statistics = await troupe.cache_statistics()
        if is_whole:
            assert (len(found.embeddings), found.fallback) == (4, None)
        else:
            assert "whose vectors cannot be compared" in str(found)
            assert found.billed == "maybe"
        assert statistics.stored == 0, "L6: it belongs to no single target"


async def test_joined_calls_share_the_answer_of_a_fallback_and_later_ones_do_not(autojump_clock):
    provider = Provider({"first"})
    async with troupe_of(provider, Target(SECOND, OTHER)) as troupe:
        joined = await outcomes(*[partial(troupe.complete, asked())] * 3)
        provider.down.clear()
        await trio.sleep(3600)
        later = await troupe.complete(asked())
    assert [one.text for one in joined] == [f"{OTHER} at second"] * 3
    assert [one.fallback for one in joined] == [1] * 3
    assert later.text == f"{MODEL} at first"


async def test_a_streamed_answer_of_a_fallback_is_not_stored(autojump_clock):
    provider = Provider({"first"})
    async with troupe_of(provider, Target(SECOND)) as troupe:
        async with troupe.stream(asked()) as pieces:
            async for _ in pieces:
                pass
        assert (await troupe.cache_statistics()).stored == 0


async def test_a_cached_answer_costs_a_fallback_nothing(autojump_clock):
    """The ledger knows which endpoint was paid."""
    provider = Provider({"first"})
    async with troupe_of(provider, Target(SECOND), ledger=LedgerPolicy()) as troupe:
        await troupe.complete(asked())
        provider.down.clear()
        await outcomes(*[partial(troupe.complete, asked())] * 2)
        await troupe.complete(asked())
        costs = await troupe.costs()
    paid = {name: totals.spent.calls for name, totals in costs.by["endpoint"].items()}
    assert paid == {"first": 1, "second": 1}


async def test_the_answer_of_a_batch_is_that_of_the_member_whose_batch_api_is_used(autojump_clock):
    """In a pool, the first member that has a Batch API is used, which need not be the first one."""
    members = [
        Endpoint("http://p/v1", f"sk-{name}-0123456789", vendor, deployment=name)
        for name, vendor in (("a", "vllm"), ("b", "openai"))
    ]
    settings = {"endpoint": Endpoint.pool(members), "batches": BatchApiPolicy(gather_s=1.0)}
    request = attrs.evolve(asked(), max_tokens=5000)
    async with (
        ProviderTransport(SimulatedProvider(ProviderSettings())) as transport,
        troupe_of(transport, **settings) as troupe,
    ):
        response = await troupe.complete(attrs.evolve(request, deadline=86_400.0))
        assert (response.route, response.key_name) == ("batch", "key 2")
        assert (await troupe.complete(request)).route == "cache"
    assert members[0].identity != members[1].identity
