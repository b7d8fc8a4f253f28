import subprocess
import sys

import httpx
import pytest
import trio
from batch_client import CHATS, chat_line, content, create, create_messages, lines_in, upload
from provider_client import VERSION, chat_body, message_body, named_events_in

from callsheet.simulator.app import Provider
from callsheet.simulator.inprocess import ProviderTransport
from callsheet.simulator.server import CannotListen, serve
from callsheet.simulator.settings import ProviderSettings

pytestmark = pytest.mark.sockets


@pytest.fixture
def provider():
    return Provider(ProviderSettings(latency_s=(0.0, 0.0)))


async def test_it_answers_through_a_socket_and_keeps_the_connection(nursery, provider):
    url = await nursery.start(serve, provider)
    async with httpx.AsyncClient(base_url=url) as client:
        for _ in range(3):
            response = await client.post("/chat/completions", json=chat_body())
            assert response.json()["object"] == "chat.completion"
            assert "connection" not in response.headers
        async with client.stream(
            "POST", "/chat/completions", json=chat_body(stream=True)
        ) as response:
            assert (await response.aread()).endswith(b"data: [DONE]\n\n")
        large = {"model": "m", "prompt": ["a" * 100_000] * 100, "max_tokens": 1}
        response = await client.post("/completions", json=large)
        assert len(response.json()["choices"]) == 100
    nursery.cancel_scope.cancel()


async def test_broken_connections_look_as_they_do_in_process(nursery, provider):
    url = await nursery.start(serve, provider)
    async with httpx.AsyncClient(base_url=url) as client:
        for fault, error in [
            ("reset", httpx.ReadError),
            ("reset_body", httpx.ReadError),
            ("truncate", httpx.RemoteProtocolError),
        ]:
            with pytest.raises(error):
                await client.post(
                    "/chat/completions", json=chat_body(), headers={"x-callsheet-fault": fault}
                )
            assert (await client.post("/chat/completions", json=chat_body())).status_code == 200
        with pytest.raises(httpx.RemoteProtocolError):
            await client.post(
                "/chat/completions",
                json=chat_body(stream=True),
                headers={"x-callsheet-fault": "truncate"},
            )
    assert provider.stats.broken == 4
    nursery.cancel_scope.cancel()


async def test_batches_come_and_go_through_a_socket(nursery):
    provider = Provider(ProviderSettings(time_scale=0.0))
    url = await nursery.start(serve, provider)
    async with httpx.AsyncClient(base_url=url.removesuffix("/v1")) as client:
        batch = (await create(client, map(chat_line, range(200)))).json()
        assert batch["status"] == "completed"
        assert len(await content(client, batch["output_file_id"])) == 200
        file = await upload(client, [chat_line(1)])
        order = {"input_file_id": file["id"], "endpoint": CHATS, "completion_window": "24h"}
        with pytest.raises(httpx.ReadError):
            await client.post("/v1/batches", json=order, headers={"x-callsheet-fault": "lost"})
        assert len((await client.get("/v1/batches")).json()["data"]) == 2
        ended = (await create_messages(client, range(3))).json()
        lines = lines_in(await client.get(ended["results_url"], headers=VERSION))
        assert len(lines) == 3
    assert provider.stats.batch_lines == 204
    nursery.cancel_scope.cancel()


def test_counts_can_be_read_when_trio_has_ended():
    provider = Provider(ProviderSettings(time_scale=0.0))

    async def main():
        async with (
            ProviderTransport(provider) as transport,
            httpx.AsyncClient(transport=transport, base_url="http://x") as client,
        ):
            await create(client, map(chat_line, range(3)))

    trio.run(main)
    assert provider.stats.batches == 1
    assert "0 requests" in repr(provider)


async def test_a_client_that_disconnects_is_noticed(nursery, provider):
    url = await nursery.start(serve, provider)
    async with httpx.AsyncClient(base_url=url, timeout=httpx.Timeout(10, read=0.1)) as client:
        with pytest.raises(httpx.ReadTimeout):
            await client.post(
                "/chat/completions", json=chat_body(), headers={"x-callsheet-fault": "stall"}
            )
    with trio.fail_after(5):
        while not provider.stats.cancelled:  # noqa: ASYNC110 - seen from outside
            await trio.sleep(0.005)
    nursery.cancel_scope.cancel()


