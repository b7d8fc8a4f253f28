"""A pool of keys on every way of a call: alone, joined, packed, in lists, in batches, at random."""

from collections import Counter
from functools import partial
from random import Random

import attrs
import httpx
import pytest
import trio
from fakes import REFUSED, RESET, Reply, Script, broken, outcomes, refusal
from test_endpoint_pool import OPENS, WRONG, ask, asking, member, troupe_of
from test_troupe_crashes import Poison
from test_whole_way import REVIEWS, WAYS, labelling

from callsheet.actors import (
    BatchApiPolicy,
    BreakerPolicy,
    CallFailed,
    Endpoint,
    LedgerPolicy,
    Limits,
    Request,
    Response,
    RetryPolicy,
    TroupeSettings,
    open_troupe,
)
from callsheet.runtime import AskTimedOut
from callsheet.simulator.app import Provider
from callsheet.simulator.inprocess import ProviderTransport
from callsheet.simulator.settings import ProviderSettings


class ByKey(httpx.AsyncBaseTransport):
    """The simulated provider; it counts the requests of each key, by the path."""

    def __init__(self, provider):
        self.provider = provider
        self.counts = Counter()

    async def handle_async_request(self, request):
        key = request.headers["authorization"].removeprefix("Bearer ").partition("-")[0]
        self.counts[key, request.url.path] += 1
        return await self.provider.handle_async_request(request)


async def through(pool, requests, **more):
    """Return the responses, how many requests each key has sent by path, and the costs."""
    async with ProviderTransport(Provider(ProviderSettings())) as provider:
        transport = ByKey(provider)
        known = {
            "endpoint": pool,
            "transport": transport,
            "ledger": LedgerPolicy(),
            "batches": BatchApiPolicy(dialect="openai"),
        }
        async with open_troupe(TroupeSettings(**(known | more))) as troupe:
            answers = await outcomes(*(partial(troupe.complete, one) for one in requests))
            costs = await troupe.costs()
    return answers, transport.counts, costs


TWO = Endpoint.pool([member("a"), member("b")])


@pytest.mark.parametrize("way", WAYS)
async def test_every_way_comes_to_the_same_with_a_pool_as_with_one_key(autojump_clock, way):
    requests = [labelling(review, **WAYS[way]) for review in REVIEWS]
    one, _, _ = await through(member("a"), requests)
    two, counts, costs = await through(TWO, requests)
    assert [answer.text for answer in two] == [answer.text for answer in one]
    assert len({key for key, _ in counts}) == (1 if "batch" in way else 2)
    assert costs.totals.reserved.calls == 0
    paid = sum(totals.spent.usd for totals in costs.by["endpoint"].values())
    assert paid == costs.totals.spent.usd


async def test_lists_are_spread_over_the_keys_of_one_vendor(autojump_clock):
    texts = [
        Request.embedding(f"Text {number}", model="text-embedding-3-small") for number in range(50)
    ]
    answers, counts, _ = await through(TWO, texts)
    assert all(answer.embeddings for answer in answers)
    assert sum(counts.values()) < 10


async def test_a_pool_of_several_vendors_takes_no_way_that_only_one_has(autojump_clock):
    mixed = Endpoint.pool([member("a"), attrs.evolve(member("b"), vendor="openrouter")])
    texts = [Request.embedding(f"Text {number}", model="m") for number in range(4)]
    answers, _, _ = await through(mixed, texts)
    assert {answer.route for answer in answers} == {"live"}


@pytest.mark.parametrize("stage", ["admitted", "sent"])
async def test_after_a_crash_of_a_stage_every_member_gets_calls_again(autojump_clock, log, stage):
    a = Script(*[refusal(503, "Down.")] * 2, Reply())
    more = {"breaker": OPENS, "observer": Poison(stage)}
    async with troupe_of({"a": a, "b": Script()}, **more) as (troupe, at):
        await ask(troupe, 4)
        assert at.counts["a"] == 2
        await outcomes(partial(troupe.complete, asking("poison")))
        await trio.sleep(10.0)
        await ask(troupe, 10)
        await ask(troupe, 10)
        assert at.counts["a"] > 5
        assert (await troupe.limiter_statistics()).limiter.in_flight == 0


# ------------------------------------------------------------------ at random

KINDS = [
    Reply(),
    Reply(after=0.1),
    Reply(after=3.0),
    WRONG,
    refusal(403, "Not this model."),
    refusal(404, "No such model."),
    refusal(429, "Slow down.", headers={"retry-after": "5"}),
    refusal(429, "No credit.", code="insufficient_quota"),
    refusal(500, "Sorry."),
    refusal(503, "Down.", after=0.0),
    broken(REFUSED, after=0.1),
    broken(RESET),
    Reply(body="no JSON"),
    Reply(body=b""),
]


@pytest.mark.parametrize(
    "seed", [*range(2), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 30))]
)
async def test_whatever_the_members_do_every_call_ends_and_nothing_is_left(autojump_clock, seed):
    random = Random(seed)
    scripts = {name: Script(*random.choices(KINDS, k=60), Reply()) for name in "abc"}
    more = {
        "limits": Limits(rpm=600, in_flight=random.randint(2, 20)),
        "breaker": BreakerPolicy(consecutive=3, pause_s=4.0),
        "retry": RetryPolicy(base_s=0.1),
        "ledger": LedgerPolicy(),
    }
    async with troupe_of(scripts, **more) as (troupe, at):
        found = await ask(troupe, 60, timeout=random.choice([20.0, 600.0]))
        await trio.sleep(4000.0)
        found += await ask(troupe, 60)
        await trio.sleep(4000.0)
        assert not [
            one for one in found if not isinstance(one, Response | CallFailed | AskTimedOut)
        ]
        state = (await troupe.limiter_statistics()).limiter
        assert (state.in_flight, state.waiting) == (0, 0)
        costs = await troupe.costs()
        assert costs.open_calls == 0
        assert costs.totals.spent.calls == sum(isinstance(one, Response) for one in found)
        breakers = (await troupe.request_statistics()).breakers
        assert not [name for name, one in breakers if one.under_way]
        for script in at.scripts.values():
            script.lines = [Reply()]
        for _ in range(4):  # one call tries each member that is left out
            await ask(troupe, 10)
            await trio.sleep(4000.0)
        before = at.counts
        answers = await ask(troupe, 30)
        assert {answer.key_name for answer in answers} == {"a", "b", "c"}
        assert sum(at.counts.values()) == sum(before.values()) + 30
