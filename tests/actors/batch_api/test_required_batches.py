"""Requests that may only be sent in a batch fail if no batch takes them; others say why not."""

import pytest
import trio
from batch_provider import URL, BatchProvider
from batch_stage import KEY, about, batch_stage, texts

from callsheet.actors import (
    BadRequest,
    BatchUnavailable,
    Endpoint,
    QuotaExhausted,
    Request,
    RequestTooLarge,
)


def kinds(found):
    return {prompt: type(one) for prompt, one in found.items()}


@pytest.mark.parametrize("what", ["upload", "create"])
@pytest.mark.parametrize("status", [400, 404, 405, 501])
async def test_a_refused_batch_fails_before_anything_is_spent(what, status, autojump_clock):
    async with batch_stage(is_required=True) as here:
        here.provider.faults = {what: [f"refuse-{status}"]}
        found = await here.ask_all("a", "b")
    assert kinds(found) == {"a": BatchUnavailable, "b": BatchUnavailable}
    assert f"provider returned {status}" in str(found["a"])
    assert (here.sent_live, here.provider.billed) == ([], [])
    assert {one.billed for one in found.values()} == {"no"}


async def test_a_model_without_batches_fails_all(autojump_clock):
    provider = BatchProvider(finals=["failed"])
    provider.errors = [{"code": "model_not_found", "message": "not in batches", "line": None}]
    async with batch_stage(provider, is_required=True) as here:
        found = await here.ask_all("a", "b")
    assert kinds(found) == {"a": BatchUnavailable, "b": BatchUnavailable}
    assert "model_not_found not in batches" in str(found["a"])
    assert here.sent_live == []


async def test_a_line_that_the_provider_names_fails_alone(autojump_clock):
    provider = BatchProvider(finals=["failed", "completed"])
    provider.errors = [{"code": "invalid_json", "message": "no", "line": 2}]
    async with batch_stage(provider, is_required=True) as here:
        found = await here.ask_all("a", "b", "c")
    assert kinds(found)["b"] is BadRequest
    assert (found["a"].route, found["c"].route, here.sent_live) == ("batch", "batch", [])


async def test_a_vendor_without_batches_fails_all(autojump_clock):
    endpoint = Endpoint(URL, KEY, "deepseek")
    async with batch_stage(endpoint=endpoint, is_required=True) as here:
        found = await here.ask_all("a")
    assert str(found["a"]) == "Callsheet supports no Batch API of DeepSeek"
    assert (here.sent_live, here.provider.requests) == ([], [])


async def test_a_task_that_no_batch_takes_fails(autojump_clock):
    async with batch_stage(BatchProvider("together"), is_required=True) as here:
        request = Request.embedding(["a"], model="m", deadline=86_400.0)
        with pytest.raises(BatchUnavailable, match=r"of Together AI takes no requests to /embedd"):
            await here.send(request)
    assert here.provider.requests == []


async def test_a_request_that_is_too_large_fails_alone(autojump_clock):
    async with batch_stage(is_required=True, max_bytes=600) as here:
        found = await here.ask_all("a" * 1000, "b")
    assert set(kinds(found).values()) - {RequestTooLarge} == {type(found["b"])}
    assert (found["b"].route, here.sent_live) == ("batch", [])


async def test_an_account_without_credit_says_so(autojump_clock):
    async with batch_stage(is_required=True) as here:
        here.provider.faults = {"create": ["refuse-402"]}
        assert kinds(await here.ask_all("a")) == {"a": QuotaExhausted}


async def test_a_deadline_is_kept_all_the_same(autojump_clock):
    async with batch_stage(BatchProvider(batch_s=1e6), is_required=True) as here:
        found = await here.ask("a", deadline=1000.0)
    assert (found.route, found.maybe_billed) == ("live", 1)


@pytest.mark.parametrize(("what", "status"), [("upload", 404), ("upload", 405), ("create", 501)])
async def test_an_endpoint_without_batches_is_asked_once(what, status, autojump_clock):
    async with batch_stage() as here:
        here.provider.faults = {what: [f"refuse-{status}"] * 9}
        assert texts(await here.ask_all("a", "b")) == about("a", "b")
        assert texts(await here.ask_all("c", "d")) == about("c", "d")
    assert here.provider.count(what) == 1
    assert here.sent_live == ["a", "b", "c", "d"]
    assert {event.stage for event in here.events} == {"sent", "rerouted"} - (
        {"sent"} if what == "upload" else set()
    )
    reasons = {event.error for event in here.events if event.stage == "rerouted"}
    assert [f"returned {status}" in why for why in reasons] == [True]


async def test_what_goes_live_says_why(autojump_clock):
    provider = BatchProvider(batch_s=50.0, fates={"b": "missing", "c": 500, "d": "expired"})
    async with batch_stage(provider) as here:
        await here.ask_all("a", "b", "c", "d")
        await trio.sleep(1000)
        await here.ask("e", deadline=10.0)
    why = {event.context.call: event.error for event in here.events if event.stage == "rerouted"}
    assert set(why) == {"b", "c", "d", "e"}
    assert (why["b"], why["e"]) == ("its batch has no result of it", "its deadline is near")
    assert why["c"] == "provider answered 500 in a batch: Sorry."
    assert "did not run a line" in why["d"]
