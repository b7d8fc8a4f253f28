"""The base class of actors."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from math import inf
from random import Random
from typing import TYPE_CHECKING, ClassVar, Generic, Never, TypeVar, Unpack

import trio

from .checks import check_seconds, check_thread
from .handlers import (
    Handler,
    HandlerTable,
    check_declared,
    check_hooks,
    check_kept,
    check_names,
    handlers_of,
)
from .ref import cell_of
from .reply import Message, current_slot

if TYPE_CHECKING:
    from typing_extensions import TypeVar as TypeVarWithDefault

    from .cell import Cell
    from .child_group import PoolSettings, SpawnSettings, SuperviseSettings
    from .incarnation import Incarnation
    from .pool import PoolRef
    from .ref import AnyRef, Ref
    from .snapshot import Ended
    from .supervisor import Supervisor
    from .timers import Timer, Watch

    # For type checkers, `Actor` alone takes every message.
    M_contra = TypeVarWithDefault(
        "M_contra", bound=Message[object], contravariant=True, default=Message[object]
    )
else:
    M_contra = TypeVar("M_contra", contravariant=True)


M = TypeVar("M", bound=Message[object])
T = TypeVar("T")


class Actor(Generic[M_contra]):
    """Base class of actors: objects whose state is used by their own handlers only.

    For example::

        class Greeter(Actor):
            def __init__(self, greeting: str) -> None:
                self.greeting = greeting

            @handles(Greet)
            async def greet(self, message: Greet) -> str:
                return f"{self.greeting}, {message.name}!"

    Each object of the class is one incarnation. After a crash the factory makes a new object, which
    continues with the same mailbox (R2). Handlers run one after another, or up to ``concurrency``
    at the same time if the actor was spawned with that setting.

    A class that declares its messages, as ``class Greeter(Actor[Greet | Leave])``, has refs with
    the same type argument: `spawn` returns a ``Ref[Greet | Leave]``, which takes no other message.
    Each declared message must have a handler; others, such as a timer's, need no declaration.

    Attributes:
        handlers: the class's handlers by type of message, those of its base classes included.
    """

    handlers: ClassVar[Mapping[type[Message[object]], Handler]] = {}
    _overridable: ClassVar[tuple[str, ...]] = ("started", "draining", "stopped")
    _cell: "Cell"

    def __init_subclass__(cls, **arguments: object) -> None:
        super().__init_subclass__(**arguments)
        # `attrs.define` makes a class anew for its slots, with a copy of the table.
        if not isinstance(vars(cls).get("handlers", HandlerTable()), HandlerTable):
            raise TypeError(f"{cls.__name__}.handlers: actors use this name for their handlers")
        check_hooks(cls, ("started", "draining", "stopped"))
        check_names(cls, cls._overridable)
        check_kept(cls, Actor, cls._overridable)
        cls.handlers = handlers_of(cls)
        check_declared(cls, Actor, cls.handlers)

    def __getattr__(self, name: str) -> Never:
        if name == "_cell":
            raise RuntimeError(
                f"{type(self).__name__} does not run yet, so `__init__` cannot use this; "
                "do it in `started`"
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @property
    def ref(self) -> "Ref[M_contra]":
        """The ref to this actor; it stays valid over restarts (R2)."""
        return self._cell.ref

    @property
    def random(self) -> Random:
        """This incarnation's random source, seeded from the runtime's seed and the path (R13)."""
        return self._cell.random

    @property
    def deadline(self) -> float:
        """When the reply to the current message is due, on Trio's clock; infinity if never (R4)."""
        slot = current_slot.get()
        return inf if slot is None else slot.deadline

    # ---------------------------------------------------------------- what it owns

    @property
    def nursery(self) -> trio.Nursery:
        """The nursery of this incarnation's background tasks (R15).

            async def started(self) -> None:
                self.nursery.start_soon(self.refresh)

        A background task that fails crashes the actor with its own exception: the asks in progress
        raise `ActorCrashed`. A drain does not wait for background tasks: they are cancelled when
        the `stopped` hook has returned. Cancelling the whole nursery is a crash; `stop` ends the
        actor.

        A background task inherits the context variables of the handler that starts it: as long as
        that handler's message has no reply, its deadline applies to the asks of the task, too.

        Raises:
            RuntimeError: the incarnation has no task; only hooks and handlers may use this.
        """
        nursery = self._current.owned.nursery
        if nursery is None:
            raise RuntimeError(f"{self._cell.path} has no task yet, so it has no nursery")
        return nursery

    async def enter_async_context(self, manager: AbstractAsyncContextManager[T]) -> T:
        """Enter a context manager that this incarnation holds until it ends (R15).

            async def started(self) -> None:
                self.http = await self.enter_async_context(httpx.AsyncClient())

        The context is left after the `stopped` hook and the background tasks, within the time
        limit of the stop and 5 seconds for all contexts together; it is cancelled after that.
        Contexts and children are closed in the reverse order in which they were opened. The next
        incarnation opens its own.

        The manager runs in a task of its own. So handlers do not see context variables that it
        sets, and if it is cancelled or ends by itself, no handler is cancelled by its scopes: the
        actor crashes, with the manager's error.

        Args:
            manager: the context manager to enter.

        Returns:
            What the context manager gives to ``async with ... as``.

        Raises:
            RuntimeError: the incarnation has ended, or has no task.
            Exception: the manager could not be entered.
        """
        return await self._current.owned.enter(manager)

    async def spawn(
        self, name: str, factory: "Callable[[], Actor[M]]", **settings: "Unpack[SpawnSettings]"
    ) -> "Ref[M]":
        """Start an actor as a child of this incarnation; return when it has started (R15).

        Its path is below the path of this actor. A child that crashes is restarted alone. When the
        children have crashed more than five times in 30 seconds, this actor crashes with
        `RestartIntensityExceeded`; use `supervise` for another policy.

        When this incarnation ends, its children are stopped, the last one started first: after a
        drain or a `stop` of this actor, they handle the messages in their mailboxes first; after a
        crash, only those in progress, for 5 seconds at most. The refs to them then raise
        `ActorStopped`. The next incarnation starts its own children, with the same names if it
        likes. A child cannot send messages to this actor while it is drained.

        Args:
            name: the child's name, unique among the children of this actor, without "/".
            factory: makes one incarnation of the child.
            **settings: as for `Supervisor.spawn`.

        Returns:
            A ref to the child; it stays valid over restarts of the child.

        Raises:
            AlreadyRunning: there is a child with this name.
            AlreadyPresent: there is a stopped child with this name.
            RuntimeError: the incarnation has ended, or has no task.
            ValueError: an argument is out of its range; the message names it.
            Exception: the factory or the `started` hook raised; then no child is added.
        """
        return await self._current.owned.spawn(name, factory, settings)

    async def spawn_pool(
        self,
        name: str,
        factory: "Callable[[], Actor[M]]",
        *,
        size: int,
        **settings: "Unpack[PoolSettings]",
    ) -> "PoolRef[M]":
        """Start a pool as a child of this incarnation; it ends as a child of `spawn` does.

        Args:
            name: the pool's name, unique among the children of this actor, without "/".
            factory: makes one incarnation of a member.
            size: number of members.
            **settings: as for `Supervisor.spawn_pool`.

        Returns:
            A ref to the pool.

        Raises:
            Exception: as `spawn`.
        """
        return await self._current.owned.spawn_pool(name, factory, size, settings)

    async def supervise(self, name: str, **settings: "Unpack[SuperviseSettings]") -> "Supervisor":
        """Start a supervisor as a child of this incarnation; it ends as a child of `spawn` does.

        Args:
            name: the supervisor's name, unique among the children of this actor, without "/".
            **settings: as for `Supervisor.supervise`.

        Returns:
            The supervisor.

        Raises:
            AlreadyRunning: there is a child with this name.
            AlreadyPresent: there is a stopped child with this name.
            RuntimeError: the incarnation has ended, or has no task.
            ValueError: an argument is out of its range; the message names it.
        """
        return await self._current.owned.supervise(name, settings)

    # ---------------------------------------------------------------- hooks

    async def started(self) -> None:
        """Run before the first message; an exception is a failed start.

        Override it if needed.
        """

    async def draining(self) -> None:
        """Run when a drain has emptied the mailbox: send what is still collected.

        Override it if needed. Messages and timers are still handled afterwards, until all slots
        that this actor holds are filled.
        """

    async def stopped(self) -> None:
        """Run when the incarnation ends, for any reason; shielded, for 5 seconds at most.

        Override it if needed.
        """

    # ---------------------------------------------------------------- timers, and the rest

    def send_after(self, seconds: float, message: Message[object]) -> "Timer":
        """Have this incarnation handle a message after a delay.

        The message bypasses the mailbox, so it never waits for room. It is discarded when the
        incarnation ends.

        Args:
            seconds: delay in seconds.
            message: a message that this actor handles.

        Raises:
            TypeError: `seconds` is not a number.
            ValueError: `seconds` is nan.
            UnhandledMessage: this actor has no handler for the message.
        """
        check_thread(self._cell)
        check_seconds("seconds", seconds)
        return self._current.timers.send_at(trio.current_time() + seconds, message, None)

    def send_at(self, when: float, message: Message[object]) -> "Timer":
        """Have this incarnation handle a message at a given time, as `send_after` does.

        Args:
            when: a time on Trio's clock, in seconds; a time in the past means as soon as possible.
            message: a message that this actor handles.

        Raises:
            TypeError: `when` is not a number.
            ValueError: `when` is nan.
            UnhandledMessage: this actor has no handler for the message.
        """
        check_thread(self._cell)
        check_seconds("when", when)
        return self._current.timers.send_at(when, message, None)

    def send_every(self, seconds: float, message: Message[object]) -> "Timer":
        """Have this incarnation handle a message periodically, as `send_after` does.

        At most one message of the timer waits at a time, so they do not pile up at a slow actor.

        Args:
            seconds: the period, and the delay before the first time, in seconds.
            message: a message that this actor handles.

        Raises:
            TypeError: `seconds` is not a number.
            ValueError: `seconds` is nan, or not above 0.
            UnhandledMessage: this actor has no handler for the message.
        """
        check_thread(self._cell)
        check_seconds("seconds", seconds)
        if not seconds > 0:
            raise ValueError(f"seconds must be above 0, not {seconds}")
        return self._current.timers.send_at(trio.current_time() + seconds, message, seconds)

    async def watch(self, ref: "AnyRef", on: Callable[["Ended"], Message[object]]) -> "Watch":
        """Have this incarnation handle a message when another actor has stopped.

        A restart is not a stop. If the other actor has stopped already, the message is handled at
        once. Like a timer's, the message bypasses the mailbox. The watch ends with the incarnation,
        or when it is cancelled.

        Args:
            ref: the actor or pool to watch.
            on: returns the message for the reason of the stop; this actor must handle it. It must
                not block; an error that it raises is logged, and then there is no message (R17).

        Returns:
            The watch; ``watch.cancel()`` takes it back.
        """
        await trio.lowlevel.checkpoint()
        return self._current.timers.watch(cell_of(ref), on)

    def stop(self) -> None:
        """End this incarnation after the messages in progress.

        A permanent actor is then restarted; a transient or temporary one is not (R7).

        Raises:
            RuntimeError: the current thread does not run the runtime.
        """
        check_thread(self._cell)
        self._current.halt()

    @property
    def _current(self) -> "Incarnation":
        current = self._cell.current or self._cell.wake()
        if current is None:
            raise RuntimeError(
                f"{self._cell.path} is not running; only its hooks and handlers may call this"
            )
        return current
