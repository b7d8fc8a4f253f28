import pytest
import trio
from batch_client import batching, create_messages, lines_in
from provider_client import VERSION, message_body

from callsheet.simulator.stats import BilledTokens

URL = "/v1/messages/batches"
NONE = {"processing": 0, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0}


async def show(client, batch, seconds=0.0):
    await trio.sleep(seconds)
    return await client.get(f"{URL}/{batch['id']}", headers=VERSION)


async def results(client, batch):
    response = await client.get(f"{URL}/{batch['id']}/results", headers=VERSION)
    assert response.headers["content-type"] == "application/x-jsonl"
    return {line["custom_id"]: line["result"] for line in lines_in(response)}


async def test_a_batch_is_answered_as_live_messages_are(autojump_clock):
    async with batching(settings={"latency_s": (0.0, 0.0)}) as client:
        created = (await create_messages(client, range(10))).json()
        assert created == {
            "id": created["id"],
            "type": "message_batch",
            "processing_status": "in_progress",
            "request_counts": NONE | {"processing": 10},
            "created_at": "2026-01-01T00:00:00Z",
            "expires_at": "2026-01-02T00:00:00Z",
            "ended_at": None,
            "cancel_initiated_at": None,
            "archived_at": None,
            "results_url": None,
        }
        working = await show(client, created, 99)
        assert working.json() == created
        assert working.headers["retry-after"] == "10"
        early = await client.get(f"{URL}/{created['id']}/results", headers=VERSION)
        assert early.status_code == 404
        assert "has no available results" in early.json()["error"]["message"]
        response = await show(client, created, 1)
        ended = response.json()
        assert "retry-after" not in response.headers
        assert ended["processing_status"] == "ended"
        assert ended["request_counts"] == NONE | {"succeeded": 10}
        assert ended["ended_at"] == "2026-01-01T00:01:40Z"
        assert ended["results_url"] == f"http://provider{URL}/{created['id']}/results"
        lines = lines_in(await client.get(ended["results_url"], headers=VERSION))
        ids = [line["custom_id"] for line in lines]
        assert ids != sorted(ids) == [f"r-{i}" for i in range(10)]
        for line in lines:
            live = (await client.message(f"What is {line['custom_id'][2:]}?")).json()
            assert line["result"]["type"] == "succeeded"
            message = line["result"]["message"]
            assert message["content"] == live["content"]
            assert message["usage"] == live["usage"] | {"service_tier": "batch"}
        stats = client.provider.stats
    assert stats.billed["m"]["batch"] == stats.billed["m"]["default"] != BilledTokens()
    assert (stats.batches, stats.batch_lines, stats.requests) == (1, 10, 10)


async def test_what_is_wrong_with_a_request_is_its_own_error(autojump_clock):
    async with batching(settings={"models": ("m",)}) as client:
        params = [
            message_body(max_tokens=0),
            message_body(stream=True),
            message_body(model="n"),
            message_body(),
        ]
        requests = [{"custom_id": f"r-{i}", "params": it} for i, it in enumerate(params)]
        batch = await client.post(URL, json={"requests": requests}, headers=VERSION)
        ended = (await show(client, batch.json(), 100)).json()
        found = await results(client, ended)
    assert ended["request_counts"] == NONE | {"succeeded": 1, "errored": 3}
    types = [found[f"r-{i}"].get("error", {}).get("error", {}).get("type") for i in range(4)]
    assert types == ["invalid_request_error", "invalid_request_error", "not_found_error", None]
    assert found["r-0"]["error"]["type"] == "error"
    assert found["r-0"]["error"]["request_id"].startswith("req_")


async def test_requests_fail_by_chance(autojump_clock):
    async with batching(failing=0.5) as client:
        batch = (await create_messages(client, range(40))).json()
        ended = (await show(client, batch, 100)).json()
        found = await results(client, ended)
        stats = client.provider.stats
    errors = [result["error"]["error"]["type"] for result in found.values() if "error" in result]
    assert set(errors) == {"api_error", "rate_limit_error"}
    assert ended["request_counts"]["errored"] == len(errors)
    assert stats.output_tokens == sum(
        result["message"]["usage"]["output_tokens"]
        for result in found.values()
        if "message" in result
    )


