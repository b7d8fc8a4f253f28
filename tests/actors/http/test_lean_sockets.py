"""The transport on real sockets: behaviour that memory streams do not have."""

import gc
import ssl
import tracemalloc
from functools import partial

import httpx
import pytest
import trio
import trustme
from network import (
    OK,
    ChunkedBody,
    Corked,
    Peer,
    Tracked,
    _serve,
    answer,
    call,
    counts,
    on_sockets,
    polite,
    request,
)
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from callsheet.actors.http.connection import StaleConnection, may_have_run
from callsheet.actors.http.transport import LeanTransport

pytestmark = pytest.mark.sockets
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def client_tls(authority):
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def server_tls(authority, name="127.0.0.1", protocols=("http/1.1",)):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)
    context.set_alpn_protocols(list(protocols))
    return context


@pytest.fixture(params=["plain", "tls"])
def layers(request, authority, client_tls):
    """Return the arguments of `on_sockets`."""
    if request.param == "plain":
        return {}
    return {"tls": server_tls(authority), "verify": client_tls}


async def settle(transport):
    """Sleep briefly, so that all bytes on loopback arrive, also from a server that slept too."""
    await trio.sleep(0.05)
    await wait_all_tasks_blocked()


async def test_connections_are_used_again(layers):
    async with on_sockets(polite, **layers) as (transport, url):
        client = httpx.AsyncClient(transport=transport)
        for _ in range(3):
            assert (await client.post(url, content=b"x" * 100_000)).text == "ok"
        now = transport.statistics()
        assert (now.open, now.idle, now.opened, now.reused) == (1, 1, 1, 2)


async def test_a_kept_connection_that_was_closed_is_noticed(layers):
    async def once(peer):
        await peer.request()
        await peer.send(OK)

    async with on_sockets(once, **layers) as (transport, url):
        for n in range(1, 4):
            await call(transport, url=url)
            await settle(transport)
            assert transport.statistics().opened == n


@pytest.mark.parametrize("gap", [0.0, 0.01])
async def test_what_comes_unasked_is_never_the_next_answer(layers, gap):
    async def injects(peer):
        while await peer.request() is not None:
            await peer.send(OK, answer(b"evil"), gap=gap)  # two TLS records

    async with on_sockets(injects, **layers) as (transport, url):
        for n in range(1, 4):
            assert (await call(transport, url=url))[1] == b"ok"
            await settle(transport)
            assert transport.statistics().opened == n


async def test_what_came_unasked_and_lies_in_the_buffer_of_tls_is_noticed(authority, client_tls):
    async def serve(stream):
        corked = Corked(stream)
        secure = trio.SSLStream(
            corked, server_tls(authority), server_side=True, https_compatible=True
        )
        peer = Peer(secure)
        async with secure:
            while await peer.request() is not None:
                corked.held = b""
                await peer.send(OK, answer(b"evil"))
                await corked.uncork()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        port = listeners[0].socket.getsockname()[1]
        transport = LeanTransport(verify=client_tls)
        for n in range(1, 4):
            assert (await call(transport, url=f"https://127.0.0.1:{port}/"))[1] == b"ok"
            await settle(transport)
            assert transport.statistics().opened == n
        await transport.aclose()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\n", HEAD + b"12345"])
async def test_a_reset(said):
    async def resets(peer):
        await peer.request()
        await peer.send(said)
        await trio.sleep(0.02)
        peer.reset()

    async with on_sockets(resets) as (transport, url):
        with pytest.raises(httpx.ReadError) as info:
            await call(transport, url=url)
        assert isinstance(info.value.__cause__, trio.BrokenResourceError)
        assert may_have_run(info.value)
        assert counts(transport) == (0, 0, 0)


async def test_a_reset_of_a_kept_connection_is_stale():
    async def resets(peer):
        await peer.request()
        await peer.send(OK)
        await peer.request()
        peer.reset()

    async with on_sockets(resets) as (transport, url):
        await call(transport, url=url)
        with pytest.raises(StaleConnection) as info:
            await call(transport, "POST", url=url, content=b"pay")
        assert info.value.whole
        assert counts(transport) == (0, 0, 0)


async def test_a_reset_after_the_body_is_noticed_before_the_next_request():
    async def resets(peer):
        await peer.request()
        await peer.send(OK)
        await trio.sleep(0.01)
        peer.reset()

    async with on_sockets(resets, polite) as (transport, url):
        await call(transport, url=url)
        await settle(transport)
        assert (await call(transport, url=url))[1] == b"ok"
        assert transport.statistics().opened == 2


async def test_the_response_of_a_server_that_rejects_a_large_body_is_read(layers):
    async def refuses(peer):
        await peer._until(b"\r\n\r\n")
        await peer.send(answer(b"too large", status=b"413 Content Too Large"))
        await trio.sleep(0.2)

    async with on_sockets(refuses, **layers) as (transport, url):
        response, body = await call(transport, "POST", url=url, content=b"x" * 20_000_000)
        assert (response.status_code, body) == (413, b"too large")
        assert counts(transport) == (0, 0, 0)


