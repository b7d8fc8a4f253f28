"""What a user writes: a class whose methods handle messages, one at a time."""

from collections.abc import Awaitable, Callable, Mapping
from math import inf
from random import Random
from typing import TYPE_CHECKING, ClassVar, TypeVar, cast

import attrs
import trio

from .reply import Message, ReplySlot, current_slot
from .stream import StreamOf, StreamSink

if TYPE_CHECKING:
    from .cell import Cell
    from .incarnation import Incarnation, Timer
    from .ref import Ref

__all__ = [
    "Actor",
    "Handler",
    "defers",
    "handles",
    "streams",
]


A = TypeVar("A", bound="Actor")
M = TypeVar("M", bound="Message[object]")
R = TypeVar("R")
T = TypeVar("T")

_MARK = "__callsheet_handler__"


@attrs.frozen
class Handler:
    """How an actor takes one type of message.

    Args:
        kind: the type of message.
        call: the method, of an actor, a message and, if it defers, a slot.
        raises: the errors that are answers; any other one crashes the actor (R8).
        defers: the method gets the reply slot instead of returning the answer.
        streams: the method gets a sink that the items of its answer go into.
        uninterruptible: it runs to its end even if nobody waits for the answer any more.
        urgent: messages of this type go before and past the mailbox.
    """

    kind: type[Message[object]]
    call: Callable[..., Awaitable[object]]
    raises: tuple[type[Exception], ...] = ()
    defers: bool = False
    streams: bool = False
    uninterruptible: bool = False
    urgent: bool = False
    takes_slot: bool = False  # either of defers and streams, asked for each message


def handles(
    kind: type[Message[R]],
    *,
    raises: tuple[type[Exception], ...] = (),
    uninterruptible: bool = False,
    urgent: bool = False,
) -> Callable[[Callable[[A, M], Awaitable[R]]], Callable[[A, M], Awaitable[R]]]:
    """Make a method the handler of one type of message; what it returns is the answer.

    Args:
        kind: the type of message; subclasses come here too unless they have their own handler.
        raises: declared errors. They are answers: the asker's `ask` raises them and the actor
            goes on. Anything else that is raised is a bug and crashes the actor (R8).
        uninterruptible: let it finish even if the asker is cancelled or its deadline passes.
        urgent: messages of this type do not queue behind the others, nor for room in the mailbox;
            for what the work in hand depends on, whose number something else bounds.
    """

    def mark(method: Callable[[A, M], Awaitable[R]]) -> Callable[[A, M], Awaitable[R]]:
        handler = Handler(
            kind, method, raises=raises, uninterruptible=uninterruptible, urgent=urgent
        )
        setattr(method, _MARK, handler)
        return method

    return mark


def defers(
    kind: type[Message[R]], *, urgent: bool = False
) -> Callable[
    [Callable[[A, M, ReplySlot[R]], Awaitable[None]]],
    Callable[[A, M, ReplySlot[R]], Awaitable[None]],
]:
    """Make a method the handler of a message that is answered later, or by another actor.

    The method gets the message and its `ReplySlot`; returning does not answer. It is never
    interrupted by the asker's cancellation, so it cannot lose a slot half-way: it learns of it by
    ``slot.done`` or ``slot.on_settled``. A slot that is neither filled nor forwarded keeps its
    asker waiting until the deadline, or until this actor stops or crashes, which fills it.

    Args:
        kind: the type of message.
        urgent: as for `handles`.
    """

    def mark(
        method: Callable[[A, M, ReplySlot[R]], Awaitable[None]],
    ) -> Callable[[A, M, ReplySlot[R]], Awaitable[None]]:
        setattr(
            method,
            _MARK,
            Handler(
                kind, method, defers=True, uninterruptible=True, urgent=urgent, takes_slot=True
            ),
        )
        return method

    return mark


