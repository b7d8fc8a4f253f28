"""Open a tree of actors in a nursery, stop it, and show it.

Everything in the tree runs in one nursery that ends with the block (R1). SIGINT and SIGTERM can
stop it, and SIGUSR1 can print it. The printed tree shows what each actor does at the moment (R12).
"""

import secrets
import signal
import sys
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from math import inf
from typing import TextIO, final

import trio

from ._core import (
    ActorSnapshot,
    AnyRef,
    Guarded,
    Inbox,
    Instrument,
    Node,
    Ref,
    RestartPolicy,
    RuntimeSnapshot,
    Snapshot,
    State,
    StopOrder,
    Strategy,
    Supervisor,
    SupervisorSnapshot,
    SupervisorSpec,
    TreeContext,
    cell_of,
    check_seconds,
    check_thread,
    check_trio,
    is_cancellation,
    open_collapsing_nursery,
)
from .errors import ChildNotFound, RestartIntensityExceeded, described
from .portal import Portal
from .shutdown import ShutdownPlan, ShutdownRecord, ShutdownReport, plan_shutdown
from .supervision import OwnedChildren, SupervisorNode

_MOMENT_S = 0.3  # a forwarded signal takes milliseconds; a person needs longer for a second one


async def watch_signals(
    stop: Sequence[trio.CancelScope],
    show: Callable[[], None] | None,
    task_status: trio.TaskStatus[None],
) -> None:
    """Act on signals until cancelled.

    Args:
        stop: cancel scopes. Each SIGINT or SIGTERM cancels the next one; those of a moment count
            as one, because a parent such as `uv run` forwards a signal that reached both. If
            empty, neither signal is handled here.
        show: called at each SIGUSR1; None: the signal is not handled here.
        task_status: reports when the signals are handled.
    """
    wanted = [signal.SIGINT, signal.SIGTERM] if stop else []
    if show is not None and sys.platform != "win32":
        wanted.append(signal.SIGUSR1)
    if not wanted:  # Windows has no SIGUSR1
        task_status.started()
        return
    left, moment_ends = list(stop), -inf
    with trio.open_signal_receiver(*wanted) as signals:
        task_status.started()
        async for number in signals:
            if number in (signal.SIGINT, signal.SIGTERM):
                if left and trio.current_time() >= moment_ends:
                    moment_ends = trio.current_time() + _MOMENT_S
                    left.pop(0).cancel()
            elif show is not None:
                show()


_open: trio.lowlevel.RunVar[list["Runtime"]] = trio.lowlevel.RunVar("callsheet_runtimes")


def open_runtimes() -> list["Runtime"]:
    """Return the open runtimes of this Trio run, in the order in which they were opened."""
    try:
        return _open.get()
    except LookupError:
        runtimes: list[Runtime] = []
        _open.set(runtimes)
        return runtimes


def format_tree(snapshot: RuntimeSnapshot) -> str:
    """Return the tree as text, one line per actor or supervisor, with what each is doing.

    Args:
        snapshot: the tree, from `Runtime.snapshot`.
    """
    return "\n".join([_format_node(snapshot.root), *_format_children(snapshot.root, "")])


def dump(runtime: "Runtime | None" = None, file: TextIO | None = None) -> None:
    """Print the tree of one runtime, or of all open runtimes of this Trio run.

    Args:
        runtime: the runtime to print; None prints all that are open.
        file: the text stream to print to; by default stderr.
    """
    for each in open_runtimes() if runtime is None else (runtime,):
        print(format_tree(each.snapshot()), file=file or sys.stderr, flush=True)


def _format_children(node: Snapshot, indent: str) -> Iterator[str]:
    for position, child in enumerate(node.children, 1):
        is_last = position == len(node.children)
        yield f"{indent}{'└── ' if is_last else '├── '}{_format_node(child)}"
        yield from _format_children(child, indent + ("    " if is_last else "│   "))


def _format_node(node: Snapshot) -> str:
    name = node.path.rpartition("/")[2]
    if isinstance(node, SupervisorSnapshot):
        left = _counted(node.restarts_left, "restart")
        return f"{name}  {node.state.value}, {node.strategy}, {left} left"
    parts = [node.state.value]
    if node.size is not None:
        parts.append(_counted(node.size, "member"))
        if node.member_restarts:
            parts.append(_counted(node.member_restarts, "restart"))
    if node.incarnation > 1:
        parts.append(f"incarnation {node.incarnation}")
    parts.append(_format_in_progress(node))
    if node.mailbox.depth:
        oldest = "" if node.oldest_s is None else f" for up to {node.oldest_s:.1f} s"
        parts.append(f"{node.mailbox.depth} of {node.mailbox.capacity} waiting{oldest}")
    if node.mailbox.senders_waiting:
        parts.append(f"{_counted(node.mailbox.senders_waiting, 'sender')} waiting for room")
    if node.deferred:
        parts.append(f"{node.deferred} deferred")
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


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _format_in_progress(node: ActorSnapshot) -> str:
    if not node.in_progress:
        return "idle"
    first = ", ".join(f"{one.message} for {one.seconds:.1f} s" for one in node.in_progress[:3])
    more = len(node.in_progress) - 3
    return f"handling {first}{f' and {more} more' if more > 0 else ''}"


