import httpx
import pytest
import trio
from batch_client import CHATS, after, batching, chat_line, content, create, jsonl, upload
from provider_client import chat_body

from callsheet.simulator.faults import Faults
from callsheet.simulator.stats import BilledTokens

EPOCH = 1_767_225_600  # 2026 begins


async def test_a_batch_passes_through_its_states_and_responds_as_live_calls_do(autojump_clock):
    async with batching(settings={"latency_s": (0.0, 0.0)}) as client:
        created = (await create(client, map(chat_line, range(10)), metadata={"a": "b"})).json()
        assert created == {
            "id": created["id"],
            "object": "batch",
            "endpoint": CHATS,
            "model": "m",
            "errors": None,
            "input_file_id": created["input_file_id"],
            "completion_window": "24h",
            "status": "validating",
            "output_file_id": None,
            "error_file_id": None,
            "created_at": EPOCH,
            "in_progress_at": None,
            "expires_at": EPOCH + 86_400,
            "finalizing_at": None,
            "completed_at": None,
            "failed_at": None,
            "expired_at": None,
            "cancelling_at": None,
            "cancelled_at": None,
            "request_counts": {"total": 0, "completed": 0, "failed": 0},
            "metadata": {"a": "b"},
            "usage": created["usage"],
        }
        assert created["usage"]["total_tokens"] == 0
        working = await after(client, 50, created)
        assert working["status"] == "in_progress"
        assert working["request_counts"] == {"total": 10, "completed": 5, "failed": 0}
        assert 0 < working["usage"]["output_tokens"] == client.provider.stats.output_tokens
        assert (await after(client, 40, created))["status"] == "finalizing"
        ended = await after(client, 10, created)
        assert ended["status"] == "completed"
        assert [ended[f"{s}_at"] - EPOCH for s in ("in_progress", "finalizing", "completed")] == [
            10,
            90,
            100,
        ]
        assert ended["error_file_id"] is None
        output = await content(client, ended["output_file_id"])
        texts = {}
        for i in range(10):
            live = (await client.chat(f"What is {i}?")).json()
            texts[f"r-{i}"] = live["choices"][0]["message"]["content"]
        stats = client.provider.stats
    ids = [line["custom_id"] for line in output]
    assert ids != sorted(ids) == list(texts)
    for line in output:
        assert line["error"] is None
        assert line["response"]["status_code"] == 200
        body = line["response"]["body"]
        assert body["choices"][0]["message"]["content"] == texts[line["custom_id"]]
    assert len({line["id"] for line in output}) == 10
    usage = ended["usage"]
    assert stats.billed["m"]["batch"] == BilledTokens(usage["input_tokens"], usage["output_tokens"])
    assert stats.billed["m"]["batch"] == stats.billed["m"]["default"]
    assert (stats.files, stats.batches, stats.batch_lines, stats.requests) == (1, 1, 10, 10)
    assert stats.control_requests == 6


async def test_it_all_repeats(autojump_clock):
    async def run():
        async with batching(time_s=(50.0, 200.0), failing=0.3) as client:
            batch = (await create(client, map(chat_line, range(20)))).json()
            ended = await after(client, 200, batch)
            return ended, await content(client, ended["output_file_id"])

    ended, output = await run()
    assert 50 < ended["completed_at"] - EPOCH < 200
    assert (ended, output) == await run()


@pytest.mark.parametrize("url", ["/v1/completions", "/v1/embeddings"])
async def test_other_endpoints_have_batches_too(autojump_clock, url):
    member = "prompt" if url == "/v1/completions" else "input"
    body = {"model": "m", member: ["one", "two"]}
    async with batching() as client:
        line = {"custom_id": "a", "method": "POST", "url": url, "body": body}
        batch = (await create(client, [line], endpoint=url)).json()
        ended = await after(client, 100, batch)
        [line] = await content(client, ended["output_file_id"])
        live = (await client.post(url, json=body)).json()
    found = line["response"]["body"]
    key = "choices" if url == "/v1/completions" else "data"
    assert found[key] == live[key]


def bad(**more):
    return chat_line(2) | more