def streams(
    kind: type[StreamOf[T]], *, raises: tuple[type[Exception], ...] = ()
) -> Callable[
    [Callable[[A, M, StreamSink[T]], Awaitable[None]]],
    Callable[[A, M, StreamSink[T]], Awaitable[None]],
]:
    """Make a method the handler of a message that is answered by a stream of items.

    The method gets the message and a `StreamSink`; ``await sink.send(item)`` waits while the
    consumer has not caught up. When it returns, the stream has ended; when the consumer goes
    away, it is cancelled.

    Args:
        kind: the type of message.
        raises: declared errors, as for `handles`; the consumer's loop raises them.
    """

    def mark(
        method: Callable[[A, M, StreamSink[T]], Awaitable[None]],
    ) -> Callable[[A, M, StreamSink[T]], Awaitable[None]]:
        setattr(method, _MARK, Handler(kind, method, raises=raises, streams=True, takes_slot=True))
        return method

    return mark


class Actor:
    """Base of every actor: state that only its own handlers touch.

        class Greeter(Actor):
            def __init__(self, greeting: str) -> None:
                self.greeting = greeting

            @handles(Greet)
            async def greet(self, message: Greet) -> str:
                return f"{self.greeting}, {message.name}!"

    An object of the class is one incarnation: after a crash a new one is made by the same factory,
    and it finds the same mailbox (R2). Handlers run one after another, or up to ``concurrency`` at
    a time if the actor was spawned so.
    """

    handlers: ClassVar[Mapping[type[Message[object]], Handler]] = {}
    _cell: "Cell"

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        table = dict(cls.handlers)
        own = [
            cast("Handler", getattr(value, _MARK))
            for value in vars(cls).values()
            if hasattr(value, _MARK)
        ]
        for handler in own:
            if sum(other.kind is handler.kind for other in own) > 1:
                raise TypeError(f"{cls.__name__} has two handlers for {handler.kind.__name__}")
            table[handler.kind] = handler
        cls.handlers = table

    @property
    def ref(self) -> "Ref":
        """The reference others send to; it stays valid over restarts."""
        return self._cell.ref

    @property
    def random(self) -> Random:
        """This incarnation's random source, seeded from the runtime's seed and the path (R13)."""
        return self._cell.random

    @property
    def deadline(self) -> float:
        """By when the message in hand must be answered, on Trio's clock; infinity if never (R4)."""
        slot = current_slot.get()
        return inf if slot is None else slot.deadline

    async def started(self) -> None:
        """Runs once before the first message. What it raises is a failed start."""

    async def draining(self) -> None:
        """Runs when a drain has emptied the mailbox: send off what is being gathered.

        Afterwards messages and timers are still handled until every slot held here is filled.
        """

    async def stopped(self) -> None:
        """Runs when the incarnation ends, however it ends; shielded, for a few seconds at most."""

    def send_after(self, seconds: float, message: Message[object]) -> "Timer":
        """Have `message` handled by this incarnation in `seconds` seconds.

        It does not go through the mailbox, so it cannot block on a full one, and it is gone with
        the incarnation.
        """
        return self._life.send_at(trio.current_time() + seconds, message, None)

    def send_at(self, when: float, message: Message[object]) -> "Timer":
        """The same at an instant of Trio's clock; in the past means as soon as possible."""
        return self._life.send_at(when, message, None)

    def send_every(self, seconds: float, message: Message[object]) -> "Timer":
        """The same again and again, the first time in `seconds` seconds.

        At most one of them waits at a time, so they do not pile up in front of a slow actor.

        Raises:
            ValueError: `seconds` is not above 0.
        """
        if not seconds > 0:
            raise ValueError(f"seconds must be above 0, not {seconds}")
        return self._life.send_at(trio.current_time() + seconds, message, seconds)

    def watch(self, ref: "Ref", message: Message[object]) -> None:
        """Have `message` handled when the actor at `ref` has ended for good, or rests.

        A restart is not an end. If it has ended already, the message comes at once.

        Raises:
            UnhandledMessage: this actor has no handler for it.
        """
        life = self._life
        self._cell.handler_of(message)  # raised here, not where the other one ends
        ref._cell.on_ended(lambda: life.send_now(message))  # noqa: SLF001  # the runtime's own

    def stop(self) -> None:
        """End this incarnation after the message in hand, as if by a decision of its own.

        A permanent actor is started again; a transient or temporary one is not (R7).
        """
        self._life.halt()

    @property
    def _life(self) -> "Incarnation":
        life = self._cell.life or self._cell.rouse()
        if life is None:
            raise RuntimeError(f"{self._cell.path} does not live; only its own hooks may do this")
        return life
