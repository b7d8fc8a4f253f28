"""A bounded mailbox: a Trio memory channel whose both ends belong to the actor's place (R2).

Closing the last receive end of a Trio channel silently discards what is buffered, so the mailbox,
not the task that reads it, owns both ends, and only the sending end is ever closed.
"""

from collections import deque
from collections.abc import Callable

import attrs
import trio

from .message import Message
from .reply import ReplySlot

__all__ = ["Envelope", "Mailbox", "MailboxStatistics"]

# A tuple rather than a class: one is made for every message.
Envelope = tuple[Message[object], ReplySlot[object] | None]


@attrs.frozen
class MailboxStatistics:
    """A mailbox at one moment.

    Args:
        depth: messages that wait.
        capacity: how many may wait.
        senders_waiting: tasks that wait for room.
        accepted: messages taken in since the mailbox was made.
        oldest_at: when the oldest one that waits came in, on Trio's clock; None if none waits.
    """

    depth: int
    capacity: int
    senders_waiting: int
    accepted: int
    oldest_at: float | None


class Mailbox:
    """First in, first out, at most `capacity` messages; whoever sends to a full one waits."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.accepted = 0
        self._send, self._receive = trio.open_memory_channel[Envelope](capacity)
        self._arrivals: deque[float] = deque()  # when each message that waits came in
        self._senders_waiting = 0
        self._wants_room: list[Callable[[], None]] = []

    def __len__(self) -> int:
        return len(self._arrivals)

    def put_nowait(self, envelope: Envelope, now: float) -> None:
        """Take a message in.

        Raises:
            trio.WouldBlock: it is full.
            trio.ClosedResourceError: it is closed.
        """
        self._send.send_nowait(envelope)
        self._arrivals.append(now)
        self.accepted += 1

    async def put(self, envelope: Envelope) -> None:
        """Wait for room, of which there is none just now. Cancelled, nothing was taken in.

        Raises:
            trio.ClosedResourceError: it is, or was meanwhile, closed.
        """
        # Counted are only those who are at the door: `send` would let others run before it raised.
        await trio.lowlevel.checkpoint_if_cancelled()
        self._senders_waiting += 1
        try:
            await self._send.send(envelope)
        except trio.ClosedResourceError:
            raise  # close() has counted the waiting senders out
        except BaseException:
            self._senders_waiting -= 1
            raise

    def take_nowait(self) -> Envelope | None:
        """The oldest message, or None if it is empty."""
        if not self._arrivals:
            return None
        envelope = self._receive.receive_nowait()
        self._arrivals.popleft()
        if self._senders_waiting:
            # The channel has moved the message of the first waiting sender into its buffer.
            self._senders_waiting -= 1
            self._arrivals.append(trio.current_time())
            self.accepted += 1
        if self._wants_room:
            callbacks, self._wants_room = self._wants_room, []
            for callback in callbacks:
                callback()
        return envelope

    def when_room(self, callback: Callable[[], None]) -> None:
        """See `Ref.when_room`."""
        if callback not in self._wants_room:
            self._wants_room.append(callback)

    def close(self) -> None:
        """Refuse from now on, and tell the senders that wait; what is inside can still be taken."""
        self._senders_waiting = 0
        self._send.close()

    def statistics(self) -> MailboxStatistics:
        """What it holds now."""
        return MailboxStatistics(
            depth=len(self._arrivals),
            capacity=self.capacity,
            senders_waiting=self._senders_waiting,
            accepted=self.accepted,
            oldest_at=self._arrivals[0] if self._arrivals else None,
        )