@pytest.mark.parametrize(
    ("lines", "code", "number"),
    [
        (jsonl([chat_line(1)]) + b"{\n", "invalid_json_line", 2),
        ([chat_line(1), [1]], "invalid_json_line", 2),
        ([chat_line(1), chat_line(1)], "duplicate_custom_id", 2),
        ([chat_line(1), bad(url="/v1/embeddings")], "url_mismatch", 2),
        ([chat_line(1), bad(method="GET")], "invalid_method", 2),
        ([chat_line(1), bad(method=None)], "missing_required_parameter", 2),
        ([chat_line(1), bad(custom_id=7)], "missing_required_parameter", 2),
        ([chat_line(1), bad(body=None)], "missing_required_parameter", 2),
        ([chat_line(1), chat_line(2, model=None)], "missing_required_parameter", 2),
        ([chat_line(1), chat_line(2, model="n")], "model_mismatch", 2),
        ([chat_line(1, model="o")], "model_not_found", 1),
        (map(chat_line, range(6)), "too_many_tasks", None),
        ([chat_line(1, extra_body="x" * 2000)], "file_too_large", None),
        (b"\n\n", "empty_file", None),
    ],
)
async def test_a_file_that_is_not_in_order_fails_the_batch(autojump_clock, lines, code, number):
    async with batching(max_lines=5, max_bytes=2000, settings={"models": ("m", "n")}) as client:
        created = await create(client, lines)
        assert (created.status_code, created.json()["status"]) == (200, "validating")
        assert created.json()["errors"] is None
        failed = await after(client, 10, created.json())
        assert client.provider.stats.batch_lines == 0
    assert failed["status"] == "failed"
    assert failed["failed_at"] == EPOCH + 10
    [error] = failed["errors"]["data"]
    assert (error["code"], error["line"]) == (code, number)
    assert failed["output_file_id"] is failed["error_file_id"] is None


async def test_an_unknown_file_fails_the_batch(autojump_clock):
    async with batching() as client:
        order = {"input_file_id": "file-x", "endpoint": CHATS, "completion_window": "24h"}
        created = (await client.post("/v1/batches", json=order)).json()
        failed = await after(client, 10, created)
    assert failed["status"] == "failed"
    assert failed["errors"]["data"][0]["param"] == "input_file_id"


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"endpoint": "/v1/chat"}, "endpoint"),
        ({"completion_window": "1h"}, "completion_window"),
        ({"completion_window": None}, "completion_window"),
        ({"input_file_id": None}, "input_file_id"),
        ({"metadata": {"a": 1}}, "metadata"),
        ({"metadata": {str(i): "" for i in range(17)}}, "metadata"),
        ({"output_expires_after": {"seconds": 1}}, "output_expires_after.seconds"),
    ],
)
async def test_an_order_that_is_not_in_order_is_refused(autojump_clock, more, param):
    async with batching() as client:
        order = {"input_file_id": "file-x", "endpoint": CHATS, "completion_window": "24h"}
        response = await client.post("/v1/batches", json=order | more)
        assert client.provider.stats.batches == 0
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param


async def test_failures_are_in_a_file_of_their_own_and_cost_nothing(autojump_clock):
    async with batching(failing=0.4, unanswered=0.2) as client:
        lines = [*map(chat_line, range(50)), chat_line(50, n=0), chat_line(51, stream=True)]
        batch = (await create(client, lines)).json()
        ended = await after(client, 100, batch)
        output = await content(client, ended["output_file_id"])
        errors = await content(client, ended["error_file_id"])
        stats = client.provider.stats
    assert ended["status"] == "completed"
    assert ended["request_counts"] == {
        "total": 52,
        "completed": len(output),
        "failed": len(errors),
    }
    assert len(output) + len(errors) == 52
    by_status = {line["response"]["status_code"]: line["response"]["body"] for line in errors}
    assert set(by_status) == {0, 400, 429, 500}
    assert by_status[0] is None
    assert by_status[500]["error"]["type"] == "server_error"
    assert stats.output_tokens == sum(
        line["response"]["body"]["usage"]["completion_tokens"] for line in output
    )


async def test_a_batch_of_failures_has_no_output_file(autojump_clock):
    async with batching(failing=1.0) as client:
        ended = await after(client, 100, (await create(client, [chat_line(1)])).json())
        assert client.provider.stats.billed == {}
    assert ended["status"] == "completed"
    assert ended["output_file_id"] is None
    assert ended["error_file_id"] is not None


