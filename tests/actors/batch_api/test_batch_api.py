"""The actor before a provider: what can wait is answered by batches, and the rest live."""

import itertools
import json
from decimal import Decimal
from functools import partial

import pytest
import trio
from batch_house import KEY, KINDS, LIVE_S, House, Live, about, house, leaving, texts
from batch_provider import MODEL, URL, BatchProvider, prompt_of
from trio.testing import wait_all_tasks_blocked

from callsheet.actors import (
    BadRequest,
    CallContext,
    Complete,
    Endpoint,
    QuotaExhausted,
    Request,
    Stream,
    Usage,
)
from callsheet.actors.batch_api.actor import BatchApiActor
from callsheet.actors.batch_api.journal import Journal, JournalFile
from callsheet.actors.batch_api.policy import BatchApiPolicy
from callsheet.actors.storage import in_place
from callsheet.runtime import ActorCrashed, open_runtime


@pytest.mark.parametrize("kind", KINDS)
async def test_what_can_wait_is_answered_by_one_batch_at_its_price(kind, autojump_clock):
    async with house(BatchProvider(kind)) as here:
        found = await here.ask_all("a", "b", "c")
        counts = await here.count()
    assert texts(found) == about("a", "b", "c")
    one = found["a"]
    assert (one.route, one.cost_usd, one.maybe_billed) == ("batch", Decimal("0.00003"), 0)
    assert (one.usage, one.model, one.host) == (Usage(10, 5), MODEL, "provider")
    assert 100 < one.seconds < 250
    assert (len(here.provider.batches), sorted(here.provider.billed)) == (1, ["a", "b", "c"])
    assert here.sent_live == []
    assert (counts.answered, counts.batches, counts.enqueued_tokens) == (3, {}, {})


async def test_the_key_goes_with_each_call_and_is_in_no_line(autojump_clock, log):
    async with house() as here:
        here.provider.faults = {"poll": ["refuse-500"], "upload": ["refuse-429"]}
        await here.ask("a")
    for what, request, body in here.provider.requests:
        assert request.headers["authorization"] == f"Bearer {KEY}", what
        assert KEY.encode() not in body
    assert "Not now, Bearer ***." in str(log)
    assert KEY not in str(log)


async def test_what_was_asked_is_in_the_line_as_it_would_be_sent(autojump_clock):
    async with house() as here:
        await here.ask("a", max_tokens=7, temperature=0.5)
    (content,) = here.provider.files.values()
    body = json.loads(content)["body"]
    assert (body["max_completion_tokens"], body["temperature"], prompt_of(body)) == (7, 0.5, "a")
    assert "stream" not in body


async def test_those_who_ask_later_are_in_a_later_batch(autojump_clock):
    async with house(gather_s=1.0) as here:
        async with trio.open_nursery() as nursery:
            for prompt, pause in (("a", 0.5), ("b", 10.0), ("c", 0.0)):
                nursery.start_soon(here.ask, prompt)
                await trio.sleep(pause)
        assert [len(batch.lines) for batch in here.provider.batches] == [2, 1]


async def test_a_full_batch_goes_at_once_and_large_ones_are_split(autojump_clock):
    async with house(max_requests=2, gather_s=50.0) as here:
        found = await here.ask_all("a", "b", "c", "d", "e")
        assert texts(found) == about("a", "b", "c", "d", "e")
        assert [len(batch.lines) for batch in here.provider.batches] == [2, 2, 1]


async def test_a_stream_and_what_cannot_be_in_a_batch_go_live_at_once(autojump_clock):
    async with house(max_bytes=600) as here:
        async with here.ref.stream(Stream(Request.of("s", model=MODEL), CallContext("s"))) as items:
            assert [item async for item in items] == ["piece"]
        await here.ask("x" * 1000)
        assert (len(here.live), here.provider.calls) == (2, [])


async def test_without_a_batch_api_everything_goes_live(autojump_clock):
    async with house(endpoint=Endpoint(URL, None, "compatible")) as here:
        assert texts(await here.ask_all("a", "b")) == about("a", "b")
        assert (here.sent_live, here.provider.calls) == (["a", "b"], [])
        assert (await here.count()).live == 2


async def test_who_is_compatible_can_be_said_to_have_one(autojump_clock):
    async with house(endpoint=Endpoint(URL, None, "compatible"), dialect="openai") as here:
        assert (await here.ask("a")).route == "batch"


