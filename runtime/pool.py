"""Several actors of one kind behind one ref."""

from collections.abc import Callable
from functools import partial

from .actor import Actor, defers
from .mailbox import Overflow
from .message import Message
from .ref import Ref
from .reply import ReplySlot
from .supervisor import Supervisor

__all__ = ["spawn_pool"]


class _Router(Actor):
    """Hands every message to the worker with the least to do; equals take turns.

    Args:
        workers: whom to hand them to.
    """

    def __init__(self, workers: list[Ref]) -> None:
        self._workers = workers

    @defers(Message)
    async def route(self, message: Message[object], slot: ReplySlot[object]) -> None:
        """Hand one on."""
        worker = min(self._workers, key=lambda ref: ref.load)
        # It goes to the end of the line, so that those with equally little to do take turns.
        self._workers.remove(worker)
        self._workers.append(worker)
        await slot.forward(worker, message)


async def spawn_pool(
    supervisor: Supervisor,
    name: str,
    factory: Callable[[], Actor],
    *,
    size: int,
    capacity: int = 64,
    overflow: Overflow = "block",
    worker_capacity: int = 1,
) -> Ref:
    """Start several actors of one kind, each with a state of its own, behind one ref.

    A message goes to the worker with the least to do. One that crashes costs what it had in hand;
    the others go on.

    Args:
        supervisor: what they are started under, as a supervisor of their own called `name`.
        name: unique among the children of `supervisor`.
        factory: makes one incarnation of a worker.
        size: how many workers.
        capacity: messages that may wait for a worker.
        overflow: what happens to one more (R5).
        worker_capacity: messages that may wait at each worker.

    Raises:
        AlreadyRunning, AlreadyPresent, ValueError, Exception: as for `Supervisor.spawn`.
    """
    if size < 1:
        raise ValueError(f"size must be at least 1, not {size}")
    pool = await supervisor.supervise(name)
    workers = [
        await pool.spawn(f"worker-{number}", factory, capacity=worker_capacity)
        for number in range(1, size + 1)
    ]
    return await pool.spawn(
        "router", partial(_Router, list(workers)), capacity=capacity, overflow=overflow
    )
