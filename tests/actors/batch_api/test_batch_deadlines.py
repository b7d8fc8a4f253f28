"""Requests that cannot wait, are cancelled, or are sent again; and crashes of the actor."""

import json
from functools import partial

import pytest
import trio
from batch_provider import MODEL, URL, BatchProvider
from batch_stage import KEY, BatchStage, Live, about, batch_stage, leaving, texts
from trio.testing import wait_all_tasks_blocked

from callsheet.actors import BadRequest, CallContext, Complete, Endpoint, Request, Usage
from callsheet.actors.batch_api.actor import BatchApiActor
from callsheet.actors.batch_api.journal import Journal
from callsheet.actors.batch_api.journal_file import JournalFile
from callsheet.actors.batch_api.policy import BatchApiPolicy
from callsheet.actors.storage import in_place
from callsheet.runtime import ActorCrashed, open_runtime


async def test_a_request_without_time_is_sent_live_at_once(autojump_clock):
    async with batch_stage() as here:
        await here.ask("a", deadline=60.0)
        await here.ask("b", timeout=30.0)
        assert (here.sent_live, here.provider.calls) == (["a", "b"], [])


async def test_a_request_that_cannot_wait_longer_leaves_and_the_others_stay(autojump_clock):
    async with batch_stage(BatchProvider(batch_s=2000.0)) as here:
        found = {}

        async def one(prompt, deadline):
            found[prompt] = await here.ask(prompt, deadline=deadline)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(one, "soon", 500.0)
            nursery.start_soon(one, "late", 86_400.0)
        assert (found["soon"].route, found["soon"].maybe_billed) == ("live", 1)
        assert (found["late"].route, found["late"].maybe_billed) == ("batch", 0)
        assert here.live == [("soon", pytest.approx(440.0))]
        assert here.provider.count("cancel") == 0


async def test_when_all_are_taken_out_the_batch_is_cancelled(autojump_clock):
    async with batch_stage(BatchProvider(batch_s=2000.0)) as here:
        found = await here.ask_all("a", "b", deadline=500.0)
        assert texts(found) == about("a", "b")
        await trio.sleep(1000)
        assert here.provider.count("cancel") == 1
        assert here.provider.billed == []
        assert (await here.count()).batches == {}


async def test_an_answer_of_the_batch_that_comes_first_counts(autojump_clock):
    # The live call takes from 440 to 443. The batch ends at 441.2, and is polled and fetched 1.4
    # seconds later at most: a poll takes 0.1, the pause between two takes 0.8 to 1.2.
    async with batch_stage(BatchProvider(batch_s=440.0), poll_s=1.0, max_poll_s=1.0) as here:
        found = {}

        async def one(prompt, deadline):
            found[prompt] = await here.ask(prompt, deadline=deadline)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(one, "late", 86_400.0)
            nursery.start_soon(one, "a", 500.0)
        assert (found["a"].route, found["a"].maybe_billed) == ("batch", 1)
        assert here.sent_live == ["a"]


async def test_if_the_live_call_fails_too_the_error_states_that_the_batch_may_be_billed(
    autojump_clock,
):
    async with batch_stage(BatchProvider(batch_s=2000.0), live_error=BadRequest("no")) as here:
        with pytest.raises(BadRequest) as caught:
            await here.ask("a", deadline=500.0)
        assert (caught.value.billed, caught.value.maybe_billed) == ("maybe", 1)


async def test_a_request_cancelled_while_the_batch_gathers_is_not_sent(autojump_clock):
    async with batch_stage() as here:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.ask, "a")
            await wait_all_tasks_blocked()
            await leaving(0.5, here.ask, "b")
        assert here.provider.billed == ["a"]


async def test_a_batch_without_callers_is_cancelled(autojump_clock):
    async with batch_stage(BatchProvider(batch_s=2000.0)) as here:
        await leaving(100, here.ask_all, "a", "b")
        await trio.sleep(100)
        assert here.provider.count("cancel") == 1
        await trio.sleep(1000)
        assert (here.provider.billed, (await here.count()).batches) == ([], {})


async def test_what_cannot_be_cancelled_any_more_is_asked_how_it_stands(autojump_clock):
    async with batch_stage(BatchProvider(batch_s=100.0), poll_s=1000.0, max_poll_s=1000.0) as here:
        await leaving(120, here.ask, "a")
        await trio.sleep(60)
        assert here.provider.count("cancel") == 1
        counts = await here.count()
        assert (counts.batches, counts.unclaimed) == ({}, 1)


