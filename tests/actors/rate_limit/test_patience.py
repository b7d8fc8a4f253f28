"""Calls with a limited patience: refused at once, or when it ends, with the true wait (L4)."""

from functools import partial

import pytest
import trio
from fakes import MODEL, Behaviour, Journal
from limiter_stage import limiter_to, settled

from callsheet.actors import CallContext, Complete, Lane, Limits, Request, TurnTooLate
from callsheet.runtime import open_runtime

LIMITS = Limits(rpm=60, burst_s=0)  # one a second


async def ask(limiter, found, name, **context):
    """Make one call, and note when it ended and how."""
    context.setdefault("asked_at", trio.current_time())
    message = Complete(Request.of(name, model=MODEL), CallContext(name, **context))
    try:
        await limiter.ask(message)
    except TurnTooLate as error:
        found[name] = (round(trio.current_time(), 3), error)
    else:
        found[name] = (round(trio.current_time(), 3), None)


async def test_a_call_whose_turn_cannot_come_in_time_fails_at_once_with_the_true_wait(
    autojump_clock,
):
    journal, found = Journal(), {}
    async with open_runtime() as runtime, trio.open_nursery() as nursery:
        limiter = await limiter_to(runtime, journal, LIMITS, usual=Behaviour(0.5))
        for number in range(10):
            nursery.start_soon(ask, limiter, found, f"call {number}")
        await trio.testing.wait_all_tasks_blocked()
        for name, patience_s in (("late", 9.9), ("in time", 10.0)):
            nursery.start_soon(partial(ask, limiter, found, name, patience_s=patience_s))
            await trio.testing.wait_all_tasks_blocked()
        at, error = found["late"]
        assert at == 0
        assert error.wait_s == pytest.approx(10)
        assert "would wait 10.0 s more for the limit of 60 requests a minute" in str(error)
        assert error.is_transient
    assert found["in time"] == (10.5, None)
    await settled(runtime)


async def test_a_call_fails_when_its_patience_ends_if_its_turn_moves_away(autojump_clock):
    """Another lane, of greater weight, gets calls after it has joined the line."""
    journal, found = Journal(), {}
    limits = Limits(rpm=60, burst_s=0, lanes={"heavy": Lane(weight=9)})
    async with open_runtime() as runtime, trio.open_nursery() as nursery:
        limiter = await limiter_to(runtime, journal, limits, usual=Behaviour(0.5))
        for number in range(5):
            patience_s = 6.0 if number == 4 else 100.0
            nursery.start_soon(
                partial(ask, limiter, found, f"light {number}", patience_s=patience_s)
            )
            await trio.testing.wait_all_tasks_blocked()
        assert not found
        for number in range(20):
            nursery.start_soon(partial(ask, limiter, found, f"heavy {number}", lane="heavy"))
        await trio.sleep(6.5)
        at, error = found["light 4"]
        assert at == 6
        assert error.queued_s == 6
        nursery.cancel_scope.cancel()
    # Two of its lane are before it, and with them the 14 calls of the other lane that are left.
    assert error.wait_s == pytest.approx(18, abs=1.5)


async def test_what_waits_behind_a_call_that_gives_up_is_served_at_once_if_it_is_smaller(
    autojump_clock,
):
    journal, found = Journal(), {}
    async with open_runtime() as runtime, trio.open_nursery() as nursery:
        limiter = await limiter_to(runtime, journal, Limits(in_flight=1), usual=Behaviour(10))
        nursery.start_soon(ask, limiter, found, "long")
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(partial(ask, limiter, found, "impatient", patience_s=3.0))
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(ask, limiter, found, "patient")
    assert found["impatient"][0] == 3
    assert found["patient"] == (20, None)


async def test_time_that_has_passed_before_the_limiter_counts(autojump_clock):
    journal, found = Journal(), {}
    async with open_runtime() as runtime:
        limiter = await limiter_to(runtime, journal, LIMITS)
        await trio.sleep(20)
        await ask(limiter, found, "late", patience_s=5.0, asked_at=10.0)
        await ask(limiter, found, "in time", patience_s=10.0, asked_at=10.0)
    at, error = found["late"]
    assert (at, error.queued_s) == (20, 10)
    assert found["in time"] == (21, None)


async def test_no_patience_is_enough_for_a_call_that_need_not_wait(autojump_clock):
    journal, found = Journal(), {}
    async with open_runtime() as runtime:
        limiter = await limiter_to(runtime, journal, LIMITS, usual=Behaviour(0.1))
        await ask(limiter, found, "first", patience_s=0)
        await ask(limiter, found, "second", patience_s=0)
    assert found["first"] == (0.1, None)
    assert found["second"][0] == 0.1
    assert found["second"][1].wait_s == pytest.approx(0.9)


async def test_a_copy_of_a_call_takes_the_place_that_the_first_one_had(autojump_clock):
    journal, found = Journal(), {}
    async with open_runtime() as runtime, trio.open_nursery() as nursery:
        limiter = await limiter_to(runtime, journal, LIMITS, usual=Behaviour(0.1))
        scope = trio.CancelScope()

        async def ask_and_leave():
            with scope:
                await ask(limiter, found, "first copy")

        for number in range(3):
            nursery.start_soon(ask, limiter, found, f"before {number}")
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(ask_and_leave)
        await trio.sleep(0.01)
        for number in range(5):
            nursery.start_soon(ask, limiter, found, f"after {number}")
        await trio.sleep(1)
        scope.cancel()
        await trio.sleep(0.5)
        nursery.start_soon(partial(ask, limiter, found, "second copy", came=0.0))
    assert "first copy" not in found
    assert found["second copy"] == (3.1, None)
    assert sorted(at for at, _ in found.values()) == [0.1 + n for n in range(9)]


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"patience_s": -1.0}, ValueError),
        ({"patience_s": float("nan")}, ValueError),
        ({"patience_s": "5"}, TypeError),
        ({"patience_s": True}, TypeError),
        ({"came": "now"}, TypeError),
        ({"asked_at": "now"}, TypeError),
    ],
)
def test_a_context_checks_its_numbers(wrong, error):
    (name,) = wrong
    with pytest.raises(error, match=name):
        CallContext("call", **wrong)
