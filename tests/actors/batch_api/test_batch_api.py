"""The Batch API stage before a provider: batches and their results, and requests sent live."""

import json
from decimal import Decimal

import pytest
import trio
from batch_provider import MODEL, URL, BatchProvider, prompt_of
from batch_stage import KEY, KINDS, about, batch_stage, texts

from callsheet.actors import (
    BadRequest,
    CallContext,
    Endpoint,
    QuotaExhausted,
    Request,
    Stream,
    Usage,
)
from callsheet.actors.batch_api.journal_file import JournalFile


@pytest.mark.parametrize("kind", KINDS)
async def test_what_can_wait_is_answered_by_one_batch_at_its_price(kind, autojump_clock):
    async with batch_stage(BatchProvider(kind)) as here:
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
    async with batch_stage() as here:
        here.provider.faults = {"poll": ["refuse-500"], "upload": ["refuse-429"]}
        await here.ask("a")
    for what, request, body in here.provider.requests:
        assert request.headers["authorization"] == f"Bearer {KEY}", what
        assert KEY.encode() not in body
    assert "Not now, Bearer ***." in str(log)
    assert KEY not in str(log)


async def test_a_key_that_an_answer_quotes_is_in_no_response_and_not_in_the_journal(
    autojump_clock, monkeypatch
):
    """L8, also where the provider escapes it."""
    stored, store = [], JournalFile.store

    def watch(file, results, failed):
        stored.extend(raw for _, raw in results)
        store(file, results, failed)

    monkeypatch.setattr(JournalFile, "store", watch)
    async with batch_stage() as here:
        found = await here.ask_all(KEY, f"\u00e4 {KEY}")
    assert {one.text for one in found.values()} == {"about ***", "about \u00e4 ***"}
    assert KEY not in repr([(one, one.body) for one in found.values()])
    assert len(stored) == 2
    assert all(KEY.encode() not in raw and b"***" in raw for raw in stored)


async def test_what_was_asked_is_in_the_line_as_it_would_be_sent(autojump_clock):
    async with batch_stage() as here:
        await here.ask("a", max_tokens=7, temperature=0.5)
    (content,) = here.provider.files.values()
    body = json.loads(content)["body"]
    assert (body["max_completion_tokens"], body["temperature"], prompt_of(body)) == (7, 0.5, "a")
    assert "stream" not in body


async def test_later_requests_are_in_a_later_batch(autojump_clock):
    async with batch_stage(gather_s=1.0) as here:
        async with trio.open_nursery() as nursery:
            for prompt, pause in (("a", 0.5), ("b", 10.0), ("c", 0.0)):
                nursery.start_soon(here.ask, prompt)
                await trio.sleep(pause)
        assert [len(batch.lines) for batch in here.provider.batches] == [2, 1]


async def test_a_full_batch_is_sent_at_once_and_large_ones_are_split(autojump_clock):
    async with batch_stage(max_requests=2, gather_s=50.0) as here:
        found = await here.ask_all("a", "b", "c", "d", "e")
        assert texts(found) == about("a", "b", "c", "d", "e")
        assert [len(batch.lines) for batch in here.provider.batches] == [2, 2, 1]


async def test_a_stream_and_unsupported_requests_are_sent_live_at_once(autojump_clock):
    async with batch_stage(max_bytes=600) as here:
        async with here.ref.stream(Stream(Request.of("s", model=MODEL), CallContext("s"))) as items:
            assert [item async for item in items] == ["piece"]
        await here.ask("x" * 1000)
        assert (len(here.live), here.provider.calls) == (2, [])


async def test_without_a_batch_api_everything_goes_live(autojump_clock):
    async with batch_stage(endpoint=Endpoint(URL, None, "compatible")) as here:
        assert texts(await here.ask_all("a", "b")) == about("a", "b")
        assert (here.sent_live, here.provider.calls) == (["a", "b"], [])
        assert (await here.count()).live == 2


async def test_a_compatible_server_can_be_configured_to_have_one(autojump_clock):
    async with batch_stage(endpoint=Endpoint(URL, None, "compatible"), dialect="openai") as here:
        assert (await here.ask("a")).route == "batch"


# ---------------------------------------------------------------- how batches end


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fate", ["missing", 500, 429, 0, "expired"])
async def test_a_line_that_may_fare_better_is_asked_alone_and_live(kind, fate, autojump_clock):
    async with batch_stage(BatchProvider(kind, fates={"b": fate})) as here:
        found = await here.ask_all("a", "b", "c")
    assert texts(found) == about("a", "b", "c")
    assert here.sent_live == ["b"]
    assert [found[prompt].route for prompt in "abc"] == ["batch", "live", "batch"]
    assert found["b"].maybe_billed == int(fate == "missing")