@final
class Runtime:
    """The handle of an open runtime; made by `open_runtime`.

    Attributes:
        name: the runtime's name, which is the first part of every path.
        root: the supervisor above all others.
        spawn: starts an actor as a child of the root; see `Supervisor.spawn`.
        spawn_pool: starts a pool as a child of the root; see `Supervisor.spawn_pool`.
        supervise: starts a supervisor as a child of the root; see `Supervisor.supervise`.
        drain_s: seconds that the drain at the end of the block may take.
        shutdown_report: what happened to the messages at the shutdown; None until the block has
            ended without an exception.
    """

    def __init__(self, root: Supervisor, drain_s: float, nursery: trio.Nursery) -> None:
        self.name = root.name
        self.root = root
        self.spawn = root.spawn
        self.spawn_pool = root.spawn_pool
        self.supervise = root.supervise
        self.shutdown_report: ShutdownReport | None = None
        self.drain_s = drain_s
        self._nursery = nursery
        self._portal: Portal | None = None

    def __repr__(self) -> str:
        # Not `snapshot`, which is refused in other threads: a debugger shows it in any.
        tree = RuntimeSnapshot(at=0.0, root=self.root._node.snapshot(0.0))  # noqa: SLF001  # the runtime's own
        return f"<Runtime {self.name}, {len(tree.actors)} actors>"

    async def stop(self, ref: AnyRef) -> None:
        """Drain an actor within its `stop_s` and remove it; its name can be used again.

        The actor takes no more messages, handles those in its mailbox, and sends the replies that
        it has deferred. If it is stopped already, this does nothing.

        Args:
            ref: the actor to stop.
        """
        cell = cell_of(ref)
        check_thread(cell)
        await cell.stopper.stop_and_remove(cell)

    def ref(self, path: str) -> Ref:
        """Return the ref of an actor by its path.

        Args:
            path: the names from the root down to the actor, such as ``app/crawlers``.

        Raises:
            ChildNotFound: there is no actor at this path; the message names the nearest part that
                exists, and what is below it.
        """
        check_thread(self.root._node.shared)  # noqa: SLF001  # the runtime's own
        node: Node = self.root._node  # noqa: SLF001  # as above
        root, *names = path.split("/")
        if root != node.name:
            raise ChildNotFound(
                f"{path!r} is not in this runtime, whose paths start with {node.name!r}"
            )
        for name in names:
            below = node.find_child(name)
            if below is None:
                known = ", ".join(node.child_names) or "nothing"
                raise ChildNotFound(f"{node.path} has no child {name!r}; below it: {known}")
            node = below
        if not isinstance(node, Inbox):
            raise ChildNotFound(
                f"{path} is a supervisor, which handles no messages; "
                f"below it: {', '.join(node.child_names) or 'nothing'}"
            )
        return node.ref

    def portal(self) -> Portal:
        """Return the object through which other threads send messages to actors.

        Call it in the thread that runs the runtime, and pass the portal to other threads.

        Raises:
            RuntimeError: the current thread does not run Trio.
        """
        check_thread(self.root._node.shared)  # noqa: SLF001  # the runtime's own
        if self._portal is None:
            self._portal = Portal(self._nursery)
        return self._portal

    def snapshot(self) -> RuntimeSnapshot:
        """Return the whole tree at this moment, in one step (R12).

        Raises:
            RuntimeError: the current thread does not run Trio.
        """
        check_thread(self.root._node.shared)  # noqa: SLF001  # the runtime's own
        now = trio.current_time()
        root = self.root._node  # noqa: SLF001  # the runtime's own
        return RuntimeSnapshot(now, root.snapshot(now), tuple(root.shared.crashes))

    def shutdown_plan(self) -> ShutdownPlan:
        """Return what the end of the block would do now (R11); print it to see it beforehand."""
        return plan_shutdown(self.snapshot().root, self.drain_s)


