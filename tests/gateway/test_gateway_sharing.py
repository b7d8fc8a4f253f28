"""What calls use without knowing of it: stored responses, calls in common, cheaper tiers (L6)."""

from functools import partial

import pytest
import trio
from gateway_kit import CHAT, MODEL, Answer, chat, open_kit

from callsheet.actors import Batching, CachePolicy, Routing
from callsheet.gateway.keys import KeyFile, KeyTerms
from callsheet.simulator import ProviderSettings

QUICK = ProviderSettings(latency_s=(1.0, 1.0))
CACHED = {"cache": CachePolicy(path=None)}


async def at_once(kit, bodies, path=CHAT, **more):
    answers = [Answer() for _ in bodies]
    async with trio.open_nursery() as nursery:
        for body, answer in zip(bodies, answers, strict=True):
            nursery.start_soon(partial(kit.client.ask, path, body, answer=answer, **more))
    return answers


@pytest.mark.parametrize(
    ("allow", "requests"), [((), 2), (("prompt_cache",), 2), (("cache",), 1), (("join",), 2)]
)
async def test_a_stored_response_serves_only_what_may_use_it(autojump_clock, allow, requests):
    async with open_kit(QUICK, troupe=CACHED, allow=allow) as kit:
        answers = [await kit.client.ask(CHAT, chat()) for _ in range(2)]
        assert kit.stats.requests == requests
    hits = [answer.headers["x-callsheet-cache"] for answer in answers]
    assert hits == ["miss", "hit" if requests == 1 else "miss"]
    assert answers[0].json["choices"] == answers[1].json["choices"]
    if requests == 1:
        assert answers[1].headers["x-callsheet-cost-usd"] == "0"


@pytest.mark.parametrize(("allow", "requests"), [((), 3), (("cache",), 3), (("join",), 1)])
async def test_identical_calls_join_only_if_they_may(autojump_clock, allow, requests):
    async with open_kit(QUICK, allow=allow) as kit:
        answers = await at_once(kit, [chat(), chat(), chat()])
        assert kit.stats.requests == requests
    assert {answer.status for answer in answers} == {200}
    routes = sorted(answer.headers["x-callsheet-route"] for answer in answers)
    assert routes == (["joined", "joined", "live"] if requests == 1 else ["live"] * 3)


async def test_a_client_may_want_a_response_of_its_own(autojump_clock):
    async with open_kit(QUICK, troupe=CACHED, allow=("cache", "join")) as kit:
        for control in ({}, {"cache-control": "no-cache"}):
            await kit.client.ask(CHAT, chat(), headers=control)
        assert kit.stats.requests == 2


@pytest.mark.parametrize(("allow", "requests"), [((), 4), (("lists",), 1)])
async def test_texts_are_embedded_in_one_list_only_if_they_may(autojump_clock, allow, requests):
    combining = {"batching": Batching(max_wait_s=0.2)}
    bodies = [{"model": "text-embedding-3-small", "input": f"text {n}"} for n in range(4)]
    async with open_kit(QUICK, troupe=combining, allow=allow) as kit:
        answers = await at_once(kit, bodies, path="/v1/embeddings")
        assert kit.stats.requests == requests
    assert all(len(answer.json["data"][0]["embedding"]) > 10 for answer in answers)
    assert sum(answer.json["usage"]["prompt_tokens"] for answer in answers) > 0


async def test_a_list_of_a_key_goes_before_that_of_the_file(autojump_clock, tmp_path):
    with KeyFile(tmp_path / "keys.sqlite3", create=True) as store:
        wide = store.create(KeyTerms(name="wide", allow=("cache",)))
        usual = store.create(KeyTerms(name="usual"))
    async with open_kit(QUICK, troupe=CACHED, keys=store.path, allow=()) as kit:
        for issued, requests in ((usual, 2), (wide, 3)):
            headers = {"authorization": f"Bearer {issued.secret}"}
            for _ in range(2):
                await kit.client.ask(CHAT, chat(), headers=headers)
            assert kit.stats.requests == requests


@pytest.mark.parametrize("tier", [None, "flex"])
async def test_a_deadline_lets_a_call_take_the_cheapest_tier_in_time(autojump_clock, tier):
    more = {} if tier is None else {"service_tier": tier}
    async with open_kit(QUICK, troupe={"routing": Routing(flex_from_s=60.0)}) as kit:
        headers = {"x-callsheet-deadline": "900"}
        late = await kit.client.ask(CHAT, chat(**more), headers=headers)
        soon = await kit.client.ask(CHAT, chat())
    assert late.headers["x-callsheet-route"] == "flex"
    assert soon.headers["x-callsheet-route"] == "live"
    cost = [float(answer.headers["x-callsheet-cost-usd"]) for answer in (late, soon)]
    assert cost[0] == pytest.approx(cost[1] / 2)
    assert set(kit.stats.billed[MODEL]) == {"flex", "default"}


async def test_a_tier_without_a_deadline_goes_on_as_it_is(autojump_clock):
    """L15."""
    async with open_kit(QUICK) as kit:
        answer = await kit.client.ask(CHAT, chat(service_tier="flex"))
        assert set(kit.stats.billed[MODEL]) == {"flex"}
    assert answer.json["service_tier"] == "flex"
    assert answer.headers["x-callsheet-route"] == "flex"


@pytest.mark.parametrize("routing", [Routing(), Routing(flex=False)])
async def test_a_deadline_does_not_make_a_flex_call_dearer(autojump_clock, routing):
    """A deadline below `flex_from_s` is too short for the router to choose this tier by itself."""
    headers = {"x-callsheet-deadline": "600"}
    async with open_kit(QUICK, troupe={"routing": routing}) as kit:
        await kit.client.ask(CHAT, chat(service_tier="flex"), headers=headers)
        assert set(kit.stats.billed[MODEL]) == {"flex"}
