"""OpenAI's background responses: begun, polled, cancelled and billed (L10)."""

import httpx
import pytest
import trio
from batch_client import after, batching, content, create
from provider_client import connected

URL = "/v1/responses"
QUESTION = {"model": "m", "input": "What is Trio?"}
BACKGROUND = QUESTION | {"background": True, "service_tier": "flex"}


async def begin(client, **more):
    response = await client.post(URL, json=BACKGROUND | more)
    assert response.status_code == 200, response.text
    return response.json()


async def show(client, begun):
    return (await client.get(f"{URL}/{begun['id']}")).json()


async def cancel(client, begun):
    return (await client.post(f"{URL}/{begun['id']}/cancel")).json()


def billed(client):
    [tiers] = client.provider.stats.billed.values()
    return {tier: (bill.input_tokens, bill.output_tokens) for tier, bill in tiers.items()}


async def test_a_background_response_is_queued_at_once_and_completed_after_its_latency(
    autojump_clock,
):
    async with connected() as client:
        plain = (await client.post(URL, json=QUESTION)).json()
        started = trio.current_time()
        begun = await begin(client)
        assert trio.current_time() == started
        running = await show(client, begun)
        await trio.sleep(1.0)
        done = await show(client, begun)
    states = [(body["status"], body["usage"]) for body in (begun, running, done)]
    assert states == [("queued", None), ("in_progress", None), ("completed", plain["usage"])]
    assert begun["output"] == running["output"] == []
    assert done["output"][0]["content"] == plain["output"][0]["content"]
    assert (done["id"], done["background"], done["service_tier"]) == (begun["id"], True, "flex")
    assert done["completed_at"] == done["created_at"] + 1


async def test_it_is_billed_once_at_its_end_at_its_tier_and_counts_as_one_request(autojump_clock):
    async with connected() as client:
        begun = await begin(client)
        assert billed(client) == {"flex": (0, 0)}
        await trio.sleep(1.0)
        stats = client.provider.stats  # although the client never polled
        usage = (await show(client, begun))["usage"]
        await show(client, begun)
        assert billed(client) == {"flex": (usage["input_tokens"], usage["output_tokens"])}
    assert (stats.requests, stats.answered, stats.in_flight) == (1, 1, 0)
    assert stats.output_tokens == usage["output_tokens"]


async def test_an_incomplete_response_has_its_reason_and_no_time_of_completion(autojump_clock):
    async with connected() as client:
        begun = await begin(client, max_output_tokens=16)
        await trio.sleep(1.0)
        done = await show(client, begun)
    assert begun["incomplete_details"] is None
    assert (done["status"], done["completed_at"]) == ("incomplete", None)
    assert done["incomplete_details"] == {"reason": "max_output_tokens"}


async def test_a_cancelled_response_costs_its_prompt_and_stays_cancelled(autojump_clock):
    async with connected() as client:
        begun = await begin(client)
        first = await cancel(client, begun)
        await trio.sleep(1.0)
        assert await show(client, begun) == await cancel(client, begun) == first
        [(read, written)] = billed(client).values()
    assert (first["status"], first["output"], first["usage"]) == ("cancelled", [], None)
    assert (read > 0, written) == (True, 0)


async def test_a_response_that_has_ended_is_not_cancelled(autojump_clock):
    async with connected() as client:
        begun = await begin(client)
        await trio.sleep(1.0)
        assert (await cancel(client, begun))["status"] == "completed"


async def test_a_response_that_is_not_stored_can_be_read_for_ten_minutes(autojump_clock):
    async with connected() as client:
        stored, unstored = await begin(client), await begin(client, store=False)
        await trio.sleep(1.0 + 600.0)
        assert (await show(client, unstored))["status"] == "completed"
        await trio.sleep(1.0)
        assert (await show(client, stored))["status"] == "completed"
        gone = await client.get(f"{URL}/{unstored['id']}")
        unknown = await client.get(URL + "/resp_1")
    assert (gone.status_code, unknown.status_code) == (404, 404)


@pytest.mark.parametrize(("fault", "tokens"), [("lost", True), ("reset", False)])
async def test_a_fault_of_the_first_request_loses_work_that_goes_on(autojump_clock, fault, tokens):
    async with connected() as client:
        with pytest.raises(httpx.TransportError):
            await client.post(URL, json=BACKGROUND, headers={"x-callsheet-fault": fault})
        await trio.sleep(1.0)
        assert (client.provider.stats.output_tokens > 0) == tokens


async def test_it_is_neither_a_stream_nor_in_a_batch(autojump_clock):
    async with connected() as client:
        refused = await client.post(URL, json=BACKGROUND | {"stream": True})
    async with batching() as client:
        line = {"custom_id": "a", "method": "POST", "url": URL, "body": BACKGROUND}
        batch = (await create(client, [line], endpoint=URL)).json()
        batch = await after(client, 200, batch)
        [failed] = await content(client, batch["error_file_id"])
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "stream")
    assert failed["response"]["body"]["error"]["param"] == "background"