@pytest.mark.parametrize(("share", "done"), [(0.5, 5), (0.0, 0)])
async def test_a_batch_that_expires_keeps_what_is_done(autojump_clock, share, done):
    async with batching(expiring=1.0, done_at_expiry=share) as client:
        batch = (await create(client, map(chat_line, range(10)))).json()
        assert (await after(client, 86_399, batch))["status"] == "in_progress"
        ended = await after(client, 1, batch)
        assert ended["status"] == "expired"
        assert ended["expired_at"] == ended["expires_at"]
        assert ended["request_counts"] == {"total": 10, "completed": done, "failed": 0}
        output = await content(client, ended["output_file_id"]) if done else []
        errors = await content(client, ended["error_file_id"])
        assert client.provider.stats.batch_lines == done
    assert (ended["output_file_id"] is None) == (not done)
    assert {line["error"]["code"] for line in errors} == {"batch_expired"}
    ids = [line["custom_id"] for line in (*output, *errors)]
    assert sorted(ids) == [f"r-{i}" for i in range(10)]


async def test_a_batch_that_is_cancelled_keeps_what_is_done(autojump_clock):
    async with batching() as client:
        batch = (await create(client, map(chat_line, range(10)))).json()
        url = f"/v1/batches/{batch['id']}/cancel"
        await trio.sleep(50)
        cancelling = (await client.post(url)).json()
        assert (cancelling["status"], cancelling["cancelling_at"]) == ("cancelling", EPOCH + 50)
        assert (await client.post(url)).json() == cancelling
        ended = await after(client, 10, batch)
        assert (ended["status"], ended["cancelled_at"]) == ("cancelled", EPOCH + 60)
        assert len(await content(client, ended["output_file_id"])) == 5
        errors = await content(client, ended["error_file_id"])
        assert [line["error"]["code"] for line in errors] == ["batch_cancelled"] * 5
        refused = await client.post(url)
        assert client.provider.stats.batch_lines == 5
    assert refused.status_code == 409
    assert "status 'cancelled'" in refused.json()["error"]["message"]


@pytest.mark.parametrize("overflow", ["validation", "create"])
async def test_a_model_has_only_so_many_tokens_enqueued(autojump_clock, overflow):
    lines = [chat_line(1, messages=[{"role": "user", "content": "x" * 400}])]
    other = [chat_line(1, model="other")]
    async with batching(enqueued_tokens=150, overflow=overflow) as client:
        first = (await create(client, lines)).json()
        second = await create(client, lines)
        if overflow == "validation":
            failed = await after(client, 10, second.json())
            [error] = failed["errors"]["data"]
            assert failed["status"] == "failed"
        else:
            assert second.status_code == 429
            error = second.json()["error"]
            await trio.sleep(10)
        assert error["code"] == "token_limit_exceeded"
        assert error["message"].startswith("Enqueued token limit reached for m")
        elsewhere = (await create(client, other)).json()
        assert (await after(client, 89, first))["status"] == "finalizing"
        assert (await after(client, 1, first))["status"] == "completed"
        third = (await create(client, lines)).json()
        assert (await after(client, 10, third))["status"] == "in_progress"
        assert (await after(client, 0, elsewhere))["status"] == "completed"


async def test_batches_are_listed_newest_first(autojump_clock):
    async with batching() as client:
        ids = [(await create(client, [chat_line(i)])).json()["id"] for i in range(5)][::-1]

        async def page(**query):
            return (await client.get("/v1/batches", params=query)).json()

        whole = await page()
        first = await page(limit=2)
        last = await page(limit=3, after=first["last_id"])
        assert [batch["id"] for batch in whole["data"]] == ids
        assert (whole["object"], whole["has_more"]) == ("list", False)
        assert [batch["id"] for batch in first["data"]] == ids[:2]
        assert (first["first_id"], first["last_id"], first["has_more"]) == (*ids[:2], True)
        assert [batch["id"] for batch in last["data"]] == ids[2:]
        assert last["has_more"] is False
        assert (await client.get("/v1/batches?limit=0")).status_code == 400
        assert (await client.get("/v1/batches?limit=x")).status_code == 400
        assert (await client.get("/v1/batches?after=batch_x")).status_code == 404
        assert (await client.get("/v1/batches/batch_x")).status_code == 404
        assert (await client.delete("/v1/batches")).headers["allow"] == "GET, POST"


