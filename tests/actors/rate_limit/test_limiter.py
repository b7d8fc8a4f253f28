"""The limiter as an actor: no permit is lost, nobody polls, the provider never has to refuse."""

from functools import partial
from random import Random

import pytest
import trio
from fakes import MODEL, Journal, Stage, Turn, asking, call, outcomes

from callsheet.actors import (
    BadRequest,
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
from callsheet.runtime import ActorCrashed, AskTimedOut, open_runtime
from callsheet.simulator.app import Provider
from callsheet.simulator.inprocess import ProviderTransport
from callsheet.simulator.settings import ProviderSettings


async def limiter_to(
    runtime, journal, limits, by_prompt=None, *, usual=None, max_deferred=1000, observer=None
):
    """A limiter in front of a stage with as many places as it lets through."""
    stage = await runtime.spawn(
        "stage",
        partial(Stage, journal, by_prompt, usual=usual),
        capacity=limits.in_flight,
        concurrency=limits.in_flight,
    )
    more = {} if observer is None else {"observer": observer}
    return await runtime.spawn(
        "limiter", partial(RateLimiterActor, stage, limits, **more), max_deferred=max_deferred
    )


async def settled(runtime):
    """Let what is cancelled or answered be noticed, and nothing be left of it."""
    await trio.testing.wait_all_tasks_blocked()
    for actor in runtime.snapshot().actors:
        assert actor.is_conserved
        assert (actor.deferred, actor.pending, actor.in_progress) == (0, 0, ())


# ------------------------------------------------------------------ against the built-in provider


async def test_a_strict_provider_never_refuses_and_its_limit_is_used(autojump_clock):
    """The figure: 200 requests at 600 a minute, enforced by the second."""
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
            requests = [Request.of(f"Number {at}", model=MODEL) for at in range(200)]
            found = await outcomes(*(partial(troupe.complete, request) for request in requests))
    assert not [error for error in found if isinstance(error, Exception)]
    assert provider.stats.rejected == 0
    assert provider.stats.requests == len(sent) == 200
    allowed = 10 + (sent[-1] - sent[0]) * 10
    assert 0.97 <= 200 / allowed <= 1.0


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
                    partial(ask, random.uniform(0, 10), random.choice([0.0, 0.5, 2.0, 1000.0]))
                    for _ in range(200)
                )
            )
            await troupe.complete(Request.of("last", model=MODEL))
    assert provider.stats.rejected == 0
    assert provider.stats.max_in_flight <= 15
    assert provider.stats.cancelled > 0
    errors = [error for error in found if isinstance(error, Exception)]
    assert all(isinstance(error, DeadlineTooShort) for error in errors)
    assert len(errors) < 100


# ------------------------------------------------------------------ waiting


async def test_calls_go_at_the_instants_the_limit_allows_in_the_order_they_came(autojump_clock):
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
    """L4: over twenty seconds, a limiter that looked every 10 ms would wake 2,000 times."""
    async with open_runtime() as runtime:
        limiter = await limiter_to(runtime, Journal(), Limits(rpm=600, burst_s=1.0))
        await outcomes(*asking(limiter, *map(str, range(200))))
        wakes = runtime.snapshot()[limiter.path].counts.bypassed
        assert trio.current_time() == pytest.approx(19.1 + 1)
        assert 191 <= wakes <= 2 * 200
        await trio.sleep(3600)
        assert runtime.snapshot()[limiter.path].counts.bypassed == wakes, "idle, it sleeps"


async def test_it_holds_so_many_and_the_rest_waits_outside(autojump_clock):
    """Backpressure: mailbox and limiter are full, so that whoever asks has to wait."""
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


async def test_a_call_that_costs_too_much_fails_alone_and_says_what_to_do(autojump_clock):
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


# ------------------------------------------------------------------ no permit is lost


async def test_a_call_given_up_while_it_waits_takes_nothing_with_it(autojump_clock):
    journal = Journal()
    async with open_runtime() as runtime:
        limiter = await limiter_to(runtime, journal, Limits(in_flight=1))
        first, gone, last = await outcomes(
            *asking(limiter, "first"),
            *asking(limiter, "gone", timeout=0.5),
            *asking(limiter, "last"),
        )
        await settled(runtime)
    assert isinstance(gone, AskTimedOut)
    assert gone.actor == "callsheet/limiter"
    assert journal.began == [("first", 0), ("last", 1)]
    assert (first.text, last.text) == ("about first", "about last")