@asynccontextmanager
async def open_runtime(
    name: str = "callsheet",
    *,
    strategy: Strategy = "one_for_one",
    restarts: RestartPolicy | None = None,
    drain_s: float = 10.0,
    stop_order: StopOrder = "reverse",
    max_children: int | None = None,
    seed: str | None = None,
    instruments: Sequence[Instrument] = (),
    stop_on_signals: bool = False,
    dump_on_signal: bool = False,
) -> AsyncGenerator[Runtime]:
    """Open a runtime for actors; nothing in it outlives the block (R1).

    When the block ends, the actors are drained within `drain_s`, the last started first, and then
    cancelled. When the block raises or is cancelled, the actors are cancelled at once. The
    `stopped` hook of such an actor has up to 5 seconds, or what is left of its `stop_s`.

    Args:
        name: the first part of every actor's path.
        strategy: which children the root restarts together with one that has crashed.
        restarts: how often the root restarts its children; by default five times in 30 seconds.
        drain_s: seconds that the drain at the end of the block may take.
        stop_order: how the children of the root are stopped; see `Supervisor.supervise`.
        max_children: how many children the root may have; see `Supervisor.supervise`.
        seed: seed of all randomness in the runtime (R13); by default a random one.
        instruments: objects that are called at every event; see `Instrument`.
        stop_on_signals: whether the first SIGINT or SIGTERM cancels the block and drains the
            actors, and the second one cancels them at once, if it comes 0.3 s later or more.
        dump_on_signal: whether SIGUSR1 prints the tree to stderr; see `dump`.

    Raises:
        ValueError: an argument is out of its range; the message names it.
        RuntimeError: the current thread does not run Trio.
        RestartIntensityExceeded: children of the root crashed more often than `restarts` allows. If
            the block raised an exception too, a note names it.
    """
    check_trio("open_runtime")
    check_seconds("drain_s", drain_s, at_least=0)
    shared = TreeContext(
        secrets.token_hex(8) if seed is None else seed,
        OwnedChildren,
        tuple(map(Guarded, instruments)),
    )
    spec = SupervisorSpec(
        name=name,
        strategy=strategy,
        restarts=restarts,
        stop_order=stop_order,
        max_children=max_children,
    )
    root = SupervisorNode(spec, "", shared)
    failures: list[RestartIntensityExceeded] = []  # at most one
    runtimes: list[Runtime] = []  # this one, once it is made
    try:
        async with open_collapsing_nursery() as nursery:
            shared.hosts = nursery
            runtime = Runtime(Supervisor(root), drain_s, nursery)
            runtimes.append(runtime)
            open_runtimes().append(runtime)
            nursery.start_soon(shared.deadlines.run)
            body, drain = trio.CancelScope(), trio.CancelScope()
            stop = (body, drain) if stop_on_signals else ()
            show = partial(dump, runtime) if dump_on_signal else None
            if stop or show:
                await nursery.start(watch_signals, stop, show)
            await nursery.start(_run_root, root, nursery.cancel_scope, failures)
            # Without signals, no scope: each ask would look through it for a deadline.
            with body if stop else nullcontext():
                yield runtime
            await _shut_down(runtime, root, drain)
            nursery.cancel_scope.cancel()
    except BaseException as error:
        if not failures or not (isinstance(error, Exception) or is_cancellation(error)):
            raise
        if isinstance(error, Exception):
            failures[0].add_note(f"the block also raised {described(error)}")
    finally:
        for runtime in runtimes:
            open_runtimes().remove(runtime)
            if runtime._portal is not None:  # noqa: SLF001  # its own module
                runtime._portal.close()  # noqa: SLF001  # as above
    if failures:
        raise failures[0]


async def _shut_down(runtime: Runtime, root: SupervisorNode, drain: trio.CancelScope) -> None:
    now = trio.current_time()
    record = ShutdownRecord(root, now)
    root.shared.joined = record.add
    drain.deadline = now + runtime.drain_s
    with drain:
        root.drain()
        await root.states.wait_for(State.STOPPED)
    root.children.cancel_all()
    with trio.CancelScope(shield=True):
        await root.states.wait_for(State.STOPPED)
    runtime.shutdown_report = record.report(trio.current_time())


async def _run_root(
    root: SupervisorNode,
    cancel_scope: trio.CancelScope,
    failures: list[RestartIntensityExceeded],
    task_status: trio.TaskStatus[None],
) -> None:
    try:
        await root.run(task_status.started)
    except RestartIntensityExceeded as error:
        root.failure = error
        failures.append(error)  # raised at the end, whatever the block raises because of it
        cancel_scope.cancel()
    finally:
        root.close()
