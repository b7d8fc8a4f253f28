"""A whole troupe: events, deadlines, and closing."""

from functools import partial
from math import inf

import httpx
import pytest
import trio
from fakes import URL, Journal, Reply, Script, Stage, broken, call, outcomes, refusal
from test_troupe_crashes import Poison
from troupe_calls import completing, settings_for, text_of

from callsheet.actors import (
    BatchApiPolicy,
    BatchApiStatistics,
    BatcherActor,
    BatchingStatistics,
    Budget,
    BudgetExceeded,
    CachePolicy,
    CacheStatistics,
    CallFailed,
    CostStatistics,
    Endpoint,
    LedgerPolicy,
    LimiterStatistics,
    Limits,
    RateLimited,
    Request,
    RequestActor,
    RequestStatistics,
    RetryPolicy,
    Timeouts,
    cast_troupe,
    open_troupe,
)
from callsheet.runtime import ActorCrashed, AskFailed, AskTimedOut, RestartPolicy, open_runtime
from callsheet.simulator.app import Provider
from callsheet.simulator.faults import Faults
from callsheet.simulator.inprocess import ProviderTransport
from callsheet.simulator.settings import ProviderSettings

# ----------------------------------------------------------------------------------- statistics


async def test_each_stage_has_a_method_for_its_statistics(autojump_clock):
    stages = {"cache": CachePolicy(), "ledger": LedgerPolicy(), "batches": BatchApiPolicy()}
    async with open_troupe(settings_for(Script(), **stages)) as troupe:
        assert isinstance(await troupe.cache_statistics(), CacheStatistics)
        assert isinstance(await troupe.batching_statistics(), BatchingStatistics)
        assert isinstance(await troupe.costs(), CostStatistics)
        assert isinstance(await troupe.batch_api_statistics(), BatchApiStatistics)
        assert isinstance(await troupe.limiter_statistics(), LimiterStatistics)
        assert isinstance(await troupe.request_statistics(), RequestStatistics)


async def test_statistics_of_a_stage_that_the_troupe_lacks_are_an_error(autojump_clock):
    async with open_troupe(settings_for(Script())) as troupe:
        for method, setting in (
            (troupe.cache_statistics, "cache=CachePolicy"),
            (troupe.costs, "ledger=LedgerPolicy"),
            (troupe.batch_api_statistics, "batches=BatchApiPolicy"),
        ):
            with pytest.raises(ValueError, match=setting):
                await method()


# ------------------------------------------------------------------ in a runtime of the program


async def test_two_troupes_live_beside_an_actor_of_the_users_own(autojump_clock):
    one, other = Script(Reply(after=1)), Script(Reply(after=2))
    async with open_runtime("mine") as runtime:
        neighbour = await runtime.spawn("neighbour", partial(Stage, Journal()))
        first = await cast_troupe(runtime, settings_for(one), prefix="one-")
        second = await cast_troupe(runtime, settings_for(other), prefix="other-")
        found = await outcomes(
            *completing(first, "a", "b"),
            *completing(second, "c"),
            partial(neighbour.ask, call("d")),
        )
        assert [text_of(outcome) for outcome in found] == ["Hello"] * 3 + ["about d"]
        assert [actor.path for actor in runtime.snapshot().actors] == [
            "mine/neighbour",
            *(
                f"mine/{prefix}-{name}"
                for prefix in ("one", "other")
                for name in ("requester", "limiter", "router", "batcher", "composer")
            ),
        ]
        assert all(actor.is_conserved for actor in runtime.snapshot().actors)
    assert (len(one.sent), len(other.sent)) == (2, 1)


