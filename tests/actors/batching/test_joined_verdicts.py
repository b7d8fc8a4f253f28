"""R3: what a caller is told whose time is over while another one waits for the same call."""

from functools import partial

import pytest
import trio
from fakes import Behaviour, Journal, Stage, batcher_to, call, chorus_to, outcomes

from callsheet.runtime import AskTimedOut, Verdict, open_runtime


async def verdict_of(batcher, message, timeout, after=0.0):
    await trio.sleep(after)
    try:
        return (await batcher.ask(message, timeout=timeout)).text
    except AskTimedOut as error:
        return error.verdict


@pytest.mark.parametrize("first", [0, 1])
async def test_a_caller_that_leaves_a_joined_call_learns_that_it_may_have_run(
    autojump_clock, first
):
    """It was sent and billed, and the error called it safe to ask again."""
    journal, timeouts = Journal(), [2, 20]
    async with open_runtime() as runtime:
        batcher = await batcher_to(runtime, journal, {"Hi": Behaviour(seconds=5)})
        message = call("Hi", cacheable=True)
        found = await outcomes(
            partial(verdict_of, batcher, message, timeouts[first]),
            partial(verdict_of, batcher, message, timeouts[1 - first], 0.5),
        )
    assert found[first] is Verdict.MAY_HAVE_RUN
    assert found[1 - first] == "about Hi"
    assert len(journal.began) == 1


async def test_a_caller_that_leaves_a_list_or_pack_learns_that_it_may_have_run(autojump_clock):
    journal = Journal()
    async with open_runtime() as runtime:
        stage = partial(Stage, journal, {"a|b": Behaviour(seconds=5)})
        stage = await runtime.spawn("stage", stage, concurrency=9)
        batcher = await chorus_to(runtime, journal, stage=stage)
        found = await outcomes(
            partial(verdict_of, batcher, call("a"), 2), partial(verdict_of, batcher, call("b"), 20)
        )
    assert found == [Verdict.MAY_HAVE_RUN, "about b"]


async def test_a_caller_that_leaves_before_its_call_has_its_turn_may_ask_again(autojump_clock):
    journal = Journal()
    async with open_runtime() as runtime:
        stage = await runtime.spawn("stage", partial(Stage, journal))
        batcher = await batcher_to(runtime, journal, stage=stage)
        found = await outcomes(
            partial(verdict_of, batcher, call("first", cacheable=True), 20),
            partial(verdict_of, batcher, call("Hi", cacheable=True), 0.5),
            partial(verdict_of, batcher, call("Hi", cacheable=True), 20),
        )
    assert found == ["about first", Verdict.NOT_STARTED, "about Hi"]
