"""Pass on the events of a provider as they were sent, unless they quote its key (L8, L15)."""

from collections.abc import Sequence
from typing import final

from ..responses import Delta, ProviderEvent, StreamPiece
from ..vendors import Endpoint, ServerSentEvent, is_end_mark
from .quoted_keys import DeltaScrubber
from .watch import is_keep_alive

_MAX_OPENING = 4  # events; message_start, content_block_start and the like


@final
class PassedEvents:
    """Makes the pieces of one stream from the events that arrive.

    The first events of a stream often add nothing to the response. They wait for the first one that
    does, so that a call whose stream fails in between can still be repeated. Events whose text ends
    with what may be the beginning of the key wait for what follows it. From the first event that
    quotes the key on, the pieces are deltas without the key.

    Events that only keep the connection open, and the mark of the end, are no pieces.

    Args:
        endpoint: whose key must not be passed on.
        form: the short name of the wire format.
    """

    def __init__(self, endpoint: Endpoint, form: str) -> None:
        self._endpoint = endpoint
        self._form = form
        self._scrubber = DeltaScrubber(endpoint)
        self._kept: list[tuple[ServerSentEvent, Sequence[Delta]]] = []  # arrived together
        self._opening: list[StreamPiece] | None = []  # None once the response has begun
        self._events: list[ProviderEvent] = []  # those that wait, and the same as deltas
        self._deltas: list[Delta] = []
        self._quotes_key = False

    def keep(self, event: ServerSentEvent, deltas: Sequence[Delta]) -> None:
        """Take an event; `pieces` returns what becomes of it.

        Args:
            event: an event of the stream, in order.
            deltas: what it adds to the response.
        """
        self._kept.append((event, deltas))

    def pieces(self, deltas: Sequence[Delta], *, is_quoted: bool) -> Sequence[StreamPiece]:  # noqa: ARG002  # as `DeltaScrubber.pieces`
        """Return what can be passed on of the events that were kept.

        Args:
            deltas: what all of them add to the response.
            is_quoted: whether the bytes of the response contain the key so far.
        """
        found: list[StreamPiece] = []
        kept, self._kept = self._kept, []
        for event, added in kept:
            if added or not (is_end_mark(event.data) or is_keep_alive(event)):
                self._add(event, added, is_quoted=is_quoted)
                if not self._scrubber.may_begin_key:
                    found += self._released()
        if self._opening is None:
            return found
        self._opening += found
        if len(self._opening) <= _MAX_OPENING and not any(map(_adds, found)):
            return ()
        found, self._opening = self._opening, None
        return found

    def end(self) -> Sequence[StreamPiece]:
        """Return what waits, once the response has ended."""
        opening, self._opening = self._opening or [], None
        found = [*opening, *self._released()]
        if self._quotes_key:
            found += self._scrubber.end()
        return found

    def _add(self, event: ServerSentEvent, deltas: Sequence[Delta], *, is_quoted: bool) -> None:
        self._deltas += filter(None, map(self._scrubber.feed, deltas))
        if self._quotes_key:
            return
        data, name = event
        self._events.append(ProviderEvent(self._form, data, name, tuple(deltas)))
        self._quotes_key = self._scrubber.has_hidden or (
            is_quoted and self._endpoint.is_quoted_in(data + name.encode())
        )

    def _released(self) -> Sequence[StreamPiece]:
        found: Sequence[StreamPiece] = self._deltas if self._quotes_key else self._events
        self._events, self._deltas = [], []
        return found


def _adds(piece: StreamPiece) -> bool:
    return isinstance(piece, Delta) or piece.deltas != ()
