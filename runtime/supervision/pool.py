"""Pools: several actors of one kind behind one ref."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import TypeVar, cast

import attrs
import trio

from .._core import Actor, AnyRef, Message, Overflow, Ref, ReplySlot, State, defers
from ..errors import ChildNotFound
from .restarts import RestartPolicy
from .supervisor import Supervisor

M = TypeVar("M", bound=Message[object])


class _Router(Actor):
    """Forwards every message to the least loaded worker; equally loaded workers alternate.

    Args:
        workers: the workers of the pool.
    """

    def __init__(self, workers: Iterable[AnyRef]) -> None:
        self._workers = [cast("Ref", worker) for worker in workers]

    @defers(Message)
    async def route(self, message: Message[object], slot: ReplySlot[object]) -> None:
        """Forward one message."""
        worker = min(self._workers, key=_rank)
        # At the end of the list, it is the last of those with an equal load.
        self._workers.remove(worker)
        self._workers.append(worker)
        await slot.forward(worker, message)


def _rank(worker: AnyRef) -> tuple[bool, int]:
    """Order workers: running ones first, then by load."""
    cell = worker._cell  # noqa: SLF001  # the runtime's own
    return (cell.state is not State.RUNNING, cell.load)


@attrs.frozen
class _PoolStopper:
    """Stops the router and the workers of a pool together.

    Args:
        supervisor: the supervisor above the pool.
        name: the pool's name.
    """

    supervisor: Supervisor
    name: str

    async def stop_and_remove(self, node: object = None) -> None:  # noqa: ARG002  # the whole pool stops
        """See `Stopper`."""
        with suppress(ChildNotFound):
            await self.supervisor.stop_child(self.name)
            self.supervisor.remove_child(self.name)


def _router_for(worker: AnyRef) -> type[_Router]:
    """Return a router for the messages that `worker` handles; others fail at their sender."""
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
    factory: Callable[[], Actor[M]],
    *,
    size: int,
    capacity: int = 64,
    overflow: Overflow = "block",
    worker_capacity: int = 1,
    restarts: RestartPolicy | None = None,
    redeliver: int = 0,
) -> Ref[M]:
    """Start several actors of one kind, each with its own state, behind one ref.

    The pool sends each message to the least loaded worker. A worker that crashes loses the message
    in progress; the other workers continue. `Runtime.stop` of the ref stops the whole pool.

    Args:
        supervisor: the supervisor to start the pool under. The pool is a supervisor of its own.
        name: the pool's name, unique among the children of `supervisor`, without "/".
        factory: makes one incarnation of a worker.
        size: number of workers.
        capacity: how many messages may wait for a worker.
        overflow: what happens to a message beyond that (R5).
        worker_capacity: how many messages may wait in each worker's own mailbox.
        restarts: how often workers are restarted; by default five times in 30 seconds.
        redeliver: how often a message that was in progress at a crash is delivered again (R8).

    Returns:
        A ref to the pool.

    Raises:
        AlreadyRunning: there is a child with this name.
        AlreadyPresent: there is a stopped child with this name.
        ValueError: an argument is out of its range; the message names it.
        Exception: the factory or the `started` hook raised; then no child is added.
    """
    if size < 1:
        raise ValueError(f"size must be at least 1, not {size}")
    pool = await supervisor.supervise(name, restarts=restarts)
    stopper = _PoolStopper(supervisor, name)
    try:
        workers = [
            await pool.spawn(
                f"worker-{number}", factory, capacity=worker_capacity, redeliver=redeliver
            )
            for number in range(1, size + 1)
        ]
        router = partial(_router_for(workers[0]), workers)
        ref = await pool.spawn("router", router, capacity=capacity, overflow=overflow)
    except BaseException:
        with trio.CancelScope(shield=True):
            await stopper.stop_and_remove()
        raise
    ref._cell.stopper = stopper  # noqa: SLF001  # the runtime's own
    return ref
