from functools import partial

import httpx
import pytest
import trio

from callsheet.actors.lanes import LanedTransport
from callsheet.provider import Provider, ProviderSettings, serve

pytestmark = pytest.mark.sockets

CHAT = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}


@pytest.fixture
async def provider(nursery):
    provider = Provider(ProviderSettings(latency_s=(0.02, 0.02)))
    url = await nursery.start(partial(serve, provider, host="127.0.0.1", port=0))
    return provider, url


class Body(httpx.AsyncByteStream):
    """httpx's own is an async generator, which a request that is cancelled leaves suspended."""

    def __init__(self, body):
        self.left = [body]

    def __aiter__(self):
        return self

    async def __anext__(self):
        if not self.left:
            raise StopAsyncIteration
        return self.left.pop()


async def post(client):
    request = client.build_request("POST", "/chat/completions", json=CHAT)
    request.stream = Body(request.content)
    (await client.send(request)).raise_for_status()


async def test_a_connection_is_used_again(provider):
    transport = LanedTransport(5)
    async with httpx.AsyncClient(base_url=provider[1], transport=transport) as client:
        for _ in range(3):
            await post(client)
        assert repr(transport) == "<LanedTransport 1 open, 1 idle>"


async def test_so_many_requests_go_at_a_time_and_more_of_them_wait(provider):
    transport = LanedTransport(3)
    async with httpx.AsyncClient(base_url=provider[1], transport=transport) as client:
        async with trio.open_nursery() as nursery:
            for _ in range(7):
                nursery.start_soon(post, client)
        assert repr(transport) == "<LanedTransport 3 open, 3 idle>"
    assert provider[0].stats.requests == 7
    assert provider[0].stats.max_in_flight == 3


async def test_a_request_that_is_cancelled_leaves_its_connection_to_the_next(provider):
    transport = LanedTransport(1)
    async with httpx.AsyncClient(base_url=provider[1], transport=transport) as client:
        with trio.move_on_after(0.005) as scope:
            await post(client)
        assert scope.cancelled_caught
        await post(client)
        assert repr(transport) == "<LanedTransport 1 open, 1 idle>"


async def test_a_connection_that_is_refused_leaves_its_place_to_the_next():
    transport = LanedTransport(1)
    listener, *_ = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    await listener.aclose()
    url = f"http://127.0.0.1:{port}"
    async with httpx.AsyncClient(base_url=url, transport=transport) as client:
        for _ in range(2):
            with trio.fail_after(5), pytest.raises(httpx.ConnectError):
                await post(client)
