"""Write to a pipe whose reader may be slow, without waiting for it."""

import errno
import os
import select
from pathlib import Path
from typing import final

_PIECE_BYTES = 64 * 1024
_MAX_WAITING_BYTES = 8 * 1024**2
_LAST_WAIT_S = 5.0


@final
class PipeFile:
    """A pipe to write to, as a file. What its reader has not taken yet waits in memory.

    Opening it waits for a reader.

    Args:
        path: the path of the pipe.
        max_waiting: the most bytes that may wait.
        last_wait_s: how long `close` waits for the reader, in seconds.

    Raises:
        OSError: the pipe cannot be opened.

    Attributes:
        closed: whether the pipe is closed.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_waiting: int = _MAX_WAITING_BYTES,
        last_wait_s: float = _LAST_WAIT_S,
    ) -> None:
        self.closed = False
        self._max_waiting = max_waiting
        self._last_wait_s = last_wait_s
        self._waiting = bytearray()
        self._pipe = os.open(path, os.O_WRONLY)
        os.set_blocking(self._pipe, False)

    def write(self, data: bytes) -> None:
        """Add bytes to those that wait.

        Raises:
            OSError: too many wait.
        """
        self._waiting += data
        if len(self._waiting) >= _PIECE_BYTES:
            self.flush()
        if len(self._waiting) > self._max_waiting:
            raise BlockingIOError(errno.EAGAIN, "its reader is too slow")

    def flush(self) -> None:
        """Write what the pipe has room for.

        Raises:
            OSError: the pipe has no reader any more.
        """
        try:
            while self._waiting:
                count = os.write(self._pipe, self._waiting[:_PIECE_BYTES])
                del self._waiting[:count]
        except BlockingIOError:
            return

    def close(self) -> None:
        """Close the pipe, after the reader has taken what waits.

        Raises:
            OSError: it has not taken all of it in time.
        """
        if self.closed:
            return
        self.closed = True
        try:
            self.flush()
            while self._waiting:
                if not select.select((), (self._pipe,), (), self._last_wait_s)[1]:
                    raise BlockingIOError(errno.EAGAIN, "its reader is too slow")
                self.flush()
        finally:
            os.close(self._pipe)
