"""The limiter as an actor: it never polls, and the provider never refuses."""

from functools import partial
from random import Random

import pytest
import trio
from fakes import MODEL, Behaviour, Journal, Stage, asking, call, outcomes
from limiter_stage import limiter_to, settled

from callsheet.actors import (
    DeadlineTooShort,
    Endpoint,
    Limits,
    RateLimiterActor,
    Request,
    RequestTooLarge,
    TroupeSettings,
    open_troupe,
)
from callsheet.actors.rate_limit.estimator import Estimate
from callsheet.runtime import ActorCrashed, open_runtime
from callsheet.simulator.app import Provider
from callsheet.simulator.inprocess import ProviderTransport
from callsheet.simulator.settings import ProviderSettings

# ------------------------------------------------------------------ against the built-in provider


async def test_a_strict_provider_never_refuses_and_its_limit_is_used(autojump_clock):
    """100 requests at 600 a minute, enforced by the second."""
    provider = Provider(ProviderSettings(rpm=600, burst_s=1.0))
    sent = []

    def observer(event):
        if event.stage == "sent":
            sent.append(event.at)

    async with ProviderTransport(provider) as transport:
        settings = TroupeSettings(
            endpoint=Endpoint("http://provider/v1"),
            limits=Limits(rpm=600, burst_s=1.0),
            transport=transport,
            observer=observer,
        )
        async with open_troupe(settings, seed="seed") as troupe:
            requests = [Request.of(f"Number {at}", model=MODEL) for at in range(100)]
            found = await outcomes(*(partial(troupe.complete, request) for request in requests))
    assert not [error for error in found if isinstance(error, Exception)]
    assert provider.stats.rejected == 0
    assert provider.stats.requests == len(sent) == 100
    allowed = 10 + (sent[-1] - sent[0]) * 10
    assert 0.97 <= 100 / allowed <= 1.0


async def test_a_strict_provider_never_refuses_for_tokens_either(autojump_clock):
    provider = Provider(ProviderSettings(tpm=60_000, burst_s=1.0))
    async with ProviderTransport(provider) as transport:
        settings = TroupeSettings(
            endpoint=Endpoint("http://provider/v1"),
            limits=Limits(tpm=60_000, burst_s=1.0),
            transport=transport,
        )
        async with open_troupe(settings, seed="seed") as troupe:
            random = Random(0)
            start = trio.current_time()
            requests = [
                Request.of("word " * random.randrange(1, 400), model=MODEL, max_tokens=most)
                for most in (random.choice([10, 300, 2000]) for _ in range(100))
            ]
            found = await outcomes(*(partial(troupe.complete, request) for request in requests))
            seconds = trio.current_time() - start
    assert not [error for error in found if isinstance(error, Exception)]
    assert provider.stats.rejected == 0
    guess = Estimate(0, 0)
    tokens = sum(Limits().cost(request, guess).tokens for request in requests)
    assert seconds <= tokens / 1000 + 4, "and no slower than the limit makes it"


async def test_calls_given_up_all_the_time_do_not_make_the_provider_refuse(autojump_clock):
    provider = Provider(ProviderSettings(rpm=600, burst_s=1.0))
    random = Random(3)
    async with ProviderTransport(provider) as transport:
        settings = TroupeSettings(
            endpoint=Endpoint("http://provider/v1"),
            limits=Limits(rpm=600, burst_s=1.0, in_flight=15),
            transport=transport,
        )
        async with open_troupe(settings, seed="seed") as troupe:

            async def ask(at, patience):
                await trio.sleep(at)
                with trio.move_on_after(patience):
                    return await troupe.complete(Request.of(f"{at}", model=MODEL))

            found = await outcomes(
                *(
                    partial(ask, random.uniform(0, 5), random.choice([0.0, 0.5, 2.0, 1000.0]))
                    for _ in range(100)
                )
            )
            await troupe.complete(Request.of("last", model=MODEL))
    assert provider.stats.rejected == 0
    assert provider.stats.max_in_flight <= 15
    assert provider.stats.cancelled > 0
    errors = [error for error in found if isinstance(error, Exception)]
    assert all(isinstance(error, DeadlineTooShort) for error in errors)
    assert len(errors) < 50


# ------------------------------------------------------------------ waiting


async def test_calls_are_sent_at_the_instants_the_limit_allows_in_order_of_arrival(autojump_clock):
    journal = Journal()
    async with open_runtime() as runtime:
        limiter = await limiter_to(runtime, journal, Limits(rpm=60, burst_s=3))  # a depth of 2
        await outcomes(*asking(limiter, *"abcde"))
    assert journal.began == [("a", 0), ("b", 0), ("c", 1), ("d", 2), ("e", 3)]