async def test_a_call_that_cannot_go_in_time_is_told_at_once(autojump_clock):
    journal = Journal()
    async with open_runtime() as runtime:
        limiter = await limiter_to(runtime, journal, Limits(rpm=60, burst_s=0))
        await outcomes(*asking(limiter, "a"), *asking(limiter, "b", timeout=1.5))
        journal.began.clear()

        async def late():
            with pytest.raises(DeadlineTooShort, match=r"at least 3\.\d s .* 60 requests a minute"):
                await limiter.ask(call("late"), timeout=2.9)
            return trio.current_time()

        start = trio.current_time()
        found = await outcomes(*asking(limiter, *"cde"), late, *asking(limiter, "f", timeout=9))
        assert found[3] == start
        assert [prompt for prompt, _ in journal.began] == ["c", "d", "e", "f"]
        await settled(runtime)


async def test_a_call_that_leaves_the_head_of_the_queue_lets_the_next_go_at_once(autojump_clock):
    journal = Journal()
    async with open_runtime() as runtime:
        limiter = await limiter_to(runtime, journal, Limits(tpm=600, burst_s=10))  # 99 at once
        await limiter.ask(call("first", max_tokens=99))

        async def leaves():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(limiter.ask, call("large", max_tokens=90))
                await trio.sleep(2)
                nursery.cancel_scope.cancel()

        start = trio.current_time()
        await outcomes(leaves, partial(limiter.ask, call("small", max_tokens=1)))
        assert [(prompt, at - start) for prompt, at in journal.began[1:]] == [("small", 2)]
        await settled(runtime)


async def test_a_call_given_up_in_flight_gives_its_place_to_the_next_at_once(autojump_clock):
    journal = Journal()
    async with open_runtime() as runtime:
        limiter = await limiter_to(runtime, journal, Limits(in_flight=1), {"gone": Turn(60)})
        await outcomes(*asking(limiter, "gone", timeout=2), *asking(limiter, "next"))
        await settled(runtime)
    assert journal.cancelled == [("gone", 2)]
    assert journal.began == [("gone", 0), ("next", 2)]


async def test_a_call_given_up_in_a_renewal_gives_its_place_to_the_next_at_once(autojump_clock):
    journal = Journal()
    renews = {"gone": Turn(renewals=((60, False),))}
    async with open_runtime() as runtime:
        limiter = await limiter_to(runtime, journal, Limits(in_flight=1), renews)
        await outcomes(*asking(limiter, "gone", timeout=2), *asking(limiter, "next"))
        await settled(runtime)
        await trio.sleep(100)
        assert journal.began == [("gone", 0), ("next", 2)]
        assert len(journal.sends) == 2, "the renewal of a call that was given up is skipped"
        await limiter.ask(call("after"))


@pytest.mark.parametrize("error", [BadRequest("No."), KeyError("bug")])
async def test_a_call_that_fails_or_crashes_further_on_gives_its_place_back(autojump_clock, error):
    async with open_runtime() as runtime:
        limiter = await limiter_to(
            runtime, Journal(), Limits(in_flight=1), {"bad": Turn(error=error)}
        )
        bad, good = await outcomes(*asking(limiter, "bad"), *asking(limiter, "good"))
        assert isinstance(bad, BadRequest | ActorCrashed)
        assert good.text == "about good"
        await settled(runtime)


@pytest.mark.parametrize("seed", range(5))
async def test_whatever_happens_to_calls_every_place_comes_back(autojump_clock, seed):
    random = Random(seed)
    journal = Journal()
    limits = Limits(rpm=6000, in_flight=4)
    renews = {
        "plain": Turn(),
        "renews": Turn(0.3, renewals=((0.5, False), (1.0, False))),
        "throttled": Turn(0.2, renewals=((0.7, True),)),
        "bad": Turn(0.1, error=BadRequest("No.")),
    }
    async with open_runtime() as runtime:
        limiter = await limiter_to(runtime, journal, limits, renews)

        async def ask(at, prompt, patience):
            await trio.sleep(at)
            with trio.move_on_after(patience):
                await limiter.ask(call(prompt))

        await outcomes(
            *(
                partial(
                    ask,
                    random.uniform(0, 20),
                    random.choice(list(renews)),
                    random.choice([0.0, 0.25, 1.0, 3.0, 1000.0]),
                )
                for _ in range(150)
            )
        )
        await settled(runtime)
        assert journal.most_in_hand <= 4
        assert journal.in_hand == 0
        await trio.sleep(100)  # what so many refusals have shown is forgotten by then
        start = trio.current_time()
        journal.most_in_hand = 0
        await outcomes(*asking(limiter, *"abcdefgh"))
        assert journal.most_in_hand == 4, "all of the places are there"
        assert trio.current_time() - start == pytest.approx(2, abs=0.1)


# ------------------------------------------------------------------ renewals


