"""A server that gives the same answers on each connection, one for each thing sent to it."""

from contextlib import asynccontextmanager, suppress

import trio


@asynccontextmanager
async def strange_server(*answers):
    """Serve on a port of this machine, and yield the URL.

    Args:
        answers: bytes for each command in turn; b"" closes the connection, None says nothing. After
            the last one nothing more is said.
    """

    async def serve(stream):
        left = list(answers)
        with suppress(trio.BrokenResourceError):
            while await stream.receive_some():
                answer = left.pop(0) if left else None
                if answer == b"":
                    return
                if answer is not None:
                    await stream.send_all(answer)

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        port = listeners[0].socket.getsockname()[1]
        yield f"redis://127.0.0.1:{port}"
        nursery.cancel_scope.cancel()
