"""An answer that is a stream of items: bounded, with backpressure, cancelled from both sides."""

from collections.abc import AsyncIterator, Sequence
from typing import Generic, TypeVar, final

import trio

from .reply import Message, ReplySlot
from .worker import Worker, check_circle, waiting_worker

__all__ = [
    "AskStream",
    "StreamOf",
    "StreamSink",
]


T = TypeVar("T")


class StreamOf(Message[None], Generic[T]):
    """Base of messages that are answered by a stream of items of type T; see `Ref.stream`.

    As an ask it would be answered by None when the stream has ended.
    """

    __slots__ = ()


@final
class StreamSink(Generic[T]):
    """Where a handler puts the items of its answer."""

    __slots__ = ("_channel",)

    def __init__(self, channel: trio.MemorySendChannel[T]) -> None:
        self._channel = channel

    async def send(self, item: T) -> None:
        """Send one item; waits while the consumer has not caught up, which is the backpressure.

        After the consumer has gone it does nothing but checkpoint: the handler is being cancelled.
        """
        try:
            await self._channel.send(item)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            await trio.lowlevel.checkpoint()


@final
class AskStream(Generic[T]):
    """The consumer's side: iterate over it, once."""

    __slots__ = ("_channel", "_slot")

    def __init__(self, channel: trio.MemoryReceiveChannel[T], slot: ReplySlot[None]) -> None:
        self._channel = channel
        self._slot = slot

    @property
    def blockers(self) -> Sequence[Worker]:
        """The runtime's: the workers any of whom has to go on before there is an item."""
        return self._slot.blockers

    @property
    def _has_item(self) -> bool:
        now = self._channel.statistics()
        return now.current_buffer_used > 0 or now.tasks_waiting_send > 0

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        """The next item.

        Raises:
            AskFailed: the stream broke off: the deadline, a crash, a stop.
            Deadlock: its handler waits, in the end, for whoever iterates.
            Exception: an error that the handler declares.
        """
        worker = waiting_worker()
        try:
            if worker is None or self._has_item:
                return await self._channel.receive()
            worker.waits_for = self
            self._slot.asker = worker
            try:
                check_circle(worker)
                return await self._channel.receive()
            finally:
                worker.waits_for = None
        except trio.EndOfChannel:
            pass
        await self._slot.wait()  # it is filled, for that ended the channel; raises what broke off
        raise StopAsyncIteration
