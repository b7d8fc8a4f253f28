import httpx
import pytest
import trio
from provider_client import chat_body, connected

from callsheet.simulator.app import Provider
from callsheet.simulator.inprocess import ProviderTransport
from callsheet.simulator.settings import ProviderSettings

URL = "http://provider/v1/chat/completions"


def quick():
    return Provider(ProviderSettings(latency_s=(1.0, 1.0)))


async def test_a_transport_must_be_entered(autojump_clock):
    client = httpx.AsyncClient(transport=ProviderTransport(quick()))
    with pytest.raises(RuntimeError, match="enter the transport first"):
        await client.post(URL, json=chat_body())


async def test_clients_inside_may_enter_it_again_and_one_after_the_other(autojump_clock):
    async with ProviderTransport(quick()) as transport:
        for _ in range(2):
            async with httpx.AsyncClient(transport=transport) as client:
                assert (await client.post(URL, json=chat_body())).status_code == 200


async def test_the_error_of_its_user_comes_out_as_it_is(autojump_clock):
    with pytest.raises(KeyError, match="mine"):
        async with ProviderTransport(quick()):
            raise KeyError("mine")


async def test_leaving_ends_what_is_still_in_flight(autojump_clock):
    start = trio.current_time()
    async with ProviderTransport(quick()) as transport:
        client = httpx.AsyncClient(transport=transport, timeout=None)
        await client.send(
            client.build_request(
                "POST", URL, json=chat_body(), headers={"x-callsheet-fault": "slow"}
            ),
            stream=True,
        )
    assert trio.current_time() - start == 1.0


async def test_it_can_be_cancelled_from_outside(autojump_clock):
    with trio.move_on_after(0.5) as scope:
        async with connected() as client:
            await client.chat()
    assert scope.cancelled_caught


async def test_a_bug_in_the_app_comes_out_of_it(autojump_clock):
    class Broken(Provider):
        async def __call__(self, scope, receive, send):
            raise ZeroDivisionError

    with pytest.RaisesGroup(ZeroDivisionError):
        async with httpx.AsyncClient(transport=ProviderTransport(Broken())) as client:
            await client.post(URL, json=chat_body())


async def test_the_head_comes_before_the_body(autojump_clock):
    async with connected() as client, client.chat_stream() as response:
        assert response.status_code == 200
        head = trio.current_time()
        await response.aread()
        assert trio.current_time() > head
