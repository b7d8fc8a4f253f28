"""A troupe with several keys or hosts as one endpoint: what each gets, and what fails one only."""

import json
from collections import Counter
from contextlib import asynccontextmanager
from functools import partial

import attrs
import httpx
import pytest
import trio
from fakes import MODEL, REFUSED, RESET, Reply, Script, broken, completion_json, outcomes, refusal
from structlog.testing import capture_logs

from callsheet.actors import (
    AuthenticationFailed,
    BadRequest,
    BreakerPolicy,
    Budget,
    CachePolicy,
    CallFailed,
    Endpoint,
    HedgePolicy,
    LedgerPolicy,
    Limits,
    ProviderUnavailable,
    RateLimited,
    Request,
    RetryPolicy,
    Target,
    TroupeSettings,
    Usage,
    default_prices,
    log_call,
    open_troupe,
)

HOST = "http://provider/v1"
WRONG = refusal(401, "Incorrect API key provided.", kind="invalid_request_error")
BUSY = refusal(429, "Slow down.", kind="rate_limit_error", headers={"retry-after": "30"})
DOWN = refusal(503, "Down.", after=0.1)
AT_ONCE = RetryPolicy(base_s=0.0)
OPENS = BreakerPolicy(consecutive=2, pause_s=10.0, jitter=0.0)


class Members(httpx.AsyncBaseTransport):
    """A provider with a script for each key; keys are named by their script."""

    def __init__(self, **scripts):
        self.scripts = scripts

    async def handle_async_request(self, request):
        key = request.headers["authorization"].removeprefix("Bearer ").partition("-")[0]
        return await self.scripts[key].handle_async_request(request)

    @property
    def counts(self):
        return {name: len(script.sent) for name, script in self.scripts.items()}


def member(name, **more):
    return Endpoint(HOST, f"{name}-key-0123456789", key_name=name, **more)


@asynccontextmanager
async def troupe_of(members=None, endpoints=None, **settings):
    """Open a troupe with a pool; `members` are scripts, by the name of the key."""
    transport = Members(**(members or {"a": Script(), "b": Script()}))
    pool = Endpoint.pool(endpoints or [member(name) for name in transport.scripts])
    known = {"retry": AT_ONCE, "packing": None, "endpoint": pool, "transport": transport}
    async with open_troupe(TroupeSettings(**(known | settings)), seed="pool") as troupe:
        yield troupe, transport


def asking(prompt="Hi", **more):
    return Request.of(prompt, model=MODEL, max_tokens=10, **more)


async def ask(troupe, count, **more):
    """Make calls at once; return their outcomes."""
    prompts = (f"Question {number}" for number in range(count))
    return await outcomes(*(partial(troupe.complete, asking(prompt), **more) for prompt in prompts))


# ------------------------------------------------------------------ spreading


async def test_calls_are_spread_evenly_and_the_responses_name_the_key(autojump_clock):
    async with troupe_of() as (troupe, at):
        answers = await ask(troupe, 20)
        assert at.counts == {"a": 10, "b": 10}
        assert Counter(answer.key_name for answer in answers) == {"a": 10, "b": 10}
        assert {answer.host for answer in answers} == {"provider"}


async def test_the_log_of_a_call_names_the_key(autojump_clock):
    async with troupe_of(observer=log_call) as (troupe, _at):
        with capture_logs() as logged:
            await ask(troupe, 2)
    assert sorted(event["key_name"] for event in logged) == ["a", "b"]


async def test_weights_are_settings(autojump_clock):
    endpoints = [member("a", weight=3.0), member("b")]
    async with troupe_of(endpoints=endpoints) as (troupe, at):
        await ask(troupe, 20)
        assert at.counts == {"a": 15, "b": 5}


async def test_each_key_has_the_limits_for_itself(autojump_clock):
    async with troupe_of(limits=Limits(rpm=60, burst_s=0.0)) as (troupe, at):
        await ask(troupe, 20)
        assert at.counts == {"a": 10, "b": 10}
        assert trio.current_time() == pytest.approx(10.0)  # and one second for the last response
        buckets = (await troupe.limiter_statistics()).limiter.buckets
        assert {bucket.member for bucket in buckets} == {"a", "b"}


