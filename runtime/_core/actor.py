"""The base class of actors."""

from collections.abc import Callable, Mapping
from math import inf
from random import Random
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

import trio

from .deadlines import check_seconds
from .handlers import Handler, check_declared, handlers_of
from .reply import Message, check_thread, current_slot

if TYPE_CHECKING:
    from typing_extensions import TypeVar as TypeVarWithDefault

    from .cell import Cell
    from .incarnation import Incarnation, Timer, Watch
    from .ref import AnyRef, Ref
    from .snapshot import Ended

    # For type checkers, `Actor` alone takes every message.
    M_contra = TypeVarWithDefault(
        "M_contra", bound=Message[object], contravariant=True, default=Message[object]
    )
else:
    M_contra = TypeVar("M_contra", contravariant=True)


class Actor(Generic[M_contra]):
    """Base class of actors: objects whose state is used by their own handlers only.

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
    _cell: "Cell"

    def __init_subclass__(cls, **arguments: object) -> None:
        super().__init_subclass__(**arguments)
        if "handlers" not in vars(cls):  # the router of a pool brings its own
            cls.handlers = handlers_of(cls)
            check_declared(cls, Actor, cls.handlers)

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
        check_thread()
        check_seconds("seconds", seconds)
        return self._current.send_at(trio.current_time() + seconds, message, None)

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
        check_seconds("when", when)
        return self._current.send_at(when, message, None)

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
        check_thread()
        check_seconds("seconds", seconds)
        if not seconds > 0:
            raise ValueError(f"seconds must be above 0, not {seconds}")
        return self._current.send_at(trio.current_time() + seconds, message, seconds)

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
        return self._current.watch(ref._cell, on)  # noqa: SLF001  # the runtime's own

    def stop(self) -> None:
        """End this incarnation after the messages in progress.

        A permanent actor is then restarted; a transient or temporary one is not (R7).
        """
        self._current.halt()

    @property
    def _current(self) -> "Incarnation":
        current = self._cell.current or self._cell.wake()
        if current is None:
            raise RuntimeError(
                f"{self._cell.path} is not running; only its hooks and handlers may call this"
            )
        return current