# ---------------------------------------------------------------- how batches end


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fate", ["missing", 500, 429, 0, "expired"])
async def test_a_line_that_may_fare_better_is_asked_alone_and_live(kind, fate, autojump_clock):
    async with house(BatchProvider(kind, fates={"b": fate})) as here:
        found = await here.ask_all("a", "b", "c")
    assert texts(found) == about("a", "b", "c")
    assert here.sent_live == ["b"]
    assert [found[prompt].route for prompt in "abc"] == ["batch", "live", "batch"]
    assert found["b"].maybe_billed == int(fate == "missing")


@pytest.mark.parametrize("kind", KINDS)
async def test_a_line_that_is_wrong_fails_as_a_live_call_would(kind, autojump_clock):
    async with house(BatchProvider(kind, fates={"b": 400})) as here:
        found = await here.ask_all("a", "b")
        assert (await here.count()).failed == 1
    assert type(found["b"]) is BadRequest
    assert (found["a"].text, here.sent_live) == ("about a", [])


async def test_an_answer_that_is_none_is_asked_for_again_and_may_be_charged_twice(autojump_clock):
    async with house(BatchProvider(fates={"a": "malformed"})) as here:
        found = await here.ask("a")
    assert (found.text, found.route, found.maybe_billed) == ("about a", "live", 1)


async def test_foreign_and_double_results_are_nobodys(autojump_clock, log):
    provider = BatchProvider(fates={"a": "twice"})
    provider.extra_lines = [provider._line("x-0", 200, {"choices": []}), {"what": "ever"}]
    async with house(provider) as here:
        assert texts(await here.ask_all("a", "b")) == about("a", "b")
    assert "batch_has_foreign_result" in [event["event"] for event in log]
    assert here.sent_live == []


@pytest.mark.parametrize("kind", KINDS)
async def test_what_an_expired_batch_has_not_run_goes_live(kind, autojump_clock):
    async with house(BatchProvider(kind, finals=["expired"])) as here:
        found = await here.ask_all("a", "b", "c")
    assert texts(found) == about("a", "b", "c")
    assert (here.provider.billed, here.sent_live) == (["a"], ["c", "b"])
    assert all(one.maybe_billed == 0 for one in found.values())


async def test_a_batch_refused_for_a_line_goes_again_without_it(autojump_clock):
    provider = BatchProvider(finals=["failed", "completed"])
    provider.errors = [{"code": "invalid_json", "message": "no", "line": 2}]
    async with house(provider) as here:
        assert texts(await here.ask_all("a", "b", "c")) == about("a", "b", "c")
    assert (here.sent_live, sorted(provider.billed)) == (["b"], ["a", "c"])
    assert [len(batch.lines) for batch in provider.batches] == [3, 2]


async def test_a_batch_refused_for_nothing_in_particular_goes_live(autojump_clock):
    provider = BatchProvider(finals=["failed"])
    provider.errors = [{"code": "model_not_batchable", "message": "no", "line": None}]
    async with house(provider) as here:
        assert texts(await here.ask_all("a", "b")) == about("a", "b")
        assert (sorted(here.sent_live), len(provider.batches)) == (["a", "b"], 1)


async def test_too_many_tokens_wait_until_other_batches_have_ended(autojump_clock):
    provider = BatchProvider(batch_s=1000.0)
    provider.enqueued_limit = 2  # this one counts lines
    async with house(provider, max_requests=2) as here:
        prompts = [f"p{number}" for number in range(6)]
        found = await here.ask_all(*prompts)
        assert texts(found) == about(*prompts)
    assert here.sent_live == []
    assert sorted(provider.billed) == prompts


async def test_a_batch_that_overflows_alone_is_split(autojump_clock):
    provider = BatchProvider(batch_s=10.0)
    provider.enqueued_limit = 2
    async with house(provider) as here:
        prompts = [f"p{number}" for number in range(8)]
        found = await here.ask_all(*prompts)
        assert texts(found) == about(*prompts)
    assert sorted(provider.billed) == prompts
    assert here.sent_live == []


@pytest.mark.parametrize("what", ["upload", "create"])
async def test_what_the_provider_will_not_have_goes_live(what, autojump_clock):
    async with house() as here:
        here.provider.faults = {what: ["refuse-400"]}
        assert texts(await here.ask_all("a", "b")) == about("a", "b")
        assert here.sent_live == ["a", "b"]


