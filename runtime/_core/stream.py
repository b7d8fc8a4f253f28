"""Replies that are streams of items: bounded, with backpressure, and cancelled from either side."""

from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Generic, Self, TypeVar, final

import trio

from .reply import Message, ReplySlot
from .worker import Worker, check_deadlock, waiting_worker

if TYPE_CHECKING:
    from .ref import Ref

T = TypeVar("T")


class StreamOf(Message[None], Generic[T]):
    """Base class of messages whose reply is a stream of items of type T; see `Ref.stream`.

    Asked rather than streamed, it discards the items and replies None at the end of the stream.
    """

    __slots__ = ()

    def _items_to(self, ref: "Ref[Self]") -> T:
        """Have the type of the items at a ref that takes this message; for type checkers only."""
        raise NotImplementedError


@final
class StreamSink(Generic[T]):
    """Where a handler made with `streams` sends the items of its reply.

    Args:
        channel: the sending end of the stream.
    """

    __slots__ = ("_channel",)

    def __init__(self, channel: trio.MemorySendChannel[T]) -> None:
        self._channel = channel

    async def send(self, item: T) -> None:
        """Send one item; wait while the consumer is behind, which is the backpressure.

        If the consumer has left, this is only a checkpoint: the handler is about to be cancelled.

        Args:
            item: what the consumer receives.
        """
        try:
            await self._channel.send(item)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            await trio.lowlevel.checkpoint()


@final
class AskStream(Generic[T]):
    """The consumer's side of a stream; iterate over it once.

    Args:
        channel: the receiving end of the stream.
        slot: the slot of the stream's message.
    """

    __slots__ = ("_channel", "_slot")

    def __init__(self, channel: trio.MemoryReceiveChannel[T], slot: ReplySlot[None]) -> None:
        self._channel = channel
        self._slot = slot

    @property
    def blockers(self) -> Sequence[Worker]:
        """The workers of which one must continue first; for the runtime itself."""
        return self._slot.blockers

    @property
    def deadline(self) -> float:
        """When the stream expires, in seconds on Trio's clock; for the runtime itself."""
        return self._slot.deadline

    @property
    def _has_item(self) -> bool:
        now = self._channel.statistics()
        return now.current_buffer_used > 0 or now.tasks_waiting_send > 0

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        """Return the next item.

        Raises:
            StopAsyncIteration: the stream has ended.
            AskFailed: the stream was broken by its deadline, a crash or a stop.
            Deadlock: the handler itself waits, directly or indirectly, for the consumer.
            Exception: an error that the handler declares.
        """
        worker = waiting_worker()
        try:
            if worker is None or self._has_item:
                return await self._channel.receive()
            worker.waits_for = self
            self._slot.caller = worker
            try:
                check_deadlock(worker)
                return await self._channel.receive()
            finally:
                worker.waits_for = None
        except trio.EndOfChannel:
            pass
        await self._slot.wait()  # it is filled, for that ended the channel; raises what broke off
        raise StopAsyncIteration


def discarding_sink() -> StreamSink[object]:
    """Return a sink that discards its items, for a stream message sent by `tell` or `ask`."""
    channel, receiver = trio.open_memory_channel[object](0)
    receiver.close()
    return StreamSink(channel)
