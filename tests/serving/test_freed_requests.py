"""What a request or a connection used is freed at its end, without the collector of cycles."""

import gc
from contextlib import contextmanager

import pytest
from serving_kit import GET, connect, serving, talking, until

ROUNDS = 20


async def app(scope, receive, send):
    await receive()
    headers = [(b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"{}"})


@contextmanager
def leaving_no_garbage():
    """Check that the block leaves less than one object in cycles for each of its rounds."""
    gc.collect()
    gc.disable()
    try:
        yield
        assert gc.collect() < ROUNDS
    finally:
        gc.enable()


async def test_requests_of_one_connection(autojump_clock):
    async with talking(app) as talk:
        await talk.answer(GET)
        with leaving_no_garbage():
            for _ in range(ROUNDS):
                assert (await talk.answer(GET)).startswith(b"HTTP/1.1 200")
        await talk.stream.aclose()


@pytest.mark.sockets
async def test_connections():
    async with serving(app) as server:

        async def call():
            async with await connect(server) as stream:
                await stream.send_all(GET)
                assert await stream.receive_some()
            await until(lambda: not server.statistics().connections)

        await call()
        with leaving_no_garbage():
            for _ in range(ROUNDS):
                await call()
