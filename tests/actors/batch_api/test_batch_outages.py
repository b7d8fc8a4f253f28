"""Outages of the Batch API: control calls are repeated, and no batch is sent twice."""

import itertools

import pytest
import trio
from batch_provider import BatchProvider
from batch_stage import KINDS, LIVE_S, about, batch_stage, texts

FAULTS = ["refuse-429", "refuse-503", "drop", "lose"]


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        pytest.param(kind, fault, marks=[] if is_usual else [pytest.mark.slow])
        for kind in KINDS
        for fault in FAULTS
        for is_usual in [kind == KINDS[0] or fault == "lose"]
    ],
)
@pytest.mark.parametrize("what", ["upload", "create", "list", "poll", "fetch"])
async def test_an_outage_is_waited_for(kind, what, fault, autojump_clock):
    async with batch_stage(BatchProvider(kind)) as here:
        here.provider.faults = {what: [fault] * 3}
        assert texts(await here.ask_all("a", "b")) == about("a", "b")
        assert (len(here.provider.batches), sorted(here.provider.billed)) == (1, ["a", "b"])
        assert here.sent_live == []


@pytest.mark.parametrize("kind", KINDS)
async def test_a_create_without_an_answer_is_looked_for_and_not_sent_again(kind, autojump_clock):
    async with batch_stage(BatchProvider(kind)) as here:
        here.provider.faults = {"create": ["lose"]}
        await here.ask("a")
        assert (here.provider.count("create"), here.provider.billed) == (1, ["a"])


async def test_polls_are_ever_further_apart(autojump_clock):
    async with batch_stage(BatchProvider(batch_s=3000.0), poll_s=5.0, max_poll_s=300.0) as here:
        await here.ask("a")
        polls = [at for what, at in here.provider.calls if what == "poll"]
        gaps = [late - early for early, late in itertools.pairwise(polls)]
        assert 5 < gaps[0] < 15
        assert 200 < gaps[-1] < 400
        assert len(polls) < 30


async def test_the_provider_may_want_to_be_asked_less_often(autojump_clock):
    provider = BatchProvider(batch_s=3000.0)
    provider.retry_after = "700"
    async with batch_stage(provider) as here:
        await here.ask("a")
        assert provider.count("poll") == 6


async def test_a_key_that_is_refused_may_be_changed_while_a_batch_runs(autojump_clock):
    async with batch_stage() as here:
        here.provider.faults = {"poll": ["refuse-401"] * 2, "fetch": ["refuse-401"] * 2}
        assert (await here.ask("a")).route == "batch"


async def test_requests_with_a_response_are_not_watched_any_more(autojump_clock):
    async with batch_stage(BatchProvider(batch_s=1.0), gather_s=0.1, poll_s=1.0) as here:
        await here.ask_all(*(f"p{number}" for number in range(400)))
        actor = here.ref._cell.current.actor
        assert len(actor._deadlines._near) == 400
        await here.ask("a")
        assert len(actor._deadlines._near) == 1
        assert not actor._table._lines


async def test_an_outage_without_end_keeps_no_request_beyond_its_deadline(autojump_clock):
    async with batch_stage() as here:
        here.provider.faults = {"poll": ["drop"] * 1000, "cancel": ["drop"] * 1000}
        found = await here.ask("a", deadline=1000.0)
        assert (found.text, found.route, found.maybe_billed) == ("about a", "live", 1)
        assert trio.current_time() == pytest.approx(1000 - 60 + LIVE_S, abs=0.01)
