"""Several actors of one kind behind one ref."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial

import attrs
import trio

from .._core import Actor, Message, Node, Overflow, Ref, ReplySlot, State, defers
from ..errors import ChildNotFound
from .restarts import RestartPolicy
from .supervisor import Supervisor

__all__ = [
    "spawn_pool",
]


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
        worker = min(self._workers, key=_reluctance)
        # It goes to the end of the line, so that those with equally little to do take turns.
        self._workers.remove(worker)
        self._workers.append(worker)
        await slot.forward(worker, message)


def _reluctance(worker: Ref) -> tuple[bool, int]:
    """The less, the sooner it gets a message; one between two lives only if all are."""
    cell = worker._cell  # noqa: SLF001  # the runtime's own
    return (cell.state is not State.RUNNING, cell.load)


@attrs.frozen
class _PoolStopper:
    """Stops router and workers together.

    Args:
        supervisor: of all of them.
        name: of the pool, among its children.
    """

    supervisor: Supervisor
    name: str

    async def stop_and_forget(self, node: Node | None = None) -> None:  # noqa: ARG002  # not alone
        """See `Keeper`."""
        with suppress(ChildNotFound):
            await self.supervisor.stop_child(self.name)
            self.supervisor.remove_child(self.name)


def _router_for(worker: Ref) -> type[_Router]:
    """A router for what `worker` handles, so that senders are told at once of all else."""
    cell = worker._cell  # noqa: SLF001  # the runtime's own
    (route,) = _Router.handlers.values()
    table = {
        kind: attrs.evolve(route, kind=kind, urgent=handler.urgent)
        for kind, handler in cell.table.items()
    }
    return type("Router", (_Router,), {"handlers": table})


async def spawn_pool(
    supervisor: Supervisor,
    name: str,
    factory: Callable[[], Actor],
    *,
    size: int,
    capacity: int = 64,
    overflow: Overflow = "block",
    worker_capacity: int = 1,
    restarts: RestartPolicy | None = None,
    redeliver: int = 0,
) -> Ref:
    """Start several actors of one kind, each with a state of its own, behind one ref.

    A message goes to the worker with the least to do. One that crashes costs what it had in hand;
    the others go on. `Runtime.stop` of the ref stops all of it.

    Args:
        supervisor: what they are started under, as a supervisor of their own called `name`.
        name: unique among the children of `supervisor`.
        factory: makes one incarnation of a worker.
        size: how many workers.
        capacity: messages that may wait for a worker.
        overflow: what happens to one more (R5).
        worker_capacity: messages that may wait at each worker.
        restarts: how often workers are restarted; by default five times in 30 seconds.
        redeliver: how often a message that was in hand at a crash is delivered again (R8).

    Raises:
        AlreadyRunning, AlreadyPresent, ValueError, Exception: as for `Supervisor.spawn`.
    """
    if size < 1:
        raise ValueError(f"size must be at least 1, not {size}")
    pool = await supervisor.supervise(name, restarts=restarts)
    keeper = _PoolStopper(supervisor, name)
    try:
        workers = [
            await pool.spawn(
                f"worker-{number}", factory, capacity=worker_capacity, redeliver=redeliver
            )
            for number in range(1, size + 1)
        ]
        router = partial(_router_for(workers[0]), list(workers))
        ref = await pool.spawn("router", router, capacity=capacity, overflow=overflow)
    except BaseException:
        with trio.CancelScope(shield=True):
            await keeper.stop_and_forget()
        raise
    ref._cell.keeper = keeper  # noqa: SLF001  # as above
    return ref