async def test_a_stream_stops_with_its_client(nursery):
    provider = Provider(ProviderSettings(latency_s=(60.0, 60.0), first_piece=0.0))
    url = await nursery.start(serve, provider)
    body = message_body(stream=True)
    async with httpx.AsyncClient(base_url=url, headers=VERSION) as client:
        with trio.CancelScope() as scope:
            async with client.stream("POST", "/messages", json=body) as response:
                async for _ in response.aiter_raw():
                    scope.cancel()
        with trio.fail_after(5):
            while not provider.stats.streams_cut:  # noqa: ASYNC110 - seen from outside
                await trio.sleep(0.005)
    stats = provider.stats
    assert (stats.cancelled, stats.working, stats.abandoned) == (1, 0, 0)
    assert stats.output_tokens > 0
    nursery.cancel_scope.cancel()


async def test_a_plain_call_is_worked_on_without_its_client(nursery):
    provider = Provider(ProviderSettings(latency_s=(0.3, 0.3)))
    url = await nursery.start(serve, provider)
    async with httpx.AsyncClient(base_url=url, headers=VERSION, timeout=0.1) as client:
        with pytest.raises(httpx.ReadTimeout):
            await client.post("/messages", json=message_body())
        with trio.fail_after(5):
            while not provider.stats.abandoned:  # noqa: ASYNC110 - seen from outside
                await trio.sleep(0.005)
    stats = provider.stats
    assert (stats.cancelled, stats.working, stats.streams_cut) == (1, 0, 0)
    assert stats.output_tokens == stats.abandoned_tokens > 0
    nursery.cancel_scope.cancel()


async def test_a_compressed_stream_and_one_date_come_through_a_socket(nursery, provider):
    url = await nursery.start(serve, provider)
    async with httpx.AsyncClient(base_url=url, headers=VERSION) as client:
        response = await client.post(
            "/messages",
            json=message_body(stream=True),
            headers={"x-callsheet-fault": "gzip"},
        )
    assert named_events_in(response.text)[-1][0] == "message_stop"
    assert len(response.headers.get_list("date")) == 1
    nursery.cancel_scope.cancel()


async def test_it_stops_at_once_whatever_is_in_flight(provider):
    async with trio.open_nursery() as clients:
        async with trio.open_nursery() as server:
            url = await server.start(serve, provider)
            errors = []

            async def stalled():
                async with httpx.AsyncClient(base_url=url, timeout=30) as client:
                    try:
                        await client.post(
                            "/chat/completions",
                            json=chat_body(),
                            headers={"x-callsheet-fault": "stall"},
                        )
                    except httpx.TransportError as error:
                        errors.append(error)

            for _ in range(3):
                clients.start_soon(stalled)
            with trio.fail_after(5):
                while provider.stats.in_flight < 3:  # noqa: ASYNC110 - seen from outside
                    await trio.sleep(0.005)
            start = trio.current_time()
            server.cancel_scope.cancel()
        assert trio.current_time() - start < 1.0
    assert len(errors) == 3


async def test_a_port_in_use_is_refused_with_a_reason(nursery, provider):
    url = await nursery.start(serve, provider)
    port = int(url.split(":")[2].removesuffix("/v1"))
    with pytest.raises(CannotListen, match=f"cannot listen on 127.0.0.1:{port}: .+another port"):
        await serve(provider, port=port)
    nursery.cancel_scope.cancel()


SIMULATE = "from callsheet.cli.simulate import simulate; simulate()"


async def test_simulate_prints_its_url_first_and_ends_cleanly_on_sigterm():
    process = await trio.lowlevel.open_process(
        [sys.executable, "-c", SIMULATE, "--port", "0", "--latency", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with trio.fail_after(20):
        url = (await process.stdout.receive_some()).decode()
        assert url.startswith("http://127.0.0.1:")
        assert url.endswith("/v1\n")
        async with httpx.AsyncClient() as client:
            await client.post(f"{url.strip()}/chat/completions", json=chat_body())
            process.terminate()
            assert await process.wait() == 0
        said = b"".join([part async for part in process.stderr]).decode()
    assert f"OPENAI_BASE_URL={url.strip()}" in said
    assert "1 requests: 1 answered" in said
    assert "Traceback" not in said
