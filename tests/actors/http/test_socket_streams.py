"""The streams below the transport, on real sockets."""

import ssl
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
import trustme
from trio.testing import wait_all_tasks_blocked

from callsheet.actors.http.streams import SocketStream, TlsStream

pytestmark = pytest.mark.sockets
MANY = bytes(range(256)) * 40_000  # more than the buffers of loopback


@pytest.fixture(scope="module")
def contexts():
    """Return the TLS contexts of the client and of the server."""
    authority = trustme.CA()
    client = ssl.create_default_context()
    authority.configure_trust(client)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(server)
    return client, server


@pytest.fixture(params=["plain", "tls"])
def connect(request, contexts):
    """Open a stream to a server whose behaviour is a handler."""
    client, server = contexts
    is_secure = request.param == "tls"

    @asynccontextmanager
    async def connect(handler):
        async def serve(stream):
            async with stream:
                if is_secure:
                    stream = trio.SSLStream(stream, server, server_side=True, https_compatible=True)
                    await stream.do_handshake()
                await handler(stream)

        async with trio.open_nursery() as nursery:
            nursery.cancel_scope.deadline = trio.current_time() + 20
            listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
            port = listeners[0].socket.getsockname()[1]
            stream = SocketStream(await trio.open_tcp_stream("127.0.0.1", port), bytearray(65536))
            if is_secure:
                stream = TlsStream(stream, client, "localhost")
                assert await stream.handshake() is None
            yield stream
            await stream.aclose()
            nursery.cancel_scope.cancel()

    return connect


async def echo(stream):
    async for data in stream:
        await stream.send_all(data)


async def do_nothing(stream):
    await trio.sleep_forever()


async def receive(stream, size):
    received = bytearray()
    while len(received) < size:
        received += await stream.receive_some() or pytest.fail("it has ended")
    return bytes(received)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
async def test_much_goes_both_ways_at_once(connect, kind):
    async with connect(echo) as stream, trio.open_nursery() as nursery:
        nursery.start_soon(stream.send_all, kind(MANY))
        assert await receive(stream, len(MANY)) == MANY


async def test_no_more_is_received_than_was_asked_for(connect):
    async with connect(echo) as stream:
        await stream.send_all(b"hello")
        assert [await stream.receive_some(2) for _ in range(3)] == [b"he", b"ll", b"o"]


async def test_a_reader_of_what_is_there_lets_others_run(connect):
    turns = 0

    async def count():
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with connect(echo) as stream, trio.open_nursery() as nursery:
        await stream.send_all(b"x" * 100)
        await trio.sleep(0.1)
        nursery.start_soon(count)
        await trio.lowlevel.checkpoint()
        for n in range(50):
            assert await stream.receive_some(1) == b"x"
            assert turns > n
        nursery.cancel_scope.cancel()


async def test_a_send_with_room_does_not_wait(connect):
    async with connect(echo) as stream:
        with trio.CancelScope() as scope:
            scope.cancel()
            await stream.send_all(b"hello")
        assert not scope.cancelled_caught
        assert await receive(stream, 5) == b"hello"


async def test_what_is_not_accepted_now_is_returned(connect):
    async with connect(echo) as stream:
        left = stream.send_now(MANY)
        assert left  # OpenSSL takes all or nothing of a piece
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.send_all, left)
            assert await receive(stream, len(MANY)) == MANY
        assert not stream.send_now(b"hello")
        assert await receive(stream, 5) == b"hello"


async def test_a_stream_that_was_closed_here_sends_nothing(connect):
    async with connect(do_nothing) as stream:
        stream.close()
        with pytest.raises(trio.ClosedResourceError):
            stream.send_now(b"hello")


async def test_a_send_that_waits_can_be_cancelled(connect):
    async with connect(do_nothing) as stream:
        with trio.move_on_after(0.1) as scope:
            while True:
                await stream.send_all(MANY)
        assert scope.cancelled_caught


async def test_one_is_quiet_until_something_comes(connect):
    async def speak(stream):
        await stream.receive_some()
        await stream.send_all(b"!")
        await stream.receive_some()

    async with connect(speak) as stream:
        await trio.sleep(0.05)  # TLS 1.3 sends session tickets after the handshake
        assert stream.is_quiet()
        await stream.send_all(b"?")
        await trio.sleep(0.05)
        assert not stream.is_quiet()


async def test_the_end_is_not_quiet(connect):
    async def end(stream):
        await stream.receive_some()

    async with connect(end) as stream:
        await stream.send_all(b"?")
        await trio.sleep(0.05)
        assert not stream.is_quiet()
        assert await stream.receive_some() == b""


async def test_a_waiting_task_gets_an_error_when_the_stream_is_closed(connect):
    async def waits():
        with pytest.raises(trio.ClosedResourceError):
            await stream.receive_some()

    async with connect(do_nothing) as stream:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(waits)
            await wait_all_tasks_blocked()
            stream.close()
        with pytest.raises(trio.ClosedResourceError):
            await stream.receive_some()
        with pytest.raises(trio.ClosedResourceError):
            await stream.send_all(b"x")
        assert not stream.is_quiet()
        await stream.aclose()  # again


async def test_an_unknown_certificate_is_not_trusted(contexts):
    async with trio.open_nursery() as nursery:

        async def serve(stream):
            secure = trio.SSLStream(stream, contexts[1], server_side=True)
            with pytest.raises(trio.BrokenResourceError):
                await secure.do_handshake()

        listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        port = listeners[0].socket.getsockname()[1]
        below = SocketStream(await trio.open_tcp_stream("127.0.0.1", port), bytearray(65536))
        stream = TlsStream(below, contexts[0], "example.org")
        with pytest.raises(trio.BrokenResourceError) as info:
            await stream.handshake()
        assert isinstance(info.value.__cause__, ssl.SSLCertVerificationError)
        stream.close()
        await trio.sleep(0.05)
        nursery.cancel_scope.cancel()
