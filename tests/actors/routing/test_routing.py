"""The router: the cheapest route in time, and the live route after a failure."""

from decimal import Decimal
from functools import partial
from math import inf

import attrs
import pytest
import trio
from fakes import URL, Chorus, Reply, Script, answer_to, outcomes
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors import (
    BadRequest,
    CachePolicy,
    CallContext,
    CallFailed,
    Complete,
    Endpoint,
    ProviderUnavailable,
    RateLimited,
    Request,
    RouterActor,
    Routing,
    TroupeSettings,
    Usage,
    default_prices,
    open_troupe,
)
from callsheet.actors.prompt_cache import ExpectedReads
from callsheet.actors.routing.actor import Pace
from callsheet.actors.routing.routes import BatchRoute, LiveRoute, Quote, TierRoute, choose
from callsheet.actors.vendors.format import BatchLimits
from callsheet.runtime import Actor, AskTimedOut, Verdict, handles, open_runtime

PRICES = default_prices()
NANO = "gpt-5-nano"  # has a price for each tier
FLEX = TierRoute("flex", PRICES, Decimal("0.5"), from_s=60.0, usual_s=30.0)
PRIORITY = TierRoute("priority", PRICES, Decimal(2), from_s=0.0, usual_s=0.5)


class Tiers(Actor):
    """A stage that responds by the service tier, and records requests and cancellations."""

    def __init__(self, sent, seconds=None, errors=None):
        self.sent = sent
        self.seconds = seconds or {}
        self.errors = errors or {}

    @handles(Complete, raises=(CallFailed,))
    async def complete(self, message):
        tier = message.request.extra_body.get("service_tier", "default")
        self.sent.append(tier)
        try:
            await trio.sleep(self.seconds.get(tier, 1.0))
        except trio.Cancelled:
            self.sent.append(f"{tier} given up")
            raise
        if tier in self.errors:
            raise self.errors[tier]
        return answer_to(tier)


async def router_to(runtime, sent, *routes, seconds=None, errors=None):
    live = await runtime.spawn("live", partial(Tiers, sent, seconds, errors), concurrency=50)
    return await runtime.spawn("router", partial(RouterActor, live, [LiveRoute(PRICES), *routes]))


def asking(router, *, deadline=None, model=NANO, timeout=inf, **more):
    """Ask as the troupe does: the deadline of a request is that of the ask."""
    request = Request.of("Hi", model=model, max_tokens=5, deadline=deadline, **more)
    due = timeout if deadline is None else min(timeout, deadline)
    return router.ask(Complete(request, CallContext("a")), timeout=due)


# ------------------------------------------------------------------ the choice

costs = st.none() | st.decimals(0, 10, places=4)
offers = st.lists(
    st.builds(
        Quote,
        route=st.sampled_from(["live", "flex", "batch"]),
        cost_usd=costs,
        factor=st.sampled_from([Decimal("0.5"), Decimal(1), Decimal(2)]),
        expected_s=st.floats(0, 100),
        latest_s=st.just(inf),
    ),
    min_size=1,
    max_size=6,
)


@given(offers, st.floats(0, 120))
def test_the_cheapest_in_time_is_taken_and_no_unknown_price_for_a_low_one(offers, left_s):
    chosen = choose(offers, left_s)
    in_time = [offer for offer in offers if offer.expected_s <= left_s]
    if not in_time:
        assert chosen.expected_s == min(offer.expected_s for offer in offers)
        return
    assert chosen in in_time
    known = [offer.cost_usd for offer in in_time if offer.cost_usd is not None]
    if known:
        assert chosen.cost_usd == min(known)
    else:
        assert chosen.factor == min(offer.factor for offer in in_time)


def test_without_an_offer_there_is_no_choice():
    with pytest.raises(ValueError, match="no route"):
        choose([], 1.0)


@given(st.lists(st.floats(0.01, 1000), min_size=1, max_size=50))
def test_what_is_expected_is_no_less_than_what_most_took_lately(times):
    pace = Pace()
    for seconds in times:
        pace.learn("live", "m", seconds)
    assert min(times) <= pace.expected_s("live", "m") <= 4 * max(times)
    assert pace.expected_s("live", "other") is None


@pytest.mark.parametrize(("name", "value"), [("flex_from_s", -1), ("batch", 3), ("flex", "yes")])
def test_settings_out_of_range_are_refused_by_name(name, value):
    with pytest.raises((ValueError, TypeError), match=name):
        Routing(**{name: value})


# ------------------------------------------------------------------ the way


