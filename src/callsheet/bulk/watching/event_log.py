"""Write the events of a run to a file or a pipe, one JSON object per line, for other programs."""

import errno
import json
import os
import select
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self, final

from ...actors import LimiterSnapshot, why_not_written
from ..progress import Progress, RowEnded
from .events import (
    ControlEvent,
    KnownLimit,
    LimitsEvent,
    RunEvent,
    StartEvent,
    end_event,
    known_limit,
    row_event,
)

_FLUSH_S = 1.0
_BUFFER = 1 << 16  # bytes
_BEGIN = b'{"event": "'
_PIECE_BYTES = 64 * 1024  # of a pipe
_MAX_WAITING_BYTES = 8 * 1024**2
_LAST_WAIT_S = 5.0


def _utc_now() -> datetime:
    return datetime.now(UTC)


class EventLog:
    """Writes the events of a run; its `observe` is a `RowObserver`.

    Each line is a `RunEvent`. Events contain no prompt, no response, no key and no error text,
    because a provider's error may quote any of these (L8). They are appended to the file; each run
    begins with a `start`.

    An event can be read within a second, if `sample` is called as often, and after `close`. A full
    disk does not stop the run: the error is reported once, and no more events are written. The
    same goes for a pipe whose reader ends, or is too slow. Opening a pipe waits for a reader.

    Args:
        path: the path of the file.
        on_error: called once with the reason, if events can no longer be written.
        clock: returns the time of day.

    Raises:
        OSError: the file cannot be opened.

    Attributes:
        trouble: why events are no longer written; None if they are.
    """

    def __init__(
        self,
        path: Path,
        *,
        on_error: Callable[[str], None] | None = None,
        clock: Callable[[], datetime] = _utc_now,
    ) -> None:
        self.trouble: str | None = None
        self._path = path
        self._on_error = on_error
        self._clock = clock
        self._file: PipeFile | BinaryIO = (
            PipeFile(path) if path.is_fifo() else path.open("ab", buffering=_BUFFER)
        )
        self._started_at: float | None = None
        self._flushed_at = 0.0
        self._last: Progress | None = None
        self._known: list[KnownLimit] = []  # the limits that were written last
        self._end_torn_line()

    def __repr__(self) -> str:
        return f"<EventLog {self._path}{'' if self.trouble is None else ', broken'}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def observe(self, row: RowEnded) -> None:
        """Write a `row` event; this method is a `RowObserver`."""
        self._write(row_event(row, self._since_start(row.at)), row.at)

    def sample(self, progress: Progress) -> None:
        """Write what has changed since the last call; this method is a `ProgressObserver`."""
        before, self._last = self._last, progress
        if before is None:
            self._started_at = progress.started_at
        now, at = progress.now, self._since_start(progress.now)
        if before is None:
            time = self._clock().isoformat()
            self._write(StartEvent(event="start", at=at, time=time, total=progress.total), now)
        limits = _limits(progress.limits)
        if limits != self._known:
            self._known = limits
            self._write(LimitsEvent(event="limits", at=at, limits=limits), now)
        if progress.is_paused != (before is not None and before.is_paused):
            change = ControlEvent(event="pause" if progress.is_paused else "resume", at=at)
            self._write(change, now)
        if progress.is_draining and not (before is not None and before.is_draining):
            self._write(ControlEvent(event="drain", at=at), now)
        self._flush_if_due(now)

    def close(self) -> None:
        """Write the `end` event and close the file."""
        if self._file.closed:
            return
        if (last := self._last) is not None:
            time = self._clock().isoformat()
            self._write(end_event(last, self._since_start(last.now), time), last.now)
        try:
            self._file.close()
        except OSError as error:
            self._break(error)

    def _since_start(self, at: float) -> float:
        if self._started_at is None:
            self._started_at = at
        return round(at - self._started_at, 6)

    def _write(self, event: RunEvent, at: float) -> None:
        if self.trouble is not None:
            return
        try:
            self._file.write(json.dumps(event).encode() + b"\n")
        except OSError as error:
            self._break(error)
        self._flush_if_due(at)

    def _flush_if_due(self, now: float) -> None:
        if self.trouble is None and now >= self._flushed_at + _FLUSH_S:
            self._flushed_at = now
            try:
                self._file.flush()
            except OSError as error:
                self._break(error)

    def _break(self, error: OSError) -> None:
        if self.trouble is not None:
            return
        self.trouble = f"no more events are written to {self._path}: {why_not_written(error)}"
        with suppress(OSError):  # closing writes the buffer, which fails again
            self._file.close()
        if self._on_error is not None:
            self._on_error(self.trouble)

    def _end_torn_line(self) -> None:
        """End half a line that a killed run may have left; the next event starts a new line."""
        if not self._path.is_file() or not self._path.stat().st_size:
            return
        with self._path.open("rb") as file:
            file.seek(-1, 2)
            if file.read(1) != b"\n":
                self._file.write(b"\n")


def is_event_log(head: bytes) -> bool:
    """Return whether a file that begins with some bytes is one of `EventLog`."""
    return head.startswith(_BEGIN[: len(head)])


def _limits(snapshot: LimiterSnapshot | None) -> list[KnownLimit]:
    return [known_limit(bucket) for bucket in (() if snapshot is None else snapshot.buckets)]


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
