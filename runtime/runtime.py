"""Where a tree of actors lives: a nursery that its user can see (R1)."""

import secrets
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from typing import final

import trio

from .dump import dump, open_runtimes
from .errors import RestartIntensityExceeded
from .instruments import Guarded, Instrument
from .nursery import is_cancellation, open_collapsing_nursery
from .ref import Ref
from .restarts import RestartPolicy
from .shared import Shared
from .shutdown import ShutdownPlan, ShutdownReport, plan_shutdown
from .signals import watch_signals
from .snapshot import RuntimeSnapshot, State
from .strategy import Strategy
from .supervisor import Supervisor

__all__ = ["Runtime", "open_runtime"]


@final
class Runtime:
    """The handle of a running tree; `open_runtime` makes it.

    Attributes:
        name: the first part of every path.
        root: the supervisor that everything is below; `spawn` and `supervise` are its.
        drain_s: seconds for the drain at the end.
        shutdown_report: what became of everything, once the block was left by its end.
    """

    def __init__(self, root: Supervisor, drain_s: float) -> None:
        self.name = root.name
        self.root = root
        self.spawn = root.spawn
        self.supervise = root.supervise
        self.shutdown_report: ShutdownReport | None = None
        self.drain_s = drain_s

    def __repr__(self) -> str:
        return f"<Runtime {self.name}, {len(self.snapshot().actors)} actors>"

    async def stop(self, ref: Ref) -> None:
        """Stop an actor: no more intake, what is in its mailbox is done, what it holds is filled.

        It has its `stop_s` for that. Its place is given up, and its name is free. Harmless if it
        is stopped.
        """
        cell = ref._cell  # noqa: SLF001  # the runtime's own
        await cell.keeper.stop_and_forget(cell)

    def snapshot(self) -> RuntimeSnapshot:
        """The whole tree at this moment, in one step (R12)."""
        now = trio.current_time()
        return RuntimeSnapshot(at=now, root=self.root.snapshot(now))

    def shutdown_plan(self) -> ShutdownPlan:
        """What leaving the block would do now, to be printed beforehand (R11)."""
        return plan_shutdown(self.snapshot().root, self.drain_s)


@asynccontextmanager
async def open_runtime(
    name: str = "callsheet",
    *,
    strategy: Strategy = "one_for_one",
    restarts: RestartPolicy | None = None,
    drain_s: float = 10.0,
    seed: str | None = None,
    instruments: Sequence[Instrument] = (),
    stop_on_signals: bool = False,
    dump_on_signal: bool = False,
) -> AsyncGenerator[Runtime]:
    """Open a place for actors; nothing in it outlives the block (R1).

    Leaving the block drains the actors, the last started first, all within `drain_s`; then it
    cancels what is left. Leaving it by an exception or a cancellation cancels them at once.

    Args:
        name: the first part of every actor's path.
        strategy: whom the root restarts with a child that has crashed.
        restarts: how often; by default five times in 30 seconds.
        drain_s: seconds for the drain at the end.
        seed: what all randomness in here is drawn from (R13); by default a fresh one.
        instruments: are told of everything that happens.
        stop_on_signals: SIGINT and SIGTERM cancel the block and drain; a second one stops at once.
        dump_on_signal: SIGUSR1 prints the tree to stderr; see `dump`.

    Raises:
        ValueError: an argument makes no sense; the message names it.
        RestartIntensityExceeded: children of the root crashed more often than `restarts` allows.
            What the block itself raised because of that, or meanwhile, is told in its notes.
    """
    if not drain_s >= 0:
        raise ValueError(f"drain_s must be at least 0 seconds, not {drain_s}")
    shared = Shared(
        secrets.token_hex(8) if seed is None else seed, tuple(map(Guarded, instruments))
    )
    root = Supervisor(name, "", shared, strategy=strategy, restarts=restarts)
    runtime = Runtime(root, drain_s)
    failures: list[RestartIntensityExceeded] = []  # at most one
    open_runtimes().append(runtime)
    try:
        async with open_collapsing_nursery() as nursery:
            nursery.start_soon(shared.deadlines.run)
            body, drain = trio.CancelScope(), trio.CancelScope()
            stop = (body, drain) if stop_on_signals else ()
            show = partial(dump, runtime) if dump_on_signal else None
            if stop or show:
                await nursery.start(watch_signals, stop, show)
            await nursery.start(_live, root, nursery.cancel_scope, failures)
            # A scope that nothing can cancel would be one more to look through at each ask.
            with body if stop else nullcontext():
                yield runtime
            await _shut_down(runtime, root, drain)
            nursery.cancel_scope.cancel()
    except BaseException as error:
        if not failures or not (isinstance(error, Exception) or is_cancellation(error)):
            raise
        if isinstance(error, Exception):
            failures[0].add_note(f"the block raised, too: {type(error).__name__}: {error}")
    finally:
        open_runtimes().remove(runtime)
    if failures:
        raise failures[0]


async def _shut_down(runtime: Runtime, root: Supervisor, drain: trio.CancelScope) -> None:
    before = runtime.snapshot()
    drain.deadline = before.at + runtime.drain_s
    with drain:
        root.drain()
        await root.states.wait_for(State.STOPPED)
    root.end_now()
    with trio.CancelScope(shield=True):
        await root.states.wait_for(State.STOPPED)
    after = runtime.snapshot()
    runtime.shutdown_report = ShutdownReport.of(before.root, after.root, after.at - before.at)


async def _live(
    root: Supervisor,
    cancel_scope: trio.CancelScope,
    failures: list[RestartIntensityExceeded],
    task_status: trio.TaskStatus[None],
) -> None:
    try:
        await root.incarnate(task_status.started)
    except RestartIntensityExceeded as error:
        failures.append(error)  # it comes out by itself, whatever the block raises because of it
        cancel_scope.cancel()
    finally:
        root.close()