async def test_a_key_can_have_limits_of_its_own(autojump_clock):
    more = {"limits": Limits(rpm=60, burst_s=0.0)}
    more["member_limits"] = {"b": Limits(rpm=180, burst_s=0.0)}
    async with troupe_of(**more) as (troupe, at):
        await ask(troupe, 20)
        assert at.counts == {"a": 5, "b": 15}


def test_limits_of_a_key_that_is_not_in_the_pool_are_refused():
    with pytest.raises(ValueError, match="the pool has no key named 'c'"):
        TroupeSettings(endpoint=Endpoint.pool([member("a")]), member_limits={"c": Limits()})


async def test_the_limits_of_one_key_are_learned_from_its_own_headers(autojump_clock):
    headers = {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "60s",
    }
    full = Script(Reply(headers=headers))
    async with troupe_of({"a": full, "b": Script()}) as (troupe, at):
        await ask(troupe, 2)
        await ask(troupe, 30)
        assert at.counts["a"] <= 3
        assert trio.current_time() < 10.0


async def test_each_deployment_gets_its_own_name_for_the_model(autojump_clock):
    endpoints = [member("a"), member("b", deployment="nano")]
    async with troupe_of(endpoints=endpoints) as (troupe, at):
        await ask(troupe, 2)
        models = {
            name: json.loads(script.sent[0].body)["model"] for name, script in at.scripts.items()
        }
        assert models == {"a": MODEL, "b": "nano"}


@pytest.mark.parametrize("named", [None, "nano"])
async def test_a_deployment_costs_what_the_model_costs_that_it_stands_for(autojump_clock, named):
    reply = Reply(body=completion_json(model=named))
    budget = LedgerPolicy(budgets=[Budget("1")])
    one = Endpoint(HOST, "a-key-0123456789", deployment="nano")
    more = {"endpoint": one, "ledger": budget}
    async with troupe_of({"a": Script(reply)}, **more) as (troupe, at):
        answer = await troupe.complete(asking())
        assert json.loads(at.scripts["a"].sent[0].body)["model"] == "nano"
        usage = Usage(10, 5)
        assert (answer.model, answer.cost_usd) == (MODEL, default_prices().cost(MODEL, usage))


async def test_a_plan_names_the_member_that_would_serve_the_call(autojump_clock):
    async with troupe_of(limits=Limits(rpm=1, burst_s=0.0)) as (troupe, at):
        assert (await troupe.explain(asking())).limits.member == "a"
        await troupe.complete(asking())
        assert (await troupe.explain(asking())).limits.member == "b"
        assert at.counts == {"a": 1, "b": 0}


# ------------------------------------------------------------------ what fails one only


@pytest.mark.parametrize(
    "line",
    [
        WRONG,
        refusal(403, "This key may not do this.", kind="permission_error"),
        refusal(402, "No credit.", kind="billing_error"),
        refusal(429, "You exceeded your quota.", code="insufficient_quota"),
        refusal(404, "The model does not exist.", code="model_not_found"),
    ],
)
async def test_a_key_that_is_refused_is_left_out_while_the_others_work(autojump_clock, line):
    async with troupe_of({"a": Script(line), "b": Script()}) as (troupe, at):
        with capture_logs() as logged:
            answers = await ask(troupe, 10)
            answers += await ask(troupe, 10)
        assert {answer.key_name for answer in answers} == {"b"}
        assert at.counts["a"] <= 5  # those in flight when the first refusal arrived
        (event,) = [one for one in logged if one["event"] == "pool_member_left_out"]
        assert event["endpoint"] == "provider a"
        assert "0123456789" not in str(event)


async def test_a_key_that_is_refused_is_tried_again_after_a_while_with_one_call(autojump_clock):
    a = Script(WRONG, Reply())
    async with troupe_of({"a": a, "b": Script()}) as (troupe, _at):
        await ask(troupe, 1)
        await trio.sleep(30.0)
        await ask(troupe, 4)
        assert len(a.sent) == 1
        await trio.sleep(60.0)
        await ask(troupe, 4)
        assert len(a.sent) == 2
        await ask(troupe, 4)
        assert len(a.sent) > 2