async def test_an_account_without_credit_fails_everybody(autojump_clock):
    async with house() as here:
        here.provider.faults = {"create": ["refuse-402"]}
        found = await here.ask_all("a", "b")
        assert {type(one) for one in found.values()} == {QuotaExhausted}
        assert here.sent_live == []


# ---------------------------------------------------------------- outages


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("what", ["upload", "create", "list", "poll", "fetch"])
@pytest.mark.parametrize("fault", ["refuse-429", "refuse-503", "drop", "lose"])
async def test_an_outage_is_waited_for(kind, what, fault, autojump_clock):
    async with house(BatchProvider(kind)) as here:
        here.provider.faults = {what: [fault] * 3}
        assert texts(await here.ask_all("a", "b")) == about("a", "b")
        assert (len(here.provider.batches), sorted(here.provider.billed)) == (1, ["a", "b"])
        assert here.sent_live == []


@pytest.mark.parametrize("kind", KINDS)
async def test_a_create_without_an_answer_is_looked_for_and_not_sent_again(kind, autojump_clock):
    async with house(BatchProvider(kind)) as here:
        here.provider.faults = {"create": ["lose"]}
        await here.ask("a")
        assert (here.provider.count("create"), here.provider.billed) == (1, ["a"])


async def test_polls_are_ever_further_apart(autojump_clock):
    async with house(BatchProvider(batch_s=3000.0), poll_s=5.0, max_poll_s=300.0) as here:
        await here.ask("a")
        polls = [at for what, at in here.provider.calls if what == "poll"]
        gaps = [late - early for early, late in itertools.pairwise(polls)]
        assert 5 < gaps[0] < 15
        assert 200 < gaps[-1] < 400
        assert len(polls) < 30


async def test_the_provider_may_want_to_be_asked_less_often(autojump_clock):
    provider = BatchProvider(batch_s=3000.0)
    provider.retry_after = "700"
    async with house(provider) as here:
        await here.ask("a")
        assert provider.count("poll") == 6


async def test_a_key_that_is_refused_may_be_changed_while_a_batch_runs(autojump_clock):
    async with house() as here:
        here.provider.faults = {"poll": ["refuse-401"] * 2, "fetch": ["refuse-401"] * 2}
        assert (await here.ask("a")).route == "batch"


async def test_those_who_have_their_answer_are_not_watched_any_more(autojump_clock):
    async with house(BatchProvider(batch_s=1.0), gather_s=0.1, poll_s=1.0) as here:
        await here.ask_all(*(f"p{number}" for number in range(1500)))
        actor = here.ref._cell.life.actor
        assert len(actor._deadlines._near) == 1500
        await here.ask("a")
        assert len(actor._deadlines._near) == 1
        assert not actor._table._lines


async def test_an_outage_without_end_does_not_keep_anybody_beyond_the_deadline(autojump_clock):
    async with house() as here:
        here.provider.faults = {"poll": ["drop"] * 1000, "cancel": ["drop"] * 1000}
        found = await here.ask("a", deadline=1000.0)
        assert (found.text, found.route, found.maybe_billed) == ("about a", "live", 1)
        assert trio.current_time() == pytest.approx(1000 - 60 + LIVE_S, abs=0.01)


# ---------------------------------------------------------------- the safety net


async def test_who_has_no_time_goes_live_at_once(autojump_clock):
    async with house() as here:
        await here.ask("a", deadline=60.0)
        await here.ask("b", timeout=30.0)
        assert (here.sent_live, here.provider.calls) == (["a", "b"], [])


async def test_who_cannot_wait_longer_is_taken_out_and_the_others_stay(autojump_clock):
    async with house(BatchProvider(batch_s=2000.0)) as here:
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
    async with house(BatchProvider(batch_s=2000.0)) as here:
        found = await here.ask_all("a", "b", deadline=500.0)
        assert texts(found) == about("a", "b")
        await trio.sleep(1000)
        assert here.provider.count("cancel") == 1
        assert here.provider.billed == []
        assert (await here.count()).batches == {}


async def test_an_answer_of_the_batch_that_comes_first_counts(autojump_clock):
    async with house(BatchProvider(batch_s=440.5), poll_s=1.0, max_poll_s=1.0) as here:
        found = {}

        async def one(prompt, deadline):
            found[prompt] = await here.ask(prompt, deadline=deadline)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(one, "late", 86_400.0)
            nursery.start_soon(one, "a", 500.0)
        assert (found["a"].route, found["a"].maybe_billed) == ("batch", 1)
        assert here.sent_live == ["a"]


