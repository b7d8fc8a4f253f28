"""Where a tree of actors lives: a nursery that its user can see (R1).

Signals, where the app asks for them: SIGINT and SIGTERM stop, SIGUSR1 shows the tree.

The tree as text, for a person who wonders what everybody is doing (R12).
"""

import secrets
import signal
import sys
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from typing import TextIO, final

import trio

from ._core import (
    ActorSnapshot,
    Guarded,
    Instrument,
    Ref,
    RuntimeSnapshot,
    Snapshot,
    State,
    Strategy,
    SupervisorSnapshot,
    TreeContext,
    is_cancellation,
    open_collapsing_nursery,
)
from .errors import RestartIntensityExceeded
from .shutdown import ShutdownPlan, ShutdownReport, plan_shutdown
from .supervision import RestartPolicy, Supervisor

__all__ = [
    "Runtime",
    "dump",
    "format_tree",
    "open_runtime",
    "watch_signals",
]


async def watch_signals(
    stop: Sequence[trio.CancelScope],
    show: Callable[[], None] | None,
    task_status: trio.TaskStatus[None],
) -> None:
    """Act on signals until cancelled.

    Args:
        stop: what SIGINT and SIGTERM cancel, one at each signal; the last one, together with all
            before it, is what stops at once. Empty: they are left alone.
        show: what SIGUSR1 calls; None: it is left alone.
        task_status: is told when signals are acted on.
    """
    wanted = [signal.SIGINT, signal.SIGTERM] if stop else []
    if show is not None and sys.platform != "win32":
        wanted.append(signal.SIGUSR1)
    if not wanted:  # there is no SIGUSR1 on Windows
        task_status.started()
        return
    left = list(stop)
    with trio.open_signal_receiver(*wanted) as signals:
        task_status.started()
        async for number in signals:
            if number in (signal.SIGINT, signal.SIGTERM):
                if left:
                    left.pop(0).cancel()
            elif show is not None:
                show()


_open: trio.lowlevel.RunVar[list["Runtime"]] = trio.lowlevel.RunVar("callsheet_runtimes")


def open_runtimes() -> list["Runtime"]:
    """Those of this Trio run, in the order in which they were opened."""
    try:
        return _open.get()
    except LookupError:
        runtimes: list[Runtime] = []
        _open.set(runtimes)
        return runtimes


def format_tree(snapshot: RuntimeSnapshot) -> str:
    """The tree with what each actor is doing, a line each."""
    return "\n".join([_line(snapshot.root), *_below(snapshot.root, "")])


def dump(runtime: "Runtime | None" = None, file: TextIO | None = None) -> None:
    """Print a runtime's tree, or those of all that are open in this Trio run, to stderr.

    Args:
        runtime: which; by default all.
        file: where to instead.
    """
    for one in open_runtimes() if runtime is None else (runtime,):
        print(format_tree(one.snapshot()), file=file or sys.stderr, flush=True)


def _below(node: SupervisorSnapshot, indent: str) -> Iterator[str]:
    for position, child in enumerate(node.children, 1):
        is_last = position == len(node.children)
        yield f"{indent}{'└── ' if is_last else '├── '}{_line(child)}"
        if isinstance(child, SupervisorSnapshot):
            yield from _below(child, indent + ("    " if is_last else "│   "))


def _line(node: Snapshot) -> str:
    name = node.path.rpartition("/")[2]
    if isinstance(node, SupervisorSnapshot):
        return f"{name}  {node.state.value}, {node.strategy}, {node.restarts_left} restarts left"
    parts = [node.state.value]
    if node.incarnation > 1:
        parts.append(f"incarnation {node.incarnation}")
    parts.append(_doing(node))
    if node.mailbox.depth:
        oldest = "" if node.oldest_s is None else f" for up to {node.oldest_s:.1f} s"
        parts.append(f"{node.mailbox.depth} of {node.mailbox.capacity} waiting{oldest}")
    if node.mailbox.senders_waiting:
        parts.append(f"{node.mailbox.senders_waiting} senders wait for room")
    if node.held:
        parts.append(f"{node.held} held")
    counts = node.counts
    shown = {
        "handled": counts.handled,
        "failed": counts.failed,
        "cancelled": counts.cancelled,
        "expired": counts.expired,
        "dropped": counts.dropped,
        "lost": counts.dead_lettered,
    }
    parts += [f"{count} {word}" for word, count in shown.items() if count]
    return f"{name}  {', '.join(parts)}"


def _doing(node: ActorSnapshot) -> str:
    if not node.in_progress:
        return "idle"
    first = ", ".join(f"{one.message} for {one.seconds:.1f} s" for one in node.in_progress[:3])
    more = len(node.in_progress) - 3
    return f"doing {first}{f' and {more} more' if more > 0 else ''}"


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
    shared = TreeContext(
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