async def test_with_a_journal_a_batch_is_kept_for_a_while_for_a_repeated_request(
    autojump_clock, tmp_path
):
    def journal(_, account, keep_s):
        return Journal(lambda: JournalFile(tmp_path / "j", account, keep_s, lambda: 0.0), in_place)

    async with batch_stage(BatchProvider(batch_s=300.0), journal=journal, abandon_s=30.0) as here:
        await leaving(50, here.ask, "a")
        await trio.sleep(20)
        assert (await here.ask("a")).text == "about a"
        assert (here.provider.count("cancel"), here.provider.billed) == (0, ["a"])
        await leaving(50, here.ask, "b")
        await trio.sleep(40)
        assert (here.provider.count("cancel"), here.provider.billed) == (1, ["a"])


async def test_texts_to_embed_are_counted_and_come_back_as_vectors(autojump_clock):
    provider = BatchProvider()
    said = {"data": [{"index": 0, "embedding": [0.5, 1.0]}], "usage": {"prompt_tokens": 3}}
    provider._said = lambda _: said
    async with batch_stage(provider) as here:
        request = Request.embedding("a", model=MODEL, deadline=86_400.0)
        found = await here.ref.ask(Complete(request, CallContext("a")))
    assert (found.embeddings, found.usage) == (((0.5, 1.0),), Usage(3, 0))
    assert json.loads(next(iter(provider.files.values())))["url"] == "/v1/embeddings"


async def test_more_time_keeps_one_in_the_batch(autojump_clock):
    async with batch_stage(BatchProvider(batch_s=2000.0)) as here:
        request = Request.of("a", model=MODEL)
        slot = await here.ref.submit(Complete(request, CallContext("a")), deadline=500.0)
        slot.postpone(5000.0)
        assert (await slot.wait()).route == "batch"
        assert here.sent_live == []


async def test_a_request_repeated_in_time_gets_its_line_again(autojump_clock, tmp_path):
    async with batch_stage(BatchProvider(batch_s=300.0)) as here:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.ask, "a")
            await wait_all_tasks_blocked()
            await leaving(50, here.ask, "b")
            await trio.sleep(10)
            assert (await here.ask("b")).text == "about b"
        assert sorted(here.provider.billed) == ["a", "b"]


async def test_a_response_without_a_caller_is_for_the_next_request(autojump_clock):
    async with batch_stage(BatchProvider(batch_s=300.0)) as here:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.ask, "a")
            await wait_all_tasks_blocked()
            await leaving(50, here.ask, "b")
        assert (await here.count()).unclaimed == 1
        start = trio.current_time()
        assert (await here.ask("b")).text == "about b"
        assert trio.current_time() == start
        assert ((await here.count()).unclaimed, sorted(here.provider.billed)) == (0, ["a", "b"])


async def test_two_identical_requests_have_a_line_each(autojump_clock):
    async with batch_stage() as here, trio.open_nursery() as nursery:
        nursery.start_soon(here.ask, "a")
        nursery.start_soon(here.ask, "a")
    assert here.provider.billed == ["a", "a"]


async def test_a_drain_sends_what_is_gathered_and_waits_for_it(autojump_clock):
    provider = BatchProvider(batch_s=3.0)
    found = {}
    async with trio.open_nursery() as nursery, open_runtime() as runtime:
        to = await runtime.spawn("live", partial(Live, []))
        policy = BatchApiPolicy(gather_s=5000.0, max_gather_s=5000.0, poll_s=1.0)
        endpoint = Endpoint(URL, KEY, "openai")
        ref = await runtime.spawn(
            "batches", partial(BatchApiActor, to, endpoint, policy, transport=provider)
        )

        async def ask():
            found["a"] = await BatchStage(runtime, ref, provider, []).ask("a")

        nursery.start_soon(ask)
        await wait_all_tasks_blocked()
    assert (found["a"].text, found["a"].route) == ("about a", "batch")


async def test_a_crash_is_reported_and_sent_batches_continue(autojump_clock, tmp_path):
    provider = BatchProvider(batch_s=300.0)

    async def crash(what, when):
        if (what, when) == ("poll", "after"):
            provider.hook = None
            raise RuntimeError("a bug")

    def journal(path, account, keep_s):
        return Journal(lambda: JournalFile(tmp_path / "j", account, keep_s, lambda: 0.0), in_place)

    live = []
    async with open_runtime() as runtime:
        to = await runtime.spawn("live", partial(Live, live))
        ref = await runtime.spawn(
            "batches",
            partial(
                BatchApiActor,
                to,
                Endpoint(URL, KEY, "openai"),
                BatchApiPolicy(),
                transport=provider,
                journal=journal,
            ),
            concurrency=8,
        )
        here = BatchStage(runtime, ref, provider, live)
        provider.hook = crash
        with pytest.raises(ActorCrashed) as caught:
            await here.ask("a")
        assert caught.value.verdict.name == "MAY_HAVE_RUN"
        assert (await here.ask("a")).text == "about a"
    assert (provider.billed, live) == (["a"], [])
