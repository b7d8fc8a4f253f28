"""What one incarnation of an actor owns: background tasks, contexts and children (R15).

The background tasks are in a nursery around the handlers. Each context is entered, held and left
by a task of its own, its host: handlers run in cancel scopes, and Trio allows scopes to be left
only in the reverse order in which they were entered. A host is shielded from what cancels the
actor, so the contexts are left one after another, the last entered first. The children have a
supervisor of their own, which also has a host, made at the first one. The hosts are in the nursery
of the runtime, so that an actor that owns nothing pays nothing; none outlives its incarnation.
"""

import traceback
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from typing import TYPE_CHECKING, Any, Generic, TypeVar, final
from weakref import WeakKeyDictionary

import trio

from .child_group import (
    ChildGroup,
    PoolSettings,
    SpawnSettings,
    SuperviseSettings,
)
from .log import get_logger
from .reply import Message, current_slot
from .tracing import current_trace

if TYPE_CHECKING:
    from .actor import Actor
    from .cell import Cell
    from .node import Node
    from .pool import PoolRef
    from .ref import Ref
    from .supervisor import Supervisor

M = TypeVar("M", bound=Message[object])
T = TypeVar("T")

_log = get_logger("callsheet.runtime")
CLOSING_S = 5.0
"""Seconds for the `stopped` hook, and again for leaving all contexts; a stop may allow less."""


@final
class _Context(Generic[T]):
    """A context manager and the state of its host."""

    __slots__ = ("closing", "ended", "entered", "error", "manager", "number", "shell", "value")

    def __init__(self, manager: AbstractAsyncContextManager[T], number: int) -> None:
        self.manager = manager
        self.number = number
        self.value: tuple[T] | None = None  # what it has given when it was entered
        self.error: Exception | None = None  # raised before it was entered, or while it was left
        self.entered = trio.Event()  # or it could not be entered
        self.closing = trio.Event()
        self.ended = trio.Event()
        self.shell = trio.CancelScope(shield=True)


@final
class _Children:
    """The group of an actor's children and the state of its host."""

    __slots__ = ("ended", "group", "numbers", "ready", "shell")

    def __init__(self, group: ChildGroup) -> None:
        self.group = group
        self.numbers: WeakKeyDictionary[Node, int] = WeakKeyDictionary()
        self.ready = trio.Event()
        self.ended = trio.Event()
        self.shell = trio.CancelScope(shield=True)


