"""The limiter as an actor: no permit is lost, and a renewal precedes calls that wait."""

from functools import partial
from random import Random

import pytest
import trio
from fakes import Behaviour, Journal, Stage, asking, call, outcomes
from limiter_stage import limiter_to, settled

from callsheet.actors import BadRequest, DeadlineTooShort, Limits, RateLimiterActor
from callsheet.runtime import ActorCrashed, AskTimedOut, open_runtime

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


async def test_a_call_that_cannot_be_sent_in_time_fails_at_once(autojump_clock):
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


async def test_a_call_that_leaves_the_head_of_the_queue_admits_the_next_at_once(autojump_clock):
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
        limiter = await limiter_to(runtime, journal, Limits(in_flight=1), {"gone": Behaviour(60)})
        await outcomes(*asking(limiter, "gone", timeout=2), *asking(limiter, "next"))
        await settled(runtime)
    assert journal.cancelled == [("gone", 2)]
    assert journal.began == [("gone", 0), ("next", 2)]


async def test_a_call_given_up_in_a_renewal_gives_its_place_to_the_next_at_once(autojump_clock):
    journal = Journal()
    renews = {"gone": Behaviour(renewals=((60, False),))}
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
            runtime, Journal(), Limits(in_flight=1), {"bad": Behaviour(error=error)}
        )
        bad, good = await outcomes(*asking(limiter, "bad"), *asking(limiter, "good"))
        assert isinstance(bad, BadRequest | ActorCrashed)
        assert good.text == "about good"
        await settled(runtime)


@pytest.mark.parametrize(
    "seed", [*range(2), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 5))]
)
async def test_whatever_happens_to_calls_every_place_comes_back(autojump_clock, seed):
    random = Random(seed)
    journal = Journal()
    limits = Limits(rpm=6000, in_flight=4)
    renews = {
        "plain": Behaviour(),
        "renews": Behaviour(0.3, renewals=((0.5, False), (1.0, False))),
        "throttled": Behaviour(0.2, renewals=((0.7, True),)),
        "bad": Behaviour(0.1, error=BadRequest("No.")),
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
            {"again": Behaviour(renewals=((3, False),))},
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
            runtime, journal, Limits(), {"throttled": Behaviour(renewals=((30, True),))}
        )

        async def later():
            await trio.sleep(2)
            await limiter.ask(call("later"))

        await outcomes(*asking(limiter, "throttled"), later)
    assert journal.sends == [0, 31, 31]


async def test_a_server_error_of_one_call_delays_no_other(autojump_clock):
    journal = Journal()
    async with open_runtime() as runtime:
        limiter = await limiter_to(
            runtime, journal, Limits(), {"failed": Behaviour(renewals=((30, False),))}
        )

        async def later():
            await trio.sleep(2)
            await limiter.ask(call("later"))

        await outcomes(*asking(limiter, "failed"), later)
    assert journal.sends == [0, 2, 31]


async def test_a_renewal_gets_through_when_the_limiter_can_hold_no_more(autojump_clock):
    """A renewal, on which a call in flight depends, does not queue behind waiting calls."""
    async with open_runtime() as runtime:
        limiter = await limiter_to(
            runtime,
            Journal(),
            Limits(in_flight=1),
            {"again": Behaviour(renewals=((1, False),))},
            max_deferred=1,
        )
        with trio.fail_after(1000):
            found = await outcomes(*asking(limiter, "again", *map(str, range(80))))
        assert not [error for error in found if isinstance(error, Exception)]


async def test_a_renewal_gets_through_while_the_limiter_waits_for_room_ahead(autojump_clock):
    """Stages can be combined by hand, with the default mailboxes of `spawn`."""
    async with open_runtime() as runtime:
        stage = await runtime.spawn(
            "stage",
            partial(Stage, Journal(), {"again": Behaviour(renewals=((1, False),))}),
            capacity=1,
        )
        limiter = await runtime.spawn("limiter", partial(RateLimiterActor, stage))
        with trio.move_on_after(1000):
            found = await outcomes(*asking(limiter, "again", *"abcd"))
            assert [answer.http_requests for answer in found] == [2, 1, 1, 1, 1]
            return
        pytest.fail("limiter and stage wait for each other for ever")


async def test_room_ahead_is_seen_although_no_call_ends_when_it_comes(autojump_clock):
    """A handler that is slow to be cancelled keeps the room of its message."""

    class Slow(Stage):
        async def attempt(self, message, behaviour):
            try:
                await super().attempt(message, behaviour)
            except trio.Cancelled:
                with trio.CancelScope(shield=True):
                    await trio.sleep(0.5)  # as a connection that has to be closed
                raise

    journal = Journal()
    async with open_runtime() as runtime:
        behaviours = {"long": Behaviour(1000), "cut": Behaviour(1000)}
        stage = await runtime.spawn(
            "stage", partial(Slow, journal, behaviours), capacity=1, concurrency=2
        )
        limiter = await runtime.spawn("limiter", partial(RateLimiterActor, stage))
        await outcomes(
            *asking(limiter, "long"),
            *asking(limiter, "cut", timeout=1),
            *asking(limiter, "gone", timeout=1.2),
            *asking(limiter, "waits"),
        )
    assert dict(journal.began)["waits"] == 1.5