async def test_a_renewal_waits_for_its_delay_and_is_charged_like_a_call(autojump_clock):
    journal = Journal()
    async with open_runtime() as runtime:
        limiter = await limiter_to(
            runtime,
            journal,
            Limits(rpm=6, burst_s=0),  # one each ten seconds
            {"again": Turn(renewals=((3, False),))},
        )
        again, other = await outcomes(*asking(limiter, "again", "other"))
    assert again.http_requests == 2
    assert other.http_requests == 1
    # The renewal asks at 1 for 4; the next permit exists at 10 and is its own.
    assert sorted(journal.sends) == [0, 10, 20]
    assert journal.began == [("again", 0), ("other", 20)]


async def test_too_fast_for_one_is_too_fast_for_all(autojump_clock):
    journal = Journal()
    async with open_runtime() as runtime:
        limiter = await limiter_to(
            runtime, journal, Limits(), {"throttled": Turn(renewals=((30, True),))}
        )

        async def later():
            await trio.sleep(2)
            await limiter.ask(call("later"))

        await outcomes(*asking(limiter, "throttled"), later)
    assert journal.sends == [0, 31, 31]


async def test_a_server_error_of_one_holds_nobody_else(autojump_clock):
    journal = Journal()
    async with open_runtime() as runtime:
        limiter = await limiter_to(
            runtime, journal, Limits(), {"failed": Turn(renewals=((30, False),))}
        )

        async def later():
            await trio.sleep(2)
            await limiter.ask(call("later"))

        await outcomes(*asking(limiter, "failed"), later)
    assert journal.sends == [0, 2, 31]


async def test_a_renewal_gets_through_when_the_limiter_can_hold_no_more(autojump_clock):
    """What the work in hand depends on does not queue behind what waits for that work."""
    async with open_runtime() as runtime:
        limiter = await limiter_to(
            runtime,
            Journal(),
            Limits(in_flight=1),
            {"again": Turn(renewals=((1, False),))},
            max_deferred=1,
        )
        with trio.fail_after(1000):
            found = await outcomes(*asking(limiter, "again", *map(str, range(80))))
        assert not [error for error in found if isinstance(error, Exception)]


async def test_a_renewal_gets_through_while_the_limiter_waits_for_room_ahead(autojump_clock):
    """Stages can be stacked by hand, with the mailboxes that `spawn` gives them by default."""
    async with open_runtime() as runtime:
        stage = await runtime.spawn(
            "stage", partial(Stage, Journal(), {"again": Turn(renewals=((1, False),))}), capacity=1
        )
        limiter = await runtime.spawn("limiter", partial(RateLimiterActor, stage))
        with trio.move_on_after(1000):
            found = await outcomes(*asking(limiter, "again", *"abcd"))
            assert [answer.http_requests for answer in found] == [2, 1, 1, 1, 1]
            return
        pytest.fail("limiter and stage wait for each other for ever")


async def test_room_ahead_is_seen_although_no_call_ends_when_it_comes(autojump_clock):
    """A handler that takes its time to be cancelled keeps the room that its message has left."""

    class Slow(Stage):
        async def attempt(self, message, turn):
            try:
                await super().attempt(message, turn)
            except trio.Cancelled:
                with trio.CancelScope(shield=True):
                    await trio.sleep(0.5)  # as a connection that has to be closed
                raise

    journal = Journal()
    async with open_runtime() as runtime:
        turns = {"long": Turn(1000), "cut": Turn(1000)}
        stage = await runtime.spawn(
            "stage", partial(Slow, journal, turns), capacity=1, concurrency=2
        )
        limiter = await runtime.spawn("limiter", partial(RateLimiterActor, stage))
        await outcomes(
            *asking(limiter, "long"),
            *asking(limiter, "cut", timeout=1),
            *asking(limiter, "gone", timeout=1.2),
            *asking(limiter, "waits"),
        )
    assert dict(journal.began)["waits"] == 1.5


# ------------------------------------------------------------------ trouble


async def test_a_crash_of_the_limiter_costs_what_waits_in_it_and_no_more(autojump_clock):
    def observer(event):
        if event.context.call == "poison":
            raise KeyError("bug")

    journal = Journal()
    async with open_runtime() as runtime:
        limiter = await limiter_to(
            runtime, journal, Limits(in_flight=1), usual=Turn(5), observer=observer
        )

        async def poison():
            await trio.sleep(1)
            await limiter.ask(call("poison"))

        flying, waiting, crashed = await outcomes(*asking(limiter, "flying", "waiting"), poison)
        assert flying.text == "about flying", "it was in the next stage's hands"
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


async def test_events_say_when_a_call_waits_and_when_it_goes(autojump_clock):
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
