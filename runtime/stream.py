"""An answer that is a stream of items: bounded, with backpressure, cancelled from both sides."""

from collections.abc import AsyncIterator
from typing import Generic, TypeVar, final

import trio

from .message import Message
from .reply import ReplySlot

__all__ = ["Items", "Sink", "StreamOf"]

T = TypeVar("T")


class StreamOf(Message[None], Generic[T]):
    """Base of messages that are answered by a stream of items of type T; see `Ref.stream`.

    As an ask it would be answered by None when the stream has ended.
    """

    __slots__ = ()


@final
class Sink(Generic[T]):
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
class Items(Generic[T]):
    """The consumer's side: iterate over it, once."""

    __slots__ = ("_channel", "_slot")

    def __init__(self, channel: trio.MemoryReceiveChannel[T], slot: ReplySlot[None]) -> None:
        self._channel = channel
        self._slot = slot

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        """The next item.

        Raises:
            AskFailed: the stream broke off: the deadline, a crash, a stop.
            Exception: an error that the handler declares.
        """
        try:
            return await self._channel.receive()
        except trio.EndOfChannel:
            if self._slot.error is not None:
                raise self._slot.error from None
            raise StopAsyncIteration from None