@pytest.mark.parametrize("deadline", [None, 59.0])
async def test_a_request_that_cannot_wait_is_sent_live(autojump_clock, deadline):
    sent = []
    async with open_runtime() as runtime:
        router = await router_to(runtime, sent, FLEX)
        assert (await asking(router, deadline=deadline)).route == "live"
    assert sent == ["default"]


async def test_a_request_that_can_wait_takes_the_cheaper_route_and_its_response_names_it(
    autojump_clock,
):
    sent = []
    async with open_runtime() as runtime:
        router = await router_to(runtime, sent, FLEX)
        answer = await asking(router, deadline=3600.0)
    assert (answer.route, answer.text, sent) == ("flex", "about flex", ["flex"])


async def test_a_tier_whose_price_is_not_known_is_not_taken_for_a_cheap_one(autojump_clock):
    sent = []
    async with open_runtime() as runtime:
        router = await router_to(runtime, sent, FLEX)
        await asking(router, deadline=3600.0, model="gpt-4o")
        await asking(router, deadline=3600.0, model="unknown-model")
    assert sent == ["default", "flex"], "where no price is known, the factor decides"


@pytest.mark.parametrize("error", [RateLimited("busy"), ProviderUnavailable("out")])
async def test_under_the_cheaper_way_is_a_net(autojump_clock, error):
    sent = []
    async with open_runtime() as runtime:
        router = await router_to(runtime, sent, FLEX, errors={"flex": error})
        answer = await asking(router, deadline=3600.0)
        assert runtime.snapshot()[router.path].deferred == 0
    assert sent == ["flex", "default"]
    assert (answer.route, answer.text) == ("live", "about default")


async def test_what_is_wrong_with_the_request_is_not_tried_again(autojump_clock):
    sent = []
    async with open_runtime() as runtime:
        router = await router_to(runtime, sent, FLEX, errors={"flex": BadRequest("no")})
        with pytest.raises(BadRequest):
            await asking(router, deadline=3600.0)
    assert sent == ["flex"]


async def test_when_the_caller_is_cancelled_so_is_the_call_on_its_route(autojump_clock):
    """R4, on every route."""
    sent = []
    async with open_runtime() as runtime:
        router = await router_to(runtime, sent, FLEX, seconds={"flex": 50.0})
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(asking, router, deadline=3600.0))
            await trio.sleep(20)
            nursery.cancel_scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
    assert sent == ["flex", "flex given up"]


async def test_a_call_that_is_late_on_its_route_may_have_run(autojump_clock):
    async with open_runtime() as runtime:
        router = await router_to(runtime, [], FLEX, seconds={"flex": 80.0})
        with pytest.raises(AskTimedOut) as caught:
            await asking(router, deadline=70.0)
    assert caught.value.verdict is Verdict.MAY_HAVE_RUN


async def test_a_route_that_has_proved_too_slow_is_not_taken(autojump_clock):
    sent = []
    async with open_runtime() as runtime:
        router = await router_to(runtime, sent, FLEX, seconds={"flex": 80.0})
        for _ in range(8):
            await asking(router, deadline=1000.0)
        sent.clear()
        await asking(router, deadline=79.0)
        await asking(router, deadline=1000.0)
    assert sent == ["default", "flex"]


async def test_a_dearer_route_is_taken_only_if_the_usual_one_would_be_late(autojump_clock):
    sent = []
    async with open_runtime() as runtime:
        router = await router_to(runtime, sent, PRIORITY, seconds={"default": 4.0, "priority": 0.4})
        for _ in range(8):
            await asking(router, deadline=100.0)
        assert set(sent) == {"default"}
        sent.clear()
        await asking(router, deadline=2.0)
    assert sent == ["priority"]


async def test_a_route_may_lead_to_an_actor_of_its_own(autojump_clock):
    """A fake of the Batch API actor; the caller gets the route that it sets."""
    sent, batched = [], []

    class Slow(Tiers):
        @handles(Complete)
        async def complete(self, message):
            batched.append(trio.current_time())
            await trio.sleep(600)
            return attrs.evolve(answer_to("Hi"), route="batch")

    async with open_runtime() as runtime:
        slow = await runtime.spawn("slow", partial(Slow, sent))
        router = await router_to(runtime, sent, BatchRoute(slow, PRICES, 3600.0), FLEX)
        answer = await asking(router, deadline=86_400.0)
        assert (answer.route, sent, len(batched)) == ("batch", [], 1)
        assert (await asking(router, deadline=1800.0)).route == "flex"