@pytest.mark.parametrize("kind", KINDS)
async def test_a_line_that_is_wrong_fails_as_a_live_call_would(kind, autojump_clock):
    async with batch_stage(BatchProvider(kind, fates={"b": 400})) as here:
        found = await here.ask_all("a", "b")
        assert (await here.count()).failed == 1
    assert type(found["b"]) is BadRequest
    assert (found["a"].text, here.sent_live) == ("about a", [])


async def test_an_answer_that_is_none_is_asked_for_again_and_may_be_charged_twice(autojump_clock):
    async with batch_stage(BatchProvider(fates={"a": "malformed"})) as here:
        found = await here.ask("a")
    assert (found.text, found.route, found.maybe_billed) == ("about a", "live", 1)


async def test_foreign_and_repeated_results_are_ignored(autojump_clock, log):
    provider = BatchProvider(fates={"a": "twice"})
    provider.extra_lines = [provider._line("x-0", 200, {"choices": []}), {"what": "ever"}]
    async with batch_stage(provider) as here:
        assert texts(await here.ask_all("a", "b")) == about("a", "b")
    assert "batch_has_foreign_result" in [event["event"] for event in log]
    assert here.sent_live == []


@pytest.mark.parametrize("kind", KINDS)
async def test_lines_that_an_expired_batch_has_not_run_are_sent_live(kind, autojump_clock):
    async with batch_stage(BatchProvider(kind, finals=["expired"])) as here:
        found = await here.ask_all("a", "b", "c")
    assert texts(found) == about("a", "b", "c")
    assert (here.provider.billed, here.sent_live) == (["a"], ["c", "b"])
    assert all(one.maybe_billed == 0 for one in found.values())


@pytest.mark.parametrize("name", [None, "", "x", 5])
async def test_a_result_without_its_line_may_be_that_of_any_line(autojump_clock, name):
    """Rule L3: rows that have no result of their own are not bought again in silence."""
    provider = BatchProvider(finals=["expired"])
    provider.odd = {"a": lambda line: line | {"custom_id": name}}
    async with batch_stage(provider) as here:
        found = await here.ask_all("a", "b")
    assert (here.provider.billed, sorted(here.sent_live)) == (["a"], ["a", "b"])
    assert found["a"].maybe_billed == 1
    assert found["b"].maybe_billed == 0  # its own result says that it expired


async def test_a_batch_rejected_for_a_line_is_sent_again_without_it(autojump_clock):
    provider = BatchProvider(finals=["failed", "completed"])
    provider.errors = [{"code": "invalid_json", "message": "no", "line": 2}]
    async with batch_stage(provider) as here:
        assert texts(await here.ask_all("a", "b", "c")) == about("a", "b", "c")
    assert (here.sent_live, sorted(provider.billed)) == (["b"], ["a", "c"])
    assert [len(batch.lines) for batch in provider.batches] == [3, 2]


async def test_a_batch_rejected_without_a_reason_is_sent_live(autojump_clock):
    provider = BatchProvider(finals=["failed"])
    provider.errors = [{"code": "model_not_batchable", "message": "no", "line": None}]
    async with batch_stage(provider) as here:
        assert texts(await here.ask_all("a", "b")) == about("a", "b")
        assert (sorted(here.sent_live), len(provider.batches)) == (["a", "b"], 1)


async def test_too_many_tokens_wait_until_other_batches_have_ended(autojump_clock):
    provider = BatchProvider(batch_s=1000.0)
    provider.enqueued_limit = 2  # this one counts lines
    async with batch_stage(provider, max_requests=2) as here:
        prompts = [f"p{number}" for number in range(6)]
        found = await here.ask_all(*prompts)
        assert texts(found) == about(*prompts)
    assert here.sent_live == []
    assert sorted(provider.billed) == prompts


async def test_a_batch_that_overflows_alone_is_split(autojump_clock):
    provider = BatchProvider(batch_s=10.0)
    provider.enqueued_limit = 2
    async with batch_stage(provider) as here:
        prompts = [f"p{number}" for number in range(8)]
        found = await here.ask_all(*prompts)
        assert texts(found) == about(*prompts)
    assert sorted(provider.billed) == prompts
    assert here.sent_live == []


@pytest.mark.parametrize("what", ["upload", "create"])
async def test_requests_that_the_batch_api_rejects_are_sent_live(what, autojump_clock):
    async with batch_stage() as here:
        here.provider.faults = {what: ["refuse-400"]}
        assert texts(await here.ask_all("a", "b")) == about("a", "b")
        assert here.sent_live == ["a", "b"]


async def test_an_account_without_credit_fails_all_requests(autojump_clock):
    async with batch_stage() as here:
        here.provider.faults = {"create": ["refuse-402"]}
        found = await here.ask_all("a", "b")
        assert {type(one) for one in found.values()} == {QuotaExhausted}
        assert here.sent_live == []