async def test_a_troupe_may_have_a_supervisor_of_its_own(autojump_clock):
    """Crashes of its actors use up the restarts there, and not those of the program's actors."""
    script = Script()
    async with open_runtime("mine") as runtime:
        neighbour = await runtime.spawn("neighbour", partial(Stage, Journal()))
        few = RestartPolicy(max_restarts=0)
        calls = await runtime.supervise("calls", restarts=few, restart="temporary")
        poison = settings_for(script, observer=Poison("sent"))
        troupe = await cast_troupe(runtime, poison, supervisor=calls)
        assert [text_of(one) for one in await outcomes(*completing(troupe, "a"))] == ["Hello"]
        assert {actor.path for actor in runtime.snapshot().actors} == {
            "mine/neighbour",
            *(
                f"mine/calls/{name}"
                for name in ("requester", "limiter", "router", "batcher", "composer")
            ),
        }
        (crashed,) = await outcomes(*completing(troupe, "poison"))
        assert isinstance(crashed, ActorCrashed)
        await trio.testing.wait_all_tasks_blocked()
        (ended,) = await outcomes(*completing(troupe, "b"))
        assert isinstance(ended, AskFailed)
        assert text_of(await neighbour.ask(call("d"))) == "about d"
        assert {actor.path for actor in runtime.snapshot().actors} == {"mine/neighbour"}


async def test_each_stage_can_be_asked_by_its_ref(autojump_clock):
    script = Script()
    async with open_troupe(settings_for(script)) as troupe:
        for ref in (troupe.batcher, troupe.limiter, troupe.requester):
            assert (await ref.ask(call())).text == "Hello"
    assert len(script.sent) == 3


async def test_stages_can_be_left_out(autojump_clock):
    """Every stage takes the same message: here a batcher is directly before the requests."""
    script = Script(refusal(500), Reply())
    async with open_runtime() as runtime:
        endpoint = Endpoint(URL)
        last = await runtime.spawn("last", partial(RequestActor, endpoint, transport=script))
        first = await runtime.spawn("first", partial(BatcherActor, last))
        assert (await first.ask(call())).http_requests == 2


@pytest.mark.parametrize("field", ["max_concurrent_posts", "max_waiting_calls"])
@pytest.mark.parametrize("value", [0, -1, 1.5])
def test_settings_out_of_range_are_refused_by_name(field, value):
    with pytest.raises((ValueError, TypeError), match=field):
        settings_for(Script(), **{field: value})


# ------------------------------------------------------------------ one call through every stage


async def test_the_events_of_a_call_follow_it_through_every_stage(autojump_clock):
    events = []
    script = Script(refusal(503), Reply())
    async with open_troupe(settings_for(script, observer=events.append)) as troupe:
        await outcomes(*completing(troupe, "a"))
    assert [event.stage for event in events] == [
        "asked",
        "queued",
        "admitted",
        "sent",
        "retrying",
        "sent",
        "answered",
    ]
    assert {event.context.call for event in events} == {"a"}


async def test_a_rejected_request_delays_the_others_as_long_as_the_provider_requests(
    autojump_clock,
):
    line = refusal(429, headers={"retry-after": "20"}, after=0.5)
    script = Script(by_prompt={"first": [line, Reply()], "second": [Reply()]})
    async with open_troupe(settings_for(script)) as troupe:

        async def second():
            await trio.sleep(5)
            return await completing(troupe, "second")[0]()

        await outcomes(*completing(troupe, "first"), second)
    assert script.times[0] == 0
    assert len(script.times) == 3
    assert all(20.5 <= at <= 21.5 for at in script.times[1:])


async def test_a_provider_full_of_faults_costs_retries_and_loses_nothing(autojump_clock):
    faults = {
        "429": 0.05,
        "500": 0.05,
        "503": 0.05,
        "reset": 0.05,
        "stall": 0.02,
        "truncate": 0.05,
        "slow": 0.05,
    }
    provider = Provider(ProviderSettings(faults=Faults(faults), rpm=6000, burst_s=1, seed=1))
    async with ProviderTransport(provider) as transport:
        settings = settings_for(
            transport,
            limits=Limits(rpm=6000, in_flight=20),
            retry=RetryPolicy(max_attempts=12),
            timeouts=Timeouts(first_byte_s=60),
        )
        async with open_runtime(seed="seed") as runtime:
            troupe = await cast_troupe(runtime, settings)
            found = await outcomes(*completing(troupe, *map(str, range(50))))
            await trio.testing.wait_all_tasks_blocked()
            for actor in runtime.snapshot().actors:
                assert actor.is_conserved
                assert (actor.incarnation, actor.deferred, actor.in_progress) == (1, 0, ())
    assert not [outcome for outcome in found if isinstance(outcome, Exception)]
    assert sum(answer.http_requests for answer in found) == provider.stats.requests
    assert provider.stats.max_in_flight <= 20


