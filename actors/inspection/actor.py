"""`InspectorActor` serves readings on a socket to which only the user can connect."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from math import inf
from pathlib import Path
from typing import final

import attrs
import trio

from ...runtime import Actor, RestartPolicy, Runtime, Supervisor
from .lines import ReadingRefused, this_program, to_line
from .readings import Reading
from .records import CallRecords
from .socket_file import SocketFile, close_in_forks

_RESTARTS = RestartPolicy(max_restarts=3, period_s=60.0)
_MAX_READERS = 16
_MAX_REQUEST = 1024  # bytes of a request, which is an empty line
_SEND_S = 5.0  # a reader that takes longer for one reading is disconnected
_SILENT_S = 60.0  # so is one that asks for nothing
_FRESH_S = 0.2  # readers that ask within this time get the same reading
# A reading of many actors and calls is fresh for longer, so that it takes at most about a twentieth
# of the program's time: one actor takes about 25 us, and one call that waits half of one.
_FRESH_PER_ACTOR_S, _FRESH_PER_CALL_S = 20 * 25e-6, 20 * 0.5e-6


@attrs.frozen
class Inspection:
    """The inspection socket of a troupe, under a supervisor of its own.

    If its actor crashes again and again, it is given up, and nothing else.

    Args:
        records: what is recorded of calls for the readings.
    """

    records: CallRecords
    _source: "_Source"

    @classmethod
    async def begin(
        cls, place: Runtime | Supervisor, prefix: str, path: Path, *, has_ledger: bool
    ) -> "Inspection":
        """Open the socket before the stages start, which may create files.

        It is closed after them, so that a drain can be watched.

        Args:
            place: the runtime of the troupe, or its supervisor there.
            prefix: a prefix of the actors' names.
            path: the path of the socket.
            has_ledger: whether a ledger records the costs of calls.

        Raises:
            InspectionUnavailable: the socket cannot be opened; the message says why.
        """
        supervisor = await place.supervise(
            f"{prefix}inspection", restarts=_RESTARTS, restart="temporary"
        )
        source = _Source()
        await supervisor.spawn("socket", partial(InspectorActor, path, source.read))
        return cls(CallRecords(has_ledger=has_ledger), source)

    def serve(self, read: Callable[[], Awaitable[Reading]]) -> None:
        """Answer those who have connected, and those who will.

        Args:
            read: returns a reading.
        """
        self._source.begin(read)


@final
class _Source:
    """Where readings are from; a reader that comes before the troupe has started waits for it."""

    def __init__(self) -> None:
        self._begun = trio.Event()
        self._read: Callable[[], Awaitable[Reading]] | None = None

    def begin(self, read: Callable[[], Awaitable[Reading]]) -> None:
        """Take readings from a troupe from now on."""
        self._read = read
        self._begun.set()

    async def read(self) -> Reading:
        """Return a reading."""
        await self._begun.wait()
        if self._read is None:
            raise RuntimeError("the event is set with the function")
        return await self._read()


class InspectorActor(Actor):
    """Serves readings to those who connect to a socket; see `lines` for what is written.

    Nothing is read while nothing is connected. Readers are bounded, and so is the time that a slow
    or silent one may take; several readers share a reading.

    Args:
        path: the path of the socket.
        read: returns a reading.
    """

    def __init__(self, path: Path, read: Callable[[], Awaitable[Reading]]) -> None:
        self._path = path
        self._read = read
        self._file: SocketFile | None = None
        self._readers = 0
        self._turn = trio.Lock()
        self._latest = b""
        self._fresh_until = -inf

    async def started(self) -> None:
        """Open the socket.

        Raises:
            InspectionUnavailable: it cannot be opened; the message says why.
        """
        # In a thread, because it waits for a process that opens a socket in the same folder.
        self._file = await trio.to_thread.run_sync(SocketFile, self._path)
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(self._file.socket))
        self.nursery.start_soon(trio.serve_listeners, self._serve, [listener])

    async def stopped(self) -> None:
        """Remove the socket."""
        if self._file is not None:
            self._file.close()

    async def _serve(self, stream: trio.SocketStream) -> None:
        """Serve one reader until it disconnects, or takes too long."""
        close_in_forks(stream.socket)
        is_one_too_many = self._readers >= _MAX_READERS
        self._readers += 1
        try:
            async with stream:
                with suppress(trio.BrokenResourceError, trio.TooSlowError):
                    if is_one_too_many:
                        words = f"{_MAX_READERS} readers are connected, and no more can be"
                        await _send(stream, to_line(ReadingRefused(refused=words)))
                    else:
                        await self._send_readings(stream)
        finally:
            self._readers -= 1

    async def _send_readings(self, stream: trio.SocketStream) -> None:
        await _send(stream, to_line(this_program()))
        is_asked = True
        while is_asked:
            await _send(stream, await self._line())
            await trio.sleep(_FRESH_S)  # however fast it asks
            is_asked = await _next_request(stream)

    async def _line(self) -> bytes:
        """Return a reading as a line; the latest one if it is fresh."""
        async with self._turn:
            if trio.current_time() >= self._fresh_until:
                reading = await self._read()
                self._latest = to_line(reading)
                self._fresh_until = trio.current_time() + fresh_s(reading)
            return self._latest


def fresh_s(reading: Reading) -> float:
    """Return the seconds for which a reading is given to all readers.

    Args:
        reading: the reading, which tells how much there was to read.
    """
    actors = len(reading.actors) + reading.left_out.get("actors", 0)
    return max(_FRESH_S, actors * _FRESH_PER_ACTOR_S + reading.waiting * _FRESH_PER_CALL_S)


async def _send(stream: trio.SocketStream, line: bytes) -> None:
    with trio.fail_after(_SEND_S):
        await stream.send_all(line)


async def _next_request(stream: trio.SocketStream) -> bool:
    """Wait for an empty line; return False at the end of the stream, or if too much comes."""
    left = _MAX_REQUEST
    with trio.fail_after(_SILENT_S):
        while left > 0:
            received = await stream.receive_some(left)
            if not received or b"\n" in received:
                return bool(received)
            left -= len(received)
    return False