@final
class Ownership:
    """What one incarnation owns, in the order in which it was opened.

    Args:
        cell: the actor's place in the tree.

    Attributes:
        nursery: the nursery of the background tasks; None until the incarnation has a task.
        failure: the error of a context or of the children that crashed the actor; None without one.
    """

    __slots__ = (
        "_budget_s",
        "_cell",
        "_children",
        "_contexts",
        "_is_closed",
        "_opened",
        "failure",
        "nursery",
    )

    def __init__(self, cell: "Cell") -> None:
        self.nursery: trio.Nursery | None = None
        self.failure: Exception | None = None
        self._cell = cell
        self._is_closed = False
        self._budget_s = CLOSING_S  # left for the contexts
        self._opened = 0  # contexts and children so far
        self._contexts: list[_Context[Any]] | None = None  # made at the first one
        self._children: _Children | None = None

    @property
    def is_used(self) -> bool:
        """Whether anything is owned at the moment."""
        return bool(
            self._contexts
            or self._children is not None
            or (self.nursery is not None and self.nursery.child_tasks)
        )

    def fail(self, error: Exception) -> None:
        """Crash the actor, since something that it owns has failed."""
        if self.failure is not None:
            self.report(error)
            return
        self.failure = error
        if self.nursery is not None:
            self.nursery.cancel_scope.cancel()

    def report(self, error: BaseException) -> None:
        """Log an error that came after the one that has ended the incarnation."""
        _log.error(
            "close_failed",
            actor=self._cell.path,
            error=error,
            # As text: renderers that print the locals of each frame would print secrets (L8).
            exception="".join(traceback.format_exception(error)),
        )

    def _open(self) -> tuple[trio.Nursery, int]:
        """Return the nursery for a host, and the number of what it opens."""
        hosts = self._cell.hosts
        if hosts is None or self._is_closed:
            raise RuntimeError(f"{self._cell.path} has ended, so it can open nothing more")
        self._opened += 1
        return hosts, self._opened

    # ---------------------------------------------------------------- contexts

    async def enter(self, manager: AbstractAsyncContextManager[T]) -> T:
        """Enter a context and hold it; see `Actor.enter_async_context`."""
        hosts, number = self._open()
        context = _Context(manager, number)
        if self._contexts is None:
            self._contexts = []
        self._contexts.append(context)
        hosts.start_soon(self._hold, context, name=f"{self._cell.path}: {_kind(manager)}")
        try:
            await context.entered.wait()
        except BaseException:
            context.closing.set()
            context.shell.cancel()
            with trio.CancelScope(shield=True):
                await context.ended.wait()
            self._contexts.remove(context)
            if context.error is not None:
                raise context.error  # noqa: B904  # as if it was raised by `async with` here
            raise
        if context.value is None:
            self._contexts.remove(context)
            raise context.error or RuntimeError(f"{_kind(manager)} ended before it was entered")
        return context.value[0]

    async def _hold(self, context: _Context[Any]) -> None:
        """Enter a context and leave it when it is closed; an `Exception` is only recorded."""
        current_trace.set(None)
        current_slot.set(None)  # it outlives the message whose handler has opened it
        error: Exception | None = None
        try:
            with context.shell:
                async with context.manager as value:
                    context.value = (value,)
                    context.entered.set()
                    await context.closing.wait()
        except Exception as raised:  # noqa: BLE001  # any error crashes the actor
            error = raised
        finally:
            context.entered.set()
            context.ended.set()
        if context.value is None or context.closing.is_set():
            context.error = error
        else:
            what = f"{_kind(context.manager)}, a context of {self._cell.path}, ended by itself"
            self.fail(error or RuntimeError(what))

    async def _leave(self, context: _Context[Any]) -> None:
        """Leave a context; cancel its host when the time is over."""
        context.closing.set()
        is_shielded = False
        while not context.ended.is_set():
            began = trio.current_time()
            limit = min(began + self._budget_s, self._cell.stop_by)
            try:
                with trio.CancelScope(deadline=limit, shield=is_shielded) as wait:
                    await context.ended.wait()
            except trio.Cancelled:
                is_shielded = True  # what cancels the actor may have set `stop_by` before
            else:
                if wait.cancelled_caught:
                    context.shell.cancel()
                    with trio.CancelScope(shield=True):
                        await context.ended.wait()
            self._budget_s = max(0.0, self._budget_s - (trio.current_time() - began))

    # ---------------------------------------------------------------- children

    async def spawn(
        self, name: str, factory: "Callable[[], Actor[M]]", settings: SpawnSettings
    ) -> "Ref[M]":
        """Start an actor as a child; see `Actor.spawn`."""
        _, number = self._open()
        children = await self._open_children()
        ref = await children.group.supervisor.spawn(name, factory, **settings)
        self._number(children, name, number)
        return ref

    async def spawn_pool(
        self, name: str, factory: "Callable[[], Actor[M]]", size: int, settings: PoolSettings
    ) -> "PoolRef[M]":
        """Start a pool as a child; see `Actor.spawn_pool`."""
        _, number = self._open()
        children = await self._open_children()
        ref = await children.group.supervisor.spawn_pool(name, factory, size=size, **settings)
        self._number(children, name, number)
        return ref

    async def supervise(self, name: str, settings: SuperviseSettings) -> "Supervisor":
        """Start a supervisor as a child; see `Actor.supervise`."""
        _, number = self._open()
        children = await self._open_children()
        supervisor = await children.group.supervisor.supervise(name, **settings)
        self._number(children, name, number)
        return supervisor

    async def _open_children(self) -> _Children:
        hosts, _ = self._open()
        children = self._children
        if children is None:
            children = self._children = _Children(self._cell.make_group())
            hosts.start_soon(self._supervise, children, name=f"{self._cell.path}: children")
        await children.ready.wait()
        return children

    def _number(self, children: _Children, name: str, number: int) -> None:
        for node in reversed(children.group.nodes):  # the last one, unless others start meanwhile
            if node.name == name:
                children.numbers[node] = number
                return

    async def _supervise(self, children: _Children) -> None:
        """Run the supervisor of the children; an `Exception` is only recorded."""
        current_trace.set(None)
        current_slot.set(None)
        try:
            with children.shell:
                await children.group.run(children.ready.set)
        except Exception as error:  # noqa: BLE001  # any error crashes the actor
            self.fail(error)
        finally:
            children.group.close()
            children.ready.set()
            children.ended.set()

    async def _stop_children(self, after: int, *, drain: bool) -> None:
        """Stop the children that were started after number `after`, the last started first."""
        children = self._children
        if children is None or children.ended.is_set():
            return
        for node in reversed(children.group.nodes):
            if children.numbers.get(node, self._opened) <= after:
                continue
            limit = self._cell.stop_by
            if not drain:
                limit = min(limit, trio.current_time() + CLOSING_S)
            is_over = True
            with suppress(trio.Cancelled), trio.CancelScope(deadline=limit) as wait:
                await children.group.stop(node, drain=drain)
                is_over = wait.cancel_called
            if is_over or children.ended.is_set():
                await self._end_children(children, is_cancelled=True)
                return

    async def _end_children(self, children: _Children, *, is_cancelled: bool) -> None:
        """End the supervisor of the children, at once if `is_cancelled`."""
        children.group.end()
        if is_cancelled:
            children.shell.cancel()
        try:
            await children.ended.wait()
        except trio.Cancelled:
            children.shell.cancel()
            with trio.CancelScope(shield=True):
                await children.ended.wait()

    # ---------------------------------------------------------------- the end

    async def close(self, *, drain: bool) -> list[Exception]:
        """Close contexts and children, the last opened first; return the errors of the contexts.

        Args:
            drain: let the children handle the messages in their mailboxes.
        """
        self._is_closed = True
        errors: list[Exception] = []
        contexts, self._contexts = self._contexts, None
        for context in reversed(contexts or ()):
            await self._stop_children(context.number, drain=drain)
            await self._leave(context)
            if context.error is not None:
                errors.append(context.error)
        children = self._children
        if children is not None:
            await self._stop_children(0, drain=drain)
            if not children.ended.is_set():
                await self._end_children(children, is_cancelled=False)
        return errors


def _kind(manager: object) -> str:
    """Return the name of a context manager's type; its `repr` may hold secrets (L8)."""
    return type(manager).__name__