# ------------------------------------------------------------------ deadlines in renewals


async def test_the_last_deadline_of_a_shared_call_holds_in_a_renewal_too(autojump_clock):
    """The deadline of the first caller passes during a retry; a caller that joined still waits."""
    script = Script(
        by_prompt={
            "shared": [refusal(500, headers={"retry-after": "0"}, after=1), Reply()],
            "good": [Reply(after=60)],
        }
    )
    # One request each ten seconds: "good" has the first, "shared" the second and the third.
    limits = Limits(rpm=6, burst_s=0)
    async with open_runtime(seed="seed") as runtime:
        troupe = await cast_troupe(runtime, settings_for(script, limits=limits))

        async def joiner():
            await trio.sleep(12)
            return await completing(troupe, "shared", cacheable=True, timeout=100)[0]()

        good, leader, answer = await outcomes(
            *completing(troupe, "good"),
            *completing(troupe, "shared", cacheable=True, timeout=15),
            joiner,
        )
        assert isinstance(leader, AskTimedOut)
        assert text_of(good) == "Hello", "a deadline of one call is no other's end"
        assert text_of(answer) == "Hello"
        assert runtime.snapshot()[troupe.requester.path].incarnation == 1


async def test_a_deadline_that_passes_in_a_renewal_ends_that_call_alone(autojump_clock):
    script = Script(
        by_prompt={
            "late": [refusal(500, headers={"retry-after": "0"}, after=1)],
            "good": [Reply(after=60)],
        }
    )
    async with open_runtime(seed="seed") as runtime:
        limits = Limits(rpm=6, burst_s=0)
        troupe = await cast_troupe(runtime, settings_for(script, limits=limits))
        good, late = await outcomes(
            *completing(troupe, "good"), *completing(troupe, "late", timeout=15)
        )
        assert text_of(good) == "Hello"
        assert isinstance(late, AskTimedOut)
        assert runtime.snapshot()[troupe.requester.path].incarnation == 1
        await outcomes(*completing(troupe, "good"))


# ------------------------------------------------------------------ closing


async def test_closing_lets_what_was_asked_come_to_its_end(autojump_clock):
    script = Script(Reply(after=3))
    found = []

    async def ask(function):
        found.append(text_of(await function()))

    async with trio.open_nursery() as nursery:
        settings = settings_for(script, limits=Limits(in_flight=2))
        async with open_troupe(settings) as troupe:
            for function in completing(troupe, "a", "b", "c"):
                nursery.start_soon(ask, function)
            await trio.testing.wait_all_tasks_blocked()
        assert trio.current_time() == 6
    assert found == ["Hello"] * 3
    assert script.closed == 1


async def test_closing_lets_a_call_that_must_be_sent_again_come_to_an_end_of_its_own(
    autojump_clock, log
):
    """R11: drained in reverse start order, the limiter is closed before the stage that retries."""
    script = Script(
        by_prompt={"again": [refusal(503, after=2), Reply()], "flying": [Reply(after=5)]}
    )
    found = []

    async def ask(function):
        found.extend(await outcomes(function))

    async with trio.open_nursery() as nursery, open_troupe(settings_for(script)) as troupe:
        for function in completing(troupe, "again", "flying"):
            nursery.start_soon(ask, function)
        await trio.testing.wait_all_tasks_blocked()
    assert log == [], "nothing crashes for it"
    assert all(isinstance(outcome, CallFailed) or outcome.text == "Hello" for outcome in found)