async def test_files_are_kept_listed_and_deleted(autojump_clock):
    async with batching() as client:
        one = await upload(client, b"one\r\n")
        two = await upload(client, b"two", **{"expires_after[seconds]": "3600"})
        assert one == {
            "object": "file",
            "id": one["id"],
            "purpose": "batch",
            "filename": "in.jsonl",
            "bytes": 5,
            "created_at": EPOCH,
            "expires_at": EPOCH + 30 * 86_400,
            "status": "processed",
            "status_details": None,
        }
        assert (await client.get(f"/v1/files/{one['id']}")).json() == one
        assert (await client.get(f"/v1/files/{one['id']}/content")).content == b"one\r\n"
        listed = (await client.get("/v1/files?purpose=batch")).json()
        assert listed["data"] == [two, one]
        assert (await client.get("/v1/files?order=asc&limit=1")).json()["data"] == [one]
        await trio.sleep(3600)
        assert (await client.get(f"/v1/files/{two['id']}")).status_code == 404
        assert (await client.get("/v1/files")).json()["data"] == [one]
        gone = (await client.delete(f"/v1/files/{one['id']}")).json()
        assert gone == {"id": one["id"], "object": "file", "deleted": True}
        assert (await client.get(f"/v1/files/{one['id']}")).status_code == 404
        assert (await client.post("/v1/files", json={})).status_code == 400


async def test_together_tells_of_the_same_batch_in_its_own_way(autojump_clock):
    lines = [{"custom_id": f"r-{i}", "body": chat_body(f"What is {i}?")} for i in range(10)]
    async with batching(dialect="together") as client:
        file = await upload(client, lines, purpose="batch-api")
        order = {"input_file_id": file["id"], "endpoint": CHATS}
        job = (await client.post("/v1/batches", json=order)).json()["job"]
        assert job == {
            "id": job["id"],
            "user_id": "user-callsheet",
            "input_file_id": file["id"],
            "file_size_bytes": file["bytes"],
            "status": "VALIDATING",
            "job_deadline": "2026-01-02T00:00:00Z",
            "created_at": "2026-01-01T00:00:00Z",
            "endpoint": CHATS,
            "progress": 0.0,
            "model_id": "m",
            "output_file_id": None,
            "error_file_id": None,
            "error": None,
            "completed_at": None,
        }
        working = await after(client, 50, job)
        assert (working["status"], working["progress"]) == ("IN_PROGRESS", 50.0)
        ended = await after(client, 50, job)
        assert ended["status"] == "COMPLETED"
        assert ended["completed_at"] == "2026-01-01T00:01:40Z"
        assert len(await content(client, ended["output_file_id"])) == 10
        assert (await client.get("/v1/batches")).json() == [ended]


async def test_an_answer_that_is_lost_leaves_the_batch_created(autojump_clock):
    async with batching() as client:
        file = await upload(client, [chat_line(1)])
        order = {"input_file_id": file["id"], "endpoint": CHATS, "completion_window": "24h"}

        async def faulty(fault):
            headers = {"x-callsheet-fault": fault}
            return await client.post("/v1/batches", json=order, headers=headers, timeout=5)

        async def count():
            return len((await client.get("/v1/batches")).json()["data"])

        for fault in ("reset", "lost"):
            with pytest.raises(httpx.ReadError):
                await faulty(fault)
            assert await count() == (fault == "lost")
        assert (await faulty("503")).status_code == 503
        assert await count() == 1
        assert (await faulty("503; after=work")).status_code == 503
        assert await count() == 2
        with pytest.raises(httpx.ReadTimeout):
            await faulty("stall")
        assert await count() == 3
        with pytest.raises(httpx.RemoteProtocolError):
            await faulty("truncate")
        assert (await faulty("gzip")).json()["object"] == "batch"
        assert await count() == 5
        assert (await faulty("nonsense")).status_code == 400
        stats = client.provider.stats
    assert stats.batches == 5
    assert (stats.requests, stats.broken) == (0, 0)


async def test_faults_come_by_rate_too_and_a_wrong_key_is_refused(autojump_clock):
    settings = {"faults": Faults({"500": 0.5}), "api_key": "sk-right"}
    async with batching(settings=settings) as client:
        right = {"authorization": "Bearer sk-right"}
        found = [(await client.get("/v1/files", headers=right)).status_code for _ in range(40)]
        assert 8 < found.count(500) < 32
        assert (await client.get("/v1/files")).status_code == 401
        assert "date" in (await client.get("/v1/files")).headers


async def test_counts_can_be_reset_while_a_batch_is_worked_on(autojump_clock):
    async with batching() as client:
        batch = (await create(client, map(chat_line, range(10)))).json()
        await trio.sleep(50)
        await client.post("/callsheet/reset")
        assert client.provider.stats.batch_lines == client.provider.stats.input_tokens == 0
        await after(client, 50, batch)
        assert client.provider.stats.batch_lines == 5
