"""The clock of one send: its limit at the provider, and the time without progress (L1)."""

import re
from collections.abc import Callable, Generator, Sequence, Sized
from contextlib import contextmanager
from math import inf
from typing import final

import trio

from ..errors import ConnectionFailed, SendTimedOut
from ..vendors import ServerSentEvent, Timeouts
from .failures import AttemptFailed

_NAMES = ("ping", "heartbeat", "keepalive", "keep-alive", "keep_alive")
_TYPED = re.compile(rb'"type"\s*:\s*"(?:%s)"' % "|".join(_NAMES).encode())
# OpenAI's Responses send these before the prompt has been read.
_ACCEPTED = re.compile(rb'"type"\s*:\s*"response\.(?:created|queued|in_progress)"')


def is_keep_alive(event: ServerSentEvent) -> bool:
    """Return whether an event only keeps the connection open.

    Anthropic sends ``event: ping`` with ``{"type": "ping"}``; other servers send an empty event,
    ``null`` or ``{}``. Comments are no events at all.

    Args:
        event: an event of a streamed response.
    """
    data = event.data.strip()
    if data in (b"", b"null", b"{}", b"[]") or event.name.lower() in _NAMES:
        return True
    return _TYPED.search(data) is not None


def _is_accepted(event: ServerSentEvent) -> bool:
    """Whether an event only says that the request has arrived, or keeps the connection open."""
    return is_keep_alive(event) or _ACCEPTED.search(event.data, 0, 200) is not None


@final
class SendWatch:
    """Bounds one send while its response arrives.

    The limit of the send counts from the creation of the watch, so waiting for a permit is no part
    of it. The time without progress counts from the last piece of the response; blank lines,
    comments and pings are no pieces. The time that the caller takes for a piece counts for neither.

    Args:
        timeouts: the bounds, in seconds.
        on_head: called when the head of a response with status 200 has arrived.
        on_begin: called when the first event arrives that shows that the prompt has been read.

    Attributes:
        began_at: when the watch was created, on Trio's clock.
        scope: contains the send, and cancels it at its bounds.
        has_head: whether the head of a response with status 200 has arrived.
    """

    def __init__(
        self,
        timeouts: Timeouts,
        on_head: Callable[[], None] | None = None,
        on_begin: Callable[[], None] | None = None,
    ) -> None:
        self._timeouts = timeouts
        self._on_head = on_head
        self._on_begin = on_begin
        self.began_at = trio.current_time()
        self._limit_at = self.began_at + timeouts.send_s
        self._silence_s = timeouts.first_byte_s
        self._last = b""
        self._progress_at = inf  # not before the head has arrived
        self.has_head = False
        self.scope = trio.CancelScope(deadline=self._limit_at)

    def head_arrived(self) -> None:
        """Note the head of a response; its first piece is due within `first_byte_s` of it."""
        self.has_head = True
        if self._on_head is not None:
            self._on_head()
        self._progress_at = trio.current_time()

    def received(self, piece: bytes) -> None:
        """Note bytes of a whole response.

        Args:
            piece: the bytes; white space alone is no progress.
        """
        if piece and not piece.isspace():
            self._silence_s = self._timeouts.between_bytes_s
            self._progress_at = trio.current_time()

    def saw(self, events: Sequence[ServerSentEvent], deltas: Sized) -> None:
        """Note events of a streamed response that arrived together.

        Before the first delta a model may think in silence, so `first_byte_s` holds until then.

        Args:
            events: the events. A keep-alive, or the last event once more, is no progress.
            deltas: what the events add to the response.
        """
        if deltas:
            self._silence_s = self._timeouts.between_bytes_s
        elif all(event.data == self._last or is_keep_alive(event) for event in events):
            return
        self._last = events[-1].data
        self._progress_at = trio.current_time()
        if self._on_begin is not None and (deltas or not all(map(_is_accepted, events))):
            self._on_begin()
            self._on_begin = None

    def renew(self) -> None:
        """Move the deadline as far as the progress allows, before waiting for more."""
        deadline = min(self._limit_at, self._progress_at + self._silence_s)
        if deadline != self.scope.deadline:  # setting it takes far longer
            self.scope.deadline = deadline

    @contextmanager
    def paused(self) -> Generator[None]:
        """Stop the clock while the caller takes a piece."""
        paused_at = trio.current_time()
        self.scope.deadline = inf
        yield
        now = trio.current_time()
        self._limit_at += now - paused_at
        self._progress_at = now
        self.renew()

    def error(self, host: str, attempt: int) -> AttemptFailed:
        """Return the failure of a send that the watch has cancelled.

        Args:
            host: the endpoint's, for the message.
            attempt: the number of the attempt.
        """
        if trio.current_time() >= self._limit_at:
            text = (
                f"{host} did not complete the response within {self._timeouts.send_s:g} s, the "
                "limit of one send (--timeout; send_s of Timeouts)"
            )
            timed_out = SendTimedOut(text, attempts=attempt, billed="maybe")
            return AttemptFailed(timed_out, is_final=True)
        text = f"{host} sent no further piece of the response within {self._silence_s:g} s"
        return AttemptFailed(ConnectionFailed(text, attempts=attempt, billed="maybe"))
