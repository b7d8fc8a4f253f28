"""The Batch APIs of Gemini, Groq, Mistral and OpenRouter, by the shapes that are documented."""

from decimal import Decimal

import pytest
import trio
from batch_provider import BatchProvider
from batch_stage import MORE_KINDS, about, batch_stage, leaving, texts

from callsheet.actors import BadRequest
from callsheet.actors.vendors.batch_catalog import DIALECTS
from callsheet.actors.vendors.format import Malformed

INLINE = ["gemini", "openrouter"]  # their results are in the description of the batch


@pytest.mark.parametrize("kind", MORE_KINDS)
async def test_what_can_wait_is_answered_by_one_batch_at_its_price(kind, autojump_clock):
    async with batch_stage(BatchProvider(kind)) as here:
        found = await here.ask_all("a", "b", "c")
    assert texts(found) == about("a", "b", "c")
    assert {(one.route, one.cost_usd, one.maybe_billed) for one in found.values()} == {
        ("batch", Decimal("0.00003"), 0)
    }
    assert (len(here.provider.batches), here.sent_live) == (1, [])


@pytest.mark.parametrize("kind", MORE_KINDS)
async def test_each_line_has_its_fate(kind, autojump_clock):
    fates = {"b": "missing", "c": 400, "d": 500, "e": "expired", "f": "malformed", "g": "twice"}
    async with batch_stage(BatchProvider(kind, fates=fates)) as here:
        found = await here.ask_all("a", "b", "c", "d", "e", "f", "g")
    assert type(found.pop("c")) is BadRequest
    assert texts(found) == about("a", "b", "d", "e", "f", "g")
    assert sorted(here.sent_live) == ["b", "d", "e", "f"]
    assert {prompt for prompt, one in found.items() if one.maybe_billed} == {"b", "f"}


@pytest.mark.parametrize("kind", MORE_KINDS)
@pytest.mark.parametrize("what", ["upload", "create", "list", "poll", "fetch"])
@pytest.mark.parametrize("fault", [pytest.param("refuse-503", marks=pytest.mark.slow), "lose"])
async def test_an_outage_is_waited_for(kind, what, fault, autojump_clock):
    async with batch_stage(BatchProvider(kind)) as here:
        here.provider.faults = {what: [fault] * 3}
        assert texts(await here.ask_all("a", "b")) == about("a", "b")
        assert (len(here.provider.batches), sorted(here.provider.billed)) == (1, ["a", "b"])
        assert here.sent_live == []


@pytest.mark.parametrize("kind", MORE_KINDS)
async def test_a_create_without_an_answer_is_found_among_other_batches(kind, autojump_clock):
    provider = BatchProvider(kind)
    async with batch_stage(provider) as here:
        await here.ask("earlier")
        provider.faults = {"create": ["lose"]}
        assert texts(await here.ask_all("a")) == about("a")
        assert (len(provider.batches), provider.billed, here.sent_live) == (2, ["earlier", "a"], [])


@pytest.mark.parametrize("kind", MORE_KINDS)
@pytest.mark.parametrize("reports_counts", [True, False])
async def test_results_that_come_late_are_waited_for(kind, reports_counts, autojump_clock):
    provider = BatchProvider(kind)
    provider.hidden_s, provider.reports_counts = 900.0, reports_counts
    async with batch_stage(provider) as here:
        assert texts(await here.ask_all("a", "b")) == about("a", "b")
    assert (here.sent_live, sorted(provider.billed)) == ([], ["a", "b"])


@pytest.mark.parametrize("kind", MORE_KINDS)
async def test_a_batch_without_callers_is_cancelled_where_that_is_possible(kind, autojump_clock):
    async with batch_stage(BatchProvider(kind, batch_s=5000.0)) as here:
        await leaving(50.0, here.ask, "a")
        await trio.sleep(20_000)
        counts = await here.count()
    assert counts.batches == {}
    assert here.provider.count("cancel") == (kind != "openrouter")
    assert here.provider.billed == (["a"] if kind == "openrouter" else [])
    assert counts.unclaimed == (kind == "openrouter")  # it is paid for, and kept


@pytest.mark.parametrize("kind", MORE_KINDS)
async def test_an_expired_batch_says_what_it_may_have_billed(kind, autojump_clock):
    async with batch_stage(BatchProvider(kind, finals=["expired"])) as here:
        found = await here.ask_all("a", "b", "c")
    assert texts(found) == about("a", "b", "c")
    assert here.provider.billed == ["a"]
    assert {one.maybe_billed for one in found.values()} == {0}


async def test_gemini_expires_without_results_and_without_saying_what_was_billed(autojump_clock):
    provider = BatchProvider("gemini", finals=["expired"])
    provider.hidden_s, provider.reports_counts = 1e9, False
    async with batch_stage(provider) as here:
        found = await here.ask_all("a", "b")
    assert sorted(here.sent_live) == ["a", "b"]
    assert [one.maybe_billed for one in found.values()] == [1, 1]


@pytest.mark.parametrize("kind", MORE_KINDS)
async def test_other_tasks_are_not_for_batches(kind, autojump_clock):
    takes = {path for path in ("/embeddings", "/completions") if DIALECTS[kind].takes(path)}
    assert takes == ({"/embeddings"} if kind == "mistral" else set())


@pytest.mark.parametrize("kind", INLINE)
@pytest.mark.parametrize("body", [None, 3, [], {}, {"results": 3}, {"response": 3}])
def test_a_description_without_results_has_none(kind, body):
    assert list(DIALECTS[kind].divide(body)) == []


@pytest.mark.parametrize("kind", MORE_KINDS)
@pytest.mark.parametrize("body", [None, [], {}, {"id": ""}, {"name": "models/x"}, "x"])
def test_what_describes_no_batch_is_malformed(kind, body):
    with pytest.raises(Malformed):
        DIALECTS[kind].read_batch(body)
