"""Where a tree of actors lives: a nursery that its user can see (R1)."""

import secrets
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import final

import trio

from .actor import Actor
from .cell import Spec
from .deadlines import Deadlines
from .nursery import open_collapsing_nursery
from .ref import Ref
from .restarts import RestartPolicy
from .snapshot import RuntimeSnapshot
from .supervisor import Supervisor

__all__ = ["Runtime", "open_runtime"]


@final
class Runtime:
    """The handle of a running tree; `open_runtime` makes it."""

    def __init__(self, name: str, supervisor: Supervisor) -> None:
        self.name = name
        self._supervisor = supervisor

    def __repr__(self) -> str:
        return f"<Runtime {self.name}, {len(self._supervisor.snapshot())} actors>"

    async def spawn(
        self,
        name: str,
        factory: Callable[[], Actor],
        *,
        capacity: int = 64,
        concurrency: int = 1,
        max_held: int | None = None,
    ) -> Ref:
        """Start an actor under the runtime's supervisor; returns when it has started.

        Args:
            name: unique in this runtime; no "/".
            factory: makes one incarnation; use `functools.partial` for arguments.
            capacity: messages that may wait; whoever sends to a full mailbox waits (R5).
            concurrency: handlers that may run at a time.
            max_held: messages that an actor with `defers` handlers may put off answering; while it
                holds so many it takes no more from its mailbox. None for no bound.

        Raises:
            NameTaken: there is an actor of this name.
            ValueError: an argument is out of its range; the message names it.
            Exception: whatever the factory or the `started` hook raised; nothing is left then.
        """
        return await self._supervisor.start(Spec(name, factory, capacity, concurrency, max_held))

    async def stop(self, ref: Ref) -> None:
        """Stop one actor: no more intake, what is in its mailbox is done, what it holds is filled.

        Waits for as long as that takes; put a deadline around it, and `RuntimeSnapshot` tells
        what it is doing. Harmless if it is stopped.
        """
        await self._supervisor.drain(ref)

    def snapshot(self) -> RuntimeSnapshot:
        """The whole tree at this moment, in one step (R12)."""
        return RuntimeSnapshot(
            name=self.name,
            at=trio.current_time(),
            restarts_left=self._supervisor.restarts_left(),
            actors=self._supervisor.snapshot(),
        )


@asynccontextmanager
async def open_runtime(
    name: str = "callsheet",
    *,
    restarts: RestartPolicy | None = None,
    drain_s: float = 10.0,
    seed: str | None = None,
) -> AsyncGenerator[Runtime]:
    """Open a place for actors; nothing in it outlives the block (R1).

    Leaving the block drains the actors, the last started first, all within `drain_s`; then it
    cancels what is left. Leaving it by an exception or a cancellation cancels them at once.

    Args:
        name: the first part of every actor's path.
        restarts: how often a crashed actor is started again; by default five times in 30 seconds.
        drain_s: seconds for the drain at the end.
        seed: what all randomness in here is drawn from (R13); by default a fresh one.

    Raises:
        RestartIntensityExceeded: an actor crashed more often than `restarts` allows; its
            `__cause__` is the last crash.
    """
    policy = RestartPolicy() if restarts is None else restarts
    deadlines = Deadlines()
    async with open_collapsing_nursery() as nursery:
        supervisor = Supervisor(
            name, nursery, deadlines, policy, secrets.token_hex(8) if seed is None else seed
        )
        nursery.start_soon(deadlines.run)
        yield Runtime(name, supervisor)
        with trio.move_on_after(drain_s):
            await supervisor.drain_all()
        nursery.cancel_scope.cancel()