class Kept(Actor):
    """A stage of live calls, whose prompts the provider has in its cache, or not."""

    def __init__(self, sent, cached_tokens):
        self.sent = sent
        self.cached_tokens = cached_tokens

    @handles(Complete)
    async def complete(self, message):
        self.sent.append(message.request.messages[-1].content)
        usage = Usage(2120, 2, self.cached_tokens)
        return attrs.evolve(answer_to("Hi"), usage=usage)


async def routes_of_calls_that_begin_alike(cached_tokens, count):
    """Return the routes of calls that can wait a day, one after another."""
    sent, routes = [], []
    endpoint, there = Endpoint.of("openai", "sk-0123456789"), PRICES.at_vendor("openai")
    reads = ExpectedReads(endpoint, PRICES, "auto")
    async with open_runtime() as runtime:
        live = await runtime.spawn("live", partial(Kept, sent, cached_tokens))
        batch = await runtime.spawn("batch", partial(Kept, [], 0))
        both = [LiveRoute(there), BatchRoute(batch, there, 3600.0)]
        router = await runtime.spawn("router", partial(RouterActor, live, both, reads))
        for number in range(count):
            request = Request.of(
                f"Text {number}",
                system="Judge the text by the rules, and answer in one word. " * 160,
                model="gpt-5.4-nano",
                max_tokens=5,
                deadline=86_400.0,
            )
            await router.ask(Complete(request, CallContext("a")), timeout=86_400.0)
            routes.append("live" if f"Text {number}" in sent else "batch")
    return routes


async def test_a_call_is_sent_live_where_its_cached_prompt_costs_less_than_a_batch(autojump_clock):
    """A read costs a tenth, a batch half; fifteen calls a minute have a key and a first call."""
    routes = await routes_of_calls_that_begin_alike(1920, 30)
    assert routes == ["batch", *["live"] * 14] * 2


async def test_batches_are_taken_again_if_the_provider_caches_nothing(autojump_clock):
    routes = await routes_of_calls_that_begin_alike(0, 14)
    assert routes == ["batch", *["live"] * 8, *["batch"] * 5]


# ------------------------------------------------------------------ told beforehand


def troupe_settings(transport, **more):
    return TroupeSettings(endpoint=Endpoint(URL, vendor="openai"), transport=transport, **more)


async def test_a_plan_has_route_price_and_time_and_sends_nothing(autojump_clock):
    script = Script(Reply())
    async with open_troupe(troupe_settings(script)) as troupe:
        now = await troupe.explain(Request.of("Hi" * 100, model=NANO, max_tokens=100))
        later = await troupe.explain(
            Request.of("Hi" * 100, model=NANO, max_tokens=100, deadline=3600.0)
        )
    assert script.sent == []
    assert (now.route, later.route) == ("live", "flex")
    assert now.cost_usd == PRICES.cost(NANO, now.usage) > 0
    assert later.cost_usd == now.cost_usd / 2
    assert [offer.route for offer in later.quotes] == ["live", "flex"]
    assert [offer.route for offer in now.quotes] == ["live"]
    assert str(now).startswith("live, for 0.0000")


async def test_a_plan_knows_what_is_under_way_and_what_is_in_the_cache(autojump_clock):
    request = Request.of("Hi", model=NANO, cacheable=True)
    routes = []
    settings = troupe_settings(Script(Reply(after=5)), cache=CachePolicy(path=None))
    async with open_troupe(settings) as troupe, trio.open_nursery() as nursery:
        routes.append((await troupe.explain(request)).route)
        nursery.start_soon(troupe.complete, request)
        await trio.sleep(1)
        joined = await troupe.explain(request)
        routes.append(joined.route)
        await trio.sleep(10)
        cached = await troupe.explain(request)
        routes.append(cached.route)
        answer = await troupe.complete(request)
    assert routes == ["live", "joined", "cache"]
    assert (joined.cost_usd, cached.cost_usd, cached.expected_s) == (0, 0, 0)
    assert (answer.route, answer.cost_usd, answer.http_requests) == ("cache", 0, 0)


async def test_a_plan_shows_whether_a_call_would_be_shared(autojump_clock):
    settings = troupe_settings(Script(Reply()), strategies=[Chorus(BatchLimits(max_size=9))])

    def patient(prompt):
        return Request.of(prompt, model=NANO, deadline=86_400.0)

    async with open_troupe(settings) as troupe, trio.open_nursery() as nursery:
        nursery.start_soon(outcomes, partial(troupe.complete, patient("one")))
        await trio.testing.wait_all_tasks_blocked()
        plan = await troupe.explain(patient("two"))
        assert (plan.sharing.strategy, plan.sharing.members) == ("chorus", 2)
        assert plan.route == "chorus+flex"
        assert plan.sharing.share < 1
        nursery.cancel_scope.cancel()