async def test_if_all_keys_are_refused_calls_fail_as_with_one(autojump_clock):
    async with troupe_of({"a": Script(WRONG), "b": Script(WRONG)}) as (troupe, at):
        (error,) = await ask(troupe, 1)
        assert isinstance(error, AuthenticationFailed)
        assert at.counts == {"a": 1, "b": 1}
        (error,) = await ask(troupe, 1)
        assert isinstance(error, AuthenticationFailed)
        assert sum(at.counts.values()) == 3  # each further call tries one
        assert "provider" in str(error)


async def test_what_the_request_causes_is_not_asked_of_another_key(autojump_clock):
    wrong = Script(refusal(400, "max_tokens is too large.", kind="invalid_request_error"))
    async with troupe_of({"a": wrong, "b": wrong}) as (troupe, _at):
        (error,) = await ask(troupe, 1)
        assert isinstance(error, BadRequest)
        assert len(wrong.sent) == 1


async def test_what_only_one_account_has_is_looked_for_in_all_and_leaves_none_out(autojump_clock):
    lost = refusal(404, "Previous response with id 'resp_1' not found.", kind="invalid_request")
    async with troupe_of({"a": Script(lost, Reply()), "b": Script()}) as (troupe, at):
        await ask(troupe, 1)
        await ask(troupe, 10)
        assert at.counts["a"] >= 5


async def test_a_call_that_one_key_refuses_for_now_goes_to_another_at_once(autojump_clock):
    async with troupe_of({"a": Script(BUSY, Reply()), "b": Script()}) as (troupe, at):
        (answer,) = await ask(troupe, 1)
        assert (answer.key_name, answer.http_requests) == ("b", 2)
        assert trio.current_time() == 2.0
        await ask(troupe, 5)
        assert at.counts == {"a": 1, "b": 6}  # a pauses for 30 s
        await trio.sleep(30.0)
        await ask(troupe, 10)
        assert at.counts["a"] > 1


async def test_if_all_keys_are_busy_a_call_waits_for_the_first_that_is_not(autojump_clock):
    soon = attrs.evolve(BUSY, headers={"retry-after": "20"})
    members = {"a": Script(soon, Reply()), "b": Script(BUSY, Reply())}
    async with troupe_of(members) as (troupe, _at):
        (answer,) = await ask(troupe, 1)
        assert (answer.key_name, answer.http_requests) == ("a", 3)
        assert 20.0 < trio.current_time() < 30.0


@pytest.mark.parametrize("line", [DOWN, broken(REFUSED, after=0.1)])
async def test_a_member_that_fails_is_left_out_until_it_is_well(autojump_clock, line):
    a = Script(*[line] * 2, *[Reply()] * 2)
    async with troupe_of({"a": a, "b": Script()}, breaker=OPENS) as (troupe, at):
        answers = await ask(troupe, 4)
        assert all(answer.key_name == "b" for answer in answers)
        await ask(troupe, 10)
        assert at.counts == {"a": 2, "b": 14}
        await trio.sleep(10.0)
        await ask(troupe, 4)
        assert at.counts["a"] == 3  # one call tries it
        await ask(troupe, 4)
        assert at.counts["a"] > 3


async def test_if_all_members_fail_calls_wait_for_them(autojump_clock):
    """R10: they are not failed, and the first that works takes them."""
    a, b = Script(*[DOWN] * 2, Reply()), Script(*[DOWN] * 2, Reply())
    patient = RetryPolicy(base_s=0.0, max_attempts=50)
    async with troupe_of({"a": a, "b": b}, breaker=OPENS, retry=patient) as (troupe, _at):
        answers = await ask(troupe, 6)
        assert not [answer for answer in answers if isinstance(answer, CallFailed)]
        assert trio.current_time() > 10.0