async def test_a_batch_that_is_cancelled_keeps_what_is_done(autojump_clock):
    async with batching() as client:
        batch = (await create_messages(client, range(10))).json()
        await trio.sleep(50)
        url = f"{URL}/{batch['id']}"
        refused = await client.delete(url, headers=VERSION)
        assert refused.status_code == 400
        stopping = (await client.post(f"{url}/cancel", headers=VERSION)).json()
        assert stopping["processing_status"] == "canceling"
        assert stopping["cancel_initiated_at"] == "2026-01-01T00:00:50Z"
        assert stopping["request_counts"] == NONE | {"processing": 10}
        ended = (await show(client, batch, 10)).json()
        assert ended["processing_status"] == "ended"
        assert ended["request_counts"] == NONE | {"succeeded": 5, "canceled": 5}
        found = await results(client, batch)
        assert sorted(result["type"] for result in found.values()) == (
            ["canceled"] * 5 + ["succeeded"] * 5
        )
        assert (await client.post(f"{url}/cancel", headers=VERSION)).status_code == 400
        gone = await client.delete(url, headers=VERSION)
        assert gone.json() == {"id": batch["id"], "type": "message_batch_deleted"}
        assert (await client.get(url, headers=VERSION)).status_code == 404


async def test_a_batch_that_expires_keeps_what_is_done(autojump_clock):
    async with batching(expiring=1.0, expires_s=1000.0, done_at_expiry=0.3) as client:
        batch = (await create_messages(client, range(10))).json()
        assert (await show(client, batch, 999)).json()["processing_status"] == "in_progress"
        ended = (await show(client, batch, 1)).json()
        found = await results(client, batch)
    assert ended["request_counts"] == NONE | {"succeeded": 3, "expired": 7}
    assert sum(result == {"type": "expired"} for result in found.values()) == 7


@pytest.mark.parametrize(
    ("requests", "says"),
    [
        ([], "empty array"),
        ([{"custom_id": "a b", "params": message_body()}], "requests.0.custom_id"),
        ([{"custom_id": "a" * 65, "params": message_body()}], "requests.0.custom_id"),
        ([{"params": message_body()}], "requests.0.custom_id: Field required"),
        ([{"custom_id": "a"}], "requests.0.params: Field required"),
        ([{"custom_id": "a", "params": message_body()}] * 2, "not unique"),
        ([{"custom_id": str(i), "params": message_body()} for i in range(4)], "too long"),
        ([7], "requests[0]"),
    ],
)
async def test_what_is_not_in_order_is_refused_at_once(autojump_clock, requests, says):
    async with batching(max_requests=3) as client:
        response = await client.post(URL, json={"requests": requests}, headers=VERSION)
        assert client.provider.stats.batches == 0
    assert response.status_code == 400
    assert response.json()["type"] == "error"
    assert says.replace("[0]", ".0") in response.json()["error"]["message"].replace("[0]", ".0")


async def test_a_body_may_be_only_so_large_and_has_a_version(autojump_clock):
    async with batching(max_request_bytes=1000) as client:
        assert (await create_messages(client, range(50))).status_code == 413
        assert (await client.get(URL)).status_code == 400


async def test_batches_are_listed_newest_first(autojump_clock):
    async with batching() as client:
        ids = [(await create_messages(client, [i])).json()["id"] for i in range(5)][::-1]

        async def page(**query):
            found = (await client.get(URL, params=query, headers=VERSION)).json()
            shown = [batch["id"] for batch in found["data"]]
            assert (found["first_id"], found["last_id"]) == (shown[0], shown[-1])
            return shown, found["has_more"]

        assert await page() == (ids, False)
        assert await page(limit=2) == (ids[:2], True)
        assert await page(limit=2, after_id=ids[1]) == (ids[2:4], True)
        assert await page(limit=2, before_id=ids[4]) == (ids[2:4], True)
        assert await page(limit=2, before_id=ids[2]) == (ids[:2], False)
