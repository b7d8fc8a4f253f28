"""A client of a provider's batches."""

import json
from contextlib import asynccontextmanager

import trio
from provider_client import VERSION, chat_body, connected, message_body

from callsheet.simulator.settings import BatchSettings

CHATS = "/v1/chat/completions"


@asynccontextmanager
async def batching(*, time_s=(100.0, 100.0), settings=None, **batches):
    """Open a client of a new provider whose batches take a hundred seconds."""
    async with connected(
        batches=BatchSettings(time_s=time_s, **batches), **(settings or {})
    ) as client:
        yield client


def chat_line(i, **more):
    body = chat_body(f"What is {i}?", **more)
    return {"custom_id": f"r-{i}", "method": "POST", "url": CHATS, "body": body}


def jsonl(lines):
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def lines_in(response):
    return [json.loads(line) for line in response.text.splitlines()]


async def upload(client, lines, purpose="batch", **more):
    data = lines if isinstance(lines, bytes) else jsonl(lines)
    response = await client.post(
        "/v1/files",
        data={"purpose": purpose} | more,
        files={"file": ("in.jsonl", data)},
    )
    assert response.status_code == 200, response.text
    return response.json()


async def create(client, lines, *, endpoint=CHATS, **more):
    """Upload the lines and create a batch of them; return the response."""
    file = await upload(client, lines)
    order = {"input_file_id": file["id"], "endpoint": endpoint, "completion_window": "24h"}
    return await client.post("/v1/batches", json=order | more)


async def after(client, seconds, batch):
    """Return the batch after some seconds."""
    await trio.sleep(seconds)
    return (await client.get(f"/v1/batches/{batch['id']}")).json()


async def content(client, file_id):
    return lines_in(await client.get(f"/v1/files/{file_id}/content"))


async def create_messages(client, numbers, **more):
    requests = [
        {"custom_id": f"r-{i}", "params": message_body(f"What is {i}?", **more)} for i in numbers
    ]
    return await client.post("/v1/messages/batches", json={"requests": requests}, headers=VERSION)