async def test_a_budget_bounds_the_moves(autojump_clock):
    members = {name: Script(DOWN) for name in "abc"}
    two = RetryPolicy(base_s=0.0, max_attempts=2)
    async with troupe_of(members, retry=two) as (troupe, _at):
        (error,) = await ask(troupe, 1)
        assert isinstance(error, ProviderUnavailable)
        assert error.attempts == 2


async def test_a_call_returns_to_a_member_only_after_a_pause(autojump_clock):
    slow = RetryPolicy(base_s=4.0, cap_s=4.0, max_attempts=4)
    members = {name: Script(attrs.evolve(DOWN, after=0.0)) for name in "ab"}
    async with troupe_of(members, retry=slow) as (troupe, at):
        await ask(troupe, 1)
        times = sorted(time for script in at.scripts.values() for time in script.times)
        assert times[0] == times[1] == 0.0
        assert times[2] > 0.1
        assert sorted(at.counts.values()) == [2, 2]


# ------------------------------------------------------------------ other ways


async def test_a_fallback_takes_over_when_all_members_are_out(autojump_clock):
    third = Endpoint("http://third/v1", "third-key-0123456789")
    members = {"a": Script(DOWN), "b": Script(DOWN), "third": Script()}
    endpoints = [member("a"), member("b")]
    more = {"fallbacks": [Target(third, "other")], "breaker": OPENS}
    async with troupe_of(members, endpoints, **more) as (troupe, at):
        answers = await ask(troupe, 10)
        assert {answer.host for answer in answers} == {"third"}
        sent = sum(at.counts.values())
        await ask(troupe, 10)
        assert sum(at.counts.values()) == sent + 10  # nothing is sent to members that are out


async def test_a_pool_among_the_fallbacks_is_tried_in_order(autojump_clock):
    members = {"first": Script(WRONG), "a": Script(WRONG), "b": Script()}
    more = {"fallbacks": [Target(Endpoint.pool([member("a"), member("b")]))]}
    async with troupe_of(members, [member("first")], **more) as (troupe, at):
        (answer,) = await ask(troupe, 1)
        assert answer.key_name == "b"
        assert at.counts == {"first": 1, "a": 1, "b": 1}


async def test_a_stream_moves_on_before_its_first_piece(autojump_clock):
    async with (
        troupe_of({"a": Script(WRONG), "b": Script()}) as (troupe, _at),
        troupe.stream(asking()) as items,
    ):
        *pieces, response = [item async for item in items]
        assert response.key_name == "b"
        assert "".join(piece.text for piece in pieces) == "Hello"


async def test_hedges_go_to_the_same_member(autojump_clock):
    async with troupe_of(hedging=HedgePolicy()) as (troupe, at):
        await ask(troupe, 4)
        assert at.counts == {"a": 2, "b": 2}


async def test_the_statistics_are_by_member(autojump_clock):
    async with troupe_of({"a": Script(DOWN), "b": Script()}, breaker=OPENS) as (troupe, _at):
        await ask(troupe, 4)
        breakers = dict((await troupe.request_statistics()).breakers)
        assert {name: one.state for name, one in breakers.items()} == {
            "provider a": "open",
            "provider b": "closed",
        }


async def test_the_ledger_has_lines_for_each_key_by_its_name(autojump_clock):
    third = Endpoint("http://third/v1", "third-key-0123456789")
    members = {"a": Script(*[Reply()] * 5, WRONG), "b": Script(*[Reply()] * 5, WRONG)}
    members["third"] = Script()
    more = {"fallbacks": [Target(third)], "ledger": LedgerPolicy()}
    async with troupe_of(members, [member("a"), member("b")], **more) as (troupe, at):
        await ask(troupe, 12)
        costs = await troupe.costs()
    spent = {name: totals.spent.calls for name, totals in costs.by["endpoint"].items()}
    assert spent == {"": 0, "provider a": 5, "provider b": 5, "third": 2}
    assert costs.totals.spent.calls == 12
    assert at.counts["third"] == 2