async def test_closing_takes_no_longer_than_it_may(autojump_clock):
    script = Script(Reply(after=1000))
    found = []

    async def ask(function):
        found.extend(await outcomes(function))

    async with trio.open_nursery() as nursery:
        async with open_troupe(settings_for(script), drain_s=7) as troupe:
            nursery.start_soon(ask, *completing(troupe, "a"))
            await trio.testing.wait_all_tasks_blocked()
        assert trio.current_time() == 7
    assert len(found) == 1
    assert isinstance(found[0], Exception)
    assert script.sent[0].ended_at == 7, "the connection is closed"


async def test_leaving_by_an_error_closes_the_connections_at_once(autojump_clock):
    script = Script(Reply(after=1000))
    with pytest.RaisesGroup(ZeroDivisionError):
        async with trio.open_nursery() as nursery, open_troupe(settings_for(script)) as troupe:
            nursery.start_soon(outcomes, *completing(troupe, "a"))
            await trio.testing.wait_all_tasks_blocked()
            raise ZeroDivisionError
    assert trio.current_time() == 0
    assert script.sent[0].ended_at == 0


async def test_a_provider_that_cannot_be_reached_spends_no_restarts(autojump_clock):
    """R10: an outage is not a crash."""
    script = Script(broken(httpx.ConnectError("refused"), after=0))
    async with open_runtime(seed="seed") as runtime:
        troupe = await cast_troupe(runtime, settings_for(script))
        before = runtime.snapshot().restarts_left
        found = await outcomes(*completing(troupe, *map(str, range(30))))
        assert all(isinstance(outcome, CallFailed) for outcome in found)
        assert runtime.snapshot().restarts_left == before


@pytest.mark.parametrize(
    ("attempts", "timeout"), [(1, inf), (5, 20)], ids=["no attempt left", "no time left"]
)
async def test_a_call_that_gives_up_for_too_fast_tells_the_others_to_wait(
    autojump_clock, attempts, timeout
):
    """R10: 429 parks the stage, also if the refused call is not retried."""
    line = refusal(429, headers={"retry-after": "30"}, after=0.5)
    script = Script(by_prompt={"first": [line], "second": [Reply()]})
    settings = settings_for(script, retry=RetryPolicy(max_attempts=attempts))
    async with open_troupe(settings) as troupe:

        async def second():
            await trio.sleep(5)
            return await completing(troupe, "second")[0]()

        first, answer = await outcomes(*completing(troupe, "first", timeout=timeout), second)
    assert isinstance(first, RateLimited)
    assert answer.text == "Hello"
    assert script.times[1] >= 30


async def test_statistics_are_reported_while_as_many_calls_as_may_be_are_in_flight(autojump_clock):
    script = Script(Reply(after=50.0))
    settings = settings_for(script, limits=Limits(in_flight=2))
    async with open_troupe(settings) as troupe, trio.open_nursery() as nursery:
        for ask in completing(troupe, "one", "two", "three"):
            nursery.start_soon(ask)
        await trio.sleep(1)
        await troupe.change_limits(Limits(in_flight=5))
        await trio.sleep(1)
        assert script.open == 2
        await troupe.request_statistics()
        assert trio.current_time() == 2
        nursery.cancel_scope.cancel()


async def test_budgets_change_while_a_troupe_runs(autojump_clock):
    settings = settings_for(Script(), ledger=LedgerPolicy())
    async with open_troupe(settings) as troupe:
        request = Request.of("x", model="gpt-5-nano", max_tokens=100)
        await troupe.complete(request, lane="a")
        await troupe.change_budgets([Budget("0", per="tenant", match="a")])
        with pytest.raises(BudgetExceeded):
            await troupe.complete(request, lane="a")
        await troupe.complete(request, lane="b")
    async with open_troupe(settings_for(Script())) as troupe:
        with pytest.raises(ValueError, match=r"TroupeSettings\(ledger=LedgerPolicy\(\)\)"):
            await troupe.change_budgets([])
