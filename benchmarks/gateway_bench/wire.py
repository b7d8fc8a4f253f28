"""One kept HTTP/1.1 connection of a client that takes little CPU time."""

import time
from collections.abc import Sequence
from typing import final

import attrs
import trio

__all__ = ["Answer", "ClientConnection"]

_READ_BYTES = 65_536
_OK = 200
_LAST_CHUNK = b"0\r\n\r\n"


@attrs.frozen
class Answer:
    """A response to a call.

    Args:
        status: the HTTP status.
        seconds: from the first byte sent to the last one received.
        first_s: seconds to the first event of a stream, or to the head of a whole response.
        body: the body as it arrived, with the framing of its chunks.
    """

    status: int
    seconds: float
    first_s: float
    body: bytes

    @property
    def is_complete(self) -> bool:
        """Whether it is a whole chat completion, or a stream with its end."""
        return self.status == _OK and (b"[DONE]" in self.body or b'"message"' in self.body)


@final
class ClientConnection:
    """Sends one request after another, and opens a new connection when the server closes it.

    Args:
        host: the address of the server.
        port: its port.
        path: the path of all requests.
        headers: their headers: names with values.
    """

    def __init__(self, host: str, port: int, path: str, headers: Sequence[tuple[str, str]]) -> None:
        self._address = host, port
        lines = [f"POST {path} HTTP/1.1", f"host: {host}:{port}"]
        lines += [f"{name}: {value}" for name, value in headers]
        self._head = "\r\n".join([*lines, "content-type: application/json", ""]).encode()
        self._stream: trio.SocketStream | None = None

    async def post(self, body: bytes) -> Answer:
        """Send a request and read its response.

        Args:
            body: the JSON text.

        Raises:
            OSError, trio.BrokenResourceError: the connection broke.
            EOFError: the response is not complete.
        """
        began = time.perf_counter()
        stream, self._stream = self._stream, None
        if stream is None:
            stream = await trio.open_tcp_stream(*self._address)
        try:
            await stream.send_all(b"%bcontent-length: %d\r\n\r\n%b" % (self._head, len(body), body))
            answer, is_kept = await _read(stream, began)
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        if is_kept:
            self._stream = stream
        else:
            await stream.aclose()
        return answer


async def _read(stream: trio.SocketStream, began: float) -> tuple[Answer, bool]:
    """Read one response; return it, and whether the connection stays open."""
    data = b""
    while (end := data.find(b"\r\n\r\n")) < 0:
        data += await _more(stream)
    first = time.perf_counter() - began
    head, pieces, size = data[:end].lower(), [data[end + 4 :]], len(data) - end - 4
    _, found, length = head.partition(b"\r\ncontent-length:")
    if found:
        total = int(length.partition(b"\r\n")[0])
        while size < total:
            pieces.append(await _more(stream))
            size += len(pieces[-1])
    else:
        tail, has_event = pieces[0], b"data:" in pieces[0]
        while not tail.endswith(_LAST_CHUNK):
            pieces.append(await _more(stream))
            tail = tail[-8:] + pieces[-1]
            if not has_event:
                first, has_event = time.perf_counter() - began, b"data:" in tail
    status = int(head.split(b" ", 2)[1][:3])
    answer = Answer(status, time.perf_counter() - began, first, b"".join(pieces))
    return answer, b"\r\nconnection: close" not in head


async def _more(stream: trio.SocketStream) -> bytes:
    data = bytes(await stream.receive_some(_READ_BYTES))
    if not data:
        raise EOFError("the connection ended before the response was complete")
    return data