async def test_what_may_be_billed_is_in_the_line_of_the_key_that_was_asked_last(autojump_clock):
    broke = broken(RESET)
    more = {"ledger": LedgerPolicy(), "retry": RetryPolicy(max_attempts=1)}
    async with troupe_of({"a": Script(), "b": Script(broke)}, **more) as (troupe, _at):
        await ask(troupe, 2)
        found = (await troupe.costs()).by["endpoint"]
    assert found["provider b"].maybe_billed.calls == found["provider a"].spent.calls == 1


async def test_keys_of_one_deployment_share_the_responses_in_the_cache(autojump_clock):
    async with troupe_of(cache=CachePolicy(path=None)) as (troupe, at):
        for _ in range(4):
            await troupe.complete(asking(cacheable=True))
        assert sum(at.counts.values()) == 1


async def test_the_cache_survives_another_key(autojump_clock, tmp_path):
    """L6, L8: no key is part of what a response is stored under."""
    policy = CachePolicy(path=tmp_path / "cache.sqlite3")
    async with troupe_of({"a": Script()}, [member("a")], cache=policy) as (troupe, at):
        await troupe.complete(asking(cacheable=True))
    async with troupe_of(cache=policy) as (troupe, at):
        assert (await troupe.explain(asking(cacheable=True))).route == "cache"
        assert (await troupe.complete(asking(cacheable=True))).route == "cache"
        assert at.counts == {"a": 0, "b": 0}


async def test_a_response_is_stored_for_the_deployment_that_sent_it(autojump_clock, tmp_path):
    policy = CachePolicy(path=tmp_path / "cache.sqlite3")
    nano, mini = member("a", deployment="nano"), member("b", deployment="mini")
    members = {"a": Script(WRONG), "b": Script()}
    async with troupe_of(members, [nano, mini], cache=policy) as (troupe, at):
        for _ in range(2):
            await troupe.complete(asking(cacheable=True))  # the second from memory
        assert at.counts == {"a": 1, "b": 1}
    async with troupe_of(endpoints=[nano, mini], cache=policy) as (troupe, at):
        assert (await troupe.complete(asking(cacheable=True))).route == "cache"
    async with troupe_of(endpoints=[nano], cache=policy) as (troupe, at):
        assert (await troupe.complete(asking(cacheable=True))).route == "live"
    async with troupe_of(endpoints=[mini], cache=policy) as (troupe, at):
        assert (await troupe.complete(asking(cacheable=True))).route == "cache"


async def test_an_error_names_the_key_and_never_shows_it(autojump_clock):
    members = {"a": Script(refusal(401, "Wrong key a-key-0123456789."))}
    async with troupe_of(members) as (troupe, _at):
        (error,) = await ask(troupe, 1)
        assert "provider a returned 401" in str(error)
        assert "a-key-0123456789" not in str(error)


async def test_a_call_that_is_cancelled_while_it_moves_leaves_nothing(autojump_clock):
    async with troupe_of({"a": Script(BUSY), "b": Script(BUSY)}) as (troupe, _at):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(troupe.complete, asking())
            await trio.sleep(5.0)
            nursery.cancel_scope.cancel()
        assert (await troupe.limiter_statistics()).limiter.in_flight == 0


async def test_a_deadline_ends_a_call_that_no_member_can_serve(autojump_clock):
    async with troupe_of({"a": Script(BUSY), "b": Script(BUSY)}) as (troupe, _at):
        with pytest.raises(RateLimited, match="deadline"):
            await troupe.complete(asking(), timeout=10.0)


async def test_no_call_waits_for_members_that_fail_beyond_its_deadline(autojump_clock):
    async with troupe_of({"a": Script(DOWN), "b": Script(DOWN)}, breaker=OPENS) as (troupe, _at):
        for words in ("all members stay open beyond the deadline", "all members of the pool fail"):
            with pytest.raises(CallFailed, match=words):
                await troupe.complete(asking(), timeout=5.0)


async def test_a_pool_of_one_is_like_its_endpoint(autojump_clock):
    async with troupe_of({"a": Script(DOWN, Reply(body=completion_json("Done")))}) as (troupe, at):
        assert (await troupe.complete(asking())).text == "Done"
        assert at.counts == {"a": 2}