async def test_no_more_are_in_flight_than_allowed_and_a_place_is_taken_at_once(autojump_clock):
    journal = Journal()
    async with open_runtime() as runtime:
        limiter = await limiter_to(runtime, journal, Limits(in_flight=3))
        await outcomes(*asking(limiter, *"abcdefgh"))
        await settled(runtime)
    assert journal.most_in_hand == 3
    assert [at for _, at in journal.began] == [0, 0, 0, 1, 1, 1, 2, 2]


async def test_it_wakes_for_permits_and_ends_not_to_look(autojump_clock):
    """L4: in twenty seconds, a limiter that polls every 10 ms would wake 2,000 times."""
    async with open_runtime() as runtime:
        limiter = await limiter_to(runtime, Journal(), Limits(rpm=600, burst_s=1.0))
        await outcomes(*asking(limiter, *map(str, range(200))))
        wakes = runtime.snapshot()[limiter.path].counts.bypassed
        assert trio.current_time() == pytest.approx(19.1 + 1)
        assert 191 <= wakes <= 2 * 200
        await trio.sleep(3600)
        assert runtime.snapshot()[limiter.path].counts.bypassed == wakes, "idle, it sleeps"


async def test_it_holds_so_many_and_the_rest_waits_outside(autojump_clock):
    """Backpressure: mailbox and limiter are full, so that the callers wait."""
    async with open_runtime() as runtime:
        stage = await runtime.spawn("stage", partial(Stage, Journal()), concurrency=100)
        limiter = await runtime.spawn(
            "limiter",
            partial(RateLimiterActor, stage, Limits(in_flight=2)),
            capacity=3,
            max_deferred=4,
        )
        async with trio.open_nursery() as nursery:
            for ask in asking(limiter, *map(str, range(20))):
                nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            snapshot = runtime.snapshot()[limiter.path]
            assert snapshot.deferred == 4
            assert (snapshot.mailbox.depth, snapshot.mailbox.senders_waiting) == (3, 11)
        await settled(runtime)
    assert trio.current_time() == 10


async def test_a_call_that_costs_too_much_fails_alone_with_advice(autojump_clock):
    async with open_runtime() as runtime:
        limiter = await limiter_to(runtime, Journal(), Limits(tpm=100))
        big, small = await outcomes(
            partial(limiter.ask, call("big", max_tokens=101)), *asking(limiter, "small")
        )
        assert isinstance(big, RequestTooLarge)
        assert "--tpm" in str(big)
        assert big.attempts == 0
        assert small.text == "about small"
        await settled(runtime)


async def test_a_call_without_limits_is_not_delayed(autojump_clock):
    journal = Journal()
    async with open_runtime() as runtime:
        limiter = await limiter_to(runtime, journal, Limits())
        await outcomes(*asking(limiter, *map(str, range(100))))
    assert {at for _, at in journal.began} == {0}


# ------------------------------------------------------------------ trouble


async def test_a_crash_of_the_limiter_costs_what_waits_in_it_and_no_more(autojump_clock):
    def observer(event):
        if event.context.call == "poison":
            raise KeyError("bug")

    journal = Journal()
    async with open_runtime() as runtime:
        limiter = await limiter_to(
            runtime, journal, Limits(in_flight=1), usual=Behaviour(5), observer=observer
        )

        async def poison():
            await trio.sleep(1)
            await limiter.ask(call("poison"))

        flying, waiting, crashed = await outcomes(*asking(limiter, "flying", "waiting"), poison)
        assert flying.text == "about flying", "the next stage held it"
        assert isinstance(waiting, ActorCrashed)
        assert isinstance(crashed, ActorCrashed)
        assert (await limiter.ask(call("next"))).text == "about next"
        await settled(runtime)


async def test_calls_that_wait_are_let_through_although_the_limiter_is_stopped(autojump_clock):
    journal = Journal()
    async with open_runtime() as runtime:
        limiter = await limiter_to(runtime, journal, Limits(rpm=60, burst_s=0))
        async with trio.open_nursery() as nursery:
            for ask in asking(limiter, *"abc"):
                nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            await runtime.stop(limiter)
            assert trio.current_time() == 2
    assert len(journal.ended) == 3


async def test_events_report_when_a_call_waits_and_when_it_is_sent(autojump_clock):
    events = []
    async with open_runtime() as runtime:
        limiter = await limiter_to(runtime, Journal(), Limits(in_flight=1), observer=events.append)
        await outcomes(*asking(limiter, "a", "b"))
    assert [(event.stage, event.context.call, event.at) for event in events] == [
        ("queued", "a", 0),
        ("admitted", "a", 0),
        ("queued", "b", 0),
        ("admitted", "b", 1),
    ]
    assert {event.model for event in events} == {MODEL}