async def test_when_the_live_way_fails_too_it_is_told_that_the_batch_may_be_charged(autojump_clock):
    async with house(BatchProvider(batch_s=2000.0), live_error=BadRequest("no")) as here:
        with pytest.raises(BadRequest) as caught:
            await here.ask("a", deadline=500.0)
        assert caught.value.billed == "maybe"


async def test_who_leaves_while_it_is_gathered_is_not_sent(autojump_clock):
    async with house() as here:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.ask, "a")
            await wait_all_tasks_blocked()
            await leaving(0.5, here.ask, "b")
        assert here.provider.billed == ["a"]


async def test_a_batch_that_nobody_waits_for_is_cancelled(autojump_clock):
    async with house(BatchProvider(batch_s=2000.0)) as here:
        await leaving(100, here.ask_all, "a", "b")
        await trio.sleep(100)
        assert here.provider.count("cancel") == 1
        await trio.sleep(1000)
        assert (here.provider.billed, (await here.count()).batches) == ([], {})


async def test_what_cannot_be_cancelled_any_more_is_asked_how_it_stands(autojump_clock):
    async with house(BatchProvider(batch_s=100.0), poll_s=1000.0, max_poll_s=1000.0) as here:
        await leaving(120, here.ask, "a")
        await trio.sleep(60)
        assert here.provider.count("cancel") == 1
        counts = await here.count()
        assert (counts.batches, counts.unclaimed) == ({}, 1)


async def test_with_a_journal_a_batch_is_kept_for_a_while_for_who_comes_back(
    autojump_clock, tmp_path
):
    def journal(_, account, keep_s):
        return Journal(lambda: JournalFile(tmp_path / "j", account, keep_s, lambda: 0.0), in_place)

    async with house(BatchProvider(batch_s=300.0), journal=journal, abandon_s=30.0) as here:
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
    async with house(provider) as here:
        request = Request.embedding("a", model=MODEL, deadline=86_400.0)
        found = await here.ref.ask(Complete(request, CallContext("a")))
    assert (found.embeddings, found.usage) == (((0.5, 1.0),), Usage(3, 0))
    assert json.loads(next(iter(provider.files.values())))["url"] == "/v1/embeddings"


async def test_more_time_keeps_one_in_the_batch(autojump_clock):
    async with house(BatchProvider(batch_s=2000.0)) as here:
        request = Request.of("a", model=MODEL)
        slot = await here.ref.submit(Complete(request, CallContext("a")), deadline=500.0)
        slot.postpone(5000.0)
        assert (await slot.wait()).route == "batch"
        assert here.sent_live == []


async def test_who_comes_back_in_time_has_the_line_again(autojump_clock, tmp_path):
    async with house(BatchProvider(batch_s=300.0)) as here:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.ask, "a")
            await wait_all_tasks_blocked()
            await leaving(50, here.ask, "b")
            await trio.sleep(10)
            assert (await here.ask("b")).text == "about b"
        assert sorted(here.provider.billed) == ["a", "b"]


async def test_an_answer_nobody_waited_for_is_for_the_next_who_asks(autojump_clock):
    async with house(BatchProvider(batch_s=300.0)) as here:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.ask, "a")
            await wait_all_tasks_blocked()
            await leaving(50, here.ask, "b")
        assert (await here.count()).unclaimed == 1
        start = trio.current_time()
        assert (await here.ask("b")).text == "about b"
        assert trio.current_time() == start
        assert ((await here.count()).unclaimed, sorted(here.provider.billed)) == (0, ["a", "b"])


async def test_two_who_ask_the_same_have_a_line_each(autojump_clock):
    async with house() as here, trio.open_nursery() as nursery:
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
            found["a"] = await House(runtime, ref, provider, []).ask("a")

        nursery.start_soon(ask)
        await wait_all_tasks_blocked()
    assert (found["a"].text, found["a"].route) == ("about a", "batch")


async def test_a_crash_is_told_and_what_was_sent_goes_on(autojump_clock, tmp_path):
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
        here = House(runtime, ref, provider, live)
        provider.hook = crash
        with pytest.raises(ActorCrashed) as caught:
            await here.ask("a")
        assert caught.value.verdict.name == "MAY_HAVE_RUN"
        assert (await here.ask("a")).text == "about a"
    assert (provider.billed, live) == (["a"], [])