async def test_a_large_body_is_read_in_constant_memory():
    size, piece = 20_000_000, b"x" * 1_000_000

    async def generous(peer):
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size // len(piece)):
            await peer.send(piece)

    async with on_sockets(generous) as (transport, url):
        response = await transport.handle_async_request(request(url=url))
        gc.collect()
        tracemalloc.start()
        received = 0
        async for part in response.stream:
            received += len(part)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert received == size
        assert peak < 2_000_000
        assert counts(transport)[0] == counts(transport)[1]


async def test_no_server_listens():
    async with on_sockets(polite) as (transport, _):
        listener, *_ = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listener.socket.getsockname()[1]
        await listener.aclose()
        with pytest.raises(httpx.ConnectError, match=r"(?i)connection refused"):
            await call(transport, url=f"http://127.0.0.1:{port}/")
        assert counts(transport) == (0, 0, 0)


async def test_a_certificate_of_an_unknown_authority(authority):
    tls = server_tls(authority)
    async with on_sockets(polite, tls=tls, verify="system") as (transport, url):
        with pytest.raises(httpx.ConnectError, match="name it in SSL_CERT_FILE") as info:
            await call(transport, url=url)
        assert not may_have_run(info.value)
        assert counts(transport) == (0, 0, 0)


async def test_a_certificate_of_another_host(authority, client_tls):
    tls = server_tls(authority, "somewhere.example")
    async with on_sockets(polite, tls=tls, verify=client_tls) as (transport, url):
        with pytest.raises(httpx.ConnectError, match=r"not valid for '127\.0\.0\.1'"):
            await call(transport, url=url)
        assert counts(transport) == (0, 0, 0)


async def test_http_where_https_is_expected_and_the_other_way_round(authority, client_tls):
    async def plain(peer):
        await peer._receive()
        await peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with on_sockets(plain, verify=client_tls) as (transport, url):
        with pytest.raises(httpx.ConnectError, match=r"(?i)wrong.version.number|record layer"):
            await call(transport, url=url.replace("http:", "https:"))
        assert counts(transport) == (0, 0, 0)
    async with on_sockets(polite, tls=server_tls(authority)) as (transport, url):
        with pytest.raises(httpx.TransportError):
            await call(transport, url=url.replace("https:", "http:"))
        assert counts(transport) == (0, 0, 0)


async def test_a_server_that_ends_in_the_handshake(client_tls):
    async def hangs_up(peer):
        await peer._receive()

    async with on_sockets(hangs_up, verify=client_tls) as (transport, url):
        with pytest.raises(httpx.ConnectError):
            await call(transport, url=url.replace("http:", "https:"))
        assert counts(transport) == (0, 0, 0)


async def test_a_handshake_that_hangs_is_a_connect_timeout(client_tls):
    async with on_sockets(lambda peer: peer.gone(), verify=client_tls) as (transport, url):
        with pytest.raises(httpx.ConnectTimeout):
            await call(transport, url=url.replace("http:", "https:"), timeout={"connect": 0.05})
        assert counts(transport) == (0, 0, 0)


async def test_a_context_that_offers_http2_is_refused_by_name(authority, client_tls):
    client_tls.set_alpn_protocols(["h2", "http/1.1"])
    tls = server_tls(authority, protocols=("h2",))
    async with on_sockets(polite, tls=tls, verify=client_tls) as (transport, url):
        with pytest.raises(httpx.ConnectError, match="h2"):
            await call(transport, url=url)
        assert counts(transport) == (0, 0, 0)


async def test_tls_over_a_stream_that_is_no_socket(authority, client_tls, autojump_clock):
    streams = []

    async with trio.open_nursery() as nursery:

        async def open_stream(host, port):
            client, server = memory_stream_pair()
            secure = trio.SSLStream(
                server, server_tls(authority), server_side=True, https_compatible=True
            )
            nursery.start_soon(_serve, polite, secure)
            streams.append(Tracked(client))
            return streams[-1]

        transport = LeanTransport(open_stream=open_stream, verify=client_tls)
        for _ in range(3):
            assert (await call(transport, url="https://127.0.0.1/"))[1] == b"ok"
        assert len(streams) == 1
        assert counts(transport) == (1, 1, 0)
        await transport.aclose()
        assert streams[0].is_closed
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()


async def test_streamed_requests(layers):
    async with on_sockets(polite, **layers) as (transport, url):
        for _ in range(2):
            pieces = ChunkedBody(b"a" * 100_000, b"b")
            assert (await call(transport, "POST", url=url, content=pieces))[1] == b"ok"
        assert transport.statistics().opened == 1
