"""Replies that are streams of items: bounded, with backpressure, and cancelled from either side."""

from collections.abc import AsyncIterator, Sequence
from math import inf
from typing import TYPE_CHECKING, Generic, Self, TypeVar, final

import trio

from .reply import Message, ReplySlot
from .worker import Worker, check_deadlock, waiting_worker

if TYPE_CHECKING:
    from .ref import Ref

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)


class StreamOf(Message[None], Generic[T]):
    """Base class of messages whose reply is a stream of items of type T; see `Ref.stream`.

    Asked rather than streamed, it discards the items and replies None at the end of the stream.
    """

    __slots__ = ()

    def _items_to(self, ref: "Ref[Self]") -> T:
        """Have the type of the items at a ref that takes this message; for type checkers only."""
        raise NotImplementedError


@final
class StreamSink(Generic[T_contra]):
    """Where a handler made with `streams` sends the items of its reply.

    Args:
        channel: the sending end of the stream.
        slot: the slot of the stream's message; None if the items are discarded.
    """

    __slots__ = ("_channel", "_slot")

    def __init__(
        self, channel: trio.MemorySendChannel[T_contra], slot: ReplySlot[None] | None = None
    ) -> None:
        self._channel = channel
        self._slot = slot

    @property
    def blockers(self) -> Sequence[Worker]:
        """The worker that takes the items, if it is known; for the runtime itself."""
        caller = None if self._slot is None else self._slot.caller
        if caller is None or caller.task is None:
            return ()
        if any(nursery.child_tasks for nursery in caller.task.child_nurseries):
            return ()  # another task may take them
        return (caller,)

    @property
    def deadline(self) -> float:
        """When the wait for the consumer ends by itself: never; for the runtime itself."""
        return inf

    def detach(self) -> None:
        """Forget the slot, as the consumer has left; for the runtime itself."""
        self._slot = None  # else the two are a reference cycle

    async def send(self, item: T_contra) -> None:
        """Send one item; wait while the consumer is behind, which is the backpressure.

        If the consumer has left, this is only a checkpoint: the handler is about to be cancelled.

        Args:
            item: what the consumer receives.

        Raises:
            Deadlock: the consumer itself waits, directly or indirectly, for this handler.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            try:
                self._channel.send_nowait(item)
            except trio.WouldBlock:
                await self._wait_to_send(item)
                return
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        await trio.lowlevel.cancel_shielded_checkpoint()

    def send_nowait(self, item: T_contra) -> bool:
        """Send one item if the consumer is not behind; return whether it was sent.

        It is no checkpoint. If the consumer has left, the item counts as sent.

        Args:
            item: what the consumer receives.
        """
        try:
            self._channel.send_nowait(item)
        except trio.WouldBlock:
            return False
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        return True

    async def _wait_to_send(self, item: T_contra) -> None:
        worker = waiting_worker()
        if worker is None:
            await self._channel.send(item)
            return
        worker.waits_for = self
        worker.is_limited = trio.current_effective_deadline() < worker.task_limit
        try:
            check_deadlock(worker)
            await self._channel.send(item)
        finally:
            worker.waits_for = None
            worker.is_limited = False


@final
class AskStream(Generic[T]):
    """The consumer's side of a stream; iterate over it once.

    Args:
        channel: the receiving end of the stream.
        slot: the slot of the stream's message. A handler that passes the items on gives it to the
            `start` of its own slot.
    """

    __slots__ = ("_channel", "slot")

    def __init__(self, channel: trio.MemoryReceiveChannel[T], slot: ReplySlot[None]) -> None:
        self._channel = channel
        self.slot = slot

    @property
    def blockers(self) -> Sequence[Worker]:
        """The workers of which one must continue first; for the runtime itself."""
        return self.slot.blockers

    @property
    def deadline(self) -> float:
        """When the stream expires, in seconds on Trio's clock; for the runtime itself."""
        return self.slot.deadline

    @property
    def has_item(self) -> bool:
        """Whether the next item has arrived, so that it can be taken without waiting for it."""
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
        worker = self.slot.caller = waiting_worker()
        try:
            if worker is None or self.has_item:
                return await self._channel.receive()
            worker.waits_for = self
            is_limited = trio.current_effective_deadline() < worker.task_limit
            worker.is_limited = is_limited or self.slot.limit < inf
            try:
                check_deadlock(worker)
                return await self._channel.receive()
            finally:
                worker.waits_for = None
                worker.is_limited = False
        except trio.EndOfChannel:
            pass
        await self.slot.wait()  # it is filled, for that ended the channel; raises what broke off
        raise StopAsyncIteration


def discarding_sink() -> StreamSink[object]:
    """Return a sink that discards its items, for a stream message sent by `tell` or `ask`."""
    channel, receiver = trio.open_memory_channel[object](0)
    receiver.close()
    return StreamSink(channel)
